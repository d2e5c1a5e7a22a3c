//! A toy workload that rises and falls by a script: how many slots are wanted at which moment.
//! In: a script such as `0s:0 2s:3 12s:1 20s:0`. Out: the number of slots for a time since the start.
//! Holds: the same script gives the same slots on every run.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, Error, Result, ensure};

/// From a moment on, this many slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Since the start.
    pub at: Duration,
    /// How many slots are wanted from then on.
    pub slots: usize,
}

/// The script; begins anew after `period` if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    steps: Vec<Step>,
    period: Option<Duration>,
}

impl Workload {
    /// Plays these steps once; before the first there are no slots.
    ///
    /// # Errors
    /// When a step is not later than the one before it.
    pub fn new(steps: Vec<Step>) -> Result<Self> {
        let rises = steps.windows(2).all(|pair| pair[0].at < pair[1].at);
        ensure!(rises, "each step must be later than the one before it");
        Ok(Self {
            steps,
            period: None,
        })
    }

    /// The same script over and over.
    ///
    /// # Errors
    /// When the script's last step is not within the period.
    pub fn repeated_each(mut self, period: Duration) -> Result<Self> {
        let last = self.steps.last().map_or(Duration::ZERO, |step| step.at);
        ensure!(last < period, "the script is longer than its period");
        self.period = Some(period);
        Ok(self)
    }

    /// How many slots are wanted this long after the start.
    #[must_use]
    pub fn slots_at(&self, since_start: Duration) -> usize {
        let moment = match self.period {
            Some(period) => Duration::from_nanos(
                u64::try_from(since_start.as_nanos() % period.as_nanos()).unwrap_or_default(),
            ),
            None => since_start,
        };
        let reached = self.steps.iter().rev().find(|step| step.at <= moment);
        reached.map_or(0, |step| step.slots)
    }

    /// The most slots ever wanted.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.steps.iter().map(|step| step.slots).max().unwrap_or(0)
    }
}

impl FromStr for Workload {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let step = |word: &str| -> Result<Step> {
            let (at, slots) = word
                .split_once(':')
                .context("a step is <seconds>s:<slots>")?;
            let seconds = at.strip_suffix('s').context("a moment ends with s")?;
            Ok(Step {
                at: Duration::try_from_secs_f64(seconds.parse()?)?,
                slots: slots.parse()?,
            })
        };
        let steps = text
            .split_whitespace()
            .map(|word| step(word).with_context(|| format!("step {word:?}")));
        Self::new(steps.collect::<Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(workload: &Workload, seconds: &[f64]) -> Vec<usize> {
        let moments = seconds
            .iter()
            .map(|second| Duration::from_secs_f64(*second));
        moments.map(|moment| workload.slots_at(moment)).collect()
    }

    #[test]
    fn each_step_holds_until_the_next() {
        let workload: Workload = "1s:3 2.5s:1 4s:0".parse().unwrap();
        let seen = slots(&workload, &[0.0, 0.9, 1.0, 2.4, 2.5, 3.9, 4.0, 100.0]);
        assert_eq!(seen, [0, 0, 3, 3, 1, 1, 0, 0]);
        assert_eq!(workload.peak(), 3);
    }

    #[test]
    fn repeated_script_begins_anew() {
        let workload: Workload = "0s:1 1s:2".parse().unwrap();
        let workload = workload.repeated_each(Duration::from_secs(3)).unwrap();
        assert_eq!(
            slots(&workload, &[0.5, 2.9, 3.0, 4.0, 31.0]),
            [1, 2, 1, 2, 2]
        );
    }

    #[test]
    fn script_that_makes_no_sense_is_refused() {
        for wrong in ["1:2", "1s", "xs:1", "1s:-1", "2s:1 1s:0", "-1s:1"] {
            assert!(wrong.parse::<Workload>().is_err(), "{wrong}");
        }
        let workload: Workload = "5s:1".parse().unwrap();
        assert!(workload.repeated_each(Duration::from_secs(5)).is_err());
    }
}
