//! `cargo xtask demo`: machines that wake and sleep because a workload asks for them, all on loopback.

use std::{env, io::Write, process::ExitCode};

use tests::demo::{Settings, run};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let settings = match Settings::parse(&arguments) {
        Ok(settings) => settings,
        Err(fault) => return fail(&fault, 64),
    };
    run(settings).await.unwrap_or_else(|fault| fail(&fault, 1))
}

fn fail(fault: &anyhow::Error, code: u8) -> ExitCode {
    let _closed = writeln!(std::io::stderr(), "demo: {fault:#}");
    ExitCode::from(code)
}
