//! Payloads of agents as facts of the core.
//! In: decoded payloads. Out: facts.
//! Holds: words of later versions that the core has no place for give no fact.

use std::collections::BTreeMap;

use coordinator_core::{
    AgentId, AgentInfo, AgentState, Beat, Fact, MachineId, PowerRead, Repeat, Report, ReportState,
    Token,
};
use proto_mqtt::Power;
use proto_mqtt::report::{
    AgentState as WireState, Code, Heartbeat, HostNic, Inventory, Outcome, ResultBody, ResultState,
    Status, WakeFlag,
};

use super::words;

/// A live sign of life.
#[must_use]
pub fn beat(agent: &AgentId, heartbeat: &Heartbeat) -> Fact {
    Fact::Beat(Beat {
        agent: agent.clone(),
        boot_id: heartbeat.boot.as_str().into(),
        instance: heartbeat.inst.to_string(),
        challenge: heartbeat.chal.to_string(),
        up_ms: heartbeat.up_s.saturating_mul(1_000),
    })
}

/// `None` where the state is a word of a later version.
#[must_use]
pub fn state(agent: &AgentId, status: &Status) -> Option<Fact> {
    let state = match status.state {
        WireState::Online => AgentState::Online,
        WireState::Stopping => AgentState::Stopping,
        WireState::Offline => AgentState::Offline,
        WireState::Unknown => return None,
    };
    Some(Fact::AgentState {
        agent: agent.clone(),
        state,
        boot_id: status.boot.to_string(),
        instance: status.inst.to_string(),
    })
}

/// What an agent is, but for its marks: those come with its status.
#[must_use]
pub fn info(agent: &AgentId, inventory: &Inventory) -> AgentInfo {
    AgentInfo {
        agent: agent.clone(),
        key: Some(inventory.key.to_string().into()),
        segments: inventory
            .segments
            .iter()
            .map(|segment| segment.name.to_string())
            .collect(),
        credentials: inventory
            .credentials
            .as_ref()
            .map(|names| names.iter().map(ToString::to_string).collect()),
        wake_armed: armed(
            inventory
                .nics
                .iter()
                .map(|nic| (nic.wol, nic.name.as_str())),
        )
        .map(Into::into),
        arch: arch(inventory.arch.as_str()),
        macs: inventory
            .nics
            .iter()
            .map(|nic| nic.mac.to_string())
            .collect(),
        high_water: Vec::new(),
    }
}

/// The architecture as Kubernetes writes it; a word that it does not know stays as it is.
fn arch(word: &str) -> Option<String> {
    let known = match word {
        "" => return None,
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i686" => "386",
        "powerpc64le" => "ppc64le",
        other => other,
    };
    Some(known.to_owned())
}

/// The highest token for each target. Where the agent does not tell its own machine's, its highest of all stands for that.
#[must_use]
pub fn high_water(agent: &AgentId, status: &Status) -> Vec<(MachineId, Token)> {
    let told = status
        .marks
        .iter()
        .map(|(target, mark)| (MachineId::new(target.as_str()), token(*mark)));
    let mut marks: BTreeMap<MachineId, Token> = told.collect();
    if status.hwm != proto_mqtt::Token::ZERO {
        marks
            .entry(MachineId::new(agent.as_str()))
            .or_insert_with(|| token(status.hwm));
    }
    marks.into_iter().collect()
}

fn token(wire: proto_mqtt::Token) -> Token {
    Token {
        epoch: wire.epoch,
        seq: u32::try_from(wire.seq).unwrap_or(u32::MAX),
    }
}

/// The interfaces that would wake their host; `None` if none of them could tell.
pub(super) fn armed<'n>(flags: impl Iterator<Item = (WakeFlag, &'n str)>) -> Option<Vec<String>> {
    flags.fold(None, |known, (flag, name)| match flag {
        WakeFlag::Armed => {
            let mut known = known.unwrap_or_default();
            known.push(name.to_owned());
            Some(known)
        }
        WakeFlag::Unarmed | WakeFlag::Unsupported => Some(known.unwrap_or_default()),
        WakeFlag::Unknown => known,
    })
}

/// `None` where the state is a word of a later version.
#[must_use]
pub fn report(agent: &AgentId, body: &ResultBody, trusted: bool) -> Option<Report> {
    let state = match body.state {
        ResultState::Accepted => ReportState::Accepted,
        ResultState::Running => ReportState::Running,
        ResultState::Done => ReportState::Done,
        ResultState::Failed => ReportState::Failed,
        // An id that was used for another command: this one was not carried out.
        ResultState::Refused | ResultState::Duplicate => ReportState::Refused,
        ResultState::Aborted | ResultState::Cancelled => ReportState::Aborted,
        ResultState::Interrupted => ReportState::Interrupted,
        ResultState::Unknown => return None,
    };
    Some(Report {
        agent: agent.clone(),
        command: body.id.to_string(),
        state,
        code: body
            .code
            .map(|code| code.as_str().to_owned())
            .unwrap_or_default(),
        message: words::of(body),
        repeat: body.code.map_or(Repeat::MayHelp, repeat),
        read: read(body.out.as_ref()),
        trusted,
    })
}

/// A word of a later version may mean anything, so it is worth another try.
fn repeat(code: Code) -> Repeat {
    match code {
        Code::ExecRefused | Code::VerbDenied | Code::Unsupported | Code::UnknownKid => {
            Repeat::Useless
        }
        Code::BadEnvelope
        | Code::BadSig
        | Code::BadBody
        | Code::WrongAud
        | Code::Retained
        | Code::StaleChal
        | Code::Expired
        | Code::SeqStale
        | Code::BootMismatch
        | Code::RateLimited
        | Code::MinUptime
        | Code::Maintenance
        | Code::Inhibited
        | Code::Busy
        | Code::Precondition
        | Code::JournalUnwritable
        | Code::NoAckPath
        | Code::ExecFailed
        | Code::ExecTimeout
        | Code::Stalled
        | Code::Unknown => Repeat::MayHelp,
    }
}

fn read(out: Option<&Outcome>) -> Option<PowerRead> {
    match out? {
        Outcome::Redfish(bmc) => Some(match bmc.power {
            Power::On => PowerRead::On,
            Power::Off => PowerRead::Off,
            Power::Unknown => PowerRead::Other,
        }),
        Outcome::Wol(_) | Outcome::Host(_) | Outcome::Unknown => None,
    }
}

/// The interfaces that a host reported right before it went down.
pub(super) fn host_nics(body: &ResultBody) -> Option<&[HostNic]> {
    match body.out.as_ref()? {
        Outcome::Host(host) => Some(&host.nics),
        Outcome::Wol(_) | Outcome::Redfish(_) | Outcome::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_a_person_must_do_something_about_make_a_repetition_useless() {
        let all = Code::ALL.iter().chain([&Code::Unknown]);
        let useless: Vec<&str> = all
            .filter(|code| repeat(**code) == Repeat::Useless)
            .map(|code| code.as_str())
            .collect();
        let expected = ["unknown_kid", "verb_denied", "unsupported", "exec_refused"];
        assert_eq!(useless, expected);
    }
}
