//! Loopback ports for servers that cannot be told to pick one themselves.
//! Out: [`Port`], reserved against other test processes until it is dropped.
//! Holds: a port lies below the range that the kernel gives to outgoing connections, so a server that is killed and started
//! again finds its port free, and no client that keeps reconnecting can end up connected to itself.

use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
};

use anyhow::{Context, Result, bail};

/// First candidate; ports below belong to well-known services.
const FIRST: u16 = 15_000;
/// End of the candidates (exclusive): Kubernetes' node ports start here, Linux' ephemeral ports a little above.
const END: u16 = 30_000;

/// A TCP and UDP port on loopback that no other test of this machine uses while this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The lock on this file is the reservation; the kernel releases it when the process ends, however it ends.
    _reservation: File,
}

impl Port {
    /// Reserves a port nobody listens on.
    ///
    /// # Errors
    /// When the folder of reservations cannot be written, or every port is taken.
    pub fn reserve() -> Result<Self> {
        // One folder for each user: nobody can open the files of another.
        let user = rustix::process::geteuid().as_raw();
        let folder = std::env::temp_dir().join(format!("homelab-autoscaler-test-ports-{user}"));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let span = END - FIRST;
        let start = u16::try_from(RandomState::new().hash_one("port") % u64::from(span))
            .context("a remainder of a u16 fits a u16")?;
        for step in 0..span {
            let number = FIRST + (start + step) % span;
            let file = folder.join(number.to_string());
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&file)
                .with_context(|| format!("open {}", file.display()))?;
            if file.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self {
                    number,
                    _reservation: file,
                });
            }
        }
        bail!("every loopback port from {FIRST} to {END} is taken")
    }

    /// The port's number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn live_reservations_never_share_a_number() {
        let ports: Vec<Port> = (0..50).map(|_| Port::reserve().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
        assert!(numbers.iter().all(|number| (FIRST..END).contains(number)));
    }
}
