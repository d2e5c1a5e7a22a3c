//! Nodes with Pods: evicted first, waited for, and only then deleted (core/scaledown/actuation/drain.go).

use super::*;

/// A Node with a Pod that fits elsewhere, in a cluster whose Pods leave as `leaving` says.
async fn with_a_pod(leaving: Leaving, options: Options) -> Stage {
    let elsewhere = NodeSeen {
        allocatable: Resources::parse([("cpu", "64"), ("memory", "64Gi"), ("pods", "110")])
            .unwrap(),
        ..bystander()
    };
    let pod = PodSeen {
        node: Some("node-1".into()),
        unschedulable: false,
        requests: Resources::parse([("cpu", "1")]).unwrap(),
        ..waiting_pod()
    };
    let snapshot = with_pod(nodes(vec![node(1), elsewhere]), pod);
    let stage = stage(running(1), snapshot, options).await;
    *stage.still.1.lock().unwrap() = leaving;
    stage
}

fn failed(stage: &Stage) -> Vec<String> {
    let failures = stage.model.events().failures().into_iter();
    let why = failures.filter_map(|event| {
        let Event::ScaleDownFailed { why, .. } = event else {
            return None;
        };
        Some(why)
    });
    why.collect()
}

#[tokio::test]
async fn node_is_deleted_once_its_last_pod_is_gone_and_not_before() {
    let options = Options {
        // An evicted Pod may take longer to end than it may take to evict it.
        eviction_time: Duration::from_millis(1),
        ..impatient()
    };
    let mut stage = with_a_pod(Leaving::WhenTheTestSays, options).await;
    stage.model.step().await;
    for _ in 0..3 {
        stage.model.step().await;
        assert_eq!(stage.changes(), [], "its Pod still ends");
        let seen = stage.snapshot().nodes[0].clone();
        assert!(seen.has_taint(TO_BE_DELETED) && seen.unschedulable);
    }
    stage.still.drop_pods_of("node-1");
    stage.model.removals.settle().await;
    assert_eq!(stage.changes(), [delete(&["p/1"])]);
    assert_eq!(failed(&stage), [""; 0]);
}

#[tokio::test]
async fn node_is_given_back_whose_pods_must_stay_or_do_not_end_in_time() {
    let no_time = Options {
        eviction_time: Duration::from_millis(1),
        graceful_termination: Duration::from_millis(1),
        eviction_headroom: Duration::ZERO,
        ..impatient()
    };
    for (leaving, said) in [
        (Leaving::Never, "may not be evicted"),
        (Leaving::WhenTheTestSays, "are still there"),
    ] {
        let mut stage = with_a_pod(leaving, no_time.clone()).await;
        stage.model.scan().await;
        assert_eq!(stage.changes(), [], "{leaving:?}");
        let why = failed(&stage);
        assert!(
            matches!(&why[..], [why] if why.contains(said)),
            "{leaving:?}: {why:?}"
        );
        let seen = stage.snapshot().nodes[0].clone();
        assert!(!seen.has_taint(TO_BE_DELETED) && !seen.unschedulable);
    }
}
