//! Hosts on a LAN as network namespaces: real cards and real broadcasts, none of which leaves this machine.
//! In: hosts, segments, and cables between them. Out: a place to run programs, and what their cards hear.
//! Holds: needs root; no card and no address exists outside of the namespaces; they are gone with their last user, and those of
//! a test that was killed go when the next one starts.
//! Not here: the machines that sleep there (`hollow`), and a whole lab on such a LAN (`lan_stage`).

pub mod door;
pub mod frame;
pub mod listen;
mod namespace;
mod sniffer;

use std::{
    ffi::OsStr,
    io::{self, Write},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::geteuid;
use serde_json::Value;

pub use door::Door;
pub use frame::{Sighting, Udp};
use namespace::Namespace;
pub use sniffer::Sniffer;

use crate::{harness::wait, recorder::Mac};

/// A link takes up to a second to come up; the rest is for a loaded machine.
const LINK: Duration = Duration::from_secs(30);
/// The switch of a segment.
const BRIDGE: &str = "br0";

/// Whether a test can make namespaces here. If this process may not, one line says that the test was not run, past the test runner,
/// which hides what a passing test prints.
#[must_use]
pub fn may_run(test: &str) -> bool {
    let Some(why) = missing_rights() else {
        return true;
    };
    // At once, so that the lines of tests that run at the same time stay whole.
    let line = format!("{test} was not run: {why}\n");
    let _closed = io::stderr().write_all(line.as_bytes());
    false
}

/// Any other reason is left to the test, which then fails with it.
fn missing_rights() -> Option<String> {
    if !geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    let refused = format!("{:#}", Namespace::new("probe").err()?);
    let by_rights = ["not permitted", "Permission denied"];
    by_rights
        .iter()
        .any(|words| refused.contains(words))
        .then_some(refused)
}

/// A host without any card yet; clones are the same host.
#[derive(Debug, Clone)]
pub struct Host {
    namespace: Arc<Namespace>,
}

/// A switch with nothing plugged in yet.
#[derive(Debug)]
pub struct Segment {
    namespace: Arc<Namespace>,
    ports: AtomicUsize,
}

/// A network card to be.
#[derive(Debug, Clone, Copy)]
pub struct Card<'a> {
    /// Its name on its host.
    pub name: &'a str,
    /// Its IPv4 address with the length of the network's prefix, as `10.77.0.2/24`.
    pub address: &'a str,
    /// Its MAC address; `None` = the kernel picks one.
    pub mac: Option<Mac>,
}

/// What joins a card and a segment.
#[derive(Debug)]
pub struct Cable {
    segment: Arc<Namespace>,
    port: String,
}

impl Host {
    /// A new host; `word` is for people who list the namespaces.
    ///
    /// # Errors
    /// When a namespace cannot be made.
    pub fn new(word: &str) -> Result<Self> {
        let namespace = Namespace::new(word)?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(Self { namespace })
    }

    /// A command that runs on this host.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.namespace.name()]);
        command.arg(program);
        command
    }

    /// What `ip` with these arguments prints on this host.
    ///
    /// # Errors
    /// When it fails; with what it complains of.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        self.namespace.ip(arguments)
    }

    /// Puts a new card into this host, joins it to a segment, and waits until it carries packets.
    ///
    /// # Errors
    /// When the name or the address is taken or wrong, or the link does not come up.
    pub async fn plug(&self, card: Card<'_>, segment: &Segment) -> Result<Cable> {
        let number = segment.ports.fetch_add(1, Ordering::Relaxed);
        let port = format!("port{number}");
        let mac = card.mac.map(|mac| mac.to_string());
        let mut add = vec!["link", "add", &port, "type", "veth", "peer"];
        add.extend(["name", card.name]);
        add.extend(mac.iter().flat_map(|mac| ["address", mac.as_str()]));
        add.extend(["netns", self.namespace.name()]);
        segment.namespace.ip(&add)?;
        let join = ["link", "set", &port, "master", BRIDGE, "up"];
        segment.namespace.ip(&join)?;
        let address = ["addr", "add", card.address, "broadcast", "+"];
        self.ip(&[&address[..], &["dev", card.name]].concat())?;
        self.ip(&["link", "set", card.name, "up"])?;
        let cable = Cable {
            segment: Arc::clone(&segment.namespace),
            port,
        };
        cable.carries().await?;
        Ok(cable)
    }

    /// Sends what this host cannot deliver itself to that router.
    ///
    /// # Errors
    /// When no card of this host reaches it.
    pub fn default_route(&self, router: &str) -> Result<()> {
        self.ip(&["route", "replace", "default", "via", router])?;
        Ok(())
    }

    /// Makes a router of this host. It passes no broadcast on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forward(&self) -> Result<()> {
        let script = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        let status = self.command("sh").args(["-c", script]).status();
        let status = status.context("run a shell on a host")?;
        ensure!(status.success(), "forward packets: {status}");
        Ok(())
    }
}

impl Segment {
    /// A new segment; `word` is for people who list the namespaces.
    ///
    /// # Errors
    /// When a namespace or a bridge cannot be made.
    pub fn new(word: &str) -> Result<Self> {
        let namespace = Namespace::new(word)?;
        namespace.ip(&["link", "add", BRIDGE, "type", "bridge"])?;
        namespace.ip(&["link", "set", BRIDGE, "up"])?;
        Ok(Self {
            namespace,
            ports: AtomicUsize::new(0),
        })
    }
}

impl Cable {
    /// Pulls the cable out: the card stays, and has no carrier.
    ///
    /// # Errors
    /// When the segment is gone.
    pub fn pull(&self) -> Result<()> {
        self.set("down")
    }

    /// Puts it in again and waits until it carries packets.
    ///
    /// # Errors
    /// When the segment is gone, or the link does not come up.
    pub async fn replug(&self) -> Result<()> {
        self.set("up")?;
        self.carries().await
    }

    fn set(&self, state: &str) -> Result<()> {
        self.segment.ip(&["link", "set", &self.port, state])?;
        Ok(())
    }

    /// A bridge drops what it gets before the kernel has told it of the link.
    async fn carries(&self) -> Result<()> {
        let look = ["-details", "-json", "link", "show", &self.port];
        wait::until(LINK, "a link to come up", async || {
            let links: Value = serde_json::from_str(&self.segment.ip(&look)?)?;
            let link = &links[0];
            let state = &link["linkinfo"]["info_slave_data"]["state"];
            let up = link["operstate"] == "UP" && state == "forwarding";
            ensure!(up, "{} and {state}", link["operstate"]);
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests;
