//! The host under the agent and the machines within its reach.
//! In: jobs of the core. Out: what happened, and what the host looks like.
//! Holds: the core never learns which drivers there are; a test puts a scripted host in their place.

mod facts;
mod own_power;
mod redfish;
mod sights;
mod vitals;
mod waking;

pub(crate) use facts::list as list_nics;
pub(crate) use own_power::OwnPower;

use crate::clock::Clock;
use crate::config::{Paths, Relay, Settings};
use agent_core::{DriverFault, Job};
use hardware::{Fault, FaultKind};
use proto_mqtt::key::PublicKey;
use proto_mqtt::report::{Code, Health, HostOutcome, Inventory, Outcome, Policy};
use proto_mqtt::{Order, Text, Verb};
use redfish::RedfishRelay;
use sights::Sights;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What a driver says in the end.
pub(crate) type Carried =
    Pin<Box<dyn Future<Output = Result<Option<Outcome>, DriverFault>> + Send>>;

/// The answer to what stands against switching off.
pub(crate) type Looked = Pin<Box<dyn Future<Output = Policy> + Send>>;

/// Everything that the agent can do and see.
pub(crate) trait Host: Send + Sync {
    /// Carries an order out.
    fn carry(&self, job: Job) -> Carried;
    /// Sets the wake flags; the interfaces as they stand afterwards.
    fn arm(&self) -> Option<HostOutcome>;
    /// Whether somebody works on the host right now, by a look at one file.
    fn in_maintenance(&self) -> bool;
    /// The same and whether anything inhibits a shutdown, which takes a while.
    fn policy(&self) -> Looked;
    /// What the host is made of.
    fn inventory(&self) -> Inventory;
    /// How it is.
    fn health(&self, up_s: u64) -> Health;
}

/// The real host.
pub(crate) struct RealHost {
    paths: Paths,
    clock: Clock,
    relay: Option<Relay>,
    power: Arc<OwnPower>,
    redfish: Arc<RedfishRelay>,
    sights: Arc<Sights>,
    capabilities: Vec<Verb>,
    key: PublicKey,
}

impl RealHost {
    pub(crate) fn new(settings: &Settings, capabilities: Vec<Verb>, key: PublicKey) -> Self {
        let credentials = settings
            .relay
            .as_ref()
            .map(|relay| relay.credentials.clone());
        Self {
            paths: settings.paths.clone(),
            clock: Clock::of_host(&settings.paths.uptime),
            relay: settings.relay.clone(),
            power: Arc::new(OwnPower::new(&settings.host)),
            redfish: Arc::new(RedfishRelay::new(credentials)),
            sights: Arc::new(Sights::default()),
            capabilities,
            key,
        }
    }

    fn carry_redfish(&self, job: Job) -> Carried {
        let (redfish, sights, clock) = (
            Arc::clone(&self.redfish),
            Arc::clone(&self.sights),
            self.clock,
        );
        Box::pin(async move {
            let outcome = redfish.carry(&job).await?;
            sights.note(job.target, outcome.power, clock.now().boot_ms / 1000);
            Ok(Some(Outcome::Redfish(outcome)))
        })
    }
}

impl Host for RealHost {
    fn carry(&self, job: Job) -> Carried {
        match job.order {
            Order::PowerOff => Box::pin(OwnPower::off(Arc::clone(&self.power))),
            Order::PowerReboot => Box::pin(OwnPower::reboot(Arc::clone(&self.power))),
            Order::Wake(train) => {
                let segment = train.segment.as_str();
                let card = self
                    .relay
                    .as_ref()
                    .and_then(|relay| relay.segments.get(segment).cloned());
                Box::pin(waking::send(train, card.flatten()))
            }
            Order::RedfishOn(_) | Order::RedfishOff { .. } | Order::RedfishStatus(_) => {
                self.carry_redfish(job)
            }
            Order::Cancel { .. } | Order::Barrier | Order::Refresh | Order::Unknown { .. } => {
                Box::pin(async {
                    Err(DriverFault {
                        code: Code::Unsupported,
                        msg: Text::shortened("no driver for this order"),
                    })
                })
            }
        }
    }

    fn arm(&self) -> Option<HostOutcome> {
        facts::arm(&self.paths.nics)
    }

    fn in_maintenance(&self) -> bool {
        self.paths.maintenance.exists()
    }

    fn policy(&self) -> Looked {
        let (power, maintenance) = (Arc::clone(&self.power), self.in_maintenance());
        Box::pin(async move {
            Policy {
                maintenance,
                inhibited: power.is_inhibited().await,
            }
        })
    }

    fn inventory(&self) -> Inventory {
        facts::inventory(
            &self.paths,
            self.relay.as_ref(),
            &self.capabilities,
            self.key,
        )
    }

    fn health(&self, up_s: u64) -> Health {
        Health {
            at_wall_s: Some(self.clock.now().wall_s),
            targets: self.sights.list(),
            ..vitals::read(up_s)
        }
    }
}

/// How often inhibitors are looked at: as often as a heartbeat tells of them.
pub(crate) const POLICY_INTERVAL: Duration = Duration::from_secs(10);

/// A driver's fault in the words of the protocol.
fn fault(fault: &Fault) -> DriverFault {
    let code = match fault.kind {
        FaultKind::Timeout => Code::ExecTimeout,
        FaultKind::Busy => Code::Busy,
        FaultKind::NotSupported => Code::Unsupported,
        FaultKind::InvalidConfig
        | FaultKind::Auth
        | FaultKind::TlsTrust
        | FaultKind::IdentityMismatch
        | FaultKind::Denied => Code::ExecRefused,
        FaultKind::Unreachable
        | FaultKind::Transient
        | FaultKind::Protocol
        | FaultKind::Cancelled => Code::ExecFailed,
    };
    DriverFault {
        code,
        msg: Text::shortened(&format!("{}: {fault}", fault.reason())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_a_person_must_mend_is_told_apart_from_one_that_may_pass() {
        for (kind, code) in [
            (FaultKind::InvalidConfig, Code::ExecRefused),
            (FaultKind::Auth, Code::ExecRefused),
            (FaultKind::TlsTrust, Code::ExecRefused),
            (FaultKind::IdentityMismatch, Code::ExecRefused),
            (FaultKind::Denied, Code::ExecRefused),
            (FaultKind::NotSupported, Code::Unsupported),
            (FaultKind::Busy, Code::Busy),
            (FaultKind::Timeout, Code::ExecTimeout),
            (FaultKind::Unreachable, Code::ExecFailed),
            (FaultKind::Transient, Code::ExecFailed),
            (FaultKind::Protocol, Code::ExecFailed),
            (FaultKind::Cancelled, Code::ExecFailed),
        ] {
            assert_eq!(fault(&Fault::new(kind, "x")).code, code, "{kind:?}");
        }
    }
}
