//! The table of `homelabctl status`.
//!
//! In: Nodes with status. Out: aligned columns, one line for each machine, sorted by name.
//! Holds: a `?` behind the power means that nobody measured it.

use coordinator_crds::{Node, NodeStatus, node_status::WantedPower, time::unix_ms};

use crate::moments::age;

const HEADER: [&str; 7] = ["NAME", "GROUP", "WANTED", "POWER", "PHASE", "SINCE", "WHY"];
/// Between two columns.
const GAP: usize = 2;

/// The whole table, with a line break at its end.
pub(crate) fn render(nodes: &[Node], now_ms: i64) -> String {
    let mut rows: Vec<[String; 7]> = nodes.iter().map(|node| row(node, now_ms)).collect();
    rows.sort();
    rows.insert(0, HEADER.map(str::to_owned));
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String; 7], widths: &[usize; 7]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        let padding = width + GAP - cell.chars().count();
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', padding));
    }
    let mut line = line.trim_end().to_owned();
    line.push('\n');
    line
}

fn row(node: &Node, now_ms: i64) -> [String; 7] {
    let unwritten = NodeStatus::default();
    let status = node.status.as_ref().unwrap_or(&unwritten);
    let wanted = match status.wanted {
        Some(WantedPower::Running) => "running",
        Some(WantedPower::Stopped) => "stopped",
        Some(WantedPower::Any) => "any",
        None => "-",
    };
    let power = status
        .power
        .as_ref()
        .map_or("unknown", |power| power.shown.as_str());
    let since = status
        .since
        .as_ref()
        .map_or_else(|| "-".to_owned(), |since| age(now_ms - unix_ms(since)));
    [
        node.metadata.name.clone().unwrap_or_default(),
        node.spec.group.clone(),
        wanted.to_owned(),
        if power.is_empty() { "unknown" } else { power }.to_owned(),
        status.phase.clone().unwrap_or_else(|| "-".to_owned()),
        since,
        status.why.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: &str) -> Node {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_table_shows_what_each_machine_is_wanted_to_be_and_why_it_is_not() {
        let nodes = [
            node(
                r#"{"apiVersion":"homelab-autoscaler.dev/v1alpha1","kind":"Node","metadata":{"name":"r720"},
                "spec":{"group":"workers"},"status":{"wanted":"any","phase":"Running","since":"2026-11-20T12:00:00Z",
                "power":{"state":"Running","shown":"running"}}}"#,
            ),
            node(
                r#"{"apiVersion":"homelab-autoscaler.dev/v1alpha1","kind":"Node","metadata":{"name":"nuc1"},
                "spec":{"group":"workers"},"status":{"wanted":"running","phase":"Waking","since":"2026-11-21T14:00:00Z",
                "why":"WakeUnanswered","power":{"state":"PoweredOff","inferred":true,"shown":"off?"}}}"#,
            ),
            node(
                r#"{"apiVersion":"homelab-autoscaler.dev/v1alpha1","kind":"Node","metadata":{"name":"nuc2"},
                "spec":{"group":"workers"}}"#,
            ),
        ];
        // 2026-11-21T14:04:30Z
        let table = render(&nodes, 1_795_269_870_000);
        let expected = "\
NAME  GROUP    WANTED   POWER    PHASE    SINCE  WHY
nuc1  workers  running  off?     Waking   4m     WakeUnanswered
nuc2  workers  -        unknown  -        -
r720  workers  any      running  Running  26h
";
        assert_eq!(table, expected, "\n{table}");
    }

    #[test]
    fn an_empty_lab_still_has_its_header() {
        assert_eq!(
            render(&[], 0),
            "NAME  GROUP  WANTED  POWER  PHASE  SINCE  WHY\n"
        );
    }
}
