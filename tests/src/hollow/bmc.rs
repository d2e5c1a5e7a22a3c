//! The wire between a hollow machine and its BMC.
//! In: the BMC's orders. Out: the machine's power, as the BMC shows it.
//! Holds: sushy-tools tells only the power it has come to, so its orders are recorded as `observed On` and `observed Off`.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use futures::future::{BoxFuture, FutureExt};
use tokio::sync::{mpsc, watch};

use super::{Event, Power};
use crate::{
    harness::{self, Sushy},
    mock_bmc::{BmcOrder, MockBmc, PowerState},
    recorder::{Effect, Recorder},
};

/// Between two looks at the emulator: short against what a machine needs to boot.
const LOOK: Duration = Duration::from_millis(200);

/// A BMC and the id of one of its systems.
#[derive(Debug, Clone)]
pub enum Bmc {
    /// Our own, in this process.
    Mock {
        /// The service.
        bmc: MockBmc,
        /// The system's id.
        system: String,
    },
    /// sushy-tools' emulator.
    Sushy {
        /// The emulator.
        emulator: Arc<Sushy>,
        /// The system's UUID.
        system: String,
    },
}

impl Bmc {
    /// The system's id.
    #[must_use]
    pub fn system(&self) -> &str {
        match self {
            Self::Mock { system, .. } | Self::Sushy { system, .. } => system,
        }
    }

    /// Shows the machine's power as it is now. Returns what carries orders to the machine and its power back, for as long as it is
    /// polled; whatever the BMC is told after this counts as an order.
    pub(super) async fn link(
        self,
        events: mpsc::UnboundedSender<Event>,
        power: watch::Receiver<Power>,
        recorder: Recorder,
    ) -> Result<BoxFuture<'static, ()>> {
        match self {
            Self::Mock { bmc, system } => {
                let orders = bmc.attach(&system)?;
                bmc.set_power(&system, shown(*power.borrow()))?;
                Ok(link_mock((bmc, system), orders, events, power).boxed())
            }
            Self::Sushy { emulator, system } => {
                let wire = Wire {
                    emulator,
                    system,
                    events,
                    power,
                    recorder,
                };
                let seen = wire.emulator.power(&wire.system).await?;
                let known = wire.show_machine(seen).await;
                Ok(wire.run(known).boxed())
            }
        }
    }
}

const fn shown(power: Power) -> PowerState {
    match power {
        Power::Off => PowerState::Off,
        // Power is on from the first moment of a boot to the last of a shutdown.
        Power::Booting | Power::On => PowerState::On,
        Power::ShuttingDown => PowerState::PoweringOff,
    }
}

async fn link_mock(
    (bmc, system): (MockBmc, String),
    mut orders: mpsc::UnboundedReceiver<BmcOrder>,
    events: mpsc::UnboundedSender<Event>,
    mut power: watch::Receiver<Power>,
) {
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(order) = order else { return };
                if events.send(Event::Bmc(order)).is_err() {
                    return;
                }
            }
            changed = power.changed() => {
                let now = shown(*power.borrow_and_update());
                if changed.is_err() || bmc.set_power(&system, now).is_err() {
                    return;
                }
            }
        }
    }
}

struct Wire {
    emulator: Arc<Sushy>,
    system: String,
    events: mpsc::UnboundedSender<Event>,
    power: watch::Receiver<Power>,
    recorder: Recorder,
}

impl Wire {
    async fn run(self, mut known: harness::Power) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            // The emulator may be killed by a test; then nothing changes until it is back.
            let Ok(seen) = self.emulator.power(&self.system).await else {
                continue;
            };
            if seen == known {
                known = self.show_machine(seen).await;
                continue;
            }
            known = seen;
            // The machine needs a moment to follow, so what it shows is compared at the next look.
            if !self.tell_machine(seen) {
                return;
            }
        }
    }

    /// Somebody ordered through the BMC.
    fn tell_machine(&self, seen: harness::Power) -> bool {
        let order = match seen {
            harness::Power::On => BmcOrder::On,
            harness::Power::Off => BmcOrder::ForceOff,
        };
        self.recorder.record(Effect::BmcReset {
            system: self.system.clone(),
            reset: format!("observed {}", seen.word()),
            status: 204,
        });
        self.events.send(Event::Bmc(order)).is_ok()
    }

    /// The machine changed by itself; returns what the emulator shows afterwards.
    async fn show_machine(&self, seen: harness::Power) -> harness::Power {
        let (wanted, reset) = match *self.power.borrow() {
            Power::Off => (harness::Power::Off, "ForceOff"),
            Power::Booting | Power::On | Power::ShuttingDown => (harness::Power::On, "On"),
        };
        if wanted == seen {
            return seen;
        }
        match self.emulator.reset(&self.system, reset).await {
            Ok(()) => wanted,
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the emulator refuses a machine's power"
                );
                seen
            }
        }
    }
}
