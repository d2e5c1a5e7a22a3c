//! A machine's power supply: off, booting, on, shutting down.
//! In: [`Event`]s and time. Out: power on the watch, effects in the recorder, the operating system started and ended.
//! Holds: the only writer of the machine's power; a packet that arrives while the machine goes down is lost, as in reality.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{Event, Faults, MachineSpec, Power, lock, os::OperatingSystem};
use crate::{
    harness::{Process, WorkDir},
    mock_bmc::BmcOrder,
    recorder::{Effect, OffHow, OnCause, Recorder},
};

/// How long a shutdown waits for an agent that does not end after SIGTERM, beyond the machine's own shutdown time.
const AGENT_GRACE: Duration = Duration::from_secs(10);
/// Between two looks at an agent that has not ended yet.
const AGENT_LOOK: Duration = Duration::from_millis(50);

/// What the supply shares with the machine's handle.
pub(super) struct Parts {
    pub(super) recorder: Recorder,
    pub(super) faults: Arc<Mutex<Faults>>,
    pub(super) agent: Arc<Mutex<Option<Process>>>,
    pub(super) work: Arc<WorkDir>,
}

pub(super) struct Supply {
    spec: MachineSpec,
    recorder: Recorder,
    faults: Arc<Mutex<Faults>>,
    os: OperatingSystem,
    power: watch::Sender<Power>,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Off,
    /// `None`: hangs for ever.
    Booting {
        done: Option<Instant>,
    },
    On,
    Stopping {
        until: Instant,
        /// When an agent that does not end is killed.
        at_last: Instant,
        how: OffHow,
        then: Then,
    },
}

#[derive(Debug, Clone, Copy)]
enum Then {
    StayOff,
    Restart,
}

impl Supply {
    pub(super) fn new(spec: MachineSpec, parts: Parts) -> Self {
        let os = OperatingSystem::new(&spec, parts.work, parts.agent);
        Self {
            os,
            spec,
            recorder: parts.recorder,
            faults: parts.faults,
            power: watch::Sender::new(Power::Off),
            state: State::Off,
        }
    }

    pub(super) fn power(&self) -> watch::Receiver<Power> {
        self.power.subscribe()
    }

    /// Brings a machine that starts running straight up; nobody told it to, so nothing is recorded as a wake.
    pub(super) fn first_power(&mut self) -> Result<()> {
        match self.spec.starts {
            Power::Off => Ok(()),
            Power::Booting => {
                self.switch_on(OnCause::Button);
                Ok(())
            }
            Power::On | Power::ShuttingDown => {
                self.record_on(OnCause::Button);
                self.come_up()
            }
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Event>) {
        loop {
            let deadline = self.deadline();
            tokio::select! {
                event = inbox.recv() => match event {
                    Some(event) => self.on_event(event),
                    None => return,
                },
                () = until(deadline) => self.on_deadline(),
            }
        }
    }

    const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Off | State::On => None,
            State::Booting { done } => done,
            State::Stopping { until, .. } => Some(until),
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Packet => self.wake(OnCause::MagicPacket),
            Event::Bmc(BmcOrder::On) => self.wake(OnCause::Bmc),
            Event::Bmc(BmcOrder::ForceOff) => self.cut(OffHow::Hard),
            Event::Bmc(BmcOrder::GracefulShutdown) => {
                self.go_down(OffHow::Graceful, Then::StayOff);
            }
            Event::Bmc(BmcOrder::GracefulRestart) => self.go_down(OffHow::Graceful, Then::Restart),
            Event::Bmc(BmcOrder::ForceRestart) => {
                if !matches!(self.state, State::Off) {
                    self.cut(OffHow::Hard);
                    self.switch_on(OnCause::Reboot);
                }
            }
            Event::Host(verb) => self.on_host(&verb),
            Event::Button if matches!(self.state, State::Off) => self.switch_on(OnCause::Button),
            Event::Button => self.go_down(OffHow::SelfMade, Then::StayOff),
            Event::Crash => self.cut(OffHow::SelfMade),
            Event::ReviveAgent => self.revive_agent(),
        }
    }

    fn on_host(&mut self, verb: &str) {
        // A command that comes back after the machine has gone down reaches nobody.
        if matches!(self.state, State::Off | State::Booting { .. }) {
            return;
        }
        self.recorder.record(Effect::ShutdownAsked {
            machine: self.spec.name.clone(),
            verb: verb.to_owned(),
        });
        match verb {
            "poweroff" => self.go_down(OffHow::Graceful, Then::StayOff),
            "reboot" => self.go_down(OffHow::Graceful, Then::Restart),
            _ => {
                tracing::warn!(machine = %self.spec.name, verb, "a hollow machine knows no such verb")
            }
        }
    }

    fn on_deadline(&mut self) {
        match self.state {
            State::Off | State::On => {}
            State::Booting { .. } if lock(&self.faults).dies_at_boot => self.cut(OffHow::SelfMade),
            State::Booting { .. } => {
                if let Err(error) = self.come_up() {
                    tracing::error!(machine = %self.spec.name, error = format!("{error:#}"), "a hollow machine cannot come up");
                }
            }
            State::Stopping {
                at_last, how, then, ..
            } => {
                let now = Instant::now();
                if self.os.agent_runs() && now < at_last {
                    self.state = State::Stopping {
                        until: now + AGENT_LOOK,
                        at_last,
                        how,
                        then,
                    };
                    return;
                }
                self.cut(how);
                match then {
                    Then::StayOff => {}
                    Then::Restart => self.switch_on(OnCause::Reboot),
                }
            }
        }
    }

    fn wake(&mut self, cause: OnCause) {
        let ignored = lock(&self.faults).ignores_wake;
        match self.state {
            State::Off if !ignored => self.switch_on(cause),
            State::Off | State::Booting { .. } | State::On | State::Stopping { .. } => {}
        }
    }

    fn switch_on(&mut self, cause: OnCause) {
        let (never, slower) = {
            let faults = lock(&self.faults);
            (faults.never_boots, faults.boots_slower_by)
        };
        let done = (!never).then(|| Instant::now() + self.spec.boot + slower);
        self.state = State::Booting { done };
        self.record_on(cause);
        self.power.send_replace(Power::Booting);
    }

    fn record_on(&self, cause: OnCause) {
        self.recorder.record(Effect::PowerOn {
            machine: self.spec.name.clone(),
            cause,
        });
    }

    fn come_up(&mut self) -> Result<()> {
        self.state = State::On;
        let boot_id = self.os.start()?;
        self.recorder.record(Effect::BootDone {
            machine: self.spec.name.clone(),
            boot_id,
        });
        self.power.send_replace(Power::On);
        Ok(())
    }

    fn revive_agent(&mut self) {
        if matches!(self.state, State::On)
            && let Err(error) = self.os.start_agent()
        {
            tracing::error!(machine = %self.spec.name, error = format!("{error:#}"), "an agent does not start again");
        }
    }

    fn go_down(&mut self, how: OffHow, then: Then) {
        if !matches!(self.state, State::On) || lock(&self.faults).ignores_shutdown {
            return;
        }
        self.os.begin_stop();
        let until = Instant::now() + self.spec.shutdown;
        self.state = State::Stopping {
            until,
            at_last: until + AGENT_GRACE,
            how,
            then,
        };
        self.power.send_replace(Power::ShuttingDown);
    }

    fn cut(&mut self, how: OffHow) {
        if matches!(self.state, State::Off) {
            return;
        }
        self.os.kill();
        self.state = State::Off;
        self.recorder.record(Effect::PowerOff {
            machine: self.spec.name.clone(),
            how,
        });
        self.power.send_replace(Power::Off);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
