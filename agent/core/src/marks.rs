//! The high-water marks: the highest token accepted for each target.
//! Holds: a token is accepted if it is greater than the mark, or equal to it with the same id.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use proto_mqtt::report::MAX_MARKS;
use proto_mqtt::{AgentId, Token, Ulid};

/// More targets than any relay serves; beyond it the lowest mark is forgotten, and challenges still protect its target.
const MAX_TARGETS: usize = 1024;

/// The highest token accepted for a target, and for which command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The machine.
    pub target: AgentId,
    /// The highest token.
    pub token: Token,
    /// The command that bore it.
    pub id: Ulid,
}

#[derive(Debug, Default)]
pub(crate) struct Marks {
    by_target: BTreeMap<AgentId, (Token, Ulid)>,
    floor: Token,
    changes: u64,
}

impl Marks {
    pub(crate) fn restore(floor: Token, stored: &[Mark]) -> Self {
        let mut marks = Self {
            floor,
            ..Self::default()
        };
        for mark in stored {
            marks.raise(&mark.target, mark.token, mark.id);
        }
        marks
    }

    pub(crate) fn accepts(&self, target: &AgentId, token: Token, id: Ulid) -> bool {
        let above_mark = match self.by_target.get(target) {
            Some((mark, marked)) => token > *mark || (token == *mark && id == *marked),
            None => true,
        };
        above_mark && token >= self.floor
    }

    pub(crate) fn raise(&mut self, target: &AgentId, token: Token, id: Ulid) {
        self.changes += 1;
        if self.by_target.len() == MAX_TARGETS && !self.by_target.contains_key(target) {
            let lowest = self.by_target.iter().min_by_key(|(_, (token, _))| *token);
            if let Some(lowest) = lowest.map(|(target, _)| target.clone()) {
                self.by_target.remove(&lowest);
            }
        }
        self.by_target.insert(target.clone(), (token, id));
    }

    /// Refuses every earlier leader from now on, for all targets.
    pub(crate) fn bar(&mut self, token: Token) {
        self.changes += 1;
        self.floor = self.floor.max(Token {
            epoch: token.epoch,
            seq: 0,
        });
    }

    /// Lower tokens are refused for every target.
    pub(crate) fn floor(&self) -> Token {
        self.floor
    }

    pub(crate) fn get(&self, target: &AgentId) -> Option<Mark> {
        let (token, id) = *self.by_target.get(target)?;
        Some(Mark {
            target: target.clone(),
            token,
            id,
        })
    }

    /// Takes back a raise that did not reach the journal.
    pub(crate) fn put_back(&mut self, target: &AgentId, before: Option<Mark>) {
        self.changes += 1;
        match before {
            Some(mark) => self.by_target.insert(mark.target, (mark.token, mark.id)),
            None => self.by_target.remove(target),
        };
    }

    /// The highest token of all.
    pub(crate) fn highest(&self) -> Token {
        self.by_target
            .values()
            .map(|(token, _)| *token)
            .fold(self.floor, Token::max)
    }

    /// How often anything changed: whoever remembers the number knows whether what was told still holds.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// What a new leader has to exceed, for each target; the lowest give way where there are too many to tell.
    pub(crate) fn told(&self) -> BTreeMap<AgentId, Token> {
        let mut marks: Vec<(&AgentId, Token)> = self
            .by_target
            .iter()
            .map(|(target, (token, _))| (target, self.floor.max(*token)))
            .collect();
        marks.sort_by_key(|(_, token)| core::cmp::Reverse(*token));
        marks.truncate(MAX_MARKS);
        marks
            .into_iter()
            .map(|(target, token)| (target.clone(), token))
            .collect()
    }

    /// The marks of these targets, to be stored.
    pub(crate) fn of<'a>(&self, targets: impl Iterator<Item = &'a AgentId>) -> Vec<Mark> {
        let mut marks: Vec<Mark> = targets.filter_map(|target| self.get(target)).collect();
        marks.sort_by(|left, right| left.target.cmp(&right.target));
        marks.dedup_by(|left, right| left.target == right.target);
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn id(bits: u128) -> Ulid {
        Ulid::from_bits(bits)
    }

    fn token(epoch: u32, seq: u64) -> Token {
        Token { epoch, seq }
    }

    #[test]
    fn tokens_must_rise_for_each_target_alone() {
        let (a, b): (AgentId, AgentId) =
            ("a".parse().expect("a name"), "b".parse().expect("a name"));
        let mut marks = Marks::default();
        marks.raise(&a, token(1, 5), id(5));
        let cases = [
            (&a, token(1, 6), id(6), true),
            (&a, token(1, 5), id(5), true),
            (&a, token(1, 5), id(6), false),
            (&a, token(1, 4), id(4), false),
            (&a, token(0, 99), id(9), false),
            (&a, token(2, 0), id(9), true),
            (&b, token(0, 1), id(1), true),
        ];
        for (target, token, id, accepted) in cases {
            assert_eq!(
                marks.accepts(target, token, id),
                accepted,
                "{target} {token} {id}"
            );
        }
    }

    #[test]
    fn a_barrier_refuses_earlier_epochs_for_every_target() {
        let b: AgentId = "b".parse().expect("a name");
        let mut marks = Marks::default();
        marks.bar(token(3, 7));
        assert!(!marks.accepts(&b, token(2, 99), id(1)));
        assert!(marks.accepts(&b, token(3, 1), id(1)));
        marks.bar(token(2, 1));
        assert!(!marks.accepts(&b, token(2, 99), id(1)));
        assert_eq!(marks.highest(), token(3, 0));
    }

    #[test]
    fn the_number_of_targets_is_bounded() {
        let mut marks = Marks::default();
        for index in 0..2 * MAX_TARGETS {
            marks.raise(
                &format!("m{index}").parse().expect("a name"),
                token(1, index as u64),
                id(1),
            );
        }
        assert_eq!(marks.by_target.len(), MAX_TARGETS);
        let highest = token(1, 2 * MAX_TARGETS as u64 - 1);
        assert_eq!(marks.highest(), highest);
        let told = marks.told();
        assert_eq!(told.len(), MAX_MARKS);
        assert_eq!(told.values().max(), Some(&highest));
        let lowest = token(1, (2 * MAX_TARGETS - MAX_MARKS) as u64);
        assert_eq!(told.values().min(), Some(&lowest), "the highest are told");
    }

    #[test]
    fn what_is_told_counts_the_barrier() {
        let a: AgentId = "a".parse().expect("a name");
        let mut marks = Marks::default();
        marks.raise(&a, token(1, 5), id(5));
        marks.bar(token(3, 7));
        assert_eq!(marks.told(), [(a, token(3, 0))].into());
    }
}
