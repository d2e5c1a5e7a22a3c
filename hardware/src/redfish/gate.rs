//! The door of each BMC: one request at a time, one step at a time for each machine.
//! Holds: two machines behind one BMC, opened at different times, share its door.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::fault::{Fault, FaultKind};

use super::address::BmcAddress;
use super::http::Client;
use super::{Bmc, BmcOptions};

/// All BMCs that this process speaks to.
#[derive(Debug, Default)]
pub struct Bmcs {
    gates: Mutex<HashMap<(String, u16), Arc<Gate>>>,
}

impl Bmcs {
    /// No BMC yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Prepares to speak to a BMC; sends nothing.
    ///
    /// # Errors
    /// `Denied` if the credentials are not for this host, `InvalidConfig` for plain HTTP that was not allowed or for
    /// unreadable certificates.
    pub fn open(&self, options: BmcOptions) -> Result<Bmc, Fault> {
        check_plain_http(&options)?;
        if let Some(credentials) = &options.credentials {
            credentials.check(&options.address)?;
        }
        let gate = self.gate(&options.address);
        let client = Arc::new(Client::new(options, Arc::clone(&gate))?);
        Ok(Bmc { client, gate })
    }

    fn gate(&self, address: &BmcAddress) -> Arc<Gate> {
        let mut gates = locked(&self.gates);
        // Doors that nobody holds any more are taken down, so that changing addresses do not pile up.
        gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        let key = (address.host().to_owned(), address.port());
        Arc::clone(gates.entry(key).or_default())
    }
}

fn check_plain_http(options: &BmcOptions) -> Result<(), Fault> {
    let address = &options.address;
    let named = options
        .credentials
        .as_ref()
        .is_some_and(|credentials| credentials.allow_plain_http(address));
    if address.is_https() || address.is_loopback() || options.insecure_http || named {
        return Ok(());
    }
    let detail = format!(
        "{address} is plain HTTP, where anybody on the way reads the password; use https://, or allow it by writing \
         `{address}` into the credentials' hosts"
    );
    Err(Fault::new(FaultKind::InvalidConfig, detail))
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Gate {
    /// Most BMCs get slow or stuck with parallel requests.
    pub(super) requests: Semaphore,
    busy: Mutex<HashSet<Option<String>>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            requests: Semaphore::new(1),
            busy: Mutex::new(HashSet::new()),
        }
    }
}

impl Gate {
    /// Begins a step for a machine; `None` if one is under way.
    pub(super) fn begin(self: &Arc<Self>, system: Option<&str>) -> Option<Turn> {
        let system = system.map(str::to_owned);
        locked(&self.busy).insert(system.clone()).then(|| Turn {
            gate: Arc::clone(self),
            system,
        })
    }
}

/// The right to do one step; over when dropped.
pub(super) struct Turn {
    gate: Arc<Gate>,
    system: Option<String>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        locked(&self.gate.busy).remove(&self.system);
    }
}

/// Nothing here can panic while it holds a lock, so a poisoned one is as good as new.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
