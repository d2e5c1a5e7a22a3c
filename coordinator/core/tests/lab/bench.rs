//! One machine with a kubelet, an agent and a BMC, brought to each step of its life and given one input.
//!
//! Holds: the store answers at once; everything else is answered only by what a case says.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator_core::{
    Action, AgentId, Ask, Beat, Command, Eviction, EvictionOutcome, Fact, GroupRecord, GroupSpec,
    Joins, Lab, MachineId, MachineRecord, MachineSpec, NodeSeen, NotSent, Now, OverridePower,
    PhaseName, PodSeen, PodStanding, Policy, PowerPolicy, PowerRead, Repeat, Report, ReportState,
    Request, Taint, Ticket, Timeouts, Verb,
};

use crate::cases::{Input, Start};
use crate::declare::{bmc, decrease, delete, group_id, group_spec, increase, pod, relay_info};

const BOOT_MS: u64 = 120_000;
const STOP_MS: u64 = 60_000;
const DRAIN_MS: u64 = 90_000;
const FENCE: &str = "homelab-autoscaler.dev/power-off";

pub(crate) struct Bench {
    lab: Lab,
    now_ms: u64,
    /// What the BMC answers, if it does.
    bmc: Option<PowerRead>,
    /// The boot that the machine runs, if it can be heard.
    boot: Option<u32>,
    node: Option<NodeSeen>,
    last: Option<Command>,
    words: Vec<&'static str>,
    group: GroupRecord,
    record: MachineRecord,
    asks: u64,
}

fn spec() -> MachineSpec {
    MachineSpec {
        joins: Joins::Kubelet,
        timeouts: Timeouts {
            boot_ms: BOOT_MS,
            stop_ms: STOP_MS,
            drain_ms: DRAIN_MS,
            off_hold_ms: 60_000,
        },
        ..bmc("r1")
    }
}

fn id() -> MachineId {
    MachineId::new("r1")
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            lab: Lab::new(7, Policy::default()),
            now_ms: 10_000_000,
            bmc: None,
            boot: None,
            node: None,
            last: None,
            words: Vec::new(),
            group: GroupRecord::default(),
            record: MachineRecord::default(),
            asks: 0,
        };
        bench.start();
        bench
    }

    fn start(&mut self) {
        self.lab = Lab::new(7, Policy::default());
        self.tell(Fact::GroupApplied(group_spec()));
        self.tell(Fact::MachineApplied(spec()));
        if self.group.sequence > 0 {
            let (group, record) = (group_id(), self.group.clone());
            self.tell(Fact::GroupStored { group, record });
        }
        let (machine, record) = (id(), self.record.clone());
        self.tell(Fact::MachineStored { machine, record });
        if let Some(node) = self.node.clone() {
            self.tell(Fact::NodeSeen(node));
        }
        self.tell(Fact::Broker { up: true });
        self.tell(Fact::Cluster { up: true });
        self.tell(Fact::Loaded);
        self.tell(Fact::Leading { epoch: 1 });
        self.tell(Fact::AgentInfo(relay_info("pi").into()));
        self.beat();
        self.settle();
    }

    /// The machine at a step of its life.
    pub(crate) fn at(start: Start) -> Self {
        let mut bench = Self::new();
        match start {
            Start::Unknown => {}
            Start::Off => {
                bench.bmc = Some(PowerRead::Off);
                bench.pass(70_000);
            }
            Start::Waking => {
                bench = Self::at(Start::Off);
                bench.ask(increase(1, bench.group.sequence));
            }
            Start::WakeFailed => {
                bench = Self::at(Start::Waking);
                bench.pass(BOOT_MS + 1_000);
            }
            Start::Running => {
                bench = Self::at(Start::Waking);
                bench.pass(20_000);
                bench.bmc = Some(PowerRead::On);
                bench.appear(1);
                bench.pass(30_000);
            }
            Start::Silent => {
                bench = Self::at(Start::Running);
                (bench.boot, bench.bmc) = (None, None);
                bench.pass(90_000);
            }
            Start::Appearing => {
                bench = Self::at(Start::Waking);
                bench.person(held(OverridePower::Off));
            }
            Start::Fencing => {
                bench = Self::at(Start::Running);
                bench.person(held(OverridePower::Off));
            }
            Start::Listing => {
                bench = Self::at(Start::Fencing);
                bench.apply(Input::Fenced);
                bench.pass(6_000);
            }
            Start::ListingAgain => {
                bench = Self::at(Start::Listing);
                bench.apply(Input::PodsGone);
            }
            Start::Evicting => {
                bench = Self::at(Start::Listing);
                bench.apply(Input::PodsLeft);
            }
            Start::Draining => {
                bench = Self::at(Start::Evicting);
                bench.apply(Input::Withheld);
            }
            Start::HeldByPods => {
                bench = Self::at(Start::Listing);
                bench.apply(Input::PodsBare);
            }
            Start::Ordered => {
                bench = Self::at(Start::ListingAgain);
                bench.apply(Input::PodsGone);
            }
            Start::GoingDown => {
                bench = Self::at(Start::Ordered);
                bench.apply(Input::Running);
            }
        }
        bench
    }

    /// What becomes of the machine by one input: phase, reason, and what is done that is more than reading and storing.
    pub(crate) fn outcome_of(&mut self, input: Input) -> String {
        self.words.clear();
        self.apply(input);
        let view = self.lab.view(self.now());
        let Some(machine) = view.machines.get(&id()) else {
            return "not declared".into();
        };
        self.words.dedup();
        format!("{:?} {} {:?}", machine.phase, machine.why, self.words).replace('"', "")
    }

    pub(crate) fn phase(&mut self) -> PhaseName {
        self.lab.view(self.now()).machines[&id()].phase
    }

    fn apply(&mut self, input: Input) {
        match input {
            Input::Heard => self.appear(self.boot.map_or(1, |boot| boot + 1)),
            Input::Silence => (self.boot, self.bmc) = (None, None),
            Input::BmcOn => self.bmc = Some(PowerRead::On),
            Input::BmcOff => (self.boot, self.bmc) = (None, Some(PowerRead::Off)),
            Input::BmcOther => self.bmc = Some(PowerRead::Other),
            Input::Increase => self.ask(increase(1, self.group.sequence)),
            Input::Delete => self.ask(delete(&["r1"])),
            Input::Decrease => self.ask(decrease(-1)),
            Input::AskOn => self.person(held(OverridePower::Running)),
            Input::AskOff => self.person(held(OverridePower::Off)),
            Input::Release => self.person(Ask::Release),
            Input::Retry => self.person(Ask::Retry),
            Input::ConfirmOff => self.person(Ask::ConfirmOff),
            Input::Prove => self.person(Ask::Prove),
            Input::AlwaysOn => self.declare(PowerPolicy::AlwaysOn),
            Input::AlwaysOff => self.declare(PowerPolicy::AlwaysOff),
            Input::Unmanage => self.declare(PowerPolicy::Unmanaged),
            Input::Pause => self.tell(Fact::GroupApplied(GroupSpec {
                paused: true,
                ..group_spec()
            })),
            Input::Accepted => self.report(ReportState::Accepted),
            Input::Running => self.report(ReportState::Running),
            Input::Done => self.report(ReportState::Done),
            Input::Refused => self.report(ReportState::Refused),
            Input::Failed => self.report(ReportState::Failed),
            Input::Interrupted => self.report(ReportState::Interrupted),
            Input::Unheard => self.unheard(),
            Input::Fenced => self.fenced(),
            Input::FenceFailed => self.tell(Fact::Fenced {
                machine: id(),
                outcome: Err("timeout".into()),
            }),
            Input::PodsGone => self.pods(Ok(Vec::new())),
            Input::PodsLeft => self.pods(Ok(vec![pod("late", PodStanding::Controlled)])),
            Input::PodsBare => self.pods(Ok(vec![pod("late", PodStanding::Bare)])),
            Input::Evicted => self.evicted(EvictionOutcome::Accepted),
            Input::Withheld => self.evicted(EvictionOutcome::Withheld {
                budget: "late needs 1 healthy pod".into(),
                retry_after_ms: None,
            }),
            Input::PodsUnknown => self.pods(Err("timeout".into())),
            Input::NodeGone => {
                self.node = None;
                self.tell(Fact::NodeGone { name: "r1".into() });
            }
            Input::TimeUp => self.pass(BOOT_MS),
            Input::Restart => self.start(),
            Input::DeclareAnew => {
                self.tell(Fact::MachineRemoved(id()));
                self.settle();
                self.tell(Fact::MachineApplied(spec()));
            }
            Input::GroupRemoved => self.tell(Fact::GroupRemoved(group_id())),
            Input::Following => self.tell(Fact::Following),
        }
        self.settle();
        self.pass(input.counts_after_ms());
    }

    fn now(&self) -> Now {
        Now {
            boot_ms: self.now_ms,
            wall_ms: 1_763_700_000_000 + i64::try_from(self.now_ms).expect("small"),
        }
    }

    fn tell(&mut self, fact: Fact) {
        let now = self.now();
        self.lab.observe(fact, now);
    }

    fn declare(&mut self, power: PowerPolicy) {
        self.tell(Fact::MachineApplied(MachineSpec { power, ..spec() }));
    }

    fn ask(&mut self, request: Request) {
        self.asks += 1;
        let fact = Fact::Asked {
            ticket: Ticket(self.asks),
            deadline_ms: self.now_ms + 5_000,
            request,
        };
        self.tell(fact);
        self.settle();
    }

    fn person(&mut self, ask: Ask) {
        self.ask(Request::Ask {
            machine: id(),
            id: format!("ask-{}", self.asks),
            ask,
            by: "user ann".into(),
        });
    }

    /// The machine runs a boot and is heard.
    fn appear(&mut self, boot: u32) {
        self.boot = Some(boot);
        let mut node = self.node.take().unwrap_or_else(|| NodeSeen {
            name: "r1".into(),
            uid: "uid-1".into(),
            capacity: BTreeMap::from([("cpu".into(), "4".into())]).into(),
            ..NodeSeen::default()
        });
        (node.ready, node.boot_id) = (true, format!("boot-{boot}"));
        self.see(node);
        self.beat();
    }

    fn see(&mut self, node: NodeSeen) {
        self.node = Some(node.clone());
        self.tell(Fact::NodeSeen(node));
    }

    fn fenced(&mut self) {
        if let Some(mut node) = self.node.clone() {
            node.unschedulable = true;
            node.taints = vec![Taint {
                key: FENCE.into(),
                value: String::new(),
                effect: "NoSchedule".into(),
            }];
            self.see(node);
        }
        let (machine, outcome) = (id(), Ok(()));
        self.tell(Fact::Fenced { machine, outcome });
    }

    fn pods(&mut self, outcome: Result<Vec<PodSeen>, String>) {
        let machine = id();
        self.tell(Fact::PodsListed { machine, outcome });
    }

    fn evicted(&mut self, outcome: EvictionOutcome) {
        let pod = pod("late", PodStanding::Controlled).pod;
        let (machine, pods) = (id(), vec![Eviction { pod, outcome }]);
        self.tell(Fact::Evicted { machine, pods });
    }

    fn unheard(&mut self) {
        if let Some(last) = self.last.clone() {
            let (agent, command) = (last.agent, last.id);
            let why = NotSent::NobodyListens;
            self.tell(Fact::NotSent {
                agent,
                command,
                why,
            });
        }
    }

    /// Whoever was told last reports.
    fn report(&mut self, state: ReportState) {
        if let Some(last) = self.last.clone() {
            self.result(&last, state, None);
        }
    }

    fn result(&mut self, command: &Command, state: ReportState, read: Option<PowerRead>) {
        self.tell(Fact::Reported(Report {
            agent: command.agent.clone(),
            command: command.id.clone(),
            state,
            code: String::new(),
            message: String::new(),
            repeat: Repeat::MayHelp,
            read,
            trusted: true,
        }));
    }

    fn beat(&mut self) {
        let own = self.boot.map(|boot| ("r1", format!("boot-{boot}")));
        for (agent, boot_id) in own.into_iter().chain([("pi", "pi-boot".to_owned())]) {
            self.tell(Fact::Beat(Beat {
                agent: AgentId::new(agent),
                boot_id: boot_id.as_str().into(),
                instance: boot_id,
                challenge: format!("{agent}-{}", self.now_ms),
                up_ms: 1_000,
            }));
        }
        if self.boot.is_some() && self.node.is_some() {
            self.tell(Fact::LeaseRenewed { name: "r1".into() });
        }
    }

    fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.now_ms < end_ms {
            let step_ms = 1_000.min(end_ms - self.now_ms);
            self.now_ms += step_ms;
            if self.now_ms.is_multiple_of(5_000) {
                self.beat();
            }
            self.settle();
        }
    }

    fn settle(&mut self) {
        loop {
            let actions = self.lab.decide(self.now());
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.perform(action);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Commit { group, record, .. } => {
                let sequence = record.sequence;
                self.group = record;
                self.tell(Fact::Committed { group, sequence });
            }
            Action::Record {
                machine,
                version,
                record,
            } => {
                self.record = *record;
                self.tell(Fact::Recorded { machine, version });
            }
            Action::Send(command) => self.sent(command),
            Action::Fence { .. } => self.words.push("Fence"),
            Action::ListPods { .. } => self.words.push("ListPods"),
            Action::Evict { .. } => self.words.push("Evict"),
            Action::RetireNode { .. } => self.words.push("RetireNode"),
            Action::PatchNode { machine, patch } => {
                self.words.push("PatchNode");
                if let Some(mut node) = self.node.clone() {
                    node.provider_id = patch.provider_id.unwrap_or(node.provider_id);
                    Arc::make_mut(&mut node.labels).extend(patch.labels);
                    node.taints = patch.taints.map_or(node.taints, |taints| taints.to);
                    node.unschedulable = patch.unschedulable.unwrap_or(node.unschedulable);
                    self.see(node);
                }
                let outcome = Ok(());
                self.tell(Fact::NodeDone { machine, outcome });
            }
            Action::Ping { .. } => self.beat(),
            Action::RecordAgent { .. } | Action::Answer { .. } | Action::Event(_) => {}
        }
    }

    fn sent(&mut self, command: Command) {
        let word = match &command.verb {
            Verb::PowerOff => "PowerOff",
            Verb::Wake(_) => "Wake",
            Verb::RedfishOn(_) => "RedfishOn",
            Verb::RedfishStop(_) => "RedfishStop",
            Verb::RedfishForceOff(_) => "RedfishForceOff",
            Verb::RedfishStatus(_) => {
                if let Some(read) = self.bmc {
                    self.result(&command, ReportState::Done, Some(read));
                }
                return;
            }
        };
        self.words.push(word);
        self.last = Some(command);
    }
}

/// A person's order that stands until it is taken back.
fn held(power: OverridePower) -> Ask {
    Ask::Power {
        power,
        until_ms: None,
    }
}
