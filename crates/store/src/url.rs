//! The URL of a database, in the form of libpq. Each part and option is obeyed or refused.
//!
//! A wrongly encoded password can be in any part, so messages repeat nothing of the URL except names of options.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::ChannelBinding;

use crate::log_in::LogIns;
use crate::url_error::UrlError;

/// The parts of a database URL. Missing parts are empty.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct DatabaseUrl {
    pub(crate) hosts: Vec<String>,
    pub(crate) host_addresses: Vec<IpAddr>,
    pub(crate) ports: Vec<u16>,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Name of the database.
    pub database: Option<String>,
    /// `sslmode`.
    pub ssl_mode: Option<SslMode>,
    /// `channel_binding`.
    pub channel_binding: Option<ChannelBinding>,
    /// `require_auth`.
    pub require_auth: Option<LogIns>,
    pub(crate) options: Option<String>,
    pub(crate) application_name: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    /// Whether the server must only read, from `target_session_attrs`.
    pub(crate) reads_only: Option<bool>,
}

/// `sslmode` of libpq.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server supports it.
    Prefer,
    /// TLS. The certificate is verified only if an authority is given.
    Require,
    /// TLS, and the certificate has a trusted authority.
    VerifyCa,
    /// TLS, and the certificate has a trusted authority and the name of the host.
    VerifyFull,
}

const ENCODING: &str =
    "write special characters of user and password as %40 for @, %2F for /, %3A for :, %3F for ? and %25 for %";

/// The maximum port and host count of a URL. Each host gets a share of the connection deadline.
const MAX_HOSTS: usize = 16;

/// The parts between `//` and the options.
struct Parts<'a> {
    user: Option<&'a str>,
    hosts: &'a str,
    database: &'a str,
    options: &'a str,
}

impl<'a> Parts<'a> {
    fn split(url: &'a str) -> Result<Self, UrlError> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let Some(rest) = rest else {
            return Err(UrlError::new(match url {
                url if url.starts_with("jdbc:") => "it is a JDBC URL: remove \"jdbc:\", and set user and password",
                url if url.contains('=') && !url.contains("://") => {
                    "it has the form host=... of libpq: write it as a URL"
                }
                _ => "it does not begin with postgres:// or postgresql://",
            }));
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let at = authority.matches('@').count();
        // Without an @ before the first slash, a later one is the end of a password with a slash or a question mark.
        if at > 1 || (at == 0 && (database.contains('@') || options.contains('@'))) {
            return Err(UrlError::new(format!("user or password is not percent-encoded: {ENCODING}")));
        }
        let (user, hosts) = authority.split_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        Ok(Self { user, hosts, database, options })
    }
}

impl DatabaseUrl {
    /// Replaces the host names, for example by those that resolve elsewhere. Missing ones stay missing.
    pub fn map_hosts(&mut self, change: impl Fn(&str) -> String) {
        for host in &mut self.hosts {
            *host = change(host);
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let Parts { user, hosts, database, options } = Parts::split(url.trim())?;
        let mut parsed = Self::default();
        let (user, password) = user.map_or(("", ""), |user| user.split_once(':').unwrap_or((user, "")));
        parsed.user = filled(decoded(user)?);
        parsed.password = filled(decoded(password)?);
        parsed.database = filled(decoded(database)?);
        if !hosts.is_empty() {
            parsed.set_hosts(hosts)?;
        }
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let Some((name, value)) = option.split_once('=') else {
                return Err(UrlError::new("an option after ? has no value: write name=value"));
            };
            parsed.set_option(&decoded(name)?, &decoded(value)?)?;
        }
        parsed.check_hosts()?;
        Ok(parsed)
    }
}

impl DatabaseUrl {
    /// Whether the URL names no host.
    pub fn has_no_host(&self) -> bool {
        self.hosts.iter().all(String::is_empty) && self.host_addresses.is_empty()
    }

    /// Sets host and port where the URL has none.
    pub fn set_default_host(&mut self, host: &str, port: u16) {
        if self.has_no_host() {
            host.clone_into(self.hosts_mut());
            if self.ports.is_empty() {
                self.ports.push(port);
            }
        }
    }

    /// Whether a host is the directory of a Unix socket.
    pub fn is_unix_socket(&self) -> bool {
        self.hosts.iter().any(|host| host.starts_with('/'))
    }

    fn hosts_mut(&mut self) -> &mut String {
        self.hosts.truncate(1);
        if self.hosts.is_empty() {
            self.hosts.push(String::new());
        }
        &mut self.hosts[0]
    }

    /// `host:port,host:port`. If no host has a port, the ports are those of the option `port`.
    fn set_hosts(&mut self, text: &str) -> Result<(), UrlError> {
        let mut ports = Vec::new();
        for part in text.split(',') {
            let (host, rest) = match part.strip_prefix('[') {
                None => part.split_once(':').map_or((part, None), |(host, port)| (host, Some(port))),
                Some(address) => {
                    let (address, rest) = address
                        .split_once(']')
                        .ok_or_else(|| UrlError::new("an IPv6 address has no closing bracket: write [::1]:5432"))?;
                    match rest.strip_prefix(':') {
                        None if rest.is_empty() => (address, None),
                        None => {
                            return Err(UrlError::new("an IPv6 address is not followed by a port: write [::1]:5432"));
                        }
                        port => (address, port),
                    }
                }
            };
            self.hosts.push(host_name(decoded(host)?)?);
            ports.push(rest.filter(|port| !port.is_empty()).map(port).transpose()?);
        }
        if ports.iter().any(Option::is_some) {
            self.ports = ports.into_iter().map(|port| port.unwrap_or(DEFAULT_PORT)).collect();
        }
        Ok(())
    }

    fn check_hosts(&self) -> Result<(), UrlError> {
        let hosts = self.hosts.len().max(self.host_addresses.len()).max(1);
        if hosts > MAX_HOSTS {
            return Err(UrlError::new(format!("it has more than {MAX_HOSTS} hosts")));
        }
        if !self.hosts.is_empty() && !self.host_addresses.is_empty() && self.hosts.len() != self.host_addresses.len() {
            return Err(UrlError::new("host and hostaddr have different numbers of entries"));
        }
        if hosts > 1 && self.host_addresses.is_empty() && self.hosts.iter().any(String::is_empty) {
            return Err(UrlError::new("one of several hosts is empty"));
        }
        if self.ports.len() > 1 && self.ports.len() != hosts {
            return Err(UrlError::new("it has more than one port, but not one port for each host"));
        }
        Ok(())
    }

    fn set_option(&mut self, name: &str, value: &str) -> Result<(), UrlError> {
        let text = || filled(value.to_owned());
        match name {
            "host" => {
                self.hosts = value.split(',').map(|host| host_name(host.to_owned())).collect::<Result<_, _>>()?;
            }
            "hostaddr" => {
                let address = |text: &str| text.parse().map_err(|_| UrlError::new("hostaddr is not an IP address"));
                self.host_addresses = value.split(',').map(address).collect::<Result<_, _>>()?;
            }
            "port" => {
                let port = |text: &str| if text.is_empty() { Ok(DEFAULT_PORT) } else { port(text) };
                self.ports = value.split(',').map(port).collect::<Result<_, _>>()?;
            }
            "user" => self.user = text(),
            "password" => self.password = text(),
            "dbname" => self.database = text(),
            "options" => self.options = text(),
            "application_name" => self.application_name = text(),
            "sslmode" => self.ssl_mode = Some(value.parse()?),
            "ssl" if value == "true" => self.ssl_mode = Some(SslMode::Require),
            "require_auth" => self.require_auth = Some(value.parse()?),
            "channel_binding" => self.channel_binding = Some(channel_binding(value)?),
            "connect_timeout" => {
                let seconds = value.parse().map_err(|_| UrlError::new("connect_timeout is not a number of seconds"))?;
                self.connect_timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            "target_session_attrs" => self.reads_only = reads_only(value)?,
            name => refuse_option(name, value)?,
        }
        Ok(())
    }
}

/// The port of Postgres.
pub(crate) const DEFAULT_PORT: u16 = 5432;

fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn port(text: &str) -> Result<u16, UrlError> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| {
        UrlError::new(format!("the port is not a number from 1 to 65535; if a password is in its place, {ENCODING}"))
    })
}

fn host_name(host: String) -> Result<String, UrlError> {
    if host.starts_with('@') {
        return Err(UrlError::new("abstract Unix sockets are not supported: use a path or a host name"));
    }
    let is_valid = host.starts_with('/') || host.chars().all(|c| c.is_alphanumeric() || "-._:%".contains(c));
    if is_valid { Ok(host) } else { Err(UrlError::new("the host contains a character that host names cannot have")) }
}

/// Decodes `%20` and the like.
fn decoded(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            None => return Err(UrlError::new("a % is not followed by two hexadecimal digits: write %25 for %")),
            Some(0) => return Err(UrlError::new("it contains %00, which Postgres does not support")),
            Some(byte) => bytes.push(byte),
        }
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| UrlError::new("a percent-encoded part is not UTF-8"))
}

impl FromStr for SslMode {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            "allow" => Err(UrlError::new("sslmode=allow is not supported: use disable, prefer or require")),
            _ => Err(UrlError::new("sslmode is not disable, prefer, require, verify-ca or verify-full")),
        }
    }
}

impl SslMode {
    /// The name in libpq.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Parses `channel_binding`.
pub fn channel_binding(text: &str) -> Result<ChannelBinding, UrlError> {
    match text {
        "disable" => Ok(ChannelBinding::Disable),
        "prefer" => Ok(ChannelBinding::Prefer),
        "require" => Ok(ChannelBinding::Require),
        _ => Err(UrlError::new("channel_binding is not disable, prefer or require")),
    }
}

fn reads_only(text: &str) -> Result<Option<bool>, UrlError> {
    match text {
        "any" => Ok(None),
        "read-write" | "primary" => Ok(Some(false)),
        "read-only" | "standby" => Ok(Some(true)),
        "prefer-standby" => {
            Err(UrlError::new("target_session_attrs=prefer-standby is not supported: use any or standby"))
        }
        _ => Err(UrlError::new("target_session_attrs is not any, read-write, read-only, primary or standby")),
    }
}

/// Refuses all options except those with the value that the programs use anyway.
fn refuse_option(name: &str, value: &str) -> Result<(), UrlError> {
    let supported: &[&str] = match name {
        "client_encoding" => &["UTF8", "utf8", "UTF-8", "utf-8", "auto"],
        "sslnegotiation" => &["postgres"],
        "gssencmode" => &["disable", "prefer"],
        "load_balance_hosts" => &["disable"],
        "sslrootcert" => &["system"],
        "sslcompression" => &["0"],
        "sslsni" | "keepalives" => &["1"],
        "ssl_min_protocol_version" => &["TLSv1", "TLSv1.1", "TLSv1.2"],
        _ => &[],
    };
    if supported.contains(&value) {
        return Ok(());
    }
    if let [supported, ..] = supported {
        return Err(UrlError::new(match name {
            "sslrootcert" => FILES.to_owned(),
            _ => format!("option {name} supports only the value {supported}"),
        }));
    }
    Err(UrlError::new(match name {
        "sslcert" | "sslkey" | "sslpassword" | "sslcrl" | "sslcrldir" | "sslcertmode" => FILES.to_owned(),
        "service" | "servicefile" | "passfile" => {
            format!(
                "option {name} reads a file of this machine: write user and password in the URL, or set PGUSER and PGPASSWORD"
            )
        }
        name if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
            format!("option {name} is not supported: remove it")
        }
        _ => format!("it contains an unknown option; if a password is in its place, {ENCODING}"),
    }))
}

const FILES: &str = "certificates and keys are not read from files in the URL: use database.tls, or PGSSLROOTCERT, PGSSLCERT and PGSSLKEY";

#[cfg(test)]
mod tests;
