//! Ways to wake machines that no relay serves, or only relays on machines that may sleep themselves.
//!
//! In: machines with their ways to wake, agents that were heard. Out: findings, one for each segment and each name of credentials.
//! Holds: a machine never counts as its own relay; one way that fails is a warning where another one works.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use coordinator_crds::{
    Node,
    node::{PowerPolicy, WakeMethod},
};

use super::{Finding, listed, places};
use crate::lab::{Agent, Lab};

const WHAT: &str = "relays";

/// What a relay must have to wake a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way<'a> {
    /// A card on this segment, for magic packets.
    Segment(&'a str),
    /// The credentials of this name, for BMCs.
    Credentials(&'a str),
}

impl<'a> Way<'a> {
    /// The ways of a machine; none where nobody wakes it.
    fn of(machine: &'a Node) -> impl Iterator<Item = Self> {
        let spec = &machine.spec;
        let managed = spec.power != PowerPolicy::Unmanaged;
        let uses = move |method| {
            let declared = spec.wake.as_ref();
            managed && declared.is_none_or(|methods| methods.contains(&method))
        };
        let packet = spec.wake_on_lan.as_ref();
        let packet = packet.filter(|_| uses(WakeMethod::WakeOnLan));
        let bmc = spec.redfish.as_ref();
        let bmc = bmc.filter(|_| uses(WakeMethod::Redfish));
        let packet = packet.map(|packet| Self::Segment(&packet.segment));
        packet
            .into_iter()
            .chain(bmc.map(|bmc| Self::Credentials(&bmc.credentials)))
    }

    /// Whether an agent has what it takes. A relay that does not tell its credentials is asked by the coordinator too.
    fn is_served_by(self, agent: &Agent) -> bool {
        match self {
            Self::Segment(segment) => agent.segments.iter().any(|served| served == segment),
            Self::Credentials(name) => agent
                .credentials
                .as_ref()
                .map_or(!agent.segments.is_empty(), |held| {
                    held.iter().any(|held| held == name)
                }),
        }
    }

    /// Whether a relay is awake for it that is not the machine itself.
    fn works_for(self, machine: &Node, lab: &Lab) -> bool {
        let mut relays = lab.agents.iter();
        relays.any(|relay| {
            is_awake(relay) && self.is_served_by(relay) && relay.name != places::agent_of(machine)
        })
    }

    fn cure(self) -> String {
        match self {
            Self::Segment(_) => {
                "start an agent with [relay] on a device on that segment that always runs"
                    .to_owned()
            }
            Self::Credentials(name) => format!(
                "give an agent with [relay], on a device that always runs, the files {name}.username, {name}.password and \
                 {name}.hosts; for the relay in the cluster they are keys of the Secret homelab-autoscaler-credentials"
            ),
        }
    }
}

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(segment) => write!(f, "on segment {segment}"),
            Self::Credentials(name) => write!(f, "with the BMC credentials {name}"),
        }
    }
}

/// `sleepers` are the agents whose machines may sleep.
pub(super) fn judge(lab: &Lab, sleepers: &BTreeSet<String>) -> Vec<Finding> {
    let mut ways: BTreeMap<Way<'_>, Vec<&Node>> = BTreeMap::new();
    for machine in &lab.nodes {
        for way in Way::of(machine) {
            ways.entry(way).or_default().push(machine);
        }
    }
    if ways.is_empty() {
        return vec![Finding::ok(WHAT, "no machine needs one to be woken")];
    }
    let found = ways.iter();
    found
        .map(|(way, machines)| of_way(*way, machines, lab, sleepers))
        .collect()
}

fn of_way(way: Way<'_>, machines: &[&Node], lab: &Lab, sleepers: &BTreeSet<String>) -> Finding {
    let relays = lab.agents.iter().filter(|agent| way.is_served_by(agent));
    let relays: Vec<&Agent> = relays.collect();
    if relays.is_empty() {
        let found = format!("no agent is a relay {way}");
        return unserved(way, machines, lab, (&found, way.cure()));
    }
    let names = |relays: &[&Agent]| listed(relays.iter().map(|relay| relay.name.as_str()));
    let awake = relays.iter().filter(|relay| is_awake(relay));
    let awake: Vec<&Agent> = awake.copied().collect();
    if awake.is_empty() {
        let found = format!(
            "no relay is awake {way} ({} not heard lately)",
            names(&relays)
        );
        let cure = "see whether its host and its agent run".to_owned();
        return unserved(way, machines, lab, (&found, cure));
    }
    let helpless = machines
        .iter()
        .filter(|machine| !Way::of(machine).any(|way| way.works_for(machine, lab)));
    let helpless = named(helpless.copied());
    if !helpless.is_empty() {
        let found =
            format!("{helpless} is the only relay awake {way}, and nobody else could wake it");
        return Finding::warn(WHAT, found, way.cure());
    }
    if awake.iter().all(|relay| sleepers.contains(&relay.name)) {
        let found = format!(
            "every relay awake {way} is a machine that may sleep ({}); the last that a machine needs is kept running",
            names(&awake)
        );
        return Finding::warn(WHAT, found, way.cure());
    }
    let found = match way {
        Way::Segment(segment) => format!("segment {segment} has {} awake", names(&awake)),
        Way::Credentials(name) => {
            format!("the BMC credentials {name} have {} awake", names(&awake))
        }
    };
    Finding::ok(WHAT, found)
}

/// What it means for machines that nobody serves one of their ways; what was found, and its cure.
fn unserved(way: Way<'_>, machines: &[&Node], lab: &Lab, (found, cure): (&str, String)) -> Finding {
    let stranded = machines.iter().filter(|machine| {
        let mut others = Way::of(machine).filter(|other| *other != way);
        !others.any(|other| other.works_for(machine, lab))
    });
    let stranded = named(stranded.copied());
    if stranded.is_empty() {
        let woken = named(machines.iter().copied());
        let found = format!("{found}: {woken} can be woken the other way alone");
        return Finding::warn(WHAT, found, cure);
    }
    Finding::fail(WHAT, format!("{found}: nobody can wake {stranded}"), cure)
}

fn is_awake(agent: &Agent) -> bool {
    agent.live == Some(true)
}

fn named<'a>(machines: impl Iterator<Item = &'a Node>) -> String {
    listed(machines.filter_map(|machine| machine.metadata.name.as_deref()))
}
