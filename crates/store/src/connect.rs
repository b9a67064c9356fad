//! Opens sessions: host names, TCP, TLS, start-up and log-in within one deadline.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use retail_connection::ErrorKind;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::types::Type;

use crate::connection::{DatabaseConnection, Server};
use crate::error::DatabaseError;
use crate::guard::{Guard, HandshakeDone, Link, Rules, Seen};
use crate::handshake;
use crate::log_in::Method;
use crate::session::Session;
use crate::socket::{self, Address, Peer, Stream};

/// The first query of a session: whether the answering process is the one that the start-up announced, and whether it only
/// reads.
const FIRST: &str = "SELECT pg_backend_pid() = $1, current_setting('transaction_read_only')::bool";

/// Only without a pooler, which would give the session to other clients.
const CHECK_CLIENT: &str = "SET client_connection_check_interval = '2s'";

impl DatabaseConnection {
    /// Opens a session. `application` is its name in pg_stat_activity. Several servers are tried in their order.
    pub async fn connect(&self, application: &str) -> Result<Session, DatabaseError> {
        let deadline = Instant::now() + self.deadlines.connect;
        let servers = self.servers();
        let count = servers.len();
        let mut failure = None;
        for (number, server) in servers.enumerate() {
            match self.connect_to(&server, application, share(deadline, count - number)).await {
                Ok(session) => return Ok(session),
                // As with libpq, a refused log-in ends the search.
                Err(error) if error.kind == ErrorKind::WrongCredentials => return Err(error),
                Err(error) => failure = Some(worse(failure, error)),
            }
        }
        Err(failure.expect("there is at least one server"))
    }

    /// Tries each address of a server.
    async fn connect_to(
        &self,
        server: &Server,
        application: &str,
        deadline: Instant,
    ) -> Result<Session, DatabaseError> {
        let addresses = match timeout_at(deadline, addresses(server)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(DatabaseError::unreachable(self, &error)),
            Err(_) => return Err(DatabaseError::timed_out(self)),
        };
        let mut failure = None;
        let count = addresses.len();
        for (number, address) in addresses.into_iter().enumerate() {
            let peer = Peer { address, name: server.name.clone() };
            let mut deadline = share(deadline, count - number);
            if let Some(limit) = self.url.connect_timeout {
                deadline = deadline.min(Instant::now() + limit);
            }
            match timeout_at(deadline, self.open(peer, application)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) if error.kind == ErrorKind::WrongCredentials => return Err(error),
                Ok(Err(error)) => failure = Some(worse(failure, error)),
                Err(_) => failure = Some(worse(failure, DatabaseError::timed_out(self))),
            }
        }
        Err(failure.unwrap_or_else(|| DatabaseError::timed_out(self)))
    }

    /// Opens another session with the server of a session.
    pub(crate) async fn connect_again(&self, peer: &Peer) -> Result<Session, DatabaseError> {
        match timeout(self.deadlines.connect, self.open(peer.clone(), "retail probe")).await {
            Ok(opened) => opened,
            Err(_) => Err(DatabaseError::timed_out(self)),
        }
    }

    /// Connects, with TLS as the settings say.
    pub(crate) async fn link(&self, peer: &Peer) -> Result<(Box<dyn Stream>, Link), DatabaseError> {
        let unreachable = |error: std::io::Error| DatabaseError::unreachable(self, &error);
        let mut stream = peer.address.connect().await.map_err(unreachable)?;
        let Some(tls) = &self.tls else {
            let is_local = matches!(peer.address, Address::Unix(_));
            return Ok((stream, if is_local { Link::Verified } else { Link::Clear }));
        };
        if !socket::request_tls(&mut stream).await.map_err(unreachable)? {
            return if tls.is_optional { Ok((stream, Link::Clear)) } else { Err(handshake::unsupported(self)) };
        }
        let stream = socket::handshake(&tls.connector, &peer.name, stream).await;
        Ok((stream.map_err(|error| handshake::explain(self, &error))?, tls.link()))
    }

    /// Opens a session at one address.
    async fn open(&self, peer: Peer, application: &str) -> Result<Session, DatabaseError> {
        let (stream, link) = self.link(&peer).await?;
        let seen = Arc::new(Seen::default());
        let rules = Rules { answer: self.max_answer, log_ins: self.log_ins(), link };
        let guard = Guard::new(stream, rules, Arc::clone(&seen));
        let opened = self.start_up(application).connect_raw(guard, HandshakeDone).await;
        let (client, connection) = opened.map_err(|error| DatabaseError::explain(self, &error))?;
        if seen.method.get() == Some(&Method::Md5) && link == Link::Clear {
            self.say_once(
                |address| {
                    tracing::warn!(
                        "the log-in to postgres at {address} sends an MD5 hash of the password without TLS, from which an \
                         eavesdropper can log in: set database.tls, or configure scram-sha-256 in the server"
                    );
                },
                "md5",
            );
        }
        let (cause, ended) = watch::channel(None);
        let settings = self.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                cause.send_replace(Some(DatabaseError::explain(&settings, &error)));
            }
        });
        let mut session =
            Session::new(client, self.clone(), peer, Arc::clone(&seen), application, task.abort_handle(), ended);
        session.is_direct = self.first_query(&session).await?;
        if session.is_direct {
            self.check_client(&session).await?;
        } else {
            self.say_once(
                |address| {
                    tracing::info!(
                        "a connection pooler stands between this process and postgres at {address}: its pool must have a session \
                         for each worker and two more, and only the timeouts of the server end a statement"
                    );
                },
                "pooler",
            );
        }
        Ok(session)
    }

    /// Returns whether no pooler stands between the session and its server.
    async fn first_query(&self, session: &Session) -> Result<bool, DatabaseError> {
        let announced = session.seen.process_id().unwrap_or_default();
        let row = session.ask(session.client.query_typed_one(FIRST, &[(&announced, Type::INT4)])).await?;
        let (is_direct, reads_only): (bool, bool) = (row.get(0), row.get(1));
        if self.url.reads_only.is_some_and(|wanted| wanted != reads_only) {
            return Err(DatabaseError::wrong_server(self, reads_only));
        }
        Ok(is_direct)
    }

    /// Lets the server notice within seconds that this process has closed the connection, also while it executes a statement.
    async fn check_client(&self, session: &Session) -> Result<(), DatabaseError> {
        match session.client.batch_execute(CHECK_CLIENT).await {
            // Windows does not support it.
            Err(error) if error.as_db_error().is_some() => Ok(()),
            result => session.ask(std::future::ready(result)).await,
        }
    }

    /// Calls `say` with the address, once per process, address and `subject`.
    pub(crate) fn say_once(&self, say: impl FnOnce(&str), subject: &'static str) {
        static SAID: Mutex<BTreeSet<(&'static str, String)>> = Mutex::new(BTreeSet::new());
        let address = self.address();
        let is_new = SAID.lock().unwrap_or_else(PoisonError::into_inner).insert((subject, address.clone()));
        if is_new {
            say(&address);
        }
    }
}

/// The part of the time until `deadline` for one of `count` candidates, so that a silent one does not use the time of all.
fn share(deadline: Instant, count: usize) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / u32::try_from(count).unwrap_or(u32::MAX)
}

/// The error that says more: an unreachable server may be only one of several.
fn worse(before: Option<DatabaseError>, error: DatabaseError) -> DatabaseError {
    match before {
        Some(before) if before.kind != ErrorKind::Unreachable => before,
        _ => error,
    }
}

async fn addresses(server: &Server) -> std::io::Result<Vec<Address>> {
    if server.address.starts_with('/') {
        return Ok(vec![Address::Unix(format!("{}/.s.PGSQL.{}", server.address, server.port).into())]);
    }
    let found = tokio::net::lookup_host((server.address.as_str(), server.port)).await?;
    let found: Vec<Address> = found.map(Address::Tcp).collect();
    if found.is_empty() {
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "the host name has no address"));
    }
    Ok(found)
}
