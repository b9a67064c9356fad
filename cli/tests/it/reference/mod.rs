//! The generated pages of docs/reference. Each test compares a page with the code; `make docs` writes the pages.

mod alerts;
mod commands;
mod fields;
mod metrics;
mod page;
mod sql;
