//! What the store says of a commit: taken, lost to somebody else, too late, or not known.
//!
//! Holds: nothing is repeated for a caller that was told of a failure.

use super::{Caller, What, finish, undo};
use crate::actions::RejectedKind;
use crate::facts::StoreFault;
use crate::ids::GroupId;
use crate::lab::{Ctx, Lab};
use crate::record::GroupRecord;

/// The store has it.
pub(crate) fn committed(lab: &mut Lab, id: &GroupId, sequence: u64, ctx: &mut Ctx<'_>) {
    let Some(group) = lab.groups.get_mut(id) else {
        return;
    };
    match group.in_flight.take() {
        Some(flight) if flight.record.sequence == sequence => {
            group.in_doubt = false;
            group.hold(flight.record.clone());
            finish(lab, &flight, ctx);
        }
        other => group.in_flight = other,
    }
}

/// Somebody else moved the sequence: the same changes are applied to what is stored now.
pub(crate) fn lost(lab: &mut Lab, id: &GroupId, record: GroupRecord, ctx: &mut Ctx<'_>) {
    let Some(group) = lab.groups.get_mut(id) else {
        return;
    };
    group.hold(record);
    group.in_doubt = false;
    let Some(flight) = group.in_flight.take() else {
        return;
    };
    group.requeue(flight, ctx);
}

/// The commit was too late for the caller with the least time: that one is told, and the others' changes are tried again.
fn too_late(lab: &mut Lab, id: &GroupId, ctx: &mut Ctx<'_>) {
    let flight = lab.groups.get_mut(id).and_then(|g| g.in_flight.take());
    let Some(mut flight) = flight else { return };
    let least_ms = flight.callers.iter().map(|caller| caller.deadline_ms).min();
    let over_ms = least_ms.unwrap_or_default().max(ctx.now.boot_ms);
    let is_late = |caller: &Caller| caller.deadline_ms <= over_ms;
    for change in &flight.changes {
        if change.caller.as_ref().is_some_and(is_late) {
            undo(lab, change, ctx);
        }
    }
    for caller in flight.callers.extract_if(.., |caller| is_late(caller)) {
        caller.reject_late(ctx);
    }
    if let Some(group) = lab.groups.get_mut(id) {
        group.requeue(flight, ctx);
    }
}

/// The store did not take it, or nobody knows: every caller is told, nothing is repeated for them.
pub(crate) fn failed(lab: &mut Lab, id: &GroupId, fault: StoreFault, ctx: &mut Ctx<'_>) {
    let message = match fault {
        StoreFault::TooLate => return too_late(lab, id, ctx),
        StoreFault::Unavailable => "the wish could not be stored: the store is not reachable",
        StoreFault::Refused => "the wish could not be stored: the store refused it",
    };
    let Some(group) = lab.groups.get_mut(id) else {
        return;
    };
    group.recall(ctx);
    group.retry_ms = Some(ctx.now.boot_ms.saturating_add(ctx.policy.store_retry_ms));
    let Some(flight) = group.in_flight.take() else {
        return;
    };
    group.in_doubt |= fault == StoreFault::Unavailable;
    for caller in &flight.callers {
        ctx.reject(caller.ticket, RejectedKind::Unavailable, message);
    }
    for change in flight.changes.into_iter().rev() {
        let nobody_waits = change.caller.is_none() && matches!(change.what, What::GiveBack(_));
        match lab.groups.get_mut(id) {
            // If it was stored after all, these machines are wanted no more, and only their orders stop them.
            Some(group) if nobody_waits && group.in_doubt => group.queue.push_front(change),
            Some(_) | None => undo(lab, &change, ctx),
        }
    }
}
