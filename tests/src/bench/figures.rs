//! Samples and what is told of them.
//! In: durations. Out: JSON with nearest-rank percentiles, in the unit that the key names.

use std::time::Duration;

use serde_json::{Value, json};

/// Durations of one kind.
#[derive(Debug, Default)]
pub(super) struct Samples {
    all: Vec<Duration>,
}

/// How a duration is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Milliseconds,
    Seconds,
}

impl Samples {
    pub(super) fn push(&mut self, sample: Duration) {
        self.all.push(sample);
    }

    pub(super) fn extend(&mut self, more: &Self) {
        self.all.extend_from_slice(&more.all);
    }

    pub(super) fn p50(&self) -> Duration {
        self.percentile(50)
    }

    /// The smallest sample that `percent` of all samples do not exceed; zero if there are none.
    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.all.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// Median, 99th percentile, maximum and number; the goal is one for the 99th percentile.
    pub(super) fn told(&self, unit: Unit, goal: Option<f64>) -> Value {
        let tell = |time: Duration| {
            let seconds = time.as_secs_f64();
            rounded(match unit {
                Unit::Milliseconds => seconds * 1_000.0,
                Unit::Seconds => seconds,
            })
        };
        let mut told = json!({
            "p50": tell(self.percentile(50)),
            "p99": tell(self.percentile(99)),
            "max": tell(self.percentile(100)),
            "samples": self.all.len(),
        });
        if let Some(goal) = goal {
            told["goal_p99"] = goal.into();
        }
        told
    }
}

/// One figure beside its goal, which is an upper bound.
pub(super) fn against(value: f64, goal: f64) -> Value {
    json!({"value": rounded(value), "goal": goal})
}

/// Three digits after the point: more would be noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(millis: impl IntoIterator<Item = u64>) -> Samples {
        Samples {
            all: millis.into_iter().map(Duration::from_millis).collect(),
        }
    }

    #[test]
    fn percentiles_are_samples_of_the_nearest_rank() {
        let hundred = samples((1..=100).rev());
        let told = hundred.told(Unit::Milliseconds, Some(50.0));
        let expected = json!({
            "p50": 50.0, "p99": 99.0, "max": 100.0, "samples": 100, "goal_p99": 50.0,
        });
        assert_eq!(told, expected);
        let three = samples([3, 1, 2]).told(Unit::Seconds, None);
        assert_eq!(
            three,
            json!({"p50": 0.002, "p99": 0.003, "max": 0.003, "samples": 3})
        );
    }

    #[test]
    fn no_samples_are_told_as_such() {
        assert_eq!(
            Samples::default().told(Unit::Seconds, None)["samples"],
            json!(0)
        );
    }
}
