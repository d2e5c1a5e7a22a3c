//! The network cards of this host, and whether they are armed to wake it.
//! In: the kernel's folder of cards and its netlink interface. Out: [`Nic`]s; the flag set by [`Nics::arm`].
//! Holds: arming is verified by reading back; other wake modes of the card stay as they are; what cannot be read is
//! [`WakeFlag::Unknown`], never "armed".
//! Not here: the packets that wake other hosts ([`wake_on_lan`](crate::wake_on_lan)).

mod netlink;
mod wake_modes;

#[cfg(feature = "fuzz")]
pub use netlink::fuzz;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::fault::{Fault, FaultKind};
use crate::mac_address::MacAddress;
use wake_modes::WakeModes;

/// Where the kernel lists network cards.
const NETWORK_CARDS: &str = "/sys/class/net";
/// What only a folder for tests has: the modes that a card knows and those that are set, in ethtool's letters.
const SUPPORTED_FILE: &str = "wake_supported";
const ARMED_FILE: &str = "wake_armed";

/// The network cards of a host.
#[derive(Clone, Debug)]
pub struct Nics {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Kernel,
    Folder(PathBuf),
}

/// One physical network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Name of the interface.
    pub name: String,
    /// The card's own address, also where a bond or bridge gave it another one.
    pub mac: MacAddress,
    /// Whether it has a link.
    pub up: bool,
    /// Whether a magic packet would wake the host.
    pub wake: WakeFlag,
}

/// Whether a card would wake its host on a magic packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WakeFlag {
    /// It is set to.
    Armed,
    /// It could, but is not set to.
    Disarmed,
    /// Card or driver cannot.
    NotSupported,
    /// The kernel does not tell; the text says why.
    Unknown(String),
}

impl Nics {
    /// The cards of this host.
    #[must_use]
    pub fn kernel() -> Self {
        Self {
            source: Source::Kernel,
        }
    }

    /// The cards in a folder that looks like `/sys/class/net`, for tests and demos. A card needs `address` and `device`, may
    /// have `carrier`, and keeps its wake modes in `wake_supported` and `wake_armed` in ethtool's letters (`pumbg`, `g`, `d`).
    #[must_use]
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::Folder(path.into()),
        }
    }

    /// Lists all physical cards by name.
    ///
    /// # Errors
    /// `InvalidConfig` if there is no such folder.
    pub fn list(&self) -> Result<Vec<Nic>, Fault> {
        let folder = self.path();
        let unreadable = |fault| {
            let detail = format!(
                "cannot list the network cards in {}: {fault}",
                folder.display()
            );
            Fault::new(FaultKind::InvalidConfig, detail)
        };
        let mut names: Vec<String> = fs::read_dir(folder)
            .map_err(unreadable)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| folder.join(name).join("device").exists())
            .collect();
        names.sort();
        Ok(names
            .into_iter()
            .filter_map(|name| self.nic(name))
            .collect())
    }

    /// Sets a card to wake the host on a magic packet, and tells what it says afterwards.
    ///
    /// # Errors
    /// `NotSupported` if the card cannot, `Denied` without the right to (CAP_NET_ADMIN), `InvalidConfig` if there is no
    /// such card, `Transient` if it takes the setting but does not keep it.
    pub fn arm(&self, name: &str) -> Result<(), Fault> {
        if !self.list()?.iter().any(|nic| nic.name == name) {
            let detail = format!("there is no network card `{name}` to arm");
            return Err(Fault::new(FaultKind::InvalidConfig, detail));
        }
        let told = |fault| arming_fault(name, &fault);
        let modes = self.modes(name).map_err(told)?;
        if !modes.knows_magic() {
            let detail = format!("network card {name} cannot wake this host by a magic packet");
            return Err(Fault::new(FaultKind::NotSupported, detail));
        }
        if !modes.wakes_by_magic() {
            self.set_magic(name, modes).map_err(told)?;
        }
        self.allow_wakeup(name).map_err(told)?;
        if self.modes(name).map_err(told)?.wakes_by_magic() {
            return Ok(());
        }
        let detail = format!("network card {name} took the wake flag but does not keep it");
        Err(Fault::new(FaultKind::Transient, detail))
    }

    fn path(&self) -> &Path {
        match &self.source {
            Source::Kernel => Path::new(NETWORK_CARDS),
            Source::Folder(path) => path,
        }
    }

    /// `None` for what has no Ethernet address, such as an InfiniBand port.
    fn nic(&self, name: String) -> Option<Nic> {
        let card = self.path().join(&name);
        let permanent = match &self.source {
            Source::Kernel => netlink::permanent_address(&name).ok().flatten(),
            Source::Folder(_) => None,
        };
        let current = || {
            fs::read_to_string(card.join("address"))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        let mac = permanent
            .and_then(|octets| MacAddress::new(octets).ok())
            .or_else(current)?;
        let up = fs::read_to_string(card.join("carrier")).is_ok_and(|text| text.trim() == "1");
        let wake = match self.modes(&name) {
            Ok(modes) if modes.wakes_by_magic() => WakeFlag::Armed,
            Ok(modes) if modes.knows_magic() => WakeFlag::Disarmed,
            Ok(_) => WakeFlag::NotSupported,
            Err(fault) if netlink::is_unsupported(&fault) => WakeFlag::NotSupported,
            Err(fault) => WakeFlag::Unknown(fault.to_string()),
        };
        Some(Nic {
            name,
            mac,
            up,
            wake,
        })
    }

    fn modes(&self, name: &str) -> io::Result<WakeModes> {
        match &self.source {
            Source::Kernel => netlink::wake_modes(name),
            Source::Folder(path) => {
                let letters = |file| match fs::read_to_string(path.join(name).join(file)) {
                    Ok(text) => WakeModes::from_letters(text.trim()),
                    Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(0),
                    Err(fault) => Err(fault),
                };
                Ok(WakeModes {
                    supported: letters(SUPPORTED_FILE)?,
                    enabled: letters(ARMED_FILE)?,
                })
            }
        }
    }

    fn set_magic(&self, name: &str, modes: WakeModes) -> io::Result<()> {
        match &self.source {
            Source::Kernel => netlink::set_wake_modes(name, wake_modes::MAGIC, wake_modes::MAGIC),
            Source::Folder(path) => {
                let letters = WakeModes::letters(modes.enabled | wake_modes::MAGIC);
                fs::write(path.join(name).join(ARMED_FILE), letters)
            }
        }
    }

    /// The bus below the card has a switch of its own, which some distributions turn off.
    fn allow_wakeup(&self, name: &str) -> io::Result<()> {
        let switch = self.path().join(name).join("device/power/wakeup");
        match fs::read_to_string(&switch) {
            Ok(state) if state.trim() == "disabled" => fs::write(&switch, "enabled"),
            // Absent or empty: this bus has none.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn arming_fault(name: &str, fault: &io::Error) -> Fault {
    let (kind, advice) = if netlink::is_unsupported(fault) {
        (FaultKind::NotSupported, "")
    } else if fault.kind() == io::ErrorKind::PermissionDenied {
        (FaultKind::Denied, "; it needs the capability CAP_NET_ADMIN")
    } else {
        (FaultKind::Transient, "")
    };
    Fault::new(
        kind,
        format_args!("cannot arm network card {name} for Wake-on-LAN: {fault}{advice}"),
    )
}

#[cfg(test)]
mod tests;
