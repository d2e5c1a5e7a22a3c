//! Waking a machine: which command goes out next, by whom, and when it has failed.
//!
//! In: a machine in phase Waking. Out: wake commands, each 20 s until it is seen, and the verdict as soon as it is certain.
//! Holds: nothing is sent before the operation is stored; a sent packet is no evidence of anything.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

mod answers;
mod failure;
mod limit;

pub(crate) use answers::{not_sent, reported};
use failure::fail;
pub(crate) use failure::{WakeFailed, WakeFailure, forgive};

use crate::actions::{Severity, Verb};
use crate::agents::Agents;
use crate::concerns;
use crate::ids::{AgentId, CommandId};
use crate::lab::{Ctx, Links};
use crate::machine::{Executor, Machine, Phase, Presence};
use crate::record::{OperationKind, Outage};
use crate::seen::BmcReading;
use crate::spec::WakeMethod;
use crate::telling;
use crate::trace::Trace;
use crate::why::Why;

/// A BMC that accepted On and says Off for longer than this has not obeyed.
const BMC_SHOWS_MS: u64 = 60_000;

/// A wake under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waking {
    /// The record version that must be stored before anything is sent.
    pub(crate) gate: u64,
    /// Not before this, on the boot clock.
    pub(crate) next_ms: u64,
    /// Wakes sent so far.
    pub(crate) sends: u32,
    /// When the first one was sent.
    pub(crate) first_sent_ms: Option<u64>,
    /// When the first one that has not been refused, and did not fail, was sent.
    left_ms: Option<u64>,
    /// When the last one was sent.
    last_sent_ms: Option<u64>,
    /// It goes on from before a restart, and a wake may have left by then.
    resumed: bool,
    /// When it was ordered, also before a restart: a younger boot is our doing.
    ordered_ms: u64,
    /// Started at.
    pub(crate) started_ms: u64,
    /// Its turn to be woken came then; the boot timeout runs from here while no command could be sent.
    turn_ms: Option<u64>,
    /// Since when nobody listens for its signs of life.
    blind_since_ms: Option<u64>,
    /// For how long nobody did before: the boot timeout stands still then.
    pub(crate) blind_ms: u64,
    /// The latest command.
    pub(crate) last: Option<CommandId>,
    /// Commands that were refused or failed.
    pub(crate) failures: u32,
    /// What the last failure said.
    pub(crate) failed_with: Option<String>,
    /// There was no core Node when it was ordered: a kubelet that shows up has started since.
    node_absent: bool,
    /// By which method the latest command went.
    method: Option<WakeMethod>,
    /// Ways by which wakes have left, each told once.
    told_sent: Vec<(AgentId, WakeMethod)>,
    /// Since when its BMC has said yes.
    accepted_ms: Option<u64>,
    /// Its agent or its kubelet has been heard since.
    pub(crate) heard: bool,
    /// Ways that are no use before a person has changed something: they are not tried again.
    barred: Vec<(AgentId, WakeMethod)>,
    /// Since when there is nobody to be asked.
    pub(crate) nobody_since_ms: Option<u64>,
    told_ignored_ms: Option<u64>,
    told_unanswered: bool,
    told_no_relay: bool,
}

impl Waking {
    /// A wake is on its way. Once people know that nothing is heard, that stays the reason: one more train is no news.
    fn explain_sent(&self, machine: &mut Machine, message: String) {
        if !self.told_unanswered {
            machine.explain(Why::WakeSent, message);
        }
    }

    fn is_barred(&self, relay: &AgentId, method: WakeMethod) -> bool {
        let is_it = |way: &(AgentId, WakeMethod)| way.0 == *relay && way.1 == method;
        self.barred.iter().any(is_it)
    }

    /// What to remember of it.
    pub(crate) fn trace(&self) -> Trace {
        // What was sent before a restart is not known: the order itself is the earliest that it can have been.
        let left_ms = self.left_ms.filter(|_| !self.resumed);
        let first_ms = left_ms.unwrap_or(self.ordered_ms);
        Trace {
            first_ms,
            last_ms: self.last_sent_ms.unwrap_or(first_ms),
            node_absent: self.node_absent,
        }
    }

    /// Whether a packet may have reached the machine.
    pub(crate) fn effect_possible(&self) -> bool {
        self.sends > 0 || self.resumed
    }

    /// Whether somebody has listened from its first wake on: only then is it known how long it took.
    pub(crate) fn was_watched(&self) -> bool {
        !self.resumed && self.blind_ms == 0 && self.blind_since_ms.is_none()
    }

    /// Whether a wake has left as far as anybody knows: only such a one can prove anything.
    pub(crate) fn has_left(&self) -> bool {
        self.left_ms.is_some() || self.resumed
    }
}

/// Puts a machine into phase Waking.
pub(crate) fn start(machine: &mut Machine, agents: &Agents, by: &str, ctx: &mut Ctx<'_>) {
    let floor = agents.high_water(machine.id(), &machine.spec.agent);
    machine.begin(OperationKind::Wake, by.to_string(), floor, ctx);
    // With a relay at hand one write says both that it is to be woken and that a wake may leave.
    if next_step(machine, &Waking::default(), agents, ctx).is_some() {
        machine.order_may_leave(ctx);
    }
    let message = enter(machine, machine.pending_version(), by, ctx);
    machine.event(Severity::Normal, "Waking", message, ctx);
}

/// Goes on with a wake that was stored before a restart.
pub(crate) fn resume(machine: &mut Machine, ctx: &Ctx<'_>) {
    let Some(operation) = machine.record.operation.clone() else {
        return;
    };
    enter(machine, 0, &operation.by, ctx);
    if let Phase::Waking(waking) = &mut machine.phase {
        // Nodes are seen later than stored state: their absence shows nothing yet.
        waking.node_absent = false;
        // What was sent before the restart may have had its effect since: a boot after that is our doing.
        if let Some(ordered_at_ms) = operation.ordered_at_ms {
            let age_ms = ctx.now.wall_ms.saturating_sub(ordered_at_ms);
            let age_ms = u64::try_from(age_ms).unwrap_or(0);
            waking.resumed = true;
            waking.ordered_ms = ctx.now.boot_ms.saturating_sub(age_ms);
        }
    }
}

/// Returns what people are told.
fn enter(machine: &mut Machine, gate: u64, by: &str, ctx: &Ctx<'_>) -> String {
    let waking = Waking {
        gate,
        next_ms: ctx.now.boot_ms,
        started_ms: ctx.now.boot_ms,
        ordered_ms: ctx.now.boot_ms,
        node_absent: machine.seen.node.is_none(),
        ..Waking::default()
    };
    let message = format!("Being woken; asked by {by}");
    machine.enter(
        Phase::Waking(Box::new(waking)),
        Why::WakeOrdered,
        message.clone(),
        ctx,
    );
    message
}

/// Whether a machine may be sent wakes: those that this process has not sent one yet get their first one by one, also the
/// ones that go on from before a restart. `last_ms` is when another machine got its first.
pub(crate) fn takes_turn(machine: &mut Machine, last_ms: Option<u64>, ctx: &mut Ctx<'_>) -> bool {
    let stagger_ms = match machine.record.outage {
        Some(Outage::PowerCut { .. }) => ctx.policy.power_cut_stagger_ms,
        Some(Outage::SwitchedOff) | None => ctx.policy.wake_stagger_ms,
    };
    let Phase::Waking(waking) = &mut machine.phase else {
        return false;
    };
    if waking.first_sent_ms.is_some() {
        return true;
    }
    let comes = last_ms.is_none_or(|at| ctx.due(at.saturating_add(stagger_ms)));
    if comes {
        waking.turn_ms.get_or_insert(ctx.now.boot_ms);
    }
    comes
}

/// Sends what is due, and gives up where nothing can come of it any more. Returns when the first wake was sent, if it was.
pub(crate) fn drive(
    machine: &mut Machine,
    agents: &mut Agents,
    links: Links,
    ctx: &mut Ctx<'_>,
) -> Option<u64> {
    let Phase::Waking(mut waking) = machine.phase.clone() else {
        return None;
    };
    waking.heard |= machine.presence != Presence::Silent;
    let failure = if is_late(machine, &mut waking, links, ctx) {
        Some(WakeFailure::in_the_end(&waking))
    } else if machine.is_recorded(waking.gate) && ctx.due(waking.next_ms) {
        send(machine, &mut waking, agents, ctx)
    } else {
        None
    };
    if let Some(failure) = failure {
        fail(machine, &waking, failure, ctx);
        return waking.first_sent_ms;
    }
    tell_unanswered(machine, &mut waking, agents, ctx);
    mind_bmc(machine, &mut waking, ctx);
    let first_ms = waking.first_sent_ms;
    machine.phase = Phase::Waking(waking);
    first_ms
}

/// Whether its time is over. It stands still while nobody listens, and a kubelet that is up has come in time.
fn is_late(machine: &Machine, waking: &mut Waking, links: Links, ctx: &mut Ctx<'_>) -> bool {
    if links.listening_since(machine.spec.joins).is_none() {
        waking.blind_since_ms.get_or_insert(ctx.now.boot_ms);
        waking.nobody_since_ms = None;
        return false;
    }
    if let Some(since_ms) = waking.blind_since_ms.take() {
        waking.blind_ms += ctx.now.boot_ms.saturating_sub(since_ms);
        waking.nobody_since_ms = None;
    }
    let limit_ms = waking.limit_ms(machine, ctx.policy);
    let timeout_ms = limit_ms.saturating_add(waking.blind_ms);
    let from = waking.first_sent_ms.or(waking.turn_ms);
    from.is_some_and(|at| ctx.due(at.saturating_add(timeout_ms)))
        && machine.presence != Presence::Joined
}

/// Sends the next wake, or says why there will be none.
fn send(
    machine: &mut Machine,
    waking: &mut Waking,
    agents: &mut Agents,
    ctx: &mut Ctx<'_>,
) -> Option<WakeFailure> {
    let Some((agent, method, verb)) = next_step(machine, waking, agents, ctx) else {
        return nobody_to_ask(machine, waking, agents, ctx);
    };
    waking.nobody_since_ms = None;
    if !machine.is_ordered() {
        waking.gate = machine.order_may_leave(ctx);
        return None;
    }
    // Without a fresh challenge the ping's answer brings us back here.
    let challenge = agents.challenge(&agent, ctx)?;
    let now_ms = ctx.now.boot_ms;
    waking.sends += 1;
    waking.first_sent_ms.get_or_insert(now_ms);
    waking.left_ms.get_or_insert(now_ms);
    waking.last_sent_ms = Some(now_ms);
    // What was read before the wake says nothing about what comes of it.
    machine.seen.bmc = None;
    waking.next_ms = now_ms.saturating_add(ctx.policy.wake_repeat_ms);
    ctx.at(waking.next_ms);
    let what = telling::ordered(&verb);
    waking.method = Some(method);
    let attempt = waking.sends;
    let message = format!("{what} ordered from relay {agent}, attempt {attempt}");
    waking.explain_sent(machine, message);
    waking.last = Some(machine.send(Executor { agent, challenge }, verb, None, ctx));
    None
}

/// Methods take turns when one fails, relays when one goes unanswered.
fn next_step(
    machine: &Machine,
    waking: &Waking,
    agents: &Agents,
    ctx: &mut Ctx<'_>,
) -> Option<(AgentId, WakeMethod, Verb)> {
    let methods = &machine.spec.wake;
    let turn = usize::try_from(waking.failures).unwrap_or(0);
    let per_relay = ctx.policy.wakes_per_relay.max(1);
    (0..methods.len()).find_map(|i| {
        let method = methods[(turn + i) % methods.len()];
        let (mut relays, verb) = candidates(machine, method, agents, ctx)?;
        relays.retain(|relay| !waking.is_barred(relay, method));
        let relay = usize::try_from(waking.sends / per_relay)
            .unwrap_or(0)
            .checked_rem(relays.len())?;
        Some((relays.get(relay)?.clone(), method, verb))
    })
}

fn candidates(
    machine: &Machine,
    method: WakeMethod,
    agents: &Agents,
    ctx: &mut Ctx<'_>,
) -> Option<(Vec<AgentId>, Verb)> {
    let (mut relays, verb) = match method {
        WakeMethod::Redfish => {
            let redfish = machine.spec.redfish.clone()?;
            (
                agents.relays_with(&redfish.credentials, ctx),
                Verb::RedfishOn(*redfish),
            )
        }
        WakeMethod::WakeOnLan => {
            let target = machine.spec.wake_on_lan.clone()?;
            (agents.relays_on(&target.segment, ctx), Verb::Wake(target))
        }
    };
    relays.retain(|relay| *relay != machine.spec.agent);
    Some((relays, verb))
}

/// Whoever there is has refused for good, or there is nobody: that is a failure unless a wake that left may still have its
/// effect.
fn nobody_to_ask(
    machine: &mut Machine,
    waking: &mut Waking,
    agents: &Agents,
    ctx: &mut Ctx<'_>,
) -> Option<WakeFailure> {
    if !waking.barred.is_empty() {
        return (!waking.has_left()).then_some(WakeFailure::Refused);
    }
    no_relay(machine, waking, agents, ctx);
    let since_ms = *waking.nobody_since_ms.get_or_insert(ctx.now.boot_ms);
    let lasts = ctx.due(since_ms.saturating_add(ctx.policy.relay_wait_ms));
    (lasts && !waking.has_left()).then_some(WakeFailure::NoRelay)
}

fn no_relay(machine: &mut Machine, waking: &mut Waking, agents: &Agents, ctx: &mut Ctx<'_>) {
    let on_lan = machine.spec.wake.contains(&WakeMethod::WakeOnLan);
    let missing = (!on_lan)
        .then(|| concerns::missing_credentials(machine, &agents.relays_now(ctx)))
        .flatten();
    if let Some(message) = missing {
        // Told by its own Event, as a concern.
        return machine.explain(Why::MissingCredentials, message);
    }
    let message = telling::no_relay(machine, agents, ctx);
    if !waking.told_no_relay {
        waking.told_no_relay = true;
        machine.event(Severity::Warning, "NoRelay", message.clone(), ctx);
        machine.touch();
    }
    machine.explain(Why::NoRelay, message);
}

fn tell_unanswered(machine: &mut Machine, waking: &mut Waking, agents: &Agents, ctx: &mut Ctx<'_>) {
    let Some(first) = waking.first_sent_ms else {
        return;
    };
    // While nobody listens, silence says nothing.
    let silent_ms = ctx.policy.unanswered_ms.saturating_add(waking.blind_ms);
    if waking.told_unanswered
        || waking.heard
        || waking.blind_since_ms.is_some()
        || !ctx.due(first.saturating_add(silent_ms))
    {
        return;
    }
    waking.told_unanswered = true;
    let mut relays = Vec::new();
    for method in &machine.spec.wake {
        let found = candidates(machine, *method, agents, ctx).map(|(relays, _)| relays);
        relays.extend(found.into_iter().flatten());
    }
    relays.sort();
    relays.dedup();
    let limit_ms = waking.limit_ms(machine, ctx.policy);
    let give_up_ms = first
        .saturating_add(limit_ms)
        .saturating_add(waking.blind_ms);
    let message = telling::unanswered(machine, (waking.sends, &relays), give_up_ms, ctx);
    machine.event(Severity::Warning, "WakeUnanswered", message.clone(), ctx);
    machine.explain(Why::WakeUnanswered, message);
    machine.touch();
}

/// A BMC that says yes and does nothing is asked once more; then the next method has its turn.
fn mind_bmc(machine: &mut Machine, waking: &mut Waking, ctx: &mut Ctx<'_>) {
    let (
        Some(accepted_ms),
        Some(BmcReading::Off {
            last_ms: read_ms, ..
        }),
    ) = (waking.accepted_ms, machine.seen.bmc)
    else {
        return;
    };
    let Some(told_ms) = waking.told_ignored_ms else {
        if read_ms >= accepted_ms.saturating_add(BMC_SHOWS_MS) {
            waking.told_ignored_ms = Some(ctx.now.boot_ms);
            let message = telling::bmc_ignored(machine, BMC_SHOWS_MS, ctx);
            machine.event(Severity::Warning, "BMCIgnoredWake", message.clone(), ctx);
            machine.explain(Why::BmcIgnoredWake, message);
            machine.touch();
        }
        return;
    };
    let once_more_ms = ctx.policy.wake_repeat_ms.saturating_mul(2);
    if read_ms >= told_ms.saturating_add(once_more_ms) {
        waking.failures += 1;
        waking.accepted_ms = None;
    }
}
