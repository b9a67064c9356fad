//! How many events would be late with another delay: one replay of the topic answers for all delays.

mod lateness;
mod run;

pub use run::{DelayAnswer, WhatIf, WhatIfOptions, what_if};
