//! Which Pods wake how many machines of which group.

use super::*;

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
        let mut snapshot = stage.snapshot();
        snapshot.nodes.push(node(1));
        snapshot.pods[0].unschedulable = false;
        snapshot.pods[0].node = Some("node-1".into());
    }
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    stage.snapshot().pods.clear();
    assert_eq!(stage.model.scan().await, LoopEnd::Acted);
    assert_eq!(stage.changes(), [increase(1), delete(&["p/1"])]);
    assert!(stage.snapshot().nodes[0].has_taint(TO_BE_DELETED));
    // The Node stays a while; it is not deleted a second time.
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    assert_eq!(stage.changes().len(), 2);
    assert_eq!(stage.model.events().failures(), []);
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
async fn pods_that_are_all_young_are_waited_for_and_nothing_is_removed_meanwhile() {
    let young = PodSeen {
        age: Duration::from_millis(1_999),
        requests: Resources::parse([("cpu", "5")]).unwrap(),
        ..waiting_pod()
    };
    let snapshot = with_pod(nodes(vec![node(1)]), young.clone());
    let mut stage = stage(running(1), snapshot, impatient()).await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), []);
    stage.snapshot().pods = vec![
        young,
        PodSeen {
            age: Duration::from_secs(2),
            ..waiting_pod()
        },
    ];
    stage.snapshot().nodes[0].allocatable = Resources::default();
    stage.model.scan().await;
    assert_eq!(stage.changes()[0], increase(1), "one is old enough");
}

#[tokio::test]
async fn group_that_wastes_least_of_its_capacity_grows() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let other = |cpu: &str, memory: &str| OtherGroup {
        max: 3,
        template: template_of(cpu, memory),
        ..OtherGroup::default()
    };
    for (cpu, memory, grown) in [
        ("3", "1Gi", "default/zoo"),
        ("16", "64Gi", GROUP),
        // Too small for the Pod, however little it would waste.
        ("2", "1Gi", GROUP),
    ] {
        let world = World {
            others: [("default/zoo", other(cpu, memory))].into(),
            ..spare(6)
        };
        let mut stage = stage(world, snapshot.clone(), impatient()).await;
        stage.model.scan().await;
        let asked = stage.model.calls().of(Rpc::NodeGroupIncreaseSize);
        let asked: Vec<_> = asked.iter().map(|call| call.group.as_str()).collect();
        assert_eq!(asked, [grown], "{cpu} {memory}");
    }
}

#[tokio::test]
async fn groups_that_waste_equally_little_are_drawn_from_by_the_seed() {
    let mut drawn = BTreeMap::<String, usize>::new();
    let mut again = Vec::new();
    for seed in (0..16).chain(0..1) {
        let twin = OtherGroup {
            max: 6,
            template: template(),
            ..OtherGroup::default()
        };
        let world = World {
            others: [("default/twin", twin)].into(),
            ..spare(6)
        };
        let options = Options {
            seed,
            ..impatient()
        };
        let snapshot = with_pod(Snapshot::default(), waiting_pod());
        let mut stage = stage(world, snapshot, options).await;
        stage.model.scan().await;
        let asked = stage.model.calls().of(Rpc::NodeGroupIncreaseSize);
        let group = asked[0].group.clone();
        if seed == 0 {
            again.push(group.clone());
        }
        *drawn.entry(group).or_default() += 1;
    }
    assert_eq!(drawn.len(), 2, "{drawn:?}");
    assert_eq!(again[0], again[1], "the same seed draws the same");
}

#[tokio::test]
async fn group_in_backoff_is_left_out_and_another_one_grows() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let twin = OtherGroup {
        max: 6,
        template: template_of("16", "64Gi"),
        ..OtherGroup::default()
    };
    let world = World {
        others: [("default/twin", twin)].into(),
        failing_once: [("NodeGroupIncreaseSize", 0)].into(),
        ..spare(6)
    };
    let mut stage = stage(world, snapshot, impatient()).await;
    stage.model.scan().await;
    stage.model.scan().await;
    let asked = stage.model.calls().of(Rpc::NodeGroupIncreaseSize);
    let asked: Vec<_> = asked.iter().map(|call| call.group.as_str()).collect();
    assert_eq!(asked, [GROUP, "default/twin"]);
}

#[tokio::test]
async fn failed_increase_leaves_the_group_alone_for_a_while_and_notes_no_request() {
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
async fn increase_whose_answer_was_lost_is_asked_for_again_after_the_backoff() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let world = World {
        failing_once: [("NodeGroupIncreaseSize", 0)].into(),
        ..spare(6)
    };
    let short = Options {
        backoff_initial: Duration::ZERO,
        // Until the machine is on its list, the group has a target and nothing behind it, and is left out.
        instance_refresh: Duration::ZERO,
        ..impatient()
    };
    let mut stage = stage(world, snapshot, short).await;
    stage.model.scan().await;
    // The provider has done it all the same, and the model does not count the machine that boots.
    stage.served.world().target = 1;
    stage.served.world().instances = vec![instance(1, Wire::InstanceCreating, "")];
    next_milliseconds().await;
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1), increase(1)]);
}

#[tokio::test]
async fn made_up_nodes_stand_for_upcoming_machines_and_are_asked_about() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, impatient()).await;
    stage.model.scan().await;
    stage.model.scan().await;
    assert_eq!(stage.model.events().failures(), []);
    let second = PodSeen {
        name: "default/second".into(),
        ..waiting_pod()
    };
    stage.snapshot().pods.push(second);
    stage.served.world().failing = [("NodeGroupForNode", Code::Internal)].into();
    stage.model.scan().await;
    // One question that fails drops the whole scale-up, and the loop goes on.
    assert_eq!(stage.changes(), [increase(1)]);
    let failures = stage.model.events().failures();
    assert!(matches!(failures[..], [Event::ScaleUpDropped { .. }]));
}

#[tokio::test]
async fn question_that_failed_early_in_a_loop_spoils_nothing_if_it_is_answered_later() {
    let snapshot = with_pod(nodes(vec![bystander()]), waiting_pod());
    let mut stage = stage(spare(6), snapshot, impatient()).await;
    // The one about taints of an earlier run.
    stage
        .served
        .world()
        .failing_once
        .insert("NodeGroupForNode", 0);
    stage.model.scan().await;
    assert_eq!(stage.changes(), [increase(1)]);
    assert_eq!(stage.model.events().failures(), []);
}

#[tokio::test]
async fn node_that_joined_and_is_not_ready_yet_keeps_its_pod_waiting_for_it() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let mut stage = stage(spare(6), snapshot, impatient()).await;
    stage.model.scan().await;
    stage.served.world().instances = vec![instance(1, Wire::InstanceRunning, "")];
    let young = NodeSeen {
        ready: false,
        age: Duration::ZERO,
        ..node(1)
    };
    stage.snapshot().nodes.push(young);
    stage.model.scan().await;
    // Neither a second machine nor the end of the first one.
    assert_eq!(stage.changes(), [increase(1)]);
    // Overridden options leave no time to start up, so the same Node counts as broken and the request as met.
    let overridden = Options::default().as_message();
    stage.served.world().options = Some(overridden);
    stage.model.scan().await;
    assert_eq!(stage.changes()[1], increase(1));
}

#[tokio::test]
async fn empty_template_would_crash_the_real_program_and_unimplemented_leaves_the_group_out() {
    let snapshot = with_pod(Snapshot::default(), waiting_pod());
    let world = World {
        template: Vec::new(),
        ..spare(6)
    };
    let mut empty = stage(world, snapshot.clone(), impatient()).await;
    empty.model.scan().await;
    let failures = empty.model.events().failures();
    assert!(matches!(failures[0], Event::WouldPanic { .. }));
    assert_eq!(empty.changes(), []);
    let world = World {
        failing: [("NodeGroupTemplateNodeInfo", Code::Unimplemented)].into(),
        ..spare(6)
    };
    let mut unknown = stage(world, snapshot, impatient()).await;
    unknown.model.scan().await;
    assert_eq!(unknown.model.events().failures(), []);
    assert_eq!(unknown.changes(), []);
}

#[tokio::test]
async fn errors_of_the_read_rpcs_end_the_loop_or_empty_it() {
    for (rpc, end) in [
        ("Refresh", LoopEnd::Aborted),
        ("NodeGroupTargetSize", LoopEnd::Aborted),
        ("NodeGroups", LoopEnd::Quiet),
        ("NodeGroupNodes", LoopEnd::Quiet),
        ("NodeGroupForNode", LoopEnd::Quiet),
        ("NodeGroupTemplateNodeInfo", LoopEnd::Quiet),
    ] {
        let snapshot = with_pod(nodes(vec![bystander()]), waiting_pod());
        let world = World {
            failing: [(rpc, Code::Internal)].into(),
            ..running(4)
        };
        let mut stage = stage(world, snapshot, impatient()).await;
        assert_eq!(stage.model.scan().await, end, "{rpc}");
        assert_eq!(stage.changes(), [], "{rpc}");
    }
}

#[tokio::test]
async fn four_old_unready_nodes_of_six_stop_everything() {
    let off = |number: usize| NodeSeen {
        ready: false,
        ..node(number)
    };
    let mut all: Vec<NodeSeen> = (1..=4).map(off).collect();
    all.extend([node(5), node(6)]);
    let full = |name: &str| PodSeen {
        unschedulable: false,
        requests: node(5).allocatable,
        node: Some(name.into()),
        ..waiting_pod()
    };
    let snapshot = with_pod(with_pod(nodes(all), full("node-5")), full("node-6"));
    let snapshot = with_pod(snapshot, waiting_pod());
    let mut stage = stage(running(6), snapshot, impatient()).await;
    assert_eq!(stage.model.scan().await, LoopEnd::Quiet);
    assert_eq!(stage.changes(), []);
    assert_eq!(stage.model.events().all(), [Event::ClusterUnhealthy]);
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
