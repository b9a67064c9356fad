//! The terminal while it shows a screen. It is restored when the guard is dropped, before a panic is reported, and before a second
//! signal ends the process.

use std::io::{self, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

/// Whether the terminal shows a screen.
static IS_FULL: AtomicBool = AtomicBool::new(false);

/// A terminal that shows a screen.
pub(super) struct FullScreen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl FullScreen {
    /// Keys are no longer printed, and the previous contents of the terminal are kept aside.
    pub(super) fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        IS_FULL.store(true, Ordering::SeqCst);
        let entered = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match entered {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Draws a screen, fitted to the present size of the terminal.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        if IS_FULL.load(Ordering::SeqCst) {
            self.terminal.draw(draw)?;
        }
        Ok(())
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        restore();
    }
}

/// Shows the previous contents of the terminal again, if it shows a screen.
pub(crate) fn restore() {
    if IS_FULL.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing.
        let _shown = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _cooked = disable_raw_mode();
    }
}

/// Whether the terminal shows a screen.
pub(super) fn is_full() -> bool {
    IS_FULL.load(Ordering::SeqCst)
}
