//! Chance from a seed: the same on every machine, for ever.

/// A splitmix64 generator.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A number below `sides`.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.bits() % sides.max(1)
    }

    /// A number from `least` to below `bound`.
    pub(super) fn between(&mut self, least: u64, bound: u64) -> u64 {
        least + self.roll(bound - least)
    }

    /// True so often of a hundred times.
    pub(super) fn percent(&mut self, chance: u64) -> bool {
        chance > 0 && self.roll(100) < chance
    }

    /// One of several.
    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.roll(all.len() as u64)).ok()?;
        all.get(index)
    }
}
