//! `homelabctl` as people call it: the real program, its words and its exit codes, against both kinds of coordinator.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    cluster_stage::{ClusterStage, Planes},
    harness::{WorkDir, programs, wait},
    hollow::{AgentSpec, HollowMachine, MachineSpec, Power},
    recorder::Recorder,
    stage::{Stage, mac},
};

#[path = "homelabctl/cluster.rs"]
mod cluster;
#[path = "homelabctl/front.rs"]
mod front;
#[path = "homelabctl/local.rs"]
mod local;
#[path = "homelabctl/looks.rs"]
mod looks;

/// Time for anything that is waited for; a busy machine with two cores needs a large part of it.
const LIMIT: Duration = Duration::from_secs(120);
/// A machine that runs an agent, but that nobody has declared.
const NEWCOMER: &str = "nuc9";

/// `homelabctl` in a folder of its own, as user ann, without any configuration but what it is given.
struct Ctl {
    place: Vec<String>,
    home: WorkDir,
}

/// What a call left.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ctl {
    fn at(flag: &str, place: &Path) -> Result<Self> {
        Ok(Self {
            place: vec![flag.to_owned(), place.display().to_string()],
            home: WorkDir::new("homelabctl")?,
        })
    }

    /// Runs it with these words.
    fn say(&self, words: &[&str]) -> Result<Said> {
        let mut command = Command::new(programs::ours("homelabctl")?);
        command
            .args(words)
            .args(&self.place)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("USER", "ann");
        let output = tokio::task::block_in_place(|| command.output());
        let output = output.context("run homelabctl")?;
        Ok(Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }

    /// Runs it where it must succeed; what it prints.
    fn does(&self, words: &[&str]) -> Result<String> {
        let said = self.say(words)?;
        let good = said.code == Some(0) && said.err.is_empty();
        ensure!(good, "{words:?}: {said:?}");
        Ok(said.out)
    }

    /// Runs it where it must print exactly this.
    fn prints(&self, words: &[&str], expected: &str) -> Result<()> {
        let out = self.does(words)?;
        ensure!(out == expected, "{words:?}: {out}");
        Ok(())
    }

    /// Runs it where it must fail, with one line that contains this.
    fn fails(&self, words: &[&str], code: i32, why: &str) -> Result<()> {
        let said = self.say(words)?;
        let fits = said.code == Some(code)
            && said.out.is_empty()
            && said.err.lines().count() == 1
            && said.err.starts_with("homelabctl: ")
            && said.err.contains(why);
        ensure!(fits, "{words:?}: {said:?}");
        Ok(())
    }

    /// Confirms that a machine is off, as soon as the coordinator has listened for long enough to believe it.
    async fn confirms_off(&self, name: &str) -> Result<()> {
        let words = ["power", "confirm-off", name];
        let told = format!("asked: {name} counts as off\n");
        wait::until(LIMIT, "off is confirmed", async || {
            self.prints(&words, &told)
        })
        .await
    }

    /// Explains a machine; each part of the screen must be there, and the whole must fit.
    fn explains(&self, name: &str, parts: &[&str]) -> Result<()> {
        let screen = self.does(&["explain", name])?;
        let words = screen.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            ensure!(words.contains(part), "no {part:?} in\n{screen}");
        }
        let lines = screen.lines();
        let fits = lines.clone().count() <= 24 && lines.clone().all(|l| l.chars().count() <= 100);
        ensure!(fits, "{screen}");
        Ok(())
    }

    /// Checks the lab; so many checks must fail, and these lines begin so.
    fn checks(&self, failed: usize, lines: &[&str]) -> Result<()> {
        let said = self.say(&["check"])?;
        let told = if failed == 0 {
            (Some(0), String::new())
        } else {
            let of = said.out.lines().count();
            let told = format!("homelabctl: {failed} of {of} checks failed\n");
            (Some(1), told)
        };
        ensure!((said.code, said.err.clone()) == told, "{said:?}");
        for begin in lines {
            let found = said.out.lines().any(|line| line.starts_with(begin));
            ensure!(found, "no {begin:?} in\n{}", said.out);
        }
        Ok(())
    }

    /// One machine in `status -o json`.
    fn machine(&self, name: &str) -> Result<Value> {
        let lab: Value = serde_json::from_str(&self.does(&["status", "--output", "json"])?)?;
        let nodes = lab["nodes"].as_array().context("a list of Nodes")?;
        let found = nodes.iter().find(|node| node["metadata"]["name"] == name);
        Ok(found.context("the machine is shown")?.clone())
    }

    /// The words of one machine's row in the table of `status`.
    fn row(&self, name: &str) -> Result<Vec<String>> {
        let table = self.does(&["status"])?;
        let mut lines = table.lines();
        let header: Vec<&str> = lines
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let columns = ["NAME", "GROUP", "WANTED", "POWER", "PHASE", "SINCE", "WHY"];
        ensure!(header == columns, "{table}");
        let rows = lines.map(|line| line.split_whitespace().map(str::to_owned));
        let mut rows = rows.map(Iterator::collect::<Vec<_>>);
        let row = rows.find(|row| row.first().is_some_and(|first| first == name));
        row.context(table)
    }

    /// What every place answers alike to words that mean nothing.
    fn refuses_wrong_words(&self) -> Result<()> {
        let wrong: [(&[&str], &str); 6] = [
            (&[], "requires a subcommand"),
            (&["power", "on"], "<NODE>"),
            (&["power", "on", "nuc1", "--for", "soon"], "--for"),
            (
                &["power", "on", "nuc1", "--for", "0s"],
                "longer than nothing",
            ),
            (&["power", "confirm-off", "nuc1", "--for", "2h"], "--for"),
            (&["wake", "nuc1"], "wake"),
        ];
        for (words, why) in wrong {
            self.fails(words, 64, why)?;
        }
        Ok(())
    }
}

/// The machine that nobody has declared, up and with an agent, and nothing that could wake it.
async fn newcomer(config: &str, recorder: &Recorder) -> Result<HollowMachine> {
    let spec = MachineSpec {
        starts: Power::On,
        agent: Some(AgentSpec::ours(config)?),
        ..MachineSpec::new(NEWCOMER, mac(NEWCOMER))
    };
    HollowMachine::start(spec, recorder).await
}

/// What `node init` prints for it.
fn newcomers_node() -> String {
    format!(
        "apiVersion: homelab-autoscaler.dev/v1alpha1\nkind: Node\nmetadata: {{name: {NEWCOMER}}}\nspec:\n  group: workers\n  \
         wakeOnLAN: {{mac: \"{}\"}}\n",
        mac(NEWCOMER)
    )
}

/// An override in a machine's status, as `verb` and who; with an end in the future if it has one.
fn override_of(machine: &Value) -> (Value, Value, bool) {
    let held = &machine["status"]["override"];
    (
        held["power"].clone(),
        held["by"].clone(),
        held["until"].is_string(),
    )
}
