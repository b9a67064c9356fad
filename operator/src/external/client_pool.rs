//! Clients that pipelines share: making one costs more than all that a look asks of it.
//!
//! A client is lent to one question at a time, so that what it hears of trouble is about that question, and no question
//! waits for another. It comes back after an answer, and waits for the next question by the same connection: the same
//! servers, user, password and certificates. It is closed when nobody asked for [`IDLE`], when it is as old as [`AGE`], and
//! when there are more than [`MOST`].
//!
//! What a client that was kept fails with says nothing about now: its connection may have ended while nobody looked. It is
//! closed, with all that were made alike, and the question is put to a new one, whose word counts. So a failure is as it would
//! be if nothing was shared.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// For how long a client waits for the next question: three looks.
pub const IDLE: Duration = Duration::from_secs(90);

/// How old a client may become. Servers ask who we are at the beginning; a log-in that they would no longer take is found out
/// after this time at the latest.
pub const AGE: Duration = Duration::from_secs(600);

/// How many clients wait at most: as many as there can be questions at once. Beyond that, those that waited longest go.
const MOST: usize = 16;

/// Clients of one kind, that wait. `K` is what they were made by.
pub struct ClientPool<K, C> {
    waiting: Mutex<Idle<K, C>>,
    idle: Duration,
    age: Duration,
}

struct Idle<K, C> {
    /// Those that came back last are at the end.
    clients: Vec<PooledClient<K, C>>,
    /// Whether a task closes what nobody asks for.
    is_swept: bool,
}

struct PooledClient<K, C> {
    made_by: K,
    client: C,
    made: Instant,
    came_back: Instant,
}

impl<K: Clone + Send + 'static, C: Send + 'static> ClientPool<K, C> {
    /// Keeps clients for these times.
    pub fn new(idle: Duration, age: Duration) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::new(Idle { clients: Vec::new(), is_swept: false }), idle, age })
    }

    /// Puts `question` to a client that was made by the like of `by`, or else to one that `make` makes.
    pub async fn ask<T, E, M, Q>(
        self: &Arc<Self>,
        by: &K,
        alike: impl Fn(&K, &K) -> bool,
        make: impl FnOnce() -> M,
        question: impl Fn(C) -> Q,
    ) -> Result<T, E>
    where
        M: Future<Output = Result<C, E>>,
        Q: Future<Output = (C, Result<T, E>)>,
    {
        if let Some(kept) = self.take(|made_by| alike(made_by, by)) {
            let PooledClient { made_by, client, made, .. } = kept;
            let (client, answer) = question(client).await;
            if answer.is_ok() {
                self.keep(made_by, client, made);
                return answer;
            }
            let mut ended = self.remove(|other| alike(&other.made_by, by));
            ended.push(client);
            close(ended);
        }
        let made = Instant::now();
        let (client, answer) = question(make().await?).await;
        if answer.is_ok() {
            self.keep(by.clone(), client, made);
        } else {
            close(vec![client]);
        }
        answer
    }

    /// The client that came back last, so that those that are not needed are left waiting.
    fn take(&self, is_wanted: impl Fn(&K) -> bool) -> Option<PooledClient<K, C>> {
        let now = Instant::now();
        let mut waiting = self.lock();
        let place = waiting.clients.iter().rposition(|kept| is_wanted(&kept.made_by) && !self.is_over(kept, now))?;
        Some(waiting.clients.remove(place))
    }

    fn keep(self: &Arc<Self>, made_by: K, client: C, made: Instant) {
        let mut waiting = self.lock();
        waiting.clients.push(PooledClient { made_by, client, made, came_back: Instant::now() });
        let too_many = waiting.clients.len().saturating_sub(MOST);
        let ended: Vec<C> = waiting.clients.drain(..too_many).map(|kept| kept.client).collect();
        if !waiting.is_swept {
            waiting.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self), self.idle / 2));
        }
        drop(waiting);
        close(ended);
    }

    fn remove(&self, is_over: impl Fn(&PooledClient<K, C>) -> bool) -> Vec<C> {
        self.lock().clients.extract_if(.., |kept| is_over(kept)).map(|kept| kept.client).collect()
    }

    fn is_over(&self, kept: &PooledClient<K, C>, now: Instant) -> bool {
        now - kept.came_back >= self.idle || now - kept.made >= self.age
    }

    fn lock(&self) -> MutexGuard<'_, Idle<K, C>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what is over, as long as anything waits.
async fn sweep<K: Clone + Send + 'static, C: Send + 'static>(pool: Weak<ClientPool<K, C>>, pause: Duration) {
    loop {
        sleep(pause).await;
        let Some(pool) = pool.upgrade() else { return };
        let now = Instant::now();
        close(pool.remove(|kept| pool.is_over(kept, now)));
        let mut waiting = pool.lock();
        if waiting.clients.is_empty() {
            waiting.is_swept = false;
            return;
        }
    }
}

/// A Kafka client waits for its threads when it is dropped.
fn close<C: Send + 'static>(clients: Vec<C>) {
    if !clients.is_empty() {
        tokio::task::spawn_blocking(move || drop(clients));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A server that lets in anybody, counts, and answers as it is told.
    #[derive(Clone, Default)]
    struct Server(Arc<Counted>);

    #[derive(Default)]
    struct Counted {
        made: AtomicUsize,
        open: AtomicUsize,
    }

    /// The number of the client, which is closed with the value.
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

        /// Asks by a login; those below `first_good` fail. Answers the number of the client.
        async fn ask(
            &self,
            pool: &Arc<ClientPool<&'static str, Connection>>,
            by: &'static str,
            first_good: usize,
        ) -> Result<usize, usize> {
            let make = async || {
                self.0.open.fetch_add(1, Ordering::SeqCst);
                Ok(Connection(self.0.made.fetch_add(1, Ordering::SeqCst), self.clone()))
            };
            let question = async |connection: Connection| {
                // Others may ask meanwhile.
                tokio::task::yield_now().await;
                let number = connection.0;
                (connection, if number < first_good { Err(number) } else { Ok(number) })
            };
            pool.ask(&by, PartialEq::eq, make, question).await
        }
    }

    fn pool() -> (Server, Arc<ClientPool<&'static str, Connection>>) {
        (Server::default(), ClientPool::new(IDLE, AGE))
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_client_that_was_kept_fails_with_is_asked_once_more_of_a_new_one() {
        let (server, pool) = pool();
        assert_eq!(server.ask(&pool, "a", 0).await, Ok(0));
        assert_eq!(server.ask(&pool, "a", 0).await, Ok(0));
        assert_eq!(server.ask(&pool, "b", 0).await, Ok(1));
        assert_eq!(server.ask(&pool, "a", 1).await, Ok(2));
        assert_eq!(server.ask(&pool, "a", 0).await, Ok(2));
        // The new one's word counts, and it is not kept either.
        assert_eq!(server.ask(&pool, "a", 9).await, Err(3));
        assert_eq!(server.ask(&pool, "a", 9).await, Err(4));
        server.closes_all_but(1).await;
        assert_eq!(server.ask(&pool, "b", 0).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn with_one_that_failed_go_all_that_were_made_alike() {
        let (server, pool) = pool();
        let (one, two, other) =
            tokio::join!(server.ask(&pool, "a", 0), server.ask(&pool, "a", 0), server.ask(&pool, "b", 0));
        assert_eq!((one, two, other), (Ok(0), Ok(1), Ok(2)));
        assert_eq!(server.ask(&pool, "a", 2).await, Ok(3));
        server.closes_all_but(2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_nobody_asks_for_are_closed_and_so_are_old_ones() {
        let (server, pool) = pool();
        let (one, two) = tokio::join!(server.ask(&pool, "a", 0), server.ask(&pool, "a", 0));
        assert_eq!((one, two), (Ok(0), Ok(1)));
        // One is enough for looks that come after each other; the other is closed.
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
        // Whoever closes them begins again with the next.
        server.ask(&pool, "a", 0).await.unwrap();
        sleep(IDLE * 2).await;
        server.closes_all_but(0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_clients_wait_than_there_are_questions_at_once() {
        let (server, pool) = pool();
        let logins: Vec<&'static str> = (0..MOST + 4).map(|number| &*format!("{number}").leak()).collect();
        for login in &logins {
            server.ask(&pool, login, 0).await.unwrap();
        }
        server.closes_all_but(MOST).await;
        // Those that waited longest went.
        assert_eq!(server.ask(&pool, logins[MOST + 3], 0).await, Ok(MOST + 3));
        assert_eq!(server.ask(&pool, logins[0], 0).await, Ok(MOST + 4));
    }
}
