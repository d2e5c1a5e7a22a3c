//! Which machines an agent's or a core Node's name stands for.
//!
//! In: declarations as they come and go. Out: the machines, without looking at all of them: signs of life come by such names.
//! Holds: an agent and a Node bear their machine's name unless its declaration says otherwise; only other names are kept.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::groups::Group;
use crate::ids::{AgentId, GroupId, MachineId};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::spec::MachineSpec;

/// Names that are not their machine's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    agents: BTreeMap<AgentId, Vec<MachineId>>,
    nodes: BTreeMap<Arc<str>, Vec<MachineId>>,
}

impl Names {
    /// A machine was declared.
    pub(crate) fn learn(&mut self, spec: &MachineSpec) {
        if spec.agent.as_str() != spec.id.as_str() {
            let machines = self.agents.entry(spec.agent.clone()).or_default();
            insert(machines, &spec.id);
        }
        if *spec.node_name != *spec.id.as_str() {
            let machines = self.nodes.entry(spec.node_name.clone()).or_default();
            insert(machines, &spec.id);
        }
    }

    /// A declaration is gone, or about to be replaced.
    pub(crate) fn forget(&mut self, spec: &MachineSpec) {
        remove(&mut self.agents, &spec.agent, &spec.id);
        remove(&mut self.nodes, &spec.node_name, &spec.id);
    }
}

/// Names that are there already are not held twice.
pub(crate) fn share(spec: &mut MachineSpec, groups: &BTreeMap<GroupId, Group>) {
    if let Some((group, _)) = groups.get_key_value(&spec.group) {
        spec.group.clone_from(group);
    }
    if *spec.node_name == *spec.id.as_str() {
        spec.node_name.clone_from(spec.id.text());
    }
    if spec.agent.as_str() == spec.id.as_str() {
        spec.agent = AgentId::from(Arc::clone(spec.id.text()));
    }
}

fn remove<K: Ord>(names: &mut BTreeMap<K, Vec<MachineId>>, name: &K, id: &MachineId) {
    if let Some(machines) = names.get_mut(name) {
        machines.retain(|other| other != id);
        if machines.is_empty() {
            names.remove(name);
        }
    }
}

/// By name, so that what is found does not depend on the order of declarations.
fn insert(machines: &mut Vec<MachineId>, id: &MachineId) {
    if let Err(at) = machines.binary_search(id) {
        machines.insert(at, id.clone());
    }
}

impl Lab {
    /// The machines whose host this agent runs on.
    pub(crate) fn machines_of_agent(&self, agent: &AgentId) -> impl Iterator<Item = &Machine> {
        let own = self.machines.get(&MachineId::new(agent.as_str()));
        let own = own.filter(|machine| machine.spec.agent == *agent);
        let others = self.names.agents.get(agent).into_iter().flatten();
        let others = others.filter_map(|id| self.machines.get(id));
        own.into_iter().chain(others).map(|machine| &**machine)
    }

    /// The machines whose core Node bears this name; its own machine first.
    pub(crate) fn machines_of_node(&self, name: &str) -> impl Iterator<Item = &Machine> {
        let own = self.machines.get(&MachineId::new(name));
        let own = own.filter(|machine| *machine.spec.node_name == *name);
        let others = self.names.nodes.get(name).into_iter().flatten();
        let others = others.filter_map(|id| self.machines.get(id));
        own.into_iter().chain(others).map(|machine| &**machine)
    }
}
