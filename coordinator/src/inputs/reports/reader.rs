//! One message at a time: whose it is, whether it may be believed, which facts it gives.
//! In: topic, bytes, retain flag. Out: facts.
//! Holds: nothing that arrives can stop it; an unreadable message is counted, and logged once for each agent and kind
//! while there is room to remember that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use coordinator_core::{AgentId, AgentInfo, Fact, MachineId, View};
use proto_mqtt::key::{PublicKey, RESULT_KID, TrustedKeys};
use proto_mqtt::report::{
    Health, Heartbeat, HostNic, Inventory, LastResults, ResultBody, ResultState, Status,
};
use proto_mqtt::{AgentTopic, Envelope, Mac, Payload, Purpose, Topic};

use super::parse;
use super::readings::{Reading, Readings};
use crate::clock;
use crate::engine::Handle;
use crate::metrics::Metrics;

/// Agents of no declared machine that are remembered, and complaints: relays are among them, and the broker's users are not trusted.
pub(super) const MOST_STRANGERS: usize = 4096;
/// Longest part of a foreign topic that is logged, in bytes.
const LOGGED_TOPIC: usize = 100;

/// Interfaces of a host: few, so they are searched one by one.
type Interfaces = Box<[(Mac, Box<str>)]>;

/// Reads messages and tells facts.
pub(super) struct Reader {
    engine: Handle,
    metrics: Metrics,
    readings: Readings,
    /// What each agent said of itself: inventory and highest token come in different messages.
    agents: HashMap<AgentId, Arc<AgentInfo>>,
    /// Those that were of no declared machine when they were first heard.
    strangers: HashSet<AgentId>,
    /// Names of the interfaces of each agent's host, by address: some messages only carry the latter.
    interfaces: HashMap<AgentId, Interfaces>,
    complained: HashSet<(String, &'static str)>,
}

impl Reader {
    pub(super) fn new(engine: Handle, metrics: Metrics, readings: Readings) -> Self {
        Self {
            engine,
            metrics,
            readings,
            agents: HashMap::new(),
            strangers: HashSet::new(),
            interfaces: HashMap::new(),
            complained: HashSet::new(),
        }
    }

    pub(super) async fn tell(&self, fact: Fact) {
        self.engine.facts.tell(fact).await;
    }

    /// Reads one message and tells what it says.
    pub(super) async fn read(&mut self, topic: &str, payload: &[u8], retain: bool) {
        let Ok(Topic::Agent(wire_agent, kind)) = topic.parse::<Topic>() else {
            let shown = shortened(topic);
            self.complain(shown, "topic", &"not a topic of an agent");
            return;
        };
        let agent = AgentId::new(wire_agent.as_str());
        let facts = match kind {
            // A stored heartbeat says nothing about now; whoever had it stored is broken or means harm.
            AgentTopic::Heartbeat if retain => Err("a heartbeat must not be retained".to_owned()),
            AgentTopic::Heartbeat => {
                decoded(payload).map(|beat: Heartbeat| vec![parse::beat(&agent, &beat)])
            }
            AgentTopic::Status => decoded(payload).and_then(|status| self.status(&agent, &status)),
            AgentTopic::Inventory => {
                decoded(payload).and_then(|inventory| self.inventory(&agent, &inventory))
            }
            AgentTopic::Health => {
                decoded(payload).map(|health| self.health(&agent, health, retain))
            }
            AgentTopic::Result => self.result(&agent, topic, payload),
            AgentTopic::Last => self.last(&agent, topic, payload),
            AgentTopic::Command | AgentTopic::Ping => {
                Err("only the coordinator publishes here".to_owned())
            }
        };
        match facts {
            Ok(facts) => {
                self.metrics.report(kind.as_str());
                for fact in facts {
                    self.tell(fact).await;
                }
            }
            Err(detail) => self.complain(agent.as_str().to_owned(), kind.as_str(), &detail),
        }
    }

    fn status(&mut self, agent: &AgentId, status: &Status) -> Result<Vec<Fact>, String> {
        let state =
            parse::state(agent, status).ok_or_else(|| "a state of a later version".to_owned())?;
        let high_water = parse::high_water(agent, status);
        let mut facts = vec![state];
        if let Some(info) = self.agents.get_mut(agent)
            && info.high_water != high_water
        {
            Arc::make_mut(info).high_water = high_water;
            facts.push(Fact::AgentInfo(Arc::clone(info)));
        } else if !high_water.is_empty() && self.admits(agent) {
            // The inventory is on its way: both are stored at the broker.
            let entry = self.agents.entry(agent.clone());
            let info = entry.or_insert_with(|| Arc::new(unknown(agent)));
            Arc::make_mut(info).high_water = high_water;
        }
        Ok(facts)
    }

    fn inventory(&mut self, agent: &AgentId, inventory: &Inventory) -> Result<Vec<Fact>, String> {
        if !self.admits(agent) {
            return Err(format!(
                "more than {MOST_STRANGERS} agents of no declared machine"
            ));
        }
        let mut info = parse::info(agent, inventory);
        if let Some(known) = self.agents.get(agent) {
            info.high_water.clone_from(&known.high_water);
        }
        let info = Arc::new(info);
        self.agents.insert(agent.clone(), Arc::clone(&info));
        let nics = inventory.nics.iter();
        let named = nics.map(|nic| (nic.mac, nic.name.to_string().into()));
        self.interfaces.insert(agent.clone(), named.collect());
        Ok(vec![Fact::AgentInfo(info)])
    }

    fn health(&mut self, agent: &AgentId, health: Health, retain: bool) -> Vec<Fact> {
        if self.admits(agent) {
            let reading = Reading::new(health, clock::now().wall_ms, retain);
            self.readings.came(agent, reading);
        }
        Vec::new()
    }

    fn result(
        &mut self,
        agent: &AgentId,
        topic: &str,
        payload: &[u8],
    ) -> Result<Vec<Fact>, String> {
        let envelope: Envelope = decoded(payload)?;
        let (trusted, text) = self.opened(agent, topic, &envelope);
        let body: ResultBody = decoded(text.as_bytes())?;
        self.count(&body);
        let report = parse::report(agent, &body, trusted)
            .ok_or_else(|| "a state of a later version".to_owned())?;
        let mut facts = vec![Fact::Reported(report)];
        // The last word about the NICs comes with the order to go down; an unsigned one could hide a machine.
        if trusted
            && let Some(nics) = parse::host_nics(&body)
            && let Some(info) = self.agents.get_mut(agent)
        {
            let names = self.interfaces.get(agent);
            let name = |nic: &HostNic| {
                let named = names?.iter().find(|(mac, _)| *mac == nic.mac);
                named.map(|(_, name)| name.to_string())
            };
            let named: Vec<_> = nics
                .iter()
                .map(|nic| (nic.wol, name(nic).unwrap_or_else(|| nic.mac.to_string())))
                .collect();
            let armed = parse::armed(named.iter().map(|(flag, name)| (*flag, name.as_str())));
            let changed = Arc::make_mut(info);
            changed.wake_armed = armed.map(Into::into).or_else(|| changed.wake_armed.take());
            facts.push(Fact::AgentInfo(Arc::clone(info)));
        }
        Ok(facts)
    }

    /// Outcomes that this process, or the leader before it, may have missed. The core ignores what it knows already.
    fn last(&self, agent: &AgentId, topic: &str, payload: &[u8]) -> Result<Vec<Fact>, String> {
        let envelope: Envelope = decoded(payload)?;
        let (trusted, text) = self.opened(agent, topic, &envelope);
        let last: LastResults = decoded(text.as_bytes())?;
        let reports = last
            .results
            .iter()
            .filter_map(|body| parse::report(agent, body, trusted));
        Ok(reports.map(Fact::Reported).collect())
    }

    /// The envelope's body, and whether it is proved to come from the agent.
    fn opened<'e>(&self, agent: &AgentId, topic: &str, envelope: &'e Envelope) -> (bool, &'e str) {
        let view = self.engine.current();
        let pinned = view
            .agents
            .get(agent)
            .and_then(|known| known.key.as_deref())
            .and_then(|key| key.parse::<PublicKey>().ok());
        let proved = pinned.and_then(|key| {
            let keys = TrustedKeys::only(RESULT_KID, key);
            match envelope.open(Purpose::Result, topic, &keys) {
                Ok(body) => Some(body),
                Err(fault) => {
                    tracing::debug!(%agent, %fault, "result not proved");
                    None
                }
            }
        });
        match proved {
            Some(body) => (true, body),
            None => (false, envelope.unverified_body()),
        }
    }

    fn count(&self, body: &ResultBody) {
        let code = body.code.map_or("none", proto_mqtt::report::Code::as_str);
        match body.state {
            ResultState::Failed
            | ResultState::Refused
            | ResultState::Aborted
            | ResultState::Duplicate => {
                self.metrics.refused(code);
            }
            ResultState::Accepted
            | ResultState::Running
            | ResultState::Done
            | ResultState::Cancelled
            | ResultState::Interrupted
            | ResultState::Unknown => {}
        }
    }

    /// Whether an agent may be remembered: whoever invents names takes no place of a declared machine's.
    fn admits(&mut self, agent: &AgentId) -> bool {
        if self.strangers.contains(agent) || is_declared(&self.engine.current(), agent) {
            return true;
        }
        let has_room = self.strangers.len() < MOST_STRANGERS;
        if has_room {
            self.strangers.insert(agent.clone());
        }
        has_room
    }

    fn complain(&mut self, whose: String, kind: &'static str, detail: &dyn std::fmt::Display) {
        self.metrics.unreadable(kind);
        if self.complained.len() >= MOST_STRANGERS
            || self.complained.contains(&(whose.clone(), kind))
        {
            tracing::trace!(whose, kind, %detail, "message unreadable");
            return;
        }
        tracing::warn!(whose, kind, %detail, "message unreadable; more of this kind are only counted");
        self.complained.insert((whose, kind));
    }
}

/// Whether it is the agent of a machine; most bear their machine's name.
fn is_declared(view: &View, agent: &AgentId) -> bool {
    let namesake = view.machines.get(&MachineId::new(agent.as_str()));
    namesake.is_some_and(|machine| machine.agent == *agent)
        || view
            .machines
            .values()
            .any(|machine| machine.agent == *agent)
}

fn decoded<P: Payload>(payload: &[u8]) -> Result<P, String> {
    P::decode(payload).map_err(|fault| fault.to_string())
}

/// An agent of which only the status is known yet.
fn unknown(agent: &AgentId) -> AgentInfo {
    AgentInfo {
        agent: agent.clone(),
        key: None,
        segments: Vec::new(),
        credentials: None,
        wake_armed: None,
        arch: None,
        macs: Vec::new(),
        high_water: Vec::new(),
    }
}

fn shortened(topic: &str) -> String {
    topic
        .chars()
        .filter(|letter| !letter.is_control())
        .take(LOGGED_TOPIC)
        .collect()
}
