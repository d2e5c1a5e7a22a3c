//! The fencing token of a command.
//! Holds: tokens compare by epoch, then by sequence; an executor keeps the highest it has accepted for each target.

use core::fmt;
use serde::{Deserialize, Serialize};

/// A fencing token: who led (epoch) and which grant it was (sequence).
///
/// The order of the fields is the order of comparison.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Token {
    /// The leader's epoch: grows with each change of leadership.
    pub epoch: u32,
    /// The grant inside the epoch.
    pub seq: u64,
}

impl Token {
    /// Lower than every token that is ever granted.
    pub const ZERO: Self = Self { epoch: 0, seq: 0 };
}

impl fmt::Display for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn epoch_decides_before_sequence() {
        let old_leader = Token { epoch: 1, seq: 99 };
        let new_leader = Token { epoch: 2, seq: 1 };
        assert!(new_leader > old_leader);
        assert!(Token { epoch: 2, seq: 2 } > new_leader);
        assert!(Token::ZERO < old_leader);
    }
}
