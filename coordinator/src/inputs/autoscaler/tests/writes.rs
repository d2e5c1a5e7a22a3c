//! Size changes: what the engine is asked, and what a real core and a store in memory make of it.

use std::sync::atomic::{AtomicBool, Ordering};

use coordinator_core::{
    AgentId, Declared, ForceOff, GroupSpec, Joins, Lab, LocalVolumePolicy, MachineRecord,
    MachineSpec, Mode, NodeRef, Policy, PowerPolicy, PowerRecord, PowerState, Rejected,
    RejectedKind, StopMethod, StoreFault, Timeouts, WakeMethod, WakeOnLan,
};

use super::*;

pub(super) fn increase(delta: i32) -> NodeGroupIncreaseSizeRequest {
    NodeGroupIncreaseSizeRequest {
        id: "default/workers".into(),
        delta,
    }
}

pub(super) fn delete(nodes: Vec<ExternalGrpcNode>) -> NodeGroupDeleteNodesRequest {
    NodeGroupDeleteNodesRequest {
        id: "default/workers".into(),
        nodes,
    }
}

pub(super) fn decrease(delta: i32) -> NodeGroupDecreaseTargetSizeRequest {
    NodeGroupDecreaseTargetSizeRequest {
        id: "default/workers".into(),
        delta,
    }
}

fn target() -> NodeGroupTargetSizeRequest {
    NodeGroupTargetSizeRequest {
        id: "default/workers".into(),
    }
}

#[tokio::test]
async fn arguments_that_never_make_sense_are_refused_before_the_engine() {
    let mut bench = Bench::showing(lab([group("default/workers")])).await;
    let client = &mut bench.client;
    let nameless = NodeGroupIncreaseSizeRequest {
        id: String::new(),
        delta: 1,
    };
    let codes = [
        code(client.node_group_increase_size(increase(0)).await),
        code(client.node_group_increase_size(increase(-1)).await),
        code(client.node_group_increase_size(nameless).await),
        code(client.node_group_delete_nodes(delete(Vec::new())).await),
        code(
            client
                .node_group_delete_nodes(delete(vec![node("p", "n"), node("", "")]))
                .await,
        ),
        code(client.node_group_decrease_target_size(decrease(0)).await),
        code(client.node_group_decrease_target_size(decrease(2)).await),
    ];
    assert_eq!(codes, [Code::InvalidArgument; 7]);
    assert!(bench.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_increase_tells_what_was_looked_at_before_it() {
    let mut bench = Bench::showing(lab([group("default/workers")])).await;
    let client = &mut bench.client;
    client.node_group_increase_size(increase(1)).await.unwrap();
    // Other reads show no target, so they are no look.
    client.node_groups(NodeGroupsRequest {}).await.unwrap();
    client
        .node_group_nodes(NodeGroupNodesRequest {
            id: "default/workers".into(),
        })
        .await
        .unwrap();
    client.node_group_increase_size(increase(1)).await.unwrap();
    client.node_group_target_size(target()).await.unwrap();
    client.node_group_increase_size(increase(2)).await.unwrap();
    let asked = bench.asked.lock().unwrap();
    let read: Vec<_> = asked.iter().map(|(request, _)| request.clone()).collect();
    let wish = |delta, looked| coordinator_core::Request::Increase {
        group: workers(),
        delta,
        looked,
    };
    assert_eq!(read, [wish(1, 0), wish(1, 0), wish(2, 7)]);
}

#[tokio::test]
async fn a_refresh_is_a_look_at_every_group() {
    let mut bench = Bench::showing(lab([group("default/workers")])).await;
    bench.client.refresh(RefreshRequest {}).await.unwrap();
    bench
        .client
        .node_group_increase_size(increase(1))
        .await
        .unwrap();
    let asked = bench.asked.lock().unwrap();
    assert!(matches!(
        asked[0].0,
        coordinator_core::Request::Increase { looked: 7, .. }
    ));
}

#[tokio::test]
async fn nodes_and_deltas_arrive_as_they_were_sent() {
    let mut bench = Bench::showing(lab([group("default/workers")])).await;
    bench
        .client
        .node_group_delete_nodes(delete(vec![node("homelab://default/nuc1", "nuc1")]))
        .await
        .unwrap();
    bench
        .client
        .node_group_decrease_target_size(decrease(-2))
        .await
        .unwrap();
    let asked = bench.asked.lock().unwrap();
    let nodes = vec![NodeRef {
        provider_id: "homelab://default/nuc1".into(),
        name: "nuc1".into(),
    }];
    assert_eq!(
        asked[0].0,
        coordinator_core::Request::Delete {
            group: workers(),
            nodes
        }
    );
    assert_eq!(
        asked[1].0,
        coordinator_core::Request::Decrease {
            group: workers(),
            delta: -2
        }
    );
}

#[tokio::test]
async fn the_callers_time_limit_becomes_the_deadline() {
    let mut bench = Bench::showing(lab([group("default/workers")])).await;
    let before = crate::clock::boot_ms();
    let mut asked = Request::new(increase(1));
    asked.set_timeout(Duration::from_secs(50));
    bench.client.node_group_increase_size(asked).await.unwrap();
    bench
        .client
        .node_group_increase_size(increase(1))
        .await
        .unwrap();
    let after = crate::clock::boot_ms();
    let asked = bench.asked.lock().unwrap();
    let within = |deadline_ms: u64, limit_ms: u64| {
        (before + limit_ms..=after + limit_ms).contains(&deadline_ms)
    };
    // The client may round its limit down on the wire; the reserve is 400 ms.
    assert!(
        within(asked[0].1, 49_600) || within(asked[0].1, 49_599),
        "{}",
        asked[0].1
    );
    assert!(within(asked[1].1, 5_000 - 400), "{}", asked[1].1);
}

#[tokio::test]
async fn every_kind_of_rejection_has_its_code_and_keeps_its_words() {
    for (kind, code) in [
        (RejectedKind::NotFound, Code::NotFound),
        (RejectedKind::InvalidArgument, Code::InvalidArgument),
        (RejectedKind::FailedPrecondition, Code::FailedPrecondition),
        (RejectedKind::ResourceExhausted, Code::ResourceExhausted),
        (RejectedKind::Unavailable, Code::Unavailable),
        (RejectedKind::DeadlineExceeded, Code::DeadlineExceeded),
    ] {
        let rejected = Rejected {
            kind,
            message: "4 are asked for".into(),
        };
        let mut bench =
            Bench::answering(lab([group("default/workers")]), Answer::Rejected(rejected)).await;
        let status = bench
            .client
            .node_group_increase_size(increase(4))
            .await
            .unwrap_err();
        assert_eq!((status.code(), status.message()), (code, "4 are asked for"));
    }
}

/// A store in memory: it answers at once, or refuses while `broken`.
struct Store {
    facts: engine::Facts,
    broken: Arc<AtomicBool>,
}

impl Outputs for Store {
    fn perform(&mut self, action: Action) {
        let broken = self.broken.load(Ordering::SeqCst);
        let fault = StoreFault::Unavailable;
        let fact = match action {
            Action::Commit { group, .. } if broken => Fact::CommitFailed { group, fault },
            Action::Commit { group, record, .. } => Fact::Committed {
                group,
                sequence: record.sequence,
            },
            Action::Record { machine, .. } if broken => Fact::RecordFailed { machine, fault },
            Action::Record {
                machine, version, ..
            } => Fact::Recorded { machine, version },
            Action::RecordAgent { .. }
            | Action::Answer { .. }
            | Action::Send(_)
            | Action::Ping { .. }
            | Action::Fence { .. }
            | Action::ListPods { .. }
            | Action::Evict { .. }
            | Action::PatchNode { .. }
            | Action::RetireNode { .. }
            | Action::Event(_) => return,
        };
        let facts = self.facts.clone();
        tokio::spawn(async move { facts.tell(fact).await });
    }
}

/// A real core with a group of sleeping machines.
pub(super) async fn sleeping(machines: usize, policy: Policy) -> (Client, Handle, Arc<AtomicBool>) {
    let (engine, seat) = engine::open(crate::mandate::Mandate::standing());
    let broken = Arc::new(AtomicBool::new(false));
    let store = Store {
        facts: engine.facts.clone(),
        broken: Arc::clone(&broken),
    };
    tokio::spawn(seat.take(Lab::new(1, policy), store).run());
    let mut facts = vec![Fact::GroupApplied(spec())];
    for number in 0..machines {
        let spec = machine(number);
        let record = MachineRecord {
            power: PowerRecord {
                state: PowerState::Off,
                ..PowerRecord::default()
            },
            ..MachineRecord::default()
        };
        let stored = Fact::MachineStored {
            machine: spec.id.clone(),
            record,
        };
        facts.extend([Fact::MachineApplied(spec), stored]);
    }
    facts.extend([Fact::Loaded, Fact::Leading { epoch: 1 }]);
    for fact in facts {
        engine.facts.tell(fact).await;
    }
    let mut view = engine.view.clone();
    let loaded = view.wait_for(|view| view.serving && view.groups.contains_key(&workers()));
    tokio::time::timeout(Duration::from_secs(30), loaded)
        .await
        .unwrap()
        .unwrap();
    let client = served(engine.clone(), Callers::default()).await;
    (client, engine, broken)
}

pub(super) fn spec() -> GroupSpec {
    GroupSpec {
        id: workers(),
        mode: Mode::Autoscaler,
        min_size: 0,
        max_size: None,
        node_object_policy: NodeObjectPolicy::Delete,
        declared: Declared::default(),
        scale_down: None,
        energy: None,
        local_volume_policy: LocalVolumePolicy::Protect,
        require_proof: false,
        paused: false,
        concerns: coordinator_core::Concerns::new(),
    }
}

fn machine(number: usize) -> MachineSpec {
    let name = format!("nuc{number}");
    MachineSpec {
        id: MachineId::new(&name),
        namespace: "default".into(),
        group: workers(),
        agent: AgentId::new(&name),
        node_name: name.into(),
        power: PowerPolicy::Auto,
        joins: Joins::Kubelet,
        wake: vec![WakeMethod::WakeOnLan],
        stop: vec![StopMethod::Agent],
        force_off: ForceOff::Never,
        provider_id: None,
        wake_on_lan: Some(WakeOnLan {
            mac: format!("02:00:00:00:00:{number:02x}"),
            segment: "default".into(),
            ports: vec![9],
            broadcast: None,
            secure_on: None,
        }),
        redfish: None,
        timeouts: Timeouts {
            boot_ms: 600_000,
            drain_ms: 600_000,
            stop_ms: 300_000,
            off_hold_ms: 60_000,
        },
        fault: None,
        concerns: coordinator_core::Concerns::new(),
    }
}

pub(super) async fn size(client: &mut Client) -> i32 {
    client
        .node_group_target_size(target())
        .await
        .unwrap()
        .into_inner()
        .target_size
}

async fn ids(client: &mut Client) -> Vec<String> {
    let asked = NodeGroupNodesRequest {
        id: "default/workers".into(),
    };
    let listed = client
        .node_group_nodes(asked)
        .await
        .unwrap()
        .into_inner()
        .instances;
    listed.into_iter().map(|instance| instance.id).collect()
}

#[tokio::test]
async fn an_increase_is_seen_by_the_very_next_read_and_its_machines_belong_to_the_group() {
    let (mut client, _engine, _) = sleeping(4, Policy::default()).await;
    assert_eq!(size(&mut client).await, 0);
    client.node_group_increase_size(increase(3)).await.unwrap();
    assert_eq!(size(&mut client).await, 3);
    let ids = ids(&mut client).await;
    assert_eq!(ids.len(), 3);
    for id in ids {
        let asked = NodeGroupForNodeRequest {
            node: Some(node(&id, &id)),
        };
        let found = client
            .node_group_for_node(asked)
            .await
            .unwrap()
            .into_inner()
            .node_group
            .unwrap();
        assert_eq!(found.id, "default/workers", "{id}");
    }
}

#[tokio::test]
async fn five_identical_calls_at_once_have_one_effect_and_a_look_between_makes_two() {
    let (mut client, _engine, _) = sleeping(6, Policy::default()).await;
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.node_group_increase_size(increase(1)).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(size(&mut client).await, 1);
    client.node_group_increase_size(increase(1)).await.unwrap();
    assert_eq!(
        size(&mut client).await,
        2,
        "the size was looked at, so this is a new wish"
    );
    client.refresh(RefreshRequest {}).await.unwrap();
    client.node_group_increase_size(increase(1)).await.unwrap();
    assert_eq!(size(&mut client).await, 3);
}

#[tokio::test]
async fn more_than_there_are_is_refused_whole() {
    let (mut client, _engine, _) = sleeping(2, Policy::default()).await;
    assert_eq!(
        code(client.node_group_increase_size(increase(3)).await),
        Code::ResourceExhausted
    );
    assert_eq!(size(&mut client).await, 0);
    let ghosts = NodeGroupIncreaseSizeRequest {
        id: "default/ghosts".into(),
        delta: 1,
    };
    assert_eq!(
        code(client.node_group_increase_size(ghosts).await),
        Code::NotFound
    );
}

#[tokio::test]
async fn deleting_is_by_identity_and_a_repetition_changes_nothing() {
    let (mut client, _engine, _) = sleeping(3, Policy::default()).await;
    client.node_group_increase_size(increase(2)).await.unwrap();
    let first = ids(&mut client).await.remove(0);
    let foreign = delete(vec![
        node(&first, &first),
        node("aws:///i-1", "ip-10-0-0-1"),
    ]);
    assert_eq!(
        code(client.node_group_delete_nodes(foreign).await),
        Code::InvalidArgument
    );
    assert_eq!(size(&mut client).await, 2);
    for _twice in 0..2 {
        client
            .node_group_delete_nodes(delete(vec![node(&first, &first)]))
            .await
            .unwrap();
        assert_eq!(size(&mut client).await, 1);
    }
}

#[tokio::test]
async fn without_a_store_nothing_changes_and_the_caller_is_told() {
    let (mut client, _engine, broken) = sleeping(2, Policy::default()).await;
    broken.store(true, Ordering::SeqCst);
    assert_eq!(
        code(client.node_group_increase_size(increase(1)).await),
        Code::Unavailable
    );
    assert_eq!(size(&mut client).await, 0);
}

#[tokio::test]
async fn a_call_whose_time_is_up_on_arrival_has_no_effect() {
    let (mut client, engine, _) = sleeping(2, Policy::default()).await;
    let wish = crate::inputs::autoscaler::writes::increase(&increase(1), 0).unwrap();
    let Answer::Rejected(rejected) = engine.ask(wish, crate::clock::boot_ms()).await else {
        panic!("rejected");
    };
    assert_eq!(rejected.kind, RejectedKind::DeadlineExceeded);
    assert_eq!(size(&mut client).await, 0);
}
