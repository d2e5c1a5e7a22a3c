//! The ways in: each turns one part of the world into facts and questions for the engine.
//! In: gRPC calls, MQTT messages, watches, files. Out: facts, and answers to whoever asked.
//! Holds: what comes from outside is checked here; nothing behind this line meets an unchecked value.

pub mod autoscaler;
mod declaration;
pub mod kubernetes;
pub mod reports;
pub mod standalone;
