//! What the model believes of Nodes and groups: classes, upcoming machines, requests, backoff, health.
//! In: [`Facts`] of one loop, and what the loop has done since. Out: what is late, wrong or failed, and whether a group may grow.
//! Holds: pure; requests, backoff and clocks live here only and are lost with the model, as in the real program.

mod backoff;
mod health;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    cluster::{NodeSeen, TO_BE_DELETED},
    instances::{InstanceSeen, InstanceState},
};
use backoff::Backoffs;

/// A group in one loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupSeen {
    pub(super) id: String,
    pub(super) target: i32,
    pub(super) instances: Vec<InstanceSeen>,
}

/// A Node with what was asked about it.
#[derive(Debug, Clone)]
pub(super) struct NodeFact<'a> {
    pub(super) node: &'a NodeSeen,
    /// The group it belongs to.
    pub(super) group: Option<String>,
    /// How long it may take to become Ready.
    pub(super) startup: Duration,
}

/// An instance without a Node, with what was asked about it.
#[derive(Debug, Clone)]
pub(super) struct MissingFact {
    pub(super) id: String,
    /// Its group and how long it may take to join; nothing counts it where either could not be told.
    pub(super) of: Option<(String, Duration)>,
}

/// Everything of one loop.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    pub(super) now_ms: u64,
    pub(super) groups: Vec<GroupSeen>,
    pub(super) nodes: Vec<NodeFact<'a>>,
    pub(super) missing: Vec<MissingFact>,
}

/// What a Node is to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It carries the taint of a Node that is being removed.
    Deleted,
    Suspended,
    Ready,
    /// Not Ready, and young.
    NotStarted,
    Unready,
}

/// The class of a Node; `startup` is how long it may take to become Ready.
pub(super) fn classify(node: &NodeSeen, startup: Duration) -> Class {
    if node.has_taint(TO_BE_DELETED) {
        Class::Deleted
    } else if node.suspended {
        Class::Suspended
    } else if node.is_ready() {
        Class::Ready
    } else if node.age < startup {
        Class::NotStarted
    } else {
        Class::Unready
    }
}

/// How many Nodes and instances of each class a group has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) registered: i32,
    pub(super) ready: i32,
    pub(super) unready: i32,
    pub(super) suspended: i32,
    /// By name: while they are upcoming, made-up Nodes stand for them.
    pub(super) not_started: BTreeSet<String>,
    pub(super) deleted: i32,
    pub(super) unregistered: i32,
    pub(super) long_unregistered: i32,
}

impl Counts {
    fn add(&mut self, name: &str, class: Class) {
        self.registered += 1;
        match class {
            Class::Deleted => self.deleted += 1,
            Class::Suspended => self.suspended += 1,
            Class::Ready => self.ready += 1,
            Class::NotStarted => {
                self.not_started.insert(name.to_owned());
            }
            Class::Unready => self.unready += 1,
        }
    }

    /// Machines that are still to come, as the model reckons.
    pub(super) const fn upcoming(&self, target: i32) -> i32 {
        target - (self.ready + self.unready + self.suspended + self.long_unregistered)
    }
}

/// A size increase that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Request {
    increase: i32,
    /// Counted from the last increase.
    expected_ms: u64,
}

/// A request that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimedOut {
    pub(super) group: String,
    /// The whole increase, also if part of it has arrived.
    pub(super) increase: i32,
}

/// A target that does not fit what exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrongSize {
    pub(super) since_ms: u64,
    pub(super) registered: i32,
    pub(super) target: i32,
}

/// What the model remembers between loops.
#[derive(Debug, Default)]
pub(super) struct State {
    requests: BTreeMap<String, Request>,
    backoffs: Backoffs,
    /// Since when each instance id is known to be without a Node.
    unregistered_since: BTreeMap<String, u64>,
    wrong: BTreeMap<String, WrongSize>,
    /// The targets that the model reckons with; a group that is not named has none.
    targets: BTreeMap<String, i32>,
    /// Of each group that has a Node or an instance without one; no entry where it has neither.
    counts: BTreeMap<String, Counts>,
    total: Counts,
    instances: BTreeMap<String, Vec<InstanceSeen>>,
    /// The lists of the loop before.
    previous: BTreeMap<String, Vec<InstanceSeen>>,
}

/// The ids of listed instances that count as unregistered.
pub(super) fn unregistered(groups: &[GroupSeen], nodes: &[NodeSeen]) -> Vec<String> {
    let registered: BTreeSet<&str> = nodes.iter().map(|node| node.provider_id.as_str()).collect();
    let counts = |instance: &&InstanceSeen| {
        let leaves = instance.state == InstanceState::Deleting || instance.error.is_some();
        !leaves && !registered.contains(instance.id.as_str())
    };
    let instances = groups.iter().flat_map(|group| &group.instances);
    let missing = instances.filter(counts);
    missing.map(|instance| instance.id.clone()).collect()
}

impl State {
    /// Takes in one loop's facts; returns the requests that have come too late, which are forgotten with it.
    pub(super) fn update(&mut self, facts: Facts<'_>) -> Vec<TimedOut> {
        let now_ms = facts.now_ms;
        self.backoffs.forget_old(now_ms);
        self.counts.clear();
        self.total = Counts::default();
        for fact in &facts.nodes {
            let class = classify(fact.node, fact.startup);
            self.total.add(&fact.node.name, class);
            if let Some(group) = &fact.group {
                let counts = self.counts.entry(group.clone()).or_default();
                counts.add(&fact.node.name, class);
            }
        }
        self.count_missing(now_ms, facts.missing);
        self.previous = std::mem::take(&mut self.instances);
        self.targets.clear();
        for group in facts.groups {
            self.targets.insert(group.id.clone(), group.target);
            self.instances.insert(group.id, group.instances);
        }
        let late = self.settle_requests(now_ms);
        self.find_wrong_sizes(now_ms);
        late
    }

    fn count_missing(&mut self, now_ms: u64, missing: Vec<MissingFact>) {
        let listed: BTreeSet<&str> = missing.iter().map(|fact| fact.id.as_str()).collect();
        // Who leaves the list once begins anew.
        self.unregistered_since
            .retain(|id, _| listed.contains(id.as_str()));
        for MissingFact { id, of } in missing {
            let since = *self.unregistered_since.entry(id).or_insert(now_ms);
            let Some((group, limit)) = of else { continue };
            let counts = self.counts.entry(group).or_default();
            if passed(since, limit, now_ms) {
                counts.long_unregistered += 1;
            } else {
                counts.unregistered += 1;
            }
        }
    }

    fn settle_requests(&mut self, now_ms: u64) -> Vec<TimedOut> {
        let mut late = Vec::new();
        let scaling: BTreeSet<String> = self.requests.keys().cloned().collect();
        for id in scaling {
            // A group that the provider does not name has nothing upcoming, so its request ends as if it had been met.
            let finished = self.reckoned(&id) <= 0;
            let request = self.requests[&id];
            if finished {
                self.requests.remove(&id);
            } else if request.expected_ms < now_ms {
                self.requests.remove(&id);
                late.push(TimedOut {
                    group: id,
                    increase: request.increase,
                });
            }
        }
        late
    }

    fn find_wrong_sizes(&mut self, now_ms: u64) {
        let mut wrong = BTreeMap::new();
        for (id, target) in &self.targets {
            // Of a group without Nodes and instances nothing is known.
            let Some(counts) = self.counts.get(id) else {
                continue;
            };
            let missing = counts.unregistered + counts.long_unregistered;
            if counts.registered <= *target && counts.registered >= target - missing {
                continue;
            }
            let mut found = WrongSize {
                since_ms: now_ms,
                registered: counts.registered,
                target: *target,
            };
            if let Some(before) = self.wrong.get(id)
                && (before.registered, before.target) == (found.registered, found.target)
            {
                found.since_ms = before.since_ms;
            }
            wrong.insert(id.clone(), found);
        }
        self.wrong = wrong;
    }

    /// The target of this group that has not fitted what exists since some time ago.
    pub(super) fn wrong_size(&self, group: &str) -> Option<WrongSize> {
        self.wrong.get(group).copied()
    }

    /// Reckons with these targets from now on; without any, as after an error, every group counts as empty.
    pub(super) fn recalculate(&mut self, targets: BTreeMap<String, i32>) {
        for (id, target) in &mut self.targets {
            *target = targets.get(id).copied().unwrap_or_default();
        }
    }

    /// Notes a successful increase; several add up, and the clock starts anew.
    pub(super) fn requested(
        &mut self,
        group: &str,
        increase: i32,
        (now_ms, limit): (u64, Duration),
    ) {
        let request = self.requests.entry(group.to_owned()).or_insert(Request {
            increase: 0,
            expected_ms: 0,
        });
        request.increase += increase;
        request.expected_ms = now_ms + millis(limit);
    }

    /// Takes failed machines out of a request.
    pub(super) fn reduced(&mut self, group: &str, by: i32) {
        if let Some(request) = self.requests.get_mut(group) {
            request.increase -= by;
            if request.increase <= 0 {
                self.requests.remove(group);
            }
        }
    }

    /// The increase that is still under way.
    pub(super) fn pending(&self, group: &str) -> i32 {
        let request = self.requests.get(group);
        request.map_or(0, |request| request.increase)
    }

    /// Machines of a group that are still to come, whether or not anybody waits for them.
    fn reckoned(&self, group: &str) -> i32 {
        let target = self.targets.get(group).copied().unwrap_or_default();
        match self.counts.get(group) {
            Some(counts) => counts.upcoming(target),
            None => target,
        }
    }

    /// Whether a request is active and machines are still to come.
    pub(super) fn is_scaling_up(&self, group: &str) -> bool {
        self.requests.contains_key(group) && self.reckoned(group) > 0
    }

    /// The upcoming machines that Pods may be planned on: none without a request, none in backoff.
    pub(super) fn upcoming(&self, group: &str, now_ms: u64) -> i32 {
        if self.is_scaling_up(group) && !self.backs_off(group, now_ms) {
            self.reckoned(group)
        } else {
            0
        }
    }

    /// Nodes that have registered and are still upcoming: made-up ones stand for them.
    pub(super) fn replaced(&self, group: &str, now_ms: u64) -> BTreeSet<String> {
        match self.counts.get(group) {
            Some(counts) if self.upcoming(group, now_ms) > 0 => counts.not_started.clone(),
            Some(_) | None => BTreeSet::new(),
        }
    }

    /// Instances of a group that have failed since the loop before, by error code.
    pub(super) fn fresh_errors(&self, group: &str) -> BTreeMap<String, Vec<String>> {
        let failed = |lists: &BTreeMap<String, Vec<InstanceSeen>>| -> Vec<InstanceSeen> {
            let listed = lists.get(group).into_iter().flatten();
            listed.filter(|one| one.has_failed()).cloned().collect()
        };
        let before = failed(&self.previous);
        let mut fresh: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for instance in failed(&self.instances) {
            if before.iter().any(|seen| seen.id == instance.id) {
                continue;
            }
            let code = instance.error.unwrap_or_default();
            fresh.entry(code).or_default().push(instance.id);
        }
        fresh
    }

    /// Instances of a group that cannot be created, as listed last.
    pub(super) fn failed(&self, group: &str) -> Vec<String> {
        let listed = self.instances.get(group).into_iter().flatten();
        let failed = listed.filter(|one| one.has_failed());
        failed.map(|one| one.id.clone()).collect()
    }

    /// The instances without a Node, and since when.
    pub(super) fn missing(&self) -> BTreeMap<String, u64> {
        self.unregistered_since.clone()
    }
}

/// Whether more than `limit` has passed.
pub(super) fn passed(since_ms: u64, limit: Duration, now_ms: u64) -> bool {
    now_ms > since_ms + millis(limit)
}

/// Milliseconds of a duration, as far as clocks reach.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests;
