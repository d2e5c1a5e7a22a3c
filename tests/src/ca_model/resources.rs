//! Amounts of cpu, memory and pods, and whether they fit.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// What a Node offers or a Pod asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory: u64,
    /// Pods.
    pub pods: u64,
}

impl Resources {
    /// Reads `cpu`, `memory` and `pods`; a resource that is not named is none of it.
    ///
    /// # Errors
    /// When an amount is not a Kubernetes quantity.
    pub fn parse<'a>(amounts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let amounts: BTreeMap<&str, &str> = amounts.into_iter().collect();
        let read = |name: &str, unit: f64| -> Result<u64> {
            amounts.get(name).map_or(Ok(0), |text| {
                quantity(text, unit).with_context(|| format!("{name}: {text:?} is no quantity"))
            })
        };
        Ok(Self {
            cpu_milli: read("cpu", 1_000.0)?,
            memory: read("memory", 1.0)?,
            pods: read("pods", 1.0)?,
        })
    }

    /// Whether `wanted` fits in what is left here.
    #[must_use]
    pub const fn holds(&self, wanted: &Self) -> bool {
        wanted.cpu_milli <= self.cpu_milli
            && wanted.memory <= self.memory
            && wanted.pods <= self.pods
    }

    /// What is left after taking `used`; never below nothing.
    #[must_use]
    pub const fn minus(&self, used: &Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(used.cpu_milli),
            memory: self.memory.saturating_sub(used.memory),
            pods: self.pods.saturating_sub(used.pods),
        }
    }

    /// The greater of the used shares of cpu and memory, from 0 to 1; `None` where there is no cpu or no memory to use.
    #[must_use]
    pub fn utilisation(&self, used: &Self) -> Option<f64> {
        let cpu = share(used.cpu_milli, self.cpu_milli)?;
        let memory = share(used.memory, self.memory)?;
        Some(cpu.max(memory))
    }

    /// The used shares of cpu and memory, added up; of what there is none counts for nothing.
    #[must_use]
    pub fn weight(&self, used: &Self) -> f64 {
        let cpu = share(used.cpu_milli, self.cpu_milli);
        let memory = share(used.memory, self.memory);
        cpu.unwrap_or_default() + memory.unwrap_or_default()
    }
}

fn share(used: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| used as f64 / all as f64)
}

impl std::iter::Sum for Resources {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            cpu_milli: sum.cpu_milli + part.cpu_milli,
            memory: sum.memory + part.memory,
            pods: sum.pods + part.pods,
        })
    }
}

const SUFFIXES: [(&str, f64); 12] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("", 1.0),
];

/// A quantity in units of 1/`unit`, rounded up as Kubernetes does.
fn quantity(text: &str, unit: f64) -> Option<u64> {
    let number = |(suffix, factor): &(&str, f64)| {
        let number: f64 = text.strip_suffix(suffix)?.parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number * factor * unit)
    };
    let value = SUFFIXES.iter().find_map(number)?;
    // The factors are inexact below one, so a hair above a whole number is that number.
    Some((value - 1e-6).ceil().max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let cases = [
            ("4", "16Gi", 4_000, 17_179_869_184),
            ("500m", "100Mi", 500, 104_857_600),
            ("1.5", "1e3", 1_500, 1_000),
            ("100u", "128974848", 1, 128_974_848),
            ("0", "1k", 0, 1_000),
        ];
        for (cpu, memory, cpu_milli, bytes) in cases {
            let read = Resources::parse([("cpu", cpu), ("memory", memory)]).unwrap();
            assert_eq!(
                (read.cpu_milli, read.memory),
                (cpu_milli, bytes),
                "{cpu} {memory}"
            );
        }
        for wrong in ["", "x", "-1", "1Q", "NaN"] {
            assert!(Resources::parse([("cpu", wrong)]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn node_without_pods_holds_nothing() {
        let node = Resources::parse([("cpu", "4"), ("memory", "8Gi")]).unwrap();
        let pod = Resources {
            pods: 1,
            ..Resources::default()
        };
        assert!(!node.holds(&pod));
    }

    #[test]
    fn utilisation_is_the_greater_share() {
        let node = Resources::parse([("cpu", "4"), ("memory", "8Gi")]).unwrap();
        let used = Resources::parse([("cpu", "1"), ("memory", "4Gi")]).unwrap();
        assert_eq!(node.utilisation(&used), Some(0.5));
    }
}
