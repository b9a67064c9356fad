//! The one task that reads snapshots, and publishes the rendered page for all clients.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use retail_observe::{Observer, Status, interval_after, until_answer};
use retail_runtime::args::Settings;
use retail_store::Snapshot;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::history::{History, Progress};
use crate::parts::parts;
use crate::render::{self, Part};
use crate::state::{Kafka, State};

/// Time for which a snapshot waits for Kafka. A slower answer belongs to a later snapshot.
const PATIENCE: Duration = Duration::from_millis(500);

/// The rendered page at one moment.
#[derive(Clone, Default, Debug)]
pub(crate) struct Published {
    /// Number of the snapshot, from 1; 0 before the first one.
    pub(crate) number: u64,
    /// Time at which it was taken.
    pub(crate) at: Option<Instant>,
    pub(crate) parts: Vec<Versioned>,
}

/// A part of the page, and the number of the snapshot since which it has not changed.
#[derive(Clone, Debug)]
pub(crate) struct Versioned {
    pub(crate) part: Part,
    pub(crate) since: u64,
}

/// The connection of the clients to the task.
#[derive(Debug)]
pub(crate) struct Feed {
    sender: watch::Sender<Arc<Published>>,
    wanted: Notify,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self { sender: watch::Sender::default(), wanted: Notify::new() }
    }

    /// Subscribes to the snapshots. They are taken while there are subscribers.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Published>> {
        let receiver = self.sender.subscribe();
        self.wanted.notify_one();
        receiver
    }

    fn publish(&self, parts: Vec<Part>) {
        let before = self.sender.borrow().clone();
        let number = before.number + 1;
        let since = |part: &Part| {
            let same = before.parts.iter().find(|old| old.part == *part);
            same.map_or(number, |old| old.since)
        };
        let parts = parts.into_iter().map(|part| Versioned { since: since(&part), part }).collect();
        self.sender.send_replace(Arc::new(Published { number, at: Some(Instant::now()), parts }));
    }
}

/// Reads and publishes snapshots while there are subscribers.
pub(crate) async fn poll(feed: &Feed, settings: Settings, payloads: bool) -> Infallible {
    let (pipeline, wanted) = (settings.pipeline.clone(), parts(payloads));
    let mut observer = Observer::with_patience(settings, "retail page", PATIENCE);
    let mut history = History::new(pipeline.trigger);
    let mut facts: Option<Snapshot> = None;
    let mut status: Option<Status> = None;
    let mut kafka = Kafka::Asked;
    loop {
        while feed.sender.receiver_count() == 0 {
            feed.wanted.notified().await;
        }
        let started = Instant::now();
        let publish =
            |facts: &Option<Snapshot>, status: &Option<Status>, error: Option<&str>, kafka, history: &History| {
                let (facts, status) = (facts.as_ref(), status.as_ref());
                let state = State { pipeline: &pipeline, facts, status, error, kafka, history, payloads };
                feed.publish(render::parts(&state));
            };
        // A silent Postgres would leave the last snapshot on the page, as if it were the present state.
        let silent = |error: String| publish(&facts, &status, Some(&error), kafka, &history);
        let (answer, logs) = until_answer(observer.read(&wanted), silent).await;
        let took = started.elapsed();
        let error = match answer {
            Ok(new) => {
                history.add(progress(&new));
                facts = Some(new);
                None
            }
            Err(error) => Some(error.to_string()),
        };
        status = facts.as_ref().map(|facts| Status::new(&pipeline, facts, logs));
        kafka = match logs {
            None => Kafka::Asked,
            Some(Ok(_)) => Kafka::Answers,
            Some(Err(_)) => Kafka::Fails,
        };
        publish(&facts, &status, error.as_deref(), kafka, &history);
        tokio::time::sleep_until(started + interval_after(took)).await;
    }
}

fn progress(facts: &Snapshot) -> Progress {
    Progress { at: facts.taken_at, processed: facts.progress.counts.total(), watermark: facts.progress.watermark }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(feed: &Feed) -> Vec<u64> {
        feed.sender.borrow().parts.iter().map(|part| part.since).collect()
    }

    #[tokio::test]
    async fn part_keeps_its_version_while_it_is_the_same() {
        let part = |id, html: &str| Part { id, html: html.to_owned() };
        let feed = Feed::new();
        feed.publish(vec![part("a", "1"), part("b", "1")]);
        feed.publish(vec![part("a", "1"), part("b", "2")]);
        assert_eq!(versions(&feed), [1, 2]);
        feed.publish(vec![part("a", "3"), part("b", "2")]);
        assert_eq!(versions(&feed), [3, 2]);
    }
}
