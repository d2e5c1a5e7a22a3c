//! What agents carry out, and what becomes of core Nodes, held against what was ordered.
//!
//! Holds: nothing moves power that no coordinator sent, stored and still means; a stop acts once, on its boot, on an empty machine.

use agent_core::Job;
use coordinator_core::{MachineId, OperationKind};
use proto_mqtt::Order;

use super::hosts::Power;
use super::model::COMMAND_MS;
use super::world::World;

impl World {
    /// An agent carries an order out.
    pub(super) fn judge_effect(&mut self, agent: &str, job: &Job) {
        let (stops, wakes) = match &job.order {
            Order::PowerOff | Order::RedfishOff { .. } => (true, false),
            Order::Wake(_) | Order::RedfishOn(_) => (false, true),
            Order::RedfishStatus(_)
            | Order::PowerReboot
            | Order::Cancel { .. }
            | Order::Barrier
            | Order::Refresh
            | Order::Unknown { .. } => (false, false),
        };
        if !stops && !wakes {
            return;
        }
        let (id, target) = (job.id.to_string(), job.target.as_str().to_owned());
        let word = job.order.word().to_owned();
        self.note(|| format!("{agent} carries out {word} for {target}: {id}"));
        let Some(sent) = self.model.commands.get(&id) else {
            return self.breaks(format!("{agent} obeyed {id}, which no coordinator sent"));
        };
        let (operation, boot_id) = (sent.operation.clone(), sent.boot_id.clone());
        let age_ms = self.now_ms - sent.at_ms;
        let kind = self.model.operations.get(&operation).copied();
        let fits = kind
            == Some(if stops {
                OperationKind::Stop
            } else {
                OperationKind::Wake
            });
        self.holds(fits, || format!("{word} for {target} belongs to {kind:?}"));
        self.holds(age_ms <= COMMAND_MS, || {
            format!("{word} for {target} acted {age_ms} ms after it was sent")
        });
        if wakes {
            return;
        }
        self.judge_stop(&target, job, (&operation, boot_id));
    }

    fn judge_stop(&mut self, target: &str, job: &Job, sent: (&str, Option<String>)) {
        let (operation, boot_id) = sent;
        let Some(host) = self.hosts.get(target) else {
            return self.breaks(format!("{target} is no machine"));
        };
        let (boot, power) = (host.boot_id(target), host.power);
        if let Order::PowerOff = job.order {
            let once = self.model.carried.insert(operation.to_owned());
            self.holds(once, || {
                format!("{target} was stopped twice by {operation}")
            });
            self.holds(boot_id.as_ref() == Some(&boot), || {
                format!("a stop for {boot_id:?} acted on {boot}")
            });
        }
        if power == Power::Off {
            // An order that crosses the reading that proves it needless on its way has no effect.
            return;
        }
        let stored = self.store.machines.get(&MachineId::new(target));
        let current = stored.and_then(|record| record.operation.as_ref());
        let stands = current.is_some_and(|current| current.id == operation);
        self.holds(stands, || {
            format!("{target} was stopped by {operation}, which does not stand any more")
        });
        let pods = self.cluster.pods.contains_key(target);
        self.holds(!pods, || format!("{target} was stopped under its pods"));
        if power == Power::Falling {
            let by = self.model.falling.get(target).cloned();
            let same = by.as_deref().is_none_or(|by| by == operation);
            self.holds(same, || {
                format!("{target} is stopped by {operation} and {by:?} at once")
            });
        }
        self.tally.count("a stop was carried out");
        self.model
            .falling
            .insert(target.to_owned(), operation.to_owned());
    }

    /// A Node is to be deleted or suspended.
    pub(super) fn judge_retire(&mut self, name: &str, uid: &str) {
        let current = self.cluster.nodes.get(name).filter(|node| node.uid == uid);
        let host = self.hosts.get(name);
        let lives = current.is_some_and(|node| {
            host.is_some_and(|host| host.power == Power::On && node.boot_id == host.boot_id(name))
        });
        self.holds(!lives, || {
            format!("the Node of {name} is taken away, and {name} lives")
        });
    }
}
