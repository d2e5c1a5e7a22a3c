//! Takes facts in: each changes what is known. One decides: an empty pod list lets its order out before it grows old.
//!
//! In: every [`Fact`].
//! Not here: what follows from them (`lifecycle`, `groups`, `removal`).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::actions::RejectedKind;
use crate::agents::Standing;
use crate::facts::{Beat, Fact, NodeSeen, NotSent, Report, ReportState, StoreFault};
use crate::groups::{self, Caller, Group};
use crate::ids::{AgentId, CommandId, GroupId, MachineId};
use crate::lab::{Asked, Ctx, Lab};
use crate::machine::{Machine, Phase, Unknown};
use crate::pods::PodSeen;
use crate::record::{MachineRecord, OperationKind, PowerState};
use crate::seen::BmcReading;
use crate::spec::{GroupSpec, MachineSpec};
use crate::view::Wish;
use crate::waking::WakeFailed;
use crate::why::Why;
use crate::wishes::{self, Drainer};
use crate::{lifecycle, names, node, permission, removal, stopping, upkeep, waking};

pub(crate) fn observe(lab: &mut Lab, fact: Fact, ctx: &mut Ctx<'_>) {
    match fact {
        Fact::GroupApplied(spec) => group_applied(lab, spec, ctx),
        Fact::GroupRemoved(id) => group_removed(lab, &id, ctx),
        Fact::MachineApplied(spec) => machine_applied(lab, spec, ctx),
        Fact::MachineRemoved(id) => machine_removed(lab, &id),
        Fact::GroupStored { group, record } => match lab.groups.get_mut(&group) {
            Some(known) => known.stored(record, ctx),
            None => drop(lab.orphan_groups.insert(group, record)),
        },
        Fact::MachineStored { machine, record } => match lab.machines.get_mut(&machine) {
            Some(known) if lab.epoch.is_some() => stored_elsewhere(known, record, ctx),
            Some(known) => replay(known, record, ctx),
            None => stored_before(lab, machine, record),
        },
        Fact::AgentStored { agent, key } => lab.agents.stored(agent, key),
        Fact::Committed { group, sequence } => groups::committed(lab, &group, sequence, ctx),
        Fact::CommitLost { group, record } => groups::lost(lab, &group, record, ctx),
        Fact::CommitFailed { group, fault } => groups::failed(lab, &group, fault, ctx),
        Fact::Recorded { machine, version } => with(lab, &machine, |it| it.recorded(version)),
        Fact::RecordFailed { machine, fault } => record_failed(lab, &machine, fault, ctx),
        Fact::Beat(beat) => heard(lab, beat, ctx),
        Fact::AgentState {
            agent,
            state,
            boot_id: _,
            instance,
        } => lab.agents.state(&agent, state, &instance),
        Fact::AgentInfo(info) => lab.agents.info(info, ctx),
        Fact::Reported(report) => reported(lab, &report, ctx),
        Fact::NotSent {
            agent,
            command,
            why,
        } => not_sent(lab, &agent, (&command, why), ctx),
        Fact::AutoscalerSeen { version } => lab.autoscaler = Some(version),
        Fact::Broker { up } => lab.links.broker_ms = listening(lab.links.broker_ms, up, ctx),
        Fact::Cluster { up } => lab.links.cluster_ms = listening(lab.links.cluster_ms, up, ctx),
        Fact::NodeSeen(seen) => node_seen(lab, seen, ctx),
        Fact::NodeGone { name } => node_gone(lab, &name),
        Fact::LocalVolumes(volumes) => lab.local_volumes = Some(volumes),
        Fact::LeaseRenewed { name } => {
            if let Some(machine) = by_node(lab, &name) {
                machine.seen.lease_ms = Some(ctx.now.boot_ms);
            }
        }
        Fact::Fenced { machine, outcome } => removal::fenced(lab, &machine, outcome, ctx),
        Fact::PodsListed { machine, outcome } => pods_listed(lab, &machine, outcome, ctx),
        Fact::Evicted { machine, pods } => {
            with(lab, &machine, |it| stopping::evicted(it, pods, ctx));
        }
        Fact::NodeDone { machine, outcome } => node_done(lab, &machine, outcome, ctx),
        Fact::Loaded => lab.loaded = true,
        Fact::Leading { epoch } => {
            lab.epoch = Some(epoch);
            ctx.mint.set_epoch(epoch);
        }
        Fact::Following => lab.epoch = None,
        Fact::Asked {
            ticket,
            deadline_ms,
            request,
        } => lab.asked.push_back(Asked {
            caller: Caller {
                ticket,
                deadline_ms,
            },
            request,
        }),
    }
}

/// A fact about a machine that is not declared any more is of no use.
fn with(lab: &mut Lab, machine: &MachineId, take_in: impl FnOnce(&mut Machine)) {
    if let Some(machine) = lab.machines.get_mut(machine) {
        take_in(machine);
    }
}

/// The order may follow the list at once, so whatever forbids it is looked at here.
fn pods_listed(
    lab: &mut Lab,
    id: &MachineId,
    outcome: Result<Vec<PodSeen>, String>,
    ctx: &mut Ctx<'_>,
) {
    let Some(machine) = lab.machines.get(id) else {
        return;
    };
    let group = lab.groups.get(&machine.spec.group);
    let kept = !lifecycle::may_act(machine, group) || permission::protected(lab, machine).is_some();
    let listed = group.is_some_and(|group| group.wants(id));
    let wished = wishes::wish(machine, group, listed);
    let drainer = Drainer::of(&wished);
    // The order may have been taken back since the list was asked for.
    let held = kept || wished.wish != Wish::Off;
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    if held {
        stopping::list_again(machine);
    } else {
        stopping::pods_listed(machine, outcome, drainer, &mut lab.agents, ctx);
    }
}

fn record_failed(lab: &mut Lab, id: &MachineId, fault: StoreFault, ctx: &Ctx<'_>) {
    removal::record_failed(lab, id, fault);
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    match fault {
        StoreFault::Unavailable | StoreFault::TooLate => {
            machine.record_failed(ctx.now.boot_ms.saturating_add(ctx.policy.store_retry_ms));
        }
        StoreFault::Refused => machine.record_refused(),
    }
}

/// What never left had no effect. An agent that does not listen counts as gone until its next heartbeat.
fn not_sent(
    lab: &mut Lab,
    agent: &AgentId,
    (command, why): (&CommandId, NotSent),
    ctx: &mut Ctx<'_>,
) {
    match why {
        NotSent::NobodyListens => lab.agents.unheard(agent),
        NotSent::NoWay => {}
    }
    let sent = ctx.commands.get(command).filter(|s| s.executor == *agent);
    if let Some(machine) = sent.and_then(|s| lab.machines.get_mut(&s.machine)) {
        waking::not_sent(machine, agent, (command, why), ctx);
        stopping::not_sent(machine, command);
    }
}

fn heard(lab: &mut Lab, beat: Beat, ctx: &Ctx<'_>) {
    let declared = lab.machines_of_agent(&beat.agent).next().is_some();
    let standing = if declared {
        Standing::Declared
    } else {
        Standing::Stranger
    };
    lab.agents.beat(beat, standing, ctx);
}

fn listening(since: Option<u64>, up: bool, ctx: &Ctx<'_>) -> Option<u64> {
    up.then(|| since.unwrap_or(ctx.now.boot_ms))
}

fn group_applied(lab: &mut Lab, spec: GroupSpec, ctx: &Ctx<'_>) {
    match lab.groups.get_mut(&spec.id) {
        Some(group) => group.declare(spec),
        None => {
            let record = lab.orphan_groups.remove(&spec.id).unwrap_or_default();
            let group = Group::new(spec, record, ctx);
            lab.groups.insert(group.spec.id.clone(), group);
        }
    }
}

/// The stored wish is kept: a declaration that comes back finds it again.
fn group_removed(lab: &mut Lab, id: &GroupId, ctx: &mut Ctx<'_>) {
    removal::abandon(lab, id, ctx);
    if let Some(group) = lab.groups.remove(id) {
        for ticket in group.callers() {
            ctx.reject(
                ticket,
                RejectedKind::NotFound,
                "the group's declaration was removed",
            );
        }
        lab.orphan_groups.insert(id.clone(), group.into_record());
    }
}

fn machine_applied(lab: &mut Lab, mut spec: MachineSpec, ctx: &mut Ctx<'_>) {
    names::share(&mut spec, &lab.groups);
    let id = spec.id.clone();
    if let Some(machine) = lab.machines.get_mut(&spec.id) {
        lab.names.forget(&machine.spec);
        lab.names.learn(&spec);
        let renamed = machine.spec.node_name != spec.node_name;
        let node_name = spec.node_name.clone();
        machine.spec = spec;
        machine.reconsider_refusal();
        if renamed {
            node_renamed(lab, &id, &node_name, ctx);
        }
        return;
    }
    lab.names.learn(&spec);
    lab.declarations += 1;
    let mut machine = Machine::new(spec, lab.declarations << 32);
    if let Some(record) = lab.orphan_machines.remove(&id) {
        replay(&mut machine, record, ctx);
        // Whatever of an earlier declaration is still on its way to the store is overtaken.
        if lab.epoch.is_some() {
            machine.overtake(ctx);
        }
    }
    if machine.since_ms == 0 {
        machine.since_ms = ctx.now.wall_ms;
    }
    let node = lab.orphan_nodes.remove(&*machine.spec.node_name);
    lab.machines.insert(id, Box::new(machine));
    if let Some(node) = node {
        node_seen(lab, node, ctx);
    }
}

/// Another core Node stands for a machine from now on: the one before is nobody's, or another machine's.
fn node_renamed(lab: &mut Lab, id: &MachineId, node_name: &str, ctx: &Ctx<'_>) {
    let old = lab
        .machines
        .get_mut(id)
        .and_then(|machine| machine.seen.lost_node());
    let other = lab.orphan_nodes.remove(node_name);
    for node in old.map(|node| *node).into_iter().chain(other) {
        node_seen(lab, node, ctx);
    }
}

fn machine_removed(lab: &mut Lab, id: &MachineId) {
    if let Some(mut machine) = lab.machines.remove(id) {
        machine.keep_tokens(lab.epoch);
        lab.names.forget(&machine.spec);
        if let Some(node) = machine.seen.node {
            lab.orphan_nodes.insert(node.name.clone(), *node);
        }
        lab.orphan_machines.insert(id.clone(), machine.record);
    }
}

/// What is stored of a machine that is not declared, in place of what was known of it. Agents go on from the highest token
/// that they have seen, also where its record has gone with its object, so no token is granted again.
fn stored_before(lab: &mut Lab, id: MachineId, mut record: MachineRecord) {
    let known = lab.orphan_machines.get(&id);
    if known.is_none() && record == MachineRecord::default() {
        return;
    }
    record.token = known.map_or(record.token, |known| known.token.max(record.token));
    lab.orphan_machines.insert(id, record);
}

/// A record that comes in while this process leads. What the process holds itself is newer than any echo of its own writes;
/// only a machine that it knows nothing of, but which tokens were granted, takes it.
fn stored_elsewhere(machine: &mut Machine, mut record: MachineRecord, ctx: &mut Ctx<'_>) {
    let token = machine.record.token;
    let nothing = MachineRecord {
        token,
        ..MachineRecord::default()
    };
    if machine.record == nothing {
        record.token = record.token.max(token);
        replay(machine, record, ctx);
        machine.overtake(ctx);
    } else {
        machine.reconsider_refusal();
    }
}

/// Goes on from stored state: at start, and each time that another process which leads has stored something.
fn replay(machine: &mut Machine, record: MachineRecord, ctx: &mut Ctx<'_>) {
    if machine.record == record {
        return;
    }
    machine.record = record;
    machine.since_ms = machine.record.power.since_ms;
    match machine.record.operation.as_ref().map(|op| op.kind) {
        Some(OperationKind::Wake) => waking::resume(machine, ctx),
        Some(OperationKind::Stop) => stopping::resume(machine, ctx),
        None => {
            let (phase, why, message) = was_in(&machine.record, ctx);
            machine.phase = phase;
            machine.explain(why, message);
        }
    }
    upkeep::hold_node(machine, ctx);
}

/// The phase that a record without an operation stands for.
fn was_in(record: &MachineRecord, ctx: &Ctx<'_>) -> (Phase, Why, String) {
    let failed = record
        .quarantine
        .as_deref()
        .filter(|kept| kept.until_ms > ctx.now.wall_ms)
        .and_then(WakeFailed::recorded);
    match (record.power.state, failed) {
        (PowerState::Running, _) => {
            let message = "Was running when this coordinator started";
            (Phase::Running, Why::Running, message.into())
        }
        (PowerState::Off | PowerState::Unknown, Some(failed)) => {
            let (why, message) = (failed.failure.why(), failed.message.clone());
            (Phase::WakeFailed(failed), why, message)
        }
        (PowerState::Off, None) => {
            let message = "Was off when this coordinator started";
            (Phase::Off, Why::Off, message.into())
        }
        (PowerState::Unknown, None) => {
            let message = if record.boot_id.is_some() {
                "Not seen since this coordinator started"
            } else {
                "Nobody has seen it since it was declared"
            };
            let phase = Phase::Unknown(Unknown::Unseen);
            (phase, Why::NotSeenYet, message.into())
        }
    }
}

fn reported(lab: &mut Lab, report: &Report, ctx: &mut Ctx<'_>) {
    if !report.trusted {
        return;
    }
    let about = reported_machine(lab, ctx, report);
    let Some(machine) = about.and_then(|id| lab.machines.get_mut(&id)) else {
        return;
    };
    // Agents repeat their last results; a reading counts once, when its command ends.
    let ended = match report.state {
        ReportState::Accepted | ReportState::Running => false,
        ReportState::Done
        | ReportState::Failed
        | ReportState::Refused
        | ReportState::Aborted
        | ReportState::Interrupted => ctx.commands.remove(&report.command).is_some(),
    };
    if let Some(read) = report.read.filter(|_| ended) {
        let reading = BmcReading::after(machine.seen.bmc, read, ctx.now.boot_ms);
        machine.seen.bmc = Some(reading);
    }
    waking::reported(machine, report, ctx);
    stopping::reported(machine, report, &lab.agents, ctx);
}

/// The command tells the machine, and who may report on it; after a restart only the stored operation still does, and its
/// id goes to nobody but the machine's own agent.
fn reported_machine(lab: &Lab, ctx: &Ctx<'_>, report: &Report) -> Option<MachineId> {
    if let Some(sent) = ctx.commands.get(&report.command) {
        return (sent.executor == report.agent).then(|| sent.machine.clone());
    }
    let is_told = |machine: &&Machine| {
        let operation = machine.record.operation.as_ref();
        operation.is_some_and(|op| op.id == report.command)
    };
    let machine = lab.machines_of_agent(&report.agent).find(is_told)?;
    Some(machine.id().clone())
}

fn by_node<'a>(lab: &'a mut Lab, name: &str) -> Option<&'a mut Machine> {
    let id = lab.machines_of_node(name).next()?.id().clone();
    lab.machines.get_mut(&id).map(|machine| &mut **machine)
}

fn node_seen(lab: &mut Lab, mut seen: NodeSeen, ctx: &Ctx<'_>) {
    let Some(machine) = by_node(lab, &seen.name) else {
        lab.orphan_nodes.insert(seen.name.clone(), seen);
        return;
    };
    if node::is_fenced(&seen) {
        machine.seen.cordoned_by_person |= node::keeps_cordon(&seen);
    } else if !node::has_autoscaler_taint(&seen) {
        machine.seen.cordoned_by_person = seen.unschedulable;
        machine.seen.fenced_ms = None;
    }
    let replaced = machine
        .seen
        .node
        .as_deref()
        .is_some_and(|old| old.uid != seen.uid);
    if replaced {
        machine.seen.node_busy_until_ms = None;
        machine.seen.node_ms = None;
    }
    machine.seen.node_ms.get_or_insert(ctx.now.boot_ms);
    if node::is_fenced(&seen) {
        machine.seen.fenced_ms.get_or_insert(ctx.now.boot_ms);
    }
    if let Some(known) = &machine.record.learned {
        node::share(&mut seen, known);
    }
    machine.seen.node = Some(Box::new(seen));
    upkeep::hold_node(machine, ctx);
}

fn node_gone(lab: &mut Lab, name: &str) {
    lab.orphan_nodes.remove(name);
    if let Some(machine) = by_node(lab, name) {
        machine.seen.lost_node();
    }
}

fn node_done(lab: &mut Lab, id: &MachineId, outcome: Result<(), String>, ctx: &mut Ctx<'_>) {
    let Some(machine) = lab.machines.get_mut(id) else {
        return;
    };
    machine.seen.node_busy_until_ms = match outcome {
        // The change is done; the watch will show it. Until then nothing is planned on the old sight.
        Ok(()) => Some(
            ctx.now
                .boot_ms
                .saturating_add(ctx.policy.store_retry_ms / 4),
        ),
        Err(message) => {
            machine.event(
                crate::actions::Severity::Warning,
                "NodeChangeFailed",
                message,
                ctx,
            );
            Some(ctx.now.boot_ms.saturating_add(ctx.policy.store_retry_ms))
        }
    };
}
