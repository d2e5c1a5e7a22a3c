//! The demo: a lab of six hollow machines on loopback, asked for by a toy workload through the real gRPC API.
//! In: how long to run. Out: a live table, and a last line of JSON from the recorder.
//! Holds: nothing listens outside of loopback; nothing is left behind.

mod table;

use std::{process::ExitCode, str::FromStr, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    ca_model::{CaModel, Options, RunningModel, cluster::toy, resources::Resources},
    recorder::{Recorder, clock_ms},
    stage::{self, GroupPlan, Plan, Stage, Woken},
    workload::Workload,
};

/// What a machine of the demo is taken to draw while it runs. Simulated: nothing is measured.
const DRAW_WATTS: usize = 45;
/// A command may be on its way for so long after the wish for it was taken back.
const GRACE: Duration = Duration::from_secs(10);
/// How many slots the workload wants, over and over.
const SCRIPT: &str = "0s:0 1s:3 10s:5 18s:1 34s:4 46s:0";
const PERIOD: Duration = Duration::from_secs(60);
/// One slot fills a machine, so slots and machines count alike.
const SLOT: Resources = Resources {
    cpu_milli: 3_000,
    memory: 4 << 30,
    pods: 1,
};
const OFFER: Resources = Resources {
    cpu_milli: 4_000,
    memory: 8 << 30,
    pods: 110,
};
const TEMPLATE: &str = "  template: {capacity: {cpu: \"4\", memory: 8Gi}}";

/// What the command line says.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// End by itself after this.
    pub run_for: Option<Duration>,
}

impl Settings {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// One line with what is wrong and what would be right.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let text: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match text.as_slice() {
            [] => Ok(Self { run_for: None }),
            ["--for", time] => Ok(Self {
                run_for: Some(seconds(time)?),
            }),
            other => bail!(
                "{}: not understood; usage: demo [--for 30s]",
                other.join(" ")
            ),
        }
    }
}

fn seconds(text: &str) -> Result<Duration> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let number = u64::from_str(number)
        .ok()
        .filter(|seconds| (1..=86_400).contains(seconds));
    let number =
        number.with_context(|| format!("--for {text}: not a time from 1s to 86400s, like 30s"))?;
    Ok(Duration::from_secs(number))
}

/// Runs the demo to its end.
///
/// # Errors
/// When the lab does not come up.
pub async fn run(settings: Settings) -> Result<ExitCode> {
    let began_ms = clock_ms();
    let recorder = Recorder::in_memory();
    let mut interrupted = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    let mut terminated = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let shown = async {
        let stage = Stage::start(plan(), recorder.clone()).await?;
        let model = CaModel::over(stage.channel()?, workload(&stage)?, options());
        let running = model.spawn();
        let mut table = table::Table::new(began_ms);
        loop {
            table.show(&stage, &running).await?;
            let over = settings
                .run_for
                .is_some_and(|limit| clock_ms() >= began_ms + millis(limit));
            if over {
                return anyhow::Ok((stage, running));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        ended = shown => {
            let (stage, running) = ended?;
            Ok(close(began_ms, &stage, &running))
        }
        _ = interrupted.recv() => Ok(ExitCode::from(130)),
        _ = terminated.recv() => Ok(ExitCode::from(143)),
    }
}

fn plan() -> Plan {
    Plan::quick(vec![
        GroupPlan {
            name: "packet",
            woken: Woken::Packet,
            machines: &["atlas", "boreas", "ceres"],
            spec: TEMPLATE,
        },
        GroupPlan {
            name: "bmc",
            woken: Woken::Bmc,
            machines: &["dione", "europa", "fornax"],
            spec: TEMPLATE,
        },
    ])
}

fn workload(stage: &Stage) -> Result<toy::Toy> {
    let script: Workload = SCRIPT.parse()?;
    let nodes = toy::listed_as_running(stage.channel()?, OFFER);
    Ok(toy::Toy::new(script.repeated_each(PERIOD)?, SLOT, nodes))
}

fn options() -> Options {
    Options {
        scan_interval: Duration::from_millis(500),
        unneeded_time: Duration::from_secs(2),
        delay_after_add: Duration::from_secs(1),
        ..Options::default()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Says what the recorder saw: it counts packets, resets and power by itself, without our code.
fn close(began_ms: u64, stage: &Stage, running: &RunningModel) -> ExitCode {
    for ask in running.calls.asks(stage::machine_of, members) {
        stage.recorder.ask_at(ask);
    }
    let totals = stage.recorder.totals();
    let unasked = stage.recorder.unasked_effects(GRACE);
    let first_wake_s = totals
        .first_wake_ms
        .map(|at| (at.saturating_sub(began_ms) as f64 / 100.0).round() / 10.0);
    for record in &unasked {
        table::say(&format!("nobody asked for {record:?}"));
    }
    let line = json!({
        "wakes": totals.wakes,
        "stops": totals.stops,
        "unasked_effects": unasked.len(),
        "first_wake_s": first_wake_s,
    });
    table::say(&line.to_string());
    if totals.wakes > 0 && totals.stops > 0 && unasked.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn members(group: &str) -> Vec<String> {
    let named = |plan: &&GroupPlan| group.rsplit('/').next() == Some(plan.name);
    let groups = plan().groups;
    groups.iter().find(named).map_or_else(Vec::new, |plan| {
        plan.machines.iter().map(|&name| name.to_owned()).collect()
    })
}
