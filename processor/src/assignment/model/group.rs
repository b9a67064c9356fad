//! The consumer group and librdkafka's side of it, with cooperative rebalancing.
//!
//! As in librdkafka 2: a member has at most one rebalance without an answer and meanwhile reads only records that were fetched
//! before; any incremental assign answers an assignment, any incremental unassign answers a revocation.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Rebalance;
use super::store::Store;

/// Records that a paused member still has of each partition.
const FETCHED: i64 = 2;

#[derive(Default, Debug)]
struct Member {
    /// What the group has given this member, as far as it knows.
    partitions: BTreeSet<i32>,
    /// The offset to read next, by assigned partition.
    assigned: BTreeMap<i32, i64>,
    unanswered: Option<Rebalance>,
    /// How far each partition can be read while a rebalance has no answer.
    fetched: BTreeMap<i32, i64>,
    /// Joins again, and receives an assignment, even an empty one.
    rejoins: bool,
    /// The group has removed this member, which does not know it yet.
    lost: bool,
}

#[derive(Debug)]
pub(super) struct Group {
    /// The member that is to have each partition.
    target: Vec<usize>,
    /// The member to which the group has given each partition.
    holder: BTreeMap<i32, usize>,
    members: Vec<Member>,
}

impl Group {
    pub(super) fn new(partitions: usize, members: usize) -> Self {
        let member = || Member { rejoins: true, ..Member::default() };
        let target = (0..partitions).map(|partition| partition % members).collect();
        Self { target, holder: BTreeMap::new(), members: std::iter::repeat_with(member).take(members).collect() }
    }

    pub(super) fn member_of(&self, partition: i32) -> usize {
        self.target[partition as usize]
    }

    pub(super) fn assigned(&self, member: usize) -> &BTreeMap<i32, i64> {
        &self.members[member].assigned
    }

    pub(super) fn plan(&mut self, target: &[usize]) {
        self.target = target.to_vec();
        self.all_rejoin();
    }

    pub(super) fn lose_session(&mut self, member: usize) {
        self.holder.retain(|_, holder| *holder != member);
        self.members[member].lost = true;
        self.all_rejoin();
    }

    pub(super) fn restart(&mut self, member: usize) {
        self.holder.retain(|_, holder| *holder != member);
        self.members[member] = Member::default();
        self.all_rejoin();
    }

    fn all_rejoin(&mut self) {
        self.members.iter_mut().for_each(|member| member.rejoins = true);
    }

    /// The next rebalance of a member, if it has answered the one before.
    pub(super) fn poll(&mut self, number: usize, store: &Store) -> Option<Rebalance> {
        let Self { target, holder, members } = self;
        let member = &mut members[number];
        if member.unanswered.is_some() {
            return None;
        }
        let lost = std::mem::take(&mut member.lost);
        let is_gone = |partition: &i32| lost || target[*partition as usize] != number;
        let gone: Vec<i32> = member.partitions.iter().copied().filter(is_gone).collect();
        let rebalance = if !gone.is_empty() {
            member.partitions.retain(|partition| !gone.contains(partition));
            Rebalance::Revoke(gone)
        } else if std::mem::take(&mut member.rejoins) {
            let is_new = |partition: &i32| target[*partition as usize] == number && !holder.contains_key(partition);
            let new: Vec<i32> = (0..target.len() as i32).filter(is_new).collect();
            holder.extend(new.iter().map(|partition| (*partition, number)));
            member.partitions.extend(&new);
            Rebalance::Assign(new)
        } else {
            return None;
        };
        let fetched =
            |(partition, next): (&i32, &i64)| (*partition, (next + FETCHED).min(store.row(*partition).log_end));
        member.fetched = member.assigned.iter().map(fetched).collect();
        member.unanswered = Some(rebalance.clone());
        Some(rebalance)
    }

    pub(super) fn incremental_assign(&mut self, number: usize, offsets: &[(i32, i64)]) {
        let member = &mut self.members[number];
        for (partition, offset) in offsets {
            // Invariant 3.
            let before = member.assigned.insert(*partition, *offset);
            assert_eq!(before, None, "partition {partition} was assigned twice");
        }
        if matches!(member.unanswered, Some(Rebalance::Assign(_))) {
            member.unanswered = None;
        }
    }

    pub(super) fn incremental_unassign(&mut self, number: usize, partitions: &[i32]) {
        let member = &mut self.members[number];
        for partition in partitions {
            // Invariant 3.
            let before = member.assigned.remove(partition);
            assert!(before.is_some(), "partition {partition} was unassigned without being assigned");
        }
        if let Some(Rebalance::Revoke(revoked)) = member.unanswered.take_if(|it| matches!(it, Rebalance::Revoke(_))) {
            self.holder.retain(|partition, holder| *holder != number || !revoked.contains(partition));
            self.all_rejoin();
        }
    }

    /// The offsets that a member can read of a partition; the next read continues after them.
    pub(super) fn fetch(&mut self, number: usize, partition: i32, records: i64, store: &Store) -> std::ops::Range<i64> {
        let member = &mut self.members[number];
        let Some(next) = member.assigned.get_mut(&partition) else { return 0..0 };
        let end = match &member.unanswered {
            Some(_) => member.fetched.get(&partition).copied().unwrap_or_default(),
            None => store.row(partition).log_end,
        };
        let range = *next..end.min(next.saturating_add(records)).max(*next);
        *next = range.end;
        range
    }
}
