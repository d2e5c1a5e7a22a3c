//! Machines behind BMCs, as a relay reaches them.
//! In: an order with an address and the *name* of credentials. Out: what the BMC says.
//! Holds: user, password, hosts and authorities are files of the relay, read anew for each order; the first two go only
//! to those hosts.

use super::fault;
use agent_core::{DriverFault, Job};
use hardware::redfish::{BmcOptions, Bmcs, Credentials, Machine, Trust};
use hardware::{Applied, PowerSwitch, Sensor, Step};
use proto_mqtt::order::{BmcOrder, OffMode};
use proto_mqtt::report::{BmcOutcome, Code, MAX_CREDENTIALS};
use proto_mqtt::{Order, Power, Text};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The BMCs that this relay speaks to.
#[derive(Debug)]
pub(super) struct RedfishRelay {
    bmcs: Bmcs,
    credentials: Option<PathBuf>,
}

impl RedfishRelay {
    pub(super) fn new(credentials: Option<PathBuf>) -> Self {
        Self {
            bmcs: Bmcs::new(),
            credentials,
        }
    }

    /// Carries out one order and tells the power that was read with it.
    pub(super) async fn carry(&self, job: &Job) -> Result<BmcOutcome, DriverFault> {
        let (bmc, step) = match &job.order {
            Order::RedfishOn(bmc) => (bmc, Some(Step::On)),
            Order::RedfishOff {
                bmc,
                mode: OffMode::Graceful,
            } => (bmc, Some(Step::ShutdownGraceful)),
            Order::RedfishOff {
                bmc,
                mode: OffMode::Force,
            } => (bmc, Some(Step::OffHard)),
            Order::RedfishStatus(bmc) => (bmc, None),
            Order::RedfishOff {
                mode: OffMode::Unknown,
                ..
            }
            | Order::PowerOff
            | Order::PowerReboot
            | Order::Wake(_)
            | Order::Cancel { .. }
            | Order::Barrier
            | Order::Refresh
            | Order::Unknown { .. } => return Err(failed(Code::Unsupported, "no order for a BMC")),
        };
        let machine = self.open(bmc)?;
        if let Some(expected) = job.expect {
            let (power, word) = read(&machine).await?;
            if power != expected {
                let detail = format!("the BMC says {word}, the command expects {expected}");
                return Err(failed(Code::Precondition, &detail));
            }
        }
        let changed = match step {
            None => false,
            Some(step) => match machine.apply(step).await.map_err(|error| fault(&error))? {
                Applied::NoChange => false,
                Applied::Sent { detail } => {
                    tracing::info!(machine = %job.target, %detail, "BMC accepted");
                    true
                }
            },
        };
        // After a step the reading is only a hint of how far it came; a failure of it does not undo the step.
        let (power, word) = match (read(&machine).await, step) {
            (Ok(reading), _) => reading,
            (Err(_), Some(_)) => (Power::Unknown, "unread".to_owned()),
            (Err(error), None) => return Err(error),
        };
        Ok(BmcOutcome {
            power,
            word: Text::shortened(&word),
            changed,
        })
    }

    fn open(&self, order: &BmcOrder) -> Result<Machine, DriverFault> {
        let address = order.address.as_str().parse();
        let address =
            address.map_err(|error: hardware::redfish::BmcAddressFault| config_fault(&error))?;
        let folder = self
            .credentials
            .as_deref()
            .ok_or_else(|| failed(Code::VerbDenied, "this agent is no relay"))?;
        let mut options = BmcOptions::new(
            address,
            Some(credentials(folder, order.credentials.as_str())?),
        );
        options.trust = trust(folder, order)?;
        let bmc = self.bmcs.open(options).map_err(|error| fault(&error))?;
        Ok(bmc.machine(order.system.as_ref().map(ToString::to_string)))
    }
}

async fn read(machine: &Machine) -> Result<(Power, String), DriverFault> {
    let reading = machine.observe().await.map_err(|error| fault(&error))?;
    Ok(match reading.power {
        hardware::Power::On => (Power::On, "On".to_owned()),
        hardware::Power::Off => (Power::Off, "Off".to_owned()),
        hardware::Power::Transitioning => (Power::Unknown, "in transition".to_owned()),
        hardware::Power::Unknown(word) => (Power::Unknown, word),
    })
}

fn trust(folder: &Path, order: &BmcOrder) -> Result<Trust, DriverFault> {
    if let Some(fingerprint) = &order.fingerprint {
        let fingerprint = fingerprint.as_str().parse();
        let fingerprint = fingerprint
            .map_err(|error: hardware::redfish::FingerprintFault| config_fault(&error))?;
        return Ok(Trust::Fingerprint(vec![fingerprint]));
    }
    match &order.ca {
        Some(ca) => Ok(Trust::Ca(secret(folder, ca.as_str(), "pem")?)),
        None => Ok(Trust::System),
    }
}

fn credentials(folder: &Path, name: &str) -> Result<Credentials, DriverFault> {
    let line = |kind: &str| {
        let text = String::from_utf8(secret(folder, name, kind)?);
        let text =
            text.map_err(|_| failed(Code::ExecRefused, &format!("{name}.{kind} is no text")))?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    };
    let hosts = line("hosts")?;
    let hosts = hosts
        .split([',', '\n'])
        .map(str::trim)
        .filter(|host| !host.is_empty());
    Credentials::new(line("username")?, line("password")?, hosts)
        .map_err(|error| config_fault(&error))
}

/// The names of which user, password and hosts are all there, as the inventory tells them; `None` if that cannot be said.
pub(super) fn held(folder: &Path) -> Option<Vec<Text<63>>> {
    let files = match std::fs::read_dir(folder) {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => BTreeSet::new(),
        Err(_) => return None,
    };
    let whole = |name: &&str| {
        let has = |kind: &str| files.contains(&format!("{name}.{kind}"));
        is_name(name) && name.len() <= 63 && has("password") && has("hosts")
    };
    let names: Vec<Text<63>> = files
        .iter()
        .filter_map(|file| file.strip_suffix(".username"))
        .filter(whole)
        .map(Text::from)
        .collect();
    (names.len() <= MAX_CREDENTIALS).then_some(names)
}

/// A name that would leave the folder is none.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

/// The content of `<name>.<kind>`.
fn secret(folder: &Path, name: &str, kind: &str) -> Result<Vec<u8>, DriverFault> {
    if !is_name(name) {
        return Err(failed(
            Code::ExecRefused,
            &format!("{name:?} is no name of credentials"),
        ));
    }
    let path = folder.join(format!("{name}.{kind}"));
    std::fs::read(&path).map_err(|error| {
        let lasting = [ErrorKind::NotFound, ErrorKind::PermissionDenied];
        let code = if lasting.contains(&error.kind()) {
            Code::ExecRefused
        } else {
            Code::ExecFailed
        };
        failed(code, &format!("{}: {error}", path.display()))
    })
}

fn config_fault(error: &dyn std::error::Error) -> DriverFault {
    failed(Code::ExecRefused, &error.to_string())
}

fn failed(code: Code, detail: &str) -> DriverFault {
    DriverFault {
        code,
        msg: Text::shortened(detail),
    }
}

#[cfg(test)]
mod tests;
