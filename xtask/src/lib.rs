//! Developer commands: `cargo xtask <command>`; see `cargo xtask help`.
//! Holds: needs nothing but cargo to run; whatever else a command needs, it installs or names.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

pub mod args;
pub mod bench;
pub mod check;
pub mod codegen;
pub mod contract;
pub mod demo;
pub mod dist;
pub mod fuzz;
pub mod set_up;
pub mod shell;
pub mod test;
pub mod toolchain;
pub mod workspace;

pub use args::run;
