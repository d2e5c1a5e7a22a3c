//! Waking a machine: which command goes out next, by whom, and when it has failed.
//!
//! In: a machine in phase Waking. Out: wake commands, each 20 s until it is seen, and the verdict at its boot timeout.
//! Holds: nothing is sent before the operation is stored; a sent packet is no evidence of anything.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::actions::{Severity, Verb};
use crate::agents::Agents;
use crate::facts::{Report, ReportState};
use crate::ids::{AgentId, CommandId};
use crate::lab::Ctx;
use crate::machine::{Executor, Machine, Phase};
use crate::power::{self, Power};
use crate::record::{OperationKind, PowerState, Quarantine};
use crate::spec::WakeMethod;

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
    /// Started at; the boot timeout runs from the first command, or from here while none could be sent.
    pub(crate) started_ms: u64,
    /// The latest command.
    pub(crate) last: Option<CommandId>,
    /// Commands that were refused or failed.
    pub(crate) failures: u32,
    /// What the last failure said.
    pub(crate) failed_with: Option<String>,
    /// There was no core Node when it was ordered: a kubelet that shows up has started since.
    node_absent: bool,
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
        let booted_after = power
            .booted_ms
            .is_some_and(|booted| booted.saturating_add(slack_ms) >= self.first_ms);
        let new_boot = was_off && power::rebooted(boot_id, power.boot_id.as_ref());
        let new_kubelet = self.node_absent && power.kubelet;
        // It was confirmed off before the wake, so power that its BMC sees now is our doing.
        let bmc_only = was_off && power.on == Some("BMC");
        if booted_after || new_boot || new_kubelet || bmc_only {
            return Some(true);
        }
        (power.booted_ms.is_some() || power.kubelet).then_some(false)
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
        ctx: &mut Ctx<'_>,
    ) -> bool {
        self.resumed
            && machine.record.proven_at_ms.is_none()
            && power.booted_ms.is_none()
            && self.trace().explains(machine, power) != Some(true)
            && !ctx.due(self.started_ms.saturating_add(ctx.policy.grace_ms))
    }

    /// Whether a packet may have reached the machine.
    pub(crate) fn effect_possible(&self) -> bool {
        self.sends > 0 || self.resumed
    }
}

/// Puts a machine into phase Waking; the first command goes out at `first_ms`.
pub(crate) fn start(
    machine: &mut Machine,
    agents: &Agents,
    by: &str,
    first_ms: u64,
    ctx: &mut Ctx<'_>,
) {
    let floor = agents.high_water(machine.id(), &machine.spec.agent);
    let gate = machine.begin(OperationKind::Wake, by.to_string(), floor, ctx);
    enter(machine, gate, by, first_ms, ctx);
}

/// Goes on with a wake that was stored before a restart.
pub(crate) fn resume(machine: &mut Machine, ctx: &mut Ctx<'_>) {
    let Some(operation) = machine.record.operation.clone() else {
        return;
    };
    enter(machine, 0, &operation.by, ctx.now.boot_ms, ctx);
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

fn enter(machine: &mut Machine, gate: u64, by: &str, first_ms: u64, ctx: &mut Ctx<'_>) {
    let waking = Waking {
        gate,
        next_ms: first_ms,
        started_ms: ctx.now.boot_ms,
        ordered_ms: ctx.now.boot_ms,
        node_absent: machine.seen.node.is_none(),
        ..Waking::default()
    };
    let message = format!("Being woken; asked by {by}");
    machine.event(Severity::Normal, "Waking", message.clone(), ctx);
    machine.enter(Phase::Waking(waking), "WakeOrdered", message, ctx);
}

/// Sends what is due and gives up at the boot timeout.
pub(crate) fn drive(machine: &mut Machine, agents: &mut Agents, ctx: &mut Ctx<'_>) {
    let Phase::Waking(mut waking) = machine.phase.clone() else {
        return;
    };
    let from = waking.first_sent_ms.unwrap_or(waking.started_ms);
    if ctx.due(from.saturating_add(machine.spec.timeouts.boot_ms)) {
        return fail(machine, &waking, ctx);
    }
    if machine.is_recorded(waking.gate) && ctx.due(waking.next_ms) {
        send(machine, &mut waking, agents, ctx);
    }
    tell_unanswered(machine, &mut waking, ctx);
    machine.phase = Phase::Waking(waking);
}

fn send(machine: &mut Machine, waking: &mut Waking, agents: &mut Agents, ctx: &mut Ctx<'_>) {
    let Some((agent, verb)) = next_step(machine, waking, agents, ctx) else {
        return no_relay(machine, waking, ctx);
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
    machine.seen.bmc_off_since_ms = None;
    waking.next_ms = now_ms.saturating_add(ctx.policy.wake_repeat_ms);
    ctx.at(waking.next_ms);
    let what = describe(&verb);
    machine.explain(
        "WakeSent",
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
) -> Option<(AgentId, Verb)> {
    let methods = &machine.spec.wake;
    let turn = usize::try_from(waking.failures).unwrap_or(0);
    let per_relay = ctx.policy.wakes_per_relay.max(1);
    (0..methods.len()).find_map(|i| {
        let method = methods[(turn + i) % methods.len()];
        let (relays, verb) = candidates(machine, method, agents, ctx)?;
        let relay = usize::try_from(waking.sends / per_relay)
            .unwrap_or(0)
            .checked_rem(relays.len())?;
        Some((relays.get(relay)?.clone(), verb))
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

fn describe(verb: &Verb) -> String {
    match verb {
        Verb::Wake(target) => format!("Magic packets for {}", target.mac),
        Verb::RedfishOn(redfish) => format!("Redfish On at {}", redfish.address),
        Verb::PowerOff
        | Verb::RedfishStop(_)
        | Verb::RedfishForceOff(_)
        | Verb::RedfishStatus(_) => String::from("A stop"),
    }
}

fn no_relay(machine: &mut Machine, waking: &mut Waking, ctx: &mut Ctx<'_>) {
    let segment = machine
        .spec
        .wake_on_lan
        .as_ref()
        .map_or("of its BMC", |w| w.segment.as_str());
    let message = format!(
        "Cannot wake {}: no awake relay on segment {segment}",
        machine.id()
    );
    if !waking.told_no_relay {
        waking.told_no_relay = true;
        machine.event(Severity::Warning, "NoRelay", message.clone(), ctx);
        machine.touch();
    }
    machine.explain("NoRelay", message);
}

fn tell_unanswered(machine: &mut Machine, waking: &mut Waking, ctx: &mut Ctx<'_>) {
    let Some(first) = waking.first_sent_ms else {
        return;
    };
    if waking.told_unanswered || !ctx.due(first.saturating_add(ctx.policy.unanswered_ms)) {
        return;
    }
    waking.told_unanswered = true;
    let message = format!(
        "{} s after the first of {} wakes: no heartbeat, no kubelet from {}; wakes continue each {} s",
        ctx.policy.unanswered_ms / 1000,
        waking.sends,
        machine.id(),
        ctx.policy.wake_repeat_ms / 1000,
    );
    machine.event(Severity::Warning, "WakeUnanswered", message.clone(), ctx);
    machine.explain("WakeUnanswered", message);
    machine.touch();
}

/// Boot timeout: the machine is left out for a while, and the cluster-autoscaler is told.
fn fail(machine: &mut Machine, waking: &Waking, ctx: &mut Ctx<'_>) {
    let limit_s = machine.spec.timeouts.boot_ms / 1000;
    let detail = waking
        .failed_with
        .as_ref()
        .map_or_else(String::new, |why| format!("; last failure: {why}"));
    let (code, out_of_resources) = match (waking.sends, waking.failures) {
        (0, _) => ("NO_RELAY", true),
        (sends, failures) if failures >= sends => ("WAKE_REFUSED", true),
        (_, _) => ("BOOT_TIMEOUT", false),
    };
    let message = format!(
        "No sign of life in {limit_s} s after {} wakes{detail}",
        waking.sends
    );
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
    machine.enter(Phase::WakeFailed(failed), "BootTimeout", message, ctx);
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
        ReportState::Done => machine.explain("WakeSent", done_message(&waking, report)),
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
                "WakeRefused",
                format!("Relay {} could not wake it: {what}", report.agent),
            );
            waking.failed_with = Some(what);
        }
    }
    machine.phase = Phase::Waking(waking);
}

fn done_message(waking: &Waking, report: &Report) -> String {
    if report.message.is_empty() {
        format!("Relay {} has sent wake {}", report.agent, waking.sends)
    } else {
        format!(
            "{} (relay {}, wake {})",
            report.message, report.agent, waking.sends
        )
    }
}
