//! What is wished for a machine, and who wishes it.
//!
//! In: a Node, its Group, the time. Out: one sentence.
//! Holds: the word is the coordinator's; only who is behind it is read from declaration, override, order and list, in the
//! order in which they go before each other.

use coordinator_crds::{
    Group, Node, NodeStatus,
    group::Mode,
    node::PowerPolicy,
    node_status::{OperationKind, WantedPower},
    time::unix_ms,
};

use crate::moments::moment;

/// The sentence.
pub(super) fn sentence(node: &Node, group: Option<&Group>, now_ms: i64) -> String {
    let unwritten = NodeStatus::default();
    let status = node.status.as_ref().unwrap_or(&unwritten);
    let word = match status.wanted {
        Some(WantedPower::Running) => "running",
        Some(WantedPower::Stopped) => "off",
        Some(WantedPower::Any) => "none",
        None => "not told yet",
    };
    let mut sentence = format!("{word}: {}", who(node, status, group, now_ms));
    sentence.push_str(&of_group(node, group));
    let declared = node.metadata.generation;
    if let (Some(declared), Some(read)) = (declared, status.observed_generation)
        && read < declared
    {
        sentence.push_str("; its declaration is newer than what the coordinator has read");
    }
    sentence.push('.');
    sentence
}

fn who(node: &Node, status: &NodeStatus, group: Option<&Group>, now_ms: i64) -> String {
    if node.spec.power == PowerPolicy::Unmanaged {
        return "its declaration says power: Unmanaged, so it is only watched".to_owned();
    }
    if let Some(held) = &status.override_ {
        let until = held.until.as_ref().map_or_else(
            || "until released".to_owned(),
            |until| format!("until {}", moment(unix_ms(until), now_ms)),
        );
        let what = match held.power {
            PowerPolicy::AlwaysOn => "running",
            PowerPolicy::AlwaysOff => "off",
            PowerPolicy::Auto | PowerPolicy::Unmanaged => "as it is",
        };
        return format!("{} keeps it {what} {until}", held.by);
    }
    match node.spec.power {
        PowerPolicy::AlwaysOn => return "its declaration says power: AlwaysOn".to_owned(),
        PowerPolicy::AlwaysOff => return "its declaration says power: AlwaysOff".to_owned(),
        PowerPolicy::Auto | PowerPolicy::Unmanaged => {}
    }
    let listed = group.filter(|group| lists(group, node));
    if let Some(order) = &status.ordered_off
        && (order.then_wake || listed.is_none())
    {
        let what = if order.then_wake {
            "asked to stop it once and wake it once"
        } else {
            "ordered it off"
        };
        return format!(
            "{} {what}, at {}",
            order.by,
            moment(unix_ms(&order.at), now_ms)
        );
    }
    match listed {
        Some(group) => asked_by(node, status, group, now_ms),
        None => "nobody wants it running and nobody has ordered it off, so it is left as it is"
            .to_owned(),
    }
}

/// Who wants a listed machine: whoever had it woken, else whoever made the list.
fn asked_by(node: &Node, status: &NodeStatus, group: &Group, now_ms: i64) -> String {
    if let Some(operation) = &status.operation
        && operation.kind == OperationKind::Wake
    {
        let at = moment(unix_ms(&operation.started_at), now_ms);
        return format!("{} asked for it at {at}", operation.by);
    }
    let wanted = group.status.as_ref().and_then(|s| s.wanted.as_ref());
    let increase = wanted.and_then(|wanted| {
        let last = wanted.last_increase.as_ref()?;
        let added = usize::try_from(last.delta).ok()?;
        let mut newest = wanted.machines.iter().rev().take(added);
        let name = node.metadata.name.as_ref()?;
        newest.any(|machine| machine == name).then_some(last)
    });
    match (increase, group.spec.mode) {
        (_, Mode::Manual) => "targetSize of its group".to_owned(),
        (Some(last), Mode::Autoscaler) => format!(
            "cluster-autoscaler IncreaseSize({}) asked for it at {}",
            last.delta,
            moment(unix_ms(&last.at), now_ms)
        ),
        (None, Mode::Autoscaler) if group.spec.min_size > 0 => {
            "minSize, or an earlier wish for its group".to_owned()
        }
        (None, Mode::Autoscaler) => "an earlier wish for its group".to_owned(),
    }
}

fn lists(group: &Group, node: &Node) -> bool {
    let wanted = group.status.as_ref().and_then(|s| s.wanted.as_ref());
    let name = node.metadata.name.as_deref();
    wanted.is_some_and(|wanted| wanted.machines.iter().any(|one| Some(one.as_str()) == name))
}

fn of_group(node: &Node, group: Option<&Group>) -> String {
    let name = &node.spec.group;
    let Some(group) = group else {
        return format!("; there is no group {name}");
    };
    if group.spec.paused {
        return format!("; group {name} is paused, its machines are left as they are");
    }
    let status = group.status.as_ref();
    let size = status.and_then(|s| Some((s.target_size?, s.ready?, s.max_size?)));
    size.map_or_else(String::new, |(target, ready, most)| {
        format!("; group {name} wants {target}, {ready} of them run, at most {most} can")
    })
}
