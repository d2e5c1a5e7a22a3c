//! Where a hollow machine stands on a LAN: its card hears packets there, and its agent runs there.
//! Holds: like a real card, one with a password wakes only on a packet that ends with it.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::sleep};

use super::Event;
use crate::{
    lan::{Host, Sighting, Sniffer},
    recorder::Mac,
};

/// Between two looks at what was heard: short against what a machine needs to boot.
const LOOK: Duration = Duration::from_millis(20);

/// A place on a LAN.
#[derive(Debug, Clone)]
pub struct Berth {
    /// The host that stands for the machine.
    pub host: Host,
    /// The host's only card.
    pub nic: String,
    /// The card's SecureOn password; empty = it has none.
    pub secure_on: Vec<u8>,
}

/// Tells of every packet that wakes the card with this address.
pub(super) async fn listen(
    card: Arc<Sniffer>,
    mac: Mac,
    secure_on: Vec<u8>,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut known = 0;
    loop {
        let seen = match card.sightings() {
            Ok(seen) => seen,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "a hollow card is deaf");
                return;
            }
        };
        for sighting in &seen[known..] {
            if wakes(sighting, mac, &secure_on) && events.send(Event::Packet).is_err() {
                return;
            }
        }
        known = seen.len();
        sleep(LOOK).await;
    }
}

fn wakes(sighting: &Sighting, mac: Mac, secure_on: &[u8]) -> bool {
    let pattern = Sighting::exact_payload(mac, secure_on);
    // A card without a password looks for nothing behind the pattern.
    sighting.mac == mac && (secure_on.is_empty() || sighting.payload.ends_with(&pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);

    #[test]
    fn card_with_a_password_wants_it() {
        let wakes_with = |sent: &[u8], wanted: &[u8]| {
            let sighting = Sighting {
                at_ms: 0,
                nic: "eth0".into(),
                mac: NUC,
                frame_to: Mac([0xff; 6]),
                udp: None,
                payload_bytes: 102 + sent.len(),
                secure_on_bytes: sent.len(),
                payload: Sighting::exact_payload(NUC, sent),
            };
            wakes(&sighting, NUC, wanted)
        };
        assert!(wakes_with(&[], &[]));
        assert!(wakes_with(&[1, 2, 3, 4], &[]));
        assert!(wakes_with(&[1, 2, 3, 4], &[1, 2, 3, 4]));
        assert!(!wakes_with(&[], &[1, 2, 3, 4]));
        assert!(!wakes_with(&[1, 2, 3, 5], &[1, 2, 3, 4]));
        assert!(!wakes_with(&[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4]));
    }
}
