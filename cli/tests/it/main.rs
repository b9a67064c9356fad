//! `retail` against a real Kafka and a real Postgres.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is test code")]

mod cluster;
mod commands;
mod demo;
mod doctor;
mod examples;
mod kubectl;
mod layers;
mod page;
mod questions;
mod reference;
mod run;
mod sample;
mod status;
mod tls;
mod top;
mod tutorial;

const RETAIL: &str = env!("CARGO_BIN_EXE_retail");
