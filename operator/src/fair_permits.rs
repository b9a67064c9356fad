//! A limit of concurrent work that is fair between namespaces: waiting namespaces take turns, so that many pipelines of one
//! namespace do not delay the only pipeline of another.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Permits for concurrent work.
#[derive(Debug)]
pub(crate) struct FairPermits(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Namespaces with waiting work; the first one receives the next permit. Each is contained once.
    turns: VecDeque<String>,
    /// Waiting work of each namespace in `turns`, in the order of its arrival.
    waiting: HashMap<String, VecDeque<oneshot::Sender<Permit>>>,
}

/// A permit. Dropping it lets the next one begin.
#[derive(Debug)]
pub(crate) struct Permit(Option<Arc<FairPermits>>);

impl FairPermits {
    /// Permits for `limit` concurrent works.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free: limit, turns: VecDeque::new(), waiting: HashMap::new() })))
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(self: &Arc<Self>, namespace: &str) -> Permit {
        let granted = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Permit(Some(Arc::clone(self)));
            }
            let (sender, granted) = oneshot::channel();
            if let Some(queue) = state.waiting.get_mut(namespace) {
                queue.push_back(sender);
            } else {
                state.turns.push_back(namespace.to_owned());
                state.waiting.insert(namespace.to_owned(), VecDeque::from([sender]));
            }
            granted
        };
        granted.await.expect("a waiting sender is dropped only after it sent")
    }

    /// Grants a released permit to the next waiting work that still waits.
    fn release(self: &Arc<Self>) {
        while let Some(waiting) = self.next_or_free() {
            match waiting.send(Permit(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // The waiting work was dropped. Its permit goes to the next one, without a release by its own drop.
                Err(mut permit) => permit.0 = None,
            }
        }
    }

    fn next_or_free(&self) -> Option<oneshot::Sender<Permit>> {
        let mut state = self.lock();
        let Some(namespace) = state.turns.pop_front() else {
            state.free += 1;
            return None;
        };
        let queue = state.waiting.get_mut(&namespace).expect("every namespace in turns has a queue");
        let next = queue.pop_front();
        if queue.is_empty() {
            state.waiting.remove(&namespace);
        } else {
            state.turns.push_back(namespace);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(permits) = self.0.take() {
            permits.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting = std::pin::Pin<Box<dyn Future<Output = Permit>>>;

    fn wait(permits: &Arc<FairPermits>, namespace: &'static str) -> Waiting {
        let permits = Arc::clone(permits);
        let mut waiting: Waiting = Box::pin(async move { permits.acquire(namespace).await });
        assert!(poll(&mut waiting).is_none());
        waiting
    }

    fn poll(waiting: &mut Waiting) -> Option<Permit> {
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn namespaces_take_turns() {
        let permits = FairPermits::new(1);
        let held = permits.acquire("many").await;
        let mut many = [wait(&permits, "many"), wait(&permits, "many"), wait(&permits, "many")];
        let mut few = wait(&permits, "few");
        drop(held);
        let first = poll(&mut many[0]).expect("it arrived first");
        assert!(poll(&mut many[1]).is_none() && poll(&mut few).is_none());
        drop(first);
        let second = poll(&mut few).expect("the other namespace has its turn");
        drop(second);
        let third = poll(&mut many[1]).expect("the first namespace has its turn again");
        drop(third);
        drop(poll(&mut many[2]).expect("nothing else waits"));
        drop(permits.acquire("few").await);
    }

    #[tokio::test]
    async fn dropped_waiting_work_loses_no_permit() {
        let permits = FairPermits::new(1);
        let held = permits.acquire("a").await;
        let (dropped, mut next) = (wait(&permits, "a"), wait(&permits, "b"));
        drop(dropped);
        drop(held);
        // This one was granted its permit and is dropped before it takes it.
        drop(poll(&mut next).expect("it is the only one"));
        let held = permits.acquire("a").await;
        let granted = wait(&permits, "a");
        drop(held);
        drop(granted);
        drop(permits.acquire("b").await);
    }
}
