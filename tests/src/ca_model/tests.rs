mod fake_provider;

use std::sync::Mutex;

use proto_autoscaler::instance_status::InstanceState as Wire;
use tonic::Code;

use super::{
    cluster::{OwnTaint, TO_BE_DELETED, TaintSeen},
    *,
};
use fake_provider::{GROUP, Served, World, instance, template};

/// A cluster that holds still.
#[derive(Debug, Clone, Default)]
struct Still(Arc<Mutex<Snapshot>>);

impl Cluster for Still {
    async fn snapshot(&self) -> Result<Snapshot> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn set_taint(&self, node: &str, taint: OwnTaint, present: bool) -> Result<()> {
        let mut snapshot = self.0.lock().unwrap();
        for seen in &mut snapshot.nodes {
            if seen.name == node && taint == OwnTaint::ToBeDeleted {
                seen.unschedulable = present;
                seen.taints.retain(|taint| taint.key != TO_BE_DELETED);
                if present {
                    seen.taints.push(to_be_deleted());
                }
            }
        }
        drop(snapshot);
        Ok(())
    }

    async fn evict_from(&self, node: &str) -> Result<()> {
        let mut snapshot = self.0.lock().unwrap();
        snapshot
            .pods
            .retain(|pod| pod.node.as_deref() != Some(node));
        drop(snapshot);
        Ok(())
    }
}

fn to_be_deleted() -> TaintSeen {
    TaintSeen {
        key: TO_BE_DELETED.into(),
        value: String::new(),
        effect: "NoSchedule".into(),
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

fn waiting_pod() -> PodSeen {
    PodSeen {
        name: "default/web".into(),
        unschedulable: true,
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
    let still = Still(Arc::new(Mutex::new(snapshot)));
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

#[tokio::test]
async fn quiet_loop_asks_in_the_order_of_the_real_program() {
    use Rpc::{
        GpuLabel, NodeGroupForNode, NodeGroupGetOptions, NodeGroupNodes, NodeGroupTargetSize,
        NodeGroupTemplateNodeInfo, NodeGroups, Refresh,
    };
    let mut stage = stage(running(2), nodes(vec![node(1)]), Options::default()).await;
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    let first = [
        // Before the first Refresh: taints of an earlier run.
        NodeGroupForNode,
        GpuLabel,
        Refresh,
        NodeGroups,
        NodeGroupForNode,
        NodeGroupTemplateNodeInfo,
        NodeGroupTargetSize,
        NodeGroupNodes,
        NodeGroupGetOptions,
        // The second machine has no Node.
        NodeGroupForNode,
        // Scale-down.
        NodeGroupTargetSize,
        NodeGroupTargetSize,
        NodeGroupGetOptions,
    ];
    assert_eq!(stage.rpcs(), first);
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    // The GPU label and the instance list are kept, everything else is asked again.
    let second = [
        Refresh,
        NodeGroups,
        NodeGroupForNode,
        NodeGroupTemplateNodeInfo,
        NodeGroupTargetSize,
        NodeGroupGetOptions,
        NodeGroupForNode,
        NodeGroupTargetSize,
        NodeGroupTargetSize,
        NodeGroupGetOptions,
    ];
    assert_eq!(stage.rpcs()[first.len()..], second);
    let asked = stage.model.calls().of(NodeGroupForNode);
    assert_eq!(asked.last().unwrap().nodes, ["p/2"]);
}

#[tokio::test]
async fn one_waiting_pod_wakes_one_machine_and_its_end_stops_it() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, impatient()).await;
    assert_eq!(stage.model.scan().await, LoopEnd::Acted);
    // While it boots it counts as upcoming, so nothing more is asked for.
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    assert_eq!(stage.changes(), [increase(1)]);
    stage.served.world().instances = vec![instance(1, Wire::InstanceRunning, "")];
    {
        let mut snapshot = stage.still.0.lock().unwrap();
        snapshot.nodes.push(node(1));
        snapshot.pods[0].unschedulable = false;
        snapshot.pods[0].node = Some("node-1".into());
    }
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    stage.still.0.lock().unwrap().pods.clear();
    assert_eq!(stage.model.scan().await, LoopEnd::Acted);
    assert_eq!(stage.changes(), [increase(1), delete(&["p/1"])]);
    assert!(stage.still.0.lock().unwrap().nodes[0].has_taint(TO_BE_DELETED));
    // The Node stays a while; it is not deleted a second time.
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    assert_eq!(stage.changes().len(), 2);
    assert_eq!(stage.model.events().failures(), []);
}

#[tokio::test]
async fn restarted_model_forgets_what_boots_and_asks_again() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, impatient()).await;
    stage.model.scan().await;
    let address = format!("http://{}", stage.served.address);
    stage.model = CaModel::new(&address, stage.still.clone(), impatient()).unwrap();
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1)]);
    assert_eq!(stage.served.world().target, 2);
}

#[tokio::test]
async fn increase_never_exceeds_the_maximum() {
    let snapshot = Snapshot {
        pods: vec![waiting_pod(); 5],
        ..Snapshot::default()
    };
    let mut stage = stage(spare(3), snapshot, impatient()).await;
    stage.model.scan().await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(3)]);
}

#[tokio::test]
async fn restarted_model_takes_back_taints_of_nodes_in_a_group() {
    let tainted = |number: usize, provider_id: &str| NodeSeen {
        provider_id: provider_id.into(),
        unschedulable: true,
        taints: vec![to_be_deleted()],
        ..node(number)
    };
    let snapshot = nodes(vec![tainted(1, "p/1"), tainted(2, "elsewhere")]);
    let mut stage = stage(running(1), snapshot, Options::default()).await;
    stage.model.scan().await;
    let seen = stage.still.0.lock().unwrap().nodes.clone();
    assert!(!seen[0].has_taint(TO_BE_DELETED) && !seen[0].unschedulable);
    assert!(seen[1].has_taint(TO_BE_DELETED) && seen[1].unschedulable);
}

#[tokio::test]
async fn errors_of_the_read_rpcs_end_the_loop_or_empty_it() {
    for (rpc, end) in [
        ("Refresh", LoopEnd::Aborted),
        ("NodeGroupTargetSize", LoopEnd::Aborted),
        ("NodeGroupNodes", LoopEnd::Aborted),
        ("NodeGroups", LoopEnd::Quiet),
        ("NodeGroupForNode", LoopEnd::Quiet),
        ("NodeGroupTemplateNodeInfo", LoopEnd::Quiet),
    ] {
        let snapshot = with_pod(Snapshot::default(), waiting_pod());
        let world = World {
            failing: [(rpc, Code::Internal)].into(),
            ..running(1)
        };
        let mut stage = stage(world, snapshot, impatient()).await;
        assert_eq!(stage.model.scan().await, end, "{rpc}");
        assert_eq!(stage.changes(), [], "{rpc}");
    }
}

#[tokio::test]
async fn failed_increase_leaves_the_group_alone_for_a_while() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let world = World {
        failing: [("NodeGroupIncreaseSize", Code::ResourceExhausted)].into(),
        ..spare(6)
    };
    let mut stage = stage(world, snapshot, impatient()).await;
    stage.model.scan().await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1)]);
    let failures = stage.model.events().failures();
    assert!(matches!(&failures[..], [Event::FailedToScaleUpGroup { group, .. }] if group == GROUP));
}

#[tokio::test]
async fn machine_that_cannot_be_created_is_deleted_in_every_loop_until_it_is_gone() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, impatient()).await;
    stage.model.scan().await;
    {
        let mut world = stage.served.world();
        world.instances = vec![instance(1, Wire::InstanceCreating, "BOOT_TIMEOUT")];
        world.failing = [("NodeGroupDeleteNodes", Code::Unavailable)].into();
    }
    stage.model.scan().await;
    stage.served.world().failing.clear();
    stage.model.scan().await;
    stage.model.scan().await;
    let twice = [increase(1), delete(&["p/1"]), delete(&["p/1"])];
    assert_eq!(stage.changes(), twice);
    let told = stage.model.events().all();
    let failed = |event: &&Event| matches!(event, Event::ScaleUpFailed { .. });
    assert_eq!(told.iter().filter(failed).count(), 1);
}

#[tokio::test]
async fn empty_template_would_crash_the_real_program() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let world = World {
        template: Vec::new(),
        ..spare(6)
    };
    let mut stage = stage(world, snapshot, impatient()).await;
    stage.model.scan().await;
    let failures = stage.model.events().failures();
    assert!(matches!(failures[0], Event::WouldPanic { .. }));
    assert_eq!(stage.changes(), []);
}

#[tokio::test]
async fn refused_removal_takes_taint_and_cordon_off() {
    let world = World {
        failing: [("NodeGroupDeleteNodes", Code::FailedPrecondition)].into(),
        ..running(1)
    };
    let mut stage = stage(world, nodes(vec![node(1)]), impatient()).await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [delete(&["p/1"])]);
    let seen = stage.still.0.lock().unwrap().nodes[0].clone();
    assert!(!seen.has_taint(TO_BE_DELETED) && !seen.unschedulable);
    let failures = stage.model.events().failures();
    assert!(matches!(failures[0], Event::ScaleDownFailed { .. }));
}

#[tokio::test]
async fn empty_nodes_go_together_with_an_rpc_each() {
    let all = (1..=3).map(node).collect();
    let mut stage = stage(running(3), nodes(all), impatient()).await;
    stage.model.scan().await;
    let mut changes = stage.changes();
    changes.sort_by_key(|(_, _, ids)| ids.clone());
    assert_eq!(
        changes,
        [delete(&["p/1"]), delete(&["p/2"]), delete(&["p/3"])]
    );
}

#[tokio::test]
async fn minimum_that_counts_is_the_one_told_with_the_node() {
    let world = World {
        told_min: Some(2),
        ..running(3)
    };
    let all = (1..=3).map(node).collect();
    let mut stage = stage(world, nodes(all), impatient()).await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [delete(&["p/1"])]);
}

#[tokio::test]
async fn node_that_must_stay_stays() {
    let keep = NodeSeen {
        annotations: [(cluster::SCALE_DOWN_DISABLED.to_owned(), "true".to_owned())].into(),
        ..node(1)
    };
    let mut stage = stage(running(1), nodes(vec![keep]), impatient()).await;
    stage.model.scan().await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), []);
}

#[tokio::test]
async fn four_old_unready_nodes_of_six_stop_everything() {
    let off = |number: usize| NodeSeen {
        ready: false,
        ..node(number)
    };
    let mut all: Vec<NodeSeen> = (1..=4).map(off).collect();
    all.extend([node(5), node(6)]);
    let snapshot = with_pod(nodes(all), waiting_pod());
    let full = PodSeen {
        unschedulable: false,
        requests: node(5).allocatable,
        ..waiting_pod()
    };
    let on = |name: &str| PodSeen {
        node: Some(name.into()),
        ..full.clone()
    };
    let snapshot = with_pod(with_pod(snapshot, on("node-5")), on("node-6"));
    let mut stage = stage(running(6), snapshot, impatient()).await;
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    assert_eq!(stage.changes(), []);
    assert_eq!(stage.model.events().all(), [Event::ClusterUnhealthy]);
}

#[tokio::test]
async fn instance_list_is_fresh_only_while_the_group_grows() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, Options::default()).await;
    stage.model.scan().await;
    stage.model.scan().await;
    stage.model.scan().await;
    assert_eq!(stage.model.calls().of(Rpc::NodeGroupNodes).len(), 3);
    stage.still.0.lock().unwrap().pods.clear();
    let joined = node(1);
    stage.still.0.lock().unwrap().nodes = vec![joined];
    // The list is dropped for the last time in the loop before the machine has joined.
    stage.model.scan().await;
    stage.model.scan().await;
    stage.model.scan().await;
    assert_eq!(stage.model.calls().of(Rpc::NodeGroupNodes).len(), 4);
}

#[tokio::test]
async fn finish_sends_the_cleanup() {
    let stage = stage(spare(1), Snapshot::default(), Options::default()).await;
    let calls = stage.model.calls();
    stage.model.finish().await.unwrap();
    assert_eq!(calls.counts(), [(Rpc::Cleanup, 1)].into());
}

#[tokio::test]
async fn toy_workload_wakes_machines_and_fills_those_that_are_listed_as_running() {
    let served = Served::start(spare(6)).await;
    let address = format!("http://{}", served.address);
    let channel = Endpoint::from_shared(address.clone())
        .unwrap()
        .connect_lazy();
    let four_cores = Resources::parse([("cpu", "4"), ("pods", "10")]).unwrap();
    let slot = Resources::parse([("cpu", "2")]).unwrap();
    let machines = cluster::toy::listed_as_running(channel, four_cores);
    let workload = "0s:3".parse().unwrap();
    let toy = Arc::new(cluster::toy::Toy::new(workload, slot, machines));
    let mut model = CaModel::new(&address, Arc::clone(&toy), Options::default()).unwrap();
    assert_eq!(model.scan().await, LoopEnd::Acted);
    assert_eq!(served.world().target, 2);
    assert_eq!(toy.slots().running, BTreeMap::new());
    served.world().instances[0] = instance(1, Wire::InstanceRunning, "");
    assert_eq!(model.scan().await, LoopEnd::Quiet);
    let slots = toy.slots();
    assert_eq!(
        (slots.wanted, slots.running),
        (3, [("1".to_owned(), 2)].into())
    );
    assert_eq!(model.calls().of(Rpc::NodeGroupIncreaseSize).len(), 1);
    assert_eq!(model.events().failures(), []);
}
