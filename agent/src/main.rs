//! The process `homelab-agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::args::main()
}
