//! The guesser on shapes of records of well-known interfaces, and the texts about invalid records.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is test code")]

mod causes;
mod formats;
mod guesses;
mod shapes;
