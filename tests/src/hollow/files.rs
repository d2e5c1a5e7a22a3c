//! The files of one hollow machine: what Linux would show of its hardware, its boot id, its agent's configuration.
//! Holds: everything lies in the machine's own folder, so several machines on one host do not share a boot id.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::{
    harness::{WorkDir, programs},
    recorder::Mac,
};

const BOOT_ID: &str = "boot_id";
const UPTIME: &str = "uptime";
const MACHINE_ID: &str = "machine-id";
/// Stands for `/sys/class/net`.
const NICS: &str = "net";
const SWITCH: &str = "power";
/// The wake modes that are set on a card.
const ARMED: &str = "wake_armed";

/// How a machine's agent is started.
#[derive(Debug, Clone)]
pub struct AgentSpec {
    /// The `homelab-agent` binary.
    pub program: PathBuf,
    /// The `hollow-host` binary, which the agent runs to shut its machine down.
    pub host_program: PathBuf,
    /// Merged over the configuration that the machine writes: at least `broker` and `coordinator_key`.
    pub config: Table,
    /// Variables for the process.
    pub environment: Vec<(String, String)>,
}

impl AgentSpec {
    /// Our own programs with this configuration.
    ///
    /// # Errors
    /// When a program has not been built, or the text is no TOML.
    pub fn ours(config: &str) -> Result<Self> {
        Ok(Self {
            program: programs::ours("homelab-agent")?,
            host_program: programs::ours("hollow-host")?,
            config: config.parse().context("the agent's configuration")?,
            environment: Vec::new(),
        })
    }
}

/// The socket that stands for the machine's power switch, as its operating system sees it.
pub(super) fn switch(work: &WorkDir) -> PathBuf {
    work.file(SWITCH)
}

/// Writes what does not change between boots.
pub(super) fn write_hardware(work: &WorkDir, mac: Mac) -> Result<()> {
    let id: String = mac.0.iter().map(|octet| format!("{octet:02x}")).collect();
    work.write(MACHINE_ID, format!("{id:0>32}\n"))?;
    let card = [
        ("address", format!("{mac}\n")),
        ("addr_assign_type", "0\n".to_owned()),
        ("carrier", "1\n".to_owned()),
        ("flags", "0x1003\n".to_owned()),
        ("operstate", "up\n".to_owned()),
        // ARPHRD_ETHER.
        ("type", "1\n".to_owned()),
        // A card with hardware behind it has this folder; bridges and tunnels do not.
        ("device/power/wakeup", "enabled\n".to_owned()),
        // In ethtool's letters: it can wake on a magic packet, and the agent has not told it to.
        ("wake_supported", "pumbg\n".to_owned()),
        (ARMED, "d\n".to_owned()),
    ];
    for (name, content) in card {
        work.write(&format!("{NICS}/eth0/{name}"), content)?;
    }
    Ok(())
}

/// Writes a boot id that no boot had before, and returns it.
pub(super) fn new_boot_id(work: &WorkDir) -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid").context("make a boot id")?;
    work.write(BOOT_ID, &id)?;
    // It is up from now on; all hollow machines share one kernel and its clock.
    work.write(UPTIME, "0.00 0.00\n")?;
    Ok(id.trim().to_owned())
}

/// The present boot id, or an empty text.
pub(super) fn boot_id(work: &WorkDir) -> String {
    let text = fs::read_to_string(work.file(BOOT_ID)).unwrap_or_default();
    text.trim().to_owned()
}

/// Whether the card is set to wake its host on a magic packet.
pub(super) fn is_armed(work: &WorkDir) -> bool {
    let modes = fs::read_to_string(work.file(&format!("{NICS}/eth0/{ARMED}")));
    modes.is_ok_and(|letters| letters.contains('g'))
}

/// Writes the agent's configuration and returns its path.
pub(super) fn write_agent_config(work: &WorkDir, name: &str, spec: &AgentSpec) -> Result<PathBuf> {
    let mut config = agent_defaults(work, name, &spec.host_program);
    merge(&mut config, &spec.config);
    let text = toml::to_string(&config).context("write the agent's configuration as TOML")?;
    work.write("agent.toml", text)
}

fn agent_defaults(work: &WorkDir, name: &str, host_program: &Path) -> Table {
    let path = |name: &str| Value::String(work.file(name).display().to_string());
    let text = |text: &str| Value::String(text.to_owned());
    let command = |verb: &str| {
        let program = text(&host_program.display().to_string());
        Value::Array(vec![program, text("signal"), path(SWITCH), text(verb)])
    };
    let table = |entries: Vec<(&str, Value)>| -> Table {
        let entries = entries.into_iter();
        entries
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    };
    let host = table(vec![
        ("command", command("poweroff")),
        ("reboot_command", command("reboot")),
    ]);
    let paths = table(vec![
        ("boot_id", path(BOOT_ID)),
        ("uptime", path(UPTIME)),
        ("machine_id", path(MACHINE_ID)),
        ("nics", path(NICS)),
        ("maintenance", path("maintenance")),
    ]);
    table(vec![
        ("id", text(name)),
        ("state_dir", path("state")),
        // Tests stop a machine right after its boot, and often.
        ("min_uptime", text("0s")),
        ("power_acts_per_hour", Value::Integer(1_000)),
        ("heartbeat", text("1s")),
        ("host", Value::Table(host)),
        ("paths", Value::Table(paths)),
    ])
}

/// Lays `over` over `base`, table by table.
fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (Some(_) | None, value) => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_configuration_lies_over_the_machines_own() {
        let work = WorkDir::new("config").unwrap();
        let config = "min_uptime = '5s'\nbroker = 'mqtt://127.0.0.1:1'\n[host]\nextra = 1\n";
        let spec = AgentSpec {
            program: "/agent".into(),
            host_program: "/host".into(),
            config: config.parse().unwrap(),
            environment: Vec::new(),
        };
        let path = write_agent_config(&work, "nuc1", &spec).unwrap();
        let written: Table = fs::read_to_string(path).unwrap().parse().unwrap();
        assert_eq!(written["id"].as_str(), Some("nuc1"));
        assert_eq!(written["min_uptime"].as_str(), Some("5s"));
        assert_eq!(written["broker"].as_str(), Some("mqtt://127.0.0.1:1"));
        assert_eq!(written["host"]["extra"].as_integer(), Some(1));
        let command = written["host"]["command"].as_array().unwrap();
        let command: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
        let switch = switch(&work);
        let expected = ["/host", "signal", switch.to_str().unwrap(), "poweroff"];
        assert_eq!(command, expected);
        let boot_id = work.file(BOOT_ID);
        assert_eq!(written["paths"]["boot_id"].as_str(), boot_id.to_str());
    }

    #[test]
    fn each_boot_has_another_id() {
        let work = WorkDir::new("boots").unwrap();
        assert_eq!(boot_id(&work), "");
        let first = new_boot_id(&work).unwrap();
        assert_eq!(boot_id(&work), first);
        assert_ne!(new_boot_id(&work).unwrap(), first);
    }
}
