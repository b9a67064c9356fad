//! The partitions of a worker: which it owns, and the next step for them.
//!
//! A state machine without client, thread or clock: events and the current time go in, [`Action`]s come out, and the worker
//! executes them in the order given. `model` checks it against random interleavings of a group, a store and a consumer.
//!
//! Between two calls:
//! - At most one request is with the committer.
//! - The engine has exactly the owned partitions, unless the last commit was fenced: from [`Action::Reset`] until the
//!   positions have been read from the store, it has none.
//! - The consumer is assigned the owned and the contested partitions. It receives a partition only after the claim, at the
//!   claimed offset.
//! - Rebalances are answered one at a time, in the order in which the group started them, and only while no request is with
//!   the committer.

#[cfg(test)]
mod model;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use retail_store::Claimed;

/// Delay before a partition that another worker claimed is claimed back. A worker that resumes after a long pause and claims
/// its former partitions learns within this time that the group has given them to other workers.
pub(crate) const CLAIM_BACK_DELAY: Duration = Duration::from_secs(3);

/// Limit for the last commit after the process has received a signal to stop. Kubernetes kills the process after 30 seconds.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// A change that the consumer group makes to this member's partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Rebalance {
    /// Partitions that this member gains; possibly none.
    Assign(Vec<i32>),
    /// Partitions that this member loses, or has already lost.
    Revoke(Vec<i32>),
}

/// The part of the worker's state that decides whether a commit is needed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Facts {
    /// The engine has taken offsets since the last batch.
    pub(crate) has_uncommitted: bool,
    /// A batch with these offsets is due.
    pub(crate) commit_due: bool,
    /// The idle partitions are to be confirmed.
    pub(crate) idle_due: bool,
    /// A connection to a broker was lost since the consumer was assigned its partitions.
    pub(crate) disconnected: bool,
}

/// One instruction for the worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Request to the committer: claim these partitions. Their queues must be separated from the consumer's queue before.
    Claim(Vec<i32>),
    /// Request to the committer: commit a batch of everything the engine has taken.
    Commit,
    /// Request to the committer: confirm the idle partitions. If no partition is idle, the worker calls
    /// [`Assignment::nothing_to_confirm`] instead.
    ConfirmIdle,
    /// Request to the committer: read the position of every partition.
    ReadProgress,
    /// The engine takes the records of this partition from this position on.
    Start(Claimed),
    /// The engine takes no more records of this partition. All of its offsets are committed.
    Release(i32),
    /// The engine drops all partitions and everything uncommitted.
    Reset,
    /// Answer to [`Rebalance::Assign`]: the consumer reads these partitions too, from these offsets on. Also without any. With
    /// deduplication, it begins earlier, and the engine takes only the ids of the records before.
    Assign(Vec<(i32, i64)>),
    /// Answer to [`Rebalance::Revoke`]: the consumer reads these partitions no more.
    Unassign(Vec<i32>),
    /// The consumer reads these assigned partitions from these offsets on; records already fetched for them are discarded.
    Reassign(Vec<(i32, i64)>),
    /// Another worker has claimed this partition. The engine does not have it.
    Contested(i32),
    /// End: everything is committed.
    Leave,
    /// End: the last batch was not committed in time.
    GiveUp,
}

/// The request that is with the committer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Request {
    /// Claims the partitions of the first rebalance.
    ClaimAssigned,
    /// Claims the contested partitions.
    ClaimBack,
    Commit,
    ReadProgress,
}

/// The partitions of one worker.
#[derive(Default, Debug)]
pub(crate) struct Assignment {
    /// The epoch of this worker's claim, by partition.
    owned: BTreeMap<i32, i64>,
    /// Partitions that the group assigned to this worker and another worker has claimed.
    contested: BTreeSet<i32>,
    claim_back_at: Option<Instant>,
    /// Not answered yet. The first one is in progress or next.
    rebalances: VecDeque<Rebalance>,
    request: Option<Request>,
    /// The engine was reset: the positions must be read from the store.
    reset: bool,
    draining_since: Option<Instant>,
}

impl Assignment {
    /// The owned partitions with the epochs of their claims.
    pub(crate) const fn owned(&self) -> &BTreeMap<i32, i64> {
        &self.owned
    }

    /// All partitions that the consumer is assigned: the owned and the contested ones.
    pub(crate) fn assigned(&self) -> impl Iterator<Item = i32> {
        self.owned.keys().chain(&self.contested).copied()
    }

    /// Whether the engine may take records.
    pub(crate) const fn may_read(&self) -> bool {
        !self.reset && self.draining_since.is_none()
    }

    /// Whether a request is with the committer.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.request.is_some()
    }

    /// The rebalances without an answer, in order. The consumer cannot be closed before each has one.
    pub(crate) fn into_unanswered(self) -> impl Iterator<Item = Rebalance> {
        self.rebalances.into_iter()
    }

    /// The group changes the partitions of this member.
    pub(crate) fn rebalanced(&mut self, rebalance: Rebalance) {
        self.rebalances.push_back(rebalance);
    }

    /// The process stops: commit and leave. Later calls change nothing.
    pub(crate) fn drain(&mut self, now: Instant) {
        self.draining_since.get_or_insert(now);
    }

    /// The most urgent step. Empty while the committer works or there is nothing to do.
    pub(crate) fn next(&mut self, now: Instant, facts: Facts) -> Vec<Action> {
        let Facts { has_uncommitted, commit_due, idle_due, disconnected } = facts;
        let is_drained = self.draining_since.is_some() && self.request.is_none() && !self.reset && !has_uncommitted;
        if is_drained {
            return vec![Action::Leave];
        }
        if self.draining_since.is_some_and(|since| now.saturating_duration_since(since) > DRAIN_TIMEOUT) {
            return vec![Action::GiveUp];
        }
        if self.request.is_some() {
            return Vec::new();
        }
        if self.reset {
            return self.request(Request::ReadProgress, Action::ReadProgress);
        }
        // The broker may have come back with another log: the batch could contain records of both.
        if disconnected {
            self.reset = true;
            return vec![Action::Reset];
        }
        if self.draining_since.is_some() {
            return self.request(Request::Commit, Action::Commit);
        }
        if let Some(rebalance) = self.rebalances.front().cloned() {
            return self.rebalance(rebalance, has_uncommitted);
        }
        if self.claim_back_at.is_some_and(|at| now >= at) {
            let contested = self.contested.iter().copied().collect();
            return self.request(Request::ClaimBack, Action::Claim(contested));
        }
        if has_uncommitted && commit_due {
            return self.request(Request::Commit, Action::Commit);
        }
        if idle_due {
            return self.request(Request::Commit, Action::ConfirmIdle);
        }
        Vec::new()
    }

    /// The first rebalance: claims before it assigns, commits before it releases.
    fn rebalance(&mut self, rebalance: Rebalance, has_uncommitted: bool) -> Vec<Action> {
        match rebalance {
            Rebalance::Assign(partitions) if partitions.is_empty() => {
                self.rebalances.pop_front();
                vec![Action::Assign(Vec::new())]
            }
            Rebalance::Assign(partitions) => self.request(Request::ClaimAssigned, Action::Claim(partitions)),
            // Also for partitions that the group has already given to other workers: the store decides whether the commit
            // still counts.
            Rebalance::Revoke(_) if has_uncommitted => self.request(Request::Commit, Action::Commit),
            Rebalance::Revoke(partitions) => {
                self.rebalances.pop_front();
                for partition in &partitions {
                    self.owned.remove(partition);
                    self.contested.remove(partition);
                }
                self.stop_waiting_if_uncontested();
                let release = partitions.iter().copied().map(Action::Release);
                release.chain([Action::Unassign(partitions.clone())]).collect()
            }
        }
    }

    fn request(&mut self, request: Request, action: Action) -> Vec<Action> {
        self.request = Some(request);
        vec![action]
    }

    fn stop_waiting_if_uncontested(&mut self) {
        if self.contested.is_empty() {
            self.claim_back_at = None;
        }
    }

    /// Reply to [`Action::Claim`].
    pub(crate) fn claimed(&mut self, claimed: &[Claimed]) -> Vec<Action> {
        let offsets = offsets(claimed);
        let answer = match self.request.take() {
            Some(Request::ClaimAssigned) => {
                self.rebalances.pop_front();
                Action::Assign(offsets)
            }
            // The consumer still has them, and has read past the claimed offsets.
            Some(Request::ClaimBack) => Action::Reassign(offsets),
            request @ (Some(Request::Commit | Request::ReadProgress) | None) => {
                unreachable!("partitions were claimed while the request was {request:?}")
            }
        };
        for partition in claimed {
            self.owned.insert(partition.partition, partition.epoch);
            self.contested.remove(&partition.partition);
        }
        self.stop_waiting_if_uncontested();
        claimed.iter().cloned().map(Action::Start).chain([answer]).collect()
    }

    /// Reply to [`Action::Commit`] and [`Action::ConfirmIdle`]: it is committed.
    pub(crate) fn committed(&mut self) {
        let request = self.request.take();
        assert_eq!(request, Some(Request::Commit), "a commit was confirmed without a request for it");
    }

    /// No partition is idle: [`Action::ConfirmIdle`] led to no request.
    pub(crate) fn nothing_to_confirm(&mut self) {
        self.committed();
    }

    /// Reply to a commit: another worker owns one of the partitions, or windows were closed meanwhile. Everything since the
    /// last successful commit must be read again.
    pub(crate) fn fenced(&mut self) -> Vec<Action> {
        self.committed();
        self.reset = true;
        vec![Action::Reset]
    }

    /// Reply to [`Action::ReadProgress`]: the position and epoch of every partition.
    pub(crate) fn progress(&mut self, rows: &[Claimed], now: Instant) -> Vec<Action> {
        let request = self.request.take();
        assert_eq!(request, Some(Request::ReadProgress), "positions came without a request for them");
        self.reset = false;
        let mut actions = Vec::new();
        let mut restarted = Vec::new();
        for row in rows {
            match self.owned.get(&row.partition) {
                Some(epoch) if *epoch == row.epoch => restarted.push(row.clone()),
                Some(_) => {
                    self.owned.remove(&row.partition);
                    self.contested.insert(row.partition);
                    self.claim_back_at = Some(now + CLAIM_BACK_DELAY);
                    actions.push(Action::Contested(row.partition));
                }
                None => {}
            }
        }
        if !restarted.is_empty() {
            let offsets = offsets(&restarted);
            actions.extend(restarted.into_iter().map(Action::Start));
            actions.push(Action::Reassign(offsets));
        }
        actions
    }
}

/// The partitions with the offsets to read first.
fn offsets(claimed: &[Claimed]) -> Vec<(i32, i64)> {
    claimed.iter().map(|claimed| (claimed.partition, claimed.start.next_offset)).collect()
}
