//! How long a machine may take to come: what was declared, or less where its past boots say that it is faster.
//!
//! In: a machine's declaration and its recorded boots. Out: milliseconds from the first wake on.
//! Holds: never more than was declared; a machine that is heard, and has yet to join, has all of that.

use alloc::vec::Vec;

use super::Waking;
use crate::machine::Machine;
use crate::policy::Policy;

impl Waking {
    /// Within what time of its first wake the machine must have come, without the time in which nobody listened.
    pub(crate) fn limit_ms(&self, machine: &Machine, policy: &Policy) -> u64 {
        let declared_ms = machine.spec.timeouts.boot_ms;
        let learned_ms = learned_ms(&machine.record.boots_s, policy).filter(|_| !self.heard);
        learned_ms.map_or(declared_ms, |learned_ms| learned_ms.min(declared_ms))
    }
}

/// What a machine's past boots took, and a margin: half of that again for a machine that is slow, and varies accordingly.
fn learned_ms(boots_s: &[u32], policy: &Policy) -> Option<u64> {
    if boots_s.len() < at_least(policy) {
        return None;
    }
    let usual_ms = u64::from(percentile_99(boots_s)?).saturating_mul(1000);
    let margin_ms = policy.boot_margin_ms.max(usual_ms / 2);
    Some(usual_ms.saturating_add(margin_ms))
}

/// By nearest rank: of a hundred boots and fewer it is the slowest.
fn percentile_99(boots_s: &[u32]) -> Option<u32> {
    let mut sorted = boots_s.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * 99).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn at_least(policy: &Policy) -> usize {
    usize::try_from(policy.boots_to_learn).unwrap_or(usize::MAX)
}

/// It did not come in the time that was learned, so that may be what is wrong: until it has come once more, which is then
/// learned too, the declared time stands.
pub(super) fn doubt(boots_s: &mut Vec<u32>, policy: &Policy) {
    let kept = at_least(policy).saturating_sub(1);
    boots_s.drain(..boots_s.len().saturating_sub(kept));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_counts_among_few_and_one_in_a_hundred_does_not_among_many() {
        assert_eq!(percentile_99(&[]), None);
        assert_eq!(percentile_99(&[30]), Some(30));
        assert_eq!(percentile_99(&[71, 48, 52]), Some(71));
        let many: Vec<u32> = (1..=200).rev().collect();
        assert_eq!(percentile_99(&many), Some(198));
    }

    #[test]
    fn the_margin_grows_with_slow_machines() {
        let policy = Policy::default();
        for (boots_s, limit_s) in [
            (&[48, 71][..], None),
            (&[48, 71, 50][..], Some(191)),
            (&[400, 390, 395][..], Some(600)),
        ] {
            let limit_ms = limit_s.map(|s: u64| s * 1000);
            assert_eq!(learned_ms(boots_s, &policy), limit_ms, "{boots_s:?}");
        }
    }
}
