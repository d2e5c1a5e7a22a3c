//! The agent's configuration.
//! In: one TOML file, and the names of those beside it. Out: [`Settings`] of domain types, or one line that says what is wrong.
//! Holds: unknown fields are refused; relative paths begin at the file's folder; nothing of it is read again; the files that it names
//! (password, authority, credentials) are read when they are used.

mod error;
mod section;

pub(crate) use error::ConfigError;

use proto_link::BrokerUrl;
use proto_mqtt::key::PublicKey;
use proto_mqtt::{AgentId, Verb};
use section::Section;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest heartbeat with which a challenge is still fresh when it is used.
const MAX_HEARTBEAT: Duration = Duration::from_secs(15);

/// Everything that can be configured.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) id: AgentId,
    pub(crate) broker: BrokerUrl,
    pub(crate) username: String,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) coordinator_key: PublicKey,
    pub(crate) state_dir: PathBuf,
    pub(crate) allow: Vec<Verb>,
    pub(crate) min_uptime: Duration,
    pub(crate) acts_per_hour: usize,
    pub(crate) heartbeat: Duration,
    pub(crate) health: Duration,
    pub(crate) relay: Option<Relay>,
    pub(crate) host: HostPower,
    pub(crate) paths: Paths,
}

/// What the agent does for other machines.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    /// The network card of each segment; `None` = every physical one that is up.
    pub(crate) segments: BTreeMap<String, Option<String>>,
    /// The folder of BMC credentials.
    pub(crate) credentials: PathBuf,
}

/// How this host is taken down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostPower {
    /// By logind over D-Bus, or `systemctl` where there is none.
    Logind,
    /// By `systemctl`.
    Systemctl,
    /// By own programs.
    Command {
        /// Switches off.
        off: Vec<String>,
        /// Restarts, if that is possible at all.
        reboot: Option<Vec<String>>,
    },
}

/// Where the host tells about itself.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) boot_id: PathBuf,
    pub(crate) machine_id: PathBuf,
    pub(crate) uptime: PathBuf,
    pub(crate) nics: PathBuf,
    pub(crate) maintenance: PathBuf,
}

impl Settings {
    /// Reads the file, and looks whether those that it names can be read.
    pub(crate) fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable {
            file: file.display().to_string(),
            source,
        })?;
        Self::parse(&text, file)
    }

    pub(crate) fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let mut top = Section::parse(text, file)?;
        let id = own_id(&mut top)?;
        let settings = Self {
            broker: top.required(
                "broker",
                "the broker's address, as mqtts://192.168.1.10:8883",
            )?,
            username: top.text("username")?.unwrap_or_else(|| id.to_string()),
            password_file: top.file("password_file", "password")?,
            ca_file: top.file("ca_file", "ca.pem")?,
            coordinator_key: top
                .required("coordinator_key", "'ed25519:' and 43 characters of base64")?,
            state_dir: top.path("state_dir", "/var/lib/homelab-agent")?,
            allow: allowed(&mut top)?,
            min_uptime: top.duration("min_uptime", Duration::from_secs(180))?,
            acts_per_hour: top.number("power_acts_per_hour", 6)?,
            heartbeat: heartbeat(&mut top)?,
            health: top
                .duration("health", Duration::from_secs(60))?
                .max(Duration::from_secs(1)),
            relay: top.section("relay")?.map(relay).transpose()?,
            host: top.section("host")?.map_or(Ok(HostPower::Logind), host)?,
            paths: paths(top.section("paths")?, &top)?,
            id,
        };
        top.finish()?;
        Ok(settings)
    }
}

fn own_id(top: &mut Section) -> Result<AgentId, ConfigError> {
    const RIGHT: &str =
        "1 to 63 characters of a-z, 0-9, '-' and '.'; the host name is taken if it is absent";
    if let Some(id) = top.parsed("id", RIGHT)? {
        return Ok(id);
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_lowercase();
    name.parse()
        .map_err(|_| top.wrong("id", &format!("{name:?}"), RIGHT))
}

fn allowed(top: &mut Section) -> Result<Vec<Verb>, ConfigError> {
    let Some(words) = top.texts("allow")? else {
        return Ok(vec![Verb::PowerOff, Verb::PowerReboot]);
    };
    let verb = |word: &String| match Verb::from_word(word) {
        verb @ (Verb::PowerOff | Verb::PowerReboot) => Ok(verb),
        Verb::Wake
        | Verb::RedfishOn
        | Verb::RedfishOff
        | Verb::RedfishStatus
        | Verb::Cancel
        | Verb::Barrier
        | Verb::Refresh
        | Verb::Unknown => {
            Err(top.wrong("allow", &format!("{word:?}"), "power.off or power.reboot"))
        }
    };
    words.iter().map(verb).collect()
}

fn heartbeat(top: &mut Section) -> Result<Duration, ConfigError> {
    let heartbeat = top.duration("heartbeat", Duration::from_secs(10))?;
    if heartbeat < Duration::from_millis(100) || heartbeat > MAX_HEARTBEAT {
        return Err(top.wrong(
            "heartbeat",
            &format!("{heartbeat:?}"),
            "between 100ms and 15s",
        ));
    }
    Ok(heartbeat)
}

fn relay(mut section: Section) -> Result<Relay, ConfigError> {
    let mut segments = BTreeMap::new();
    for (segment, card) in section.text_map("interfaces")?.unwrap_or_default() {
        if segment.is_empty() || segment.len() > 63 || card.is_empty() || card.len() > 15 {
            let right = "a segment's name of 1 to 63 bytes and a network card's of 1 to 15";
            return Err(section.wrong("interfaces", &format!("{{ {segment} = {card:?} }}"), right));
        }
        segments.insert(segment, Some(card));
    }
    if segments.is_empty() {
        segments.insert("default".to_owned(), None);
    }
    let credentials = section.path("credentials", "credentials")?;
    section.finish()?;
    Ok(Relay {
        segments,
        credentials,
    })
}

fn host(mut section: Section) -> Result<HostPower, ConfigError> {
    let method = section.text("method")?;
    let off = section.argv("command")?;
    let reboot = section.argv("reboot_command")?;
    let host = match (method.as_deref(), off, reboot) {
        (None | Some("command"), Some(off), reboot) => HostPower::Command { off, reboot },
        (None | Some("logind"), None, None) => HostPower::Logind,
        (Some("systemctl"), None, None) => HostPower::Systemctl,
        (Some("command") | None, None, _) => {
            let right = "the program that switches off and its arguments, as [\"/sbin/poweroff\"]";
            return Err(section.missing("command", right));
        }
        (Some(method), _, _) => {
            let right = "\"logind\" or \"systemctl\", or \"command\" with `command`";
            return Err(section.wrong("method", &format!("{method:?}"), right));
        }
    };
    section.finish()?;
    Ok(host)
}

fn paths(section: Option<Section>, top: &Section) -> Result<Paths, ConfigError> {
    let mut section = section.unwrap_or_else(|| top.empty("paths"));
    let paths = Paths {
        boot_id: section.path("boot_id", "/proc/sys/kernel/random/boot_id")?,
        machine_id: section.path("machine_id", "/etc/machine-id")?,
        uptime: section.path("uptime", "/proc/uptime")?,
        nics: section.path("nics", "/sys/class/net")?,
        maintenance: section.path("maintenance", "/run/homelab-agent/maintenance")?,
    };
    section.finish()?;
    Ok(paths)
}

#[cfg(test)]
mod tests;
