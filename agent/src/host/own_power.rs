//! Taking this very host down.
//! Holds: a lock that somebody holds is never overruled; what may have begun is not called a failure.

use super::fault;
use crate::config::HostPower;
use agent_core::DriverFault;
use hardware::host::{Host, HostCommands, HostMethod, Logind};
use hardware::{Effect, Fault, FaultKind, PowerSwitch, Step};
use proto_mqtt::report::{Code, Outcome};
use std::sync::Arc;
use std::time::Duration;

/// Shorter than the core waits for the host's driver, so that its own fault is told.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(45);

/// The driver of this host.
#[derive(Debug)]
pub(crate) struct OwnPower {
    host: Host,
    asks_logind: bool,
}

/// Whether the system may go down although its answer is a fault. A program of the user's choice that ends with an error
/// says so itself; logind and `systemctl` also fall silent because the host goes down.
fn may_be_going_down(error: &Fault, asks_logind: bool) -> bool {
    error.effect == Effect::Possible && (asks_logind || error.kind == FaultKind::Timeout)
}

impl OwnPower {
    pub(crate) fn new(choice: &HostPower) -> Self {
        let method = match choice {
            HostPower::Logind => HostMethod::Logind,
            HostPower::Systemctl => HostMethod::Systemctl,
            HostPower::Command { off, reboot } => HostMethod::Command(HostCommands {
                shutdown: off.clone(),
                reboot: reboot.clone().unwrap_or_default(),
                timeout: COMMAND_TIMEOUT,
            }),
        };
        let asks_logind = match choice {
            HostPower::Logind | HostPower::Systemctl => true,
            HostPower::Command { .. } => false,
        };
        Self {
            host: Host::new(method),
            asks_logind,
        }
    }

    pub(super) async fn off(power: Arc<Self>) -> Result<Option<Outcome>, DriverFault> {
        power.apply(Step::ShutdownGraceful).await
    }

    pub(super) async fn reboot(power: Arc<Self>) -> Result<Option<Outcome>, DriverFault> {
        power.apply(Step::Reboot).await
    }

    /// Whether somebody holds a lock against a shutdown. What cannot be asked is not inhibited: the driver asks again.
    pub(super) async fn is_inhibited(&self) -> bool {
        if !self.asks_logind {
            return false;
        }
        match Logind::system().await {
            Ok(Some(logind)) => logind
                .blockers()
                .await
                .is_ok_and(|blockers| !blockers.is_empty()),
            Ok(None) | Err(_) => false,
        }
    }

    async fn apply(&self, step: Step) -> Result<Option<Outcome>, DriverFault> {
        match self.host.apply(step).await {
            Ok(applied) => {
                tracing::info!(%step, ?applied, "host told");
                Ok(None)
            }
            Err(error) if may_be_going_down(&error, self.asks_logind) => {
                tracing::warn!(%step, %error, "host told, but the answer is lost");
                Ok(None)
            }
            Err(error) if error.kind == FaultKind::Busy => Err(DriverFault {
                code: Code::Inhibited,
                ..fault(&error)
            }),
            Err(error) => Err(fault(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(off: &[&str], reboot: Option<&[&str]>) -> Arc<OwnPower> {
        let argv = |argv: &[&str]| argv.iter().map(|word| (*word).to_owned()).collect();
        Arc::new(OwnPower::new(&HostPower::Command {
            off: argv(off),
            reboot: reboot.map(argv),
        }))
    }

    #[tokio::test]
    async fn each_verb_runs_its_own_program() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = |name: &str| folder.path().join(name).display().to_string();
        let power = command(&["touch", &mark("off")], Some(&["touch", &mark("reboot")]));
        assert_eq!(OwnPower::off(Arc::clone(&power)).await, Ok(None));
        assert!(folder.path().join("off").exists() && !folder.path().join("reboot").exists());
        assert_eq!(OwnPower::reboot(power).await, Ok(None));
        assert!(folder.path().join("reboot").exists());
    }

    #[tokio::test]
    async fn a_program_that_fails_is_a_fault_with_its_own_words() {
        let failing = command(
            &["sh", "-c", "echo the UPS is on battery >&2; exit 75"],
            None,
        );
        let failed = OwnPower::off(failing).await.expect_err("it failed");
        assert_eq!(failed.code, Code::ExecFailed);
        assert!(
            failed.msg.as_str().contains("the UPS is on battery"),
            "{}",
            failed.msg
        );
        let broken = OwnPower::off(command(&["/nonexistent/program"], None))
            .await
            .expect_err("no program");
        assert_eq!(broken.code, Code::ExecRefused, "until it is there");
        assert!(
            broken.msg.as_str().contains("/nonexistent/program"),
            "{}",
            broken.msg
        );
        let no_reboot = OwnPower::reboot(command(&["true"], None))
            .await
            .expect_err("not offered");
        assert_eq!(no_reboot.code, Code::Unsupported);
    }

    #[test]
    fn only_a_lost_answer_may_be_a_host_that_goes_down() {
        let possible = |kind| Fault::new(kind, "x").with_possible_effect();
        assert!(may_be_going_down(&possible(FaultKind::Transient), true));
        assert!(may_be_going_down(&possible(FaultKind::Timeout), false));
        assert!(!may_be_going_down(&possible(FaultKind::Transient), false));
        assert!(!may_be_going_down(
            &Fault::new(FaultKind::Transient, "x"),
            true
        ));
    }

    #[tokio::test]
    async fn own_programs_know_no_locks() {
        assert!(!command(&["true"], None).is_inhibited().await);
    }
}
