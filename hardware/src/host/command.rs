//! Running one program with a time limit.
//! Holds: no shell; an environment of its own; the whole process group dies with the time limit or with the caller; of its
//! output at most 64 KiB are kept.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::fault::{Fault, FaultKind};
use crate::power::Applied;

/// More than any message; a program that writes more is not stopped, the rest is thrown away.
const MAX_OUTPUT: usize = 64 << 10;
/// What of it goes into a fault.
const MAX_SHOWN: usize = 300;
/// A child in the background may keep the output open after the program has ended.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the program and waits for its end.
pub(super) async fn run(argv: &[String], timeout: Duration) -> Result<Applied, Fault> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Fault::new(
            FaultKind::NotSupported,
            "no program is configured for this step",
        ));
    };
    let spawned = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let child = spawned.map_err(|fault| {
        let detail = format!("cannot start `{program}`: {fault}");
        Fault::new(FaultKind::InvalidConfig, detail)
    })?;
    let mut group = Group::of(&child);
    let Ok(ended) = tokio::time::timeout(timeout, finish(child)).await else {
        group.kill();
        let detail = format!("`{program}` did not end within {timeout:?} and was killed");
        return Err(Fault::new(FaultKind::Timeout, detail).with_possible_effect());
    };
    group.release();
    let (status, output) = ended.map_err(|fault| {
        let detail = format!("lost sight of `{program}`: {fault}");
        Fault::new(FaultKind::Transient, detail).with_possible_effect()
    })?;
    judge(program, status, &output)
}

fn judge(program: &str, status: ExitStatus, output: &str) -> Result<Applied, Fault> {
    if status.success() {
        let detail = format!("`{program}` ended without an error");
        return Ok(Applied::Sent { detail });
    }
    let kind = match status.code() {
        Some(64) => FaultKind::InvalidConfig,
        Some(69) => FaultKind::Unreachable,
        Some(75) => FaultKind::Transient,
        Some(77) => FaultKind::Auth,
        Some(_) | None => FaultKind::Denied,
    };
    let words = if output.is_empty() {
        "it said nothing"
    } else {
        output
    };
    let detail = format!("`{program}` failed ({status}): {words}");
    // Nobody knows what it did before it failed.
    Err(Fault::new(kind, detail).with_possible_effect())
}

async fn finish(mut child: Child) -> std::io::Result<(ExitStatus, String)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reading = async { tokio::join!(read(stdout), read(stderr)) };
    tokio::pin!(reading);
    let mut texts = None;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            read = &mut reading, if texts.is_none() => texts = Some(read),
        }
    };
    if texts.is_none() {
        texts = tokio::time::timeout(OUTPUT_GRACE, reading).await.ok();
    }
    let (stdout, stderr) = texts.unwrap_or_default();
    let said = if stderr.is_empty() { stdout } else { stderr };
    Ok((status, shown(&said)))
}

/// Reads to the end so that the program never blocks, and keeps the beginning.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut stream) = stream else {
        return Vec::new();
    };
    let mut kept = Vec::new();
    let mut buffer = vec![0; 8 << 10];
    while let Ok(count) = stream.read(&mut buffer).await
        && count > 0
    {
        let room = MAX_OUTPUT - kept.len();
        kept.extend(buffer.iter().take(count.min(room)));
    }
    kept
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let spaced = text.replace(|character: char| character.is_control(), " ");
    spaced.trim().chars().take(MAX_SHOWN).collect()
}

/// The process group of a running program; killed when dropped, unless released.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn kill(&mut self) {
        if let Some(group) = self.0.take()
            && let Err(fault) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%fault, "process group not killed");
        }
    }

    /// The program has ended by itself, and its number may be given to another.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
