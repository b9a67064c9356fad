//! `spec.logging`: the logs of the pods. `kubectl explain` prints the doc comments.
#![allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Logs of the pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Logging {
    /// Least severe level: Error, Warn, Info or Debug. The variable RUST_LOG in a template replaces it. Default: Info.
    #[serde(default)]
    pub level: LogLevel,
    /// Text, or JSON with one object a line. Default: Text.
    #[serde(default)]
    pub format: LogFormat,
}

/// Least severe level of a log.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LogLevel {
    /// Failures that need an action.
    Error,
    /// Failures that pass, too.
    Warn,
    /// Changes of state, too.
    #[default]
    Info,
    /// Details for a search of errors.
    Debug,
}

/// Format of a log.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LogFormat {
    /// Lines of text.
    #[default]
    Text,
    /// An object a line.
    #[serde(rename = "JSON")]
    Json,
}
