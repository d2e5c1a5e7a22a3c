//! Machines that cannot do what their group counts on, by what the coordinator wrote about them.
//!
//! In: Groups and Nodes with status. Out: findings.

use coordinator_crds::{Condition, ConditionStatus, Group, Node, node::PowerPolicy};

use super::{Finding, listed};
use crate::lab::Lab;

/// Conditions that somebody should mend, in the order in which that is best done. What else is wrong passes by itself, or has a
/// check of its own.
const TO_MEND: [&str; 11] = [
    "InvalidSpec",
    "Conflict",
    "MissingCredentials",
    "ForeignProviderID",
    "ForeignMAC",
    "NodeRenamed",
    "OldNode",
    "RetainNeedsCA136",
    "UnknownTimeZone",
    "ScaleDownTooShort",
    "MassSilence",
];

pub(super) fn judge(lab: &Lab) -> Vec<Finding> {
    let mut found = vec![proofs(lab)];
    found.extend(cards(lab));
    found.extend(declarations(lab));
    found
}

fn proofs(lab: &Lab) -> Finding {
    let counted = lab.nodes.iter().filter(|node| needs_proof(lab, node));
    let (unproven, proven): (Vec<&Node>, Vec<&Node>) = counted.partition(|node| !is_proven(node));
    if unproven.is_empty() {
        let found = if proven.is_empty() {
            "no machine needs one".to_owned()
        } else {
            format!("woken by us before: {}", named(&proven))
        };
        return Finding::ok("proofs", found);
    }
    Finding::warn(
        "proofs",
        format!(
            "never woken by us, so their group may not stop them: {}",
            named(&unproven)
        ),
        "`homelabctl prove NODE` for each while it runs, or requireProof: false in their Group",
    )
}

fn named(machines: &[&Node]) -> String {
    listed(
        machines
            .iter()
            .filter_map(|node| node.metadata.name.as_deref()),
    )
}

/// Whether a machine is its group's to stop only once it is proven.
fn needs_proof(lab: &Lab, node: &Node) -> bool {
    let needs = |group: &Group| group.spec.require_proof;
    node.spec.power == PowerPolicy::Auto && lab.group_of(node).is_some_and(needs)
}

fn is_proven(node: &Node) -> bool {
    let wake = node.status.as_ref().and_then(|status| status.wake.as_ref());
    wake.is_some_and(|wake| wake.proven_at.is_some())
}

/// Machines that no magic packet would wake as their cards stand. Their agents set them before each stop, but not every card
/// keeps what it is told.
fn cards(lab: &Lab) -> Option<Finding> {
    let unarmed = |node: &&Node| {
        let status = node.status.as_ref();
        let mut told = status.iter().flat_map(|status| &status.conditions);
        node.spec.power != PowerPolicy::Unmanaged
            && told.any(|told| told.type_ == "WakeCapable" && told.reason == "NotArmed")
    };
    let unarmed: Vec<&Node> = lab.nodes.iter().filter(unarmed).collect();
    let (them, place) = match unarmed.len() {
        0 => return None,
        1 => ("it", "it"),
        _ => ("they", "each"),
    };
    Some(Finding::warn(
        "cards",
        format!(
            "no network card of {} is armed for a magic packet, so {them} may not wake",
            named(&unarmed)
        ),
        format!(
            "on {place} `ethtool CARD` must say \"Wake-on: g\": run `ethtool -s CARD wol g`, and for good \
             `nmcli connection modify NAME 802-3-ethernet.wake-on-lan magic` or WakeOnLan=magic in a .link file; if \
             \"Supports Wake-on\" has no g, enable it in the BIOS and switch ErP off"
        ),
    ))
}

fn declarations(lab: &Lab) -> Vec<Finding> {
    let groups = lab.groups.iter().filter_map(|group| {
        let status = group.status.as_ref()?;
        let name = format!("group {}", group.metadata.name.as_deref()?);
        Some((name, &status.conditions))
    });
    let nodes = lab.nodes.iter().filter_map(|node| {
        let status = node.status.as_ref()?;
        Some((node.metadata.name.clone()?, &status.conditions))
    });
    let mut to_mend: Vec<(usize, String, &Condition)> = Vec::new();
    for (name, conditions) in groups.chain(nodes) {
        let holding = conditions
            .iter()
            .filter(|c| c.status == ConditionStatus::True);
        to_mend.extend(holding.filter_map(|condition| {
            let rank = TO_MEND.iter().position(|kind| *kind == condition.type_)?;
            Some((rank, name.clone(), condition))
        }));
    }
    to_mend.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    if to_mend.is_empty() {
        return vec![Finding::ok("lab", "nothing is wrong with what is declared")];
    }
    let line = |(_, name, condition): (usize, String, &Condition)| {
        let found = format!("{name} has {}: {}", condition.type_, condition.message);
        let cure = if name.starts_with("group ") {
            "mend it as the sentence says".to_owned()
        } else {
            format!("mend it as the sentence says; `homelabctl explain {name}` tells more")
        };
        Finding::fail("lab", found, cure)
    };
    to_mend.into_iter().map(line).collect()
}
