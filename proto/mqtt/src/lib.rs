//! The contract of coordinator and agents: topics, payloads and the signed envelope they exchange over MQTT.
//! In: bytes and topic names from a broker nobody trusts. Out: validated values, and the bytes of ours.
//! Holds: every decoder is bounded and total; topics are built and parsed in one place; fields are only ever added.
//! Not here: the MQTT connection (proto/link), what to do with a command (agent/core), when to send one (coordinator/core).
#![no_std]

extern crate alloc;

pub mod challenge;
pub mod command;
pub mod envelope;
pub mod key;
pub mod mac;
pub mod names;
pub mod order;
pub mod payload;
pub mod power;
pub mod report;
pub mod text;
pub mod token;
pub mod topics;
pub mod ulid;
pub mod version;
mod wire_enum;

pub use challenge::Challenge;
pub use command::{Actor, CommandBody};
pub use envelope::{Envelope, Purpose};
pub use mac::Mac;
pub use names::{AgentId, BootId, Instance};
pub use order::{Order, Verb};
pub use payload::{DecodeError, MAX_PAYLOAD_BYTES, Payload};
pub use power::Power;
pub use text::Text;
pub use token::Token;
pub use topics::{AgentTopic, Topic};
pub use ulid::Ulid;
