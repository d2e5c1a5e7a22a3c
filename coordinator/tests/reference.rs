//! The reference pages of the user guide against the program: nothing missing, nothing left over, no stale default.

#![allow(
    clippy::unwrap_used,
    reason = "a step of a test that fails ends the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory as _;
use coordinator::args::Cli;
use coordinator::metrics::{ApiWrite, Certificate, Metrics, Sending, TurnedAway};
use coordinator_core::{Policy, View};
use coordinator_crds::duration;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

/// The cells of every row of the page's tables, by the words in code in the first one.
fn rows(page: &str) -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/src/reference")
        .join(page);
    let text = fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        // A bar inside a word is written `\|`, also in code.
        let line = line.replace("\\|", "\u{1}");
        let cells: Vec<String> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('\u{1}', "|"))
            .collect();
        for word in cells[0].split('`').skip(1).step_by(2) {
            let twice = rows.insert(word.to_owned(), cells.clone());
            assert!(twice.is_none(), "{word} stands twice in {page}");
        }
    }
    rows
}

#[test]
fn every_flag_is_in_the_guide_with_its_twin_and_its_default() {
    let cli = Cli::command();
    let run = cli.find_subcommand("run").unwrap();
    let mut guide: BTreeMap<String, Vec<String>> = rows("coordinator.md")
        .into_iter()
        .filter(|(word, _)| word.starts_with("--"))
        .map(|(word, cells)| (word.split([' ', '=']).next().unwrap().to_owned(), cells))
        .collect();
    if !cfg!(feature = "reflection") {
        guide.remove("--grpc-reflection").unwrap();
    }
    for flag in run.get_arguments() {
        let name = format!("--{}", flag.get_long().unwrap());
        let Some(cells) = guide.remove(&name) else {
            panic!("coordinator.md does not tell {name}");
        };
        let twin = flag.get_env().unwrap().to_str().unwrap();
        assert_eq!(cells[1], format!("`{twin}`"), "{name}");
        if let (Some(default), true) = (
            flag.get_default_values().first(),
            flag.get_action().takes_values(),
        ) {
            let default = default.to_str().unwrap();
            assert_eq!(cells[2], format!("`{default}`"), "{name}");
        }
    }
    assert!(guide.is_empty(), "no such flags: {:?}", guide.keys());
}

#[test]
fn every_time_limit_is_in_the_guide_with_its_default() {
    let mut guide = rows("coordinator.md");
    guide.retain(|word, _| !word.starts_with("--"));
    let policy = format!("{:#?}", Policy::default());
    let limits = policy
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "))
        .filter_map(|(field, value)| Some((field, value.parse::<u64>().ok()?)));
    for (field, value) in limits {
        let key = field.strip_suffix("_ms").unwrap_or(field);
        let Some(cells) = guide.remove(key) else {
            panic!("coordinator.md does not tell {key}");
        };
        let told = match field.strip_suffix("_ms") {
            Some(_) => duration::parse(&cells[1]).ok(),
            None => cells[1].parse().ok().map(Duration::from_millis),
        };
        assert_eq!(told, Some(Duration::from_millis(value)), "{key}");
    }
    assert!(guide.is_empty(), "no such limits: {:?}", guide.keys());
}

#[test]
fn every_metric_is_in_the_guide() {
    let (_publish, view) = watch::channel(Arc::new(View::default()));
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, view);
    // Families without a sample are not shown.
    metrics.rpc("NodeGroups", "OK");
    metrics.rpc_took("NodeGroups", Duration::ZERO);
    metrics.command("wol", Sending::Delivered);
    metrics.report("hb");
    metrics.unreadable("hb");
    metrics.refused("busy");
    metrics.api_write(ApiWrite::Lease);
    metrics.turned_away(TurnedAway::Calls);
    metrics.certificate_ends(Certificate::Server, 0);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let shown: BTreeSet<String> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("# TYPE homelab_autoscaler_")?
                .split_once(' ')
        })
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            _ => name.to_owned(),
        })
        .collect();
    let told: BTreeSet<String> = rows("metrics.md")
        .into_keys()
        .filter(|word| !word.starts_with('/'))
        .collect();
    assert_eq!(shown, told);
}
