//! `run`: the main loop.
//! In: link events, answers of the host, time, signals. Out: exit code.
//! Holds: one task owns the core; whatever takes a while runs beside it and sends its answer back.

use crate::args::{EXIT_USAGE, complain};
use crate::clock::Clock;
use crate::config::{ConfigError, Settings};
use crate::host::{Host, POLICY_INTERVAL, RealHost};
use crate::journal_file::JournalFile;
use crate::publications::Publications;
use crate::shell::{Link, Shell};
use crate::signals::Signals;
use crate::{result_key, segments, systemd};
use agent_core::{Agent, Config, Input};
use proto_link::{LinkEvent, LinkOptions, Will};
use proto_mqtt::key::{COORDINATOR_KID, Signer, TrustedKeys};
use proto_mqtt::report::{Policy, Status};
use proto_mqtt::{AgentId, BootId, Instance, Text};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

/// Answers that may wait for the main loop: every order under way and every report that is tracked.
const ANSWERS: usize = 256;

/// Without a deadline of the core the loop still looks at the time: a suspend shows only there.
const IDLE: Duration = Duration::from_secs(10);

/// Connects and obeys until it is told to end.
pub(crate) async fn run(file: &Path) -> ExitCode {
    // First of all: a stop that comes while files are read is a stop and no failure.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return complain(&error, ExitCode::FAILURE),
    };
    match Settings::read(file).and_then(prepare) {
        Ok(prepared) => serve(prepared, signals).await,
        Err(error) => complain(&error, ExitCode::from(EXIT_USAGE)),
    }
}

/// A configuration whose files have been read.
struct Prepared {
    settings: Settings,
    config: Config,
    signer: Signer,
}

/// Reads and makes the files that the agent cannot do without.
fn prepare(settings: Settings) -> Result<Prepared, ConfigError> {
    link_options(&settings, settings.id.as_str())
        .check()
        .map_err(ConfigError::Link)?;
    let boot = read_boot(&settings)?;
    let signer =
        result_key::load_or_make(&settings.state_dir).map_err(|source| ConfigError::StateDir {
            folder: settings.state_dir.display().to_string(),
            source,
        })?;
    let mut inst = [0u8; 4];
    getrandom::fill(&mut inst).map_err(|error| ConfigError::Unreadable {
        file: "random source".to_owned(),
        source: std::io::Error::other(error),
    })?;
    let segments = settings.relay.as_ref().map(|relay| {
        relay
            .segments
            .keys()
            .map(|name| Text::from(name.as_str()))
            .collect()
    });
    let config = Config {
        id: settings.id.clone(),
        boot,
        inst: Instance(u32::from_be_bytes(inst)),
        version: Text::from(env!("CARGO_PKG_VERSION")),
        keys: TrustedKeys::only(COORDINATOR_KID, settings.coordinator_key),
        allow: settings.allow.clone(),
        segments,
        min_uptime_ms: millis(settings.min_uptime),
        acts_per_hour: settings.acts_per_hour,
        heartbeat_ms: millis(settings.heartbeat),
    };
    Ok(Prepared {
        settings,
        config,
        signer,
    })
}

fn read_boot(settings: &Settings) -> Result<BootId, ConfigError> {
    let path = &settings.paths.boot_id;
    let unreadable = |source| ConfigError::Unreadable {
        file: path.display().to_string(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    text.trim()
        .parse()
        .map_err(|error| unreadable(std::io::Error::other(error)))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn serve(prepared: Prepared, signals: Signals) -> ExitCode {
    let Prepared {
        settings,
        config,
        signer,
    } = prepared;
    let capabilities = config.capabilities().collect();
    let host: Arc<dyn Host> = Arc::new(RealHost::new(&settings, capabilities, signer.public_key()));
    let journal = JournalFile::new(&settings.state_dir);
    let clock = Clock::of_host(&settings.paths.uptime);
    let (agent, steps) = Agent::new(config, journal.load(), clock.now());
    let will = Arc::new(Mutex::new(agent.will(0)));

    let options = LinkOptions {
        will: will_of(&settings.id, &will),
        subscriptions: Publications::subscriptions(&settings.id),
        clock_file: Some(settings.state_dir.join("clock")),
        ..link_options(&settings, settings.id.as_str())
    };
    let (link, events) = match proto_link::connect(options) {
        Ok(connected) => connected,
        Err(error) => return complain(&ConfigError::Link(error), ExitCode::from(EXIT_USAGE)),
    };
    let (answers, answered) = mpsc::channel(ANSWERS);
    let publications = Publications::new(settings.id.clone(), signer);
    let mut shell = Shell {
        agent,
        link: link.clone(),
        host,
        publications,
        journal,
        clock,
        answers,
        will,
        policy: Policy::default(),
        announced: None,
        ended: false,
    };
    shell.start(steps);
    if let Some(relay) = &settings.relay {
        segments::warn(relay);
    }
    tracing::info!(id = %settings.id, broker = %settings.broker, "agent started");
    systemd::ready();
    let code = obey(
        &mut shell,
        Sources {
            events,
            answered,
            signals,
        },
        settings.health,
    )
    .await;
    systemd::stopping();
    link.close().await;
    code
}

/// The broker and how this agent logs in there.
pub(crate) fn link_options(settings: &Settings, client_id: &str) -> LinkOptions {
    let mut options = LinkOptions::new(settings.broker.clone(), client_id);
    options.username = Some(settings.username.clone());
    options.password_file = settings.password_file.clone();
    options.ca_file = settings.ca_file.clone();
    options
}

fn will_of(id: &AgentId, will: &Arc<Mutex<Status>>) -> Will {
    let (id, will) = (id.clone(), Arc::clone(will));
    Arc::new(move |conn| {
        let status = will.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(Publications::status(&id, &Status { conn, ..status }))
    })
}

/// Where inputs come from.
struct Sources {
    events: mpsc::Receiver<LinkEvent>,
    answered: mpsc::Receiver<Input>,
    signals: Signals,
}

async fn obey<L: Link>(shell: &mut Shell<L>, mut sources: Sources, health: Duration) -> ExitCode {
    let mut health = every(health);
    let mut policy = every(POLICY_INTERVAL);
    let watchdog = systemd::watchdog_interval();
    let mut pet = every(watchdog.unwrap_or(IDLE));
    while !shell.ended {
        let deadline = shell.until_deadline().unwrap_or(IDLE).min(IDLE);
        tokio::select! {
            event = sources.events.recv() => match event {
                Some(event) => shell.feed(input(event)),
                None => return complain(&LinkEnded, ExitCode::FAILURE),
            },
            Some(answer) = sources.answered.recv() => shell.feed(answer),
            () = sleep(deadline) => shell.feed(Input::Tick),
            _ = health.tick() => shell.announce_changes(),
            _ = policy.tick() => shell.look_at_policy(),
            _ = pet.tick() => if watchdog.is_some() { systemd::alive() },
            () = sources.signals.recv() => {
                let host = systemd::host_is_stopping().await;
                tracing::info!(host, "told to end");
                shell.feed(Input::Terminating { host });
            }
        }
    }
    ExitCode::SUCCESS
}

/// The link itself logs when it goes up and down.
fn input(event: LinkEvent) -> Input {
    match event {
        LinkEvent::Up { connection } => Input::Connected { conn: connection },
        LinkEvent::Down { .. } => Input::Disconnected,
        LinkEvent::Message {
            topic,
            payload,
            retain,
        } => {
            tracing::trace!(topic, bytes = payload.len(), retain, "message");
            Input::Message {
                topic,
                payload: payload.to_vec(),
                retain,
            }
        }
    }
}

/// The link's task is gone, which only a fault in it can do.
#[derive(Debug, thiserror::Error)]
#[error("the MQTT link ended by itself")]
struct LinkEnded;

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    /// What is said of this broker with this authority.
    fn refusal(broker: &str, ca: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("agent.toml");
        let text = format!(
            "id = \"nuc1\"\nbroker = \"{broker}\"\nstate_dir = \"state\"\n\
             coordinator_key = \"ed25519:iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w\"\n"
        );
        std::fs::write(&file, text).expect("a file");
        std::fs::write(folder.path().join("ca.pem"), ca).expect("a file");
        let settings = Settings::read(&file).expect("each field alone is right");
        let error = prepare(settings).err().expect("refused");
        let source = error.source().map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    }

    #[test]
    fn an_authority_that_cannot_be_used_is_refused_before_anything_is_made() {
        for (broker, told) in [
            ("mqtts://192.168.1.10", "BEGIN CERTIFICATE"),
            ("mqtt://192.168.1.10", "without TLS"),
        ] {
            let said = refusal(broker, "no certificate");
            assert!(
                said.starts_with("ca_file in the configuration") && said.contains(told),
                "{said}"
            );
        }
    }
}
