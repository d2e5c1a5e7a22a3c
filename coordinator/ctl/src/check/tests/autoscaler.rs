//! The autoscaler's flags against machines and Nodes.

use super::*;
use crate::check::autoscaler;

/// The Group, more of the Node, the autoscaler's flags, the lines.
type Row = (Value, Value, &'static [&'static str], &'static str);

#[test]
fn the_autoscaler_waits_for_longer_than_any_machine_may_boot() {
    let slow = || json!({"timeouts": {"boot": "12m"}});
    let own = json!({"scaleDown": {"maxNodeProvisionDuration": "11m"}});
    let rows: [Row; 6] = [
        (
            json!({}),
            slow(),
            &[],
            "ok    autoscaler   the flags of kube-system/ca-1 fit this lab",
        ),
        (
            json!({}),
            slow(),
            &["--max-node-provision-time=12m"],
            "fail  autoscaler   nuc1 may take 12m to boot, but --max-node-provision-time of kube-system/ca-1 is 12m: it would be given up while it boots → raise that above 12m, *",
        ),
        (
            json!({}),
            slow(),
            &["--max-node-provision-time=12m1s"],
            "ok    autoscaler *",
        ),
        (
            own,
            slow(),
            &[],
            "fail  autoscaler   nuc1 may take 12m to boot, but maxNodeProvisionDuration of its Group is 11m: *",
        ),
        (
            json!({"mode": "Manual", "targetSize": 1}),
            slow(),
            &["--max-node-provision-time=5m"],
            "ok    autoscaler *",
        ),
        (
            json!({}),
            slow(),
            &["--max-node-provision-time=$(TIME)"],
            "warn  autoscaler   kube-system/ca-1 has --max-node-provision-time=$(TIME), which cannot be read from its pod → *",
        ),
    ];
    for (group, spec, flags, line) in rows {
        let lab = lab_with(group, &[("nuc1", spec, proven())]);
        let cluster = cluster(json!([core("nuc1", "True")]), json!([autoscaler(flags)]));
        assert_lines(line, &autoscaler::judge(&lab, &cluster), &[line]);
    }
}

#[test]
fn the_autoscaler_must_be_told_to_ask_us_and_where_we_are() {
    for (flag, line) in [
        (
            "--cloud-provider=clusterapi",
            "fail  autoscaler   kube-system/ca-1 runs with --cloud-provider=clusterapi, so it never asks us → *",
        ),
        (
            "--cloud-config=",
            "fail  autoscaler   kube-system/ca-1 has no --cloud-config, *",
        ),
    ] {
        let lab = lab(&[("nuc1", json!({}), proven())]);
        let cluster = cluster(json!([core("nuc1", "True")]), json!([autoscaler(&[flag])]));
        assert_lines(line, &autoscaler::judge(&lab, &cluster), &[line]);
    }
}

#[test]
fn a_boot_that_was_nearly_too_slow_is_told() {
    let nearly = json!({"wake": {"provenAt": "2026-11-18T09:00:00Z", "bootSeconds": [60, 480]}});
    let lab = lab(&[("nuc1", json!({}), nearly)]);
    let cluster = cluster(json!([core("nuc1", "True")]), json!([autoscaler(&[])]));
    let lines = [
        "ok    autoscaler *",
        "warn  boots        nuc1 took 480 s to boot, of 10m allowed → write a longer timeouts.boot for nuc1, *",
    ];
    assert_lines("nearly", &autoscaler::judge(&lab, &cluster), &lines);
}

#[test]
fn an_autoscaler_that_does_not_run_or_is_not_seen_is_said() {
    let lab = lab(&[("nuc1", json!({}), proven())]);
    let mut waiting = autoscaler(&[]);
    waiting["status"]["phase"] = json!("Pending");
    let absent = cluster(json!([]), json!([waiting]));
    let line = "warn  autoscaler   no pod or Deployment of a cluster-autoscaler is seen, and none has called → *";
    assert_lines("absent", &autoscaler::judge(&lab, &absent), &[line]);

    let page = json!({"brokerUp": true, "autoscalerUserAgent": "grpc-go/1.72"});
    let outside = ClusterFacts {
        page: Ok(from_value(page).unwrap()),
        ..cluster(json!([]), json!([]))
    };
    let line =
        "warn  autoscaler   grpc-go/1.72 calls us, but no pod of a cluster-autoscaler is seen, *";
    assert_lines("outside", &autoscaler::judge(&lab, &outside), &[line]);

    let deployment = json!([{"metadata": {"name": "ca", "namespace": "kube-system"},
        "spec": {"selector": {}, "template": {"spec": autoscaler(&["--cloud-provider=aws"])["spec"]}}}]);
    let idle = ClusterFacts {
        deployments: Ok(from_value(deployment).unwrap()),
        ..cluster(json!([]), json!([]))
    };
    let lines = [
        "fail  autoscaler   Deployment kube-system/ca has no running pod → *",
        "fail  autoscaler   kube-system/ca runs with --cloud-provider=aws, *",
    ];
    assert_lines("idle", &autoscaler::judge(&lab, &idle), &lines);
}

#[test]
fn unready_nodes_are_counted_as_the_autoscaler_counts_them() {
    let names: Vec<String> = (1..=6).map(|n| format!("n{n}")).collect();
    let machines: Vec<(&str, Value, Value)> = names
        .iter()
        .map(|n| (n.as_str(), json!({}), proven()))
        .collect();
    let nodes = |unready: usize, ready: usize| {
        let dark = (1..=unready).map(|n| core(&format!("n{n}"), "Unknown"));
        json!(
            dark.chain((0..ready).map(|n| core(&format!("other{n}"), "True")))
                .collect::<Vec<_>>()
        )
    };
    let mut asleep = core("n4", "Unknown");
    asleep["status"]["conditions"] = json!([{"type": "Suspended", "status": "True"}]);
    let mut with_suspended = nodes(3, 1);
    with_suspended.as_array_mut().unwrap().push(asleep);
    let tripped = "fail  autoscaler   4 of 5 Nodes are not ready (n1, n2, n3, n4), so kube-system/ca-1 neither wakes nor stops anything → *";
    let might = "warn  autoscaler   if all 6 machines fell silent at once, kube-system/ca-1 would do nothing until most are back: --ok-total-unready-count is 3 → start it with --ok-total-unready-count=6";
    let fits = "ok    autoscaler *";
    for (count, nodes, flags, line) in [
        (6, nodes(4, 1), &[][..], tripped),
        (6, nodes(4, 10), &[], fits),
        (6, nodes(3, 1), &[], might),
        (6, with_suspended, &[], might),
        (6, nodes(0, 8), &[], fits),
        (3, nodes(3, 1), &[], fits),
        (6, nodes(4, 1), &["--ok-total-unready-count=6"], fits),
        (
            6,
            nodes(4, 1),
            &["--max-total-unready-percentage=100"],
            fits,
        ),
        (
            6,
            nodes(0, 1),
            &["--ok-total-unready-count=many"],
            "warn  autoscaler   kube-system/ca-1 has --ok-total-unready-count=many, *",
        ),
    ] {
        let cluster = cluster(nodes, json!([autoscaler(flags)]));
        assert_lines(
            line,
            &autoscaler::judge(&lab(&machines[..count]), &cluster),
            &[line],
        );
    }
}
