//! Observations in the background: a pass waits for a prompt answer only, and a later one starts another pass.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::external::server_health::Wake;

/// Time for which an answer that no pass has used is current.
const CURRENT: Duration = Duration::from_secs(10);

/// The observations of one kind, of all pipelines. `I` identifies a question: an answer to an equal question is its answer.
#[derive(Debug)]
pub(crate) struct Inquiries<I, A>(Mutex<HashMap<String, Inquiry<I, A>>>);

/// The known answer about a pipeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Known<A> {
    /// The answer to a request of this pass, or to one that no pass has used yet.
    Current(A),
    /// The answer to an earlier request; another one runs.
    Outdated(A),
    /// The first request runs.
    Nothing,
    /// The request panicked with this message.
    Panicked(String),
}

#[derive(Debug)]
struct Inquiry<I, A> {
    question: I,
    /// The running request.
    running: Option<Running>,
    answer: Option<Answer<A>>,
}

#[derive(Debug)]
struct Running {
    task: JoinHandle<()>,
    ended: watch::Receiver<()>,
    /// Whether a pass waits for the answer.
    is_awaited: bool,
}

#[derive(Debug)]
struct Answer<A> {
    result: Result<A, String>,
    at: Instant,
    is_used: bool,
}

impl<I, A> Default for Inquiries<I, A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<I: PartialEq + Send + 'static, A: Clone + Send + 'static> Inquiries<I, A> {
    /// Asks a question about a pipeline, and waits up to `patience` for the answer. A later answer calls `wake`. `is_related` tells
    /// whether the answer to an earlier question still describes the pipeline.
    pub(crate) async fn ask<F: Future<Output = A> + Send + 'static>(
        self: &Arc<Self>,
        uid: &str,
        question: I,
        is_related: impl FnOnce(&I, &I) -> bool,
        patience: Duration,
        wake: &Wake,
        send: impl FnOnce() -> F,
    ) -> Known<A> {
        let mut ended = {
            let mut inquiries = self.lock();
            let known = inquiries.remove(uid);
            let mut inquiry = match known {
                Some(mut known) if known.question == question => {
                    if let Some(answer) = known.take_current() {
                        inquiries.insert(uid.to_owned(), known);
                        return answer;
                    }
                    known
                }
                Some(known) if is_related(&known.question, &question) => {
                    Inquiry { question, running: None, answer: known.answer }
                }
                Some(_) | None => Inquiry { question, running: None, answer: None },
            };
            let running = inquiry.running.get_or_insert_with(|| self.begin(uid, Arc::clone(wake), send()));
            running.is_awaited = true;
            let ended = running.ended.clone();
            inquiries.insert(uid.to_owned(), inquiry);
            ended
        };
        // The sender is dropped at the end of the request.
        let _in_time = timeout(patience, async { while ended.changed().await.is_ok() {} }).await;
        let mut inquiries = self.lock();
        let Some(inquiry) = inquiries.get_mut(uid) else { return Known::Nothing };
        if let Some(running) = &mut inquiry.running {
            running.is_awaited = false;
        }
        if let Some(answer) = inquiry.take_current() {
            return answer;
        }
        match &inquiry.answer {
            Some(Answer { result: Ok(answer), .. }) => Known::Outdated(answer.clone()),
            Some(Answer { result: Err(_), .. }) | None => Known::Nothing,
        }
    }

    /// Forgets a pipeline, and ends its request.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn begin(self: &Arc<Self>, uid: &str, wake: Wake, request: impl Future<Output = A> + Send + 'static) -> Running {
        let (uid, inquiries) = (uid.to_owned(), Arc::downgrade(self));
        let (ends, ended) = watch::channel(());
        let task = tokio::spawn(async move {
            let result = AssertUnwindSafe(request).catch_unwind().await.map_err(|panic| panic_message(&*panic));
            let Some(inquiries) = inquiries.upgrade() else { return };
            let is_awaited = {
                let mut inquiries = inquiries.lock();
                let Some(inquiry) = inquiries.get_mut(&uid) else { return };
                inquiry.answer = Some(Answer { result, at: Instant::now(), is_used: false });
                // Aborting this task at its end has no effect.
                inquiry.running.take().is_some_and(|running| running.is_awaited)
            };
            drop(ends);
            if !is_awaited {
                wake();
            }
        });
        Running { task, ended, is_awaited: false }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Inquiry<I, A>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I, A: Clone> Inquiry<I, A> {
    /// The answer that no pass has used.
    fn take_current(&mut self) -> Option<Known<A>> {
        let answer = self.answer.as_mut().filter(|answer| !answer.is_used && answer.at.elapsed() < CURRENT)?;
        answer.is_used = true;
        Some(match &answer.result {
            Ok(answer) => Known::Current(answer.clone()),
            Err(panic) => Known::Panicked(panic.clone()),
        })
    }
}

/// The text of a panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// A question is a server and a number; questions to one server are related.
    type Question = (&'static str, u32);

    #[derive(Default)]
    struct Fixture {
        inquiries: Arc<Inquiries<Question, u32>>,
        woken: Arc<AtomicUsize>,
    }

    impl Fixture {
        async fn ask(&self, question: Question, answer: impl Future<Output = u32> + Send + 'static) -> Known<u32> {
            let woken = Arc::clone(&self.woken);
            let wake: Wake = Arc::new(move || {
                woken.fetch_add(1, Ordering::SeqCst);
            });
            self.inquiries.ask("uid", question, |a, b| a.0 == b.0, PATIENCE, &wake, || answer).await
        }

        async fn woken(&self) -> usize {
            for _ in 0..10 {
                yield_now().await;
            }
            self.woken.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn prompt_answer_is_current_and_used_once() {
        let fixture = Fixture::default();
        assert_eq!(fixture.ask(("a", 1), async { 7 }).await, Known::Current(7));
        assert_eq!(fixture.ask(("a", 1), async { 8 }).await, Known::Current(8));
        assert_eq!(fixture.woken().await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn late_answer_wakes_the_pipeline_and_is_current_then() {
        let fixture = Fixture::default();
        let (sender, late) = oneshot::channel();
        let began = Instant::now();
        assert_eq!(fixture.ask(("a", 1), async { late.await.unwrap() }).await, Known::Nothing);
        assert_eq!(began.elapsed(), PATIENCE);
        // The running request also answers the next pass.
        assert_eq!(fixture.ask(("a", 1), async { panic!("not sent") }).await, Known::Nothing);
        sender.send(7).unwrap();
        assert_eq!(fixture.woken().await, 1);
        assert_eq!(fixture.ask(("a", 1), async { panic!("not sent") }).await, Known::Current(7));
        // The next request is late, and the old answer is known.
        assert_eq!(fixture.ask(("a", 1), std::future::pending()).await, Known::Outdated(7));
        // An old answer that no pass used is not current.
        let (sender, late) = oneshot::channel();
        assert_eq!(fixture.ask(("a", 2), async { late.await.unwrap() }).await, Known::Outdated(7));
        sender.send(8).unwrap();
        assert_eq!(fixture.woken().await, 2);
        tokio::time::advance(CURRENT).await;
        assert_eq!(fixture.ask(("a", 2), async { 9 }).await, Known::Current(9));
    }

    #[tokio::test(start_paused = true)]
    async fn changed_question_ends_the_running_request() {
        let fixture = Fixture::default();
        let (sender, late) = oneshot::channel();
        assert_eq!(fixture.ask(("a", 1), async { late.await.unwrap() }).await, Known::Nothing);
        assert_eq!(fixture.ask(("b", 1), async { 8 }).await, Known::Current(8));
        fixture.woken().await;
        assert!(sender.send(7).is_err(), "the request has not ended");
        // The answer of another server does not describe the pipeline.
        assert_eq!(fixture.ask(("c", 1), std::future::pending()).await, Known::Nothing);
        fixture.inquiries.forget("uid");
        assert_eq!(fixture.woken().await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn panic_of_a_request_is_its_answer() {
        let fixture = Fixture::default();
        assert_eq!(fixture.ask(("a", 1), async { panic!("bug") }).await, Known::Panicked("bug".to_owned()));
        assert_eq!(fixture.ask(("a", 1), async { 8 }).await, Known::Current(8));
    }
}
