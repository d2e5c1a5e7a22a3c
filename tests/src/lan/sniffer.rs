//! A listener on a card of a host, from the side of the test.
//! In: a host and its card. Out: what the card has heard since.
//! Not here: the program itself (`listen`).

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    Host,
    frame::{Line, Sighting},
};
use crate::harness::{Process, WorkDir, programs, wait};

/// It listens within milliseconds; the rest is for a loaded machine.
const START: Duration = Duration::from_secs(30);

/// Listens as long as this value lives.
#[derive(Debug)]
pub struct Sniffer {
    process: Process,
    /// The program would keep the cards, but the host would lose its name.
    _host: Host,
    _work: WorkDir,
}

impl Sniffer {
    /// Starts to listen, and returns when every packet from now on is heard.
    ///
    /// # Errors
    /// When the card is not the only one of the host that is up.
    pub async fn start(host: &Host, nic: &str) -> Result<Self> {
        let work = WorkDir::new("sniffer")?;
        let mut command = host.command(programs::ours("hollow-host")?);
        command.args(["listen", nic]);
        let process = Process::start(&work, "listener", &command)?;
        let mut sniffer = Self {
            process,
            _host: host.clone(),
            _work: work,
        };
        wait::until(START, "a listener", async || {
            sniffer.process.check_alive()?;
            ensure!(!sniffer.lines()?.is_empty(), "it does not listen yet");
            Ok(())
        })
        .await?;
        Ok(sniffer)
    }

    /// Every magic packet so far, in order.
    ///
    /// # Errors
    /// When the listener complains.
    pub fn sightings(&self) -> Result<Vec<Sighting>> {
        let lines = self.lines()?.into_iter();
        let seen = lines.filter_map(|line| match line {
            Line::MagicPacket(seen) => Some(seen),
            Line::Listening { .. } => None,
        });
        Ok(seen.collect())
    }

    fn lines(&self) -> Result<Vec<Line>> {
        let text = fs::read_to_string(self.process.log()).context("read a listener's output")?;
        // The last line may not be whole yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let parse = |line| serde_json::from_str(line).with_context(|| format!("read {line:?}"));
        whole.lines().map(parse).collect()
    }
}
