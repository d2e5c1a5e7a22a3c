//! The one place where custom resources and the core's types meet, for both modes.
//!
//! In: Group and Node as stored or read from a file. Out: specs and records of the core, and back.
//! Out: statuses made from a view: conditions, words and sentences for people.
//! Holds: pure functions; a record that is stored and read again is the same, to the second and to the sizes of the schema.
//! Not here: what is valid (coordinator-crds), and who reads or writes where (inputs, outputs).

mod advertised;
mod conditions;
mod energy;
mod records;
mod specs;
mod statuses;

pub use conditions::{Finding, refresh};
pub use records::{ask, group_record, machine_record, pinned_key, store_machine, wanted};
pub use specs::{
    DEFAULT_NAMESPACE, Fault, Judgement, Place, group_id, group_spec, judge, machine_id,
    machine_spec,
};
pub use statuses::{Present, describe_group, describe_machine, invalid_spec, shown_power};

/// Cuts a wall clock to whole seconds, which is all that a status keeps.
fn whole_second(ms: i64) -> coordinator_crds::Time {
    coordinator_crds::time::from_unix_ms(ms.div_euclid(1000) * 1000)
}

#[cfg(test)]
pub(crate) mod tests;
