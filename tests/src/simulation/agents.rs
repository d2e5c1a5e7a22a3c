//! Agents: a real agent core in each host that runs, with a disk that keeps its journal and drivers that move the world.
//!
//! Holds: a process may die between any two of its steps; its disk survives it, its memory does not.
//! Not here: what the messages become (`broker`).

use std::collections::VecDeque;

use agent_core::{Agent, Config, DriverFault, Input, Job, Now, Report, Step, Stored};
use proto_mqtt::order::{BmcOrder, OffMode};
use proto_mqtt::report::{BmcOutcome, Code, Outcome, Policy};
use proto_mqtt::{Challenge, Instance, Order, Power as Reading, Text, Verb};

use super::broker::Saying;
use super::hosts::{Host, Power, Process};
use super::world::{Event, World};

/// Until systemd starts a process again.
const RESTART_MS: u64 = 2_000;
/// Until a started process is connected.
const CONNECT_MS: u64 = 200;
/// Short, so that a machine can be woken and stopped several times in one history.
const MIN_UPTIME_MS: u64 = 20_000;

impl World {
    pub(super) fn runs(&self, name: &str, instance: u32) -> bool {
        self.process(name).is_some_and(|p| p.instance == instance)
    }

    fn process(&self, name: &str) -> Option<&Process> {
        self.hosts.get(name)?.process.as_ref()
    }

    fn agent_now(&self, host: &Host) -> Now {
        let boot_ms = self.now_ms.saturating_sub(host.kernel_ms);
        Now {
            boot_ms,
            awake_ms: boot_ms,
            wall_s: u64::try_from(self.now().wall_ms / 1000).unwrap_or(0),
        }
    }

    pub(super) fn start_agent(&mut self, name: &str) {
        let keys = self.trusted.clone();
        let Some(host) = self.hosts.get(name) else {
            return;
        };
        if !matches!(host.power, Power::On) || host.process.is_some() {
            return;
        }
        let instance = host.agent_starts + 1;
        let config = Config {
            id: name.parse().expect("hosts have plain names"),
            boot: host
                .boot_id(name)
                .parse()
                .expect("boot ids are letters and digits"),
            inst: Instance(instance),
            version: Text::from("0.1.0"),
            keys,
            allow: if host.relay {
                Vec::new()
            } else {
                vec![Verb::PowerOff]
            },
            segments: host.relay.then(|| vec![Text::from("default")]),
            min_uptime_ms: MIN_UPTIME_MS,
            acts_per_hour: 60,
            heartbeat_ms: 10_000,
        };
        let stored = Stored::Readable(host.disk.clone());
        let (agent, steps) = Agent::new(config, stored, self.agent_now(host));
        if let Some(host) = self.hosts.get_mut(name) {
            host.agent_starts = instance;
            host.process = Some(Process {
                agent,
                instance,
                conn: 0,
                connected: false,
                dies_after: None,
            });
        }
        for step in steps {
            if let Some(input) = self.carry_out(name, step) {
                self.feed(name, input);
            }
        }
        let host = name.to_owned();
        self.after(CONNECT_MS, Event::Connects { host, instance });
    }

    /// The process is gone at once; the broker notices later.
    pub(super) fn kill_agent(&mut self, name: &str) {
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        host.outbox.clear();
        if let Some(process) = host.process.take() {
            let instance = process.instance;
            self.lose(name, &process.agent.will(process.conn), instance);
        }
    }

    /// Kills the process and lets systemd start another one.
    pub(super) fn restart_agent(&mut self, name: &str) {
        self.tally.count("an agent was killed");
        self.note(|| format!("the agent of {name} dies"));
        self.kill_agent(name);
        self.plan(name, RESTART_MS, super::hosts::Change::StartsAgent);
    }

    /// Feeds one input and carries out everything that follows from it at once.
    pub(super) fn feed(&mut self, name: &str, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(host) = self.hosts.get(name) else {
                return;
            };
            let now = self.agent_now(host);
            let Some(process) = self.hosts.get_mut(name).and_then(|h| h.process.as_mut()) else {
                return;
            };
            for step in process.agent.observe(input.clone(), now) {
                if self.dies_now(name) {
                    return self.restart_agent(name);
                }
                inputs.extend(self.carry_out(name, step));
            }
        }
    }

    fn dies_now(&mut self, name: &str) -> bool {
        let process = self.hosts.get_mut(name).and_then(|h| h.process.as_mut());
        let Some(left) = process.and_then(|p| p.dies_after.as_mut()) else {
            return false;
        };
        *left = left.saturating_sub(1);
        *left == 0
    }

    fn carry_out(&mut self, name: &str, step: Step) -> Option<Input> {
        match step {
            Step::Beat => {
                let (high, low) = (self.dice.bits(), self.dice.bits());
                let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
                return Some(Input::Challenge(Challenge(bytes)));
            }
            Step::Publish { report, ticket } => {
                if let Some(ticket) = ticket {
                    self.confirm_later(name, ticket);
                }
                self.say(name, Saying::Report(Box::new(report)));
            }
            Step::Announce => {
                let inventory = self.inventory(name);
                self.say(name, Saying::Inventory(Box::new(inventory)));
            }
            Step::WriteJournal(journal) => {
                let host = self.hosts.get_mut(name)?;
                let written = !host.disk_full;
                if written {
                    host.disk = journal;
                }
                return Some(Input::Journaled { written });
            }
            Step::Arm { id } => return Some(Input::Armed { id, outcome: None }),
            Step::Carry(job) => self.drive(name, job),
            Step::Log(refusal) => {
                self.note(|| format!("{name} refuses: {} {}", refusal.code, refusal.detail));
                if refusal.code == Code::SeqStale {
                    self.tally.count("a stale token was refused");
                }
            }
            Step::Exit => {
                if let Some(host) = self.hosts.get_mut(name) {
                    host.process = None;
                }
            }
        }
        None
    }

    /// What a driver does, and what it answers.
    fn drive(&mut self, name: &str, job: Job) {
        self.judge_effect(name, &job);
        let target = job.target.as_str().to_owned();
        let broken = self.dice.percent(self.faults.bmc_fails);
        let result = match &job.order {
            Order::PowerOff => {
                self.shut_down(name);
                Ok(None)
            }
            Order::Wake(_) => {
                self.wake(&target);
                Ok(None)
            }
            Order::RedfishOn(_) | Order::RedfishOff { .. } | Order::RedfishStatus(_) if broken => {
                Err(DriverFault {
                    code: Code::ExecFailed,
                    msg: Text::from("the BMC does not answer"),
                })
            }
            Order::RedfishOn(bmc) => {
                self.wake(&target);
                Ok(self.bmc_says(bmc))
            }
            Order::RedfishOff { bmc, mode } => {
                self.bmc_off(&target, *mode);
                Ok(self.bmc_says(bmc))
            }
            Order::RedfishStatus(bmc) => Ok(self.bmc_says(bmc)),
            Order::PowerReboot
            | Order::Cancel { .. }
            | Order::Barrier
            | Order::Refresh
            | Order::Unknown { .. } => Ok(None),
        };
        let instance = self.process(name).map_or(0, |process| process.instance);
        let takes_ms = self.dice.between(20, 400);
        let input = Box::new(Input::Ended { id: job.id, result });
        let host = name.to_owned();
        self.after(
            takes_ms,
            Event::Fed {
                host,
                instance,
                input,
            },
        );
    }

    fn bmc_off(&mut self, target: &str, mode: OffMode) {
        let stubborn = self.hosts.get(target).is_some_and(|host| host.stubborn);
        match mode {
            OffMode::Force => {
                self.tally.count("power was cut");
                self.darken(target);
            }
            OffMode::Graceful if stubborn => self.tally.count("a graceful stop was ignored"),
            OffMode::Graceful => self.shut_down(target),
            OffMode::Unknown => {}
        }
    }

    fn bmc_says(&self, bmc: &BmcOrder) -> Option<Outcome> {
        let address = bmc.address.as_str();
        let name = address.strip_prefix("https://")?.strip_suffix(".bmc")?;
        let power = if self.hosts.get(name)?.has_power() {
            Reading::On
        } else {
            Reading::Off
        };
        Some(Outcome::Redfish(BmcOutcome {
            power,
            word: Text::default(),
            changed: false,
        }))
    }

    pub(super) fn tick_agents(&mut self) {
        let now_ms = self.now_ms;
        let due: Vec<String> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.agent_deadline().is_some_and(|at| at <= now_ms))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.feed(&name, Input::Tick);
        }
    }

    /// Somebody on the host forbids, or allows again, to switch it off.
    pub(super) fn set_maintenance(&mut self, name: &str, maintenance: bool) {
        let policy = Policy {
            maintenance,
            inhibited: false,
        };
        self.feed(name, Input::Policy(policy));
    }
}

/// Whether a report waits until somebody can hear it.
pub(super) fn is_kept(saying: &Saying) -> bool {
    match saying {
        Saying::Report(report) => matches!(**report, Report::Result(_)),
        Saying::Inventory(_) => false,
    }
}
