//! The addresses of a registry, as `registry.url` has them.

use std::fmt;

use http::Uri;

/// One address of a registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// Whether the connection uses TLS: `https`.
    pub is_tls: bool,
    /// Host name or IP address, without the brackets of IPv6.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path in front of `/schemas`, without a `/` at its end.
    pub path: String,
}

/// An invalid address of a registry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// It is not a URL that the client can use.
    #[error("must be http://HOST:PORT/PATH or https://HOST:PORT/PATH, several separated by commas, not \"{0}\"")]
    NotUrl(String),
    /// User name and password belong into a Secret.
    #[error("must not contain a user name or password: set registry.secret")]
    HasLogin,
}

impl Address {
    /// The addresses in a text, at least one, separated by commas.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, AddressError> {
        text.split(',').map(|address| Self::parse(address.trim())).collect()
    }

    fn parse(text: &str) -> Result<Self, AddressError> {
        let not_url = || AddressError::NotUrl(retail_connection::text::shortened(text, 200));
        if text.contains('@') {
            return Err(AddressError::HasLogin);
        }
        let uri: Uri = text.parse().map_err(|_| not_url())?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(not_url()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(not_url)?;
        if uri.query().is_some() || text.contains('#') {
            return Err(not_url());
        }
        Ok(Self {
            is_tls,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Host and port for the header `Host`.
    pub(crate) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_of_urls_is_read() {
        let read = |text: &str| {
            Address::parse_list(text).map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(read("http://registry:8081").unwrap(), "http://registry:8081");
        assert_eq!(read("https://registry").unwrap(), "https://registry:443");
        assert_eq!(
            read("https://a:1/apis/ccompat/v7/, http://[::1]:2/").unwrap(),
            "https://a:1/apis/ccompat/v7 http://[::1]:2"
        );
        for wrong in
            ["", "registry:8081", "ftp://a", "http://", "http://a,", "http://a?b=c", "http://a b", "http://a/#c"]
        {
            assert!(matches!(read(wrong), Err(AddressError::NotUrl(_))), "{wrong}");
        }
        assert_eq!(read("https://user:secret@registry"), Err(AddressError::HasLogin));
    }
}
