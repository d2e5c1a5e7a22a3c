//! What a coordinator shows, held against the world: now and then, and at the end of the peace.
//!
//! Holds: every wished machine is on, every ordered one off, or people were told why not; then nothing is written.

use std::sync::Arc;

use coordinator_core::{InstanceState, MachineView, PhaseName, View, Wish};

use super::declared::{BOOT_MS, HOLD_MS, group_id};
use super::hosts::Power;
use super::world::World;

/// Between two looks at a coordinator's view.
const LOOK_MS: u64 = 5_000;
/// In peace a wake ends within its boot timeout, and what surrounds it.
const WAKE_MS: u64 = BOOT_MS + 60_000;
/// In peace a stop ends within the boot it may wait for, a stop, a hold, and what surrounds them.
const STOP_MS: u64 = BOOT_MS + HOLD_MS + 120_000;
/// In peace a machine that has changed is shown as it is by then.
const SHOW_MS: u64 = 90_000;

/// What is remembered from one look to the next.
#[derive(Default)]
pub(super) struct Looks {
    next_ms: u64,
    phases: std::collections::BTreeMap<String, (PhaseName, u64)>,
    peace_ms: Option<u64>,
    writes_at_rest: u64,
}

impl World {
    pub(super) fn leader_view(&mut self) -> Option<Arc<View>> {
        let now = self.now();
        self.leader().map(|leader| leader.lab.view(now))
    }

    /// Looks at the view of a coordinator that leads.
    pub(super) fn look(&mut self, process: u32) {
        if self.now_ms < self.looks.next_ms || !self.may_write(process) {
            return;
        }
        self.looks.next_ms = self.now_ms + LOOK_MS;
        let Some(view) = self.leader_view() else {
            return;
        };
        if let Some(group) = view.groups.get(&group_id()) {
            let listed = group
                .instances
                .iter()
                .filter(|instance| instance.state != InstanceState::Deleting)
                .count();
            if u32::try_from(listed) != Ok(group.target) || group.max_size < group.target {
                let (target, max) = (group.target, group.max_size);
                self.breaks(format!("target {target}, {listed} listed, at most {max}"));
            }
        }
        for machine in view.machines.values() {
            self.look_at(machine);
        }
    }

    fn look_at(&mut self, machine: &MachineView) {
        let (name, phase) = (machine.id.as_str(), machine.phase);
        let now_ms = self.now_ms;
        let entry = self
            .looks
            .phases
            .entry(name.to_owned())
            .or_insert((phase, now_ms));
        if entry.0 != phase {
            *entry = (phase, now_ms);
            let (why, message) = (machine.why, machine.message.clone());
            self.note(|| format!("{name} is {phase:?}: {why}, {message}"));
        }
        let since_ms = self.looks.phases.get(name).map_or(now_ms, |seen| seen.1);
        let Some(peace_ms) = self.looks.peace_ms else {
            return;
        };
        let age_ms = now_ms - since_ms.max(peace_ms);
        let told = matches!(machine.why, "NoWayToStop" | "StopRefused");
        let late = match phase {
            PhaseName::Waking => age_ms > WAKE_MS,
            PhaseName::Stopping => age_ms > STOP_MS && !told,
            PhaseName::Unknown | PhaseName::Off | PhaseName::WakeFailed | PhaseName::Running => {
                false
            }
        };
        let Some(host) = self.hosts.get(name) else {
            return;
        };
        let moved_ms = host.came_on_ms.max(host.went_off_ms).max(peace_ms);
        let settled = now_ms > moved_ms + SHOW_MS;
        let wrong = match (phase, host.power) {
            (PhaseName::Off, Power::On) | (PhaseName::Running, Power::Off) => settled,
            (_, Power::Off | Power::Booting | Power::On | Power::Falling) => false,
        };
        let power = host.power;
        if late {
            self.breaks(format!(
                "{name} is {phase:?} for {age_ms} ms: {}",
                machine.message
            ));
        }
        if wrong {
            self.breaks(format!("{name} is shown as {phase:?} and is {power:?}"));
        }
    }

    pub(super) fn note_peace(&mut self) {
        self.looks.peace_ms = Some(self.now_ms);
    }

    pub(super) fn note_rest(&mut self) {
        self.looks.writes_at_rest = self.store.writes;
    }

    /// The end: what is wished is so, and nothing is left to do.
    pub(super) fn judge_the_end(&mut self) {
        if self.model.broken.is_some() {
            return;
        }
        let Some(view) = self.leader_view() else {
            return self.breaks("nobody leads".to_owned());
        };
        for machine in view.machines.values() {
            self.judge_machine(machine);
        }
        let written = self.store.writes - self.looks.writes_at_rest;
        if written > 0 {
            self.breaks(format!("{written} writes at rest"));
        }
    }

    fn judge_machine(&mut self, machine: &MachineView) {
        let name = machine.id.as_str();
        let Some(power) = self.hosts.get(name).map(|host| host.power) else {
            return;
        };
        let record = self.store.machines.get(&machine.id).cloned();
        let record = record.unwrap_or_default();
        let on = self.is_wished_on(&machine.id, &record);
        let off = !on && self.is_wished_off(&machine.id, &record);
        let reached = match (on, off) {
            // Silence is no reason to wake a machine, nor to believe that one is off that was to stop; both were told.
            (true, _) => power == Power::On || machine.phase == PhaseName::Unknown,
            (_, true) => power == Power::Off || machine.why == "NotStopped",
            (false, false) => true,
        };
        let shown = match machine.wanted {
            Wish::Running => on,
            Wish::Off => off,
            Wish::None => !on && !off,
        };
        let (phase, why, message) = (machine.phase, machine.why, &machine.message);
        let state = format!("{name} is {power:?}, shown as {phase:?} ({why}: {message})");
        if !reached {
            self.breaks(format!("{state}; wished on {on}, off {off}"));
        }
        if !shown {
            let wanted = machine.wanted;
            self.breaks(format!(
                "{state}; {wanted:?} is shown as wanted, on {on}, off {off}"
            ));
        }
        let kept = self
            .cluster
            .nodes
            .get(name)
            .is_some_and(|node| !node.suspended);
        if phase == PhaseName::Off && kept {
            self.breaks(format!("{state}; its Node is still there"));
        }
    }
}
