//! An independent witness: writes down every physical effect with its own clock, in memory and as JSON lines.
//! In: magic packets seen on its own socket; effects told by the hollow machines and the mock BMC; what was asked for.
//! Out: [`Record`]s, counts for each machine, and the effects that nobody asked for.
//! Holds: knows nothing of the product; what it counts as a wake happened on the wire or at a power supply.

pub mod asked;
pub mod effect;
pub mod magic;
mod sniffer;
mod trains;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    net::{SocketAddr, SocketAddrV4},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use tokio::{sync::watch, task::AbortHandle};

pub use asked::{Ask, Wish};
pub use effect::{Effect, OffHow, OnCause, Record};
pub use magic::Mac;
pub use sniffer::shared_socket;
use trains::{Observed, Trains};

/// What belongs to a machine, so that packets and resets can be counted for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// The MAC address that its magic packets carry.
    pub mac: Option<Mac>,
    /// Its system's id on a BMC.
    pub bmc_system: Option<String>,
}

/// Sums over all machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Machines powered on by a magic packet or a BMC, every time counted.
    pub wakes: usize,
    /// Machines powered off in order or by force, every time counted.
    pub stops: usize,
    /// Boot clock of the first wake.
    pub first_wake_ms: Option<u64>,
}

/// The recorder; clones share one log.
#[derive(Debug, Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Mutex<Log>,
    /// The number of records, for whoever waits for the next one.
    changed: watch::Sender<u64>,
    sniffers: Mutex<Vec<AbortHandle>>,
}

#[derive(Debug)]
struct Log {
    file: Option<File>,
    records: Vec<Record>,
    trains: Trains,
    machines: BTreeMap<String, Keys>,
    asks: Vec<Ask>,
}

impl Recorder {
    /// A recorder that keeps its log in memory only.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::with_file(None)
    }

    /// A recorder that also appends each record to `path` as one line of JSON.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn to_file(path: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("open {}", path.display()))?;
        Ok(Self::with_file(Some(file)))
    }

    fn with_file(file: Option<File>) -> Self {
        let log = Log {
            file,
            records: Vec::new(),
            trains: Trains::default(),
            machines: BTreeMap::new(),
            asks: Vec::new(),
        };
        Self {
            inner: Arc::new(Inner {
                log: Mutex::new(log),
                changed: watch::Sender::new(0),
                sniffers: Mutex::default(),
            }),
        }
    }

    /// Makes a machine known by name; effects on a MAC or a BMC system of no known machine are never asked for.
    pub fn add_machine(&self, name: &str, keys: Keys) {
        self.log().machines.insert(name.to_owned(), keys);
    }

    /// Listens on a UDP address, shared with everybody who listens there too, and records each magic packet. Returns the bound
    /// address (the given port may be 0).
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn sniff(&self, address: SocketAddrV4) -> Result<SocketAddrV4> {
        let (socket, bound) = shared_socket(address)?;
        let task = tokio::spawn(sniffer::sniff(socket, Arc::downgrade(&self.inner)));
        lock(&self.inner.sniffers).push(task.abort_handle());
        Ok(bound)
    }

    /// Writes down one effect, now.
    pub fn record(&self, effect: Effect) {
        self.inner.record(effect, clock_ms());
    }

    /// Everything recorded so far, in order.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.log().records.clone()
    }

    /// Trains of magic packets for this machine.
    #[must_use]
    pub fn trains(&self, machine: &str) -> usize {
        let log = self.log();
        let mac = log.machines.get(machine).and_then(|keys| keys.mac);
        let is_train = |record: &&Record| matches!(record.effect, Effect::MagicPacketTrain { mac: seen, .. } if Some(seen) == mac);
        log.records.iter().filter(is_train).count()
    }

    /// Resets of this kind that this machine's BMC was asked for, refused ones included.
    #[must_use]
    pub fn resets(&self, machine: &str, kind: &str) -> usize {
        let log = self.log();
        let system = log
            .machines
            .get(machine)
            .and_then(|keys| keys.bmc_system.as_deref());
        let is_reset = |record: &&Record| matches!(&record.effect, Effect::BmcReset { system: seen, reset, .. } if Some(seen.as_str()) == system && reset == kind);
        log.records.iter().filter(is_reset).count()
    }

    /// How often this machine was powered on by a magic packet or its BMC.
    #[must_use]
    pub fn wakes(&self, machine: &str) -> usize {
        self.count(|effect| effect.is_wake() && effect.machine() == Some(machine))
    }

    /// How often this machine was powered off, in order or by force, because it was told to.
    #[must_use]
    pub fn stops(&self, machine: &str) -> usize {
        self.count(|effect| effect.is_stop() && effect.machine() == Some(machine))
    }

    /// Sums over all machines.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let log = self.log();
        let mut totals = Totals {
            wakes: 0,
            stops: 0,
            first_wake_ms: None,
        };
        for record in &log.records {
            if record.effect.is_wake() {
                totals.wakes += 1;
                totals.first_wake_ms.get_or_insert(record.at_ms);
            }
            totals.stops += usize::from(record.effect.is_stop());
        }
        totals
    }

    /// Notes that this machine was asked for by name, now.
    pub fn ask(&self, machine: &str, wish: Wish) {
        self.ask_at(Ask::one(clock_ms(), machine, wish));
    }

    /// Notes that any `count` of these machines were asked for, now.
    pub fn ask_any(&self, machines: &[&str], count: usize, wish: Wish) {
        self.ask_at(Ask::any(clock_ms(), machines, count, wish));
    }

    /// Notes a wish of an earlier moment.
    pub fn ask_at(&self, ask: Ask) {
        self.log().asks.push(ask);
    }

    /// The effects that no wish explains; see [`asked::unasked`]. A wish that was just taken back still explains an effect for
    /// `grace`, the time a command may be on its way.
    #[must_use]
    pub fn unasked_effects(&self, grace: Duration) -> Vec<Record> {
        let log = self.log();
        asked::unasked(&log.records, &log.asks, &log.machines, grace)
    }

    /// Waits until `found` sees what it looks for in the records.
    ///
    /// # Errors
    /// After `limit`, with `what` was waited for and everything recorded so far.
    pub async fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        mut found: impl FnMut(&[Record]) -> Option<T>,
    ) -> Result<T> {
        let mut changed = self.inner.changed.subscribe();
        let wait = async {
            loop {
                changed.mark_unchanged();
                let hit = found(&self.log().records);
                if let Some(hit) = hit {
                    return hit;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.map_err(|_elapsed| {
            let seen = self.records();
            let lines: Vec<String> = seen.iter().map(|record| format!("{record:?}")).collect();
            anyhow!(
                "waited for {what}: not within {limit:?}; recorded:\n{}",
                lines.join("\n")
            )
        })
    }

    fn count(&self, matches: impl Fn(&Effect) -> bool) -> usize {
        self.log()
            .records
            .iter()
            .filter(|record| matches(&record.effect))
            .count()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.inner.log)
    }
}

impl Inner {
    fn record(&self, effect: Effect, at_ms: u64) {
        let mut log = lock(&self.log);
        log.push(effect, at_ms);
        drop(log);
        self.changed.send_modify(|count| *count += 1);
    }

    fn datagram(&self, payload: &[u8], from: SocketAddr, at_ms: u64) {
        let Some(mac) = magic::find(payload) else {
            let bytes = payload.len();
            return self.record(Effect::StrayDatagram { bytes, from }, at_ms);
        };
        let mut log = lock(&self.log);
        let next = log.records.len();
        match log.trains.observe(mac, at_ms, next) {
            Observed::New => {
                let packets = 1;
                log.push(Effect::MagicPacketTrain { mac, packets, from }, at_ms);
            }
            Observed::Merged { record } => log.merge(record),
        }
        drop(log);
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for sniffer in lock(&self.sniffers).drain(..) {
            sniffer.abort();
        }
    }
}

impl Log {
    fn push(&mut self, effect: Effect, at_ms: u64) {
        let record = Record {
            seq: self.records.len(),
            at_ms,
            effect,
        };
        self.write(&record);
        self.records.push(record);
    }

    /// Counts one more packet in a train; the file gets the whole train again, with the same `seq`.
    fn merge(&mut self, index: usize) {
        if let Some(record) = self.records.get_mut(index) {
            if let Effect::MagicPacketTrain { packets, .. } = &mut record.effect {
                *packets += 1;
            }
            let record = record.clone();
            self.write(&record);
        }
    }

    fn write(&mut self, record: &Record) {
        let Some(file) = &mut self.file else { return };
        let written = serde_json::to_string(record)
            .map_err(std::io::Error::from)
            .and_then(|line| writeln!(file, "{line}"));
        if let Err(error) = written {
            tracing::error!(%error, "the recorder cannot write its file");
        }
    }
}

/// Milliseconds of the boot clock, the same for every process of this host.
#[must_use]
pub fn clock_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let millis = now.tv_sec * 1_000 + now.tv_nsec / 1_000_000;
    u64::try_from(millis).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
