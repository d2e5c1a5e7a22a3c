//! What the model believes of Nodes and groups: classes, upcoming machines, requests, backoff, health.
//! In: groups as the provider tells them, Nodes as the cluster tells them, and the time. Out: a [`Picture`].
//! Holds: pure; requests, backoff and clocks live here only and are lost with the model, as in the real program.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    cluster::{NodeSeen, TO_BE_DELETED},
    options::{GroupOptions, Options},
};

/// An instance as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InstanceSeen {
    pub(super) id: String,
    pub(super) state: InstanceState,
    /// The error code, if there is one that counts.
    pub(super) error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstanceState {
    /// The provider sent no status.
    None,
    Running,
    Creating,
    Deleting,
}

/// A group in one loop.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GroupSeen {
    pub(super) id: String,
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) target: i32,
    pub(super) instances: Vec<InstanceSeen>,
    pub(super) options: GroupOptions,
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
    pub(super) not_started: i32,
    pub(super) deleted: i32,
    pub(super) unregistered: i32,
    pub(super) long_unregistered: i32,
}

impl Counts {
    const fn add(&mut self, class: Class) {
        self.registered += 1;
        match class {
            Class::Deleted => self.deleted += 1,
            Class::Suspended => self.suspended += 1,
            Class::Ready => self.ready += 1,
            Class::NotStarted => self.not_started += 1,
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
pub(super) struct Request {
    pub(super) increase: i32,
    /// Of the last increase.
    pub(super) at_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Backoff {
    until_ms: u64,
    length: Duration,
    failed_ms: u64,
}

/// A request that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimedOut {
    pub(super) group: String,
    /// The whole increase, also if part of it has arrived.
    pub(super) increase: i32,
}

/// The state of all groups in one loop.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Picture {
    pub(super) counts: BTreeMap<String, Counts>,
    pub(super) total: Counts,
    /// Group and id of instances that have been without a Node for too long.
    pub(super) long_unregistered: Vec<(String, String)>,
    /// Group and the (negative) delta that makes its target agree with what exists.
    pub(super) wrong_sizes: Vec<(String, i32)>,
    pub(super) timed_out: Vec<TimedOut>,
}

/// What the model remembers between loops.
#[derive(Debug)]
pub(super) struct State {
    /// For Nodes of no group.
    startup_time: Duration,
    requests: BTreeMap<String, Request>,
    backoff: BTreeMap<String, Backoff>,
    /// Since when each instance id is known to be without a Node.
    unregistered_since: BTreeMap<String, u64>,
    /// Since when a group has too few Nodes and instances, and how many.
    wrong_since: BTreeMap<String, (u64, i32)>,
}

/// The ids of listed instances that count as unregistered.
pub(super) fn unregistered<'a>(group: &'a GroupSeen, nodes: &[NodeSeen]) -> Vec<&'a str> {
    let registered: BTreeSet<&str> = nodes.iter().map(|node| node.provider_id.as_str()).collect();
    let counts = |instance: &&InstanceSeen| {
        let leaves = instance.state == InstanceState::Deleting || instance.error.is_some();
        !leaves && !registered.contains(instance.id.as_str())
    };
    let instances = group.instances.iter().filter(counts);
    instances.map(|instance| instance.id.as_str()).collect()
}

impl State {
    pub(super) const fn new(startup_time: Duration) -> Self {
        Self {
            startup_time,
            requests: BTreeMap::new(),
            backoff: BTreeMap::new(),
            unregistered_since: BTreeMap::new(),
            wrong_since: BTreeMap::new(),
        }
    }

    /// Takes in one loop's facts. `group_of` has the group of each Node that belongs to one.
    pub(super) fn update(
        &mut self,
        now_ms: u64,
        groups: &[GroupSeen],
        nodes: &[NodeSeen],
        group_of: &BTreeMap<String, String>,
    ) -> Picture {
        let mut picture = Picture::default();
        let startup: BTreeMap<&str, Duration> = groups
            .iter()
            .map(|group| (group.id.as_str(), group.options.startup_time))
            .collect();
        for group in groups {
            picture.counts.insert(group.id.clone(), Counts::default());
        }
        for node in nodes {
            let group = group_of.get(&node.name);
            let limit = group.and_then(|group| startup.get(group.as_str()));
            let class = classify(node, limit.copied().unwrap_or(self.startup_time));
            picture.total.add(class);
            if let Some(counts) = group.and_then(|group| picture.counts.get_mut(group)) {
                counts.add(class);
            }
        }
        self.count_unregistered(now_ms, groups, nodes, &mut picture);
        self.find_wrong_sizes(now_ms, groups, &mut picture);
        self.settle_requests(now_ms, groups, &mut picture);
        picture
    }

    fn count_unregistered(
        &mut self,
        now_ms: u64,
        groups: &[GroupSeen],
        nodes: &[NodeSeen],
        picture: &mut Picture,
    ) {
        let mut listed = BTreeSet::new();
        for group in groups {
            let counts = picture.counts.entry(group.id.clone()).or_default();
            for id in unregistered(group, nodes) {
                listed.insert(id.to_owned());
                let since = *self
                    .unregistered_since
                    .entry(id.to_owned())
                    .or_insert(now_ms);
                if passed(since, group.options.provision_time, now_ms) {
                    counts.long_unregistered += 1;
                    let found = (group.id.clone(), id.to_owned());
                    picture.long_unregistered.push(found);
                } else {
                    counts.unregistered += 1;
                }
            }
        }
        self.unregistered_since.retain(|id, _| listed.contains(id));
    }

    fn find_wrong_sizes(&mut self, now_ms: u64, groups: &[GroupSeen], picture: &mut Picture) {
        for group in groups {
            let counts = &picture.counts[&group.id];
            let pending = self.pending(&group.id);
            let least = group.target - pending - counts.long_unregistered - counts.unregistered;
            if counts.registered >= least {
                self.wrong_since.remove(&group.id);
                continue;
            }
            let delta = counts.registered - group.target;
            let seen = self.wrong_since.entry(group.id.clone());
            let seen = seen.or_insert((now_ms, delta));
            if seen.1 != delta {
                *seen = (now_ms, delta);
            }
            if passed(seen.0, group.options.provision_time, now_ms) {
                picture.wrong_sizes.push((group.id.clone(), delta));
            }
        }
    }

    fn settle_requests(&mut self, now_ms: u64, groups: &[GroupSeen], picture: &mut Picture) {
        let listed: BTreeMap<&str, &GroupSeen> = groups
            .iter()
            .map(|group| (group.id.as_str(), group))
            .collect();
        // A group that the provider does not name now has nothing upcoming, so its request ends as if it had been met.
        self.requests.retain(|id, request| {
            let Some(group) = listed.get(id.as_str()) else {
                return false;
            };
            if picture.counts[id].upcoming(group.target) <= 0 {
                return false;
            }
            let late = passed(request.at_ms, group.options.provision_time, now_ms);
            if late {
                picture.timed_out.push(TimedOut {
                    group: id.clone(),
                    increase: request.increase,
                });
            }
            !late
        });
    }

    /// Notes a successful increase; several add up, and the clock starts anew.
    pub(super) fn requested(&mut self, group: &str, increase: i32, now_ms: u64) {
        let request = self.requests.entry(group.to_owned()).or_insert(Request {
            increase: 0,
            at_ms: now_ms,
        });
        request.increase += increase;
        request.at_ms = now_ms;
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
        self.requests
            .get(group)
            .map_or(0, |request| request.increase)
    }

    /// Whether a request is active and machines are still to come.
    pub(super) fn is_scaling_up(&self, picture: &Picture, group: &GroupSeen) -> bool {
        self.requests.contains_key(&group.id)
            && picture.counts[&group.id].upcoming(group.target) > 0
    }

    /// The upcoming machines that Pods may be planned on: none without a request, none in backoff.
    pub(super) fn upcoming(&self, picture: &Picture, group: &GroupSeen, now_ms: u64) -> i32 {
        if self.is_scaling_up(picture, group) && !self.backs_off(&group.id, now_ms) {
            picture.counts[&group.id].upcoming(group.target)
        } else {
            0
        }
    }

    /// Leaves a group alone for a while; longer each time, until it has been quiet for long enough.
    pub(super) fn back_off(&mut self, group: &str, options: &Options, now_ms: u64) {
        let length = match self.backoff.get(group) {
            Some(last) if !passed(last.failed_ms, options.backoff_reset, now_ms) => {
                // A failure during the backoff does not lengthen it.
                if now_ms < last.until_ms {
                    return;
                }
                (last.length * 2).min(options.backoff_max)
            }
            Some(_) | None => options.backoff_initial,
        };
        let until_ms = now_ms + millis(length);
        let backoff = Backoff {
            until_ms,
            length,
            failed_ms: now_ms,
        };
        self.backoff.insert(group.to_owned(), backoff);
    }

    /// Whether a group is being left alone.
    pub(super) fn backs_off(&self, group: &str, now_ms: u64) -> bool {
        let backoff = self.backoff.get(group);
        backoff.is_some_and(|backoff| now_ms < backoff.until_ms)
    }

    /// Whether so few Nodes are unready that the model does anything at all.
    pub(super) fn cluster_is_healthy(picture: &Picture, options: &Options) -> bool {
        let unready = count(picture.total.unready);
        let all = count(picture.total.registered);
        within(unready, all, options)
    }

    /// Whether a group has about as many ready Nodes as it should.
    pub(super) fn group_is_healthy(
        &self,
        picture: &Picture,
        group: &GroupSeen,
        options: &Options,
    ) -> bool {
        let counts = &picture.counts[&group.id];
        let pending = self.pending(&group.id);
        let nothing = counts.registered == 0 && group.instances.is_empty();
        if group.target > 0 && nothing && pending == 0 {
            return false;
        }
        let expected = group.target - counts.long_unregistered - pending;
        let missing = expected - counts.ready - counts.suspended;
        let all = counts.ready + counts.unready + counts.not_started;
        within(count(missing), count(all), options)
    }
}

/// At most the tolerated number, or at most the tolerated share.
const fn within(bad: usize, all: usize, options: &Options) -> bool {
    bad <= options.ok_unready || bad * 100 <= all * options.max_unready_percent
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn passed(since_ms: u64, limit: Duration, now_ms: u64) -> bool {
    now_ms >= since_ms + millis(limit)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests;
