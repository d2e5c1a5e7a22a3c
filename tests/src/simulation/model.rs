//! The tiny model: what was asked for, and whether what is stored, sent and done follows from it.
//!
//! Holds: nothing moves power without a stored operation, no operation begins without a wish, no wish without an asker.
//! Holds: what is stored of a machine's power was so in the world, at most a declared hold time ago.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::{
    Answer, Ask, Command, GroupRecord, MachineId, MachineRecord, OperationKind, OverridePower,
    PowerPolicy, PowerState, Request, Ticket, Verb,
};

use super::declared::{HOLD_MS, LAG_MS};
use super::hosts::FIRMWARE_MS;
use super::world::World;

/// A request explains what happens for so long: the caller's deadline, a slow store and a restart fit into it.
const EXPLAINS_MS: u64 = 40_000;
/// A command may act so long after it was sent: its challenge is older then than any agent accepts.
pub(super) const COMMAND_MS: u64 = 36_000;
/// How long what was true of a machine's power may be told after it has changed: its hold time, and its signs on their way.
const HINDSIGHT_MS: u64 = HOLD_MS + 30_000;

/// The latest that a write of what was so before a declaration lands after it.
const LATE_MS: u64 = 5_000;
/// What a coordinator allows for clocks that are not exact to the second.
const SLACK_MS: u64 = 2_500 + LAG_MS;
/// The longest boot.
const BOOTING_MS: u64 = 50_000;

#[derive(Default)]
pub(super) struct Model {
    pub(super) broken: Option<String>,
    wishes: Vec<Wish>,
    pub(super) operations: BTreeMap<String, OperationKind>,
    pub(super) commands: BTreeMap<String, Sent>,
    pub(super) carried: BTreeSet<String>,
    /// The record that each coordinator handed to the store last.
    issued: BTreeMap<(u32, MachineId), MachineRecord>,
    /// When a wake of each machine was last handed out, and by which operation it is going down.
    ordered_ms: BTreeMap<String, u64>,
    pub(super) falling: BTreeMap<String, String>,
    tickets: u64,
    /// When a declaration came back.
    pub(super) declared_ms: BTreeMap<String, u64>,
}

impl Model {
    /// What took a machine down is over once it has power again.
    pub(super) fn forget_fall(&mut self, name: &str) {
        self.falling.remove(name);
    }
}

/// Something that somebody asked for.
struct Wish {
    at_ms: u64,
    request: Request,
    process: u32,
    tickets: Vec<Ticket>,
    /// It is stored.
    stored: bool,
    /// Nobody knows whether it is.
    unsure: bool,
    /// Every caller was told that nothing happened.
    refused: bool,
}

/// A command that a coordinator sent.
pub(super) struct Sent {
    pub(super) operation: String,
    pub(super) boot_id: Option<String>,
    pub(super) at_ms: u64,
    /// It moves power.
    moves: bool,
}

/// Whether a person asks for something that stops a machine.
fn stops(ask: Ask) -> bool {
    match ask {
        Ask::Power { power, .. } => power == OverridePower::Off,
        Ask::Prove => true,
        Ask::Release | Ask::Retry | Ask::ConfirmOff => false,
    }
}

impl World {
    /// A promise is broken; the first one counts.
    pub(super) fn breaks(&mut self, promise: String) {
        self.note(|| format!("BROKEN: {promise}"));
        self.model.broken.get_or_insert(promise);
    }

    pub(super) fn holds(&mut self, kept: bool, promise: impl FnOnce() -> String) {
        if !kept {
            self.breaks(promise());
        }
    }

    /// Somebody asks a coordinator; `tickets` callers ask the same at once.
    pub(super) fn wish(&mut self, process: u32, request: Request, callers: u64) -> Vec<Ticket> {
        let first = self.model.tickets + 1;
        self.model.tickets += callers;
        let tickets: Vec<Ticket> = (first..first + callers).map(Ticket).collect();
        self.model.wishes.push(Wish {
            at_ms: self.now_ms,
            request,
            process,
            tickets: tickets.clone(),
            stored: false,
            unsure: false,
            refused: false,
        });
        tickets
    }

    /// A coordinator is gone, and with it every answer that it owed.
    pub(super) fn forget_callers(&mut self, process: u32) {
        for wish in &mut self.model.wishes {
            wish.unsure |= wish.process == process;
        }
    }

    /// A caller hears that nobody knows.
    pub(super) fn forget_caller(&mut self, ticket: Ticket) {
        for wish in &mut self.model.wishes {
            wish.unsure |= wish.tickets.contains(&ticket);
            wish.tickets.retain(|t| *t != ticket);
        }
    }

    fn recent(&self) -> impl Iterator<Item = &Wish> {
        let since_ms = self.now_ms.saturating_sub(EXPLAINS_MS);
        self.model
            .wishes
            .iter()
            .rev()
            .take_while(move |wish| wish.at_ms >= since_ms)
    }

    fn may_leave(&self, name: &str) -> bool {
        let id = MachineId::new(name);
        let asked = self.recent().any(|wish| match &wish.request {
            Request::Delete { nodes, .. } => nodes.iter().any(|node| node.name == name),
            Request::Decrease { .. } => true,
            Request::Ask { machine, ask, .. } => *machine == id && stops(*ask),
            Request::Increase { .. } => false,
        });
        let record = self.store.machines.get(&id);
        let off_by_person = record.is_some_and(|record| {
            let held = record.override_.as_ref();
            held.is_some_and(|o| o.power == OverridePower::Off)
        });
        let unproven = record.is_none_or(|record| record.proven_at_ms.is_none());
        let lost = self.was_off_lately(name);
        let declared_ms = self.model.declared_ms.get(name).copied().unwrap_or(0);
        let undeclared = !self.specs.contains_key(name) || self.now_ms < declared_ms + LATE_MS;
        let always_off = self.policy_of(name) == PowerPolicy::AlwaysOff;
        asked || off_by_person || unproven || lost || undeclared || always_off
    }

    fn policy_of(&self, name: &str) -> PowerPolicy {
        self.specs
            .get(name)
            .map_or(PowerPolicy::Auto, |spec| spec.power)
    }

    fn was_off_lately(&self, name: &str) -> bool {
        self.hosts.get(name).is_some_and(|host| {
            !host.has_power() || self.now_ms < host.went_off_ms + 2 * HINDSIGHT_MS
        })
    }

    fn was_on_lately(&self, name: &str) -> bool {
        self.hosts
            .get(name)
            .is_some_and(|host| host.has_power() || self.now_ms < host.went_off_ms + HINDSIGHT_MS)
    }

    /// A machine that runs without being listed, and may be counted from now on; or one that a proof wakes again.
    fn may_be_adopted(&self, machine: &MachineId) -> bool {
        let record = self.store.machines.get(machine);
        let proof = record.is_some_and(|r| r.order.as_ref().is_some_and(|o| o.then_wake));
        // What is stored of a machine and of its group are two writes, on their way together.
        let issued = self
            .model
            .issued
            .iter()
            .filter(|((_, id), _)| id == machine);
        let proven = !self.group.require_proof
            || record
                .into_iter()
                .chain(issued.map(|(_, record)| record))
                .any(|record| record.proven_at_ms.is_some());
        proof || proven && self.was_on_lately(machine.as_str())
    }

    /// A change of the wanted set lands.
    pub(super) fn judge_commit(&mut self, record: &GroupRecord, unsure: bool) {
        let before = self.store.group.wanted.clone();
        for machine in before.iter().filter(|m| !record.wanted.contains(m)) {
            let may = self.may_leave(machine.as_str());
            self.holds(may, || format!("{machine} left the wish and nobody asked"));
        }
        let added: Vec<&MachineId> = record
            .wanted
            .iter()
            .filter(|machine| !before.contains(machine))
            .collect();
        if added.is_empty() {
            return;
        }
        let adoptable = added.iter().filter(|m| self.may_be_adopted(m)).count();
        let since_ms = self.now_ms.saturating_sub(EXPLAINS_MS);
        let fits = |wish: &&mut Wish| match &wish.request {
            Request::Increase { delta, .. } => {
                let asked = usize::try_from(*delta).unwrap_or(0);
                let explained = asked <= added.len() && added.len() <= asked + adoptable;
                !wish.stored && !wish.refused && wish.at_ms >= since_ms && explained
            }
            Request::Delete { .. } | Request::Decrease { .. } | Request::Ask { .. } => false,
        };
        let increase = record.last_increase.is_some();
        let newest = self.model.wishes.iter_mut().rev();
        let wish = newest.filter(|_| increase).find(fits);
        let explained = match wish {
            Some(wish) => {
                wish.stored = true;
                wish.unsure |= unsure;
                true
            }
            None => added.len() == adoptable,
        };
        self.holds(explained, || {
            format!("{added:?} were added to the wish, {adoptable} may be adopted, and nobody asked for so many")
        });
    }

    pub(super) fn judge_answer(&mut self, ticket: Ticket, answer: &Answer) {
        self.note(|| format!("answer {ticket:?}: {answer:?}"));
        let find = |wish: &&mut Wish| wish.tickets.contains(&ticket);
        let Some(wish) = self.model.wishes.iter_mut().find(find) else {
            return self.breaks(format!("{ticket:?} was answered twice, or never asked"));
        };
        wish.tickets.retain(|t| *t != ticket);
        let kept = match (&wish.request, answer) {
            (Request::Increase { .. }, Answer::Done) => wish.stored,
            (Request::Increase { .. }, Answer::Rejected(_)) => !wish.stored || wish.unsure,
            (Request::Delete { nodes, .. }, Answer::Done) => {
                let named = |m: &MachineId| nodes.iter().any(|node| node.name == m.as_str());
                !self.store.group.wanted.iter().any(named)
            }
            (Request::Delete { .. } | Request::Decrease { .. } | Request::Ask { .. }, _) => true,
        };
        let none_left = wish.tickets.is_empty() && !wish.stored && !wish.unsure;
        wish.refused |= none_left && matches!(answer, Answer::Rejected(_));
        let what = match answer {
            Answer::Done => "a request was granted",
            Answer::Rejected(_) => "a request was rejected",
        };
        self.tally.count(what);
        self.holds(kept, || {
            format!("{ticket:?}: {answer:?} is not what is stored")
        });
    }

    /// Whether a machine is wished on, by what is stored and what is about to be.
    pub(super) fn is_wished_on(&self, machine: &MachineId, record: &MachineRecord) -> bool {
        let held = record.override_.as_ref().map(|o| o.power);
        match (self.policy_of(machine.as_str()), held) {
            (PowerPolicy::Unmanaged, _) | (_, Some(OverridePower::Off)) => false,
            (_, Some(OverridePower::Running)) | (PowerPolicy::AlwaysOn, None) => true,
            (PowerPolicy::AlwaysOff, None) => false,
            (PowerPolicy::Auto, None) => self.store.group.wanted.contains(machine),
        }
    }

    pub(super) fn is_wished_off(&self, machine: &MachineId, record: &MachineRecord) -> bool {
        let held = record.override_.as_ref().map(|o| o.power);
        match (self.policy_of(machine.as_str()), held) {
            (PowerPolicy::Unmanaged, _) | (_, Some(OverridePower::Running)) => false,
            (_, Some(OverridePower::Off)) | (PowerPolicy::AlwaysOff, None) => true,
            (PowerPolicy::AlwaysOn, None) => false,
            (PowerPolicy::Auto, None) => record.order.is_some(),
        }
    }

    /// A leader is about to store a record.
    pub(super) fn judge_record(&mut self, process: u32, id: &MachineId, record: &MachineRecord) {
        if !self.may_write(process) {
            return;
        }
        let stored = || self.store.machines.get(id).cloned().unwrap_or_default();
        let key = (process, id.clone());
        let before = self.model.issued.get(&key).cloned().unwrap_or_else(stored);
        self.model.issued.insert(key, record.clone());
        self.holds(record.token >= before.token, || {
            format!("{id}: its token fell")
        });
        let operation = record.operation.as_ref();
        let begun = operation.filter(|op| before.operation.as_ref().is_none_or(|b| b.id != op.id));
        if let Some(operation) = begun {
            let (kind, by) = (operation.kind, operation.by.clone());
            self.note(|| format!("{kind:?} of {id} begins ({by}): {}", operation.id));
            let wished = match kind {
                OperationKind::Wake => self.is_wished_on(id, record),
                // A wake that had left is taken back by an order; a refused stop goes on whatever was wished since.
                OperationKind::Stop => {
                    let goes_on = before.operation.as_ref().map(|op| op.kind) == Some(kind);
                    goes_on || record.order.is_some() || self.is_wished_off(id, record)
                }
            };
            self.holds(wished, || {
                format!("{kind:?} of {id} begins, and nobody wishes it")
            });
        }
        let was_ordered = before
            .operation
            .as_ref()
            .is_some_and(|op| op.ordered_at_ms.is_some());
        let ordered =
            operation.filter(|op| op.ordered_at_ms.is_some() && (begun.is_some() || !was_ordered));
        if ordered.is_some_and(|op| op.kind == OperationKind::Wake) {
            let name = id.as_str().to_owned();
            self.model.ordered_ms.insert(name, self.now_ms);
        }
        if before.order.is_none() && record.order.is_some() {
            self.judge_order(id, &before, record);
        }
        self.judge_sight(id, &before, record);
    }

    /// An order to be off comes from a request, or takes a wake back that nobody wants any more.
    fn judge_order(&mut self, id: &MachineId, before: &MachineRecord, record: &MachineRecord) {
        let asked = self.recent().any(|wish| match &wish.request {
            Request::Delete { nodes, .. } => nodes.iter().any(|node| node.name == id.as_str()),
            Request::Decrease { .. } => true,
            Request::Ask { machine, ask, .. } => machine == id && *ask == Ask::Prove,
            Request::Increase { .. } => false,
        });
        let waking = before.operation.as_ref().map(|op| op.kind) == Some(OperationKind::Wake);
        let taken_back = waking && !self.is_wished_on(id, record);
        self.holds(asked || taken_back, || {
            format!("{id} is ordered off and nobody asked")
        });
    }

    /// On, off and proven are what the world was like, not long ago.
    fn judge_sight(&mut self, id: &MachineId, before: &MachineRecord, record: &MachineRecord) {
        let name = id.as_str();
        if record.power != before.power {
            let state = record.power.state;
            self.note(|| format!("{id} is told to be {state:?}"));
            let true_lately = match state {
                PowerState::Unknown => true,
                PowerState::Off => self.hosts.get(name).is_some_and(|host| {
                    // One that boots again cannot be heard yet.
                    !host.has_power() || self.now_ms < host.came_on_ms + BOOTING_MS
                }),
                PowerState::Running => self.was_on_lately(name),
            };
            self.holds(true_lately, || {
                format!("{id} is told to be {state:?} and is not")
            });
        }
        if record.proven_at_ms.is_some() && record.proven_at_ms != before.proven_at_ms {
            let ordered = self.model.ordered_ms.get(name).copied();
            let came_ms = self.hosts.get(name).map_or(0, |host| host.came_on_ms);
            // A machine counts its uptime from its kernel's start: nobody can tell what its firmware did before.
            let ours = ordered.is_some_and(|at| at <= came_ms + FIRMWARE_MS + SLACK_MS);
            self.tally.count("a machine was proven");
            self.holds(ours, || format!("{id} is called proven and came by itself"));
        }
    }

    /// Writes down what concerns a command, unless it only reads.
    pub(super) fn note_command(&mut self, id: &str, line: impl FnOnce() -> String) {
        let moves = self.model.commands.get(id).is_none_or(|sent| sent.moves);
        if moves {
            self.note(line);
        }
    }

    pub(super) fn remember_operation(&mut self, id: &MachineId) {
        let stored = self.store.machines.get(id);
        if let Some(operation) = stored.and_then(|record| record.operation.as_ref()) {
            let known = (operation.id.clone(), operation.kind);
            self.model.operations.insert(known.0, known.1);
        }
    }

    /// A coordinator sends a command.
    pub(super) fn judge_command(&mut self, process: u32, command: &Command) {
        let verb = format!("{:?}", command.verb);
        let word = verb.split(['(', ' ']).next().unwrap_or_default().to_owned();
        let sent = Sent {
            operation: command.operation.clone(),
            boot_id: command.boot_id.clone(),
            at_ms: self.now_ms,
            moves: !matches!(command.verb, Verb::RedfishStatus(_)),
        };
        let moves = sent.moves;
        self.model.commands.insert(command.id.clone(), sent);
        if !moves {
            return;
        }
        let (id, token, target) = (&command.id, command.token, &command.target);
        self.note(|| {
            let via = &command.agent;
            format!("{process} sends {word} for {target} to {via}: {id}, token {token:?}")
        });
        let stored = self.model.operations.contains_key(&command.operation);
        self.holds(stored, || {
            format!("{word} for {target} was sent before it was stored")
        });
        if let Verb::PowerOff = command.verb {
            let meant = command.boot_id.is_some();
            self.holds(meant, || format!("{target} is to stop in whatever boot"));
        }
    }
}
