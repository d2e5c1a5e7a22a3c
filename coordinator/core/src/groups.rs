//! The stored size of a group: one commit in flight, later changes coalesced behind it.
//!
//! In: changes to the wanted set, and the store's answers. Out: [`Action::Commit`], answers to callers.
//! Holds: a caller hears Done only after the store has said so; a caller whose deadline passed before the commit
//! changes nothing; identical increases that nobody has looked at in between have one effect.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

mod answers;

pub(crate) use answers::{committed, failed, lost};

use crate::actions::{Action, Answer, RejectedKind};
use crate::choice;
use crate::concerns::Concerns;
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
    /// Changed as a whole alone, by `hold`.
    pub(crate) record: GroupRecord,
    /// The wanted machines of the record by name.
    wanted: Vec<MachineId>,
    in_flight: Option<InFlight>,
    queue: VecDeque<Change>,
    remembered: Option<Remembered>,
    retry_ms: Option<u64>,
    /// The last commit may have been stored or not. Until the next one shows it, what `record` says is not certain.
    in_doubt: bool,
    /// Machines that nobody waits for are given back again from then on; an attempt has failed.
    pub(crate) give_back_ms: Option<u64>,
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

impl Caller {
    /// Tells it that its time is up and nothing was done.
    pub(crate) fn reject_late(self, ctx: &mut Ctx<'_>) {
        ctx.reject(
            self.ticket,
            RejectedKind::DeadlineExceeded,
            "the caller's deadline passed before anything was stored",
        );
    }
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
    /// Without these machines.
    Remove { machines: Vec<MachineId> },
    /// Without those that a removal gives back.
    GiveBack(u64),
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
    pub(crate) fn new(spec: GroupSpec, record: GroupRecord, ctx: &Ctx<'_>) -> Self {
        let mut group = Self {
            spec,
            wanted: by_name(&record.wanted),
            record,
            in_flight: None,
            queue: VecDeque::new(),
            remembered: None,
            retry_ms: None,
            in_doubt: false,
            give_back_ms: None,
            frozen_until_ms: None,
            concerns: Concerns::new(),
        };
        group.recall(ctx);
        group
    }

    /// From now on this is what is stored.
    fn hold(&mut self, record: GroupRecord) {
        self.wanted = by_name(&record.wanted);
        self.record = record;
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
        self.hold(record);
        self.recall(ctx);
        self.in_doubt = false;
    }

    /// The increase that is stored is the one whose repetition is recognised.
    fn recall(&mut self, ctx: &Ctx<'_>) {
        let last = self.record.last_increase.as_ref();
        self.remembered = last.and_then(|increase| {
            let age_ms = u64::try_from(ctx.now.wall_ms.checked_sub(increase.at_ms)?).ok()?;
            Some(Remembered {
                delta: increase.delta,
                at_ms: ctx.now.boot_ms.checked_sub(age_ms)?,
                sequence: self.record.sequence,
            })
        });
    }

    /// Whether it is not known if the last commit was stored.
    pub(crate) fn in_doubt(&self) -> bool {
        self.in_doubt
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
        self.in_flight.is_none() && self.queue.is_empty() && !self.in_doubt
    }

    pub(crate) fn wants(&self, machine: &MachineId) -> bool {
        self.wanted.binary_search(machine).is_ok()
    }

    pub(crate) fn frozen(&self, ctx: &mut Ctx<'_>) -> bool {
        self.frozen_until_ms.is_some_and(|until| !ctx.due(until))
    }

    /// A commit did not happen: its changes are first in the queue again, for those callers of it that still wait.
    fn requeue(&mut self, flight: InFlight, ctx: &Ctx<'_>) {
        self.recall(ctx);
        let growth = flight.changes.iter().rev().find_map(|c| match c.what {
            What::Increase(growth) => Some(growth),
            What::Add { .. } | What::Remove { .. } | What::GiveBack(_) => None,
        });
        let (mut again, mut joined) = (flight.changes, flight.callers);
        again.retain(|change| {
            change.caller.is_none_or(|caller| {
                let at = joined.iter().position(|waiting| *waiting == caller);
                at.map(|at| joined.remove(at)).is_some()
            })
        });
        // Whoever had joined as a repetition is in no change: it waits behind the increase that it repeats.
        let joined = joined.into_iter().filter_map(|caller| {
            Some(Change {
                what: What::Increase(growth?),
                caller: Some(caller),
            })
        });
        again.extend(joined);
        for change in again.into_iter().rev() {
            self.queue.push_front(change);
        }
    }

    fn repeats(&self, growth: Growth, ctx: &Ctx<'_>) -> bool {
        self.remembered.as_ref().is_some_and(|last| {
            last.delta == growth.delta
                // Nobody can have looked at what comes yet: that was another group of this name.
                && (growth.looked < last.sequence || growth.looked > self.record.sequence)
                && ctx.now.boot_ms < last.at_ms.saturating_add(ctx.policy.duplicate_ms)
        })
    }
}

/// Starts the commits that are due.
pub(crate) fn run(lab: &mut Lab, ctx: &mut Ctx<'_>) {
    let due: Vec<GroupId> = lab
        .groups
        .values()
        .filter(|group| !group.queue.is_empty() || group.in_doubt)
        .filter(|group| group.in_flight.is_none() || group.queue.iter().any(is_increase))
        .map(|group| group.spec.id.clone())
        .collect();
    for id in due {
        join_repetitions(lab, &id, ctx);
        start(lab, &id, ctx);
    }
}

fn by_name(wanted: &[MachineId]) -> Vec<MachineId> {
    let mut sorted = wanted.to_vec();
    sorted.sort_unstable();
    sorted
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
            What::Add { .. } | What::Remove { .. } | What::GiveBack(_) => false,
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
        if let Some(caller) = change.caller
            && ctx.now.boot_ms >= caller.deadline_ms
        {
            undo(lab, &change, ctx);
            caller.reject_late(ctx);
            continue;
        }
        match apply(lab, id, &mut record, &change, ctx) {
            Ok(()) => {
                callers.extend(change.caller);
                applied.push(change);
            }
            Err((kind, message)) => {
                undo(lab, &change, ctx);
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
    // In doubt even the same wish is written anew: the store refuses it if it has taken the last one, and else takes no other
    // write with that sequence.
    if flight.record.wanted == group.record.wanted && !group.in_doubt {
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
        What::Remove { machines } => {
            remove(lab, id, record, machines);
            Ok(())
        }
        What::GiveBack(removal) => {
            let machines = removal::narrow(lab, *removal);
            permission::check_minimum(lab, id, &record.wanted, &machines)?;
            remove(lab, id, record, &machines);
            Ok(())
        }
    }
}

fn remove(lab: &mut Lab, id: &GroupId, record: &mut GroupRecord, machines: &[MachineId]) {
    let before = record.wanted.len();
    record.wanted.retain(|machine| !machines.contains(machine));
    if record.wanted.len() != before {
        forget_increase(lab, id, record);
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
fn undo(lab: &mut Lab, change: &Change, ctx: &mut Ctx<'_>) {
    if let What::GiveBack(removal) = &change.what {
        removal::undo(lab, *removal, ctx);
    }
}

fn finish(lab: &mut Lab, flight: &InFlight, ctx: &mut Ctx<'_>) {
    for caller in &flight.callers {
        ctx.answer(caller.ticket, Answer::Done);
    }
    for change in &flight.changes {
        if let What::GiveBack(removal) = &change.what {
            removal::finish(lab, *removal);
        }
    }
}
