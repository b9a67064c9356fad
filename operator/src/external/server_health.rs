//! What the operator knows about the servers, shared by all pipelines: a server that does not answer is asked by few requests, and
//! its error is the answer of the others.
//!
//! ```text
//!   Unknown ──► a probe ──► Answers ──► a shared error ──► Fails, for a growing time ──► a probe ──► …
//! ```
//!
//! A failure is shared by its cause: failures of the network by address, all others by connection parameters, so that a wrong
//! password of one tenant fails no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Time for which the first failure of a server is the answer of all requests; doubled for each further one.
const FIRST_FAILURE: Duration = Duration::from_secs(5);

/// Maximum of that time.
const LAST_FAILURE: Duration = Duration::from_secs(60);

/// Time after which a probe without an answer is joined by another one: it may wait for a lock of its own pipeline.
const PATIENCE: Duration = Duration::from_secs(2);

/// Maximum number of concurrent probes of a server.
const MAX_PROBES: usize = 3;

/// Time without a request after which a server is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// Time within which a server that is not known to fail is expected to answer.
pub(crate) const PROMPT: Duration = Duration::from_secs(1);

/// Called when a server answers again.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// The servers at one address, with other connection parameters each.
type AtAddress<C, E> = Vec<Arc<Server<C, E>>>;

/// All servers of a kind. `C` are connection parameters, `E` is their error.
#[derive(Debug)]
pub(crate) struct Servers<C, E> {
    matches: fn(&C, &C) -> bool,
    /// By address, so that few parameters are compared.
    servers: Mutex<HashMap<String, AtAddress<C, E>>>,
}

/// One server with one set of connection parameters.
pub(crate) struct Server<C, E> {
    /// The parameters.
    pub(crate) connection: C,
    state: Mutex<State<E>>,
    changed: Notify,
}

struct State<E> {
    health: Health<E>,
    /// Start of the last probe, and the number of running ones.
    probed: Instant,
    probes: usize,
    used: Instant,
    /// The pipelines that received the failure as their answer, by uid.
    affected: HashMap<String, Wake>,
}

#[derive(Clone, Debug)]
enum Health<E> {
    /// No request was answered yet.
    Unknown,
    /// The last request was answered.
    Answers,
    /// The last request failed. Until this time, the error is the answer of all requests.
    Fails { error: E, until: Instant, pause: Duration },
}

/// Which requests a request competes with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    /// Requests to servers that answer.
    Answering,
    /// First requests to servers.
    Unknown,
    /// Requests to servers that failed.
    Failing,
}

/// Whether a request may be sent.
enum Decision<E> {
    Send(Lane),
    /// A probe runs: wait for its end, at most until this time.
    Wait(Instant),
    Fail(E),
}

impl<C, E: Clone> Servers<C, E> {
    /// No servers. `matches` compares the parameters of connections.
    pub(crate) fn new(matches: fn(&C, &C) -> bool) -> Self {
        Self { matches, servers: Mutex::default() }
    }

    /// The server of a connection.
    pub(crate) fn of(&self, address: &str, connection: &C) -> Arc<Server<C, E>>
    where
        C: Clone,
    {
        let now = Instant::now();
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = servers.get(address).into_iter().flatten();
        if let Some(server) = known.into_iter().find(|server| (self.matches)(&server.connection, connection)) {
            server.lock().used = now;
            return Arc::clone(server);
        }
        servers.retain(|_, servers| {
            servers.retain(|server| Arc::strong_count(server) > 1 || now - server.lock().used < FORGOTTEN);
            !servers.is_empty()
        });
        let state = State { health: Health::Unknown, probed: now, probes: 0, used: now, affected: HashMap::new() };
        let server =
            Arc::new(Server { connection: connection.clone(), state: Mutex::new(state), changed: Notify::new() });
        servers.entry(address.to_owned()).or_default().push(Arc::clone(&server));
        server
    }
}

/// A request that may be sent. Its end is the server's new state.
pub(crate) struct Admitted<'a, C, E: Clone> {
    server: &'a Server<C, E>,
    /// Which requests it competes with.
    pub(crate) lane: Lane,
    is_finished: bool,
}

impl<C, E: Clone> Server<C, E> {
    /// Waits until a request may be sent, or returns the error of the server. `wake` is called when the server answers again.
    pub(crate) async fn admit(&self, uid: &str, wake: &Wake) -> Result<Admitted<'_, C, E>, E> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let decision = self.lock().decide(Instant::now());
            match decision {
                Decision::Send(lane) => return Ok(Admitted { server: self, lane, is_finished: false }),
                Decision::Wait(until) => drop(timeout_at(until, changed).await),
                Decision::Fail(error) => {
                    self.lock().affected.insert(uid.to_owned(), Arc::clone(wake));
                    return Err(error);
                }
            }
        }
    }

    /// The error of a server that fails, without waiting.
    pub(crate) fn failure(&self) -> Option<E> {
        match &self.lock().health {
            Health::Fails { error, until, .. } if *until > Instant::now() => Some(error.clone()),
            Health::Fails { .. } | Health::Unknown | Health::Answers => None,
        }
    }

    /// Whether an answer is expected within [`PROMPT`].
    pub(crate) fn is_prompt(&self) -> bool {
        let (state, now) = (self.lock(), Instant::now());
        match &state.health {
            Health::Answers => true,
            Health::Unknown => state.probes == 0 || now - state.probed < PROMPT,
            Health::Fails { until, .. } => *until > now,
        }
    }

    /// Stores the failure of a request; `None` after an answer.
    pub(crate) fn record(&self, failure: Option<E>) {
        let affected = self.lock().record(failure, Instant::now());
        self.changed.notify_waiters();
        for (_, wake) in affected {
            wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C, E: Clone> Admitted<'_, C, E> {
    /// Stores the result of the request: the failure if the server's other requests would fail too, or none after an answer.
    pub(crate) fn finish(mut self, failure: Option<E>) {
        self.end_probe();
        self.server.record(failure);
    }

    /// Ends a request that says nothing about the server's other requests. If they are answered at present, the next one finds
    /// out whether they still are; otherwise `failure` is the best that is known.
    pub(crate) fn finish_without_answer(mut self, failure: E) {
        self.end_probe();
        if self.lane == Lane::Answering {
            let mut state = self.server.lock();
            if matches!(state.health, Health::Answers) {
                state.health = Health::Unknown;
            }
        } else if !matches!(self.server.lock().health, Health::Answers) {
            self.server.record(Some(failure));
        }
    }

    fn end_probe(&mut self) {
        self.is_finished = true;
        if self.lane != Lane::Answering {
            self.server.lock().probes -= 1;
        }
    }
}

impl<C, E: Clone> Drop for Admitted<'_, C, E> {
    /// A request that was given up lets another one probe.
    fn drop(&mut self) {
        if !self.is_finished {
            self.end_probe();
            self.server.changed.notify_waiters();
        }
    }
}

impl<E: Clone> State<E> {
    fn decide(&mut self, now: Instant) -> Decision<E> {
        let lane = match &self.health {
            Health::Answers => return Decision::Send(Lane::Answering),
            Health::Fails { error, until, .. } if *until > now => return Decision::Fail(error.clone()),
            Health::Fails { .. } => Lane::Failing,
            Health::Unknown => Lane::Unknown,
        };
        let next = self.probed + PATIENCE;
        if self.probes > 0 && (self.probes >= MAX_PROBES || next > now) {
            return Decision::Wait(if next > now { next } else { now + PATIENCE });
        }
        self.probes += 1;
        self.probed = now;
        Decision::Send(lane)
    }

    /// Returns the pipelines to wake.
    fn record(&mut self, failure: Option<E>, now: Instant) -> HashMap<String, Wake> {
        let Some(error) = failure else {
            self.health = Health::Answers;
            return std::mem::take(&mut self.affected);
        };
        let pause = match &self.health {
            // Requests that were sent before the failure was known repeat it.
            Health::Fails { until, pause, .. } if *until > now => *pause,
            Health::Fails { pause, .. } => (*pause * 2).min(LAST_FAILURE),
            Health::Unknown | Health::Answers => FIRST_FAILURE,
        };
        self.health = Health::Fails { error, until: now + pause, pause };
        HashMap::new()
    }
}

impl<C, E> std::fmt::Debug for Server<C, E> {
    /// Without the parameters, which contain passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{advance, timeout};

    use super::*;

    fn server() -> Arc<Server<&'static str, &'static str>> {
        Servers::new(|a: &&str, b: &&str| a == b).of("kafka:9092", &"login")
    }

    fn quiet() -> Wake {
        Arc::new(|| {})
    }

    async fn admitted(server: &Server<&'static str, &'static str>) -> Option<Lane> {
        let admitted = timeout(Duration::from_millis(1), server.admit("uid", &quiet())).await.ok()?.ok()?;
        let lane = admitted.lane;
        std::mem::forget(admitted);
        Some(lane)
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_answers_all_requests() {
        let server = server();
        let wake = quiet();
        let probe = server.admit("a", &wake).await.unwrap();
        assert_eq!(probe.lane, Lane::Unknown);
        assert_eq!(admitted(&server).await, None, "the others wait for the probe");
        probe.finish(Some("refused"));
        assert_eq!(server.admit("b", &wake).await.err(), Some("refused"));
        assert_eq!(server.failure(), Some("refused"));
        // Each failed probe doubles the time until the next one.
        for seconds in [5, 10, 20, 40, 60, 60] {
            advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            assert_eq!(server.admit("b", &wake).await.err(), Some("refused"), "{seconds}");
            advance(Duration::from_millis(1)).await;
            let probe = server.admit("b", &wake).await.unwrap();
            assert_eq!(probe.lane, Lane::Failing);
            probe.finish(Some("refused"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_probe_is_joined_by_a_few_others() {
        let server = server();
        let mut probes = 0;
        for _ in 0..60 {
            probes += usize::from(admitted(&server).await.is_some());
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(probes, MAX_PROBES);
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_probe_is_replaced() {
        let server = server();
        drop(server.admit("a", &quiet()).await);
        assert_eq!(admitted(&server).await, Some(Lane::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn answering_server_wakes_the_affected_pipelines_once() {
        let (server, woken) = (server(), Arc::new(AtomicUsize::new(0)));
        let wake: Wake = {
            let woken = Arc::clone(&woken);
            Arc::new(move || {
                woken.fetch_add(1, Ordering::SeqCst);
            })
        };
        server.record(Some("down"));
        for uid in ["a", "b", "a"] {
            assert!(server.admit(uid, &wake).await.is_err());
        }
        advance(FIRST_FAILURE).await;
        let probe = server.admit("c", &wake).await.unwrap();
        probe.finish(None);
        server.record(None);
        assert_eq!(woken.load(Ordering::SeqCst), 2);
        // An answering server takes any number of requests, and a silent request makes it uncertain again.
        let first = server.admit("c", &wake).await.unwrap();
        assert_eq!(admitted(&server).await, Some(Lane::Answering));
        first.finish_without_answer("silent");
        assert_eq!((admitted(&server).await, server.failure()), (Some(Lane::Unknown), None));
    }

    #[test]
    fn servers_are_found_by_their_parameters() {
        let servers = Servers::<_, ()>::new(|a: &&str, b: &&str| a == b);
        let one = servers.of("kafka:9092", &"login");
        assert!(Arc::ptr_eq(&one, &servers.of("kafka:9092", &"login")));
        assert!(!Arc::ptr_eq(&one, &servers.of("kafka:9092", &"other")));
    }
}
