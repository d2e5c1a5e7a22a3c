//! Hosts: power, kernel, kubelet and BMC.
//!
//! Holds: a host's power moves only by a wake, a shutdown, a cut, or a hand at its button.

use agent_core::{Agent, Input, Journal};

use super::broker::Saying;
use super::declared::has_kubelet;
use super::world::{Event, World};

/// From power to the kernel's first tick.
pub(super) const FIRMWARE_MS: u64 = 5_000;
/// Between two renewals of a kubelet's Lease.
const LEASE_MS: u64 = 10_000;
/// How long the cluster waits for a Lease before it calls a Node not ready.
const GRACE_MS: u64 = 40_000;

/// What a host's power does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    Off,
    Booting,
    On,
    Falling,
}

/// What will happen to a host.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// The kernel has started its services.
    Boots,
    /// The agent's process starts.
    StartsAgent,
    /// The kubelet renews its Lease.
    Renews,
    /// The cluster takes the taint of a Node that is not ready away.
    Untaints,
    /// Services are told to end.
    Terminates,
    /// Power is gone.
    Darkens,
    /// The cluster notices that the Lease is not renewed.
    IsMissed,
}

/// One process of an agent.
pub(super) struct Process {
    pub(super) agent: Agent,
    pub(super) instance: u32,
    pub(super) conn: u32,
    pub(super) connected: bool,
    /// Dies before it carries out so many more steps.
    pub(super) dies_after: Option<u32>,
}

pub(super) struct Host {
    pub(super) relay: bool,
    pub(super) power: Power,
    /// Counts the times that power came and went; outdates what was planned before.
    pub(super) life: u32,
    pub(super) boots: u32,
    pub(super) kernel_ms: u64,
    /// When it last had power, if it has none.
    pub(super) went_off_ms: u64,
    pub(super) came_on_ms: u64,
    /// Wakes that it will ignore.
    pub(super) deaf: u32,
    /// It ignores requests of its BMC to shut down.
    pub(super) stubborn: bool,
    /// The agent's journal.
    pub(super) disk: Journal,
    pub(super) disk_full: bool,
    pub(super) agent_starts: u32,
    pub(super) process: Option<Process>,
    /// Results that nobody could be told yet.
    pub(super) outbox: Vec<Saying>,
    /// Its network is unplugged.
    pub(super) unplugged: bool,
}

impl Host {
    pub(super) fn machine() -> Self {
        Self {
            relay: false,
            power: Power::Off,
            life: 0,
            boots: 0,
            kernel_ms: 0,
            went_off_ms: 0,
            came_on_ms: 0,
            deaf: 0,
            stubborn: false,
            disk: Journal::default(),
            disk_full: false,
            agent_starts: 0,
            process: None,
            outbox: Vec::new(),
            unplugged: false,
        }
    }

    pub(super) fn relay() -> Self {
        Self {
            relay: true,
            ..Self::machine()
        }
    }

    pub(super) fn has_power(&self) -> bool {
        self.power != Power::Off
    }

    pub(super) fn agent_deadline(&self) -> Option<u64> {
        let process = self.process.as_ref()?;
        Some(self.kernel_ms + process.agent.deadline()?)
    }

    pub(super) fn boot_id(&self, name: &str) -> String {
        format!("{name}-boot-{}", self.boots)
    }
}

impl World {
    /// A wake reaches the host: a magic packet, or `On` by its BMC.
    pub(super) fn wake(&mut self, name: &str) {
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        if host.has_power() {
            return;
        }
        if host.deaf > 0 {
            host.deaf -= 1;
            self.tally.count("a wake was ignored by its machine");
            return;
        }
        self.tally.count("a machine woke");
        self.press_on(name);
    }

    /// Somebody presses the button of a host that is off, or what comes to the same happens.
    pub(super) fn press_on(&mut self, name: &str) {
        let takes_ms = self.dice.between(15_000, 40_000);
        let now_ms = self.now_ms;
        let Some(host) = self.hosts.get_mut(name).filter(|host| !host.has_power()) else {
            return;
        };
        host.power = Power::Booting;
        host.life += 1;
        host.boots += 1;
        host.kernel_ms = now_ms + FIRMWARE_MS;
        host.came_on_ms = now_ms;
        self.model.forget_fall(name);
        self.note(|| format!("{name} has power"));
        self.plan(name, takes_ms, Change::Boots);
    }

    /// The operating system shuts down.
    pub(super) fn shut_down(&mut self, name: &str) {
        let ends_ms = self.dice.between(3_000, 9_000);
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        if host.power != Power::On {
            return;
        }
        host.power = Power::Falling;
        self.note(|| format!("{name} shuts down"));
        self.plan(name, 1_000, Change::Terminates);
        self.plan(name, ends_ms, Change::Darkens);
    }

    /// Power is gone at once.
    pub(super) fn darken(&mut self, name: &str) {
        let now_ms = self.now_ms;
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.has_power()) else {
            return;
        };
        host.power = Power::Off;
        host.life += 1;
        host.went_off_ms = now_ms;
        host.outbox.clear();
        self.note(|| format!("{name} is off"));
        self.kill_agent(name);
        if has_kubelet(name) {
            self.plan(name, GRACE_MS, Change::IsMissed);
        }
    }

    pub(super) fn plan(&mut self, name: &str, ms: u64, change: Change) {
        let life = self.hosts.get(name).map_or(0, |host| host.life);
        let host = name.to_owned();
        self.after(ms, Event::Host { host, life, change });
    }

    pub(super) fn change(&mut self, name: &str, change: Change) {
        match change {
            Change::Boots => {
                if let Some(host) = self.hosts.get_mut(name) {
                    host.power = Power::On;
                }
                let (agent_ms, kubelet_ms) =
                    (self.dice.between(500, 4_000), self.dice.between(500, 6_000));
                self.plan(name, agent_ms, Change::StartsAgent);
                if has_kubelet(name) {
                    self.plan(name, kubelet_ms, Change::Renews);
                }
            }
            Change::StartsAgent => self.start_agent(name),
            Change::Renews => {
                self.plan(name, LEASE_MS, Change::Renews);
                if self.hosts.get(name).is_some_and(|host| !host.unplugged) {
                    self.renew_lease(name);
                }
            }
            Change::Untaints => self.untaint(name),
            Change::Terminates => self.feed(name, Input::Terminating { host: true }),
            Change::Darkens => {
                self.tally.count("a machine shut down");
                self.darken(name);
            }
            Change::IsMissed => self.miss_node(name),
        }
    }
}
