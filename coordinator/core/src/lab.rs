//! Everything the coordinator knows of, and the loop that turns facts into actions.
//!
//! In: [`Fact`]s. Out: [`Action`]s, the next deadline, a [`View`].
//! Holds: `decide` is level-triggered: it may run any number of times and does only what is still to be done.
//! Holds: before stored state is loaded, and without leadership, nothing is decided.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::actions::{Action, Answer, Rejected, RejectedKind};
use crate::agents::Agents;
use crate::awaited::AwaitedRecord;
use crate::facts::{Fact, NodeSeen, Request};
use crate::groups::{Caller, Group};
use crate::ids::{AgentId, CommandId, GroupId, MachineId, Mint, Now, Ticket};
use crate::machine::Machine;
use crate::names::Names;
use crate::policy::{AutoscalerVersion, Policy};
use crate::record::{GroupRecord, MachineRecord};
use crate::removal::Removal;
use crate::routine::{self, Came, Since};
use crate::spec::Joins;
use crate::view::View;
use crate::volumes::LocalVolumes;
use crate::{choice, concerns, groups, lifecycle, observing, present, removal, requests};

/// The decision core.
#[derive(Debug)]
pub struct Lab {
    pub(crate) policy: Arc<Policy>,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// Boxed: a map keeps half of its places free, and a machine is large.
    pub(crate) machines: BTreeMap<MachineId, Box<Machine>>,
    pub(crate) names: Names,
    pub(crate) agents: Agents,
    /// Stored state whose declaration has not been seen (yet).
    pub(crate) orphan_groups: BTreeMap<GroupId, GroupRecord>,
    pub(crate) orphan_machines: BTreeMap<MachineId, MachineRecord>,
    /// Core Nodes of no declared machine, by name: one that is declared later must not be taken for one without a Node.
    pub(crate) orphan_nodes: BTreeMap<String, NodeSeen>,
    /// `None` until somebody has looked for them.
    pub(crate) local_volumes: Option<Arc<LocalVolumes>>,
    pub(crate) removals: Vec<Removal>,
    pub(crate) links: Links,
    /// The version that the cluster-autoscaler's latest call told.
    pub(crate) autoscaler: Option<AutoscalerVersion>,
    pub(crate) loaded: bool,
    pub(crate) epoch: Option<u32>,
    pub(crate) commands: BTreeMap<CommandId, Sent>,
    /// When a machine was sent its first wake last.
    pub(crate) last_wake_ms: Option<u64>,
    /// How often a machine was declared anew; keeps record versions of different declarations apart.
    pub(crate) declarations: u64,
    /// The boot clock of the latest call.
    pub(crate) now_ms: u64,
    pub(crate) asked: VecDeque<Asked>,
    /// People who wait until their wish for a machine is stored.
    pub(crate) recording: Vec<(Caller, AwaitedRecord)>,
    mint: Mint,
    pending: Vec<Action>,
    next: Option<u64>,
    since_decided: Since,
    decided_ms: u64,
    came: Came,
    /// The last snapshot, and whether it still shows everything.
    pub(crate) view: Arc<View>,
    view_is_current: bool,
}

/// A request that came in since the last decision.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) caller: Caller,
    pub(crate) request: Request,
}

/// What a command was about, and who was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) machine: MachineId,
    /// Only this agent may report on it.
    pub(crate) executor: AgentId,
}

/// Who has been listening, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Links {
    pub(crate) broker_ms: Option<u64>,
    pub(crate) cluster_ms: Option<u64>,
}

impl Links {
    /// Since when silence of such a machine means something; `None` while a listener is away.
    pub(crate) fn listening_since(self, joins: Joins) -> Option<u64> {
        match joins {
            Joins::Agent => self.broker_ms,
            Joins::Kubelet => Some(self.broker_ms?.max(self.cluster_ms?)),
        }
    }
}

/// What every decision needs at hand.
pub(crate) struct Ctx<'a> {
    pub(crate) now: Now,
    pub(crate) policy: &'a Policy,
    pub(crate) epoch: u32,
    pub(crate) mint: &'a mut Mint,
    pub(crate) commands: &'a mut BTreeMap<CommandId, Sent>,
    pub(crate) out: &'a mut Vec<Action>,
    next: &'a mut Option<u64>,
}

impl Ctx<'_> {
    /// Whether a time on the boot clock has come; if not, the core asks to be called then.
    pub(crate) fn due(&mut self, at_ms: u64) -> bool {
        if self.now.boot_ms >= at_ms {
            return true;
        }
        self.at(at_ms);
        false
    }

    /// Asks to be called at a time on the boot clock.
    pub(crate) fn at(&mut self, at_ms: u64) {
        *self.next = Some(self.next.map_or(at_ms, |next| next.min(at_ms)));
    }

    /// Milliseconds from now to a time on the wall clock; 0 once it has come.
    pub(crate) fn until_wall(&self, wall_ms: i64) -> u64 {
        u64::try_from(wall_ms.saturating_sub(self.now.wall_ms)).unwrap_or(0)
    }

    /// A time on the wall clock, on the boot clock; now, once it has come.
    pub(crate) fn on_boot_clock(&self, wall_ms: i64) -> u64 {
        self.now.boot_ms.saturating_add(self.until_wall(wall_ms))
    }

    /// Answers a waiting caller.
    pub(crate) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.out.push(Action::Answer { ticket, answer });
    }

    /// Tells a waiting caller why nothing changed.
    pub(crate) fn reject(
        &mut self,
        ticket: Ticket,
        kind: RejectedKind,
        message: impl Into<String>,
    ) {
        self.answer(
            ticket,
            Answer::Rejected(Rejected {
                kind,
                message: message.into(),
            }),
        );
    }
}

impl Lab {
    /// An empty lab. `seed` makes ids unique among installations.
    #[must_use]
    pub fn new(seed: u64, policy: Policy) -> Self {
        Self {
            policy: Arc::new(policy),
            groups: BTreeMap::new(),
            machines: BTreeMap::new(),
            names: Names::default(),
            agents: Agents::default(),
            orphan_groups: BTreeMap::new(),
            orphan_machines: BTreeMap::new(),
            orphan_nodes: BTreeMap::new(),
            local_volumes: None,
            removals: Vec::new(),
            links: Links::default(),
            autoscaler: None,
            loaded: false,
            epoch: None,
            commands: BTreeMap::new(),
            last_wake_ms: None,
            declarations: 0,
            now_ms: 0,
            asked: VecDeque::new(),
            recording: Vec::new(),
            mint: Mint::new(seed, 0),
            pending: Vec::new(),
            next: None,
            since_decided: Since::Nothing,
            decided_ms: 0,
            came: Came::ToSomething,
            view: Arc::default(),
            view_is_current: false,
        }
    }

    /// Takes in one fact. Cheap: decisions come with [`Lab::decide`].
    pub fn observe(&mut self, fact: Fact, now: Now) {
        let routine = routine::is_routine(self, &fact, now.boot_ms);
        self.since_decided = self.since_decided.and(routine);
        self.view_is_current &= routine;
        self.with(now, |lab, ctx| observing::observe(lab, fact, ctx));
    }

    /// Everything there is to do now. While only expected signs of life have come in, that is looked at now and then.
    #[must_use]
    pub fn decide(&mut self, now: Now) -> Vec<Action> {
        if self.since_decided == Since::Routine
            && self.deadline().is_some_and(|at| now.boot_ms < at)
        {
            return Vec::new();
        }
        let since = core::mem::replace(&mut self.since_decided, Since::Nothing);
        self.decided_ms = now.boot_ms;
        self.view_is_current = false;
        self.next = None;
        if self.serving() {
            self.with(now, |lab, ctx| {
                requests::take(lab, ctx);
                requests::answer_recorded(lab, ctx);
                lifecycle::run(lab, ctx);
                removal::run(lab, ctx);
                choice::keep_sizes(lab, ctx);
                groups::run(lab, ctx);
                concerns::run(lab, ctx);
                for machine in lab.machines.values_mut() {
                    machine.flush(ctx);
                }
            });
        } else {
            self.with(now, |lab, ctx| {
                for asked in lab.take_asked() {
                    ctx.reject(
                        asked.caller.ticket,
                        RejectedKind::Unavailable,
                        alloc::format!("not serving: waiting for {}", lab.waiting_for()),
                    );
                }
            });
        }
        let actions = core::mem::take(&mut self.pending);
        self.came = match since {
            Since::Nothing | Since::Routine if actions.is_empty() => Came::ToNothing,
            Since::Nothing | Since::Routine | Since::News => Came::ToSomething,
        };
        actions
    }

    /// When to call [`Lab::decide`] again even if no fact comes; boot clock, milliseconds.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        match self.since_decided {
            Since::Nothing | Since::News => self.next,
            Since::Routine => {
                let patience_ends = self.decided_ms.saturating_add(self.came.patience_ms());
                Some(self.next.map_or(patience_ends, |at| at.min(patience_ends)))
            }
        }
    }

    /// A snapshot for every reader.
    #[must_use]
    pub fn view(&mut self, now: Now) -> Arc<View> {
        if !self.view_is_current {
            self.view = Arc::new(self.with(now, |lab, ctx| present::view(lab, ctx)));
            self.view_is_current = true;
        }
        Arc::clone(&self.view)
    }

    pub(crate) fn serving(&self) -> bool {
        self.loaded && self.epoch.is_some()
    }

    pub(crate) fn waiting_for(&self) -> &'static str {
        match (self.loaded, self.epoch) {
            (false, _) => "the stored state",
            (true, None) => "the leader's Lease",
            (true, Some(_)) => "",
        }
    }

    pub(crate) fn take_asked(&mut self) -> VecDeque<Asked> {
        core::mem::take(&mut self.asked)
    }

    /// Runs `f` with a context whose parts are lent out of the lab for the time being.
    fn with<T>(&mut self, now: Now, f: impl FnOnce(&mut Self, &mut Ctx<'_>) -> T) -> T {
        self.now_ms = now.boot_ms;
        let policy = Arc::clone(&self.policy);
        let mut mint = self.mint.clone();
        let mut commands = core::mem::take(&mut self.commands);
        let mut out = core::mem::take(&mut self.pending);
        let mut next = self.next;
        let mut ctx = Ctx {
            now,
            policy: &policy,
            epoch: self.epoch.unwrap_or(0),
            mint: &mut mint,
            commands: &mut commands,
            out: &mut out,
            next: &mut next,
        };
        let result = f(self, &mut ctx);
        self.mint = mint;
        self.commands = commands;
        self.pending = out;
        self.next = next;
        result
    }
}
