//! One thread that asks the brokers what all workers need to know: where the logs end, and whether the topic is still the same.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use retail_kafka::{KafkaAdmin, KafkaError, LogOffset, TopicDescription};
use tokio::sync::oneshot;

use crate::idle::Sighting;
use crate::state::State;

/// How often the logs' ends are asked for, unless idleTimeout wants it more often.
const EVERY: Duration = Duration::from_secs(1);

/// An answer that is older says that there are no newer ones.
const FRESH: Duration = Duration::from_secs(10);

/// How long a commit waits to hear that the topic is still the same. Brokers that do not answer have not made another.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The name under which trouble is reported.
const NAME: &str = "kafka";

/// What the brokers said last.
#[derive(Clone, Debug)]
pub(crate) struct Sightings {
    asked: Instant,
    answered: Instant,
    log_ends: Vec<i64>,
    /// Up to where a reader of committed data can read.
    stable_ends: Vec<i64>,
}

impl Sightings {
    /// Whether the brokers answered lately.
    pub(crate) fn is_fresh(&self) -> bool {
        self.answered.elapsed() < FRESH
    }

    /// Where the log of a partition ends.
    pub(crate) fn log_end(&self, partition: i32) -> Option<Sighting> {
        let log_end = *self.log_ends.get(usize::try_from(partition).ok()?)?;
        Some(Sighting { asked: self.asked, answered: self.answered, log_end })
    }

    /// Up to where a partition can be read.
    pub(crate) fn stable_end(&self, partition: i32) -> Option<i64> {
        self.stable_ends.get(usize::try_from(partition).ok()?).copied()
    }
}

/// What is asked of the scout: whether the topic is still the same, at some moment after the question.
type Question = oneshot::Sender<bool>;

/// How others talk to the scout. It ends when the last of these is gone.
#[derive(Clone, Debug)]
pub(crate) struct Scout {
    latest: Arc<Mutex<Option<Arc<Sightings>>>>,
    questions: Sender<Question>,
}

impl Scout {
    /// What the brokers said last, if they have said anything yet.
    pub(crate) fn latest(&self) -> Option<Arc<Sightings>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the topic is certainly not the one we read any more. Records that were taken before this question and are
    /// committed after the answer are then from the right topic.
    pub(crate) async fn topic_is_gone(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        if self.questions.send(answer).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(CHECK_TIMEOUT, answered).await, Ok(Ok(false)))
    }
}

/// Starts the thread. `ended` hears, once, that the topic is not the same any more.
pub(crate) fn start(
    admin: KafkaAdmin,
    topic: String,
    description: TopicDescription,
    idle_timeout: Duration,
    state: Arc<State>,
    ended: oneshot::Sender<()>,
) -> (Scout, JoinHandle<()>) {
    let (questions, asked) = std::sync::mpsc::channel();
    let latest = Arc::new(Mutex::new(None));
    let scout = Scout { latest: Arc::clone(&latest), questions };
    let run =
        move || Thread { admin, topic, description, state, latest }.run(&asked, EVERY.min(idle_timeout / 4), ended);
    let thread = std::thread::Builder::new().name("scout".to_owned()).spawn(run).expect("a thread can be started");
    (scout, thread)
}

struct Thread {
    admin: KafkaAdmin,
    topic: String,
    description: TopicDescription,
    state: Arc<State>,
    latest: Arc<Mutex<Option<Arc<Sightings>>>>,
}

impl Thread {
    fn run(mut self, questions: &Receiver<Question>, every: Duration, ended: oneshot::Sender<()>) {
        let mut ended = Some(ended);
        let mut next = Instant::now();
        loop {
            let mut asking: Vec<Question> = match questions.recv_timeout(next.saturating_duration_since(Instant::now()))
            {
                Ok(question) => vec![question],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            asking.extend(questions.try_iter());
            let due = Instant::now() >= next;
            match self.look(due) {
                Ok(true) => {
                    self.state.fine(NAME);
                    answer(asking, true);
                }
                Ok(false) => {
                    answer(asking, false);
                    answer(ended.take(), ());
                }
                // Those who asked hear nothing.
                Err(error) => self.state.trouble(NAME, &error.message),
            }
            if due {
                next = Instant::now() + every;
            }
        }
    }

    /// Whether the topic is still the same; with `everything`, also where its logs end.
    fn look(&mut self, everything: bool) -> Result<bool, KafkaError> {
        let asked = Instant::now();
        let Some(description) = self.admin.describe_topic(&self.topic)? else { return Ok(false) };
        if description.id != self.description.id {
            return Ok(false);
        }
        self.description = description;
        if everything {
            let log_ends = self.admin.log_offsets(&self.topic, self.description.partitions, LogOffset::End)?;
            let answered = Instant::now();
            let stable = self.admin.log_offsets(&self.topic, self.description.partitions, LogOffset::StableEnd)?;
            self.state.log_ends(&log_ends);
            let sightings = Sightings { asked, answered, log_ends, stable_ends: stable };
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(sightings));
        }
        Ok(true)
    }
}

/// Whoever does not listen any more needs no answer.
fn answer<T: Copy>(asking: impl IntoIterator<Item = oneshot::Sender<T>>, answer: T) {
    for question in asking {
        let _nobody_listens = question.send(answer);
    }
}
