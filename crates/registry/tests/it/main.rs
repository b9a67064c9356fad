//! Tests of the client on a registry that answers as a test tells it.

mod fake;
mod hostile;
mod schemas;
mod tls;
