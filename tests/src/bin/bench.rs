//! `cargo xtask bench`: measures release builds and prints the figures as JSON.

use std::{env, io::Write, process::ExitCode};

use tests::bench::{Bench, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let benches = match Bench::parse(&arguments) {
        Ok(benches) => benches,
        Err(fault) => return fail(&fault, 64),
    };
    match run(&benches).await {
        Ok(report) => {
            let printed = writeln!(std::io::stdout(), "{report:#}");
            printed.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Err(fault) => fail(&fault, 1),
    }
}

fn fail(fault: &anyhow::Error, code: u8) -> ExitCode {
    let _closed = writeln!(std::io::stderr(), "bench: {fault:#}");
    ExitCode::from(code)
}
