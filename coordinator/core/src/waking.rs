//! Waking a machine: which command goes out next, by whom, and when it has failed.
//!
//! In: a machine in phase Waking. Out: wake commands, each 20 s until it is seen, and the verdict at its boot timeout.
//! Holds: nothing is sent before the operation is stored; a sent packet is no evidence of anything.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::actions::{Severity, Verb};
use crate::agents::Agents;
use crate::concerns;
use crate::facts::{Report, ReportState};
use crate::ids::{AgentId, CommandId};
use crate::lab::{Ctx, Links};
use crate::machine::{Executor, Machine, Phase};
use crate::power::{self, Power};
use crate::record::{OperationKind, Outage, PowerState, Quarantine, Witness};
use crate::seen::BmcReading;
use crate::spec::{Joins, WakeMethod};
use crate::telling;
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
    /// When the last one was sent.
    last_sent_ms: Option<u64>,
    /// It goes on from before a restart: what had been sent by then is not known.
    resumed: bool,
    /// When it was ordered, also before a restart: a younger boot is our doing.
    ordered_ms: u64,
    /// Started at.
    pub(crate) started_ms: u64,
    /// Its turn to be woken came then; the boot timeout runs from here while no command could be sent.
    turn_ms: Option<u64>,
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
    told_ignored_ms: Option<u64>,
    told_unanswered: bool,
    told_no_relay: bool,
}

/// A machine that did not come.
#[derive(Clone, Debug)]
pub(crate) struct WakeFailed {
    /// Stable word for the cluster-autoscaler.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) message: String,
    /// The hardware itself refused.
    pub(crate) out_of_resources: bool,
    /// When the wake that failed was first sent.
    pub(crate) first_sent_ms: Option<u64>,
}

/// What is remembered of a wake to tell whether a machine that is seen later came because of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace {
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    node_absent: bool,
}

impl Trace {
    /// Of a wake that was taken back before a restart.
    pub(crate) fn after_restart(first_ms: u64, last_ms: u64) -> Self {
        Self {
            first_ms,
            last_ms,
            node_absent: false,
        }
    }

    /// Whether the boot that is seen is younger than our first wake. `None` while nothing shows either way.
    pub(crate) fn explains(&self, machine: &Machine, power: &Power) -> Option<bool> {
        // Boot loaders and clocks are not exact to the second.
        let slack_ms = 2_000;
        let was_off = machine.record.power.state == PowerState::Off;
        let boot_id = machine.record.boot_id.as_ref();
        // Its agent knows when it booted; everything else only stands in for that.
        if let Some(booted_ms) = power.booted_ms {
            return Some(booted_ms.saturating_add(slack_ms) >= self.first_ms);
        }
        let new_boot = was_off && power::rebooted(boot_id, power.boot_id.as_ref());
        let new_kubelet = self.node_absent && power.kubelet;
        // It was confirmed off before the wake, so power that its BMC sees now is our doing.
        let bmc_only = was_off && power.on == Some(Witness::Bmc);
        if new_boot || new_kubelet || bmc_only {
            return Some(true);
        }
        power.kubelet.then_some(false)
    }
}

impl Waking {
    /// What to remember of it.
    pub(crate) fn trace(&self) -> Trace {
        // What was sent before a restart is not known: the order itself is the earliest that it can have been.
        let sent_ms = self.first_sent_ms.filter(|_| !self.resumed);
        let first_ms = sent_ms.unwrap_or(self.ordered_ms);
        Trace {
            first_ms,
            last_ms: self.last_sent_ms.unwrap_or(first_ms),
            node_absent: self.node_absent,
        }
    }

    /// Whether the machine's agent, not heard yet since a restart, may show that the boot is our doing. A kubelet is listed
    /// at once and tells no time of boot; running on its word alone would leave the machine unproven.
    pub(crate) fn may_still_be_proven(
        &self,
        machine: &Machine,
        power: &Power,
        links: Links,
        ctx: &mut Ctx<'_>,
    ) -> bool {
        // A process that waited for the Lease has loaded long before it begins to hear agents.
        let heard_since_ms = links.listening_since(Joins::Agent);
        let mut late = |since_ms: u64| {
            ctx.due(
                since_ms
                    .max(self.started_ms)
                    .saturating_add(ctx.policy.grace_ms),
            )
        };
        self.resumed
            && machine.record.proven_at_ms.is_none()
            && power.booted_ms.is_none()
            && self.trace().explains(machine, power) != Some(true)
            && !heard_since_ms.is_some_and(&mut late)
    }

    /// Whether a packet may have reached the machine.
    pub(crate) fn effect_possible(&self) -> bool {
        self.sends > 0 || self.resumed
    }
}

/// Puts a machine into phase Waking.
pub(crate) fn start(machine: &mut Machine, agents: &Agents, by: &str, ctx: &mut Ctx<'_>) {
    let floor = agents.high_water(machine.id(), &machine.spec.agent);
    let gate = machine.begin(OperationKind::Wake, by.to_string(), floor, ctx);
    enter(machine, gate, by, ctx);
}

/// Goes on with a wake that was stored before a restart.
pub(crate) fn resume(machine: &mut Machine, ctx: &mut Ctx<'_>) {
    let Some(operation) = machine.record.operation.clone() else {
        return;
    };
    enter(machine, 0, &operation.by, ctx);
    // What was sent before the restart may have had its effect since: a boot after that is our doing.
    let age_ms =
        u64::try_from(ctx.now.wall_ms.saturating_sub(operation.started_at_ms)).unwrap_or(0);
    if let Phase::Waking(waking) = &mut machine.phase {
        waking.resumed = true;
        // Nodes are seen later than stored state: their absence shows nothing yet.
        waking.node_absent = false;
        waking.ordered_ms = ctx.now.boot_ms.saturating_sub(age_ms);
    }
}

fn enter(machine: &mut Machine, gate: u64, by: &str, ctx: &mut Ctx<'_>) {
    let waking = Waking {
        gate,
        next_ms: ctx.now.boot_ms,
        started_ms: ctx.now.boot_ms,
        ordered_ms: ctx.now.boot_ms,
        node_absent: machine.seen.node.is_none(),
        ..Waking::default()
    };
    let message = format!("Being woken; asked by {by}");
    machine.event(Severity::Normal, "Waking", message.clone(), ctx);
    machine.enter(Phase::Waking(waking), Why::WakeOrdered, message, ctx);
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
    waking.turn_ms = comes.then(|| waking.turn_ms.unwrap_or(ctx.now.boot_ms));
    comes
}

/// Sends what is due and gives up at the boot timeout. Returns when the first wake was sent, if it was.
pub(crate) fn drive(machine: &mut Machine, agents: &mut Agents, ctx: &mut Ctx<'_>) -> Option<u64> {
    let Phase::Waking(mut waking) = machine.phase.clone() else {
        return None;
    };
    let from = waking.first_sent_ms.or(waking.turn_ms);
    let late = from.is_some_and(|at| ctx.due(at.saturating_add(machine.spec.timeouts.boot_ms)));
    if late {
        fail(machine, &waking, ctx);
        return waking.first_sent_ms;
    }
    if machine.is_recorded(waking.gate) && ctx.due(waking.next_ms) {
        send(machine, &mut waking, agents, ctx);
    }
    tell_unanswered(machine, &mut waking, agents, ctx);
    mind_bmc(machine, &mut waking, ctx);
    let first_ms = waking.first_sent_ms;
    machine.phase = Phase::Waking(waking);
    first_ms
}

fn send(machine: &mut Machine, waking: &mut Waking, agents: &mut Agents, ctx: &mut Ctx<'_>) {
    let Some((agent, method, verb)) = next_step(machine, waking, agents, ctx) else {
        return no_relay(machine, waking, agents, ctx);
    };
    // Without a fresh challenge the ping's answer brings us back here.
    let Some(challenge) = agents.challenge(&agent, ctx) else {
        return;
    };
    let now_ms = ctx.now.boot_ms;
    waking.sends += 1;
    waking.first_sent_ms.get_or_insert(now_ms);
    waking.last_sent_ms = Some(now_ms);
    // What was read before the wake says nothing about what comes of it.
    machine.seen.bmc = None;
    waking.next_ms = now_ms.saturating_add(ctx.policy.wake_repeat_ms);
    ctx.at(waking.next_ms);
    let what = telling::ordered(&verb);
    waking.method = Some(method);
    machine.explain(
        Why::WakeSent,
        format!(
            "{what} ordered from relay {agent}, attempt {}",
            waking.sends
        ),
    );
    waking.last = Some(machine.send(Executor { agent, challenge }, verb, None, ctx));
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
        let (relays, verb) = candidates(machine, method, agents, ctx)?;
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
                Verb::RedfishOn(redfish),
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
    if waking.told_unanswered || !ctx.due(first.saturating_add(ctx.policy.unanswered_ms)) {
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
    let give_up_ms = first.saturating_add(machine.spec.timeouts.boot_ms);
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

/// Boot timeout: the machine is left out for a while, and the cluster-autoscaler is told.
fn fail(machine: &mut Machine, waking: &Waking, ctx: &mut Ctx<'_>) {
    let (code, out_of_resources) = match (waking.sends, waking.failures) {
        (0, _) => ("NO_RELAY", true),
        (sends, failures) if failures >= sends => ("WAKE_REFUSED", true),
        (_, _) => ("BOOT_TIMEOUT", false),
    };
    let failure = waking.failed_with.as_ref();
    let message = telling::boot_timeout(machine, waking.sends, failure, code);
    let failures = machine.record.quarantine.as_ref().map_or(0, |q| q.failures) + 1;
    let doubled = ctx
        .policy
        .quarantine_ms
        .saturating_mul(1 << failures.saturating_sub(1).min(16));
    let length_ms = doubled.min(ctx.policy.quarantine_max_ms);
    machine.record.quarantine = Some(Quarantine {
        until_ms: ctx.now.wall_ms.saturating_add_unsigned(length_ms),
        failures,
        reason: String::from("BootTimeout"),
        message: message.clone(),
    });
    machine.end();
    machine.touch();
    machine.event(Severity::Warning, "BootTimeout", message.clone(), ctx);
    let failed = WakeFailed {
        code,
        message: message.clone(),
        out_of_resources,
        first_sent_ms: waking.first_sent_ms,
    };
    machine.enter(Phase::WakeFailed(failed), Why::BootTimeout, message, ctx);
}

/// Takes in a relay's report about the latest wake command.
pub(crate) fn reported(machine: &mut Machine, report: &Report, ctx: &mut Ctx<'_>) {
    let Phase::Waking(mut waking) = machine.phase.clone() else {
        return;
    };
    if waking.last.as_ref() != Some(&report.command) {
        return;
    }
    match report.state {
        ReportState::Accepted | ReportState::Running => return,
        ReportState::Done => sent(machine, &mut waking, report, ctx),
        ReportState::Failed
        | ReportState::Refused
        | ReportState::Aborted
        | ReportState::Interrupted => {
            waking.failures += 1;
            let what = format!("{} ({})", report.message, report.code);
            // A failed command may be tried another way soon; a relay must not be hammered.
            waking.next_ms = waking
                .next_ms
                .min(ctx.now.boot_ms.saturating_add(ctx.policy.accept_ms));
            ctx.at(waking.next_ms);
            machine.explain(
                Why::WakeRefused,
                format!("Relay {} could not wake it: {what}", report.agent),
            );
            waking.failed_with = Some(what);
        }
    }
    machine.phase = Phase::Waking(waking);
}

/// The relay of the latest wake command does not listen: the next one need not wait for its turn.
pub(crate) fn unheard(
    machine: &mut Machine,
    relay: &AgentId,
    command: &CommandId,
    ctx: &mut Ctx<'_>,
) {
    let Phase::Waking(mut waking) = machine.phase.clone() else {
        return;
    };
    if waking.last.as_ref() != Some(command) {
        return;
    }
    waking.next_ms = ctx.now.boot_ms;
    ctx.at(waking.next_ms);
    machine.phase = Phase::Waking(waking);
    machine.explain(
        Why::RelayNotListening,
        format!("Relay {relay} sends heartbeats, but the broker knows of nobody who listens for its commands"),
    );
}

/// It has left. Each way is told once as an Event, every train as the reason why it is where it is.
fn sent(machine: &mut Machine, waking: &mut Waking, report: &Report, ctx: &mut Ctx<'_>) {
    let Some(method) = waking.method else {
        return;
    };
    let message = telling::wake_sent(machine, method, waking.sends, report);
    let way = (report.agent.clone(), method);
    if !waking.told_sent.contains(&way) {
        waking.told_sent.push(way);
        machine.event(Severity::Normal, "WakeSent", message.clone(), ctx);
    }
    if method == WakeMethod::Redfish {
        waking.accepted_ms.get_or_insert(ctx.now.boot_ms);
    }
    machine.explain(Why::WakeSent, message);
}
