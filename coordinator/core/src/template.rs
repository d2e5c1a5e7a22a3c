//! What a machine of a group that is woken next would bring: the least that any of them would.
//!
//! In: a group's declaration, what its members brought when they last joined, what their agents say of them.
//! Out: [`Template`], and in words where members differ much.
//! Holds: nothing is promised that one of the machines would not keep: resources by their minimum, labels that all share,
//! taints of any.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::agents::Agents;
use crate::facts::Taint;
use crate::ids::MachineId;
use crate::machine::{Machine, list};
use crate::node;
use crate::record::Learned;
use crate::spec::{Declared, GroupSpec, PowerPolicy};
use crate::upkeep::group_label;
use crate::view::Template;

const OS: &str = "kubernetes.io/os";
const ARCH: &str = "kubernetes.io/arch";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What every kubelet brings, where nobody has learned or declared it. Pods: the kubelet's own default. Storage: less than
/// the root disk of any machine that runs containers, so that the promise is kept.
const DEFAULT_RESOURCES: [(&str, &str); 2] = [("pods", "110"), ("ephemeral-storage", "10Gi")];
/// From boot to boot a kernel leaves a little more or less memory: such a part of what was promised may be missing.
const SLACK_PART: u128 = 256;
/// What a machine is taken for that has never run and whose agent nobody has heard.
const DEFAULT_ARCH: &str = "amd64";

/// What the group can promise; `None` while nobody knows a machine's cpu and memory.
pub(crate) fn of(spec: &GroupSpec, machines: &[&Machine], agents: &Agents) -> Option<Template> {
    let candidates: Vec<&Machine> = machines.iter().copied().filter(|m| may_wake(m)).collect();
    let learned: Vec<(&MachineId, &Learned)> = candidates
        .iter()
        .filter_map(|m| Some((m.id(), m.record.learned.as_deref()?)))
        .collect();
    let unlearned = learned.len() < candidates.len();
    let declared = &spec.declared;
    let known = |of: fn(&Learned) -> &BTreeMap<String, String>| {
        let sides = learned.iter().map(|(_, l)| of(l)).collect::<Vec<_>>();
        least(&sides, declared, unlearned)
    };
    let mut template = Template {
        capacity: known(|l| &l.capacity),
        allocatable: known(|l| &l.allocatable),
        labels: labels(declared, &learned),
        taints: taints(declared, &learned),
        declared: *declared != Declared::default(),
        learned_from: learned.iter().map(|(id, _)| (*id).clone()).collect(),
        learned_at_ms: learned.iter().map(|(_, l)| l.at_ms).max(),
    };
    let complete = ["cpu", "memory"]
        .iter()
        .all(|key| template.allocatable.contains_key(*key));
    if !complete {
        return None;
    }
    for resources in [&mut template.capacity, &mut template.allocatable] {
        for (resource, amount) in DEFAULT_RESOURCES {
            resources
                .entry(resource.to_string())
                .or_insert_with(|| amount.to_string());
        }
    }
    fill_platform(&mut template.labels, &candidates, agents);
    template.labels.insert(
        node::GROUP_LABEL.to_string(),
        group_label(&spec.id).to_string(),
    );
    Some(template)
}

fn may_wake(machine: &Machine) -> bool {
    machine.spec.power == PowerPolicy::Auto && machine.spec.fault.is_none()
}

/// The minimum of each resource that every learned machine brings, and what is declared where none of them brings it. A
/// machine that has never joined counts as declared; of what is not declared it is taken to be like the others.
fn least(
    learned: &[&BTreeMap<String, String>],
    declared: &Declared,
    unlearned: bool,
) -> BTreeMap<String, String> {
    let Some((first, others)) = learned.split_first() else {
        return declared.capacity.clone();
    };
    let mut least = BTreeMap::new();
    for (key, value) in *first {
        let all: Option<Vec<&String>> = others.iter().map(|resources| resources.get(key)).collect();
        let Some(all) = all else { continue };
        let of_declared = declared.capacity.get(key).filter(|_| unlearned);
        let lowest = all
            .into_iter()
            .chain(of_declared)
            .fold(value, |low, next| lower(low, next));
        least.insert(key.clone(), lowest.clone());
    }
    for (key, value) in &declared.capacity {
        if learned.iter().all(|resources| !resources.contains_key(key)) {
            least.insert(key.clone(), value.clone());
        }
    }
    least
}

fn lower<'a>(one: &'a String, other: &'a String) -> &'a String {
    // Most machines of a group are alike, so most amounts need not be read at all.
    if one == other || amount(one) <= amount(other) {
        one
    } else {
        other
    }
}

/// What is declared, and what all learned machines have in common beside it.
fn labels(declared: &Declared, learned: &[(&MachineId, &Learned)]) -> BTreeMap<String, String> {
    let mut labels = declared.labels.clone();
    let Some(((_, first), others)) = learned.split_first() else {
        return labels;
    };
    let common = first.labels.iter().filter(|(key, value)| {
        others
            .iter()
            .all(|(_, l)| l.labels.get(*key) == Some(*value))
    });
    for (key, value) in common {
        if key != HOSTNAME {
            labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    labels
}

/// Whatever would keep a pod off one of them.
fn taints(declared: &Declared, learned: &[(&MachineId, &Learned)]) -> Vec<Taint> {
    let mut taints = declared.taints.clone();
    for taint in learned.iter().flat_map(|(_, l)| &l.taints) {
        if !taints.contains(taint) {
            taints.push(taint.clone());
        }
    }
    taints
}

/// Operating system and architecture, which selectors name often. Where machines disagree, none is promised.
fn fill_platform(labels: &mut BTreeMap<String, String>, candidates: &[&Machine], agents: &Agents) {
    let told = |key: &str, machine: &Machine| {
        let learned = machine.record.learned.as_deref();
        learned.and_then(|l| l.labels.get(key).cloned())
    };
    let arch = |machine: &&Machine| {
        told(ARCH, machine).or_else(|| {
            agents
                .get(&machine.spec.agent)?
                .info
                .as_deref()?
                .arch
                .clone()
        })
    };
    let systems: BTreeSet<String> = candidates.iter().filter_map(|m| told(OS, m)).collect();
    let archs: BTreeSet<String> = candidates.iter().filter_map(arch).collect();
    for (key, known, default) in [(OS, systems, "linux"), (ARCH, archs, DEFAULT_ARCH)] {
        if known.len() < 2 && !labels.contains_key(key) {
            let only = known.into_iter().next();
            labels.insert(key.to_string(), only.unwrap_or_else(|| default.to_string()));
        }
    }
}

/// In words: what a Node has less of than was promised. What it does not tell says nothing, and neither does none of a plugin's
/// resource, which has a slash in its name: both may come later.
pub(crate) fn shortfall(
    promised: &BTreeMap<String, String>,
    brought: &BTreeMap<String, String>,
) -> Option<String> {
    let short: Vec<String> = promised
        .iter()
        .filter_map(|(resource, wanted)| {
            let has = brought.get(resource)?;
            let (least, had) = (amount(wanted), amount(has));
            let may_come = had == 0 && resource.contains('/');
            let enough = had >= least - least / SLACK_PART;
            (!enough && !may_come).then(|| format!("{resource} {has} instead of {wanted}"))
        })
        .collect();
    (!short.is_empty()).then(|| short.join(", "))
}

/// In words: which machines came with less than was promised, and what they lack.
pub(crate) fn drift(machines: &[&Machine]) -> Option<String> {
    let short: Vec<String> = machines
        .iter()
        .filter_map(|m| Some(format!("{} has {}", m.id(), m.fell_short.as_ref()?)))
        .collect();
    (!short.is_empty()).then(|| list(&short))
}

/// In words: which machines differ much from each other, and in what. Much is half as much again, or having none of it.
pub(crate) fn difference(machines: &[&Machine]) -> Option<String> {
    let learned: Vec<(&MachineId, &Learned)> = machines
        .iter()
        .filter(|m| may_wake(m))
        .filter_map(|m| Some((m.id(), m.record.learned.as_deref()?)))
        .collect();
    let ((_, first), others) = learned.split_first()?;
    if others.iter().all(|(_, l)| l.capacity == first.capacity) {
        return None;
    }
    let resources: BTreeSet<&String> = learned
        .iter()
        .flat_map(|(_, l)| l.capacity.keys())
        .collect();
    let named: Vec<String> = resources
        .into_iter()
        .filter_map(|resource| difference_in(resource, &learned))
        .collect();
    (!named.is_empty()).then(|| named.join("; "))
}

fn difference_in(resource: &str, learned: &[(&MachineId, &Learned)]) -> Option<String> {
    let mut held: Vec<(u128, &str, &MachineId)> = learned
        .iter()
        .filter_map(|(id, l)| {
            let value = l.capacity.get(resource)?;
            Some((amount(value), value.as_str(), *id))
        })
        .filter(|(amount, _, _)| *amount > 0)
        .collect();
    held.sort();
    let (least, most) = (held.first()?, held.last()?);
    if held.len() < learned.len() {
        let holders: Vec<String> = held.iter().map(|(_, _, id)| id.to_string()).collect();
        return Some(format!("{resource} only on {}", list(&holders)));
    }
    let much = most.0.saturating_mul(2) >= least.0.saturating_mul(3);
    much.then(|| {
        format!(
            "{resource} from {} on {} to {} on {}",
            least.1, least.2, most.1, most.2
        )
    })
}

/// A quantity's amount in billionths, the finest that Kubernetes keeps; beyond all measure it is only the greatest. What is
/// no quantity, and what is less than nothing, counts as nothing.
#[must_use]
pub fn amount(quantity: &str) -> u128 {
    let digits = quantity.strip_prefix('+').unwrap_or(quantity);
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return 0;
    }
    let Some((factor, exponent)) = scale(suffix) else {
        return 0;
    };
    let (mantissa, behind) = mantissa(whole, fraction, u128::MAX / factor);
    let exponent = exponent.saturating_add(BILLIONTHS).saturating_sub(behind);
    // A u128 has 39 digits, so any larger power of ten is beyond it.
    let power = u32::try_from(exponent.unsigned_abs()).ok();
    let power = power.and_then(|power| 10_u128.checked_pow(power));
    let scaled = mantissa.saturating_mul(factor);
    match (exponent < 0, power) {
        (false, Some(power)) => scaled.saturating_mul(power),
        (false, None) => scaled.saturating_mul(u128::MAX),
        // As Kubernetes does it: what is finer than it keeps is rounded up.
        (true, Some(power)) => scaled.div_ceil(power),
        (true, None) => scaled.min(1),
    }
}

/// The digits of a number as a whole one, and how many of them stand behind the point. Those that would make it more than `most`
/// are left out, too fine to count: where they are before the point already, the second number is negative.
fn mantissa(whole: &str, fraction: &str, most: u128) -> (u128, i64) {
    let longer = |sum: u128, digit: u8| {
        let sum = sum.checked_mul(10)?.checked_add(u128::from(digit - b'0'));
        sum.filter(|sum| *sum <= most)
    };
    let mut sum = 0;
    for (taken, digit) in (0_i64..).zip(whole.bytes()) {
        let Some(next) = longer(sum, digit) else {
            let length = i64::try_from(whole.len()).unwrap_or(i64::MAX);
            return (sum, taken - length);
        };
        sum = next;
    }
    let mut behind = 0;
    for digit in fraction.bytes() {
        let Some(next) = longer(sum, digit) else {
            break;
        };
        (sum, behind) = (next, behind + 1);
    }
    (sum, behind)
}

/// One is so many powers of ten of the unit that [`amount`] counts in.
const BILLIONTHS: i64 = 9;

/// What a suffix multiplies by: a factor, and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i64)> {
    if let Some(exponent) = suffix.strip_prefix(['e', 'E'])
        && !exponent.is_empty()
        && exponent != "i"
    {
        return Some((1, exponent.parse().ok()?));
    }
    Some(match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::amount;

    const ONE: u128 = 1_000_000_000;

    #[test]
    fn a_quantity_is_read_with_every_suffix_that_kubernetes_knows() {
        for (quantity, billionths) in [
            ("7n", 7),
            ("7u", 7_000),
            ("7m", 7_000_000),
            ("7", 7 * ONE),
            ("7k", 7_000 * ONE),
            ("7M", 7_000_000 * ONE),
            ("7G", 7_000_000_000 * ONE),
            ("7T", 7_000_000_000_000 * ONE),
            ("7P", 7_000_000_000_000_000 * ONE),
            ("7E", 7_000_000_000_000_000_000 * ONE),
            ("7Ki", (7 << 10) * ONE),
            ("7Mi", (7 << 20) * ONE),
            ("7Gi", (7 << 30) * ONE),
            ("7Ti", (7 << 40) * ONE),
            ("7Pi", (7 << 50) * ONE),
            ("7Ei", (7 << 60) * ONE),
            ("1e3", 1_000 * ONE),
            ("1E3", 1_000 * ONE),
            ("1e+3", 1_000 * ONE),
            ("15e-1", 1_500_000_000),
            ("1E0", ONE),
            ("0", 0),
            ("+2", 2 * ONE),
            ("1.5", 1_500_000_000),
            (".5Gi", (1 << 29) * ONE),
            ("3.", 3 * ONE),
            ("0.1n", 1),
            ("0.0000000000000000000000000000001E", 1),
            ("1.0000000000000000000000000000000000000000", ONE),
            ("1.0000000000000000000000000000000000000001Gi", ONE << 30),
            ("1000000000000000000000000000000000000000000e-42", ONE),
            ("1e-99999999999", 1),
            ("0e99999999999", 0),
        ] {
            assert_eq!(amount(quantity), billionths, "{quantity}");
        }
    }

    #[test]
    fn what_is_no_quantity_or_less_than_nothing_counts_as_nothing() {
        for unreadable in [
            "", ".", "-1", "much", "1K", "1ki", "1e", "1ei", "1e1.5", "1.2.3", "1 Gi", "Gi",
        ] {
            assert_eq!(amount(unreadable), 0, "{unreadable}");
        }
    }

    #[test]
    fn quantities_compare_by_amount() {
        assert!(amount("900m") < amount("1"));
        assert!(amount("1.5") > amount("1"));
        assert!(amount("7Gi") > amount("7G"));
        assert_eq!(amount("1024Ki"), amount("1Mi"));
    }

    #[test]
    fn an_amount_beyond_all_measure_is_only_the_greatest() {
        let most = u128::MAX.to_string();
        for quantity in [most.clone(), format!("{most}Pi"), "1e99".to_string()] {
            assert_eq!(amount(&quantity), u128::MAX, "{quantity}");
        }
    }
}
