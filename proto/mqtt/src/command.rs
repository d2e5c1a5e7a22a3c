//! The signed body of a command.
//! In: the text inside a verified envelope. Out: an order with all that an agent checks before it acts.
//! Holds: every safety field is there from the first version; limits of time and size are checked while decoding.
//! Not here: the checks themselves (agent/core).

use crate::challenge::Challenge;
use crate::names::{AgentId, BootId};
use crate::order::Order;
use crate::payload::Payload;
use crate::power::Power;
use crate::text::Text;
use crate::token::Token;
use crate::ulid::Ulid;
use crate::version::V1;
use crate::wire_enum::serde_as_text;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest life of a command, in milliseconds.
pub const MAX_TTL_MS: u32 = 30_000;
/// The longest grace before a command is carried out, in milliseconds.
pub const MAX_DELAY_MS: u32 = 120_000;

/// A command as the coordinator signs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WireBody", into = "WireBody")]
pub struct CommandBody {
    /// Unique; a command that is sent again keeps it.
    pub id: Ulid,
    /// What to do.
    pub order: Order,
    /// The agent that is to do it.
    pub aud: AgentId,
    /// The machine that it is done to.
    pub target: AgentId,
    /// The fencing token.
    pub token: Token,
    /// A challenge from a recent heartbeat of the agent.
    pub chal: Challenge,
    /// How old the challenge may be, 1 to [`MAX_TTL_MS`].
    pub ttl_ms: u32,
    /// How long the agent waits for a cancel before it acts, at most [`MAX_DELAY_MS`].
    pub delay_ms: u32,
    /// The kernel boot that the command is for.
    pub boot: Option<BootId>,
    /// What must be true of the target for the command to make sense.
    pub expect: Option<Expect>,
    /// Who wants it.
    pub actor: Actor,
    /// Why, for people.
    pub reason: Text<256>,
    /// The operation that this command serves; reissued commands share it.
    pub op: Ulid,
    /// Names of fields that the receiver must know, or refuse.
    pub crit: Vec<Text<32>>,
    /// When it was signed, RFC 3339, for people.
    pub iat: Option<Text<40>>,
}

impl Payload for CommandBody {}

impl CommandBody {
    /// The first field that must be understood and is not.
    #[must_use]
    pub fn unknown_crit(&self) -> Option<&str> {
        self.crit
            .iter()
            .map(Text::as_str)
            .find(|name| !FIELDS.contains(name))
    }
}

/// What must be true of the target before the act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// The power state that the coordinator believes in.
    pub power: Power,
}

/// Who wants something done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The cluster-autoscaler.
    Autoscaler,
    /// A person.
    User(Text<63>),
    /// Home Assistant.
    HomeAssistant,
    /// The coordinator itself: `minSize`, recovery, proofs.
    System,
    /// An actor of a later version.
    Unknown(Text<63>),
}

impl fmt::Display for Actor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Autoscaler => out.write_str("autoscaler"),
            Self::User(name) => write!(out, "user:{name}"),
            Self::HomeAssistant => out.write_str("ha"),
            Self::System => out.write_str("system"),
            Self::Unknown(word) => out.write_str(word.as_str()),
        }
    }
}

impl FromStr for Actor {
    type Err = ActorTooLong;

    fn from_str(text: &str) -> Result<Self, ActorTooLong> {
        let name = text.strip_prefix("user:");
        if name.unwrap_or(text).len() > 63 {
            return Err(ActorTooLong);
        }
        Ok(match (text, name) {
            (_, Some(name)) => Self::User(Text::shortened(name)),
            ("autoscaler", None) => Self::Autoscaler,
            ("ha", None) => Self::HomeAssistant,
            ("system", None) => Self::System,
            (word, None) => Self::Unknown(Text::shortened(word)),
        })
    }
}

/// The name of an actor is longer than 63 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActorTooLong;

impl fmt::Display for ActorTooLong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an actor must have at most 63 bytes")
    }
}

impl core::error::Error for ActorTooLong {}

serde_as_text!(Actor);

/// The few fields that name a command: readable even where the rest is not, so that a refusal can be addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct CommandHead {
    /// The command's id.
    pub id: Ulid,
    /// Its token.
    pub token: Token,
}

impl CommandHead {
    /// The head of a body that may be otherwise unreadable.
    #[must_use]
    pub fn of(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }
}

impl From<&CommandBody> for CommandHead {
    fn from(body: &CommandBody) -> Self {
        Self {
            id: body.id,
            token: body.token,
        }
    }
}

/// The names of all fields that this version understands.
const FIELDS: &[&str] = &[
    "v", "id", "verb", "aud", "target", "token", "chal", "ttl_ms", "delay_ms", "boot", "expect",
    "actor", "reason", "op", "args", "crit", "iat",
];

/// The body as it lies on the wire; the order of the fields is the order of the bytes.
#[derive(Serialize, Deserialize)]
struct WireBody {
    v: V1,
    id: Ulid,
    verb: String,
    aud: AgentId,
    target: AgentId,
    token: Token,
    chal: Challenge,
    ttl_ms: u32,
    delay_ms: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<BootId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expect: Option<Expect>,
    actor: Actor,
    reason: Text<256>,
    op: Ulid,
    #[serde(default = "no_args")]
    args: Value,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    crit: Vec<Text<32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<Text<40>>,
}

fn no_args() -> Value {
    Value::Object(Map::new())
}

impl From<CommandBody> for WireBody {
    fn from(body: CommandBody) -> Self {
        Self {
            v: V1,
            id: body.id,
            verb: body.order.word().into(),
            args: body.order.args(),
            aud: body.aud,
            target: body.target,
            token: body.token,
            chal: body.chal,
            ttl_ms: body.ttl_ms,
            delay_ms: body.delay_ms,
            boot: body.boot,
            expect: body.expect,
            actor: body.actor,
            reason: body.reason,
            op: body.op,
            crit: body.crit,
            iat: body.iat,
        }
    }
}

impl TryFrom<WireBody> for CommandBody {
    type Error = String;

    fn try_from(wire: WireBody) -> Result<Self, String> {
        if wire.ttl_ms == 0 || wire.ttl_ms > MAX_TTL_MS {
            return Err(format!(
                "ttl_ms must be 1 to {MAX_TTL_MS}, not {}",
                wire.ttl_ms
            ));
        }
        if wire.delay_ms > MAX_DELAY_MS {
            return Err(format!(
                "delay_ms must be at most {MAX_DELAY_MS}, not {}",
                wire.delay_ms
            ));
        }
        Ok(Self {
            order: Order::from_wire(&wire.verb, wire.args)?,
            id: wire.id,
            aud: wire.aud,
            target: wire.target,
            token: wire.token,
            chal: wire.chal,
            ttl_ms: wire.ttl_ms,
            delay_ms: wire.delay_ms,
            boot: wire.boot,
            expect: wire.expect,
            actor: wire.actor,
            reason: wire.reason,
            op: wire.op,
            crit: wire.crit,
            iat: wire.iat,
        })
    }
}
