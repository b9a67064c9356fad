//! Clients that pipelines share: opening a connection costs more than the requests of one observation.
//!
//! A client serves one request at a time, so its errors belong to that request, and requests do not wait for each other.
//! After a successful request it returns to the pool, for the next request with the same connection parameters: servers,
//! user, password and certificates. The pool closes a client after [`IDLE`] without a request, at the age [`AGE`], and when
//! it holds more than `MAX_IDLE`.
//!
//! An error of a pooled client may be outdated: its connection may have ended while it was idle. The pool closes it together
//! with all clients of the same parameters, and repeats the request with a new client, whose result counts. An error is
//! therefore the one that an unshared client would return.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Time until an idle client is closed: three observations.
pub const IDLE: Duration = Duration::from_secs(90);

/// Maximum age of a client. Servers authenticate when a connection is opened, so revoked credentials are detected after this time
/// at the latest.
pub const AGE: Duration = Duration::from_secs(600);

/// Maximum number of idle clients: the number of concurrent requests. Beyond that, the pool closes those idle for longest.
const MAX_IDLE: usize = 16;

/// Idle clients of one kind. `K` is the type of their connection parameters.
pub(crate) struct ClientPool<K, C> {
    clients: Mutex<Idle<K, C>>,
    max_idle: Duration,
    max_age: Duration,
}

struct Idle<K, C> {
    /// In the order of their return.
    clients: Vec<PooledClient<K, C>>,
    /// Whether the task that closes expired clients runs.
    is_sweeping: bool,
}

struct PooledClient<K, C> {
    key: K,
    client: C,
    opened: Instant,
    returned: Instant,
}

impl<K: Clone + Send + 'static, C: Send + 'static> ClientPool<K, C> {
    /// A pool with these limits for idle time and age.
    pub(crate) fn new(max_idle: Duration, max_age: Duration) -> Arc<Self> {
        Arc::new(Self { clients: Mutex::new(Idle { clients: Vec::new(), is_sweeping: false }), max_idle, max_age })
    }

    /// Passes a client to `request`: a pooled one whose parameters match `key`, otherwise one that `connect` opens.
    pub(crate) async fn request<T, E, M, Q>(
        self: &Arc<Self>,
        key: &K,
        matches: impl Fn(&K, &K) -> bool,
        connect: impl FnOnce() -> M,
        request: impl Fn(C) -> Q,
    ) -> Result<T, E>
    where
        M: Future<Output = Result<C, E>>,
        Q: Future<Output = (C, Result<T, E>)>,
    {
        if let Some(pooled) = self.take(|other| matches(other, key)) {
            let PooledClient { key: pooled_key, client, opened, returned: _ } = pooled;
            let (client, answer) = request(client).await;
            if answer.is_ok() {
                self.keep(pooled_key, client, opened);
                return answer;
            }
            let mut ended = self.remove(|other| matches(&other.key, key));
            ended.push(client);
            close(ended);
        }
        let opened = Instant::now();
        let (client, answer) = request(connect().await?).await;
        if answer.is_ok() {
            self.keep(key.clone(), client, opened);
        } else {
            close(vec![client]);
        }
        answer
    }

    /// The client that returned last, so that surplus clients stay idle and expire.
    fn take(&self, is_wanted: impl Fn(&K) -> bool) -> Option<PooledClient<K, C>> {
        let now = Instant::now();
        let mut idle = self.lock();
        let place = idle.clients.iter().rposition(|pooled| is_wanted(&pooled.key) && !self.is_expired(pooled, now))?;
        Some(idle.clients.remove(place))
    }

    fn keep(self: &Arc<Self>, key: K, client: C, opened: Instant) {
        let mut idle = self.lock();
        idle.clients.push(PooledClient { key, client, opened, returned: Instant::now() });
        let too_many = idle.clients.len().saturating_sub(MAX_IDLE);
        let ended: Vec<C> = idle.clients.drain(..too_many).map(|pooled| pooled.client).collect();
        if !idle.is_sweeping {
            idle.is_sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(self), self.max_idle / 2));
        }
        drop(idle);
        close(ended);
    }

    fn remove(&self, is_expired: impl Fn(&PooledClient<K, C>) -> bool) -> Vec<C> {
        self.lock().clients.extract_if(.., |pooled| is_expired(pooled)).map(|pooled| pooled.client).collect()
    }

    fn is_expired(&self, pooled: &PooledClient<K, C>, now: Instant) -> bool {
        now - pooled.returned >= self.max_idle || now - pooled.opened >= self.max_age
    }

    fn lock(&self) -> MutexGuard<'_, Idle<K, C>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes expired clients until the pool is empty.
async fn sweep<K: Clone + Send + 'static, C: Send + 'static>(pool: Weak<ClientPool<K, C>>, pause: Duration) {
    loop {
        sleep(pause).await;
        let Some(pool) = pool.upgrade() else { return };
        let now = Instant::now();
        close(pool.remove(|pooled| pool.is_expired(pooled, now)));
        let mut waiting = pool.lock();
        if waiting.clients.is_empty() {
            waiting.is_sweeping = false;
            return;
        }
    }
}

/// Off the runtime's threads: dropping a Kafka client waits for its own threads.
fn close<C: Send + 'static>(clients: Vec<C>) {
    if !clients.is_empty() {
        tokio::task::spawn_blocking(move || drop(clients));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A server that accepts every login, counts its clients, and fails on request.
    #[derive(Clone, Default)]
    struct Server(Arc<Counted>);

    #[derive(Default)]
    struct Counted {
        made: AtomicUsize,
        open: AtomicUsize,
    }

    /// The number of the client. Dropping the value closes it.
    struct Connection(usize, Server);

    impl Drop for Connection {
        fn drop(&mut self) {
            self.1.0.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Server {
        fn open(&self) -> usize {
            self.0.open.load(Ordering::SeqCst)
        }

        async fn closes_all_but(&self, number: usize) {
            while self.open() > number {
                tokio::task::yield_now().await;
            }
            assert_eq!(self.open(), number);
        }

        /// Sends a request with a login and returns the number of its client. Clients below `first_good` fail.
        async fn ask(
            &self,
            pool: &Arc<ClientPool<&'static str, Connection>>,
            login: &'static str,
            first_good: usize,
        ) -> Result<usize, usize> {
            let connect = async || {
                self.0.open.fetch_add(1, Ordering::SeqCst);
                Ok(Connection(self.0.made.fetch_add(1, Ordering::SeqCst), self.clone()))
            };
            let request = async |connection: Connection| {
                // Lets concurrent requests run.
                tokio::task::yield_now().await;
                let number = connection.0;
                (connection, if number < first_good { Err(number) } else { Ok(number) })
            };
            pool.request(&login, PartialEq::eq, connect, request).await
        }
    }

    fn pool() -> (Server, Arc<ClientPool<&'static str, Connection>>) {
        (Server::default(), ClientPool::new(IDLE, AGE))
    }

    #[tokio::test(start_paused = true)]
    async fn request_failed_on_pooled_client_is_repeated_on_new_one() {
        let (server, pool) = pool();
        assert_eq!(server.ask(&pool, "a", 0).await, Ok(0));
        assert_eq!(server.ask(&pool, "a", 0).await, Ok(0));
        assert_eq!(server.ask(&pool, "b", 0).await, Ok(1));
        assert_eq!(server.ask(&pool, "a", 1).await, Ok(2));
        assert_eq!(server.ask(&pool, "a", 0).await, Ok(2));
        // The new client's error counts, and the pool does not keep it.
        assert_eq!(server.ask(&pool, "a", 9).await, Err(3));
        assert_eq!(server.ask(&pool, "a", 9).await, Err(4));
        server.closes_all_but(1).await;
        assert_eq!(server.ask(&pool, "b", 0).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn failed_client_closes_all_with_the_same_parameters() {
        let (server, pool) = pool();
        let (one, two, other) =
            tokio::join!(server.ask(&pool, "a", 0), server.ask(&pool, "a", 0), server.ask(&pool, "b", 0));
        assert_eq!((one, two, other), (Ok(0), Ok(1), Ok(2)));
        assert_eq!(server.ask(&pool, "a", 2).await, Ok(3));
        server.closes_all_but(2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn idle_and_old_clients_are_closed() {
        let (server, pool) = pool();
        let (one, two) = tokio::join!(server.ask(&pool, "a", 0), server.ask(&pool, "a", 0));
        assert_eq!((one, two), (Ok(0), Ok(1)));
        // Sequential requests use one client; the other one expires.
        let kept = server.ask(&pool, "a", 0).await;
        for _ in 0..4 {
            sleep(IDLE / 3).await;
            assert_eq!(server.ask(&pool, "a", 0).await, kept);
        }
        server.closes_all_but(1).await;
        for _ in 0..AGE.as_secs() / (IDLE / 3).as_secs() {
            sleep(IDLE / 3).await;
            server.ask(&pool, "a", 0).await.unwrap();
        }
        assert_eq!(server.ask(&pool, "a", 0).await, Ok(2));
        server.closes_all_but(1).await;
        sleep(IDLE * 2).await;
        server.closes_all_but(0).await;
        // The closing task starts again with the next client.
        server.ask(&pool, "a", 0).await.unwrap();
        sleep(IDLE * 2).await;
        server.closes_all_but(0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn idle_clients_beyond_the_limit_are_closed() {
        let (server, pool) = pool();
        let logins: Vec<&'static str> = (0..MAX_IDLE + 4).map(|number| &*format!("{number}").leak()).collect();
        for login in &logins {
            server.ask(&pool, login, 0).await.unwrap();
        }
        server.closes_all_but(MAX_IDLE).await;
        // The clients idle for longest were closed.
        assert_eq!(server.ask(&pool, logins[MAX_IDLE + 3], 0).await, Ok(MAX_IDLE + 3));
        assert_eq!(server.ask(&pool, logins[0], 0).await, Ok(MAX_IDLE + 4));
    }
}
