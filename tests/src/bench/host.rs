//! The computer that the figures were taken on.

use std::fs;

use serde_json::{Value, json};

/// Processor, cores, memory, kernel; what cannot be read is null.
pub(super) fn describe() -> Value {
    let cores = std::thread::available_parallelism().ok();
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let memory_gib = value_of("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kib| kib.div_ceil(1024 * 1024));
    json!({
        "cpu": value_of("/proc/cpuinfo", "model name"),
        "cores": cores.map(usize::from),
        "memory_gib": memory_gib,
        "kernel": kernel,
    })
}

/// The first value of a key in a file of `key: value` lines.
fn value_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = |line: &str| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value)
}
