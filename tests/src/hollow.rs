//! Hollow machines: real agents, wake signals and Node objects around a power supply that is only a variable.
//! In: magic packets on a socket, orders of a BMC, the shutdown command of the agent, a finger on the button.
//! Out: a running or absent `homelab-agent`, a core Node with its Lease; every change of power goes to the recorder.
//! Holds: what is off runs nothing; each boot has a new boot id; all of it is gone when the machine is dropped.

mod berth;
pub mod bmc;
mod files;
pub mod kubelet;
mod os;
mod supply;

use std::{
    net::SocketAddrV4,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use tokio::{
    net::{UdpSocket, UnixDatagram},
    sync::{mpsc, watch},
    task::AbortHandle,
};

pub use berth::Berth;
pub use bmc::Bmc;
pub use files::AgentSpec;
pub use kubelet::KubeletSpec;

use crate::{
    harness::{Process, WorkDir},
    lan::{Sighting, Sniffer},
    mock_bmc::BmcOrder,
    recorder::{Keys, Mac, Recorder, magic, shared_socket},
};

/// How a machine is built.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Its name, in the recorder and by default for its agent.
    pub name: String,
    /// The MAC address of its only network card.
    pub mac: Mac,
    /// Where its card hears magic packets; none means that it cannot be woken this way.
    pub wake: Vec<SocketAddrV4>,
    /// Where it stands on a LAN of namespaces; none = in the namespace of the test.
    pub berth: Option<Berth>,
    /// Its BMC, if it has one.
    pub bmc: Option<Bmc>,
    /// From power on until the agent starts.
    pub boot: Duration,
    /// From the shutdown order until power off.
    pub shutdown: Duration,
    /// Whether it runs when the test starts.
    pub starts: Power,
    /// Its agent, if it has one.
    pub agent: Option<AgentSpec>,
    /// Its kubelet, in scenarios with Kubernetes.
    pub kubelet: Option<KubeletSpec>,
    /// What goes wrong.
    pub faults: Faults,
}

impl MachineSpec {
    /// A machine that is off, boots in 300 ms, stops in 300 ms, and has nothing else yet.
    #[must_use]
    pub fn new(name: &str, mac: Mac) -> Self {
        Self {
            name: name.to_owned(),
            mac,
            wake: Vec::new(),
            berth: None,
            bmc: None,
            boot: Duration::from_millis(300),
            shutdown: Duration::from_millis(300),
            starts: Power::Off,
            agent: None,
            kubelet: None,
            faults: Faults::default(),
        }
    }
}

/// What goes wrong at a machine; the default is nothing. May change at any time.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Magic packets and its BMC's On do nothing: the card is not armed.
    pub ignores_wake: bool,
    /// Power comes on, but the operating system never does.
    pub never_boots: bool,
    /// This much longer to boot.
    pub boots_slower_by: Duration,
    /// Loses power at the end of its boot.
    pub dies_at_boot: bool,
    /// Shutdown orders, from inside or by the BMC's button, do nothing.
    pub ignores_shutdown: bool,
}

/// What a machine's power supply and operating system are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// No power; nothing runs.
    Off,
    /// Power, but no operating system yet.
    Booting,
    /// Up.
    On,
    /// The operating system is going down.
    ShuttingDown,
}

/// What reaches a machine.
#[derive(Debug)]
enum Event {
    Packet,
    Bmc(BmcOrder),
    /// The agent's shutdown command was run, with this word.
    Host(String),
    Button,
    Crash,
    ReviveAgent,
}

/// A machine that lives as long as this value.
#[derive(Debug)]
pub struct HollowMachine {
    name: String,
    power: watch::Receiver<Power>,
    events: mpsc::UnboundedSender<Event>,
    faults: Arc<Mutex<Faults>>,
    agent: Arc<Mutex<Option<Process>>>,
    tasks: Vec<AbortHandle>,
    /// What listens for its card, on a LAN of namespaces.
    card: Option<Arc<Sniffer>>,
    work: Arc<WorkDir>,
}

impl HollowMachine {
    /// Puts a machine on its shelf, running or not as `spec.starts` says, and makes it known to the recorder.
    ///
    /// # Errors
    /// When its sockets or its folder cannot be made, or a machine that starts running cannot start its agent.
    pub async fn start(spec: MachineSpec, recorder: &Recorder) -> Result<Self> {
        let keys = Keys {
            mac: Some(spec.mac),
            bmc_system: spec.bmc.as_ref().map(|bmc| bmc.system().to_owned()),
        };
        recorder.add_machine(&spec.name, keys);
        let work = Arc::new(WorkDir::new(&spec.name)?);
        files::write_hardware(&work, spec.mac)?;
        let (events, inbox) = mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for address in &spec.wake {
            let (socket, _) = shared_socket(*address)?;
            let card = listen_for_packets(socket, spec.mac, events.clone());
            tasks.push(tokio::spawn(card).abort_handle());
        }
        let card = match &spec.berth {
            Some(berth) => Some(Arc::new(Sniffer::start(&berth.host, &berth.nic).await?)),
            None => None,
        };
        if let (Some(card), Some(berth)) = (&card, &spec.berth) {
            let secure_on = berth.secure_on.clone();
            let card = berth::listen(Arc::clone(card), spec.mac, secure_on, events.clone());
            tasks.push(tokio::spawn(card).abort_handle());
        }
        let switch = UnixDatagram::bind(files::switch(&work)).context("make the power switch")?;
        tasks.push(tokio::spawn(listen_to_host(switch, events.clone())).abort_handle());
        let faults = Arc::new(Mutex::new(spec.faults.clone()));
        let agent = Arc::new(Mutex::new(None));
        let parts = supply::Parts {
            recorder: recorder.clone(),
            faults: Arc::clone(&faults),
            agent: Arc::clone(&agent),
            work: Arc::clone(&work),
        };
        let name = spec.name.clone();
        let bmc = spec.bmc.clone();
        let mut supply = supply::Supply::new(spec, parts);
        let power = supply.power();
        supply.first_power()?;
        if let Some(bmc) = bmc {
            let link = bmc.link(events.clone(), power.clone(), recorder.clone());
            tasks.push(tokio::spawn(link.await?).abort_handle());
        }
        tasks.push(tokio::spawn(supply.run(inbox)).abort_handle());
        Ok(Self {
            name,
            power,
            events,
            faults,
            agent,
            tasks,
            card,
            work,
        })
    }

    /// The machine's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its power is now.
    #[must_use]
    pub fn power(&self) -> Power {
        *self.power.borrow()
    }

    /// The boot id of the present or last boot; empty before the first.
    #[must_use]
    pub fn boot_id(&self) -> String {
        files::boot_id(&self.work)
    }

    /// Whether its network card is set to wake it, as its agent left it. Packets wake it in any case; see [`Faults`].
    #[must_use]
    pub fn is_armed(&self) -> bool {
        files::is_armed(&self.work)
    }

    /// The machine's own folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.work.path()
    }

    /// The log of its agent, over all boots.
    #[must_use]
    pub fn agent_log(&self) -> PathBuf {
        self.work.file(&format!("{}.log", os::AGENT_LOG))
    }

    /// Every magic packet that its card has heard on a LAN of namespaces, for whichever machine; none without a [`Berth`].
    ///
    /// # Errors
    /// When the card is deaf.
    pub fn heard(&self) -> Result<Vec<Sighting>> {
        let sightings = self.card.as_ref().map(|card| card.sightings());
        Ok(sightings.transpose()?.unwrap_or_default())
    }

    /// Waits for a power state.
    ///
    /// # Errors
    /// After `limit`, with the present state.
    pub async fn until(&self, wanted: Power, limit: Duration) -> Result<()> {
        let mut power = self.power.clone();
        let reached = tokio::time::timeout(limit, power.wait_for(|power| *power == wanted)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(anyhow!("{} is gone", self.name)),
            Err(_elapsed) => {
                let (name, power) = (&self.name, self.power());
                Err(anyhow!(
                    "{name} is {power:?}, not {wanted:?} within {limit:?}"
                ))
            }
        }
    }

    /// A finger on the power button: starts what is off, shuts down what is on.
    pub fn press_button(&self) {
        self.send(Event::Button);
    }

    /// The power goes away under everything that runs.
    pub fn crash(&self) {
        self.send(Event::Crash);
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.faults) = faults;
    }

    /// Kills the agent and leaves the machine running.
    pub fn kill_agent(&self) {
        drop(lock(&self.agent).take());
    }

    /// Starts the agent again after [`HollowMachine::kill_agent`].
    pub fn revive_agent(&self) {
        self.send(Event::ReviveAgent);
    }

    /// Takes the machine away without any effect being recorded; the same as dropping it.
    pub fn stop(self) {
        drop(self);
    }

    fn send(&self, event: Event) {
        // The supply ends only when this value is dropped.
        let _supply_is_gone = self.events.send(event);
    }
}

impl Drop for HollowMachine {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        drop(lock(&self.agent).take());
    }
}

async fn listen_for_packets(socket: UdpSocket, mac: Mac, events: mpsc::UnboundedSender<Event>) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length) = socket.recv(&mut buffer).await {
        if magic::find(&buffer[..length]) == Some(mac) && events.send(Event::Packet).is_err() {
            return;
        }
    }
}

/// The agent's shutdown command sends one word to the machine's switch.
async fn listen_to_host(switch: UnixDatagram, events: mpsc::UnboundedSender<Event>) {
    let mut buffer = [0; 64];
    while let Ok(length) = switch.recv(&mut buffer).await {
        let verb = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if events.send(Event::Host(verb)).is_err() {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
