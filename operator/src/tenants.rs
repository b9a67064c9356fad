//! The servers and Postgres roles that the pipelines of a namespace may name.
//!
//! The operator connects to every server that a pipeline names, from its own place in the network. With tenants, an administrator
//! limits these servers for each namespace.

use std::str::FromStr;

use retail_api::Pipeline;
use serde::Deserialize;

use crate::external::address::{qualify, with_qualified_hosts};

/// The tenants in the order of their declaration; without any, all namespaces may name all servers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tenants(Vec<Tenant>);

/// Namespaces with the same limits.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tenant {
    namespaces: Vec<Pattern>,
    servers: Vec<Pattern>,
    /// `None`: any role.
    #[serde(default)]
    roles: Option<Vec<Pattern>>,
}

/// A text in which `*` stands for any characters.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(transparent)]
struct Pattern(String);

impl FromStr for Tenants {
    type Err = serde_json::Error;

    /// Parses a JSON list.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text).map(Self)
    }
}

impl Tenants {
    /// Why the pipeline names something that its namespace may not use.
    pub(crate) fn refuses(&self, pipeline: &Pipeline) -> Option<String> {
        let namespace = &pipeline.namespace;
        if self.0.is_empty() {
            return None;
        }
        let Some(tenant) = self.tenant(namespace) else {
            return Some(format!(
                "namespace \"{namespace}\" is not among the tenants of this operator: ask its administrator to add it"
            ));
        };
        let qualified = with_qualified_hosts(pipeline);
        let kafka =
            qualified.kafka.bootstrap_servers.split(',').map(|server| ("kafka.bootstrapServers", server.to_owned()));
        // The server of a connection URI is known when its Secret is read.
        let database = &qualified.database;
        let has_uri = database.secret.as_ref().is_some_and(|secret| secret.uri_key.is_some());
        let database = (!has_uri).then(|| ("database.host", format!("{}:{}", database.host, database.port)));
        let registry =
            pipeline.registry().map(|registry| ("events.format.registry.url", authority(&registry.url, namespace)));
        let servers = kafka.chain(database).chain(registry);
        let server = servers.into_iter().find(|(_, server)| !tenant.allows(server));
        let server = server.map(|(field, server)| format!("{field}: {}", tenant.refusal(&server, namespace)));
        server.or_else(|| {
            let runtime = pipeline.database.runtime_role.iter().map(|role| ("database.runtimeRole", role));
            let readers = pipeline.readers.iter().map(|role| ("readers", role));
            let roles = tenant.roles.as_ref()?;
            let (field, role) =
                runtime.chain(readers).find(|(_, role)| !roles.iter().any(|pattern| pattern.matches(role)))?;
            Some(format!("{field}: role \"{role}\" is not allowed for namespace \"{namespace}\", only {}", list(roles)))
        })
    }

    /// Why a namespace may not use one of these servers, `host:port`.
    pub(crate) fn refuses_server<'a>(
        &self,
        namespace: &str,
        mut servers: impl Iterator<Item = &'a str>,
    ) -> Option<String> {
        let tenant = self.tenant(namespace)?;
        servers.find(|server| !tenant.allows(server)).map(|server| tenant.refusal(server, namespace))
    }

    fn tenant(&self, namespace: &str) -> Option<&Tenant> {
        self.0.iter().find(|tenant| tenant.namespaces.iter().any(|pattern| pattern.matches(namespace)))
    }
}

impl Tenant {
    /// A pattern without a port allows all ports.
    fn allows(&self, server: &str) -> bool {
        let server = server.trim();
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        self.servers.iter().any(|pattern| pattern.matches(server) || pattern.matches(host))
    }

    fn refusal(&self, server: &str, namespace: &str) -> String {
        let server = server.trim();
        format!("server \"{server}\" is not allowed for namespace \"{namespace}\", only {}", list(&self.servers))
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        let pattern = self.0.to_ascii_lowercase();
        let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
        let Some(mut left) = text.strip_prefix(first) else { return false };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in middle.split('*') {
            match left.find(part) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        left.ends_with(last)
    }
}

fn list(patterns: &[Pattern]) -> String {
    if patterns.is_empty() {
        return "none".to_owned();
    }
    patterns.iter().map(|pattern| format!("\"{}\"", pattern.0)).collect::<Vec<_>>().join(", ")
}

/// `host:port` of a URL.
fn authority(url: &str, namespace: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) => (host, port),
        _ => (authority, if scheme == "https" { "443" } else { "80" }),
    };
    format!("{}:{port}", qualify(host, namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_any_characters() {
        for (pattern, yes, no) in [
            (
                "kafka.shop.svc:9092",
                vec!["kafka.shop.svc:9092", "KAFKA.shop.svc:9092"],
                vec!["kafka.shop.svc:9093", "x"],
            ),
            ("*.shop.svc", vec!["a.shop.svc", "a.b.shop.svc"], vec!["shop.svc", "a.shop.svc.evil.com", "ashop.svc"]),
            ("10.0.*:5432", vec!["10.0.1.2:5432"], vec!["10.0.1.2:54321", "10.1.0.0:5432"]),
            ("*", vec!["", "a"], vec![]),
            ("a*b*c*d", vec!["abcd", "a1b2c3d"], vec!["acbd", "abc"]),
            ("ab*ba", vec!["abba"], vec!["aba"]),
        ] {
            let matches = |text: &&str| Pattern(pattern.to_owned()).matches(text);
            assert!(yes.iter().all(matches), "{pattern}: {yes:?}");
            assert!(!no.iter().any(matches), "{pattern}: {no:?}");
        }
    }

    fn pipeline(namespace: &str, spec: &str) -> Pipeline {
        let text = format!(
            "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: retail, namespace: {namespace}}}\n\
             spec:\n  topic: {{name: retail}}\n{spec}"
        );
        Pipeline::parse(&text).expect("it is valid")
    }

    #[test]
    fn each_server_and_role_of_a_tenant_is_checked() {
        let tenants: Tenants = r#"[
            {"namespaces": ["shop", "shop-*"], "servers": ["*.shop.svc", "pg.example.com:5432"], "roles": ["shop_*"]},
            {"namespaces": ["lab"], "servers": ["*"]}
        ]"#
        .parse()
        .unwrap();
        let of = |kafka: &str, host: &str, more: &str| {
            format!("  kafka: {{bootstrapServers: \"{kafka}\"}}\n  database: {{host: {host}, name: db}}\n{more}")
        };
        let refused = |namespace: &str, spec: &str| tenants.refuses(&pipeline(namespace, spec)).unwrap_or_default();
        let shop = "\"*.shop.svc\", \"pg.example.com:5432\"";
        for (namespace, spec, expected) in [
            ("shop", of("kafka:9092", "pg.example.com", "  readers: [shop_bi]\n"), String::new()),
            ("lab", of("evil.com:9092", "other", "  readers: [postgres]\n"), String::new()),
            (
                "shop",
                of("kafka:9092,evil.com:9092", "pg.example.com", ""),
                format!(
                    "kafka.bootstrapServers: server \"evil.com:9092\" is not allowed for namespace \"shop\", only {shop}"
                ),
            ),
            (
                "shop-eu",
                of("kafka:9092", "pg.example.com", ""),
                format!(
                    "kafka.bootstrapServers: server \"kafka.shop-eu.svc:9092\" is not allowed for namespace \"shop-eu\", only {shop}"
                ),
            ),
            (
                "shop",
                of("kafka:9092", "169.254.169.254", ""),
                format!(
                    "database.host: server \"169.254.169.254:5432\" is not allowed for namespace \"shop\", only {shop}"
                ),
            ),
            (
                "shop",
                of("kafka:9092", "pg.example.com", "  readers: [shop_bi, postgres]\n"),
                "readers: role \"postgres\" is not allowed for namespace \"shop\", only \"shop_*\"".to_owned(),
            ),
            (
                "other",
                of("kafka:9092", "db", ""),
                "namespace \"other\" is not among the tenants of this operator: ask its administrator to add it"
                    .to_owned(),
            ),
        ] {
            assert_eq!(refused(namespace, &spec), expected);
        }
        assert_eq!(Tenants::default().refuses(&pipeline("other", &of("kafka:9092", "db", ""))), None);
        assert!(r#"[{"namespaces": [], "hosts": []}]"#.parse::<Tenants>().is_err());
    }

    #[test]
    fn authority_of_a_url_has_host_and_port() {
        for (url, expected) in [
            ("http://registry:8081/apis", "registry.shop.svc:8081"),
            ("https://user:pw@registry.example.com", "registry.example.com:443"),
            ("http://[::1]", "[::1]:80"),
            ("http://[::1]:81?x", "[::1]:81"),
        ] {
            assert_eq!(authority(url, "shop"), expected);
        }
    }
}
