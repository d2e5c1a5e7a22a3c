//! What becomes of a command on its way out.

use std::sync::Mutex;

use coordinator_core::{MachineId, Now, Token, Verb, View};
use prometheus_client::registry::Registry;

use super::*;
use crate::engine::{self, Core, Handle};

fn command() -> Command {
    Command {
        id: "01JD0000000000000000000000".into(),
        operation: "01JD0000000000000000000001".into(),
        agent: AgentId::new("pi"),
        target: MachineId::new("nuc1"),
        token: Token { epoch: 3, seq: 42 },
        challenge: "AAECAwQFBgcICQoLDA0ODw".into(),
        boot_id: None,
        verb: Verb::PowerOff,
        actor: "test".into(),
        reason: "test".into(),
    }
}

/// Writes facts down.
struct Notes(Arc<Mutex<Vec<Fact>>>);

impl Core for Notes {
    fn observe(&mut self, fact: Fact, _now: Now) {
        self.0.lock().unwrap().push(fact);
    }

    fn decide(&mut self, _now: Now) -> Vec<Action> {
        Vec::new()
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn view(&mut self, _now: Now) -> Arc<View> {
        Arc::default()
    }
}

impl Outputs for Notes {
    fn perform(&mut self, _action: Action) {}
}

fn metrics(handle: &Handle) -> (Metrics, Registry) {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, handle.view.clone());
    (metrics, registry)
}

fn counted(registry: &Registry, outcome: &str) -> bool {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let line =
        format!("homelab_autoscaler_commands_total{{verb=\"power.off\",outcome=\"{outcome}\"}} 1");
    text.lines().any(|shown| shown == line)
}

#[tokio::test]
async fn nothing_is_signed_or_sent_once_the_mandate_has_ended() {
    let (handle, _seat) = engine::open(Mandate::standing());
    let (metrics, registry) = metrics(&handle);
    let (_sender, line) = watch::channel(None);
    let key = Arc::new(CoordinatorKey::from_bytes(&[7; SEED_BYTES]).unwrap());
    let mandate = Mandate::standing();
    let mut commands = Commands::new(line, (key, mandate.clone()), handle.facts, metrics);
    commands.perform(Action::Send(command()));
    assert!(
        counted(&registry, "no_connection"),
        "led, but had no connection"
    );
    mandate.end();
    commands.perform(Action::Send(command()));
    assert!(counted(&registry, "no_mandate"));
    assert!(counted(&registry, "no_connection"), "not one more");
}

#[tokio::test]
async fn the_core_hears_of_an_agent_that_nobody_listens_for() {
    let (handle, seat) = engine::open(Mandate::standing());
    let (metrics, registry) = metrics(&handle);
    let facts = Arc::default();
    let running = seat.take(Notes(Arc::clone(&facts)), Notes(Arc::default()));
    let told = |facts| Told {
        command: command(),
        verb: "power.off",
        facts,
        metrics: metrics.clone(),
    };
    told(handle.facts.clone()).of(Delivery::Delivered).await;
    told(handle.facts.clone()).of(Delivery::NoSubscribers).await;
    told(handle.facts.clone()).of(Delivery::Lost).await;
    let refused = Delivery::Refused {
        reason: "not authorized".into(),
    };
    told(handle.facts.clone()).of(refused).await;
    assert!(counted(&registry, "delivered") && counted(&registry, "no_subscribers"));
    // The engine ends when nobody can tell it anything any more.
    drop(handle);
    running.run().await;
    let not_sent = |why| Fact::NotSent {
        agent: AgentId::new("pi"),
        command: command().id,
        why,
    };
    assert_eq!(
        *facts.lock().unwrap(),
        [NotSent::NobodyListens, NotSent::NoWay].map(not_sent)
    );
}
