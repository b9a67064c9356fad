//! Panics of a library that are caught.
//!
//! Programs end on a panic of any thread, because no other thread would notice the missing one. Their hook runs before the panic is
//! caught, so that it must ask here.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

thread_local! {
    static CATCHES: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of a library that panics on some inputs; `None` if it did.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    let outer = CATCHES.replace(true);
    let result = std::panic::catch_unwind(AssertUnwindSafe(work));
    CATCHES.set(outer);
    result.ok()
}

/// Whether a panic of this thread is caught by the engine, and must not end the process.
pub fn catches_panics() -> bool {
    CATCHES.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_catches_panics_of_the_work_only() {
        let work = || -> i32 {
            assert!(catches_panics());
            panic!("expected");
        };
        assert_eq!(caught(work), None);
        assert!(!catches_panics());
        assert_eq!(caught(|| caught(catches_panics)), Some(Some(true)));
        assert!(!catches_panics());
    }
}
