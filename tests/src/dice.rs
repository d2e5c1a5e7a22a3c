//! Chance from a seed, so that a run can be repeated.
//! Not here: the dice of the simulation, whose seeds are the names of its runs.

use std::time::Duration;

/// Mixed into each seed, as small ones have few bits.
const SALT: u64 = 0x9E37_79B9_7F4A_7C15;

/// Numbers that look random.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        match seed ^ SALT {
            // Zero would stay zero for ever.
            0 => Self(SALT),
            mixed => Self(mixed),
        }
    }

    /// Any number.
    pub const fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Any index of so many.
    pub fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.roll() % count).unwrap_or(0)
    }

    /// Less than so many milliseconds.
    pub fn within_ms(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.roll() % most.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_seed_makes_dice_that_always_fall_the_same_way() {
        for seed in [0, 1, SALT] {
            let mut dice = Dice::new(seed);
            assert_ne!(dice.roll(), dice.roll(), "{seed}");
        }
    }
}
