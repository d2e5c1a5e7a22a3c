//! The live table of the demo.
//! In: the coordinator's `/state`, the recorder, the model client. Out: lines on the terminal, redrawn in place where it is one.

use std::io::{IsTerminal, Write, stdout};

use anyhow::Result;
use serde_json::Value;

use super::DRAW_WATTS;
use crate::{ca_model::RunningModel, recorder::clock_ms, stage::Stage};

pub(super) struct Table {
    began_ms: u64,
    terminal: bool,
    lines: usize,
    last: String,
}

impl Table {
    pub(super) fn new(began_ms: u64) -> Self {
        Self {
            began_ms,
            terminal: stdout().is_terminal(),
            lines: 0,
            last: String::new(),
        }
    }

    /// Draws the table. Without a terminal only changes are printed, a line each.
    pub(super) async fn show(&mut self, stage: &Stage, running: &RunningModel) -> Result<()> {
        let state = stage.state().await?;
        let Some(machines) = state["machines"].as_object() else {
            return Ok(());
        };
        let rows: Vec<[String; 6]> = machines
            .iter()
            .map(|(name, machine)| row(name, machine))
            .collect();
        let body: String = rows.iter().map(|row| format!("{}\n", line(row))).collect();
        let asleep = rows
            .iter()
            .filter(|row| row[3] == "Sleeping" || row[3] == "Unknown")
            .count();
        let running_for_s = (clock_ms() - self.began_ms) / 1000;
        let counts = running.calls.counts().values().sum::<usize>();
        let foot = format!(
            "{running_for_s:>4} s  {counts} calls by the autoscaler's model  about {} W saved (simulated, {DRAW_WATTS} W a machine)\n",
            asleep * DRAW_WATTS
        );
        if self.terminal {
            let head = line(
                &["MACHINE", "WANTED", "OBSERVED", "PHASE", "WHY", "ASKED BY"].map(str::to_owned),
            );
            let up = if self.lines > 0 {
                format!("\x1b[{}A\x1b[J", self.lines)
            } else {
                String::new()
            };
            let text = format!("{head}\n{body}{foot}");
            self.lines = text.lines().count();
            write!(stdout(), "{up}{text}")?;
            stdout().flush()?;
        } else if body != self.last {
            write!(stdout(), "{foot}{body}")?;
            self.last = body;
        }
        Ok(())
    }
}

fn row(name: &str, machine: &Value) -> [String; 6] {
    let text = |field: &str| machine[field].as_str().unwrap_or_default().to_owned();
    let inferred = if machine["powerInferred"] == true {
        "?"
    } else {
        ""
    };
    [
        name.to_owned(),
        text("wanted"),
        format!("{}{inferred}", text("power")),
        text("phase"),
        text("why"),
        text("by"),
    ]
}

fn line(row: &[String; 6]) -> String {
    let [name, wanted, power, phase, why, by] = row;
    format!("{name:<8} {wanted:<8} {power:<9} {phase:<11} {why:<16} {by}")
        .trim_end()
        .to_owned()
}

/// Prints one line.
pub(super) fn say(text: &str) {
    // A closed terminal must not turn the end of the demo into a panic.
    let _closed = writeln!(stdout(), "{text}");
}
