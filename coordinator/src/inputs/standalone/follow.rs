//! The lab's folder over time: read at start, read again when it changes or on SIGHUP.
//!
//! In: a folder. Out: facts about what is declared, and the lab itself for whoever shows it.
//! Holds: at start a faulty lab is refused; later the last good one stays in force until the files are right again.
//! Holds: each problem is one line with file, field, value and what would be right, told once for each change.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use coordinator_core::Fact;
use coordinator_crds::lab;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{self, Interval, MissedTickBehavior},
};

use super::{
    Declared, ReadFolder,
    folder::{self, Signature},
};
use crate::engine::Facts;

/// Between two looks at the folder.
const LOOK: Duration = Duration::from_secs(1);

/// Why the lab cannot be used at start.
#[derive(Debug, thiserror::Error)]
pub enum ReadLab {
    /// The folder or a file cannot be read.
    #[error(transparent)]
    Folder(#[from] ReadFolder),
    /// What the files say is wrong: one line for each problem.
    #[error("{}", lines(.0))]
    Problems(Vec<String>),
    /// The system does not let us listen for SIGHUP.
    #[error("cannot listen for SIGHUP")]
    Signal(#[source] io::Error),
}

/// A lab's folder and what it said when it was last right.
#[derive(Debug)]
pub struct LabFolder {
    dir: PathBuf,
    declared: watch::Sender<Arc<Declared>>,
    /// The state of the folder that was read last.
    read: Option<Signature>,
    /// What was said about it, so that it is not said again.
    said: Vec<String>,
}

impl LabFolder {
    /// Reads the lab for the first time.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, a document is faulty, or two objects contradict each other.
    pub fn open(dir: &Path) -> Result<Self, ReadLab> {
        let signature = folder::signature(dir)?;
        let Understood { declared, warnings } = read(dir)?;
        if declared.nodes.is_empty() {
            tracing::warn!(lab = %dir.display(), "the lab declares no machine yet");
        }
        let mut lab = Self {
            dir: dir.to_owned(),
            declared: watch::Sender::new(Arc::new(declared)),
            read: Some(signature),
            said: Vec::new(),
        };
        lab.say(warnings, "lab accepted, but look at this");
        Ok(lab)
    }

    /// Everything that is declared, as facts.
    #[must_use]
    pub fn facts(&self) -> Vec<Fact> {
        self.declared.borrow().facts_since(&Declared::default())
    }

    /// The lab in force, now and after each change.
    #[must_use]
    pub fn declared(&self) -> watch::Receiver<Arc<Declared>> {
        self.declared.subscribe()
    }

    /// Watches the folder until the process ends, and tells what changes.
    ///
    /// # Errors
    ///
    /// The system does not let us listen for SIGHUP.
    pub async fn follow(mut self, facts: Facts) -> Result<(), ReadLab> {
        let mut hangup = signal(SignalKind::hangup()).map_err(ReadLab::Signal)?;
        let mut ticks = time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.read.clone();
        loop {
            let look = next_look(&mut ticks, &mut hangup).await;
            // Files are a few kilobytes on a local disk, but a network mount may hang: never on the engine's threads.
            let dir = self.dir.clone();
            let now = match tokio::task::spawn_blocking(move || folder::signature(&dir)).await {
                Ok(Ok(now)) => Some(now),
                // Reading it will say what is wrong.
                Ok(Err(_)) | Err(_) => None,
            };
            // Written files are read once they have rested for one look: half a file is a faulty lab.
            let rested = now == seen;
            seen = now;
            let due = match look {
                Look::Asked => true,
                Look::Tick => rested && seen != self.read,
            };
            if due {
                for fact in self.reload(seen.clone()).await {
                    facts.tell(fact).await;
                }
            }
        }
    }

    /// Reads the folder again and returns what follows from it; nothing while it is faulty.
    async fn reload(&mut self, signature: Option<Signature>) -> Vec<Fact> {
        self.read = signature;
        let dir = self.dir.clone();
        let lines = match tokio::task::spawn_blocking(move || read(&dir)).await {
            Ok(Ok(understood)) => {
                self.say(understood.warnings, "lab accepted, but look at this");
                return self.swap(understood.declared);
            }
            Ok(Err(ReadLab::Problems(lines))) => lines,
            Ok(Err(ReadLab::Folder(fault))) => vec![one_line(&fault)],
            Ok(Err(ReadLab::Signal(fault))) => vec![one_line(&fault)],
            Err(fault) => vec![one_line(&fault)],
        };
        self.say(lines, "faulty lab: the last good one stays in force");
        Vec::new()
    }

    fn swap(&mut self, declared: Declared) -> Vec<Fact> {
        let facts = declared.facts_since(&self.declared.borrow());
        tracing::info!(
            groups = declared.groups.len(),
            machines = declared.nodes.len(),
            changes = facts.len(),
            "lab read again"
        );
        self.declared.send_replace(Arc::new(declared));
        facts
    }

    fn say(&mut self, lines: Vec<String>, what: &'static str) {
        if lines == self.said {
            return;
        }
        for line in &lines {
            tracing::warn!(problem = line, "{what}");
        }
        self.said = lines;
    }
}

enum Look {
    Tick,
    Asked,
}

async fn next_look(ticks: &mut Interval, hangup: &mut Signal) -> Look {
    tokio::select! {
        Some(()) = hangup.recv() => Look::Asked,
        _ = ticks.tick() => Look::Tick,
    }
}

/// A lab that was read and found good.
struct Understood {
    declared: Declared,
    warnings: Vec<String>,
}

fn read(dir: &Path) -> Result<Understood, ReadLab> {
    let words = |findings: Vec<lab::Finding>| findings.iter().map(ToString::to_string).collect();
    let lab = {
        let texts = folder::read(dir)?;
        let files = texts
            .iter()
            .map(|text| (text.name.as_str(), text.text.as_str()));
        lab::read(files).map_err(|findings| ReadLab::Problems(words(findings)))?
    };
    Ok(Understood {
        warnings: words(lab.warnings),
        declared: Declared::new(lab.groups, lab.nodes),
    })
}

fn lines(problems: &[String]) -> impl fmt::Display + use<> {
    problems.join("\n")
}

fn one_line(fault: &dyn std::error::Error) -> String {
    fault
        .source()
        .map_or_else(|| fault.to_string(), |source| format!("{fault}: {source}"))
}

#[cfg(test)]
mod tests;
