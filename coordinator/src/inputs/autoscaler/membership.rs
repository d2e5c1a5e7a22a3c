//! Which group answers for a Node, a fake Node of an instance, or one of the autoscaler's template Nodes.
//! In: provider id and name as the autoscaler sends them, for prices labels too. Out: a group that is listed to the autoscaler, or none.
//! Holds: provider id first, then name; a Node that is kept while its machine is off or boots is in no group, nor is it after that
//! for an autoscaler that may have listed it as suspended; the fake Node of the same machine, whose name is the provider id, is.

use coordinator_core::{GROUP_LABEL, GroupId, GroupView, HeldNode, View};
use proto_autoscaler::ExternalGrpcNode;

/// How the autoscaler names the Nodes that it makes up from a template: this, the group's id, a dash, a number, and
/// `-upcoming-` with another number for those that it expects.
const TEMPLATE_NODE: &str = "template-node-for-";

/// The groups that the autoscaler may know of.
pub(super) fn listed(view: &View) -> impl Iterator<Item = &GroupView> {
    view.groups
        .values()
        .map(AsRef::as_ref)
        .filter(|group| group.autoscaled)
}

/// A group that the autoscaler may know of.
pub(super) fn listed_as<'v>(view: &'v View, id: &GroupId) -> Option<&'v GroupView> {
    view.groups
        .get(id)
        .map(AsRef::as_ref)
        .filter(|group| group.autoscaled)
}

/// The group that answers for a Node to somebody who has listed Nodes after that moment, boot clock, milliseconds.
pub(super) fn group_of<'v>(
    view: &'v View,
    listed_ms: u64,
    provider_id: &str,
    name: &str,
) -> Option<&'v GroupView> {
    let is_held = match view.held_nodes.get(name) {
        Some(HeldNode::Away) => true,
        Some(HeldNode::BackSince(since_ms)) => *since_ms >= listed_ms,
        None => false,
    };
    if is_held {
        return None;
    }
    member_of(view, provider_id, name)
}

/// The group whose member a Node is, held or not.
fn member_of<'v>(view: &'v View, provider_id: &str, name: &str) -> Option<&'v GroupView> {
    let by_provider_id = || {
        view.by_provider_id
            .get(provider_id)
            .and_then(|id| listed_as(view, id))
    };
    if let Some(rest) = name.strip_prefix(TEMPLATE_NODE) {
        return by_provider_id().or_else(|| template_group(view, rest));
    }
    by_provider_id().or_else(|| {
        view.by_node_name
            .get(name)
            .and_then(|id| listed_as(view, id))
    })
}

/// The group whose price is asked with a Node. What no machine stands for is known by its labels: what is priced was made from a
/// template, whatever it is called.
pub(super) fn group_of_priced<'v>(
    view: &'v View,
    node: &ExternalGrpcNode,
) -> Option<&'v GroupView> {
    member_of(view, &node.provider_id, &node.name)
        .or_else(|| labelled(view, node.labels.get(GROUP_LABEL)?))
}

/// The group that a label names; none if groups in several namespaces have the name.
fn labelled<'v>(view: &'v View, name: &str) -> Option<&'v GroupView> {
    let is_named =
        |group: &&GroupView| group.id.as_str().rsplit_once('/').map(|(_, last)| last) == Some(name);
    let mut named = listed(view).filter(is_named);
    named.next().filter(|_| named.next().is_none())
}

/// The group whose id starts the rest of a template Node's name. The longest fits where one id begins with another.
fn template_group<'v>(view: &'v View, rest: &str) -> Option<&'v GroupView> {
    listed(view)
        .filter(|group| {
            rest.strip_prefix(group.id.as_str())
                .and_then(|tail| tail.strip_prefix('-'))
                .is_some_and(|number| number.starts_with(|first: char| first.is_ascii_digit()))
        })
        .max_by_key(|group| group.id.as_str().len())
}
