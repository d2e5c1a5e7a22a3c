//! What a process costs: resident memory and CPU time, as the kernel counts them.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;

use super::figures;
use crate::harness::Process;

const KIB_PER_MIB: f64 = 1024.0;

/// CPU time of all threads of a process so far. Threads that have ended are not in it; ours live as long as their process.
pub(super) fn cpu_time(process: &Process) -> Result<Duration> {
    let folder = format!("/proc/{}/task", process.id());
    let mut nanos = 0;
    for thread in fs::read_dir(&folder).with_context(|| format!("list {folder}"))? {
        let file = thread?.path().join("schedstat");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        nanos += first_number(&text)
            .with_context(|| format!("{} begins with no number", file.display()))?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Resident memory in MiB beside its goal: the whole, what is the process' own, what are pages of files, and the peak.
pub(super) fn resident(process: &Process, goal_mib: f64) -> Result<Value> {
    let file = format!("/proc/{}/status", process.id());
    let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let mib = |name: &str| {
        let kib = field(&text, name).with_context(|| format!("{file} has no {name}"))?;
        anyhow::Ok(figures::rounded(kib / KIB_PER_MIB))
    };
    let mut told = figures::against(mib("VmRSS")?, goal_mib);
    told["own"] = mib("RssAnon")?.into();
    told["files"] = mib("RssFile")?.into();
    told["peak"] = mib("VmHWM")?.into();
    Ok(told)
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
