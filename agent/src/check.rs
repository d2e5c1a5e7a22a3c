//! `check`: one line for each thing that must be right, and whether it is.
//! Out: `ok` or `FAIL`, what, and how it stands; exit code 64 if the configuration is wrong, 1 if anything else fails.
//! Not here: anything that changes power; nothing is armed or written but the state folder's key at the first start.

use crate::args::{EXIT_USAGE, complain};
use crate::clock::Clock;
use crate::config::{HostPower, Settings};
use crate::finding::{Complaint, Finding};
use crate::host::list_nics;
use crate::journal_file::JournalFile;
use crate::run::link_options;
use crate::{result_key, segments};
use agent_core::Stored;
use hardware::nic::WakeFlag;
use proto_link::LinkEvent;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::timeout;

/// How long the broker may take.
const BROKER: Duration = Duration::from_secs(10);

/// Looks at everything.
pub(crate) async fn check(file: &Path) -> ExitCode {
    let settings = match Settings::read(file) {
        Ok(settings) => settings,
        Err(error) => return complain(&error, ExitCode::from(EXIT_USAGE)),
    };
    tell(look(file, &settings).await)
}

async fn look(file: &Path, settings: &Settings) -> Vec<(&'static str, Finding)> {
    let mut findings = vec![
        (
            "config",
            Ok(format!("{} (id {})", file.display(), settings.id)),
        ),
        ("boot id", boot_id(settings)),
        ("state", state(settings)),
        ("journal", journal(settings)),
        ("broker", broker(settings).await),
        ("power off", power_off(settings).await),
    ];
    findings.extend(
        network_cards(settings)
            .into_iter()
            .map(|finding| ("wake flag", finding)),
    );
    if let Some(relay) = &settings.relay {
        let found = segments::look(relay).into_iter();
        findings.extend(found.map(|finding| ("segment", finding)));
        findings.push(("credentials", credentials(&relay.credentials)));
    }
    findings
}

fn tell(findings: Vec<(&'static str, Finding)>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (what, finding) in findings {
        let (mark, detail) = match finding {
            Ok(detail) => ("ok  ", detail),
            Err(Complaint::NotNow(detail)) => {
                if code == ExitCode::SUCCESS {
                    code = ExitCode::FAILURE;
                }
                ("FAIL", detail)
            }
            Err(Complaint::Wrong(detail)) => {
                code = ExitCode::from(EXIT_USAGE);
                ("FAIL", detail)
            }
        };
        // A closed standard output changes nothing of what was found.
        let _ = writeln!(
            std::io::stdout(),
            "{mark} {what:<11} {}",
            detail.replace('\n', " ")
        );
    }
    code
}

fn boot_id(settings: &Settings) -> Finding {
    let path = &settings.paths.boot_id;
    let wrong = |error: &dyn std::error::Error| {
        Complaint::Wrong(format!("paths.boot_id = {path:?}: {error}"))
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let boot: proto_mqtt::BootId = text.trim().parse().map_err(|error| wrong(&error))?;
    Ok(format!(
        "{boot}, up for {} s",
        Clock::of_host(&settings.paths.uptime).now().boot_ms / 1000
    ))
}

fn state(settings: &Settings) -> Finding {
    let folder = &settings.state_dir;
    let wrong = |error: std::io::Error| {
        Complaint::Wrong(format!(
            "state_dir = {folder:?}: must be a folder that the agent can write to ({error})"
        ))
    };
    let key = result_key::load_or_make(folder).map_err(wrong)?;
    try_to_write(folder).map_err(wrong)?;
    Ok(format!(
        "{}, result key {}",
        folder.display(),
        key.public_key()
    ))
}

fn try_to_write(folder: &Path) -> std::io::Result<()> {
    let path = folder.join("check.new");
    std::fs::write(&path, b"")?;
    std::fs::remove_file(path)
}

fn journal(settings: &Settings) -> Finding {
    match JournalFile::new(&settings.state_dir).load() {
        Stored::Readable(journal) => Ok(format!("{} orders", journal.entries.len())),
        Stored::Unreadable => {
            let what = "journal.json in the state folder cannot be read; repair or remove it";
            Err(Complaint::NotNow(what.to_owned()))
        }
    }
}

/// Logs in under a name of its own, so that the running agent keeps its connection.
async fn broker(settings: &Settings) -> Finding {
    let options = link_options(settings, &format!("{}-check", settings.id));
    let connected = proto_link::connect(options);
    let (link, mut events) = connected.map_err(|error| Complaint::Wrong(error.to_string()))?;
    let finding = match timeout(BROKER, events.recv()).await {
        Ok(Some(LinkEvent::Up { .. } | LinkEvent::Message { .. })) => Ok(format!(
            "{} accepts user {}",
            settings.broker, settings.username
        )),
        Ok(Some(LinkEvent::Down { reason })) => Err(Complaint::NotNow(reason.to_string())),
        Ok(None) => Err(Complaint::NotNow("the link ended".to_owned())),
        Err(_) => Err(Complaint::NotNow(format!(
            "{} did not answer within {} s",
            settings.broker,
            BROKER.as_secs()
        ))),
    };
    link.close().await;
    finding
}

async fn power_off(settings: &Settings) -> Finding {
    match &settings.host {
        HostPower::Logind => logind().await,
        HostPower::Systemctl => program("systemctl").map_err(Complaint::Wrong),
        HostPower::Command { off, reboot } => {
            let programs = [Some(off), reboot.as_ref()];
            let found = programs
                .into_iter()
                .flatten()
                .filter_map(|argv| argv.first())
                .map(|name| program(name));
            found
                .collect::<Result<Vec<_>, _>>()
                .map(|found| found.join(", "))
                .map_err(|error| Complaint::Wrong(format!("host: {error}")))
        }
    }
}

/// Asks logind whether this user may, without a password prompt; only the agent's own user gets its answer.
async fn logind() -> Finding {
    let ask = async {
        let bus = zbus::Connection::system().await?;
        let manager = Some("org.freedesktop.login1.Manager");
        let reply = bus
            .call_method(
                Some("org.freedesktop.login1"),
                "/org/freedesktop/login1",
                manager,
                "CanPowerOff",
                &(),
            )
            .await?;
        reply.body().deserialize::<String>()
    };
    match timeout(BROKER, ask).await {
        Ok(Ok(answer)) if answer == "yes" => Ok("logind allows it to this user".to_owned()),
        Ok(Ok(answer)) => Err(Complaint::NotNow(format!(
            "logind says {answer} to this user; install the polkit rule, and check as the agent's user"
        ))),
        Ok(Err(error)) => program("systemctl")
            .map_err(|_| Complaint::NotNow(format!("no logind ({error}) and no systemctl"))),
        Err(_) => Err(Complaint::NotNow("logind did not answer".to_owned())),
    }
}

fn program(name: &str) -> Result<String, String> {
    let folders = if name.contains('/') {
        ""
    } else {
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    };
    let executable = |path: &std::path::PathBuf| {
        std::fs::metadata(path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let found = folders
        .split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(executable);
    found
        .map(|path| path.display().to_string())
        .ok_or_else(|| format!("there is no program {name}"))
}

fn network_cards(settings: &Settings) -> Vec<Finding> {
    let cards = list_nics(&settings.paths.nics);
    if cards.is_empty() {
        return vec![Ok(
            "no physical network card: magic packets cannot wake this host".to_owned(),
        )];
    }
    let finding = |card: &hardware::nic::Nic| {
        let name = format!("{} {}", card.name, card.mac);
        match &card.wake {
            WakeFlag::Armed => Ok(format!("{name} wakes on a magic packet")),
            WakeFlag::Disarmed => Ok(format!(
                "{name} is not set to wake; it is set before each power-off"
            )),
            WakeFlag::NotSupported => Ok(format!("{name} cannot wake on a magic packet")),
            WakeFlag::Unknown(why) => Err(Complaint::NotNow(format!("{name}: {why}"))),
        }
    };
    cards.iter().map(finding).collect()
}

fn credentials(folder: &Path) -> Finding {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(format!(
                "{} does not exist: this relay wakes, but speaks to no BMC",
                folder.display()
            ));
        }
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    let users: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".username"))
        .collect();
    for user in &users {
        for kind in ["password", "hosts"] {
            if !names.iter().any(|name| *name == format!("{user}.{kind}")) {
                let what = format!("{}/{user}.{kind} is missing", folder.display());
                return Err(Complaint::Wrong(what));
            }
        }
    }
    let authorities: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".pem"))
        .collect();
    let listed = |names: &[&str]| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    Ok(format!(
        "{}: {}; authorities: {}",
        folder.display(),
        listed(&users),
        listed(&authorities)
    ))
}

fn unreadable(folder: &Path, error: &std::io::Error) -> Complaint {
    Complaint::Wrong(format!("relay.credentials = {folder:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_the_exit_code() {
        let [good, not_now, wrong] = [
            Ok(String::new()),
            Err(Complaint::NotNow(String::new())),
            Err(Complaint::Wrong(String::new())),
        ];
        for (findings, code) in [
            (vec![&good], ExitCode::SUCCESS),
            (vec![&not_now, &good], ExitCode::FAILURE),
            (vec![&not_now, &wrong], ExitCode::from(64)),
            (vec![&wrong, &not_now], ExitCode::from(64)),
        ] {
            let findings = findings.into_iter().map(|finding| ("x", finding.clone()));
            assert_eq!(tell(findings.collect()), code);
        }
    }

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        assert!(program("sh").is_ok());
        assert_eq!(program("/bin/sh"), Ok("/bin/sh".to_owned()));
        assert_eq!(
            program("no-such-program"),
            Err("there is no program no-such-program".to_owned())
        );
        let plain = tempfile::NamedTempFile::new().expect("a file that is not executable");
        assert!(program(&plain.path().display().to_string()).is_err());
    }

    #[test]
    fn incomplete_credentials_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(credentials(&folder.path().join("gone")).is_ok());
        for file in ["r720.username", "r720.password"] {
            std::fs::write(folder.path().join(file), "x").expect("a file");
        }
        assert!(
            matches!(credentials(folder.path()), Err(Complaint::Wrong(line)) if line.ends_with("r720.hosts is missing"))
        );
        std::fs::write(folder.path().join("r720.hosts"), "x").expect("a file");
        assert!(
            credentials(folder.path())
                .is_ok_and(|line| line.ends_with(": r720; authorities: none"))
        );
        std::fs::write(folder.path().join("lab.pem"), "x").expect("a file");
        assert!(credentials(folder.path()).is_ok_and(|line| line.ends_with("authorities: lab")));
    }
}
