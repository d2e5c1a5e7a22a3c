//! The power state of a machine as one word.

use crate::wire_enum::wire_enum;

wire_enum! {
    /// Whether a machine has power; the unknown arm counts as neither.
    pub enum Power {
        /// It runs.
        On = "on",
        /// It does not run.
        Off = "off",
    }
}
