//! What a process costs: resident memory and CPU time, as the kernel counts them.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::figures;
use crate::harness::Process;

const KIB_PER_MIB: f64 = 1024.0;

/// CPU time of all threads of a process so far. Threads that have ended are not in it; ours live as long as their process.
pub(super) fn cpu_time(process: &Process) -> Result<Duration> {
    let folder = format!("/proc/{}/task", process.id());
    let mut spent = Duration::ZERO;
    for thread in fs::read_dir(&folder).with_context(|| format!("list {folder}"))? {
        spent += thread_time(&thread?.path())?;
    }
    Ok(spent)
}

/// CPU time so far of the thread with this folder in `/proc`.
pub(super) fn thread_time(thread: &Path) -> Result<Duration> {
    let file = thread.join("schedstat");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let nanos = first_number(&text);
    let nanos = nanos.with_context(|| format!("{} begins with no number", file.display()))?;
    Ok(Duration::from_nanos(nanos))
}

/// Resident memory in MiB: the whole, what is the process' own, what are pages of files, and the peak.
pub(super) struct Resident {
    pub(super) mib: f64,
    own: f64,
    files: f64,
    peak: f64,
}

/// What a process has resident now.
pub(super) fn resident(process: &Process) -> Result<Resident> {
    let file = format!("/proc/{}/status", process.id());
    let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let mib = |name: &str| {
        let kib = field(&text, name).with_context(|| format!("{file} has no {name}"))?;
        anyhow::Ok(figures::rounded(kib / KIB_PER_MIB))
    };
    Ok(Resident {
        mib: mib("VmRSS")?,
        own: mib("RssAnon")?,
        files: mib("RssFile")?,
        peak: mib("VmHWM")?,
    })
}

impl Resident {
    pub(super) fn told(&self) -> Value {
        json!({"value": self.mib, "own": self.own, "files": self.files, "peak": self.peak})
    }

    /// The same beside its goal.
    pub(super) fn against(&self, goal_mib: f64) -> Value {
        let mut told = self.told();
        told["goal"] = goal_mib.into();
        told
    }
}

/// A field of `/proc/<pid>/status` in KiB.
fn field(status: &str, name: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "VmRSSx:\t1 kB\nVmRSS:\t   20480 kB\nRssAnon:\t     512 kB\n";
        assert_eq!(field(status, "VmRSS"), Some(20_480.0));
        assert_eq!(field(status, "Vm"), None);
        assert_eq!(first_number("123456 7 8\n"), Some(123_456));
    }
}
