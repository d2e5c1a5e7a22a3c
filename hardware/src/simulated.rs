//! A machine that exists only here and does what a script says: slow, silent, lying or broken.
//! In: a [`Script`], and steps. Out: the same answers as a real driver's, after the script's delays.
//! Holds: no randomness; the same script, steps and times give the same answers; time is tokio's, so tests may advance it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::fault::{Fault, FaultKind};
use crate::power::{Answer, Applied, Basis, Power, PowerSwitch, Reading, Sensor, Step};

/// How a simulated machine behaves.
#[derive(Clone, Debug)]
pub struct Script {
    /// Whether it is on at the beginning.
    pub on: bool,
    /// From a switch on until it reads on.
    pub boot: Duration,
    /// From a graceful shutdown until it reads off.
    pub shutdown: Duration,
    /// From a hard off until it reads off.
    pub hard_off: Duration,
    /// What happens to the first steps; afterwards it obeys.
    pub steps: VecDeque<StepScript>,
    /// What the first readings say; afterwards they are honest.
    pub readings: VecDeque<ReadingScript>,
}

impl Default for Script {
    /// Off, and obeys at once.
    fn default() -> Self {
        Self {
            on: false,
            boot: Duration::ZERO,
            shutdown: Duration::ZERO,
            hard_off: Duration::ZERO,
            steps: VecDeque::new(),
            readings: VecDeque::new(),
        }
    }
}

/// What happens to one step.
#[derive(Clone, Debug)]
pub enum StepScript {
    /// Does it.
    Obey,
    /// Accepts it and does nothing, as a hung operating system does.
    Ignore,
    /// Does it, but fails to say so.
    ObeyAndFail(Fault),
    /// Refuses.
    Fail(Fault),
    /// Does it, and answers only after this time.
    Late(Duration),
}

/// What one reading says.
#[derive(Clone, Debug)]
pub enum ReadingScript {
    /// The truth.
    Honest,
    /// This, whatever the truth is.
    Says(Power),
    /// Nothing.
    Fail(Fault),
    /// The truth, after this time.
    Late(Duration),
}

/// A simulated machine.
#[derive(Debug)]
pub struct Simulated {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    script: Script,
    on: bool,
    /// The change that is under way: what it leads to, and when.
    change: Option<(bool, Instant)>,
}

impl Simulated {
    /// A machine with this script.
    #[must_use]
    pub fn new(script: Script) -> Self {
        let on = script.on;
        let state = State {
            script,
            on,
            change: None,
        };
        Self {
            state: Mutex::new(state),
        }
    }

    async fn step(&self, step: Step) -> Result<Applied, Fault> {
        let scripted = self
            .state()
            .script
            .steps
            .pop_front()
            .unwrap_or(StepScript::Obey);
        match scripted {
            StepScript::Obey => self.state().begin(step),
            StepScript::Ignore => Ok(Applied::Sent {
                detail: format!("simulated {step}, ignored"),
            }),
            StepScript::ObeyAndFail(fault) => self.state().begin(step).and(Err(fault)),
            StepScript::Fail(fault) => Err(fault),
            StepScript::Late(delay) => {
                let applied = self.state().begin(step);
                tokio::time::sleep(delay).await;
                applied
            }
        }
    }

    async fn read(&self) -> Result<Reading, Fault> {
        let scripted = self
            .state()
            .script
            .readings
            .pop_front()
            .unwrap_or(ReadingScript::Honest);
        let power = match scripted {
            ReadingScript::Honest => self.state().power(),
            ReadingScript::Says(power) => power,
            ReadingScript::Fail(fault) => return Err(fault),
            ReadingScript::Late(delay) => {
                tokio::time::sleep(delay).await;
                self.state().power()
            }
        };
        Ok(Reading {
            power,
            basis: Basis::Asserted,
            at: Instant::now().into_std(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PowerSwitch for Simulated {
    fn apply(&self, step: Step) -> Answer<'_, Applied> {
        Box::pin(self.step(step))
    }
}

impl Sensor for Simulated {
    fn observe(&self) -> Answer<'_, Reading> {
        Box::pin(self.read())
    }
}

impl State {
    /// Completes a change whose time has come.
    fn settle(&mut self) {
        if let Some((on, at)) = self.change
            && at <= Instant::now()
        {
            self.on = on;
            self.change = None;
        }
    }

    fn power(&mut self) -> Power {
        self.settle();
        match (self.change, self.on) {
            (Some(_), _) => Power::Transitioning,
            (None, true) => Power::On,
            (None, false) => Power::Off,
        }
    }

    fn begin(&mut self, step: Step) -> Result<Applied, Fault> {
        self.settle();
        let (wanted, after) = match step {
            Step::On => (true, self.script.boot),
            Step::ShutdownGraceful => (false, self.script.shutdown),
            Step::OffHard => (false, self.script.hard_off),
            Step::Reboot if self.on => (true, self.script.shutdown + self.script.boot),
            Step::Reboot => {
                return Err(Fault::new(
                    FaultKind::Denied,
                    "a simulated machine that is off cannot reboot",
                ));
            }
        };
        match self.change {
            Some((on, _)) if on != wanted && step != Step::OffHard => {
                return Err(Fault::new(
                    FaultKind::Busy,
                    "the simulated machine is changing the other way",
                ));
            }
            Some((on, _)) if on == wanted && step != Step::OffHard => return Ok(Applied::NoChange),
            None if self.on == wanted && step != Step::Reboot => return Ok(Applied::NoChange),
            Some(_) | None => {}
        }
        self.change = Some((wanted, Instant::now() + after));
        self.settle();
        Ok(Applied::Sent {
            detail: format!("simulated {step}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn machine(change: impl FnOnce(&mut Script)) -> Simulated {
        let mut script = Script::default();
        change(&mut script);
        Simulated::new(script)
    }

    async fn power(machine: &Simulated) -> Power {
        machine.observe().await.expect("readable").power
    }

    fn is_sent(outcome: &Result<Applied, Fault>) -> bool {
        matches!(outcome, Ok(Applied::Sent { .. }))
    }

    #[tokio::test(start_paused = true)]
    async fn steps_take_their_time_and_repeating_them_changes_nothing() {
        let machine = machine(|script| {
            script.boot = MINUTE;
            script.shutdown = 2 * MINUTE;
        });
        assert!(is_sent(&machine.apply(Step::On).await));
        assert_eq!(power(&machine).await, Power::Transitioning);
        assert_eq!(machine.apply(Step::On).await, Ok(Applied::NoChange));
        let other_way = machine
            .apply(Step::ShutdownGraceful)
            .await
            .expect_err("busy");
        assert_eq!(other_way.kind, FaultKind::Busy);
        tokio::time::advance(MINUTE).await;
        assert_eq!(power(&machine).await, Power::On);
        assert_eq!(machine.apply(Step::On).await, Ok(Applied::NoChange));

        assert!(is_sent(&machine.apply(Step::ShutdownGraceful).await));
        tokio::time::advance(MINUTE).await;
        assert_eq!(power(&machine).await, Power::Transitioning);
        assert!(
            is_sent(&machine.apply(Step::OffHard).await),
            "a hard off cuts a slow shutdown short"
        );
        assert_eq!(power(&machine).await, Power::Off);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reboot_ends_on_and_needs_a_machine_that_is_on() {
        let machine = machine(|script| script.boot = MINUTE);
        assert_eq!(
            machine.apply(Step::Reboot).await.expect_err("off").kind,
            FaultKind::Denied
        );
        machine.apply(Step::On).await.expect("sent");
        tokio::time::advance(MINUTE).await;
        assert!(is_sent(&machine.apply(Step::Reboot).await));
        assert_eq!(power(&machine).await, Power::Transitioning);
        tokio::time::advance(MINUTE).await;
        assert_eq!(power(&machine).await, Power::On);
    }

    #[tokio::test(start_paused = true)]
    async fn the_script_is_followed_in_order_and_then_ends() {
        let broken = Fault::new(FaultKind::Transient, "broken").with_possible_effect();
        let machine = machine(|script| {
            script.steps = [
                StepScript::Fail(broken.clone()),
                StepScript::Ignore,
                StepScript::ObeyAndFail(broken.clone()),
            ]
            .into();
            script.readings = [
                ReadingScript::Says(Power::On),
                ReadingScript::Fail(broken.clone()),
                ReadingScript::Honest,
            ]
            .into();
        });
        assert_eq!(power(&machine).await, Power::On, "a lie");
        assert_eq!(machine.observe().await, Err(broken.clone()));
        assert_eq!(power(&machine).await, Power::Off);
        assert_eq!(machine.apply(Step::On).await, Err(broken.clone()));
        assert!(is_sent(&machine.apply(Step::On).await));
        assert_eq!(power(&machine).await, Power::Off, "ignored");
        assert_eq!(machine.apply(Step::On).await, Err(broken));
        assert_eq!(power(&machine).await, Power::On, "done all the same");
    }

    #[tokio::test(start_paused = true)]
    async fn late_answers_come_late() {
        let machine = machine(|script| {
            script.steps = [StepScript::Late(MINUTE)].into();
            script.readings = [ReadingScript::Late(MINUTE)].into();
        });
        let begun = Instant::now();
        machine.apply(Step::On).await.expect("sent");
        assert_eq!(begun.elapsed(), MINUTE);
        assert_eq!(power(&machine).await, Power::On);
        assert_eq!(begun.elapsed(), 2 * MINUTE);
    }
}
