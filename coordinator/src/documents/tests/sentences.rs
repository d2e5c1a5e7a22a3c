//! What people read of machines that do not wake, each sentence as it comes out of declarations, reports and the core together.

use std::collections::BTreeMap;

use coordinator_core::{
    Action, AgentInfo, Beat, Command, Event, Fact, Lab, NodeRef, Now, Policy, PowerRecord,
    PowerState, Request, Ticket, Verb, Witness,
};
use proto_mqtt::{
    Power, Text, Token,
    report::{BmcOutcome, Outcome, ResultBody, ResultState, Sent, WakeOutcome},
    version::V1,
};

use super::*;
use crate::inputs::reports::parse;

/// The 21st of November 2026, 14:02:10 UTC.
const ASKED: i64 = 1_795_269_730_000;
/// On the boot clock.
const UP_MS: u64 = 100_000_000;

/// Declarations, a store that takes everything, and relays that are heard and do what they are told.
struct Ring {
    lab: Lab,
    ms: u64,
    relays: Vec<&'static str>,
    events: Vec<Event>,
    statuses: BTreeMap<MachineId, NodeStatus>,
    beats: u64,
    tickets: u64,
    told: Vec<Fact>,
}

fn slept(at_ms: i64) -> MachineRecord {
    MachineRecord {
        power: PowerRecord {
            state: PowerState::Off,
            witness: Some(Witness::Silence),
            since_ms: at_ms,
        },
        proven_at_ms: Some(1_795_000_000_000),
        boots_s: vec![48, 52, 71, 60, 55],
        last_off_at_ms: Some(at_ms),
        ..MachineRecord::default()
    }
}

impl Ring {
    /// These machines, all asleep since 02:10, and these relays.
    fn of(machines: &[(&str, serde_json::Value)], relays: Vec<&'static str>) -> Self {
        let mut ring = Self {
            lab: Lab::new(7, Policy::default()),
            ms: UP_MS - 60_000,
            relays,
            events: Vec::new(),
            statuses: BTreeMap::new(),
            beats: 0,
            tickets: 0,
            told: Vec::new(),
        };
        let workers = group(json!({}));
        ring.told.push(Fact::GroupApplied(group_spec(&workers)));
        for (name, spec) in machines {
            let mut declared = node(spec.clone());
            declared.metadata.name = Some((*name).to_owned());
            let spec = machine_spec(&declared, Place::Cluster, None);
            let machine = spec.id.clone();
            let record = slept(ASKED - 11 * 3_600_000 - 52 * 60_000 - 10_000);
            ring.told.push(Fact::MachineApplied(spec));
            ring.told.push(Fact::MachineStored { machine, record });
            ring.told.push(agent(name, &[]));
        }
        ring.told.extend([
            Fact::Broker { up: true },
            Fact::Cluster { up: true },
            Fact::Loaded,
            Fact::Leading { epoch: 1 },
        ]);
        for relay in ring.relays.clone() {
            ring.told.push(agent(relay, &["default"]));
        }
        ring.run_until(UP_MS);
        ring
    }

    fn now(&self) -> Now {
        let since_asked = i64::try_from(self.ms).unwrap() - i64::try_from(UP_MS).unwrap();
        Now {
            boot_ms: self.ms,
            wall_ms: ASKED + since_asked,
        }
    }

    fn ask(&mut self, request: Request) {
        self.tickets += 1;
        self.told.push(Fact::Asked {
            ticket: Ticket(self.tickets),
            deadline_ms: self.ms + 5_000,
            request,
        });
        self.run_until(self.ms + 1_000);
    }

    fn increase(&mut self) {
        let looked = self.lab.view(self.now()).groups[&GroupId::new("lab/workers")].sequence;
        self.ask(Request::Increase {
            group: GroupId::new("lab/workers"),
            delta: 1,
            looked,
        });
    }

    fn run_until(&mut self, end_ms: u64) {
        loop {
            let now = self.now();
            for fact in std::mem::take(&mut self.told) {
                self.lab.observe(fact, now);
            }
            for action in self.lab.decide(now) {
                self.perform(action);
            }
            if !self.told.is_empty() {
                continue;
            }
            if self.ms >= end_ms {
                return;
            }
            let next_beat_ms = (self.ms / 10_000 + 1) * 10_000;
            let deadline_ms = self.lab.deadline().unwrap_or(u64::MAX).max(self.ms + 1);
            self.ms = next_beat_ms.min(deadline_ms).min(end_ms);
            if self.ms == next_beat_ms {
                for relay in self.relays.clone() {
                    self.beat(relay);
                }
            }
        }
    }

    fn beat(&mut self, relay: &str) {
        self.beats += 1;
        self.told.push(Fact::Beat(Beat {
            agent: AgentId::new(relay),
            boot_id: format!("boot of {relay}").into(),
            instance: "1".into(),
            challenge: self.beats.to_string(),
            up_ms: self.ms,
        }));
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Commit { group, record, .. } => {
                let sequence = record.sequence;
                self.told.push(Fact::Committed { group, sequence });
            }
            Action::Record {
                machine,
                version,
                record,
            } => {
                let status = self.statuses.entry(machine.clone()).or_default();
                store_machine(&record, status);
                self.told.push(Fact::Recorded { machine, version });
            }
            Action::Ping { agent } if self.relays.contains(&agent.as_str()) => {
                self.beat(agent.as_str());
            }
            Action::Send(command) if self.relays.contains(&command.agent.as_str()) => {
                self.told.extend(done(&command));
            }
            Action::Event(event) => self.events.push(event),
            Action::Ping { .. }
            | Action::Send(_)
            | Action::RecordAgent { .. }
            | Action::Answer { .. }
            | Action::Fence { .. }
            | Action::ListPods { .. }
            | Action::Evict { .. }
            | Action::PatchNode { .. }
            | Action::RetireNode { .. } => {}
        }
    }

    /// The latest Event for a reason.
    #[track_caller]
    fn event(&self, reason: &str) -> String {
        let latest = self
            .events
            .iter()
            .rev()
            .find(|event| event.reason == reason);
        latest.expect(reason).message.clone()
    }

    fn status(&mut self, name: &str) -> NodeStatus {
        let (id, now) = (MachineId::new(name), self.now());
        let view = self.lab.view(now);
        let mut status = self.statuses.get(&id).cloned().unwrap_or_default();
        let present = Present {
            generation: Some(1),
            now_ms: now.wall_ms,
        };
        describe_machine(&view.machines[&id], present, &mut status);
        status
    }

    #[track_caller]
    fn condition(&mut self, name: &str, type_: &str) -> String {
        let conditions = self.status(name).conditions;
        let found = statuses::condition(&conditions, type_).expect(type_);
        format!("{:?}: {}", found.status, found.message)
    }

    /// What `kubectl get hn` shows of a machine beside its name and since when.
    fn row(&mut self, name: &str) -> String {
        let mut shown = node(json!({"group": "workers"}));
        shown.status = Some(self.status(name));
        let shown = serde_json::to_value(shown).unwrap();
        let columns = crds::crds()[1].spec.versions[0]
            .additional_printer_columns
            .clone()
            .unwrap();
        let columns = columns.iter().filter(|column| column.type_ != "date");
        let cell = |path: &str| shown.pointer(&path.replace('.', "/")).cloned();
        let cells: Vec<String> = columns
            .map(|column| cell(&column.json_path).unwrap_or_default())
            .map(|cell| cell.as_str().unwrap_or_default().to_owned())
            .collect();
        cells.join("|")
    }
}

/// An agent with one armed card; one that relays for these segments.
fn agent(name: &str, segments: &[&str]) -> Fact {
    Fact::AgentInfo(
        AgentInfo {
            agent: AgentId::new(name),
            key: Some(format!("ed25519:{name}").into()),
            segments: segments.iter().map(|name| (*name).to_owned()).collect(),
            credentials: None,
            wake_armed: Some(["enp3s0".into()].into()),
            arch: None,
            macs: Vec::new(),
            high_water: Vec::new(),
        }
        .into(),
    )
}

/// What a relay says once it has done what it was told; machines stay off all the same.
fn done(command: &Command) -> Option<Fact> {
    let bmc = |changed| {
        Outcome::Redfish(BmcOutcome {
            power: Power::Off,
            word: Text::default(),
            changed,
        })
    };
    let out = match &command.verb {
        Verb::Wake(_) => Outcome::Wol(WakeOutcome {
            sent: vec![Sent {
                iface: "eth0".into(),
                to: vec![[192, 168, 1, 255].into(), [255; 4].into()],
            }],
            ports: vec![9, 7],
            packets: 3,
        }),
        Verb::RedfishOn(_) => bmc(true),
        Verb::RedfishStatus(_) => bmc(false),
        Verb::PowerOff | Verb::RedfishStop(_) | Verb::RedfishForceOff(_) => return None,
    };
    let body = ResultBody {
        v: V1,
        id: command.id.parse().unwrap(),
        token: Token {
            epoch: command.token.epoch,
            seq: command.token.seq.into(),
        },
        state: ResultState::Done,
        code: None,
        msg: Text::default(),
        boot: "6a1c2a3e-0000-4000-8000-000000000001".parse().unwrap(),
        inst: proto_mqtt::Instance(1),
        at_up_s: 600,
        out: Some(out),
    };
    parse::report(&command.agent, &body, true).map(Fact::Reported)
}

fn wol(mac: &str) -> serde_json::Value {
    json!({"group": "workers", "wakeOnLAN": {"mac": mac}})
}

#[test]
fn a_machine_that_does_not_wake_says_what_was_done_what_did_not_come_of_it_and_what_helps() {
    for (case, read, expected) in [unanswered(), left_out(), unreachable(), ignored()].concat() {
        assert_eq!(read, expected, "{case}");
    }
}

/// What it is about, what people read, what they should.
type Case = (&'static str, String, &'static str);

fn unanswered() -> Vec<Case> {
    let machines = [("nuc1", wol("1c:69:7a:0b:11:02"))];
    let mut ring = Ring::of(&machines, vec!["nas", "pi"]);
    ring.increase();
    ring.run_until(UP_MS + 150_000);
    let row = ring.row("nuc1");
    let unanswered = ring
        .events
        .iter()
        .find(|event| event.reason == "WakeUnanswered");
    let line = crate::outputs::tests::logged(|| crate::outputs::log(unanswered.unwrap()));
    vec![
        (
            "kubectl get hn",
            row,
            "workers|running|off?|Waking|WakeUnanswered",
        ),
        (
            "WakeSent",
            ring.event("WakeSent"),
            "3 magic packets left (eth0 to 192.168.1.255 and 255.255.255.255, ports 9,7) for 1c:69:7a:0b:11:02, from \
             relay pi, train 3; asked by cluster-autoscaler IncreaseSize(1) at 14:02:10 UTC.",
        ),
        (
            "WakeUnanswered",
            ring.event("WakeUnanswered"),
            "90 s after the first wake: no heartbeat, no kubelet from nuc1; train 5 was the latest, they continue each \
             20 s through relays nas, pi by turns, until 14:05:21 UTC.",
        ),
        (
            "log",
            line.trim().to_owned(),
            "WARN coordinator::outputs: lab event kind=\"Node\" name=\"nuc1\" reason=\"WakeUnanswered\" \
             op=\"01M7Z6M7PGPPZP124M4435MJP7\" detail=\"90 s after the first wake: no heartbeat, no kubelet from nuc1; train 5 was the latest, they continue each 20 s through \
             relays nas, pi by turns, until 14:05:21 UTC.\"",
        ),
    ]
}

/// It is given up, the autoscaler takes it back and asks for another one.
fn left_out() -> Vec<Case> {
    let machines = [
        ("nuc1", wol("1c:69:7a:0b:11:02")),
        ("nuc2", wol("1c:69:7a:0b:11:03")),
        ("nuc3", wol("1c:69:7a:0b:11:04")),
    ];
    let mut ring = Ring::of(&machines, vec!["pi"]);
    ring.increase();
    ring.run_until(UP_MS + 195_000);
    ring.ask(Request::Delete {
        group: GroupId::new("lab/workers"),
        nodes: vec![NodeRef {
            provider_id: String::new(),
            name: "nuc1".into(),
        }],
    });
    ring.increase();
    vec![
        (
            "BootTimeout",
            ring.event("BootTimeout"),
            "No sign of life in 3m11s after 10 wakes (last 5 boots: 48–71 s); cluster-autoscaler was told BOOT_TIMEOUT and \
             backs off group lab/workers for about 5 min.",
        ),
        (
            "kubectl get hn, later",
            ring.row("nuc1"),
            "workers|any|off?|Quarantined|BootTimeout: next try 14:10 UTC, nuc2 is being woken instead",
        ),
        (
            "WakeCapable",
            ring.condition("nuc1", "WakeCapable"),
            "False: Last proven 2026-11-18 with Wake-on g on enp3s0. If mains were cut since, the NIC is unarmed until one \
             boot: press the button, check BIOS ErP, then `homelabctl prove nuc1`.",
        ),
        (
            "Quarantined",
            ring.condition("nuc1", "Quarantined"),
            "True: No sign of life in 3m11s after 10 wakes (last 5 boots: 48–71 s); cluster-autoscaler was told \
             BOOT_TIMEOUT and backs off group lab/workers for about 5 min. Out of group lab/workers (maxSize 3 → 2) until \
             14:10 UTC or until seen running; retry now: `homelabctl power retry nuc1`.",
        ),
    ]
}

/// One relay is silent, the other one sleeps by our order.
fn unreachable() -> Vec<Case> {
    let relay =
        json!({"group": "workers", "agent": "nas", "wakeOnLAN": {"mac": "1c:69:7a:0b:11:05"}});
    let machines = [("nuc1", wol("1c:69:7a:0b:11:02")), ("store", relay)];
    let mut ring = Ring::of(&machines, vec!["pi"]);
    ring.told.push(agent("nas", &["default"]));
    ring.relays.clear();
    ring.run_until(UP_MS + 720_000);
    ring.increase();
    let expected = "Cannot wake nuc1: no awake relay on segment default (nas is off since 02:10:00 UTC; pi was last heard at \
                    14:02:10 UTC).";
    vec![("NoRelay", ring.event("NoRelay"), expected)]
}

fn ignored() -> Vec<Case> {
    let both = json!({"group": "workers", "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02"},
        "redfish": {"address": "https://10.0.9.20", "credentials": "r720"}});
    let mut ring = Ring::of(&[("r720", both)], vec!["pi"]);
    ring.increase();
    ring.run_until(UP_MS + 75_000);
    let expected = "BMC https://10.0.9.20 accepted On but still reports Off after 60 s; asking once more in 20 s, then by \
                    wakeOnLAN.";
    vec![("BMCIgnoredWake", ring.event("BMCIgnoredWake"), expected)]
}
