//! The program `homelabctl`; what it does is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    homelabctl::main(std::env::args_os())
}
