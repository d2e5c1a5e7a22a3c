//! Every topic, built and parsed in one place.
//! In: a topic name from the broker. Out: whose it is and what it carries; and back.
//! Holds: `Display` and `FromStr` are exact inverses.

use crate::names::AgentId;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// The root of all topics; the major version is part of it.
pub const ROOT: &str = "hla/v1";

/// A topic of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A topic of one agent.
    Agent(AgentId, AgentTopic),
    /// The coordinator's presence: informative, agents never act on it.
    CoordinatorStatus,
}

/// What a topic of an agent carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AgentTopic {
    /// Presence and identity: retained, also the last will.
    Status,
    /// Heartbeat with the challenge: never retained.
    Heartbeat,
    /// Sensors: retained with an expiry.
    Health,
    /// Hardware, interfaces and abilities: retained.
    Inventory,
    /// Signed commands to the agent: never retained.
    Command,
    /// A request for a heartbeat right now: never retained.
    Ping,
    /// Signed results: never retained.
    Result,
    /// The last outcomes, signed, for a new leader: retained.
    Last,
}

impl AgentTopic {
    /// Every topic of an agent.
    pub const ALL: [Self; 8] = [
        Self::Status,
        Self::Heartbeat,
        Self::Health,
        Self::Inventory,
        Self::Command,
        Self::Ping,
        Self::Result,
        Self::Last,
    ];

    /// The last level of the topic.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Heartbeat => "hb",
            Self::Health => "health",
            Self::Inventory => "inv",
            Self::Command => "cmd",
            Self::Ping => "ping",
            Self::Result => "res",
            Self::Last => "last",
        }
    }

    /// This topic of one agent.
    #[must_use]
    pub fn of(self, agent: &AgentId) -> Topic {
        Topic::Agent(agent.clone(), self)
    }

    /// The subscription filter for this topic of every agent.
    #[must_use]
    pub fn of_all(self) -> String {
        format!("{ROOT}/a/+/{}", self.as_str())
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent, topic) => write!(out, "{ROOT}/a/{agent}/{}", topic.as_str()),
            Self::CoordinatorStatus => write!(out, "{ROOT}/c/status"),
        }
    }
}

/// The text is no topic of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownTopic;

impl fmt::Display for UnknownTopic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "not a topic under {ROOT}")
    }
}

impl core::error::Error for UnknownTopic {}

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        let below = text
            .strip_prefix(ROOT)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or(UnknownTopic)?;
        if below == "c/status" {
            return Ok(Self::CoordinatorStatus);
        }
        let (agent, level) = below
            .strip_prefix("a/")
            .and_then(|rest| rest.split_once('/'))
            .ok_or(UnknownTopic)?;
        let agent = agent.parse().map_err(|_| UnknownTopic)?;
        let topic = AgentTopic::ALL
            .into_iter()
            .find(|topic| topic.as_str() == level)
            .ok_or(UnknownTopic)?;
        Ok(Self::Agent(agent, topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn topics_are_the_pinned_names() {
        let agent: AgentId = "nas-01".parse().expect("a name");
        let names: alloc::vec::Vec<_> = AgentTopic::ALL
            .iter()
            .map(|topic| topic.of(&agent).to_string())
            .collect();
        assert_eq!(
            names,
            [
                "hla/v1/a/nas-01/status",
                "hla/v1/a/nas-01/hb",
                "hla/v1/a/nas-01/health",
                "hla/v1/a/nas-01/inv",
                "hla/v1/a/nas-01/cmd",
                "hla/v1/a/nas-01/ping",
                "hla/v1/a/nas-01/res",
                "hla/v1/a/nas-01/last",
            ]
        );
        assert_eq!(Topic::CoordinatorStatus.to_string(), "hla/v1/c/status");
        assert_eq!(AgentTopic::Heartbeat.of_all(), "hla/v1/a/+/hb");
    }

    #[test]
    fn foreign_names_are_no_topics() {
        for bad in [
            "",
            "hla",
            "hla/v1",
            "hla/v2/a/n/hb",
            "hla/v1/a/n",
            "hla/v1/a/n/",
            "hla/v1/a/n/hb/",
            "hla/v1/a//hb",
            "hla/v1/a/+/hb",
            "hla/v1/a/N/hb",
            "hla/v1/c/status/",
            "hla/v1x/c/status",
            "/hla/v1/c/status",
        ] {
            assert_eq!(bad.parse::<Topic>(), Err(UnknownTopic), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn building_and_parsing_are_inverses(
            agent in "[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?",
            index in 0..AgentTopic::ALL.len(),
        ) {
            let topic = AgentTopic::ALL[index].of(&agent.parse().expect("the pattern of a name"));
            prop_assert_eq!(topic.to_string().parse::<Topic>(), Ok(topic));
        }

        #[test]
        fn whatever_parses_is_built_back_to_the_same_text(text in "hla/v1/(a|c)/[-a-z0-9.+#/]{0,40}(hb|cmd|status)?") {
            if let Ok(topic) = text.parse::<Topic>() {
                prop_assert_eq!(topic.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_parsed_without_panic(text: String) {
            let _ = text.parse::<Topic>();
        }
    }
}
