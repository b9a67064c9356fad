//! Checks the head of each message of the server before tokio-postgres buffers the message.
//!
//! tokio-postgres allocates the announced length of a message, collects all rows of a query, and keeps all settings and notices
//! of the start-up. The guard bounds each of them, and refuses a request for a password before it is answered. It copies no data.

use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::log_in::{LogIns, Method};
use crate::socket::Stream;

/// Maximum length of a message with a row, a text or a description. The longest of ours is a schema of 1 MiB with all
/// its references, in one row.
const LONG: u64 = 2 << 20;

/// Maximum length of any other message, as in libpq, and of each message of the start-up.
const SHORT: u64 = 30_000;

/// Maximum sum of all messages of the start-up.
const START_UP: u64 = 64 << 10;

/// Maximum sum of the settings that the server reports between two ReadyForQuery. tokio-postgres keeps them.
const SETTINGS: u64 = 64 << 10;

/// The requirements for a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Maximum sum of the messages between two ReadyForQuery: the response to one request.
    pub(crate) answer: u64,
    /// The allowed methods of log-in.
    pub(crate) log_ins: LogIns,
    /// The protection of a password in clear text.
    pub(crate) link: Link,
}

/// The protection of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// No TLS.
    Clear,
    /// TLS with a server whose certificate is not verified.
    Unverified,
    /// TLS with a certificate of a trusted authority, or a Unix socket.
    Verified,
}

/// Facts about a connection that the guard shares with its session.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    /// The process id and the secret key of a request to cancel.
    pub(crate) key: OnceLock<[u8; 8]>,
    /// The first requested method of log-in.
    pub(crate) method: OnceLock<Method>,
    /// Number of bytes read and written.
    pub(crate) bytes: AtomicU64,
}

impl Seen {
    /// The process id that the server announced.
    pub(crate) fn process_id(&self) -> Option<i32> {
        self.key.get().map(|key| i32::from_be_bytes([key[0], key[1], key[2], key[3]]))
    }
}

/// A refused message. It is the source of the error that tokio-postgres returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// A message that is too long, or not a message.
    Length { kind: u8, length: u64, limit: u64 },
    /// The messages of a response are too long together.
    Answer(u64),
    /// The settings in a response are too long together.
    Settings,
    /// A request for a password in clear text.
    ClearText(Link),
    /// A method of log-in that `require_auth` does not allow.
    LogIn(Method),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { kind, length, limit } => write!(
                f,
                "announced a message of kind '{}' with {length} bytes, and the limit is {limit}: check that host and port are \
                 those of a Postgres server",
                kind.escape_ascii()
            ),
            Self::Answer(limit) => {
                write!(f, "sent more than {limit} bytes in response to one request")
            }
            Self::Settings => write!(f, "sent more than {SETTINGS} bytes of settings in response to one request"),
            Self::ClearText(Link::Clear) => f.write_str(
                "requests the password in clear text without TLS, and it was not sent: set database.tls, or configure \
                 scram-sha-256 in the server",
            ),
            Self::ClearText(_) => f.write_str(
                "requests the password in clear text over TLS without a verified certificate, and it was not sent: specify the \
                 certificate authority in database.tls.caSecret, or PGSSLROOTCERT, or configure scram-sha-256 in the server",
            ),
            Self::LogIn(Method::None) => f.write_str("accepts the user without a log-in, which require_auth does not allow"),
            Self::LogIn(method) => write!(
                f,
                "requests a log-in with method {}, which require_auth does not allow: configure another method in the server",
                method.name()
            ),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(io::ErrorKind::InvalidData, refusal)
    }
}

/// The position in the stream of messages.
#[derive(Default)]
struct Scan {
    /// Kind and length of the present message, and the first bytes of its content if they matter.
    head: [u8; 13],
    /// Number of bytes in `head`.
    have: usize,
    /// Bytes of the present message that are still to come.
    rest: u64,
    /// Whether the start-up is complete.
    ready: bool,
    /// Sum of the messages since the last ReadyForQuery.
    answer: u64,
    /// Sum of the settings since the last ReadyForQuery.
    settings: u64,
    /// Whether the server has requested a password.
    requested: bool,
}

impl Scan {
    /// Checks the next bytes. On a refusal, also returns the number of bytes before the refused message.
    fn check(&mut self, bytes: &[u8], rules: &Rules, seen: &Seen) -> Result<(), (usize, Refusal)> {
        let mut at = 0;
        while at < bytes.len() {
            let left = bytes.len() - at;
            if self.rest > 0 {
                let skipped = usize::try_from(self.rest).unwrap_or(usize::MAX).min(left);
                at += skipped;
                self.rest -= skipped as u64;
                continue;
            }
            let taken = (self.wanted() - self.have).min(left);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[at..at + taken]);
            self.have += taken;
            at += taken;
            let before = at.saturating_sub(self.have);
            if self.have == HEAD {
                self.check_length(rules).map_err(|refusal| (before, refusal))?;
            }
            if self.have == self.wanted() {
                self.check_content(rules, seen).map_err(|refusal| (before, refusal))?;
                self.rest = self.length() - self.have as u64;
                self.have = 0;
            }
        }
        Ok(())
    }

    /// Length of the message with its kind.
    fn length(&self) -> u64 {
        u64::from(u32::from_be_bytes([self.head[1], self.head[2], self.head[3], self.head[4]])) + 1
    }

    /// Number of bytes of the present message that the guard reads.
    fn wanted(&self) -> usize {
        if self.have < HEAD || self.ready {
            return HEAD;
        }
        match (self.head[0], self.length()) {
            (b'R', 9..) => 9,
            (b'K', 13) => 13,
            _ => HEAD,
        }
    }

    fn check_length(&mut self, rules: &Rules) -> Result<(), Refusal> {
        let (kind, length) = (self.head[0], self.length());
        let is_long = matches!(kind, b'D' | b'd' | b'E' | b'N' | b'A' | b'T' | b'V');
        let limit = if is_long && self.ready { LONG } else { SHORT };
        if !(HEAD as u64..=limit).contains(&length) {
            return Err(Refusal::Length { kind, length, limit });
        }
        self.answer = self.answer.saturating_add(length);
        let limit = if self.ready { rules.answer } else { START_UP };
        if self.answer > limit {
            return Err(Refusal::Answer(limit));
        }
        match kind {
            b'S' => self.settings += length,
            // ReadyForQuery.
            b'Z' => (self.ready, self.answer, self.settings) = (true, 0, 0),
            _ => {}
        }
        if self.settings > SETTINGS { Err(Refusal::Settings) } else { Ok(()) }
    }

    fn check_content(&mut self, rules: &Rules, seen: &Seen) -> Result<(), Refusal> {
        match (self.head[0], self.have) {
            (b'K', 13) => {
                let mut key = [0; 8];
                key.copy_from_slice(&self.head[HEAD..]);
                // A server sends one key; the first counts.
                let _again = seen.key.set(key);
                Ok(())
            }
            (b'R', 9) => {
                let code = i32::from_be_bytes([self.head[5], self.head[6], self.head[7], self.head[8]]);
                self.check_log_in(code, rules, seen)
            }
            _ => Ok(()),
        }
    }

    fn check_log_in(&mut self, code: i32, rules: &Rules, seen: &Seen) -> Result<(), Refusal> {
        let Some(method) = Method::of_code(code) else { return Ok(()) };
        // After a log-in, the code of method `none` means success.
        if method == Method::None && self.requested {
            return Ok(());
        }
        self.requested = true;
        let _again = seen.method.set(method);
        if !rules.log_ins.contains(method) {
            return Err(Refusal::LogIn(method));
        }
        if method == Method::Password && rules.link != Link::Verified {
            return Err(Refusal::ClearText(rules.link));
        }
        Ok(())
    }
}

/// Length of the kind and the length of a message.
const HEAD: usize = 5;

/// The connection with the server, after the TLS handshake if there is one.
pub(crate) struct Guard {
    stream: Box<dyn Stream>,
    scan: Scan,
    rules: Rules,
    seen: Arc<Seen>,
    refusal: Option<Refusal>,
}

impl Guard {
    pub(crate) fn new(stream: Box<dyn Stream>, rules: Rules, seen: Arc<Seen>) -> Self {
        Self { stream, scan: Scan::default(), rules, seen, refusal: None }
    }
}

impl AsyncRead for Guard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(refusal) = this.refusal {
            return Poll::Ready(Err(refusal.into()));
        }
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        this.seen.bytes.fetch_add(read.len() as u64, Ordering::Relaxed);
        if let Err((good, refusal)) = this.scan.check(read, &this.rules, &this.seen) {
            // The last message before the refused one may be an error that explains it.
            buf.set_filled(before + good);
            this.refusal = Some(refusal);
            if good == 0 {
                return Poll::Ready(Err(refusal.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.seen.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl TlsStream for Guard {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// Passes a guard to tokio-postgres as the result of its TLS handshake, so that tokio-postgres asks it for the channel binding.
pub(crate) struct HandshakeDone;

impl TlsConnect<Guard> for HandshakeDone {
    type Stream = Guard;
    type Error = io::Error;
    type Future = Ready<io::Result<Guard>>;

    fn connect(self, guard: Guard) -> Self::Future {
        ready(Ok(guard))
    }
}

#[cfg(test)]
mod tests;
