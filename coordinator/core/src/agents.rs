//! What is known of agents: their latest heartbeat, what they relay for, the key their results must carry.
//!
//! In: heartbeats, presence, inventories. Out: fresh challenges, the relays that can reach a target.
//! Holds: a retained message or a will never makes an agent live; only a heartbeat does.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::actions::Action;
use crate::facts::{AgentInfo, AgentState, Beat};
use crate::ids::{AgentId, MachineId, Token};
use crate::lab::Ctx;
use crate::telling;

/// Marks are reported unsigned: one above this is a forgery that would use all tokens up, not a restored store.
const HIGHEST_CREDIBLE: Token = Token {
    epoch: 1 << 30,
    seq: 1 << 30,
};

/// Agents without a machine and without a key that are remembered: room for new ones on the way to being declared. Whoever
/// can write to the broker can invent more.
const MOST_STRANGERS: usize = 256;

/// What an agent is to this lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A declared machine's.
    Declared,
    /// Nobody's, so far.
    Stranger,
}

/// A relay, and what it says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relay<'a> {
    pub(crate) id: &'a AgentId,
    /// Names of the BMC credentials that it holds; `None` where it does not say.
    pub(crate) credentials: Option<&'a Vec<String>>,
    /// It could be asked now.
    pub(crate) awake: bool,
}

/// One agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agent {
    pub(crate) key: Option<Arc<str>>,
    /// Shared with whoever reads its messages, and with every view.
    pub(crate) info: Option<Arc<AgentInfo>>,
    pub(crate) beat: Option<Beat>,
    pub(crate) beat_ms: u64,
    pinged_ms: Option<u64>,
    /// The instance that said goodbye; a heartbeat of another one makes it live again.
    gone: Option<String>,
}

impl Agent {
    /// Whether a heartbeat says only what is known already: the same boot and process, in time, and nobody has pinged.
    pub(crate) fn expects(&self, beat: &Beat, now_ms: u64, silent_ms: u64) -> bool {
        let same = |last: &Beat| last.boot_id == beat.boot_id && last.instance == beat.instance;
        self.gone.is_none()
            && self.pinged_ms.is_none()
            && self.beat.as_ref().is_some_and(same)
            && now_ms < self.beat_ms.saturating_add(silent_ms)
    }

    /// A heartbeat was heard within the silence limit.
    pub(crate) fn live(&self, ctx: &mut Ctx<'_>) -> bool {
        let silent_ms = ctx.policy.agent_silent_ms;
        self.beat.is_some() && !ctx.due(self.beat_ms.saturating_add(silent_ms))
    }
}

/// All agents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agents {
    /// Boxed: a map keeps half of its places free.
    all: BTreeMap<AgentId, Box<Agent>>,
    /// Relays whose own machine is off, with when that was confirmed, wall clock, milliseconds.
    pub(crate) asleep: BTreeMap<AgentId, i64>,
    /// Strangers that showed no key, the one heard last at the end.
    strangers: VecDeque<AgentId>,
}

impl Agents {
    pub(crate) fn get(&self, id: &AgentId) -> Option<&Agent> {
        self.all.get(id).map(|agent| &**agent)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&AgentId, &Agent)> {
        self.all.iter().map(|(id, agent)| (id, &**agent))
    }

    pub(crate) fn stored(&mut self, id: AgentId, key: String) {
        self.all.entry(id).or_default().key = Some(key.into());
    }

    pub(crate) fn beat(&mut self, mut beat: Beat, standing: Standing, ctx: &Ctx<'_>) {
        let agent = self.all.entry(beat.agent.clone()).or_default();
        // What is the same in each heartbeat stays the same value: it is held for long, and by others too.
        if let Some(last) = &agent.beat {
            beat.agent.clone_from(&last.agent);
            if last.boot_id == beat.boot_id {
                beat.boot_id.clone_from(&last.boot_id);
            }
        } else if let Some(info) = &agent.info {
            beat.agent.clone_from(&info.agent);
        }
        let is_stranger = standing == Standing::Stranger && agent.key.is_none();
        let id = beat.agent.clone();
        agent.gone = None;
        agent.pinged_ms = None;
        agent.beat_ms = ctx.now.boot_ms;
        agent.beat = Some(beat);
        if is_stranger {
            self.remember_stranger(id);
        }
    }

    /// Forgets the stranger that was heard least recently where there are too many.
    fn remember_stranger(&mut self, id: AgentId) {
        self.strangers.retain(|other| *other != id);
        self.strangers.push_back(id);
        if self.strangers.len() <= MOST_STRANGERS {
            return;
        }
        if let Some(oldest) = self.strangers.pop_front()
            && self.all.get(&oldest).is_some_and(|a| a.key.is_none())
        {
            self.all.remove(&oldest);
        }
    }

    /// The first key that an agent shows is kept; a later, different one does not replace it.
    pub(crate) fn info(&mut self, info: Arc<AgentInfo>, ctx: &mut Ctx<'_>) {
        let agent = self.all.entry(info.agent.clone()).or_default();
        match (&agent.key, &info.key) {
            (None, Some(key)) => {
                agent.key = Some(Arc::clone(key));
                ctx.out.push(Action::RecordAgent {
                    agent: info.agent.clone(),
                    key: String::from(&**key),
                });
            }
            // The same text once.
            (Some(kept), Some(key)) if kept == key => agent.key = Some(Arc::clone(key)),
            (Some(_), Some(_)) | (_, None) => {}
        }
        agent.info = Some(info);
    }

    pub(crate) fn state(&mut self, id: &AgentId, state: AgentState, instance: &str) {
        let Some(agent) = self.all.get_mut(id) else {
            return;
        };
        let current = agent
            .beat
            .as_ref()
            .is_some_and(|beat| beat.instance == instance);
        match state {
            AgentState::Offline | AgentState::Stopping if current => {
                agent.gone = Some(instance.into())
            }
            AgentState::Offline | AgentState::Stopping | AgentState::Online => {}
        }
    }

    /// Its broker knows of nobody who listens for it: as good as a goodbye, until its next heartbeat.
    pub(crate) fn unheard(&mut self, id: &AgentId) {
        if let Some(agent) = self.all.get_mut(id)
            && let Some(beat) = &agent.beat
        {
            agent.gone = Some(beat.instance.clone());
        }
    }

    /// A heartbeat was heard within the silence limit.
    pub(crate) fn live(&self, id: &AgentId, ctx: &mut Ctx<'_>) -> bool {
        self.all.get(id).is_some_and(|agent| agent.live(ctx))
    }

    /// Relays that are heard and have not said goodbye since, at a moment on the boot clock, milliseconds.
    pub(crate) fn relays_at(
        &self,
        now_ms: u64,
        silent_ms: u64,
    ) -> impl Iterator<Item = (&AgentId, &AgentInfo)> {
        self.all.iter().filter_map(move |(id, agent)| {
            let info = agent.info.as_deref().filter(|info| is_relay(info))?;
            let is_heard = agent.gone.is_none()
                && agent.beat.is_some()
                && now_ms < agent.beat_ms.saturating_add(silent_ms);
            is_heard.then_some((id, info))
        })
    }

    /// Live, and it has not said goodbye since: worth sending a command to.
    pub(crate) fn reachable(&self, id: &AgentId, ctx: &mut Ctx<'_>) -> bool {
        self.live(id, ctx) && self.all.get(id).is_some_and(|agent| agent.gone.is_none())
    }

    /// A challenge young enough to be signed; asks for a new heartbeat where there is none.
    pub(crate) fn challenge(&mut self, id: &AgentId, ctx: &mut Ctx<'_>) -> Option<String> {
        let now_ms = ctx.now.boot_ms;
        let fresh_ms = ctx.policy.challenge_fresh_ms;
        let agent = self.all.get_mut(id)?;
        if let Some(beat) = &agent.beat
            && now_ms < agent.beat_ms.saturating_add(fresh_ms)
        {
            return Some(beat.challenge.clone());
        }
        let again_ms = agent
            .pinged_ms
            .map_or(0, |at| at.saturating_add(ctx.policy.ping_wait_ms));
        if ctx.due(again_ms) {
            agent.pinged_ms = Some(now_ms);
            ctx.out.push(Action::Ping { agent: id.clone() });
            ctx.at(now_ms.saturating_add(ctx.policy.ping_wait_ms));
        }
        None
    }

    /// Reachable relays for a segment, by name.
    pub(crate) fn relays_on(&self, segment: &str, ctx: &mut Ctx<'_>) -> Vec<AgentId> {
        self.relays(ctx, |info| serves(info, segment))
    }

    /// Reachable relays that hold a credential, or do not say what they hold, by name.
    pub(crate) fn relays_with(&self, credentials: &str, ctx: &mut Ctx<'_>) -> Vec<AgentId> {
        self.relays(ctx, |info| holds(info, credentials))
    }

    /// Relays that could serve a segment or hold a credential, awake or not, by name.
    pub(crate) fn relays_for<'a>(
        &'a self,
        segment: Option<&'a str>,
        credentials: Option<&'a str>,
    ) -> impl Iterator<Item = &'a AgentId> {
        let fits = move |info: &AgentInfo| {
            let holds = |name| {
                let held = info.credentials.as_ref();
                held.is_some_and(|held| held.iter().any(|c| c == name))
            };
            segment.is_some_and(|segment| serves(info, segment)) || credentials.is_some_and(holds)
        };
        self.all
            .iter()
            .filter(move |(_, agent)| agent.info.as_deref().is_some_and(fits))
            .map(|(id, _)| id)
    }

    /// Why an agent cannot be asked now, in words.
    pub(crate) fn whereabouts(&self, id: &AgentId, ctx: &Ctx<'_>) -> String {
        if let Some(off_ms) = self.asleep.get(id) {
            return format!("is off since {}", telling::clock(*off_ms));
        }
        match self.all.get(id).filter(|agent| agent.beat.is_some()) {
            Some(agent) => {
                let ago_ms = ctx.now.boot_ms.saturating_sub(agent.beat_ms);
                let at_ms = ctx.now.wall_ms.saturating_sub_unsigned(ago_ms);
                format!("was last heard at {}", telling::clock(at_ms))
            }
            None => String::from("was not heard since this coordinator started"),
        }
    }

    /// Every relay that is known, awake or not, by name.
    pub(crate) fn relays_now(&self, ctx: &mut Ctx<'_>) -> Vec<Relay<'_>> {
        let known = self.all.iter().filter_map(|(id, agent)| {
            let info = agent.info.as_deref().filter(|info| is_relay(info))?;
            Some((id, info.credentials.as_ref()))
        });
        known
            .map(|(id, credentials)| Relay {
                id,
                credentials,
                awake: self.reachable(id, ctx),
            })
            .collect()
    }

    fn relays(&self, ctx: &mut Ctx<'_>, fits: impl Fn(&AgentInfo) -> bool) -> Vec<AgentId> {
        let candidates = self
            .all
            .iter()
            .filter(|(_, agent)| agent.info.as_deref().is_some_and(&fits))
            .map(|(id, _)| id.clone());
        candidates.filter(|id| self.reachable(id, ctx)).collect()
    }

    /// The highest token that its own agent, which knows it by the agent's id, or any relay has seen for a machine.
    pub(crate) fn high_water(&self, machine: &MachineId, own: &AgentId) -> Token {
        let may_know = |id: &AgentId, info: &AgentInfo| id == own || is_relay(info);
        self.all
            .iter()
            .filter_map(|(id, agent)| agent.info.as_deref().filter(|info| may_know(id, info)))
            .flat_map(|info| &info.high_water)
            .filter(|(target, _)| target == machine || target.as_str() == own.as_str())
            .map(|(_, token)| *token)
            .filter(|token| {
                token.epoch <= HIGHEST_CREDIBLE.epoch && token.seq <= HIGHEST_CREDIBLE.seq
            })
            .max()
            .unwrap_or_default()
    }
}

/// Whether an agent says that it carries out commands for machines other than its own host.
pub(crate) fn is_relay(info: &AgentInfo) -> bool {
    !info.segments.is_empty() || info.credentials.is_some()
}

/// Whether a relay sends magic packets on a segment.
pub(crate) fn serves(info: &AgentInfo, segment: &str) -> bool {
    info.segments.iter().any(|served| served == segment)
}

/// Whether a relay holds a BMC credential, or holds too many to say which.
pub(crate) fn holds(info: &AgentInfo, credentials: &str) -> bool {
    match &info.credentials {
        Some(held) => held.iter().any(|name| name == credentials),
        None => !info.segments.is_empty(),
    }
}

/// Whether a relay serves every segment and holds every credential of another one.
pub(crate) fn does_all_of(relay: &AgentInfo, other: &AgentInfo) -> bool {
    let serves_all = other.segments.iter().all(|segment| serves(relay, segment));
    let holds_all = match (&other.credentials, &relay.credentials) {
        (Some(held), _) => held.iter().all(|name| holds(relay, name)),
        // What cannot be named may be anything.
        (None, Some(_)) => other.segments.is_empty(),
        (None, None) => true,
    };
    serves_all && holds_all
}
