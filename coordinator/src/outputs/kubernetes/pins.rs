//! Keys of machines' agents that are still to be pinned in their machine's status.
//!
//! In: keys as agents show them first. Out: the key that rides with a machine's next write.
//! Holds: a machine writes more soon after its agent came, so a key waits for that; it is written by itself when nothing came.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coordinator_core::MachineId;
use coordinator_crds::NodeStatus;
use tokio::time::Instant;

/// How long a key waits for a write to ride with: a machine that boots joins soon after its agent. The core trusts the key
/// from the start; it is stored for the next process.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keys on their way.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<HashMap<MachineId, (String, Instant)>>);

impl Pins {
    fn waiting(&self) -> MutexGuard<'_, HashMap<MachineId, (String, Instant)>> {
        // A panic elsewhere cannot leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a key in. The first one that an agent shows counts.
    pub(super) fn add(&self, machine: MachineId, key: String) {
        let mut waiting = self.waiting();
        waiting
            .entry(machine)
            .or_insert_with(|| (key, Instant::now()));
    }

    /// Lets a machine's key ride with a status that is about to be written. A pinned key is never replaced.
    pub(super) fn ride(&self, machine: &MachineId, status: &mut NodeStatus) {
        if let Some((key, _)) = self.waiting().get(machine) {
            let agent = status.agent.get_or_insert_default();
            agent.public_key.get_or_insert_with(|| key.clone());
        }
    }

    /// A machine's status is stored. One that was begun before the key came does not carry it.
    pub(super) fn stored(&self, machine: &MachineId, status: &NodeStatus) {
        let agent = status.agent.as_ref();
        if agent.is_some_and(|agent| agent.public_key.is_some()) {
            self.waiting().remove(machine);
        }
    }

    /// Machines whose key has waited long enough.
    pub(super) fn overdue(&self) -> Vec<MachineId> {
        let waiting = self.waiting();
        let overdue = waiting
            .iter()
            .filter(|(_, (_, at))| at.elapsed() >= PATIENCE);
        overdue.map(|(machine, _)| machine.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> MachineId {
        MachineId::new("nuc1")
    }

    /// The key that a status carries when it is written.
    fn written(pins: &Pins, status: &mut NodeStatus) -> Option<String> {
        pins.ride(&machine(), status);
        pins.stored(&machine(), status);
        status.agent.as_ref()?.public_key.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_rides_with_the_next_write() {
        let pins = Pins::default();
        assert_eq!(written(&pins, &mut NodeStatus::default()), None);
        pins.add(machine(), "first".into());
        pins.add(machine(), "second".into());
        pins.stored(&machine(), &NodeStatus::default());
        let mut status = NodeStatus::default();
        assert_eq!(written(&pins, &mut status).as_deref(), Some("first"));
        pins.add(machine(), "forged".into());
        assert_eq!(written(&pins, &mut status).as_deref(), Some("first"));
        assert_eq!(written(&pins, &mut NodeStatus::default()), None, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_nothing_took_along_goes_by_itself() {
        let pins = Pins::default();
        pins.add(machine(), "first".into());
        assert!(pins.overdue().is_empty());
        tokio::time::advance(PATIENCE).await;
        assert_eq!(pins.overdue(), [machine()]);
        written(&pins, &mut NodeStatus::default());
        assert!(pins.overdue().is_empty());
    }
}
