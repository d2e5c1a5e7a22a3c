//! Shutting down or restarting the very host this runs on.
//! In: a [`Step`]. Out: what was asked of the system; then, usually, silence.
//! Holds: nobody who holds a blocking lock is overruled; no shell, no password prompt; whatever may have begun a shutdown
//! before it failed is told as a possible effect.
//! Not here: whether the host may go down (`agent-core`), arming its network card ([`nic`](crate::nic)).

mod command;
mod logind;

use std::time::Duration;

pub use logind::{Inhibitor, Logind};

use crate::fault::{Fault, FaultKind};
use crate::power::{Answer, Applied, PowerSwitch, Step};

/// systemd answers at once or not at all.
const SYSTEMCTL_TIMEOUT: Duration = Duration::from_secs(30);

/// How this host is shut down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMethod {
    /// logind over D-Bus; `systemctl` on a host whose bus has no logind.
    Logind,
    /// `systemctl --no-ask-password`.
    Systemctl,
    /// Programs of the user's choice.
    Command(HostCommands),
}

/// Programs that do a step: the file first, then its arguments; no shell, a clean environment.
///
/// Exit codes: 0 done, 64 wrong configuration, 69 unreachable, 75 try later, 77 not allowed; every other is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCommands {
    /// Shuts down and powers off.
    pub shutdown: Vec<String>,
    /// Restarts; empty = not offered.
    pub reboot: Vec<String>,
    /// After this time the program and all its children are killed.
    pub timeout: Duration,
}

/// This host.
#[derive(Clone, Debug)]
pub struct Host {
    method: HostMethod,
}

/// What of this host is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    PowerOff,
    Reboot,
}

impl Host {
    /// A driver for this host.
    #[must_use]
    pub fn new(method: HostMethod) -> Self {
        Self { method }
    }

    async fn step(&self, step: Step) -> Result<Applied, Fault> {
        let verb = match step {
            Step::ShutdownGraceful => Verb::PowerOff,
            Step::Reboot => Verb::Reboot,
            Step::On | Step::OffHard => {
                let detail = format!("a host can shut itself down or reboot, not do a {step}");
                return Err(Fault::new(FaultKind::NotSupported, detail));
            }
        };
        match &self.method {
            HostMethod::Logind => match Logind::system().await? {
                Some(logind) => logind.act(verb).await,
                None => systemctl(verb).await,
            },
            HostMethod::Systemctl => systemctl(verb).await,
            HostMethod::Command(commands) => {
                let argv = match verb {
                    Verb::PowerOff => &commands.shutdown,
                    Verb::Reboot => &commands.reboot,
                };
                command::run(argv, commands.timeout).await
            }
        }
    }
}

impl PowerSwitch for Host {
    fn apply(&self, step: Step) -> Answer<'_, Applied> {
        Box::pin(self.step(step))
    }
}

async fn systemctl(verb: Verb) -> Result<Applied, Fault> {
    command::run(&systemctl_argv(verb), SYSTEMCTL_TIMEOUT).await
}

fn systemctl_argv(verb: Verb) -> Vec<String> {
    let word = match verb {
        Verb::PowerOff => "poweroff",
        Verb::Reboot => "reboot",
    };
    ["systemctl", "--no-ask-password", word]
        .map(str::to_owned)
        .to_vec()
}

#[cfg(test)]
mod tests;
