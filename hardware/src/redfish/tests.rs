//! The driver against the scripted BMC; one file for each kind of question.

mod power;
mod reboot;
mod replies;
mod tls;
mod wire;

use super::mock::Mock;
use super::*;

/// A driver for the mock's only system, or for the named one.
fn machine_of(mock: &Mock, system: Option<&str>) -> Machine {
    open(mock, |_| {}).machine(system.map(str::to_owned))
}

fn machine(mock: &Mock) -> Machine {
    machine_of(mock, None)
}

fn open(mock: &Mock, change: impl FnOnce(&mut BmcOptions)) -> Bmc {
    let credentials = Credentials::new("power", "pass:w0rd", ["127.0.0.1"]).expect("usable");
    let mut options = BmcOptions::new(mock.url().parse().expect("an address"), Some(credentials));
    change(&mut options);
    Bmcs::new().open(options).expect("usable options")
}

/// The mock must be reachable, so a failure to open is a failure of the test.
async fn power(machine: &Machine) -> Power {
    machine.observe().await.expect("readable").power
}
