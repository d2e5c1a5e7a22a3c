//! Sending a stop: by which method, through whom, under which id.
//!
//! Out: one power-off, repeated under the same id; Redfish orders under new ones, which are safe to repeat.
//! Holds: nothing is sent without a fresh challenge.

use alloc::format;
use alloc::string::String;

use super::{Step, Stopping};
use crate::actions::Verb;
use crate::agents::Agents;
use crate::ids::AgentId;
use crate::lab::Ctx;
use crate::machine::{Executor, Machine};
use crate::permission::Protection;
use crate::spec::{Redfish, StopMethod};
use crate::why::Why;

/// Sends the order by the method whose turn it is, or says what is missing.
pub(crate) fn order(
    machine: &mut Machine,
    stopping: &mut Stopping,
    agents: &mut Agents,
    ctx: &mut Ctx<'_>,
) {
    let methods = machine.spec.stop.clone();
    let turn = usize::try_from(stopping.failures).unwrap_or(0);
    for i in 0..methods.len() {
        let sent = match methods[(turn + i) % methods.len()] {
            StopMethod::Agent => order_agent(machine, stopping, agents, ctx),
            StopMethod::Redfish => order_bmc(machine, stopping, agents, ctx, Verb::RedfishStop),
        };
        if sent {
            return;
        }
    }
    no_way(machine, stopping, ctx);
}

/// Lets the order go once it is stored that it may leave. Until then nothing has, and what was seen is looked at again.
pub(crate) fn order_once_stored(
    machine: &mut Machine,
    stopping: &mut Stopping,
    agents: &mut Agents,
    ctx: &mut Ctx<'_>,
) {
    if machine.is_ordered() && machine.is_recorded(stopping.gate) {
        return order(machine, stopping, agents, ctx);
    }
    if !machine.is_ordered() {
        stopping.gate = machine.order_may_leave(ctx);
    }
    stopping.step = Step::Listing { asked_ms: None };
}

/// Nobody could carry the order out.
pub(crate) fn no_way(machine: &mut Machine, stopping: &mut Stopping, ctx: &mut Ctx<'_>) {
    let message = String::from("Not stopped: its agent is not heard and no relay reaches its BMC");
    wait_out(
        machine,
        stopping,
        Obstacle {
            again_in_ms: ctx.policy.accept_ms,
            why: Why::NoWayToStop,
            message,
        },
        ctx,
    );
}

/// Who would carry out a stop by this method.
pub(crate) fn executor(
    machine: &Machine,
    method: StopMethod,
    agents: &Agents,
    ctx: &mut Ctx<'_>,
) -> Option<AgentId> {
    match method {
        StopMethod::Agent => {
            Some(machine.spec.agent.clone()).filter(|agent| agents.reachable(agent, ctx))
        }
        StopMethod::Redfish => {
            let redfish = machine.spec.redfish.as_ref()?;
            let relays = agents.relays_with(&redfish.credentials, ctx);
            relays
                .into_iter()
                .find(|relay| *relay != machine.spec.agent)
        }
    }
}

fn order_agent(
    machine: &mut Machine,
    stopping: &mut Stopping,
    agents: &mut Agents,
    ctx: &mut Ctx<'_>,
) -> bool {
    let Some(agent) = executor(machine, StopMethod::Agent, agents, ctx) else {
        return false;
    };
    let Some(challenge) = agents.challenge(&agent, ctx) else {
        return false;
    };
    let id = machine.record.operation.as_ref().map(|op| op.id.clone());
    stopping.last = Some(machine.send(
        Executor {
            agent: agent.clone(),
            challenge,
        },
        Verb::PowerOff,
        id,
        ctx,
    ));
    sent(
        machine,
        stopping,
        format!("Power-off sent to agent {agent}"),
        ctx,
    );
    stopping.told.agent = true;
    true
}

pub(crate) fn order_bmc(
    machine: &mut Machine,
    stopping: &mut Stopping,
    agents: &mut Agents,
    ctx: &mut Ctx<'_>,
    verb: impl Fn(Redfish) -> Verb,
) -> bool {
    let Some(redfish) = machine.spec.redfish.clone() else {
        return false;
    };
    let Some(relay) = executor(machine, StopMethod::Redfish, agents, ctx) else {
        return false;
    };
    let Some(challenge) = agents.challenge(&relay, ctx) else {
        return false;
    };
    stopping.last = Some(machine.send(
        Executor {
            agent: relay.clone(),
            challenge,
        },
        verb(*redfish),
        None,
        ctx,
    ));
    sent(
        machine,
        stopping,
        format!("Redfish stop ordered from relay {relay}"),
        ctx,
    );
    stopping.told.bmc = true;
    true
}

fn sent(machine: &mut Machine, stopping: &mut Stopping, message: String, ctx: &mut Ctx<'_>) {
    if stopping.tries == 0 {
        // Nobody could heed an order that was held up.
        stopping.started_ms = ctx.now.boot_ms;
    }
    stopping.tries += 1;
    stopping.before_last = stopping.told;
    stopping.last_sent_ms = ctx.now.boot_ms;
    stopping.step = Step::Ordered {
        sent_ms: ctx.now.boot_ms,
    };
    ctx.at(ctx.now.boot_ms.saturating_add(ctx.policy.accept_ms));
    machine.explain(Why::StopSent, message);
}

pub(crate) fn resend(
    machine: &mut Machine,
    stopping: &mut Stopping,
    agents: &mut Agents,
    ctx: &mut Ctx<'_>,
) {
    if stopping.tries.is_multiple_of(ctx.policy.send_tries.max(1)) {
        stopping.failures += 1;
    }
    order(machine, stopping, agents, ctx);
}

/// Something came to need the machine since it was ordered off: no order goes out until that has ended.
pub(crate) fn hold_back(
    machine: &mut Machine,
    stopping: &mut Stopping,
    protection: Protection,
    ctx: &mut Ctx<'_>,
) {
    if let Step::Waiting { again_ms } = stopping.step
        && !ctx.due(again_ms)
    {
        return;
    }
    let message = format!("Not stopped: {}", protection.in_words());
    wait_out(
        machine,
        stopping,
        Obstacle {
            again_in_ms: ctx.policy.pods_retry_ms,
            why: Why::NotStopped,
            message,
        },
        ctx,
    );
}

/// What stands in the way of a stop, and when to look again.
pub(crate) struct Obstacle {
    pub(crate) again_in_ms: u64,
    pub(crate) why: Why,
    pub(crate) message: String,
}

pub(crate) fn wait_out(
    machine: &mut Machine,
    stopping: &mut Stopping,
    obstacle: Obstacle,
    ctx: &mut Ctx<'_>,
) {
    look_again(machine, stopping, obstacle.again_in_ms, ctx);
    machine.complain(obstacle.why, obstacle.message, ctx);
}

/// Nothing goes out before what stands in the way was looked at again.
pub(crate) fn look_again(
    machine: &mut Machine,
    stopping: &mut Stopping,
    in_ms: u64,
    ctx: &mut Ctx<'_>,
) {
    let again_ms = ctx.now.boot_ms.saturating_add(in_ms);
    ctx.at(again_ms);
    stopping.step = Step::Waiting { again_ms };
    if !stopping.order_left() {
        machine.order_stayed();
    }
}
