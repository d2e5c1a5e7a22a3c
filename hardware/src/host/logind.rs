//! logind, the part of systemd (or elogind) that powers a host off, over D-Bus.
//! Holds: a `block` lock is never overruled, its holder is named; the call is not interactive; the method without flags is
//! used only where the one with flags does not exist.

use std::time::Duration;

use serde::Serialize;
use zbus::connection::Builder;
use zbus::wire::{DynamicDeserialize, DynamicType};
use zbus::{Connection, DBusError};

use crate::fault::{Fault, FaultKind};
use crate::power::Applied;

use super::Verb;

const SERVICE: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const INTERFACE: &str = "org.freedesktop.login1.Manager";
/// logind answers before it begins to shut down.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);
/// No kexec, no soft reboot, and no lock is skipped.
const NO_FLAGS: u64 = 0;

/// A connection to logind.
#[derive(Clone, Debug)]
pub struct Logind {
    connection: Connection,
}

/// Somebody who does not want the host to go down now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inhibitor {
    /// Program that holds the lock.
    pub who: String,
    /// Its reason, for people.
    pub why: String,
}

/// A row of ListInhibitors: what, who, why, mode, user id, process id.
type InhibitorRow = (String, String, String, String, u32, u32);

impl Logind {
    /// Connects to the logind of this host; `None` if there is no system bus or no logind on it.
    ///
    /// # Errors
    /// `Denied` or `Transient` if there is one but it cannot be spoken to.
    pub async fn system() -> Result<Option<Self>, Fault> {
        let connection = match Builder::system().method_timeout(CALL_TIMEOUT).build().await {
            Ok(connection) => connection,
            Err(fault) => {
                tracing::debug!(%fault, "no system bus");
                return Ok(None);
            }
        };
        let logind = Self::over(connection);
        match logind.call::<String>("CanPowerOff", &()).await {
            Err(fault) if is_named(&fault, &["ServiceUnknown", "NameHasNoOwner"]) => Ok(None),
            Ok(_) | Err(_) => Ok(Some(logind)),
        }
    }

    /// Speaks to logind over a connection that is already made.
    #[must_use]
    pub fn over(connection: Connection) -> Self {
        Self { connection }
    }

    /// Who blocks a shutdown now. Delaying locks do not count: logind waits for them by itself.
    ///
    /// # Errors
    /// `Denied` or `Transient` if logind does not tell.
    pub async fn blockers(&self) -> Result<Vec<Inhibitor>, Fault> {
        let rows: Vec<InhibitorRow> = self
            .call("ListInhibitors", &())
            .await
            .map_err(|fault| unclear("list the locks against a shutdown", &fault))?;
        let blocking = rows.into_iter().filter(|(what, _, _, mode, ..)| {
            mode == "block" && what.split(':').any(|what| what == "shutdown")
        });
        Ok(blocking
            .map(|(_, who, why, ..)| Inhibitor { who, why })
            .collect())
    }

    pub(super) async fn act(&self, verb: Verb) -> Result<Applied, Fault> {
        self.check(verb).await?;
        let method = verb.method();
        let first = self
            .call::<()>(&format!("{method}WithFlags"), &NO_FLAGS)
            .await;
        let outcome = match first {
            // logind before version 247, and elogind.
            Err(fault) if is_named(&fault, &["UnknownMethod"]) => self.call(method, &false).await,
            other => other,
        };
        match outcome {
            Ok(()) => Ok(Applied::Sent {
                detail: format!("logind accepted {method}"),
            }),
            // It is going down already.
            Err(fault) if is_named(&fault, &["OperationInProgress"]) => Ok(Applied::NoChange),
            Err(fault) => Err(refusal(method, &fault)),
        }
    }

    async fn check(&self, verb: Verb) -> Result<(), Fault> {
        let method = verb.method();
        let can: String = self
            .call(&format!("Can{method}"), &())
            .await
            .map_err(|fault| unclear("ask logind", &fault))?;
        if can != "yes" {
            let (kind, why) = match can.as_str() {
                "na" => (FaultKind::NotSupported, "this host cannot"),
                "challenge" => (
                    FaultKind::Denied,
                    "it would ask for a password; a polkit rule for this user is missing",
                ),
                _ => (FaultKind::Denied, "this user may not"),
            };
            return Err(Fault::new(
                kind,
                format_args!("logind refuses {method}: {why}"),
            ));
        }
        let blockers = self.blockers().await?;
        if blockers.is_empty() {
            return Ok(());
        }
        let holders: Vec<_> = blockers
            .iter()
            .map(|lock| format!("{} ({})", lock.who, lock.why))
            .collect();
        let detail = format!("{method} is blocked by {}", holders.join(", "));
        Err(Fault::new(FaultKind::Busy, detail))
    }

    async fn call<T>(
        &self,
        method: &str,
        body: &(impl Serialize + DynamicType + Sync),
    ) -> zbus::Result<T>
    where
        T: for<'body> DynamicDeserialize<'body>,
    {
        let reply = self
            .connection
            .call_method(Some(SERVICE), PATH, Some(INTERFACE), method, body)
            .await?;
        let body = reply.body();
        body.deserialize()
    }
}

impl Verb {
    fn method(self) -> &'static str {
        match self {
            Self::PowerOff => "PowerOff",
            Self::Reboot => "Reboot",
        }
    }
}

/// Whether this is a D-Bus error whose name ends so, whatever its domain. zbus has types of its own for the errors of
/// D-Bus itself.
fn is_named(fault: &zbus::Error, names: &[&str]) -> bool {
    let full = if let zbus::Error::MethodError(name, ..) = fault {
        name.to_string()
    } else if let zbus::Error::FDO(standard) = fault {
        standard.name().to_string()
    } else {
        return false;
    };
    full.rsplit('.')
        .next()
        .is_some_and(|name| names.contains(&name))
}

/// A failure of a question, which changed nothing.
fn unclear(what: &str, fault: &zbus::Error) -> Fault {
    let denied = is_named(fault, &["AccessDenied", "InteractiveAuthorizationRequired"]);
    let kind = if denied {
        FaultKind::Denied
    } else {
        FaultKind::Transient
    };
    Fault::new(kind, format_args!("cannot {what}: {fault}"))
}

/// A failure of the call itself. Only logind's own words prove that nothing happened.
fn refusal(method: &str, fault: &zbus::Error) -> Fault {
    let told = |kind| Fault::new(kind, format_args!("logind refused {method}: {fault}"));
    if is_named(fault, &["AccessDenied", "InteractiveAuthorizationRequired"]) {
        return told(FaultKind::Denied);
    }
    if is_named(fault, &["BlockedByInhibitorLock"]) {
        return told(FaultKind::Busy);
    }
    if is_named(
        fault,
        &["UnknownMethod", "NotSupported", "SleepVerbNotSupported"],
    ) {
        return told(FaultKind::NotSupported);
    }
    let detail = format!("no answer of logind to {method}: {fault}");
    Fault::new(FaultKind::Transient, detail).with_possible_effect()
}
