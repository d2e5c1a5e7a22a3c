//! The inputs without Kubernetes: a folder with the lab's YAML documents, and a local socket for `homelabctl`.
//!
//! In: files, requests of people. Out: facts about what is declared, answers.
//! Holds: a lab is taken whole or not at all; while its files are faulty the last good one stays in force.
//! Not here: what is stored (`outputs::standalone`), and what a document may say (`coordinator-crds`).

mod board;
mod declared;
mod folder;
mod follow;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod socket;

pub use super::declaration::Declaration;
pub use board::{Board, Shown};
pub use declared::Declared;
pub use folder::ReadFolder;
pub use follow::{LabFolder, ReadLab};
pub use socket::{AgentAccess, BindSocket, ServedLab, Socket};
