//! What goes on in the lab: requests, hands at buttons, faults that come and go. Chosen by chance, until peace.

use coordinator_core::{
    Ask, Fact, GroupSpec, MachineId, MachineSpec, NodeRef, OverridePower, PodRef, PodSeen,
    PodStanding, PowerPolicy, Request, Ticket,
};
use proto_mqtt::key::{COORDINATOR_KID, Signer};
use proto_mqtt::{AgentTopic, Envelope, Payload, Purpose};

use super::declared::{LAG_MS, MACHINES, RELAYS, group_id};
use super::hosts::Power;
use super::world::{Event, Faults, World};

/// How long a caller waits.
const DEADLINE_MS: u64 = 5_000;

/// Something that was planned for later.
pub(super) enum Deed {
    /// All faults of network, store and BMCs end.
    Heal,
    /// The broker is back.
    BrokerBack,
    /// A host's network is back.
    Plug(String),
    /// The pods that held a Node are gone.
    PodsGo(String),
    /// Somebody has finished working on a host.
    Reopen(String),
    /// The group is not paused any more.
    Unpause,
    /// A machine is declared again.
    Declare(Box<MachineSpec>),
}

impl World {
    pub(super) fn plan_deeds(&mut self, for_ms: u64) {
        let until_ms = self.now_ms + for_ms;
        self.after(8_000, Event::NextDeed { until_ms });
    }

    pub(super) fn next_deed(&mut self, until_ms: u64) {
        if self.now_ms >= until_ms {
            return;
        }
        let pause_ms = self.dice.between(500, 16_000);
        self.after(pause_ms, Event::NextDeed { until_ms });
        match self.dice.roll(100) {
            0..=17 => self.increase(),
            18..=31 => self.delete(),
            32..=36 => self.decrease(),
            37..=46 => self.ask(),
            47..=50 => self.edit_power(),
            51 => self.pause(),
            52 => self.withdraw(),
            53..=57 => self.press(),
            58..=66 => self.kill_coordinator(),
            67..=70 => self.take_over(),
            71..=77 => self.kill_some_agent(),
            78..=83 => self.disturb_network(),
            84..=86 => self.stop_broker(),
            87..=89 => self.unplug(),
            90..=92 => self.disturb_store(),
            93..=95 => self.forge(),
            96 => self.work_on_host(),
            _ => self.bind_pods(),
        }
    }

    pub(super) fn do_deed(&mut self, deed: Deed) {
        match deed {
            Deed::Heal => self.faults = Faults::default(),
            Deed::BrokerBack => self.set_broker(true),
            Deed::Plug(name) => {
                if let Some(host) = self.hosts.get_mut(&name) {
                    host.unplugged = false;
                    host.disk_full = false;
                }
                self.reconnect(&name);
            }
            Deed::PodsGo(name) => drop(self.cluster.pods.remove(&name)),
            Deed::Reopen(name) => self.set_maintenance(&name, false),
            Deed::Unpause => self.declare_group(false),
            Deed::Declare(spec) => self.declare(*spec),
        }
    }

    /// Everything that went wrong is mended, and nothing more is asked.
    pub(super) fn make_peace(&mut self) {
        self.note(|| "peace".to_owned());
        self.do_deed(Deed::Heal);
        self.do_deed(Deed::BrokerBack);
        self.do_deed(Deed::Unpause);
        self.cluster.pods.clear();
        for name in MACHINES.into_iter().chain(RELAYS) {
            self.do_deed(Deed::Plug(name.to_owned()));
            self.do_deed(Deed::Reopen(name.to_owned()));
            if let Some(host) = self.hosts.get_mut(name) {
                host.deaf = 0;
                host.stubborn = false;
                if let Some(process) = host.process.as_mut() {
                    process.dies_after = None;
                }
            }
        }
        for coordinator in &mut self.coordinators {
            coordinator.dies_after = None;
        }
        let old: Vec<u32> = self
            .coordinators
            .iter()
            .filter(|c| !c.leads)
            .map(|c| c.id)
            .collect();
        for process in old {
            self.end_coordinator(process);
        }
        self.after(1_000, Event::Starts);
        self.note_peace();
    }

    fn any_machine(&mut self) -> String {
        (*self.dice.pick(&MACHINES).unwrap_or(&MACHINES[0])).to_owned()
    }

    /// Whom a caller reaches: mostly who leads, sometimes who does so no more.
    fn callee(&mut self) -> Option<u32> {
        let all: Vec<(u32, bool)> = self.coordinators.iter().map(|c| (c.id, c.leads)).collect();
        let old = self.dice.percent(20);
        let fits = all.iter().find(|(_, leads)| *leads != old);
        fits.or_else(|| all.first()).map(|(id, _)| *id)
    }

    fn request(&mut self, request: Request, callers: u64) {
        let Some(process) = self.callee() else {
            return;
        };
        self.note(|| format!("asked of {process}, {callers} times: {request:?}"));
        let tickets: Vec<Ticket> = self.wish(process, request.clone(), callers);
        for ticket in tickets {
            let fact = Fact::Asked {
                ticket,
                deadline_ms: self.now_ms + DEADLINE_MS,
                request: request.clone(),
            };
            self.tell(process, fact);
        }
    }

    fn increase(&mut self) {
        let delta = 1 + i32::from(self.dice.percent(50)) + i32::from(self.dice.percent(20));
        let callers = 1 + u64::from(self.dice.percent(20));
        let request = Request::Increase {
            group: group_id(),
            delta,
            // The cluster-autoscaler looks before it asks.
            looked: self.store.group.sequence,
        };
        self.request(request, callers);
    }

    fn delete(&mut self) {
        let listed = self.store.group.wanted.clone();
        let name = match self.dice.pick(&listed) {
            Some(machine) => machine.as_str().to_owned(),
            None => self.any_machine(),
        };
        let nodes = vec![NodeRef {
            provider_id: format!("homelab://default/{name}"),
            name,
        }];
        let request = Request::Delete {
            group: group_id(),
            nodes,
        };
        self.request(request, 1);
    }

    fn decrease(&mut self) {
        let delta = -1 - i32::from(self.dice.percent(40));
        let request = Request::Decrease {
            group: group_id(),
            delta,
        };
        self.request(request, 1);
    }

    fn ask(&mut self) {
        let name = self.any_machine();
        let for_ms = self.dice.between(20_000, 90_000);
        let until_ms = Some(self.now().wall_ms.saturating_add_unsigned(for_ms));
        let is_off = self.hosts.get(&name).is_some_and(|host| !host.has_power());
        let held = |power| Ask::Power { power, until_ms };
        let ask = match self.dice.roll(8) {
            0 | 1 => held(OverridePower::Running),
            2 | 3 => held(OverridePower::Off),
            4 => Ask::Release,
            5 => Ask::Retry,
            6 if is_off => Ask::ConfirmOff,
            _ => Ask::Prove,
        };
        let request = Request::Ask {
            machine: MachineId::new(&name),
            id: format!("ask-{}", self.now_ms),
            ask,
            by: "user ann".into(),
        };
        self.request(request, 1);
    }

    fn edit_power(&mut self) {
        let name = self.any_machine();
        let power = match self.dice.roll(4) {
            0 => PowerPolicy::AlwaysOn,
            1 => PowerPolicy::AlwaysOff,
            _ => PowerPolicy::Auto,
        };
        let Some(spec) = self.specs.get_mut(&name).filter(|spec| spec.power != power) else {
            return;
        };
        let spec = MachineSpec {
            power,
            ..spec.clone()
        };
        self.declare(spec);
    }

    /// A declaration goes away for a while.
    fn withdraw(&mut self) {
        let name = self.any_machine();
        let Some(spec) = self.specs.remove(&name) else {
            return;
        };
        self.note(|| format!("{name} is not declared"));
        self.tell_all(&Fact::MachineRemoved(spec.id.clone()));
        self.tally.count("a declaration went and came back");
        let ms = self.dice.between(500, 15_000);
        self.after(ms, Event::Deed(Deed::Declare(Box::new(spec))));
    }

    fn declare(&mut self, spec: MachineSpec) {
        let name = spec.id.as_str().to_owned();
        self.note(|| format!("{name} is declared {:?}", spec.power));
        self.specs.insert(name.clone(), spec.clone());
        self.model.declared_ms.insert(name, self.now_ms);
        self.tell_all(&Fact::MachineApplied(spec));
    }

    fn pause(&mut self) {
        self.declare_group(true);
        let ms = self.dice.between(5_000, 40_000);
        self.after(ms, Event::Deed(Deed::Unpause));
    }

    fn declare_group(&mut self, paused: bool) {
        if self.group.paused == paused {
            return;
        }
        self.note(|| format!("paused: {paused}"));
        self.group = GroupSpec {
            paused,
            ..self.group.clone()
        };
        let fact = Fact::GroupApplied(self.group.clone());
        self.tell_all(&fact);
    }

    /// A hand at a button, a crash, or a machine that will not hear.
    fn press(&mut self) {
        let name = self.any_machine();
        let power = self.hosts.get(&name).map(|host| host.power);
        self.note(|| format!("a hand at {name}, {power:?}"));
        match (power, self.dice.roll(4)) {
            (Some(Power::Off), 0) => {
                if let Some(host) = self.hosts.get_mut(&name) {
                    host.deaf = 20;
                }
            }
            (Some(Power::Off), _) => self.press_on(&name),
            (Some(Power::On), 0) => {
                if let Some(host) = self.hosts.get_mut(&name) {
                    host.stubborn = true;
                }
            }
            (Some(Power::On), 1) => self.darken(&name),
            (Some(Power::On), _) => self.shut_down(&name),
            (Some(Power::Booting | Power::Falling) | None, _) => {}
        }
        self.tally.count("a hand moved power");
    }

    fn kill_coordinator(&mut self) {
        let soon = self.dice.percent(60);
        let after = u32::try_from(self.dice.between(1, 8)).ok();
        let away_ms = self.dice.between(1_500, 20_000);
        let Some(leader) = self.leader() else {
            return;
        };
        if soon {
            leader.dies_after = after;
            return;
        }
        let process = leader.id;
        self.tally.count("a coordinator was killed at rest");
        self.end_coordinator(process);
        self.after(away_ms, Event::Starts);
    }

    /// The leader's mandate ends and it does not know; another one starts beside it.
    fn take_over(&mut self) {
        let knows_ms = self.dice.between(4_000, 30_000);
        let Some(leader) = self.leader() else {
            return;
        };
        leader.leads = false;
        let process = leader.id;
        self.tally.count("two coordinators ran at once");
        self.note(|| format!("coordinator {process} leads no more"));
        self.after(3_000, Event::Starts);
        self.after(knows_ms, Event::Ends { process });
    }

    fn kill_some_agent(&mut self) {
        let relay = self.dice.percent(30);
        let name = if relay {
            (*self.dice.pick(&RELAYS).unwrap_or(&RELAYS[0])).to_owned()
        } else {
            self.any_machine()
        };
        let after = u32::try_from(self.dice.between(1, 12)).ok();
        let soon = self.dice.percent(60);
        let Some(process) = self.hosts.get_mut(&name).and_then(|h| h.process.as_mut()) else {
            return;
        };
        if soon {
            process.dies_after = after;
        } else {
            self.restart_agent(&name);
        }
    }

    fn disturb_network(&mut self) {
        self.faults.loss = self.dice.roll(25);
        self.faults.repeat = self.dice.roll(30);
        self.faults.lag_ms = self.dice.roll(LAG_MS);
        self.faults.bmc_fails = self.dice.roll(40);
        let ms = self.dice.between(5_000, 40_000);
        self.after(ms, Event::Deed(Deed::Heal));
    }

    fn stop_broker(&mut self) {
        self.set_broker(false);
        let ms = self.dice.between(3_000, 50_000);
        self.after(ms, Event::Deed(Deed::BrokerBack));
    }

    fn unplug(&mut self) {
        let name = self.any_machine();
        let full = self.dice.percent(30);
        if let Some(host) = self.hosts.get_mut(&name) {
            host.unplugged = !full;
            host.disk_full = full;
        }
        if !full {
            self.note(|| format!("{name} is unplugged"));
            self.disconnect(&name);
        }
        let ms = self.dice.between(3_000, 30_000);
        self.after(ms, Event::Deed(Deed::Plug(name)));
    }

    fn disturb_store(&mut self) {
        self.faults.store_fails = self.dice.roll(60);
        self.faults.store_unsure = self.dice.roll(40);
        self.faults.store_lag_ms = self.dice.roll(800);
        let ms = self.dice.between(3_000, 20_000);
        self.after(ms, Event::Deed(Deed::Heal));
    }

    /// Somebody on the broker repeats, redirects, changes or invents commands.
    fn forge(&mut self) {
        let captured = self.broker.captured.clone();
        for _ in 0..6 {
            let Some((agent, topic, payload)) = self.dice.pick(&captured) else {
                return;
            };
            self.tally.count("a command was forged");
            let payload = match self.dice.roll(4) {
                0 => payload.clone(),
                1 => resealed(payload, topic).unwrap_or_default(),
                2 => {
                    let other = self.any_machine();
                    let id = other.parse().expect("hosts have plain names");
                    let topic = AgentTopic::Command.of(&id).to_string();
                    self.message(&other, &topic, payload.clone(), 5);
                    continue;
                }
                _ => {
                    let at = self.dice.roll(payload.len() as u64);
                    let mut changed = payload.clone();
                    if let Some(byte) = usize::try_from(at).ok().and_then(|at| changed.get_mut(at))
                    {
                        *byte ^= 1;
                    }
                    changed
                }
            };
            self.message(agent, topic, payload, 5);
        }
    }

    fn bind_pods(&mut self) {
        let name = self.any_machine();
        // The scheduler keeps off a cordoned Node.
        let node = self.cluster.nodes.get(&name);
        if node.is_none_or(|node| node.unschedulable || !node.ready) {
            return;
        }
        let (namespace, uid) = ("default".to_owned(), format!("late-{}", self.now_ms));
        let pod = PodRef {
            namespace,
            name: "late".to_owned(),
            uid,
        };
        let standing = PodStanding::Controlled;
        let pods = vec![PodSeen { pod, standing }];
        self.cluster.pods.insert(name.clone(), pods);
        let ms = self.dice.between(5_000, 60_000);
        self.after(ms, Event::Deed(Deed::PodsGo(name)));
    }

    fn work_on_host(&mut self) {
        let name = self.any_machine();
        self.set_maintenance(&name, true);
        let ms = self.dice.between(5_000, 60_000);
        self.after(ms, Event::Deed(Deed::Reopen(name)));
    }
}

/// The same order, signed by a key that nobody trusts under the trusted one's name.
fn resealed(payload: &[u8], topic: &str) -> Option<Vec<u8>> {
    let envelope = Envelope::decode(payload).ok()?;
    let stranger = Signer::from_seed(COORDINATOR_KID, &[9; 32]);
    let body = envelope.unverified_body().to_owned();
    Some(Envelope::seal(&stranger, Purpose::Command, topic, body).encode())
}
