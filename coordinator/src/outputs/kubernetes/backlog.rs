//! What waits to be written, and in which order.
//!
//! In: jobs. Out: the next job whose object nobody is writing.
//! Holds: one job of a lane at a time, in the order they came; lanes do not wait for each other.
//! Holds: of one machine only the newest record waits, and the newest work of each kind on its Node; so what waits is
//! bounded by the number of objects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use coordinator_core::{
    AgentId, Cordon, Event, GroupId, MachineId, MachineRecord, NodeObjectPolicy, NodePatch, PodRef,
};

use super::commits::Swap;
use crate::inputs::kubernetes::{Complaint, Notice, Undo};

/// Events that may wait; beyond that the oldest is dropped, because the newest tells most.
const EVENTS: usize = 256;

/// One thing to write.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Commit {
        group: GroupId,
        swap: Swap,
    },
    /// The group's status for people.
    DescribeGroup(GroupId),
    Record {
        machine: MachineId,
        version: u64,
        record: Box<MachineRecord>,
    },
    /// The machine's status for people.
    DescribeMachine(MachineId),
    /// Tried until it is done: while it is not stored, the next leader would trust whoever speaks first.
    AgentKey {
        agent: AgentId,
        key: String,
        /// How often it was tried in vain.
        tries: u32,
    },
    /// The key of the machine's agent, which no other write has taken along.
    PinKey(MachineId),
    OnNode(OnNode),
    Event(Event),
    Complaint(Complaint),
    /// Tried until it is done: the object that waits for it cannot go before.
    Undo {
        undo: Undo,
        /// How often it was tried in vain.
        tries: u32,
    },
}

impl From<Notice> for Job {
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::Complaint(complaint) => Self::Complaint(complaint),
            Notice::Undo(undo) => Self::Undo { undo, tries: 0 },
        }
    }
}

/// One thing to do with a machine's core Node.
#[derive(Clone, Debug)]
pub(super) enum OnNode {
    Fence {
        machine: MachineId,
        node: String,
        cordon: Cordon,
    },
    ListPods {
        machine: MachineId,
        node: String,
    },
    Evict {
        machine: MachineId,
        pods: Vec<PodRef>,
    },
    Patch {
        machine: MachineId,
        patch: Box<NodePatch>,
    },
    Retire {
        machine: MachineId,
        node: String,
        uid: String,
        policy: NodeObjectPolicy,
    },
}

impl OnNode {
    pub(super) fn machine(&self) -> &MachineId {
        match self {
            Self::Fence { machine, .. }
            | Self::ListPods { machine, .. }
            | Self::Evict { machine, .. }
            | Self::Patch { machine, .. }
            | Self::Retire { machine, .. } => machine,
        }
    }
}

/// What is written one after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Group(GroupId),
    Machine(MachineId),
    Node(MachineId),
    Agents,
    Events,
    Complaints,
    /// Of the object with this uid.
    Undo(String),
}

/// The jobs of all lanes.
#[derive(Default)]
pub(super) struct Backlog {
    waiting: BTreeMap<Lane, VecDeque<Job>>,
    busy: BTreeSet<Lane>,
    /// The lane served last, so that none is served for ever while others wait.
    last: Option<Lane>,
    dropped: u64,
}

impl Backlog {
    /// Takes a job in.
    pub(super) fn push(&mut self, job: Job) {
        let lane = lane(&job);
        let queue = self.waiting.entry(lane).or_default();
        match &job {
            Job::Record { .. } => {
                // A description rides with the record.
                queue.retain(|old| !matches!(old, Job::Record { .. } | Job::DescribeMachine(_)));
                queue.push_back(job);
            }
            Job::PinKey(_) => {
                if queue.is_empty() {
                    queue.push_back(job);
                }
            }
            Job::DescribeMachine(_) => {
                let rides = |old: &Job| matches!(old, Job::Record { .. } | Job::DescribeMachine(_));
                if !queue.iter().any(rides) {
                    queue.push_back(job);
                }
            }
            Job::DescribeGroup(_) => {
                if !queue.iter().any(|old| matches!(old, Job::DescribeGroup(_))) {
                    queue.push_back(job);
                }
            }
            Job::Event(_) => {
                if queue.len() >= EVENTS {
                    queue.pop_front();
                    self.dropped += 1;
                }
                queue.push_back(job);
            }
            Job::OnNode(work) => {
                // Asked for again while nobody answers: the newest was computed from what is seen now.
                let kind = std::mem::discriminant(work);
                let is_older = |old: &Job| matches!(old, Job::OnNode(old) if std::mem::discriminant(old) == kind);
                queue.retain(|old| !is_older(old));
                queue.push_back(job);
            }
            Job::Complaint(complaint) => {
                let waits = |old: &Job| matches!(old, Job::Complaint(old) if old == complaint);
                if !queue.iter().any(waits) {
                    queue.push_back(job);
                }
            }
            Job::Commit { .. } | Job::AgentKey { .. } | Job::Undo { .. } => {
                queue.push_back(job);
            }
        }
    }

    /// The next job, of a lane that is free; the lane is busy from then on.
    pub(super) fn take(&mut self) -> Option<(Lane, Job)> {
        let free = |lane: &&Lane| !self.busy.contains(*lane);
        let after = self.last.as_ref();
        let next = self
            .waiting
            .keys()
            .filter(|lane| after.is_none_or(|last| *lane > last))
            .find(free)
            .or_else(|| self.waiting.keys().find(free))
            .cloned()?;
        let queue = self.waiting.get_mut(&next)?;
        let job = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&next);
        }
        self.busy.insert(next.clone());
        self.last = Some(next.clone());
        Some((next, job))
    }

    /// The job of a lane is done.
    pub(super) fn done(&mut self, lane: &Lane) {
        self.busy.remove(lane);
    }

    /// Events dropped since this was asked last.
    pub(super) fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

fn lane(job: &Job) -> Lane {
    match job {
        Job::Commit { group, .. } | Job::DescribeGroup(group) => Lane::Group(group.clone()),
        Job::Record { machine, .. } | Job::DescribeMachine(machine) | Job::PinKey(machine) => {
            Lane::Machine(machine.clone())
        }
        Job::AgentKey { .. } => Lane::Agents,
        Job::OnNode(work) => Lane::Node(work.machine().clone()),
        Job::Event(_) => Lane::Events,
        Job::Complaint(_) => Lane::Complaints,
        Job::Undo { undo, .. } => Lane::Undo(undo.place.uid.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::kubernetes::Kind;
    use coordinator_core::{Severity, Subject};

    fn machine(name: &str) -> MachineId {
        MachineId::new(name)
    }

    fn record(name: &str, version: u64) -> Job {
        Job::Record {
            machine: machine(name),
            version,
            record: Box::default(),
        }
    }

    fn list(name: &str, node: &str) -> Job {
        Job::OnNode(OnNode::ListPods {
            machine: machine(name),
            node: node.into(),
        })
    }

    fn retire(name: &str, node: &str) -> Job {
        Job::OnNode(OnNode::Retire {
            machine: machine(name),
            node: node.into(),
            uid: String::new(),
            policy: NodeObjectPolicy::Delete,
        })
    }

    /// A short word for each job.
    fn word(job: &Job) -> String {
        match job {
            Job::Commit { swap, .. } => format!("commit {}", swap.expected),
            Job::DescribeGroup(_) => "group".into(),
            Job::Record { version, .. } => format!("record {version}"),
            Job::DescribeMachine(_) => "machine".into(),
            Job::AgentKey { .. } => "key".into(),
            Job::PinKey(_) => "pin".into(),
            Job::OnNode(OnNode::ListPods { node, .. }) => format!("list {node}"),
            Job::OnNode(OnNode::Retire { node, .. }) => format!("retire {node}"),
            Job::OnNode(OnNode::Fence { .. } | OnNode::Evict { .. } | OnNode::Patch { .. }) => {
                "node".into()
            }
            Job::Event(event) => format!("event {}", event.message),
            Job::Complaint(_) => "complaint".into(),
            Job::Undo { tries, .. } => format!("undo {tries}"),
        }
    }

    /// Everything, each job finished before the next.
    fn drain(backlog: &mut Backlog) -> Vec<String> {
        let mut words = Vec::new();
        while let Some((lane, job)) = backlog.take() {
            words.push(word(&job));
            backlog.done(&lane);
        }
        words
    }

    #[test]
    fn only_the_newest_record_waits_and_a_description_rides_with_it() {
        let mut backlog = Backlog::default();
        backlog.push(Job::DescribeMachine(machine("a")));
        backlog.push(record("a", 1));
        backlog.push(record("a", 2));
        backlog.push(Job::DescribeMachine(machine("a")));
        assert_eq!(drain(&mut backlog), ["record 2"]);
    }

    #[test]
    fn a_record_under_way_is_finished_before_the_next_begins() {
        let mut backlog = Backlog::default();
        backlog.push(record("a", 1));
        let (lane, _) = backlog.take().unwrap();
        backlog.push(record("a", 2));
        backlog.push(record("b", 7));
        assert_eq!(word(&backlog.take().unwrap().1), "record 7");
        assert!(backlog.take().is_none(), "a is busy");
        backlog.done(&lane);
        assert_eq!(word(&backlog.take().unwrap().1), "record 2");
    }

    #[test]
    fn work_on_one_node_keeps_its_order() {
        let mut backlog = Backlog::default();
        backlog.push(retire("a", "1"));
        backlog.push(list("a", "2"));
        assert_eq!(drain(&mut backlog), ["retire 1", "list 2"]);
    }

    #[test]
    fn work_that_is_asked_for_again_waits_once() {
        let mut backlog = Backlog::default();
        for node in ["1", "2", "3"] {
            backlog.push(list("a", node));
            backlog.push(retire("a", node));
        }
        assert_eq!(drain(&mut backlog), ["list 3", "retire 3"]);
    }

    #[test]
    fn of_one_object_one_complaint_waits() {
        let about = |name: &str| {
            let key = ("lab".to_owned(), name.to_owned());
            Job::Complaint(Complaint::Object(Kind::Machine, key))
        };
        let mut backlog = Backlog::default();
        for name in ["a", "b", "a", "b"] {
            backlog.push(about(name));
        }
        assert_eq!(drain(&mut backlog), ["complaint", "complaint"]);
    }

    #[test]
    fn a_busy_lane_does_not_starve_the_others() {
        let mut backlog = Backlog::default();
        backlog.push(list("a", "1"));
        backlog.push(retire("a", "2"));
        backlog.push(list("b", "3"));
        assert_eq!(drain(&mut backlog), ["list 1", "list 3", "retire 2"]);
    }

    #[test]
    fn the_oldest_events_are_dropped_and_counted() {
        let mut backlog = Backlog::default();
        for number in 0..EVENTS + 3 {
            backlog.push(Job::Event(Event {
                about: Subject::Machine(machine("a")),
                severity: Severity::Normal,
                reason: "R",
                message: number.to_string(),
                operation: None,
            }));
        }
        assert_eq!(backlog.dropped(), 3);
        assert_eq!(drain(&mut backlog)[0], "event 3");
    }
}
