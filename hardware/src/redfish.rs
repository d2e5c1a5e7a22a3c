//! Redfish: power of a machine through its management controller (BMC).
//! In: [`BmcOptions`] and which system of the BMC is meant. Out: a [`Machine`] that is a [`PowerSwitch`] and a [`Sensor`].
//! Holds: every path but the root comes from a link and stays on the BMC's own origin; credentials go only to hosts they are
//! bound to; one request at a time for each BMC; one write for each step; `Off` only where the BMC says exactly that.
//! Not here: waiting for the state, escalation, cool-down; sessions, tasks, events, watts.

mod address;
mod credentials;
mod discovery;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod gate;
mod http;
mod json;
mod message;
mod reset;
mod retry_after;
mod trust;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Mutex;

pub use address::{BmcAddress, BmcAddressFault};
pub use credentials::{Credentials, CredentialsFault};
pub use gate::Bmcs;
pub use trust::{Fingerprint, FingerprintFault, Trust};

use crate::fault::{Fault, FaultKind};
use crate::power::{Answer, Applied, Basis, Power, PowerSwitch, Reading, Sensor, Step};
use address::Link;
use gate::Gate;
use http::Client;

/// How to reach one BMC.
#[derive(Clone, Debug)]
pub struct BmcOptions {
    /// Where it is.
    pub address: BmcAddress,
    /// Who we are; `None` for a BMC without authentication.
    pub credentials: Option<Credentials>,
    /// Which certificate is accepted.
    pub trust: Trust,
    /// Whether plain HTTP may be spoken beyond loopback, where anybody on the way reads the password.
    pub insecure_http: bool,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for a whole request with its answer.
    pub request_timeout: Duration,
}

impl BmcOptions {
    /// Options with the certificate authorities of the system, 5 s to connect and 30 s for a request.
    #[must_use]
    pub fn new(address: BmcAddress, credentials: Option<Credentials>) -> Self {
        Self {
            address,
            credentials,
            trust: Trust::System,
            insecure_http: false,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// One BMC, as [`Bmcs::open`] gives it.
#[derive(Clone)]
pub struct Bmc {
    client: Arc<Client>,
    gate: Arc<Gate>,
}

impl Bmc {
    /// A machine of this BMC by the id, UUID, name or path of its system; `None` = the only one there is.
    #[must_use]
    pub fn machine(&self, system: Option<String>) -> Machine {
        Machine {
            bmc: self.clone(),
            system,
            known: Mutex::new(None),
        }
    }
}

/// One computer system of a BMC. It remembers where the system is, so that a later reading is a single request.
pub struct Machine {
    bmc: Bmc,
    system: Option<String>,
    known: Mutex<Option<Link>>,
}

impl Machine {
    async fn read(&self) -> Result<Value, Fault> {
        let mut known = self.known.lock().await;
        let found =
            discovery::locate(&self.bmc.client, self.system.as_deref(), known.clone()).await?;
        *known = Some(found.link);
        Ok(found.system)
    }

    async fn step(&self, step: Step) -> Result<Applied, Fault> {
        let Some(goal) = reset::Goal::of(step) else {
            let detail =
                format!("Redfish here does on, graceful shutdown and hard off, not {step}");
            return Err(Fault::new(FaultKind::NotSupported, detail));
        };
        let Some(_turn) = self.bmc.gate.begin(self.system.as_deref()) else {
            let detail = format!(
                "another step is under way at BMC {} for this machine",
                self.bmc.client.address()
            );
            return Err(Fault::new(FaultKind::Busy, detail));
        };
        let system = self.read().await?;
        match goal.judge(&power_of(&system), &system) {
            reset::Judgement::There => Ok(Applied::NoChange),
            reset::Judgement::Go => {
                reset::send(&self.bmc.client, goal, &system, || self.read()).await
            }
            reset::Judgement::Wait(why) => Err(Fault::new(FaultKind::Busy, why)),
            reset::Judgement::Stop(why) => Err(Fault::new(FaultKind::Protocol, why)),
        }
    }
}

impl PowerSwitch for Machine {
    fn apply(&self, step: Step) -> Answer<'_, Applied> {
        Box::pin(self.step(step))
    }
}

impl Sensor for Machine {
    fn observe(&self) -> Answer<'_, Reading> {
        Box::pin(async move {
            let system = self.read().await?;
            Ok(Reading {
                power: power_of(&system),
                basis: Basis::Asserted,
                at: Instant::now(),
            })
        })
    }
}

/// Only the exact words of the standard count; a missing state is not "on".
fn power_of(system: &Value) -> Power {
    match system.get("PowerState") {
        Some(Value::String(word)) => match word.as_str() {
            "On" => Power::On,
            "Off" => Power::Off,
            "PoweringOn" | "PoweringOff" => Power::Transitioning,
            other => Power::Unknown(format!("PowerState is {}", message::tidy(other))),
        },
        None | Some(Value::Null) => Power::Unknown("PowerState is missing".to_owned()),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Power::Unknown("PowerState is no text".to_owned())
        }
    }
}

#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
