//! Names, times and tokens that the whole core shares.
//!
//! Holds: a [`Token`] compares epoch first, then sequence; ids minted from (seed, epoch, counter) never repeat.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name; the edges have checked its form.
            #[must_use]
            pub fn new(name: &str) -> Self {
                Self(Arc::from(name))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<Arc<str>> for $name {
            /// Shares the text; the edges have checked its form.
            fn from(text: Arc<str>) -> Self {
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A group, as `<namespace>/<name>`: the id that the cluster-autoscaler sees.
    GroupId
);
name!(
    /// A machine: the name of its Node resource, unique over all watched namespaces.
    MachineId
);
name!(
    /// An agent: by default the name of the machine it runs on.
    AgentId
);

impl MachineId {
    /// The name's text, to be shared.
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.0
    }
}

/// One waiting caller. The shell maps it to whoever waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The present, from two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on the boot clock (it runs on during suspend). Every deadline is held against it.
    pub boot_ms: u64,
    /// Milliseconds since 1970. Only shown, stored for people, and used to order machines by longest off.
    pub wall_ms: i64,
}

/// The fencing token of an operation: executors refuse anything below the highest one they have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Raised by every change of leader and every start.
    pub epoch: u32,
    /// Raised by every command to the same machine.
    pub seq: u32,
}

/// A ULID as text: 26 characters of Crockford's base 32.
pub type CommandId = String;

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Mints ULIDs from the wall clock and (seed, epoch, counter).
#[derive(Clone, Debug)]
pub(crate) struct Mint {
    seed: u64,
    epoch: u32,
    counter: u64,
}

impl Mint {
    pub(crate) fn new(seed: u64, epoch: u32) -> Self {
        Self {
            seed,
            epoch,
            counter: 0,
        }
    }

    pub(crate) fn set_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.counter = 0;
    }

    pub(crate) fn ulid(&mut self, wall_ms: i64) -> CommandId {
        self.counter += 1;
        let high = mix(self.seed ^ (u64::from(self.epoch) << 32) ^ self.counter);
        let low = mix(high ^ self.counter.rotate_left(17));
        // 48 bits of time, then 80 bits that (seed, epoch, counter) determine.
        let time = u128::from(u64::try_from(wall_ms).unwrap_or(0) & 0xFFFF_FFFF_FFFF);
        let value = (time << 80) | (u128::from(high & 0xFFFF) << 64) | u128::from(low);
        (0..26u32)
            .map(|i| char::from(CROCKFORD[((value >> (125 - 5 * i)) & 31) as usize]))
            .collect()
    }
}

/// The finalizer of splitmix64: a bijection, so distinct counters give distinct ids under one seed and epoch.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn tokens_compare_epoch_before_sequence() {
        assert!(Token { epoch: 2, seq: 0 } > Token { epoch: 1, seq: 900 });
        assert!(Token { epoch: 2, seq: 2 } > Token { epoch: 2, seq: 1 });
    }

    #[test]
    fn ulids_are_distinct_sorted_by_time_and_repeatable() {
        let mut mint = Mint::new(7, 3);
        let ids: BTreeSet<_> = (0..10_000).map(|_| mint.ulid(1_700_000_000_000)).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 26));
        assert!(mint.ulid(1_700_000_000_001) > mint.ulid(1_700_000_000_000));
        assert_eq!(Mint::new(7, 3).ulid(5), Mint::new(7, 3).ulid(5));
        assert_ne!(Mint::new(7, 4).ulid(5), Mint::new(7, 3).ulid(5));
    }
}
