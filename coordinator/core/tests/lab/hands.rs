//! Carries the core's actions out in the world: the store, core Nodes, agents.
//!
//! Holds: every outcome comes back as a fact a little later; an agent that is down or mute answers nothing.

use std::sync::Arc;

use coordinator_core::{
    Action, Command, Cordon, Eviction, EvictionOutcome, Fact, GroupId, GroupRecord, MachineId,
    NodeObjectPolicy, NodePatch, PodRef, PodStanding, PowerRead, Repeat, Report, ReportState,
    StoreFault, Taint, Verb,
};

use crate::world::{Effect, Store, World};

const FENCE: &str = "homelab-autoscaler.dev/power-off";

impl World {
    pub(crate) fn perform(&mut self, action: Action) {
        match action {
            Action::Commit {
                group,
                expected,
                record,
                deadline_ms,
            } => {
                let turn_ms = self.now_ms + self.store_queue_ms;
                if deadline_ms.is_some_and(|deadline| deadline <= turn_ms) {
                    let fault = StoreFault::TooLate;
                    return self.later(self.store_queue_ms, Fact::CommitFailed { group, fault });
                }
                self.commit(group, expected, record);
            }
            Action::Record {
                machine,
                version,
                record,
            } => {
                if self.unstorable.contains(machine.as_str()) {
                    let fault = StoreFault::Refused;
                    self.later(2, Fact::RecordFailed { machine, fault });
                } else if self.store == Store::Up {
                    self.writes += 1;
                    self.store_machines.insert(machine.clone(), *record);
                    self.later(2, Fact::Recorded { machine, version });
                } else {
                    self.later(
                        2,
                        Fact::RecordFailed {
                            machine,
                            fault: StoreFault::Unavailable,
                        },
                    );
                }
            }
            Action::RecordAgent { .. } => {}
            Action::Answer { ticket, answer } => {
                let before = self.answers.insert(ticket.0, (self.now_ms, answer));
                assert!(before.is_none(), "ticket {ticket:?} was answered twice");
            }
            Action::Send(command) => {
                self.carry_out(&command);
                self.commands.push(command);
            }
            Action::Ping { agent } => {
                let name = agent.as_str().to_owned();
                self.beat(&name);
            }
            Action::Fence {
                machine,
                node,
                cordon,
            } => self.fence(machine, &node, cordon),
            Action::ListPods { machine, node } => {
                let pods = self.pods.get(&node).cloned().unwrap_or_default();
                let outcome = Ok(pods);
                self.later(3, Fact::PodsListed { machine, outcome });
            }
            Action::Evict { machine, pods } => self.evict(machine, pods),
            Action::PatchNode { machine, patch } => self.patch(machine, patch),
            Action::RetireNode {
                machine,
                node,
                uid,
                policy,
            } => self.retire(machine, node, &uid, policy),
            Action::Event(event) => self.events.push(event),
        }
    }

    fn commit(&mut self, group: GroupId, expected: u64, record: GroupRecord) {
        let stored = self.store_groups.entry(group.clone()).or_default();
        let is_next = stored.sequence == expected;
        if self.store != Store::Up {
            if self.store == Store::Mute && is_next {
                *stored = record;
            }
            let fault = StoreFault::Unavailable;
            return self.later(3, Fact::CommitFailed { group, fault });
        }
        self.writes += 1;
        if is_next {
            *stored = record;
            let sequence = stored.sequence;
            self.later(3, Fact::Committed { group, sequence });
        } else {
            let record = stored.clone();
            self.later(3, Fact::CommitLost { group, record });
        }
    }

    /// What may leave ends until the test takes it away.
    fn evict(&mut self, machine: MachineId, pods: Vec<PodRef>) {
        let outcome_of = |pod: PodRef| {
            self.evictions.push((self.now_ms, pod.name.clone()));
            let kept = self.keeps.get(&pod.name).cloned();
            let outcome = kept.unwrap_or(EvictionOutcome::Accepted);
            let running = self.pods.values_mut().flatten();
            for seen in running.filter(|seen| seen.pod == pod) {
                if outcome == EvictionOutcome::Accepted {
                    seen.standing = PodStanding::Ending;
                }
            }
            Eviction { pod, outcome }
        };
        let pods = pods.into_iter().map(outcome_of).collect();
        self.later(4, Fact::Evicted { machine, pods });
    }

    fn fence(&mut self, machine: MachineId, name: &str, cordon: Cordon) {
        self.writes += 1;
        let Some(node) = self.nodes.get_mut(name).filter(|_| !self.fences_fail) else {
            let outcome = Err("no such Node".into());
            return self.later(3, Fact::Fenced { machine, outcome });
        };
        node.unschedulable = true;
        if cordon == Cordon::Persons {
            let kept = "homelab-autoscaler.dev/cordoned-by-person".into();
            node.annotations.insert(kept, "true".into());
        }
        if !node.taints.iter().any(|t| t.key == FENCE) {
            node.taints.push(Taint {
                key: FENCE.into(),
                value: String::new(),
                effect: "NoSchedule".into(),
            });
        }
        let node = node.clone();
        self.later(3, Fact::NodeSeen(node));
        self.later(
            3,
            Fact::Fenced {
                machine,
                outcome: Ok(()),
            },
        );
    }

    fn retire(&mut self, machine: MachineId, name: String, uid: &str, policy: NodeObjectPolicy) {
        self.writes += 1;
        match (self.nodes.get_mut(&name).filter(|n| n.uid == uid), policy) {
            (Some(node), NodeObjectPolicy::Retain) => {
                node.suspended = true;
                let node = node.clone();
                self.later(4, Fact::NodeSeen(node));
            }
            (Some(_), NodeObjectPolicy::Delete) => {
                self.nodes.remove(&name);
                self.later(4, Fact::NodeGone { name });
            }
            (None, _) => {}
        }
        self.later(
            3,
            Fact::NodeDone {
                machine,
                outcome: Ok(()),
            },
        );
    }

    fn patch(&mut self, machine: MachineId, patch: NodePatch) {
        self.writes += 1;
        let Some(node) = self
            .nodes
            .get_mut(&patch.node)
            .filter(|n| n.uid == patch.uid)
        else {
            return self.later(
                3,
                Fact::NodeDone {
                    machine,
                    outcome: Err("no such Node".into()),
                },
            );
        };
        if let Some(provider_id) = patch.provider_id {
            node.provider_id = provider_id;
        }
        Arc::make_mut(&mut node.labels).extend(patch.labels);
        node.annotations.extend(patch.annotations);
        for key in &patch.remove_annotations {
            node.annotations.remove(key);
        }
        node.suspended &= !patch.resume;
        if let Some(taints) = patch.taints {
            node.taints = taints.to;
        }
        node.unschedulable = patch.unschedulable.unwrap_or(node.unschedulable);
        let node = node.clone();
        self.later(3, Fact::NodeSeen(node));
        self.later(
            4,
            Fact::NodeDone {
                machine,
                outcome: Ok(()),
            },
        );
    }

    /// What an agent would do, with the guards that matter here: presence, boot, repetition, token.
    fn carry_out(&mut self, command: &Command) {
        let agent = command.agent.as_str().to_owned();
        let target = command.target.as_str().to_owned();
        let up = self.sims.get(&agent).map_or_else(
            || self.relays.get(&agent) == Some(&true),
            |sim| sim.on && !sim.mute,
        );
        if !up {
            return;
        }
        assert!(
            command.challenge.starts_with(&agent),
            "a challenge of another agent was used"
        );
        let (last, id) = self
            .tokens
            .entry(format!("{agent}/{target}"))
            .or_default()
            .clone();
        if command.token < last && command.id != id {
            return self.report(command, ReportState::Refused, "seq_stale", None);
        }
        self.tokens.insert(
            format!("{agent}/{target}"),
            (command.token.max(last), command.id.clone()),
        );
        match &command.verb {
            Verb::Wake(_) | Verb::RedfishOn(_) => self.wake(command, &target),
            Verb::PowerOff => self.power_off(command, &target),
            Verb::RedfishStop(_) | Verb::RedfishForceOff(_)
                if self.barred.contains(command.agent.as_str()) =>
            {
                self.report(command, ReportState::Failed, "exec_refused", None);
            }
            Verb::RedfishStop(_) => self.go_down(command, &target, Effect::Stop(target.clone())),
            Verb::RedfishForceOff(_) => {
                self.effects
                    .push((self.now_ms, Effect::Cut(target.clone())));
                self.set_power(&target, false);
                self.report(command, ReportState::Done, "", None);
            }
            Verb::RedfishStatus(_) => {
                let read = if self.sims[&target].on {
                    PowerRead::On
                } else {
                    PowerRead::Off
                };
                self.report(command, ReportState::Done, "", Some(read));
            }
        }
    }

    fn wake(&mut self, command: &Command, target: &str) {
        if self.refuses_wakes {
            return self.report(command, ReportState::Refused, "busy", None);
        }
        if matches!(command.verb, Verb::RedfishOn(_))
            && self.barred.contains(command.agent.as_str())
        {
            return self.later(
                2,
                Fact::Reported(Report {
                    state: ReportState::Failed,
                    code: "exec_refused".into(),
                    message: "Auth: no such user".into(),
                    repeat: Repeat::Useless,
                    ..blank(command)
                }),
            );
        }
        self.effects
            .push((self.now_ms, Effect::Wake(target.to_owned())));
        let now_ms = self.now_ms;
        let sim = self.sims.get_mut(target).expect("known machine");
        if !sim.on && !sim.never_boots && sim.changing.is_none() {
            sim.changing = Some((now_ms + sim.boot_takes_ms, true));
        }
        self.report(command, ReportState::Done, "", None);
    }

    fn power_off(&mut self, command: &Command, target: &str) {
        let boot_id = self.boot_id(target);
        if command
            .boot_id
            .as_ref()
            .is_some_and(|meant| *meant != boot_id)
        {
            return self.report(command, ReportState::Refused, "boot_mismatch", None);
        }
        let sim = self.sims.get_mut(target).expect("known machine");
        match sim.seen_ids.insert(command.id.clone(), command.token) {
            None => {}
            // Stored result, replayed.
            Some(token) if token == command.token => {
                return self.report(command, ReportState::Running, "", None);
            }
            Some(token) => {
                sim.seen_ids.insert(command.id.clone(), token);
                return self.report(command, ReportState::Refused, "seq_stale", None);
            }
        }
        self.go_down(command, target, Effect::Stop(target.to_owned()));
    }

    fn go_down(&mut self, command: &Command, target: &str, effect: Effect) {
        self.effects.push((self.now_ms, effect));
        let now_ms = self.now_ms;
        let sim = self.sims.get_mut(target).expect("known machine");
        if sim.on && !sim.ignores_stop {
            sim.changing = Some((now_ms + 5_000, false));
        }
        self.report(command, ReportState::Accepted, "", None);
        self.report(command, ReportState::Running, "", None);
    }

    fn report(
        &mut self,
        command: &Command,
        state: ReportState,
        code: &str,
        read: Option<PowerRead>,
    ) {
        if self.drop_reports {
            return;
        }
        self.later(
            2,
            Fact::Reported(Report {
                state,
                code: code.into(),
                read,
                ..blank(command)
            }),
        );
    }
}

/// Nothing but who reports on what.
fn blank(command: &Command) -> Report {
    Report {
        agent: command.agent.clone(),
        command: command.id.clone(),
        state: ReportState::Done,
        code: String::new(),
        message: String::new(),
        repeat: Repeat::MayHelp,
        read: None,
        trusted: true,
    }
}
