//! Results as one sentence for people.

use proto_mqtt::report::{Outcome, ResultBody, WakeOutcome};

/// The agent's own message, or what its outcome says.
pub(super) fn of(body: &ResultBody) -> String {
    if !body.msg.is_empty() {
        return body.msg.to_string();
    }
    match &body.out {
        Some(Outcome::Wol(wake)) => packets(wake),
        Some(Outcome::Redfish(bmc)) if !bmc.word.is_empty() => {
            format!("the BMC reports {}", bmc.word)
        }
        Some(Outcome::Redfish(bmc)) => format!("the BMC reports {}", bmc.power),
        Some(Outcome::Host(_) | Outcome::Unknown) | None => String::new(),
    }
}

fn packets(wake: &WakeOutcome) -> String {
    let ways: Vec<_> = wake
        .sent
        .iter()
        .map(|sent| {
            let to: Vec<_> = sent.to.iter().map(ToString::to_string).collect();
            format!("{} to {}", sent.iface, to.join(" and "))
        })
        .collect();
    let ports: Vec<_> = wake.ports.iter().map(ToString::to_string).collect();
    format!(
        "{} magic packets left ({}, ports {})",
        wake.packets,
        ways.join("; "),
        ports.join(",")
    )
}
