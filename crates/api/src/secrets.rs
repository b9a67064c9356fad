//! Secrets that a resource names. `kubectl explain` prints the doc comments.
#![allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Secret with user name and password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Name of a Secret in the resource's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the user name. Default: username.
    #[serde(default = "username")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: String,
    /// Key of the password. Default: password.
    #[serde(default = "password")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: String,
}

/// Key of a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct SecretKey {
    /// Name of a Secret in the resource's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Secret in the namespace of the pipeline.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct SecretName {
    /// Name of a Secret in the resource's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn username() -> String {
    "username".to_owned()
}

fn password() -> String {
    "password".to_owned()
}
