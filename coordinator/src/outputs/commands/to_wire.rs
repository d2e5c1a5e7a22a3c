//! Core commands as signed MQTT messages.
//! Holds: what is not expressible in the protocol is a fault that names the field, never a shortened order.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use coordinator_core::{AgentId, Command, Redfish, Verb, WakeOnLan};
use proto_link::{Message, Qos};
use proto_mqtt::command::{Actor, MAX_TTL_MS};
use proto_mqtt::order::{BmcOrder, OffMode, WakeOrder};
use proto_mqtt::{AgentTopic, CommandBody, Envelope, Order, Payload as _, Purpose, Text, Token};
use thiserror::Error;

use super::CoordinatorKey;

/// Packets of one wake for each port and destination.
const WAKE_REPEAT: u8 = 3;
/// Between them, in milliseconds.
const WAKE_SPACING_MS: u16 = 100;
/// A command that the broker could not deliver by then is worthless: its challenge is too old.
const COMMAND_EXPIRY: Duration = Duration::from_secs(30);
/// A ping asks for a heartbeat now; later there is one anyway.
const PING_EXPIRY: Duration = Duration::from_secs(5);

/// A value has no form in the protocol.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{field} `{value}`: {detail}")]
pub struct Unsayable {
    field: &'static str,
    value: String,
    detail: String,
}

/// The signed message of a command, of no use once `left` has passed.
///
/// # Errors
/// A value of the command has no form in the protocol.
pub fn message(
    command: &Command,
    key: &CoordinatorKey,
    left: Duration,
) -> Result<Message, Unsayable> {
    let body = body(command)?;
    let topic = AgentTopic::Command.of(&body.aud).to_string();
    let envelope = Envelope::seal(key.signer(), Purpose::Command, &topic, body.encode_text());
    Ok(Message {
        // The broker counts whole seconds, so it may keep it a second longer; the next leader waits longer than that.
        expiry: Some(COMMAND_EXPIRY.min(left)),
        ..Message::once(topic, envelope.encode())
    })
}

/// The message that asks an agent for a heartbeat.
pub(super) fn ping(agent: &AgentId) -> Result<Message, Unsayable> {
    let agent = parsed("agent", agent.as_str())?;
    Ok(Message {
        qos: Qos::AtMostOnce,
        expiry: Some(PING_EXPIRY),
        ..Message::once(AgentTopic::Ping.of(&agent).to_string(), "{}")
    })
}

/// The verb's word, for logs and metrics.
pub(super) fn word(verb: &Verb) -> &'static str {
    match verb {
        Verb::PowerOff => proto_mqtt::Verb::PowerOff.as_str(),
        Verb::Wake(_) => proto_mqtt::Verb::Wake.as_str(),
        Verb::RedfishOn(_) => proto_mqtt::Verb::RedfishOn.as_str(),
        Verb::RedfishStop(_) | Verb::RedfishForceOff(_) => proto_mqtt::Verb::RedfishOff.as_str(),
        Verb::RedfishStatus(_) => proto_mqtt::Verb::RedfishStatus.as_str(),
    }
}

fn body(command: &Command) -> Result<CommandBody, Unsayable> {
    Ok(CommandBody {
        id: parsed("id", &command.id)?,
        order: order(&command.verb)?,
        aud: parsed("agent", command.agent.as_str())?,
        target: target(command)?,
        token: Token {
            epoch: command.token.epoch,
            seq: command.token.seq.into(),
        },
        chal: parsed("challenge", &command.challenge)?,
        ttl_ms: MAX_TTL_MS,
        // The core has looked at the Node's pods right before; a wait here would only age that look.
        delay_ms: 0,
        boot: command
            .boot_id
            .as_deref()
            .map(|boot| parsed("boot id", boot))
            .transpose()?,
        expect: None,
        actor: actor(&command.actor),
        reason: Text::shortened(&command.reason),
        op: parsed("operation", &command.operation)?,
        crit: Vec::new(),
        iat: Some(Text::shortened(
            &Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        )),
    })
}

/// An agent knows its own host by its own id only, which need not be the machine's name; all else it knows by the machine's.
fn target(command: &Command) -> Result<proto_mqtt::AgentId, Unsayable> {
    match command.verb {
        Verb::PowerOff => parsed("agent", command.agent.as_str()),
        Verb::Wake(_)
        | Verb::RedfishOn(_)
        | Verb::RedfishStop(_)
        | Verb::RedfishForceOff(_)
        | Verb::RedfishStatus(_) => parsed("target", command.target.as_str()),
    }
}

/// The core names who asked in words for people; the protocol has a few classes.
fn actor(by: &str) -> Actor {
    if by.starts_with("cluster-autoscaler") || by == "autoscaler" {
        return Actor::Autoscaler;
    }
    match by
        .strip_prefix("user ")
        .or_else(|| by.strip_prefix("user:"))
    {
        Some(name) => Actor::User(Text::shortened(name)),
        None => Actor::System,
    }
}

fn order(verb: &Verb) -> Result<Order, Unsayable> {
    Ok(match verb {
        Verb::PowerOff => Order::PowerOff,
        Verb::Wake(wake) => Order::Wake(wake_order(wake)?),
        Verb::RedfishOn(bmc) => Order::RedfishOn(bmc_order(bmc)?),
        Verb::RedfishStop(bmc) => Order::RedfishOff {
            bmc: bmc_order(bmc)?,
            mode: OffMode::Graceful,
        },
        Verb::RedfishForceOff(bmc) => Order::RedfishOff {
            bmc: bmc_order(bmc)?,
            mode: OffMode::Force,
        },
        Verb::RedfishStatus(bmc) => Order::RedfishStatus(bmc_order(bmc)?),
    })
}

fn wake_order(wake: &WakeOnLan) -> Result<WakeOrder, Unsayable> {
    Ok(WakeOrder {
        mac: parsed("mac", &wake.mac)?,
        segment: whole("segment", &wake.segment)?,
        ports: wake.ports.clone(),
        broadcast: wake
            .broadcast
            .as_deref()
            .map(|ip| parsed("broadcast", ip))
            .transpose()?,
        secureon: wake
            .secure_on
            .as_deref()
            .map(|password| whole("secureOn", password))
            .transpose()?,
        repeat: WAKE_REPEAT,
        spacing_ms: WAKE_SPACING_MS,
    })
}

fn bmc_order(bmc: &Redfish) -> Result<BmcOrder, Unsayable> {
    Ok(BmcOrder {
        address: whole("address", &bmc.address)?,
        system: bmc
            .system
            .as_deref()
            .map(|system| whole("system", system))
            .transpose()?,
        credentials: whole("credentials", &bmc.credentials)?,
        fingerprint: bmc
            .fingerprint
            .as_deref()
            .map(|print| whole("fingerprint", print))
            .transpose()?,
        ca: bmc.ca.as_deref().map(|ca| whole("ca", ca)).transpose()?,
    })
}

fn parsed<T>(field: &'static str, value: &str) -> Result<T, Unsayable>
where
    T: FromStr,
    T::Err: Display,
{
    value.parse().map_err(|fault: T::Err| Unsayable {
        field,
        value: value.to_owned(),
        detail: fault.to_string(),
    })
}

/// Text that must not lose anything on its way.
fn whole<const MAX: usize>(field: &'static str, value: &str) -> Result<Text<MAX>, Unsayable> {
    let text = Text::<MAX>::shortened(value);
    if text.as_str() == value {
        return Ok(text);
    }
    let detail = format!("must be at most {MAX} bytes without control characters");
    // A SecureOn password has no place in a log line.
    let value = if field == "secureOn" { "…" } else { value };
    Err(Unsayable {
        field,
        value: value.to_owned(),
        detail,
    })
}

#[cfg(test)]
mod tests;
