//! Compares what happened with what was asked for.
//! In: records, wishes with their moments, machines. Out: the records that no wish explains.
//! Holds: looks only at orders that reach a machine (packets, resets, shutdown commands); what the machine then does follows.
//! Not here: whether every wish came true.

use std::{collections::BTreeMap, time::Duration};

use super::{Effect, Keys, Record};

/// What somebody wants of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It shall run.
    On,
    /// It shall be off.
    Off,
}

/// A wish and its moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Boot clock in milliseconds, taken before the wish was sent.
    pub at_ms: u64,
    /// The machine that is meant, or those of which `count` are.
    pub machines: Vec<String>,
    /// How many of them.
    pub count: usize,
    /// What for.
    pub wish: Wish,
}

impl Ask {
    /// A wish for one machine by name.
    #[must_use]
    pub fn one(at_ms: u64, machine: &str, wish: Wish) -> Self {
        Self::any(at_ms, &[machine], 1, wish)
    }

    /// A wish for any `count` of these machines.
    #[must_use]
    pub fn any(at_ms: u64, machines: &[&str], count: usize, wish: Wish) -> Self {
        Self {
            at_ms,
            machines: machines.iter().map(|&name| name.to_owned()).collect(),
            count,
            wish,
        }
    }

    /// Names its machine, so that nothing is left to choose.
    fn is_by_name(&self) -> bool {
        self.machines.len() <= self.count
    }
}

/// What is wanted of one machine, since when, and what was wanted before.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    now: Option<Wish>,
    since_ms: u64,
    before: Option<Wish>,
}

impl Wanted {
    fn set(&mut self, wish: Wish, at_ms: u64) {
        if self.now != Some(wish) {
            *self = Self {
                now: Some(wish),
                since_ms: at_ms,
                before: self.now,
            };
        }
    }

    fn explains(&self, order: Wish, at_ms: u64, grace_ms: u64) -> bool {
        let just_changed = at_ms < self.since_ms + grace_ms;
        self.now == Some(order) || (just_changed && self.before == Some(order))
    }
}

/// The records of orders that no wish explains. A wish by name holds until the opposite one; a wish for any of several is used
/// up by the first order that reaches one of them which was not wanted so already. Orders for unknown machines are never explained.
#[must_use]
pub fn unasked(
    records: &[Record],
    asks: &[Ask],
    machines: &BTreeMap<String, Keys>,
    grace: Duration,
) -> Vec<Record> {
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let mut asks: Vec<Ask> = asks.to_vec();
    asks.sort_by_key(|ask| ask.at_ms);
    let mut wanted: BTreeMap<&str, Wanted> = BTreeMap::new();
    let mut open: Vec<Ask> = Vec::new();
    let mut asks = asks.iter().peekable();
    let mut strange = Vec::new();
    for record in records {
        let Some((machine, order)) = order(&record.effect, machines) else {
            continue;
        };
        while let Some(ask) = asks.next_if(|ask| ask.at_ms <= record.at_ms) {
            if !ask.is_by_name() {
                open.push(ask.clone());
                continue;
            }
            for name in &ask.machines {
                wanted.entry(name).or_default().set(ask.wish, ask.at_ms);
            }
        }
        let Some(machine) = machine else {
            strange.push(record.clone());
            continue;
        };
        let wanted = wanted.entry(machine).or_default();
        if wanted.explains(order, record.at_ms, grace_ms) {
            continue;
        }
        match use_up(&mut open, machine, order) {
            Some(at_ms) => wanted.set(order, at_ms),
            None => strange.push(record.clone()),
        }
    }
    strange
}

/// Takes one machine from the oldest wish that leaves the choice; returns the wish's moment.
fn use_up(open: &mut [Ask], machine: &str, order: Wish) -> Option<u64> {
    let ask = open.iter_mut().find(|ask| {
        ask.wish == order && ask.count > 0 && ask.machines.iter().any(|name| name == machine)
    })?;
    ask.count -= 1;
    ask.machines.retain(|name| name != machine);
    Some(ask.at_ms)
}

/// The order in an effect and the machine it reaches, if it is one of ours.
fn order<'a>(
    effect: &Effect,
    machines: &'a BTreeMap<String, Keys>,
) -> Option<(Option<&'a str>, Wish)> {
    let with_keys = |matches: &dyn Fn(&Keys) -> bool| {
        machines
            .iter()
            .find(|(_, keys)| matches(keys))
            .map(|(name, _)| name.as_str())
    };
    match effect {
        Effect::MagicPacketTrain { mac, .. } => {
            Some((with_keys(&|keys| keys.mac == Some(*mac)), Wish::On))
        }
        Effect::BmcReset { system, reset, .. } => {
            let machine = with_keys(&|keys| keys.bmc_system.as_ref() == Some(system));
            // Restarts and the power button take a running system away, so they need the wish for that.
            let wish = match reset.as_str() {
                "On" | "ForceOn" | "observed On" => Wish::On,
                _ => Wish::Off,
            };
            Some((machine, wish))
        }
        Effect::ShutdownAsked { machine, .. } => {
            let known = machines.get_key_value(machine);
            Some((known.map(|(name, _)| name.as_str()), Wish::Off))
        }
        Effect::StrayDatagram { .. }
        | Effect::PowerOn { .. }
        | Effect::BootDone { .. }
        | Effect::PowerOff { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Mac;

    const GRACE: Duration = Duration::from_secs(2);

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    fn lab() -> BTreeMap<String, Keys> {
        let machine = |last: u8| Keys {
            mac: Some(mac(last)),
            bmc_system: Some(format!("sys-{last}")),
        };
        BTreeMap::from([("a".into(), machine(1)), ("b".into(), machine(2))])
    }

    fn packet(last: u8) -> Effect {
        Effect::MagicPacketTrain {
            mac: mac(last),
            packets: 3,
            from: ([127, 0, 0, 1], 9).into(),
        }
    }

    fn reset(system: &str, reset: &str) -> Effect {
        Effect::BmcReset {
            system: system.into(),
            reset: reset.into(),
            status: 204,
        }
    }

    fn shutdown(machine: &str) -> Effect {
        Effect::ShutdownAsked {
            machine: machine.into(),
            verb: "poweroff".into(),
        }
    }

    /// The moments of the effects that nobody asked for.
    fn strange(asks: &[Ask], effects: Vec<(u64, Effect)>) -> Vec<u64> {
        let numbered = effects.into_iter().enumerate();
        let records: Vec<Record> = numbered
            .map(|(seq, (at_ms, effect))| Record { seq, at_ms, effect })
            .collect();
        let strange = unasked(&records, asks, &lab(), GRACE);
        strange.into_iter().map(|record| record.at_ms).collect()
    }

    #[test]
    fn effect_without_a_wish_is_unasked() {
        let effects = vec![
            (5, packet(1)),
            (6, reset("sys-2", "On")),
            (7, shutdown("b")),
        ];
        assert_eq!(strange(&[], effects), [5, 6, 7]);
    }

    #[test]
    fn wish_by_name_explains_its_repeats_but_nothing_earlier() {
        let asks = [Ask::one(10, "a", Wish::On)];
        let effects = vec![
            (9, packet(1)),
            (11, packet(1)),
            (20_011, packet(1)),
            (20_012, packet(2)),
        ];
        assert_eq!(strange(&asks, effects), [9, 20_012]);
    }

    #[test]
    fn wish_for_any_is_used_up_by_the_first_machines() {
        let asks = [Ask::any(0, &["a", "b"], 1, Wish::On)];
        let effects = vec![(1, packet(2)), (2, packet(2)), (3, packet(1))];
        assert_eq!(strange(&asks, effects), [3]);
    }

    #[test]
    fn opposite_wish_leaves_a_grace_for_what_is_on_its_way() {
        let asks = [Ask::one(0, "a", Wish::On), Ask::one(10_000, "a", Wish::Off)];
        let effects = vec![
            (1, packet(1)),
            (11_999, packet(1)),
            (12_000, packet(1)),
            (12_001, reset("sys-1", "ForceOff")),
        ];
        assert_eq!(strange(&asks, effects), [12_000]);
    }

    #[test]
    fn order_for_an_unknown_machine_is_never_explained() {
        let asks = [Ask::one(0, "a", Wish::On), Ask::one(0, "b", Wish::On)];
        let effects = vec![
            (1, packet(9)),
            (2, reset("sys-9", "On")),
            (3, shutdown("c")),
        ];
        assert_eq!(strange(&asks, effects), [1, 2, 3]);
    }

    #[test]
    fn restart_needs_the_wish_for_off() {
        let asks = [Ask::one(0, "a", Wish::On)];
        assert_eq!(
            strange(&asks, vec![(1, reset("sys-1", "ForceRestart"))]),
            [1]
        );
    }

    #[test]
    fn what_a_machine_does_by_itself_is_no_order() {
        let off = Effect::PowerOff {
            machine: "a".into(),
            how: crate::recorder::OffHow::SelfMade,
        };
        assert_eq!(strange(&[], vec![(1, off)]), [0_u64; 0]);
    }
}
