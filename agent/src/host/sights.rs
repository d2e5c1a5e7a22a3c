//! What this relay saw last of machines behind BMCs.
//! Holds: one sight for each machine, at most 64 machines; the oldest is forgotten first.

use proto_mqtt::report::TargetSight;
use proto_mqtt::{AgentId, Power};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// As many as fit into one health report beside everything else.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Sights(Mutex<BTreeMap<AgentId, (Power, u64)>>);

impl Sights {
    pub(super) fn note(&self, machine: AgentId, power: Power, at_up_s: u64) {
        let mut sights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sights.len() == KEPT && !sights.contains_key(&machine) {
            let oldest = sights
                .iter()
                .min_by_key(|(_, (_, at))| *at)
                .map(|(machine, _)| machine.clone());
            oldest.and_then(|oldest| sights.remove(&oldest));
        }
        sights.insert(machine, (power, at_up_s));
    }

    pub(super) fn list(&self) -> Vec<TargetSight> {
        let sights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sight = |(machine, (power, at_up_s)): (&AgentId, &(Power, u64))| TargetSight {
            machine: machine.clone(),
            power: *power,
            at_up_s: *at_up_s,
        };
        sights.iter().map(sight).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_sight_of_each_machine_is_kept() {
        let sights = Sights::default();
        let name = |index: u64| format!("m{index}").parse::<AgentId>().expect("a name");
        for index in 0..=64 {
            sights.note(name(index), Power::On, index);
        }
        sights.note(name(64), Power::Off, 99);
        let list = sights.list();
        assert_eq!(list.len(), KEPT);
        assert!(
            list.iter().all(|sight| sight.machine != name(0)),
            "the oldest is forgotten"
        );
        let newest = list
            .iter()
            .find(|sight| sight.machine == name(64))
            .expect("the newest");
        assert_eq!((newest.power, newest.at_up_s), (Power::Off, 99));
    }
}
