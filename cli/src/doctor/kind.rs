//! The kinds of servers: the names of their checks, and the fields that correct them.

use super::check::Check;

/// A kind of server: the names of its checks, and the fields that correct it.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) dns: &'static str,
    pub(super) tcp: &'static str,
    pub(super) tls: &'static str,
    /// The field of the addresses.
    pub(super) servers: &'static str,
    /// The field of TLS, of its authority and of the client certificate.
    pub(super) tls_field: &'static str,
    pub(super) ca: &'static str,
    pub(super) client: &'static str,
    /// The checks after those of the layers.
    pub(super) rest: &'static str,
}

pub(super) const KAFKA: Kind = Kind {
    name: "kafka",
    dns: "kafka dns",
    tcp: "kafka tcp",
    tls: "kafka tls",
    servers: "kafka.bootstrapServers (or RETAIL_BOOTSTRAP_SERVERS)",
    tls_field: "kafka.tls",
    ca: "kafka.tls.caSecret (or RETAIL_KAFKA_CA)",
    client: "kafka.tls.clientSecret (or RETAIL_KAFKA_CERTIFICATE and RETAIL_KAFKA_KEY)",
    rest: "log-in, brokers, ACLs, topic, records",
};

pub(super) const POSTGRES: Kind = Kind {
    name: "postgres",
    dns: "postgres dns",
    tcp: "postgres tcp",
    tls: "postgres tls",
    servers: "database.host and database.port (or RETAIL_DATABASE_URL)",
    tls_field: "database.tls",
    ca: "database.tls.caSecret (or PGSSLROOTCERT)",
    client: "database.tls.clientSecret (or PGSSLCERT and PGSSLKEY)",
    rest: "log-in, schema, rights, settings",
};

pub(super) const REGISTRY: Kind = Kind {
    name: "registry",
    dns: "registry dns",
    tcp: "registry tcp",
    tls: "registry tls",
    servers: "events.format.registry.url (or RETAIL_REGISTRY_URL)",
    tls_field: "https:// in events.format.registry.url",
    ca: "events.format.registry.tls.caSecret (or RETAIL_REGISTRY_CA)",
    client: "events.format.registry.url to one that requires no client certificate",
    rest: "log-in, subject",
};

impl Kind {
    /// The line for the checks that a failed one makes useless; `before` names those before the log-in.
    pub(super) fn not_looked_at(&self, failed: &str, before: &str) -> Check {
        let rest = self.rest;
        Check::skip(self.name, format_args!("not looked at, because {failed} failed: {before}{rest}"))
    }
}
