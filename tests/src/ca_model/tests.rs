mod caches;
mod draining;
mod fake_provider;
mod order;
mod repairs;
mod restart;
mod scale_down;
mod scale_up;

use std::sync::Mutex;

use proto_autoscaler::instance_status::InstanceState as Wire;
use tonic::Code;

use crate::recorder::clock_ms;

use super::{
    cluster::{DELETION_CANDIDATE, OwnTaint, TO_BE_DELETED, TaintSeen, unix_seconds},
    *,
};
use fake_provider::{GROUP, OtherGroup, Served, World, instance, template, template_of};

/// What becomes of Pods that are evicted.
#[derive(Debug, Clone, Copy, Default)]
enum Leaving {
    /// They are gone.
    #[default]
    AtOnce,
    /// They end when the test says so.
    WhenTheTestSays,
    /// They must stay.
    Never,
}

/// A cluster that holds still.
#[derive(Debug, Clone, Default)]
struct Still(Arc<Mutex<Snapshot>>, Arc<Mutex<Leaving>>);

impl Still {
    fn drop_pods_of(&self, node: &str) {
        let mut snapshot = self.0.lock().unwrap();
        snapshot
            .pods
            .retain(|pod| pod.node.as_deref() != Some(node));
    }
}

impl Cluster for Still {
    async fn snapshot(&self) -> Result<Snapshot> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn set_taint(&self, node: &str, taint: OwnTaint, present: bool) -> Result<()> {
        let mut snapshot = self.0.lock().unwrap();
        for seen in &mut snapshot.nodes {
            let key = match taint {
                OwnTaint::ToBeDeleted => TO_BE_DELETED,
                OwnTaint::DeletionCandidate => DELETION_CANDIDATE,
            };
            if seen.name != node || seen.has_taint(key) == present {
                continue;
            }
            seen.taints.retain(|taint| taint.key != key);
            if present {
                seen.taints.push(own_taint(key));
            }
            if taint == OwnTaint::ToBeDeleted {
                seen.unschedulable = present;
            }
        }
        drop(snapshot);
        Ok(())
    }

    async fn evict_from(&self, node: &str, _grace: Duration) -> Result<usize> {
        match *self.1.lock().unwrap() {
            Leaving::AtOnce => self.drop_pods_of(node),
            // The test ends them.
            Leaving::WhenTheTestSays => {}
            Leaving::Never => return Ok(1),
        }
        Ok(0)
    }
}

fn own_taint(key: &str) -> TaintSeen {
    TaintSeen {
        key: key.into(),
        value: unix_seconds().to_string(),
        effect: if key == TO_BE_DELETED {
            "NoSchedule".into()
        } else {
            "PreferNoSchedule".into()
        },
    }
}

fn node(number: usize) -> NodeSeen {
    NodeSeen {
        name: format!("node-{number}"),
        provider_id: format!("p/{number}"),
        ready: true,
        age: Duration::from_secs(3_600),
        allocatable: Resources::parse([("cpu", "4"), ("memory", "8Gi"), ("pods", "110")]).unwrap(),
        ..NodeSeen::default()
    }
}

/// Of no group, and too small for anything.
fn bystander() -> NodeSeen {
    NodeSeen {
        provider_id: "elsewhere".into(),
        allocatable: Resources::default(),
        ..node(99)
    }
}

fn waiting_pod() -> PodSeen {
    PodSeen {
        name: "default/web".into(),
        unschedulable: true,
        age: Duration::from_secs(60),
        requests: Resources::parse([("cpu", "3"), ("memory", "1Gi"), ("pods", "1")]).unwrap(),
        ..PodSeen::default()
    }
}

fn spare(max: i32) -> World {
    World {
        max,
        template: template(),
        ..World::default()
    }
}

/// A group whose first machines run.
fn running(count: usize) -> World {
    World {
        target: i32::try_from(count).unwrap(),
        instances: (1..=count)
            .map(|number| instance(number, Wire::InstanceRunning, ""))
            .collect(),
        ..spare(6)
    }
}

/// Everything at once, so that a loop shows it.
fn impatient() -> Options {
    Options {
        unneeded_time: Duration::ZERO,
        unready_time: Duration::ZERO,
        delay_after_add: Duration::ZERO,
        ..Options::default()
    }
}

struct Stage {
    served: Served,
    still: Still,
    model: CaModel<Still>,
}

async fn stage(world: World, snapshot: Snapshot, options: Options) -> Stage {
    let served = Served::start(world).await;
    let still = Still(Arc::new(Mutex::new(snapshot)), Arc::default());
    let address = format!("http://{}", served.address);
    let model = CaModel::new(&address, still.clone(), options).unwrap();
    Stage {
        served,
        still,
        model,
    }
}

fn nodes(nodes: Vec<NodeSeen>) -> Snapshot {
    Snapshot {
        nodes,
        pods: Vec::new(),
    }
}

fn with_pod(mut snapshot: Snapshot, pod: PodSeen) -> Snapshot {
    snapshot.pods.push(pod);
    snapshot
}

impl Stage {
    fn snapshot(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.still.0.lock().unwrap()
    }

    /// Another model in the place of this one, as after a crash.
    fn restart(&mut self, options: Options) {
        let address = format!("http://{}", self.served.address);
        self.model = CaModel::new(&address, self.still.clone(), options).unwrap();
    }

    /// How often an RPC was sent so far.
    fn sent(&self, rpc: Rpc) -> usize {
        self.model.calls().of(rpc).len()
    }

    fn rpcs(&self) -> Vec<Rpc> {
        let calls = self.model.calls().all().into_iter();
        calls.map(|call| call.rpc).collect()
    }

    /// The size changes so far: RPC, delta, ids.
    fn changes(&self) -> Vec<(Rpc, i32, Vec<String>)> {
        let calls = self.model.calls().all().into_iter();
        calls
            .filter(|call| call.rpc.changes_size())
            .map(|call| (call.rpc, call.delta, call.nodes))
            .collect()
    }
}

fn increase(delta: i32) -> (Rpc, i32, Vec<String>) {
    (Rpc::NodeGroupIncreaseSize, delta, Vec::new())
}

fn delete(ids: &[&str]) -> (Rpc, i32, Vec<String>) {
    let ids = ids.iter().map(|&id| id.to_owned()).collect();
    (Rpc::NodeGroupDeleteNodes, 0, ids)
}

fn decrease(delta: i32) -> (Rpc, i32, Vec<String>) {
    (Rpc::NodeGroupDecreaseTargetSize, delta, Vec::new())
}

/// Waits until clocks show that a time limit of a millisecond has passed.
async fn next_milliseconds() {
    let now = clock_ms();
    while clock_ms() < now + 2 {
        tokio::task::yield_now().await;
    }
}
