//! The readings of a host, from the kernel's files.
//! Holds: a file that is missing or strange gives no reading; it never stops the report.

use proto_mqtt::Text;
use proto_mqtt::report::{Disk, Health};
use proto_mqtt::version::V1;
use std::collections::BTreeMap;
use std::path::Path;

/// More sensors than a person looks at, fewer than fill a message.
const MAX_TEMPERATURES: usize = 16;

/// Reads everything now.
pub(super) fn read(up_s: u64) -> Health {
    Health {
        v: V1,
        at_up_s: up_s,
        at_wall_s: None,
        load1: load(&text("/proc/loadavg")),
        mem_used_pct: memory_used(&text("/proc/meminfo")),
        temps: temperatures(Path::new("/sys/class/hwmon")),
        disks: root_disk().into_iter().collect(),
        power_w: None,
        energy_wh: None,
        users: users(),
        inhibitors: 0,
        targets: Vec::new(),
    }
}

fn text(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn load(loadavg: &str) -> f32 {
    loadavg
        .split(' ')
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or(0.0)
}

fn memory_used(meminfo: &str) -> f32 {
    let kib = |name: &str| -> Option<f32> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    match (kib("MemTotal:"), kib("MemAvailable:")) {
        (Some(total), Some(available)) if total > 0.0 => 100.0 * (1.0 - available / total),
        (Some(_) | None, Some(_) | None) => 0.0,
    }
}

/// The first sensor of each chip, in degrees.
fn temperatures(chips: &Path) -> BTreeMap<String, f32> {
    let Ok(entries) = std::fs::read_dir(chips) else {
        return BTreeMap::new();
    };
    let reading = |chip: std::fs::DirEntry| {
        let millidegrees: f32 = text(chip.path().join("temp1_input")).trim().parse().ok()?;
        let name = text(chip.path().join("name"));
        Some((
            format!("{}_{}", name.trim(), chip.file_name().display()),
            millidegrees / 1000.0,
        ))
    };
    entries
        .flatten()
        .filter_map(reading)
        .take(MAX_TEMPERATURES)
        .collect()
}

fn root_disk() -> Option<Disk> {
    let stat = rustix::fs::statvfs("/").ok()?;
    let used = stat.f_blocks.checked_sub(stat.f_bfree)?;
    let seen_by_users = used + stat.f_bavail;
    if seen_by_users == 0 {
        return None;
    }
    let used_permille = u16::try_from(1000 * used / seen_by_users).ok()?;
    Some(Disk {
        name: Text::from("/"),
        used_pct: f32::from(used_permille) / 10.0,
        smart: None,
    })
}

/// People that logind knows of.
fn users() -> u16 {
    let count = std::fs::read_dir("/run/systemd/users").map_or(0, Iterator::count);
    u16::try_from(count).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert!((load("0.52 0.58 0.59 1/467 12345\n") - 0.52).abs() < f32::EPSILON);
        let meminfo = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    250 kB\n";
        assert!((memory_used(meminfo) - 75.0).abs() < 0.001);
        for strange in [
            "",
            "x",
            "MemTotal: x kB\nMemAvailable: 5 kB",
            "MemTotal: 0 kB\nMemAvailable: 0 kB",
        ] {
            assert!(
                memory_used(strange).abs() < f32::EPSILON && load(strange).abs() < f32::EPSILON,
                "{strange}"
            );
        }
    }

    #[test]
    fn each_chip_gives_one_temperature() {
        let folder = tempfile::tempdir().expect("a folder");
        for (chip, name, input) in [
            ("hwmon0", "coretemp\n", "52000\n"),
            ("hwmon1", "nvme\n", "nonsense"),
        ] {
            let chip = folder.path().join(chip);
            std::fs::create_dir(&chip).expect("a chip");
            std::fs::write(chip.join("name"), name).expect("a file");
            std::fs::write(chip.join("temp1_input"), input).expect("a file");
        }
        assert_eq!(
            temperatures(folder.path()),
            BTreeMap::from([("coretemp_hwmon0".to_owned(), 52.0)])
        );
        assert!(temperatures(&folder.path().join("gone")).is_empty());
    }

    #[test]
    fn a_report_always_fits_into_a_message() {
        let bytes = proto_mqtt::Payload::encode(&read(7));
        assert!(bytes.len() < proto_mqtt::MAX_PAYLOAD_BYTES / 2);
    }
}
