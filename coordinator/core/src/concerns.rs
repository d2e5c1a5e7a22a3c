//! What people should mend although it stops nothing: found anew in each pass, told by an Event when it begins.
//!
//! In: declarations, relays, what machines brought, the autoscaler's version. Out: [`Concern`]s with their sentences.
//! Holds: a concern changes no decision.
//! Not here: faults, because of which a machine is left alone (`spec`).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::actions::{Action, Event, Severity, Subject};
use crate::agents::Relay;
use crate::groups::Group;
use crate::ids::GroupId;
use crate::lab::{Ctx, Lab};
use crate::machine::{Machine, list};
use crate::node::LOCAL_VOLUME;
use crate::policy::{AutoscalerVersion, ProviderScheme};
use crate::record::PowerState;
use crate::spec::{Mode, NodeObjectPolicy};
use crate::{identity, template, upkeep, volumes};

/// Something that people should mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// A machine may take longer to boot than the cluster-autoscaler waits for it.
    BootAboveProvisionTime,
    /// No relay holds the credentials of a machine's BMC.
    MissingCredentials,
    /// A machine's Node goes by another provider id than the one that was promised.
    ForeignProviderId,
    /// A machine has another network card than the one that is to wake it.
    ForeignMac,
    /// A machine's kubelet goes by the name of another Node than the one that was declared.
    NodeRenamed,
    /// A machine is off, and a Node stands there for it.
    OldNode,
    /// A machine holds volumes that exist nowhere else, so the cluster-autoscaler is told to leave it alone.
    LocalVolume,
    /// Machines of a group differ so much that its template promises far less than most of them bring.
    Heterogeneous,
    /// A machine of a group came with less than the group's template promised.
    TemplateDrift,
    /// A group keeps the Nodes of machines that are off, which not every cluster-autoscaler understands.
    RetainNeedsCa136,
    /// A group's prices are told in a time zone that nobody knows.
    UnknownTimeZone,
    /// A group gives the cluster-autoscaler no time to wait for machines; that option is left out.
    ScaleDownTooShort,
}

/// Concerns with what to say about each.
pub type Concerns = BTreeMap<Concern, String>;

impl Concern {
    /// Those that machines can have.
    pub const OF_MACHINES: [Self; 7] = [
        Self::BootAboveProvisionTime,
        Self::MissingCredentials,
        Self::ForeignProviderId,
        Self::ForeignMac,
        Self::NodeRenamed,
        Self::OldNode,
        Self::LocalVolume,
    ];
    /// Those that groups can have.
    pub const OF_GROUPS: [Self; 5] = [
        Self::Heterogeneous,
        Self::TemplateDrift,
        Self::RetainNeedsCa136,
        Self::UnknownTimeZone,
        Self::ScaleDownTooShort,
    ];

    /// The stable word: type of a condition, reason of an Event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BootAboveProvisionTime => "BootAboveProvisionTime",
            Self::MissingCredentials => "MissingCredentials",
            Self::ForeignProviderId => "ForeignProviderID",
            Self::ForeignMac => "ForeignMAC",
            Self::NodeRenamed => "NodeRenamed",
            Self::OldNode => "OldNode",
            Self::LocalVolume => LOCAL_VOLUME,
            Self::Heterogeneous => "Heterogeneous",
            Self::TemplateDrift => "TemplateDrift",
            Self::RetainNeedsCa136 => "RetainNeedsCA136",
            Self::UnknownTimeZone => "UnknownTimeZone",
            Self::ScaleDownTooShort => "ScaleDownTooShort",
        }
    }

    /// How bad it is that it begins.
    fn severity(self) -> Severity {
        match self {
            Self::LocalVolume => Severity::Normal,
            Self::BootAboveProvisionTime
            | Self::MissingCredentials
            | Self::ForeignProviderId
            | Self::ForeignMac
            | Self::NodeRenamed
            | Self::OldNode
            | Self::Heterogeneous
            | Self::TemplateDrift
            | Self::RetainNeedsCa136
            | Self::UnknownTimeZone
            | Self::ScaleDownTooShort => Severity::Warning,
        }
    }
}

/// The first cluster-autoscaler that tells suspended Nodes from broken ones.
const KNOWS_SUSPENDED: AutoscalerVersion = AutoscalerVersion {
    major: 1,
    minor: 36,
};

/// Looks for concerns and tells those that are new.
pub(crate) fn run(lab: &mut Lab, ctx: &mut Ctx<'_>) {
    note_sleepers(lab);
    // Relays are heard one after the other: until each has had its turn, nobody can say what none of them holds.
    let silent_ms = ctx.policy.agent_silent_ms;
    let heard_all = lab
        .links
        .broker_ms
        .is_some_and(|since| ctx.due(since.saturating_add(silent_ms)));
    let relays = if heard_all {
        lab.agents.relays_now(ctx)
    } else {
        Vec::new()
    };
    let mut members: BTreeMap<&GroupId, Vec<&Machine>> = BTreeMap::new();
    for machine in lab.machines.values() {
        let group = members.entry(&machine.spec.group).or_default();
        group.push(machine);
    }
    let of_groups: Vec<Concerns> = lab
        .groups
        .iter()
        .map(|(id, group)| {
            let machines = members.get(id).map_or(&[][..], Vec::as_slice);
            of_group(group, machines, lab.autoscaler.or(ctx.policy.autoscaler))
        })
        .collect();
    for (group, found) in lab.groups.values_mut().zip(of_groups) {
        if group.concerns != found {
            let about = Subject::Group(group.spec.id.clone());
            group.concerns = tell(&group.concerns, found, &about, ctx);
        }
    }
    let scheme = lab.policy.provider_scheme;
    for machine in lab.machines.values_mut() {
        let mut found = of_machine(machine, &relays, scheme);
        found.extend(identity::concerns(
            machine,
            &lab.agents,
            &lab.orphan_nodes,
            scheme,
        ));
        let group = lab.groups.get(&machine.spec.group);
        if let (Some(known), Some(group)) = (&lab.local_volumes, group)
            && let Some(message) = volumes::concern(known, machine, group)
        {
            found.insert(Concern::LocalVolume, message);
        }
        if machine.concerns != found {
            let about = Subject::Machine(machine.id().clone());
            machine.concerns = tell(&machine.concerns, found, &about, ctx);
        }
    }
}

/// Which relays sleep, for who asks why none is awake.
fn note_sleepers(lab: &mut Lab) {
    let off = lab
        .machines
        .values()
        .filter(|machine| machine.record.power.state == PowerState::Off)
        .filter_map(|machine| Some((&machine.spec.agent, machine.record.last_off_at_ms?)));
    let relays = off.filter(|(agent, _)| {
        let info = lab
            .agents
            .get(agent)
            .and_then(|agent| agent.info.as_deref());
        info.is_some_and(|info| !info.segments.is_empty() || info.credentials.is_some())
    });
    lab.agents.asleep = relays
        .map(|(agent, at_ms)| (agent.clone(), at_ms))
        .collect();
}

fn tell(before: &Concerns, found: Concerns, about: &Subject, ctx: &mut Ctx<'_>) -> Concerns {
    for (concern, message) in &found {
        if !before.contains_key(concern) {
            ctx.out.push(Action::Event(Event {
                about: about.clone(),
                severity: concern.severity(),
                reason: concern.as_str(),
                message: message.clone(),
                operation: None,
            }));
        }
    }
    found
}

fn of_machine(machine: &Machine, relays: &[Relay<'_>], scheme: ProviderScheme) -> Concerns {
    let mut found = machine.spec.concerns.clone();
    if let Some(message) = missing_credentials(machine, relays) {
        found.insert(Concern::MissingCredentials, message);
    }
    if let Some(message) = upkeep::foreign_provider_id(machine, scheme) {
        found.insert(Concern::ForeignProviderId, message);
    }
    found
}

/// What is missing where, if relays are awake and not one that is known, awake or not, holds the credentials of a machine's BMC.
pub(crate) fn missing_credentials(machine: &Machine, relays: &[Relay<'_>]) -> Option<String> {
    let redfish = machine.spec.redfish.as_ref()?;
    let name = &redfish.credentials;
    let others = || relays.iter().filter(|r| *r.id != machine.spec.agent);
    let holds = |relay: &Relay<'_>| relay.credentials.is_none_or(|held| held.contains(name));
    if others().any(holds) {
        return None;
    }
    let awake: Vec<String> = others()
        .filter(|relay| relay.awake)
        .map(|relay| format!("{} (holds {})", relay.id, held(relay)))
        .collect();
    (!awake.is_empty()).then(|| {
        format!(
            "No relay holds the credentials {name} for the BMC at {}: put the files {name}.username, {name}.password and \
             {name}.hosts into the relay's credentials folder (/etc/homelab-agent/credentials unless its agent.toml says \
             otherwise), or keys of these names into the Secret homelab-autoscaler-credentials for a relay in the cluster. \
             Awake: {}",
            redfish.address,
            list(&awake)
        )
    })
}

fn held(relay: &Relay<'_>) -> String {
    match relay.credentials {
        Some(names) if !names.is_empty() => list(names),
        Some(_) | None => "none".to_string(),
    }
}

fn of_group(group: &Group, machines: &[&Machine], version: Option<AutoscalerVersion>) -> Concerns {
    let mut found = group.spec.concerns.clone();
    if !matches!(group.spec.mode, Mode::Autoscaler) {
        return found;
    }
    if let Some(difference) = template::difference(machines) {
        found.insert(
            Concern::Heterogeneous,
            format!(
                "Its machines differ much, and the cluster-autoscaler is promised the least of each: {difference}; put machines \
                 that are alike into groups of their own"
            ),
        );
    }
    if let Some(shortfall) = template::drift(machines) {
        found.insert(
            Concern::TemplateDrift,
            format!(
                "Less came than the cluster-autoscaler was promised, so pods may have waited for room in vain: {shortfall}. The \
                 template follows what has come; spec.template.capacity should say no more than what is allocatable on a Node"
            ),
        );
    }
    if let Some(problem) = retain_problem(group, version) {
        found.insert(Concern::RetainNeedsCa136, problem);
    }
    found
}

fn retain_problem(group: &Group, version: Option<AutoscalerVersion>) -> Option<String> {
    let needs = "nodeObjectPolicy Retain needs cluster-autoscaler 1.36 or newer. An older one counts the kept Nodes of sleeping \
                 machines as unready: while more than 3 Nodes and more than 45 % of all are (--ok-total-unready-count, \
                 --max-total-unready-percentage), it neither wakes nor stops any machine.";
    match (group.spec.node_object_policy, version) {
        (NodeObjectPolicy::Delete, _) => None,
        (NodeObjectPolicy::Retain, Some(version)) if version >= KNOWS_SUSPENDED => None,
        (NodeObjectPolicy::Retain, Some(version)) => Some(format!(
            "{needs} This one is {version}: upgrade it, or write nodeObjectPolicy: Delete"
        )),
        (NodeObjectPolicy::Retain, None) => Some(format!(
            "{needs} Its calls do not tell its version: if it is new enough, say so with the coordinator's flag \
             --autoscaler-version 1.36, else write nodeObjectPolicy: Delete"
        )),
    }
}
