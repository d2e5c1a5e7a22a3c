//! The one write: `#ComputerSystem.Reset`.
//! In: a goal and the system as just read. Out: what was sent and accepted, or why not.
//! Holds: nothing is sent where the state is unknown, reached, or moving the other way; a reset type is tried again under
//! another name only after the BMC has refused the first; toggles such as PushPowerButton are never sent.

use serde_json::{Value, json};

use crate::fault::{Effect, Fault, FaultKind};
use crate::power::{Applied, Power, Step};

use super::address::Link;
use super::http::{Ask, Client, Reply, Who};
use super::{message, power_of};

/// Where a step leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    On,
    GracefulOff,
    HardOff,
}

/// What a state means for a goal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Reached, or on the way.
    There,
    /// Send.
    Go,
    /// Not now.
    Wait(String),
    /// The state makes no sense.
    Stop(String),
}

/// How the BMC took a reset type.
enum Taken {
    Accepted(u16),
    /// It does not know this type.
    Unknown(Fault),
    /// It says that the state does not allow it, which may mean that the goal is reached.
    WrongState(Fault),
    /// It failed, and may have acted.
    Unclear(Fault),
    /// It refused.
    Refused(Fault),
}

impl Goal {
    pub(super) fn of(step: Step) -> Option<Self> {
        match step {
            Step::On => Some(Self::On),
            Step::ShutdownGraceful => Some(Self::GracefulOff),
            Step::OffHard => Some(Self::HardOff),
            Step::Reboot => None,
        }
    }

    /// Reset types that lead there, the better one first.
    fn reset_types(self) -> &'static [&'static str] {
        match self {
            Self::On => &["On", "ForceOn"],
            Self::GracefulOff => &["GracefulShutdown"],
            Self::HardOff => &["ForceOff"],
        }
    }

    fn target(self) -> Power {
        match self {
            Self::On => Power::On,
            Self::GracefulOff | Self::HardOff => Power::Off,
        }
    }

    pub(super) fn judge(self, state: &Power, raw: &Value) -> Judgement {
        match state {
            reached if *reached == self.target() => Judgement::There,
            Power::On | Power::Off => Judgement::Go,
            Power::Unknown(why) => Judgement::Stop(format!(
                "nothing was sent, because the state is unknown: {why}"
            )),
            Power::Transitioning => self.judge_transition(raw),
        }
    }

    fn judge_transition(self, raw: &Value) -> Judgement {
        let powering_on = raw.get("PowerState").and_then(Value::as_str) == Some("PoweringOn");
        match (self, powering_on) {
            (Self::On, true) | (Self::GracefulOff, false) => Judgement::There,
            // A shutdown that hangs stays PoweringOff for ever; this is the way out.
            (Self::HardOff, false) => Judgement::Go,
            (Self::On, false) => Judgement::Wait("the machine is just powering off".to_owned()),
            (Self::GracefulOff | Self::HardOff, true) => {
                Judgement::Wait("the machine is just powering on".to_owned())
            }
        }
    }
}

/// Sends the reset; `reread` reads the system again where only its state can tell what an answer meant.
pub(super) async fn send<F>(
    client: &Client,
    goal: Goal,
    system: &Value,
    reread: impl Fn() -> F,
) -> Result<Applied, Fault>
where
    F: Future<Output = Result<Value, Fault>>,
{
    let action = Action::of(client, system).await?;
    let mut refusal = None;
    for reset_type in action.in_order(goal) {
        match take(client, &action.target, reset_type).await? {
            Taken::Accepted(status) => {
                return Ok(Applied::Sent {
                    detail: format!(
                        "{reset_type} accepted by BMC {} ({status})",
                        client.address()
                    ),
                });
            }
            Taken::Unknown(fault) => refusal = Some(fault),
            Taken::WrongState(fault) => {
                let now = power_of(&reread().await?);
                return if now == goal.target() {
                    Ok(Applied::NoChange)
                } else {
                    Err(fault)
                };
            }
            Taken::Unclear(fault) => {
                return settle(client, goal, reset_type, fault, reread().await);
            }
            Taken::Refused(fault) => return Err(fault),
        }
    }
    Err(refusal.unwrap_or_else(|| {
        Fault::new(
            FaultKind::NotSupported,
            "the BMC knows no fitting reset type",
        )
    }))
}

/// After an unclear answer the state decides; if it cannot be read, the fault stays what it was.
fn settle(
    client: &Client,
    goal: Goal,
    reset_type: &str,
    fault: Fault,
    reread: Result<Value, Fault>,
) -> Result<Applied, Fault> {
    match reread {
        Ok(system) if power_of(&system) == goal.target() => Ok(Applied::Sent {
            detail: format!(
                "{reset_type} had its effect, although BMC {} reported a failure",
                client.address()
            ),
        }),
        Ok(_) | Err(_) => Err(fault),
    }
}

/// The reset action of a system.
struct Action {
    target: Link,
    /// Reset types that the BMC advertises; a preference, because some lists are wrong.
    advertised: Vec<String>,
}

impl Action {
    async fn of(client: &Client, system: &Value) -> Result<Self, Fault> {
        let reset = system
            .get("Actions")
            .and_then(|actions| actions.get("#ComputerSystem.Reset"));
        let target = reset
            .and_then(|reset| reset.get("target"))
            .and_then(Value::as_str);
        let (Some(reset), Some(target)) = (reset, target) else {
            let detail = format!(
                "BMC {} offers no reset action for this system",
                client.address()
            );
            return Err(Fault::new(FaultKind::NotSupported, detail));
        };
        let target = client.address().link(target)?;
        let mut advertised = texts(reset.get("ResetType@Redfish.AllowableValues"));
        if let Some(info) = reset.get("@Redfish.ActionInfo").and_then(Value::as_str) {
            advertised.extend(action_info(client, info).await?);
        }
        Ok(Self { target, advertised })
    }

    /// All types for the goal, those that are advertised first.
    fn in_order(&self, goal: Goal) -> Vec<&'static str> {
        let (mut first, rest): (Vec<_>, Vec<_>) = goal
            .reset_types()
            .iter()
            .copied()
            .partition(|reset_type| self.advertised.iter().any(|known| known == reset_type));
        first.extend(rest);
        first
    }
}

/// Reset types from an ActionInfo resource. One that is missing or forbidden is not needed.
async fn action_info(client: &Client, link: &str) -> Result<Vec<String>, Fault> {
    let link = client.address().link(link)?;
    let info = match client.object(&link, Who::Known).await {
        Ok(info) => info,
        Err(fault) => {
            tracing::debug!(%fault, "ActionInfo not read");
            return Ok(Vec::new());
        }
    };
    let parameters = info.get("Parameters").and_then(Value::as_array);
    let of_type = parameters
        .into_iter()
        .flatten()
        .filter(|parameter| parameter.get("Name").and_then(Value::as_str) == Some("ResetType"));
    Ok(of_type
        .flat_map(|parameter| texts(parameter.get("AllowableValues")))
        .collect())
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

async fn take(client: &Client, target: &Link, reset_type: &str) -> Result<Taken, Fault> {
    let body = json!({ "ResetType": reset_type });
    let mut reply = client
        .exchange(target, post(&body, None), Who::Known)
        .await?;
    if reply.status == 428 {
        // It insists on a condition; "whatever it is now" is the only one that fits an action.
        reply = client
            .exchange(target, post(&body, Some("*")), Who::Known)
            .await?;
    }
    Ok(judge_reply(client, &reply))
}

fn post<'a>(body: &'a Value, if_match: Option<&'static str>) -> Ask<'a> {
    Ask::Post { body, if_match }
}

fn judge_reply(client: &Client, reply: &Reply) -> Taken {
    let complaint = message::Complaint::read(&reply.body);
    let fault = message::fault(client, reply, Effect::Possible);
    match reply.status {
        200..=299 if complaint.is_success() => Taken::Accepted(reply.status),
        200..=299 => Taken::Unclear(unclear(client, &complaint)),
        400 if complaint.has(UNKNOWN_TYPE) => {
            Taken::Unknown(as_kind(fault, FaultKind::NotSupported))
        }
        400 if complaint.has(WRONG_STATE) => Taken::WrongState(as_kind(fault, FaultKind::Busy)),
        405 | 501 => Taken::Unknown(fault),
        409 => Taken::WrongState(fault),
        500 | 502 | 504.. => Taken::Unclear(fault),
        _ => Taken::Refused(fault),
    }
}

/// Keys by which a BMC says that it does not know a reset type.
const UNKNOWN_TYPE: &[&str] = &[
    "ActionParameterNotSupported",
    "ActionParameterUnknown",
    "ActionParameterValueNotInList",
    "ActionParameterValueFormatError",
    "PropertyValueNotInList",
];
/// Keys by which iLO and iDRAC say that the present state does not allow it.
const WRONG_STATE: &[&str] = &["InvalidOperationForSystemState", "SWC0700", "PSU501"];

fn as_kind(mut fault: Fault, kind: FaultKind) -> Fault {
    fault.kind = kind;
    fault
}

fn unclear(client: &Client, complaint: &message::Complaint) -> Fault {
    let detail = format!(
        "BMC {} accepted the request but complains: {}",
        client.address(),
        complaint.text()
    );
    Fault::new(FaultKind::Transient, detail).with_possible_effect()
}
