//! A Redfish service in this process, for several systems, with scripted faults.
//! In: HTTP requests on a loopback port; [`Faults`] set by the test. Out: resets, as [`BmcOrder`]s to whoever is attached.
//! Holds: every reset that reaches it is recorded, refused ones too; what it shows of a machine's power is what the attached machine
//! last said (a system without a machine follows its orders at once).
//! Not here: sessions, tasks, TLS; the emulator of the harness has TLS.

mod service;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{net::TcpListener, sync::mpsc, task::AbortHandle};

use crate::recorder::Recorder;

/// The power state of a system, as Redfish names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    /// Running.
    On,
    /// Off.
    Off,
    /// On its way up.
    PoweringOn,
    /// On its way down.
    PoweringOff,
}

impl PowerState {
    /// The word in the JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::Off => "Off",
            Self::PoweringOn => "PoweringOn",
            Self::PoweringOff => "PoweringOff",
        }
    }
}

/// An accepted reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BmcOrder {
    /// `On` or `ForceOn`.
    On,
    /// `ForceOff`: cut the power.
    ForceOff,
    /// `GracefulShutdown`: press the power button as ACPI sees it.
    GracefulShutdown,
    /// `GracefulRestart`.
    GracefulRestart,
    /// `ForceRestart`.
    ForceRestart,
}

impl BmcOrder {
    /// Every order with its word in the JSON.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::On, "On"),
        (Self::On, "ForceOn"),
        (Self::ForceOff, "ForceOff"),
        (Self::GracefulShutdown, "GracefulShutdown"),
        (Self::GracefulRestart, "GracefulRestart"),
        (Self::ForceRestart, "ForceRestart"),
    ];

    fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, word)| *word == text);
        found.map(|(order, _)| *order)
    }
}

/// What goes wrong at one system; the default is nothing.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Every answer about this system comes this late.
    pub delay: Duration,
    /// The next resets get this status and do nothing.
    pub refuse_resets: Option<(u16, u32)>,
    /// This many resets are answered 204 and do nothing.
    pub ignore_resets: u32,
    /// The system is shown without a power state.
    pub hide_power: bool,
    /// The reset types that are offered, in place of all that are understood.
    pub offered: Option<Vec<String>>,
}

/// One request as the service saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: String,
    /// The path.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
}

/// How a mock BMC is set up.
#[derive(Debug, Clone, Default)]
pub struct BmcOptions {
    /// User and password; without them everything is open.
    pub login: Option<(String, String)>,
    /// The systems' ids; all start `Off`.
    pub systems: Vec<String>,
}

/// A running service; clones share it, the last one ends it.
#[derive(Debug, Clone)]
pub struct MockBmc {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: Arc<Server>,
}

#[derive(Debug)]
struct Server(AbortHandle);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Shared {
    login: Option<(String, String)>,
    recorder: Recorder,
    systems: Mutex<BTreeMap<String, System>>,
    requests: Mutex<Vec<Request>>,
}

#[derive(Debug)]
struct System {
    power: PowerState,
    faults: Faults,
    machine: Option<mpsc::UnboundedSender<BmcOrder>>,
}

impl MockBmc {
    /// Starts the service on a free loopback port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(options: BmcOptions, recorder: Recorder) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("listen for Redfish")?;
        let address = listener.local_addr().context("read the BMC's port")?;
        let off = || System {
            power: PowerState::Off,
            faults: Faults::default(),
            machine: None,
        };
        let systems = options.systems.into_iter().map(|id| (id, off())).collect();
        let shared = Arc::new(Shared {
            login: options.login,
            recorder,
            systems: Mutex::new(systems),
            requests: Mutex::default(),
        });
        let router = service::router(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the mock BMC has ended");
            }
        });
        Ok(Self {
            address,
            shared,
            _server: Arc::new(Server(server.abort_handle())),
        })
    }

    /// The address a machine's `spec.redfish.address` names.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the service shows of a system.
    ///
    /// # Errors
    /// When there is no such system.
    pub fn power(&self, system: &str) -> Result<PowerState> {
        self.shared.with(system, |system| system.power)
    }

    /// Changes what the service shows of a system.
    ///
    /// # Errors
    /// When there is no such system.
    pub fn set_power(&self, system: &str, power: PowerState) -> Result<()> {
        self.shared.with(system, |system| system.power = power)
    }

    /// Changes what goes wrong at a system from now on.
    ///
    /// # Errors
    /// When there is no such system.
    pub fn set_faults(&self, system: &str, faults: Faults) -> Result<()> {
        self.shared.with(system, |system| system.faults = faults)
    }

    /// Takes a system's orders from now on; the taker must tell its power by [`MockBmc::set_power`].
    ///
    /// # Errors
    /// When there is no such system.
    pub fn attach(&self, system: &str) -> Result<mpsc::UnboundedReceiver<BmcOrder>> {
        let (orders, taker) = mpsc::unbounded_channel();
        self.shared
            .with(system, |system| system.machine = Some(orders))?;
        Ok(taker)
    }

    /// Every request so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }
}

impl Shared {
    fn with<T>(&self, id: &str, act: impl FnOnce(&mut System) -> T) -> Result<T> {
        let mut systems = lock(&self.systems);
        let system = systems
            .get_mut(id)
            .with_context(|| format!("the mock BMC has no system {id:?}"))?;
        Ok(act(system))
    }
}

impl System {
    /// Carries out an order: by the machine if there is one, else by itself.
    fn order(&mut self, order: BmcOrder) {
        match &self.machine {
            Some(machine) => {
                let _machine_is_gone = machine.send(order);
            }
            None => {
                self.power = match order {
                    BmcOrder::On | BmcOrder::GracefulRestart | BmcOrder::ForceRestart => {
                        PowerState::On
                    }
                    BmcOrder::ForceOff | BmcOrder::GracefulShutdown => PowerState::Off,
                };
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
