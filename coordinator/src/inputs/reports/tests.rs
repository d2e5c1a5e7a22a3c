//! Messages as agents send them, and as they never should: which facts come out.

use std::sync::Mutex;

use coordinator_core::{
    Action, AgentId, AgentState, AgentView, MachineId, MachineView, Now, PowerRead, Report,
    ReportState, Token, View,
};
use proto_mqtt::key::{RESULT_KID, Signer};
use proto_mqtt::report::{
    AgentState as WireState, BmcOutcome, Code, Hardware, Health, Heartbeat, HeartbeatState,
    HostNic, HostOutcome, Inventory, LastResults, Nic, Outcome, Policy, ResultBody, ResultState,
    Segment, Sent, Status, StatusReason, WakeFlag, WakeOutcome,
};
use proto_mqtt::{Challenge, Envelope, Instance, Mac, Power, Purpose, Ulid};

use super::reader::MOST_STRANGERS;
use super::*;
use crate::documents::tests::statuses::machine_view;
use crate::engine::{self, Core};
use crate::outputs::Outputs;

const RES: &str = "hla/v1/a/pi/res";
const BOOT: &str = "7bbd3f2e-6f0e-4a1a-8d3e-3a1f7f6f4a11";

#[cfg(feature = "embedded-broker")]
mod connection;
mod messages;
mod unreadable;

/// Writes facts down, and shows one agent whose key is pinned, and machines.
struct Recorder {
    machines: usize,
    facts: Arc<Mutex<Vec<Fact>>>,
    serving: bool,
}

impl Core for Recorder {
    fn observe(&mut self, fact: Fact, _now: Now) {
        if let Fact::Leading { .. } = fact {
            self.serving = true;
        }
        self.facts.lock().unwrap().push(fact);
    }

    fn decide(&mut self, _now: Now) -> Vec<Action> {
        Vec::new()
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn view(&mut self, _now: Now) -> Arc<View> {
        let agent = AgentView {
            key: Some(signer().public_key().to_string().into()),
            live: true,
            info: None,
            boot_id: None,
        };
        let up = |fact: &Fact| {
            if let Fact::Broker { up } = fact {
                Some(*up)
            } else {
                None
            }
        };
        let mut view = View {
            serving: self.serving,
            broker_up: self
                .facts
                .lock()
                .unwrap()
                .iter()
                .rev()
                .find_map(up)
                .unwrap_or(false),
            ..View::default()
        };
        view.agents.insert(AgentId::new("pi"), Arc::new(agent));
        for number in 0..self.machines {
            let id = MachineId::new(&format!("m{number}"));
            // The first machine's agent bears its name, the others' do not.
            let agent = match number {
                0 => AgentId::new("m0"),
                other => AgentId::new(&format!("agent-of-m{other}")),
            };
            let machine = MachineView {
                agent,
                ..machine_view()
            };
            view.machines.insert(id, Arc::new(machine));
        }
        Arc::new(view)
    }
}

struct Nowhere;

impl Outputs for Nowhere {
    fn perform(&mut self, _action: Action) {}
}

struct Bench {
    engine: Handle,
    facts: Arc<Mutex<Vec<Fact>>>,
    reader: Reader,
    readings: Readings,
}

impl Bench {
    async fn new() -> Self {
        Self::among(0).await
    }

    async fn among(machines: usize) -> Self {
        let (engine, seat) = engine::open(crate::mandate::Mandate::standing());
        let facts = Arc::default();
        let core = Recorder {
            machines,
            facts: Arc::clone(&facts),
            serving: false,
        };
        tokio::spawn(seat.take(core, Nowhere).run());
        engine
            .view
            .clone()
            .wait_for(|view| !view.agents.is_empty())
            .await
            .unwrap();
        let readings = Readings::default();
        let reader = Reader::new(engine.clone(), Metrics::unregistered(), readings.clone());
        Self {
            engine,
            facts,
            reader,
            readings,
        }
    }

    /// The facts that one message gives.
    async fn facts_of(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
        retain: bool,
    ) -> Vec<Fact> {
        self.facts.lock().unwrap().clear();
        self.reader.read(topic, payload.as_ref(), retain).await;
        // The queue keeps its order: once this mark is there, so is everything before it.
        self.engine.facts.tell(Fact::Loaded).await;
        let mut seen = self.facts.lock().unwrap().clone();
        while seen.pop_if(|fact| *fact == Fact::Loaded).is_none() {
            tokio::task::yield_now().await;
            seen = self.facts.lock().unwrap().clone();
        }
        seen
    }
}

fn signer() -> Signer {
    Signer::from_seed(RESULT_KID, &[9; 32])
}

fn agent() -> AgentId {
    AgentId::new("pi")
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        v: V1,
        boot: BOOT.parse().unwrap(),
        inst: Instance(0xc0ffee),
        conn: 1,
        n: 7,
        chal: Challenge([1; 16]),
        up_s: 600,
        st: HeartbeatState::Ok,
        op: None,
    }
}

fn status(state: WireState, seq: u64) -> Status {
    Status {
        v: V1,
        state,
        reason: StatusReason::Start,
        boot: BOOT.parse().unwrap(),
        inst: Instance(0xc0ffee),
        conn: 1,
        agent: "0.1.0".into(),
        proto: vec![1],
        trust_version: 1,
        hwm: proto_mqtt::Token { epoch: 2, seq },
        op: None,
        policy: Policy::default(),
        marks: std::collections::BTreeMap::new(),
    }
}

fn nic(last: u8, wol: WakeFlag) -> Nic {
    Nic {
        name: format!("eth{last}").as_str().into(),
        mac: Mac([2, 0, 0, 0, 0, last]),
        wol,
        up: true,
    }
}

fn inventory() -> Inventory {
    Inventory {
        v: V1,
        hostname: "pi".into(),
        machine: "0123".into(),
        hw: Hardware::default(),
        nics: vec![nic(1, WakeFlag::Unarmed), nic(2, WakeFlag::Armed)],
        os: "Debian".into(),
        kernel: "6.1".into(),
        arch: "aarch64".into(),
        caps: vec!["wol".into()],
        segments: vec![Segment {
            name: "default".into(),
            iface: "eth0".into(),
        }],
        l2: None,
        credentials: None,
        key: signer().public_key(),
    }
}

fn result(state: ResultState) -> ResultBody {
    ResultBody {
        v: V1,
        id: Ulid::from_bits(5),
        token: proto_mqtt::Token { epoch: 2, seq: 4 },
        state,
        code: None,
        msg: Text::default(),
        boot: BOOT.parse().unwrap(),
        inst: Instance(0xc0ffee),
        at_up_s: 601,
        out: None,
    }
}

fn sealed(signer: &Signer, topic: &str, body: &ResultBody) -> Vec<u8> {
    Envelope::seal(signer, Purpose::Result, topic, body.encode_text()).encode()
}

fn only_report(facts: &[Fact]) -> &Report {
    match facts {
        [Fact::Reported(report)] => report,
        other => panic!("{other:?}"),
    }
}
