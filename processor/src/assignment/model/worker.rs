//! A worker that executes the actions, with a model of its engine and of its committer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::AddAssign;
use std::time::Instant;

use retail_engine::Timestamp;
use retail_store::Claimed;

use super::super::{Action, Assignment, CLAIM_BACK_DELAY, DRAIN_TIMEOUT, Facts, Rebalance};
use super::group::Group;
use super::store::{Part, Store};

/// The engine's view of a partition.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    epoch: i64,
    /// Where the current batch begins.
    from: i64,
    next: i64,
    floor: i64,
}

#[derive(Debug)]
enum Request {
    Claim(Vec<i32>),
    Commit(Vec<Part>),
    Progress,
}

#[derive(Debug)]
enum Reply {
    Claimed(Vec<Claimed>),
    Committed(Vec<(i32, i64)>),
    Fenced,
    Progress(Vec<Claimed>),
}

/// A request at the committer, or its reply.
#[derive(Debug)]
enum InFlight {
    Request(Request),
    Reply(Reply),
}

/// How often each event happened.
#[derive(Default, Debug)]
pub(super) struct Reached(BTreeMap<&'static str, usize>);

impl Reached {
    const ALL: [&'static str; 14] = [
        "assign",
        "empty assign",
        "unassign",
        "claim back",
        "commit",
        "commit before unassign",
        "confirm idle",
        "nothing to confirm",
        "contested",
        "disconnected",
        "fenced",
        "reset during rebalance",
        "leave",
        "give up",
    ];

    pub(super) fn assert_all(&self) {
        for event in Self::ALL {
            assert!(self.0.get(event).is_some_and(|count| *count >= 10), "{event}: {self:?}");
        }
    }
}

impl AddAssign for Reached {
    fn add_assign(&mut self, other: Self) {
        for (event, count) in other.0 {
            *self.0.entry(event).or_default() += count;
        }
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    number: usize,
    assignment: Assignment,
    engine: BTreeMap<i32, Cursor>,
    /// Between a reset and the next read of all positions.
    reset: bool,
    in_flight: Option<InFlight>,
    /// Rebalances that the group has reported and the worker has not answered.
    unanswered: VecDeque<Rebalance>,
    /// Committed offsets of started partitions, until the consumer is assigned them.
    starts: BTreeMap<i32, i64>,
    draining_since: Option<Instant>,
    /// When the last partition was contested.
    contested_at: Option<Instant>,
    reached: Reached,
}

/// How a worker ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Everything is committed.
    Left,
    /// The drain took too long, since this moment.
    GaveUp(Instant),
}

impl Worker {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            assignment: Assignment::default(),
            engine: BTreeMap::new(),
            reset: false,
            in_flight: None,
            unanswered: VecDeque::new(),
            starts: BTreeMap::new(),
            draining_since: None,
            contested_at: None,
            reached: Reached::default(),
        }
    }

    pub(super) const fn owned(&self) -> &BTreeMap<i32, i64> {
        self.assignment.owned()
    }

    pub(super) fn take_reached(&mut self) -> Reached {
        std::mem::take(&mut self.reached)
    }

    fn reach(&mut self, event: &'static str) {
        assert!(Reached::ALL.contains(&event), "{event}");
        *self.reached.0.entry(event).or_default() += 1;
    }

    pub(super) fn poll(&mut self, group: &mut Group, store: &Store) {
        if let Some(rebalance) = group.poll(self.number, store) {
            self.unanswered.push_back(rebalance.clone());
            self.assignment.rebalanced(rebalance);
        }
    }

    pub(super) fn drain(&mut self, now: Instant) {
        self.draining_since.get_or_insert(now);
        self.assignment.drain(now);
    }

    /// Takes the next step.
    pub(super) fn next(&mut self, group: &mut Group, store: &Store, now: Instant, facts: Facts) -> Option<End> {
        if self.draining_since.is_some() {
            self.assignment.drain(now);
        }
        let facts = Facts { has_uncommitted: self.engine.values().any(|cursor| cursor.from != cursor.next), ..facts };
        let actions = self.assignment.next(now, facts);
        if actions.contains(&Action::Reset) {
            self.reach("disconnected");
        }
        let (leaves, gives_up) = (actions.contains(&Action::Leave), actions.contains(&Action::GiveUp));
        self.act(actions, group, store, now);
        // Invariant 7.
        let overdue = self.draining_since.filter(|since| now - *since > DRAIN_TIMEOUT);
        assert!(leaves || gives_up || overdue.is_none(), "worker {} drains for too long", self.number);
        let end = if leaves {
            self.reach("leave");
            assert!(self.draining_since.is_some() && !self.reset && self.in_flight.is_none());
            self.engine.iter().for_each(|(partition, cursor)| assert_committed(*partition, *cursor, store));
            End::Left
        } else if gives_up {
            self.reach("give up");
            End::GaveUp(overdue.expect("a worker gives up only after the time limit"))
        } else {
            return None;
        };
        let unanswered: Vec<Rebalance> = std::mem::take(&mut self.assignment).into_unanswered().collect();
        assert!(self.unanswered.iter().eq(&unanswered), "{unanswered:?} instead of {:?}", self.unanswered);
        Some(end)
    }

    /// Invariant 6: the engine takes every record, or has taken it before.
    pub(super) fn read(&mut self, group: &mut Group, store: &Store, partition: i32, records: i64) {
        if !self.assignment.may_read() {
            return;
        }
        let range = group.fetch(self.number, partition, records, store);
        if let Some(cursor) = self.engine.get_mut(&partition) {
            assert!(range.start <= cursor.next, "partition {partition} is read from {} on: {cursor:?}", range.start);
            cursor.next = cursor.next.max(range.end);
        }
    }

    pub(super) fn execute(&mut self, store: &mut Store) {
        self.in_flight = self.in_flight.take().map(|in_flight| match in_flight {
            InFlight::Request(Request::Claim(partitions)) => InFlight::Reply(Reply::Claimed(store.claim(&partitions))),
            InFlight::Request(Request::Commit(parts)) => {
                InFlight::Reply(store.commit(&parts).map_or(Reply::Fenced, Reply::Committed))
            }
            InFlight::Request(Request::Progress) => InFlight::Reply(Reply::Progress(store.progress())),
            InFlight::Reply(reply) => InFlight::Reply(reply),
        });
    }

    pub(super) fn deliver(&mut self, group: &mut Group, store: &Store, now: Instant) {
        let Some(InFlight::Reply(reply)) = self.in_flight.take_if(|in_flight| matches!(in_flight, InFlight::Reply(_)))
        else {
            return;
        };
        let actions = match reply {
            Reply::Claimed(claimed) => self.assignment.claimed(&claimed),
            Reply::Committed(floors) => {
                for (partition, floor) in floors {
                    if let Some(cursor) = self.engine.get_mut(&partition).filter(|cursor| cursor.from == cursor.next) {
                        cursor.floor = cursor.floor.max(floor);
                    }
                }
                self.assignment.committed();
                Vec::new()
            }
            Reply::Fenced => {
                self.reach("fenced");
                self.assignment.fenced()
            }
            Reply::Progress(rows) => {
                if !self.unanswered.is_empty() {
                    self.reach("reset during rebalance");
                }
                self.reset = false;
                self.assignment.progress(&rows, now)
            }
        };
        self.act(actions, group, store, now);
    }

    fn request(&mut self, request: Request) {
        // Invariant 1.
        assert!(self.in_flight.is_none(), "{request:?} while {:?}", self.in_flight);
        self.in_flight = Some(InFlight::Request(request));
    }

    fn act(&mut self, actions: Vec<Action>, group: &mut Group, store: &Store, now: Instant) {
        for action in actions {
            match action {
                Action::Claim(partitions) => {
                    let assigned = group.assigned(self.number);
                    if partitions.iter().all(|partition| assigned.contains_key(partition)) {
                        self.reach("claim back");
                        assert!(
                            self.contested_at.is_some_and(|at| now - at >= CLAIM_BACK_DELAY),
                            "claimed back too soon"
                        );
                    } else {
                        assert_eq!(self.unanswered.front(), Some(&Rebalance::Assign(partitions.clone())));
                    }
                    self.request(Request::Claim(partitions));
                }
                Action::Commit => self.commit(),
                Action::ConfirmIdle => self.confirm_idle(),
                Action::ReadProgress => self.request(Request::Progress),
                Action::Start(Claimed { partition, epoch, start, last_record: _, recent: _ }) => {
                    let (next, floor) = (start.next_offset, start.floor.as_micros() / SECOND);
                    self.engine.insert(partition, Cursor { epoch, from: next, next, floor });
                    self.starts.insert(partition, next);
                }
                Action::Release(partition) => {
                    // Invariant 5.
                    assert!(self.in_flight.is_none() && !self.reset, "partition {partition} was released too early");
                    if let Some(cursor) = self.engine.remove(&partition) {
                        assert_committed(partition, cursor, store);
                    }
                }
                Action::Reset => {
                    self.engine.clear();
                    self.reset = true;
                }
                Action::Assign(offsets) => {
                    self.reach(if offsets.is_empty() { "empty assign" } else { "assign" });
                    self.answer(&Rebalance::Assign(offsets.iter().map(|(partition, _)| *partition).collect()));
                    self.started(&offsets);
                    group.incremental_assign(self.number, &offsets);
                }
                Action::Unassign(partitions) => {
                    self.reach("unassign");
                    group.incremental_unassign(self.number, &partitions);
                    self.answer(&Rebalance::Revoke(partitions));
                }
                Action::Reassign(offsets) => {
                    self.started(&offsets);
                    let partitions: Vec<i32> = offsets.iter().map(|(partition, _)| *partition).collect();
                    group.incremental_unassign(self.number, &partitions);
                    group.incremental_assign(self.number, &offsets);
                }
                Action::Contested(partition) => {
                    self.reach("contested");
                    self.contested_at = Some(now);
                    assert!(!self.engine.contains_key(&partition));
                }
                Action::Leave | Action::GiveUp => {}
            }
        }
        self.check(group);
    }

    fn commit(&mut self) {
        if matches!(self.unanswered.front(), Some(Rebalance::Revoke(_))) {
            self.reach("commit before unassign");
        }
        self.reach("commit");
        let moved = self.engine.iter_mut().filter(|(_, cursor)| cursor.from != cursor.next);
        let parts: Vec<Part> = moved
            .map(|(&partition, cursor)| {
                let Cursor { epoch, from, next: to, floor } = *cursor;
                cursor.from = to;
                Part { partition, epoch, from, to, floor }
            })
            .collect();
        assert!(!parts.is_empty(), "there is nothing to commit");
        self.request(Request::Commit(parts));
    }

    /// Every partition without uncommitted records counts as idle.
    fn confirm_idle(&mut self) {
        let idle = self.engine.iter().filter(|(_, cursor)| cursor.from == cursor.next);
        let parts: Vec<Part> = idle
            .map(|(&partition, &Cursor { epoch, from, next: to, floor })| Part { partition, epoch, from, to, floor })
            .collect();
        if parts.is_empty() {
            self.reach("nothing to confirm");
            self.assignment.nothing_to_confirm();
        } else {
            self.reach("confirm idle");
            self.request(Request::Commit(parts));
        }
    }

    /// Invariant 2.
    fn answer(&mut self, answer: &Rebalance) {
        assert_eq!(self.unanswered.pop_front().as_ref(), Some(answer), "wrong answer to a rebalance");
    }

    /// Invariant 3.
    fn started(&mut self, offsets: &[(i32, i64)]) {
        for (partition, offset) in offsets {
            assert_eq!(self.starts.remove(partition), Some(*offset), "partition {partition} starts elsewhere");
        }
    }

    /// Invariant 4.
    fn check(&self, group: &Group) {
        let owned: BTreeSet<i32> = self.owned().keys().copied().collect();
        let engine: BTreeSet<i32> = self.engine.keys().copied().collect();
        assert_eq!(engine, if self.reset { BTreeSet::new() } else { owned }, "worker {}'s engine", self.number);
        let assigned: BTreeSet<i32> = self.assignment.assigned().collect();
        let consumer: BTreeSet<i32> = group.assigned(self.number).keys().copied().collect();
        assert_eq!(consumer, assigned, "worker {}'s consumer", self.number);
        assert!(self.starts.is_empty(), "the consumer does not know where to start: {:?}", self.starts);
        assert_eq!(self.in_flight.is_some(), self.assignment.is_waiting());
        assert_eq!(self.assignment.may_read(), !self.reset && self.draining_since.is_none());
    }

    /// Whether nothing waits for a reply or an answer.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.is_none() && self.unanswered.is_empty() && !self.reset
    }
}

const SECOND: i64 = Timestamp::from_secs(1).as_micros();

/// Unless another worker has claimed the partition meanwhile, the store has everything that the engine has taken.
fn assert_committed(partition: i32, cursor: Cursor, store: &Store) {
    assert_eq!(cursor.from, cursor.next, "partition {partition} has uncommitted records");
    let row = store.row(partition);
    if row.epoch == cursor.epoch {
        assert_eq!(row.next_offset(), cursor.next, "partition {partition} is not committed");
    }
}
