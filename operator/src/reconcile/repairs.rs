//! Repairs of an object that another client undoes: the first ones follow at once, further ones after growing pauses. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Number of repairs of a field without a pause. Fewer would delay the repair of a field that was edited twice by hand.
const FREE: u32 = 3;

/// Time after which an earlier repair of a field no longer counts.
const COUNTED: Duration = Duration::from_secs(120);

/// Pause after the last free repair; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// Maximum pause between two repairs.
const LAST_PAUSE: Duration = Duration::from_secs(600);

/// Recent repairs of one object.
#[derive(Default, Debug)]
pub(crate) struct Repairs {
    /// Hash of the repaired declaration: a new declaration is applied at once.
    declaration: String,
    /// By path of the field.
    fields: BTreeMap<String, Repeated>,
    /// The other manager, once it is known.
    pub(crate) manager: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Repeated {
    count: u32,
    last: Instant,
    pause: Duration,
}

impl Repairs {
    /// Whether an object that differs in these fields is repaired now.
    pub(crate) fn is_due<'a>(
        &self,
        declaration: &str,
        mut fields: impl Iterator<Item = &'a str>,
        now: Instant,
    ) -> bool {
        declaration != self.declaration
            || fields.any(|field| {
                self.fields.get(field).is_none_or(|repeated| repeated.count < FREE || now >= repeated.end())
            })
    }

    /// Whether the next repair of one of these fields makes it contested, or it is contested already.
    pub(crate) fn is_repeated<'a>(&self, declaration: &str, mut fields: impl Iterator<Item = &'a str>) -> bool {
        declaration == self.declaration
            && fields.any(|field| self.fields.get(field).is_some_and(|repeated| repeated.count + 1 >= FREE))
    }

    /// Stores a repair.
    pub(crate) fn record<'a>(&mut self, declaration: &str, fields: impl Iterator<Item = &'a str>, now: Instant) {
        if self.declaration != declaration {
            *self = Self { declaration: declaration.to_owned(), ..Self::default() };
        }
        for field in fields {
            let count = self.fields.get(field).map_or(0, |repeated| repeated.count) + 1;
            let doublings = count.saturating_sub(FREE).min(16);
            let pause = if count < FREE { COUNTED } else { (FIRST_PAUSE * (1 << doublings)).min(LAST_PAUSE) };
            self.fields.insert(field.to_owned(), Repeated { count, last: now, pause });
        }
    }

    /// Forgets repairs that the other client has not undone for long enough, when the object is as declared.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.fields.retain(|_, repeated| now < repeated.end());
        if self.fields.is_empty() {
            self.manager = None;
        }
    }

    /// Contested fields: those repaired [`FREE`] times or more.
    pub(crate) fn contested(&self) -> Vec<String> {
        let contested = self.fields.iter().filter(|(_, repeated)| repeated.count >= FREE);
        contested.map(|(field, _)| field.clone()).collect()
    }

    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl Repeated {
    /// The end of the pause. An object that is as declared until then is no longer contested.
    fn end(self) -> Instant {
        self.last + self.pause.max(COUNTED.min(self.pause * 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELD: &str = "spec.replicas";

    fn due(repairs: &Repairs, declaration: &str, now: Instant) -> bool {
        repairs.is_due(declaration, [FIELD].into_iter(), now)
    }

    #[test]
    fn repeated_repairs_have_growing_pauses_and_are_forgotten() {
        let (mut repairs, mut now) = (Repairs::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let began = now;
            while !due(&repairs, "a", now) {
                now += Duration::from_secs(1);
            }
            pauses.push((now - began).as_secs());
            repairs.record("a", [FIELD].into_iter(), now);
            // The other client undoes it.
            now += Duration::from_secs(1);
        }
        assert_eq!(pauses, [0, 0, 0, 59, 119, 119, 239, 479, 599, 599]);
        assert_eq!(repairs.contested(), [FIELD]);
        repairs.settle(now);
        assert_eq!(repairs.contested(), [FIELD]);
        repairs.settle(now + LAST_PAUSE);
        assert!(repairs.is_empty() && due(&repairs, "a", now));
    }

    #[test]
    fn new_declaration_and_other_fields_are_applied_at_once() {
        let (mut repairs, now) = (Repairs::default(), Instant::now());
        for _ in 0..FREE {
            assert!(!repairs.contested().contains(&FIELD.to_owned()));
            repairs.record("a", [FIELD].into_iter(), now);
        }
        assert!(!due(&repairs, "a", now));
        assert!(due(&repairs, "b", now));
        assert!(repairs.is_due("a", [FIELD, "spec.paused"].into_iter(), now));
        repairs.record("b", [FIELD].into_iter(), now);
        assert!(repairs.contested().is_empty());
    }
}
