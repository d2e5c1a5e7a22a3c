//! `wake`: one train of magic packets from this host, without broker and coordinator.

use crate::args::complain;
use hardware::MacAddress;
use hardware::wake_on_lan::{WakeOnLan, WakeOptions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::ExitCode;

/// Sends and prints what left where.
pub(crate) async fn wake(
    mac: MacAddress,
    interface: Option<String>,
    broadcast: Option<Ipv4Addr>,
) -> ExitCode {
    let options = WakeOptions {
        interface,
        broadcast,
        ..WakeOptions::default()
    };
    match WakeOnLan::new(mac, options).wake().await {
        Ok(sent) => {
            // A closed standard output does not undo the packets.
            let _ = writeln!(std::io::stdout(), "{sent}");
            ExitCode::SUCCESS
        }
        Err(fault) => complain(&fault, ExitCode::FAILURE),
    }
}
