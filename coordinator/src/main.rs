//! The program `homelab-coordinator`; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    coordinator::main(std::env::args_os())
}
