//! Coordinators: the real core in each, started from the store, killed at any instant, one after the other or two at once.
//!
//! In: facts. Out: what the actions do in the world.
//! Holds: between any two actions a coordinator may die; only what has left it has an effect.
//! Holds: who leads no more cannot write, and sends nothing more once another one has started; what it sent before may
//! still be on its way. It goes on deciding, because it does not know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_core::Report;
use coordinator::inputs::reports::parse;
use coordinator::outputs::commands::to_wire;
use coordinator_core::{Action, AgentId, AgentInfo, Answer, Command, Fact, Lab, NotSent};

use super::broker::Saying;
use super::declared;
use super::store::{Put, Write};
use super::world::{Event, World};

pub(super) struct Coordinator {
    pub(super) id: u32,
    pub(super) lab: Lab,
    /// It may still write.
    pub(super) leads: bool,
    /// It may still send: a process that was stopped between its last look at its mandate and the sending.
    sends: bool,
    pub(super) connected: bool,
    /// What each agent said of itself: inventory and marks come in different messages.
    infos: BTreeMap<AgentId, AgentInfo>,
    /// Dies before it carries out so many more actions.
    pub(super) dies_after: Option<u32>,
}

impl World {
    pub(super) fn leader(&mut self) -> Option<&mut Coordinator> {
        self.coordinators.iter_mut().rev().find(|c| c.leads)
    }

    fn coordinator(&mut self, process: u32) -> Option<&mut Coordinator> {
        self.coordinators.iter_mut().find(|c| c.id == process)
    }

    pub(super) fn start_coordinator(&mut self) {
        if self.leader().is_some() {
            return;
        }
        self.starts += 1;
        let granted = self.store.machines.values().map(|r| r.token.epoch).max();
        self.epoch = self.epoch.max(granted.unwrap_or(0)) + 1;
        let (id, epoch) = (self.starts, self.epoch);
        for old in &mut self.coordinators {
            old.sends = false;
        }
        self.note(|| format!("coordinator {id} starts, epoch {epoch}"));
        self.coordinators.push(Coordinator {
            id,
            lab: Lab::new(7, declared::policy()),
            leads: true,
            sends: true,
            connected: false,
            infos: BTreeMap::new(),
            dies_after: None,
        });
        for fact in self.what_is_known() {
            self.tell(id, fact);
        }
        self.tell(id, Fact::Cluster { up: true });
        self.tell(id, Fact::Loaded);
        self.tell(id, Fact::Leading { epoch });
        self.after(300, Event::Joins { process: id });
    }

    /// Declarations, stored state and core Nodes.
    fn what_is_known(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::GroupApplied(self.group.clone())];
        let specs = self.specs.values().cloned();
        facts.extend(specs.map(Fact::MachineApplied));
        facts.extend(self.store.facts());
        let nodes = self.cluster.nodes.values().cloned();
        facts.extend(nodes.map(Fact::NodeSeen));
        facts
    }

    pub(super) fn join_broker(&mut self, process: u32) {
        let up = self.broker.up;
        let Some(coordinator) = self.coordinator(process).filter(|c| up && !c.connected) else {
            return;
        };
        coordinator.connected = true;
        self.tell(process, Fact::Broker { up: true });
        self.hand_out_retained(process);
    }

    pub(super) fn broker_for_coordinators(&mut self, up: bool) {
        let processes: Vec<u32> = self.coordinators.iter().map(|c| c.id).collect();
        for process in processes {
            if up {
                self.after(500, Event::Joins { process });
            } else if let Some(coordinator) = self.coordinator(process) {
                coordinator.connected = false;
                self.tell(process, Fact::Broker { up: false });
            }
        }
    }

    pub(super) fn end_coordinator(&mut self, process: u32) {
        if self.coordinators.iter().any(|c| c.id == process) {
            self.note(|| format!("coordinator {process} ends"));
            self.coordinators.retain(|c| c.id != process);
            self.forget_callers(process);
        }
    }

    pub(super) fn tell(&mut self, process: u32, fact: Fact) {
        let now = self.now();
        if let Some(coordinator) = self.coordinator(process) {
            coordinator.lab.observe(fact, now);
        }
    }

    /// A changed declaration reaches every coordinator.
    pub(super) fn tell_all(&mut self, fact: &Fact) {
        let processes: Vec<u32> = self.coordinators.iter().map(|c| c.id).collect();
        for process in processes {
            self.tell(process, fact.clone());
        }
    }

    /// A message of an agent, as the coordinator's reader takes it in.
    pub(super) fn hear(&mut self, process: u32, agent: &str, saying: Saying) {
        let agent = AgentId::new(agent);
        let Some(coordinator) = self.coordinator(process).filter(|c| c.connected) else {
            return;
        };
        let facts = match saying {
            Saying::Inventory(inventory) => {
                let mut info = parse::info(&agent, &inventory);
                if let Some(known) = coordinator.infos.get(&agent) {
                    info.high_water.clone_from(&known.high_water);
                }
                coordinator.infos.insert(agent, info.clone());
                vec![Fact::AgentInfo(Arc::new(info))]
            }
            Saying::Report(report) => coordinator.read(&agent, &report),
        };
        for fact in facts {
            self.tell(process, fact);
        }
    }

    /// Every coordinator decides and carries out what it decided.
    pub(super) fn decide(&mut self) {
        let processes: Vec<u32> = self.coordinators.iter().map(|c| c.id).collect();
        let now = self.now();
        for process in processes {
            let Some(coordinator) = self.coordinator(process) else {
                continue;
            };
            for action in coordinator.lab.decide(now) {
                if self.dies_before(process) {
                    break;
                }
                self.perform(process, action);
            }
            self.look(process);
        }
    }

    /// Whether a coordinator dies right now, between two of its actions.
    fn dies_before(&mut self, process: u32) -> bool {
        let Some(left) = self
            .coordinator(process)
            .and_then(|c| c.dies_after.as_mut())
        else {
            return false;
        };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return false;
        }
        self.tally
            .count("a coordinator was killed between two actions");
        self.end_coordinator(process);
        let away_ms = self.dice.between(1_500, 15_000);
        self.after(away_ms, Event::Starts);
        true
    }

    fn perform(&mut self, process: u32, action: Action) {
        match action {
            Action::Commit {
                group: _,
                expected,
                record,
                deadline_ms,
            } => {
                let put = Put::Group {
                    expected,
                    record,
                    deadline_ms,
                };
                self.put(process, put);
            }
            Action::Record {
                machine,
                version,
                record,
            } => {
                self.judge_record(process, &machine, &record);
                let put = Put::Machine {
                    machine,
                    version,
                    record,
                };
                self.put(process, put);
            }
            Action::RecordAgent { agent, key } => {
                let put = Put::Agent { agent, key };
                self.after(1, Event::Lands(Box::new(Write::silent(put))));
            }
            // Who does not lead any more tells nobody that something is done.
            Action::Answer {
                ticket,
                answer: Answer::Done,
            } if !self.may_write(process) => self.forget_caller(ticket),
            Action::Answer { ticket, answer } => self.judge_answer(ticket, &answer),
            Action::Send(command) => self.send(process, &command),
            Action::Ping { agent } => {
                if self.coordinator(process).is_some_and(|c| c.connected) {
                    self.ping(agent.as_str());
                }
            }
            Action::Fence { .. }
            | Action::ListPods { .. }
            | Action::Evict { .. }
            | Action::PatchNode { .. }
            | Action::RetireNode { .. } => self.perform_on_node(process, action),
            Action::Event(event) => {
                self.tally.count(event.reason);
                self.note(|| {
                    format!(
                        "event {}: {} {:?}",
                        event.reason, event.message, event.about
                    )
                });
            }
        }
    }

    fn perform_on_node(&mut self, process: u32, action: Action) {
        match action {
            Action::Fence {
                machine,
                node,
                cordon,
            } if self.may_write(process) => self.fence(process, machine, (&node, cordon)),
            Action::Fence { machine, .. } => {
                let outcome = Err("another coordinator leads".to_owned());
                self.answer(process, Fact::Fenced { machine, outcome });
            }
            Action::ListPods { machine, node } => self.list_pods(process, machine, &node),
            Action::Evict { machine, pods } if self.may_write(process) => {
                self.evict(process, machine, pods);
            }
            Action::Evict { machine, .. } => {
                let pods = Vec::new();
                self.answer(process, Fact::Evicted { machine, pods });
            }
            Action::PatchNode { machine, patch } if self.may_write(process) => {
                self.patch_node(process, machine, patch);
            }
            Action::RetireNode {
                machine,
                node,
                uid,
                policy,
            } if self.may_write(process) => {
                self.retire_node(process, machine, (node, uid), policy);
            }
            Action::PatchNode { machine, .. } | Action::RetireNode { machine, .. } => {
                let outcome = Err("another coordinator leads".to_owned());
                self.answer(process, Fact::NodeDone { machine, outcome });
            }
            Action::Commit { .. }
            | Action::Record { .. }
            | Action::RecordAgent { .. }
            | Action::Answer { .. }
            | Action::Send(_)
            | Action::Ping { .. }
            | Action::Event(_) => {}
        }
    }

    pub(super) fn may_write(&mut self, process: u32) -> bool {
        self.coordinator(process).is_some_and(|c| c.leads)
    }

    fn send(&mut self, process: u32, command: &Command) {
        if !self.coordinator(process).is_some_and(|c| c.sends) {
            return;
        }
        self.judge_command(process, command);
        if !self.coordinator(process).is_some_and(|c| c.connected) {
            return;
        }
        let agent = command.agent.as_str();
        match to_wire::message(command, &self.key, Duration::from_secs(30)) {
            Ok(message) if self.is_connected(agent) => {
                self.command(agent, &message.topic, &message.payload);
            }
            Ok(_) => {
                let fact = Fact::NotSent {
                    agent: command.agent.clone(),
                    command: command.id.clone(),
                    why: NotSent::NobodyListens,
                };
                self.answer(process, fact);
            }
            Err(fault) => self.breaks(format!("a command cannot be expressed: {fault}")),
        }
    }
}

impl Coordinator {
    fn read(&mut self, agent: &AgentId, report: &Report) -> Vec<Fact> {
        match report {
            Report::Heartbeat(beat) => vec![parse::beat(agent, beat)],
            Report::Status(status) => {
                let mut facts: Vec<Fact> = parse::state(agent, status).into_iter().collect();
                let high_water = parse::high_water(agent, status);
                if let Some(info) = self
                    .infos
                    .get_mut(agent)
                    .filter(|info| info.high_water != high_water)
                {
                    info.high_water = high_water;
                    facts.push(Fact::AgentInfo(Arc::new(info.clone())));
                }
                facts
            }
            Report::Result(body) => {
                let report = parse::report(agent, body, true);
                report.map(Fact::Reported).into_iter().collect()
            }
            Report::Last(last) => {
                let reports = last
                    .results
                    .iter()
                    .filter_map(|body| parse::report(agent, body, true));
                reports.map(Fact::Reported).collect()
            }
        }
    }
}
