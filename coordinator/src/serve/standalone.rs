//! The wiring without Kubernetes: a folder with the lab, a database, a local socket.

use std::sync::Arc;

use coordinator_core::{Fact, Policy};
use serde_json::json;

use super::{Broker, RunFault, Started, Wiring, host_name};
use crate::args::StandaloneSettings;
use crate::inputs::standalone::{AgentAccess, Board, LabFolder, ServedLab, Socket};
use crate::outputs::commands::CoordinatorKey;
use crate::outputs::standalone::{self, OpenStore, Replay, Standalone, Store};
use crate::supervise::Ends;

/// The file of the coordinator's key, in the state folder.
const KEY_FILE: &str = "coordinator.key";

/// A lab that was read, and a state that is ours.
pub(super) struct Prepared {
    lab: LabFolder,
    store: Store,
    replay: Replay,
    key: CoordinatorKey,
    socket: Socket,
}

/// Reads the lab and opens the state.
pub(super) fn prepare(settings: StandaloneSettings) -> Result<Prepared, RunFault> {
    let StandaloneSettings { lab, state, socket } = settings;
    let lab = LabFolder::open(&lab).map_err(RunFault::configuration)?;
    let (store, replay) = standalone::open(&state).map_err(store_fault)?;
    Ok(Prepared {
        lab,
        store,
        replay,
        key: CoordinatorKey::load_or_create(&state.join(KEY_FILE))
            .map_err(RunFault::configuration)?,
        socket: Socket::bind(&socket).map_err(RunFault::configuration)?,
    })
}

impl Prepared {
    /// Starts the tasks of this mode.
    pub(super) fn start(
        self,
        policy: Policy,
        broker: &Broker,
        wiring: &mut Wiring,
    ) -> Result<Started, RunFault> {
        let Self {
            lab,
            store,
            replay,
            key,
            socket,
        } = self;
        let facts = wiring.engine.facts.clone();
        let outputs = Standalone::start(store, &replay, move |fact| facts.tell_blocking(fact))
            .map_err(RunFault::start)?;
        let board = Arc::new(Board::new(lab.declared(), outputs.memory()));
        let served = ServedLab {
            engine: wiring.engine.clone(),
            board: Arc::clone(&board),
            memory: outputs.memory(),
            agents: AgentAccess {
                broker: broker.url().to_string(),
                coordinator_key: key.public().to_string(),
                needs_password: broker.needs_password(),
            },
            readings: wiring.readings.clone(),
        };
        let seed = replay.seed;
        let first: Vec<Fact> = lab.facts().into_iter().chain(replay.into_facts()).collect();
        let facts = wiring.engine.facts.clone();
        wiring.tasks.spawn("lab", Ends::Never, async move {
            for fact in first {
                facts.tell(fact).await;
            }
            lab.follow(facts).await
        });
        wiring.tasks.spawn_endless("socket", socket.serve(served));
        let (follower, view) = (Arc::clone(&board), wiring.engine.view.clone());
        wiring
            .tasks
            .spawn_endless("board", async move { follower.follow(view).await });

        let (engine, memory) = (wiring.engine.clone(), outputs.memory());
        // The database is locked: there is no other coordinator of this state.
        let mandate = engine.mandate.clone();
        mandate.extend(u64::MAX);
        Ok(Started {
            seed,
            policy: Policy {
                own_node: policy.own_node.or_else(|| Some(host_name())),
                ..policy
            },
            outputs: Box::new(outputs),
            key: Arc::new(key),
            mandate,
            leader: host_name(),
            cloud_config: None,
            lab: Some(Arc::new(move || {
                let shown = board.show(&engine.current());
                json!({"groups": shown.groups, "nodes": shown.nodes, "events": memory.events()})
            })),
        })
    }
}

fn store_fault(fault: OpenStore) -> RunFault {
    match fault {
        OpenStore::Folder { .. } | OpenStore::InUse { .. } | OpenStore::Value { .. } => {
            RunFault::configuration(fault)
        }
        OpenStore::Database { .. } | OpenStore::Random => RunFault::start(fault),
    }
}
