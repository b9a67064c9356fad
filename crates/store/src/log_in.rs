//! Methods of log-in: which requests of a server are answered.

use std::str::FromStr;

use crate::url_error::UrlError;

/// A method of log-in, as `require_auth` of libpq names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    /// The server asks for nothing.
    None,
    /// The password in clear text.
    Password,
    /// A hash of the password.
    Md5,
    /// A proof that both sides know the password.
    Scram,
}

impl Method {
    const ALL: [Self; 4] = [Self::None, Self::Password, Self::Md5, Self::Scram];

    /// The method of an authentication message with this code; `None` for the other messages of a log-in.
    pub(crate) const fn of_code(code: i32) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            3 => Some(Self::Password),
            5 => Some(Self::Md5),
            10 => Some(Self::Scram),
            _ => None,
        }
    }

    /// The name in libpq.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::Scram => "scram-sha-256",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of methods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogIns(u8);

impl LogIns {
    /// All methods.
    pub(crate) const ANY: Self = Self(0b1111);

    pub(crate) const fn contains(self, method: Method) -> bool {
        self.0 & method.bit() != 0
    }
}

impl FromStr for LogIns {
    type Err = UrlError;

    /// Parses `require_auth`: the allowed methods, or with `!` the forbidden ones.
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let names: Vec<&str> = text.split(',').map(str::trim).collect();
        let forbidden = names.iter().filter(|name| name.starts_with('!')).count();
        if forbidden != 0 && forbidden != names.len() {
            return Err(UrlError("require_auth contains both allowed and forbidden methods".to_owned()));
        }
        let mut bits = 0;
        for name in names {
            let known = name.strip_prefix('!').unwrap_or(name);
            match Method::ALL.iter().find(|method| method.name() == known) {
                Some(method) => bits |= method.bit(),
                // These are never answered.
                None if forbidden != 0 && ["gss", "sspi"].contains(&known) => {}
                None if ["gss", "sspi"].contains(&known) => {
                    return Err(UrlError(format!("require_auth={known} is not supported: use scram-sha-256")));
                }
                None => {
                    return Err(UrlError(
                        "require_auth is not a list of scram-sha-256, md5, password and none, or of these with !"
                            .to_owned(),
                    ));
                }
            }
        }
        Ok(if forbidden == 0 { Self(bits) } else { Self(Self::ANY.0 & !bits) })
    }
}
