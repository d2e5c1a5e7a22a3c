//! The stored size of a group: one commit in flight, later changes coalesced behind it.
//!
//! In: changes to the wanted set, and the store's answers. Out: [`Action::Commit`], answers to callers.
//! Holds: a caller hears Done only after the store has said so; a caller whose deadline passed before the commit
//! changes nothing; identical increases that nobody has looked at in between have one effect.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::actions::{Action, Answer, RejectedKind};
use crate::choice;
use crate::concerns::Concerns;
use crate::facts::StoreFault;
use crate::ids::{GroupId, MachineId, Ticket};
use crate::lab::{Ctx, Lab};
use crate::permission;
use crate::record::{GroupRecord, Increase};
use crate::removal;
use crate::spec::GroupSpec;

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) spec: GroupSpec,
    pub(crate) record: GroupRecord,
    in_flight: Option<InFlight>,
    queue: VecDeque<Change>,
    remembered: Option<Remembered>,
    retry_ms: Option<u64>,
    /// Half of the group or more fell silent at once: nothing is decided until then.
    pub(crate) frozen_until_ms: Option<u64>,
    /// What people should mend, and have been told.
    pub(crate) concerns: Concerns,
}

/// A wish to change the wanted set.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) what: What,
    pub(crate) caller: Option<Caller>,
}

/// Who waits for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) ticket: Ticket,
    /// Until when, boot clock, milliseconds.
    pub(crate) deadline_ms: u64,
}

/// How much more is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) delta: i32,
    /// The highest sequence that the caller had looked at before.
    pub(crate) looked: u64,
}

/// What to change.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// More machines, chosen when the change is applied.
    Increase(Growth),
    /// These machines, for this reason.
    Add { machines: Vec<MachineId> },
    /// Without these machines; a removal is named where one waits for it.
    Remove {
        machines: Vec<MachineId>,
        removal: Option<u64>,
    },
}

#[derive(Clone, Debug)]
struct InFlight {
    record: GroupRecord,
    callers: Vec<Caller>,
    /// Applied again if the race is lost.
    changes: Vec<Change>,
}

/// The last size increase, to recognise its repetition.
#[derive(Clone, Debug)]
struct Remembered {
    delta: i32,
    at_ms: u64,
    sequence: u64,
}

impl Group {
    pub(crate) fn new(spec: GroupSpec, record: GroupRecord) -> Self {
        Self {
            spec,
            record,
            in_flight: None,
            queue: VecDeque::new(),
            remembered: None,
            retry_ms: None,
            frozen_until_ms: None,
            concerns: Concerns::new(),
        }
    }

    pub(crate) fn declare(&mut self, spec: GroupSpec) {
        self.spec = spec;
    }

    pub(crate) fn into_record(self) -> GroupRecord {
        self.record
    }

    /// Stored state read at start, or an echo. What a commit of ours is about to store is not overwritten.
    pub(crate) fn stored(&mut self, record: GroupRecord, ctx: &Ctx<'_>) {
        if self.in_flight.is_some() || record.sequence <= self.record.sequence {
            return;
        }
        self.remembered = record.last_increase.as_ref().and_then(|increase| {
            let age_ms = u64::try_from(ctx.now.wall_ms.checked_sub(increase.at_ms)?).ok()?;
            Some(Remembered {
                delta: increase.delta,
                at_ms: ctx.now.boot_ms.checked_sub(age_ms)?,
                sequence: record.sequence,
            })
        });
        self.record = record;
    }

    /// Everybody who waits for a change of this group.
    pub(crate) fn callers(&self) -> Vec<Ticket> {
        let flying = self.in_flight.iter().flat_map(|flight| &flight.callers);
        let queued = self
            .queue
            .iter()
            .filter_map(|change| change.caller.as_ref());
        flying.chain(queued).map(|caller| caller.ticket).collect()
    }

    pub(crate) fn push(&mut self, change: Change) {
        self.queue.push_back(change);
    }

    /// Nothing is under way: what `record` says is what is stored.
    pub(crate) fn settled(&self) -> bool {
        self.in_flight.is_none() && self.queue.is_empty()
    }

    pub(crate) fn wants(&self, machine: &MachineId) -> bool {
        self.record.wanted.contains(machine)
    }

    pub(crate) fn frozen(&self, ctx: &mut Ctx<'_>) -> bool {
        self.frozen_until_ms.is_some_and(|until| !ctx.due(until))
    }

    fn repeats(&self, growth: Growth, ctx: &Ctx<'_>) -> bool {
        self.remembered.as_ref().is_some_and(|last| {
            last.delta == growth.delta
                && growth.looked < last.sequence
                && ctx.now.boot_ms < last.at_ms.saturating_add(ctx.policy.duplicate_ms)
        })
    }
}

/// Starts the commits that are due.
pub(crate) fn run(lab: &mut Lab, ctx: &mut Ctx<'_>) {
    let due: Vec<GroupId> = lab
        .groups
        .values()
        .filter(|group| !group.queue.is_empty())
        .filter(|group| group.in_flight.is_none() || group.queue.iter().any(is_increase))
        .map(|group| group.spec.id.clone())
        .collect();
    for id in due {
        join_repetitions(lab, &id, ctx);
        start(lab, &id, ctx);
    }
}

fn is_increase(change: &Change) -> bool {
    matches!(change.what, What::Increase(_))
}

/// A repetition of the increase in flight shares its outcome.
fn join_repetitions(lab: &mut Lab, id: &GroupId, ctx: &Ctx<'_>) {
    let Some(group) = lab.groups.get_mut(id) else {
        return;
    };
    if group.in_flight.is_none() {
        return;
    }
    let queue = core::mem::take(&mut group.queue);
    let mut other_change = false;
    for change in queue {
        let repeats = match change.what {
            What::Increase(growth) => !other_change && group.repeats(growth, ctx),
            What::Add { .. } | What::Remove { .. } => false,
        };
        match (repeats, change.caller, group.in_flight.as_mut()) {
            (true, Some(caller), Some(flight)) => flight.callers.push(caller),
            (_, _, _) => {
                other_change = true;
                group.queue.push_back(change);
            }
        }
    }
}

fn start(lab: &mut Lab, id: &GroupId, ctx: &mut Ctx<'_>) {
    let Some(group) = lab.groups.get_mut(id) else {
        return;
    };
    if group.in_flight.is_some() || !group.retry_ms.is_none_or(|at| ctx.due(at)) {
        return;
    }
    group.retry_ms = None;
    let changes = core::mem::take(&mut group.queue);
    let sequence = group.record.sequence;
    let mut record = GroupRecord {
        wanted: group.record.wanted.clone(),
        sequence: sequence + 1,
        last_increase: None,
    };
    let mut callers = Vec::new();
    let mut applied = Vec::new();
    for change in changes {
        if let Some(Caller {
            ticket,
            deadline_ms,
        }) = change.caller
            && ctx.now.boot_ms >= deadline_ms
        {
            undo(lab, &change);
            ctx.reject(
                ticket,
                RejectedKind::DeadlineExceeded,
                "the caller's deadline passed before anything was stored",
            );
            continue;
        }
        match apply(lab, id, &mut record, &change, ctx) {
            Ok(()) => {
                callers.extend(change.caller);
                applied.push(change);
            }
            Err((kind, message)) => {
                undo(lab, &change);
                if let Some(Caller { ticket, .. }) = change.caller {
                    ctx.reject(ticket, kind, message);
                }
            }
        }
    }
    commit(
        lab,
        id,
        InFlight {
            record,
            callers,
            changes: applied,
        },
        ctx,
    );
}

fn commit(lab: &mut Lab, id: &GroupId, mut flight: InFlight, ctx: &mut Ctx<'_>) {
    let Some(group) = lab.groups.get_mut(id) else {
        return;
    };
    if flight.record.wanted == group.record.wanted {
        // Nothing to store: what was asked for is so already.
        finish(lab, &flight, ctx);
        return;
    }
    // Names that nobody declares here any more take room; alone they are not worth a write.
    let is_member = |m: &MachineId| lab.machines.get(m).is_some_and(|m| m.spec.group == *id);
    flight.record.wanted.retain(is_member);
    let expected = group.record.sequence;
    ctx.out.push(Action::Commit {
        group: id.clone(),
        expected,
        record: flight.record.clone(),
        deadline_ms: flight.callers.iter().map(|c| c.deadline_ms).min(),
    });
    group.in_flight = Some(flight);
}

type Refusal = (RejectedKind, String);

/// Applies a change to the set that is about to be stored.
fn apply(
    lab: &mut Lab,
    id: &GroupId,
    record: &mut GroupRecord,
    change: &Change,
    ctx: &mut Ctx<'_>,
) -> Result<(), Refusal> {
    match &change.what {
        What::Increase(growth) => increase(lab, id, record, *growth, ctx),
        What::Add { machines } => {
            for machine in machines {
                if !record.wanted.contains(machine) {
                    record.wanted.push(machine.clone());
                    forget_increase(lab, id, record);
                }
            }
            Ok(())
        }
        What::Remove { machines, removal } => {
            if removal.is_some() {
                permission::check_minimum(lab, id, &record.wanted, machines)?;
            }
            let before = record.wanted.len();
            record.wanted.retain(|machine| !machines.contains(machine));
            if record.wanted.len() != before {
                forget_increase(lab, id, record);
            }
            Ok(())
        }
    }
}

fn forget_increase(lab: &mut Lab, id: &GroupId, record: &mut GroupRecord) {
    record.last_increase = None;
    if let Some(group) = lab.groups.get_mut(id) {
        group.remembered = None;
    }
}

fn increase(
    lab: &mut Lab,
    id: &GroupId,
    record: &mut GroupRecord,
    growth: Growth,
    ctx: &mut Ctx<'_>,
) -> Result<(), Refusal> {
    let Some(group) = lab.groups.get(id) else {
        return Err((
            RejectedKind::NotFound,
            format!("group {id} is not declared"),
        ));
    };
    if group.repeats(growth, ctx) {
        return Ok(());
    }
    let delta = growth.delta;
    let chosen = choice::for_increase(lab, id, &record.wanted, delta, ctx)?;
    record.wanted.extend(chosen);
    record.last_increase = Some(Increase {
        delta,
        at_ms: ctx.now.wall_ms,
    });
    let remembered = Remembered {
        delta,
        at_ms: ctx.now.boot_ms,
        sequence: record.sequence,
    };
    if let Some(group) = lab.groups.get_mut(id) {
        group.remembered = Some(remembered);
    }
    Ok(())
}

/// A change that is given up takes what was prepared for it back.
fn undo(lab: &mut Lab, change: &Change) {
    if let What::Remove {
        removal: Some(removal),
        ..
    } = &change.what
    {
        removal::undo(lab, *removal);
    }
}

fn finish(lab: &mut Lab, flight: &InFlight, ctx: &mut Ctx<'_>) {
    for caller in &flight.callers {
        ctx.answer(caller.ticket, Answer::Done);
    }
    for change in &flight.changes {
        if let What::Remove {
            removal: Some(removal),
            ..
        } = &change.what
        {
            removal::finish(lab, *removal);
        }
    }
}

/// The store has it.
pub(crate) fn committed(lab: &mut Lab, id: &GroupId, sequence: u64, ctx: &mut Ctx<'_>) {
    let Some(group) = lab.groups.get_mut(id) else {
        return;
    };
    match group.in_flight.take() {
        Some(flight) if flight.record.sequence == sequence => {
            group.record = flight.record.clone();
            finish(lab, &flight, ctx);
        }
        other => group.in_flight = other,
    }
}

/// Somebody else moved the sequence: the same changes are applied to what is stored now.
pub(crate) fn lost(lab: &mut Lab, id: &GroupId, record: GroupRecord, _ctx: &mut Ctx<'_>) {
    let Some(group) = lab.groups.get_mut(id) else {
        return;
    };
    let Some(flight) = group.in_flight.take() else {
        group.record = record;
        return;
    };
    group.remembered = None;
    group.record = record;
    for change in flight.changes.into_iter().rev() {
        group.queue.push_front(change);
    }
    // Callers that had joined a repetition are not in any change: they wait behind the first increase.
    let known: Vec<Ticket> = group
        .queue
        .iter()
        .filter_map(|c| c.caller.map(|caller| caller.ticket))
        .collect();
    let joined: Vec<_> = flight
        .callers
        .into_iter()
        .filter(|caller| !known.contains(&caller.ticket))
        .collect();
    let growth = group.queue.iter().rev().find_map(|c| match c.what {
        What::Increase(growth) => Some(growth),
        What::Add { .. } | What::Remove { .. } => None,
    });
    for caller in joined {
        if let Some(growth) = growth {
            group.queue.push_back(Change {
                what: What::Increase(growth),
                caller: Some(caller),
            });
        }
    }
}

/// The store did not take it, or nobody knows: every caller is told, nothing is repeated for them.
pub(crate) fn failed(lab: &mut Lab, id: &GroupId, fault: StoreFault, ctx: &mut Ctx<'_>) {
    let Some(group) = lab.groups.get_mut(id) else {
        return;
    };
    group.remembered = None;
    group.retry_ms = Some(ctx.now.boot_ms.saturating_add(ctx.policy.store_retry_ms));
    let Some(flight) = group.in_flight.take() else {
        return;
    };
    let message = match fault {
        StoreFault::Unavailable => "the wish could not be stored: the store is not reachable",
        StoreFault::Refused => "the wish could not be stored: the store refused it",
    };
    for caller in &flight.callers {
        ctx.reject(caller.ticket, RejectedKind::Unavailable, message);
    }
    for change in &flight.changes {
        undo(lab, change);
    }
}
