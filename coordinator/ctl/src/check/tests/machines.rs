//! Machines, clocks and places: what was collected, and the lines it gives.

use super::*;
use crate::check::machines;

#[test]
fn a_coordinator_that_does_not_decide_or_hears_nobody_fails() {
    for (waiting_for, broker_up, line) in [
        (
            "stored state",
            true,
            "fail  coordinator  it decides nothing, because it waits for stored state → look at its log",
        ),
        (
            "",
            false,
            "fail  coordinator  it decides, but is not connected to the agents' broker → *",
        ),
    ] {
        let mut lab = lab(&[]);
        lab.waiting_for = waiting_for.to_owned();
        lab.broker_up = Some(broker_up);
        assert_lines(line, &coordinator(&lab), &[line]);
    }
}

#[test]
fn what_must_not_sleep_is_looked_for_on_machines_that_may() {
    let marked = |why: &str| json!([{"metadata": {"name": "nuc1", "annotations": {"homelab-autoscaler.dev/scale-down-disabled-by": why}}}]);
    let control = json!([{"metadata": {"name": "nuc1", "labels": {"node-role.kubernetes.io/control-plane": ""}}}]);
    let (auto, on) = (json!({}), json!({"power": "AlwaysOn"}));
    let cases = [
        (
            &auto,
            marked("OwnMachine"),
            "homelab-coordinator",
            "warn  places       homelab-coordinator runs on nuc1, so that machine is never stopped → *",
        ),
        (
            &auto,
            marked("LastRelay"),
            "homelab-coordinator",
            "fail  places       homelab-coordinator runs on nuc1, which may be stopped*--node-name nuc1",
        ),
        (
            &auto,
            json!([]),
            "homelab-broker",
            "fail  places       homelab-broker runs on nuc1, which may be stopped*--broker-node-name nuc1",
        ),
        (
            &auto,
            marked("OwnMachine"),
            "homelab-broker",
            "warn  places       homelab-broker runs on nuc1*",
        ),
        (
            &auto,
            control,
            "homelab-broker",
            "ok    places       homelab-broker on nuc1: none of these may sleep",
        ),
        (
            &on,
            json!([]),
            "homelab-broker",
            "ok    places       homelab-broker on nuc1: none of these may sleep",
        ),
        (
            &auto,
            json!([]),
            "web",
            "warn  places       no pod of coordinator or broker in namespace homelab-autoscaler-system → *",
        ),
    ];
    for (spec, nodes, app, line) in cases {
        let lab = lab(&[("nuc1", spec.clone(), proven())]);
        let nodes: Vec<CoreNode> = from_value(nodes).unwrap();
        let pods: Vec<Pod> = from_value(json!([installed(app, "nuc1")])).unwrap();
        let found = places::in_cluster(&lab, &nodes, &pods, "homelab-autoscaler-system");
        assert_lines(line, &found, &[line]);
    }
}

#[test]
fn an_autoscaler_is_looked_for_on_machines_that_may_sleep() {
    let on = |name: &str, node: &str| {
        let mut pod = autoscaler(&[]);
        pod["metadata"]["name"] = json!(name);
        pod["spec"]["nodeName"] = json!(node);
        pod
    };
    let starting = |node: &str| {
        let mut pod = on("ca-1", node);
        pod["status"]["phase"] = json!("Pending");
        pod
    };
    let ours = "homelab-coordinator on cp1";
    let sleepy = "warn  places       cluster-autoscaler kube-system/ca-1 runs on nuc1, which may be stopped: then nothing asks for \
                  machines until it runs elsewhere → move it to a host that always runs*power: AlwaysOn";
    let cases: [(&str, Value, Vec<Value>, String); 6] = [
        (
            "a sleeper",
            json!({}),
            vec![on("ca-1", "nuc1")],
            sleepy.to_owned(),
        ),
        (
            "one that always runs",
            json!({"power": "AlwaysOn"}),
            vec![on("ca-1", "nuc1")],
            format!(
                "ok    places       {ours}, cluster-autoscaler on nuc1: none of these may sleep"
            ),
        ),
        (
            "a Node without a machine",
            json!({}),
            vec![on("ca-1", "cp1")],
            format!(
                "ok    places       {ours}, cluster-autoscaler on cp1: none of these may sleep"
            ),
        ),
        (
            "a replica elsewhere",
            json!({}),
            vec![on("ca-1", "nuc1"), on("ca-2", "cp1")],
            format!(
                "ok    places       {ours}, cluster-autoscaler on cp1: none of these may sleep"
            ),
        ),
        (
            "two replicas",
            json!({}),
            vec![on("ca-1", "nuc1"), on("ca-2", "nuc1")],
            sleepy.replace("ca-1 runs on nuc1", "ca-1, kube-system/ca-2 run on nuc1"),
        ),
        (
            "one that does not run yet",
            json!({}),
            vec![starting("nuc1")],
            format!("ok    places       {ours}: none of these may sleep"),
        ),
    ];
    for (case, spec, autoscalers, line) in cases {
        let lab = lab(&[("nuc1", spec, proven())]);
        let mut pods = vec![installed("homelab-coordinator", "cp1")];
        pods.extend(autoscalers);
        let pods: Vec<Pod> = from_value(json!(pods)).unwrap();
        let found = places::in_cluster(&lab, &[], &pods, "homelab-autoscaler-system");
        assert_lines(case, &found, &[&line]);
    }
}

#[test]
fn a_coordinator_without_a_cluster_is_found_on_a_machine_by_its_boot() {
    let host = |boot: &str, name: &str, broker: &str| HostFacts {
        boot_id: Some(boot.to_owned()),
        name: name.to_owned(),
        broker: broker.to_owned(),
    };
    let mut status = proven();
    status["bootID"] = json!("boot-of-nuc1");
    let lab = lab(&[
        ("nuc1", json!({}), status),
        ("nuc2", json!({"agent": "two"}), proven()),
    ]);
    for (host, lines) in [
        (
            host("other", "pi", "mqtts://u@10.0.0.1:8883"),
            &["ok    places *"][..],
        ),
        (
            host("boot-of-nuc1", "nuc1", "mqtt://127.0.0.1:1"),
            &["warn  places       homelab-coordinator runs on nuc1, *"],
        ),
        (
            host("boot-of-nuc1", "box", "no url"),
            &["fail  places       homelab-coordinator runs on nuc1, *--node-name nuc1"],
        ),
        (
            host("other", "pi", "mqtts://u@nuc2:8883"),
            &["warn  places       homelab-broker runs on nuc2, *"],
        ),
        (
            host("other", "pi", "mqtts://u@two:8883"),
            &["fail  places       homelab-broker runs on nuc2, *--broker-node-name nuc2"],
        ),
    ] {
        assert_lines(lines[0], &places::on_host(&lab, &host), lines);
    }
}

#[test]
fn clocks_that_differ_are_told_by_how_much() {
    let heard =
        |ahead: Value, live: bool| json!([{"name": "pi", "live": live, "clockAheadS": ahead}]);
    for (agents_, ours_ms, lines) in [
        (
            heard(json!(10), true),
            Some(9_999),
            &["ok    clocks       within 10 s of the coordinator's: pi"][..],
        ),
        (
            heard(json!(11), true),
            None,
            &["warn  clocks       the clock of pi is 11s ahead of the coordinator's → *"],
        ),
        (
            heard(json!(-300), true),
            None,
            &["fail  clocks       the clock of pi is 5m behind the coordinator's → *"],
        ),
        (
            heard(json!(-900), false),
            None,
            &["warn  clocks       no agent has told its clock yet → *"],
        ),
        (
            heard(Value::Null, true),
            None,
            &["warn  clocks       no agent has told its clock yet → *"],
        ),
        (
            heard(json!(0), true),
            Some(-42_000),
            &["warn  clocks       the coordinator's clock is 42s behind this host's → *"],
        ),
        (
            heard(json!(i64::MIN), true),
            Some(i64::MAX),
            &[
                "fail  clocks       the coordinator's clock is *",
                "fail  clocks       the clock of pi is *",
            ],
        ),
    ] {
        let mut lab = lab(&[]);
        agents(&mut lab, agents_);
        assert_lines(lines[0], &clocks::judge(&lab, ours_ms), lines);
    }
}

#[test]
fn unproven_machines_and_what_the_coordinator_complains_of_are_listed() {
    let wrong = |kind: &str, status: &str| {
        json!({"wake": {"provenAt": "2026-11-18T09:00:00Z"}, "conditions": [{"type": kind,
        "status": status, "reason": "R", "message": "Mend it.", "lastTransitionTime": "2026-11-21T14:00:00Z"}]})
    };
    let ten: Vec<(String, Value, Value)> = (0..10)
        .map(|n| (format!("n{n}"), json!({}), json!({})))
        .collect();
    let ten: Vec<Row<'_>> = ten
        .iter()
        .map(|(n, s, t)| (n.as_str(), s.clone(), t.clone()))
        .collect();
    let cases: [(Value, &[Row<'_>], &[&str]); 6] = [
        (
            json!({}),
            &[
                ("nuc1", json!({}), json!({})),
                ("nuc2", json!({}), proven()),
            ],
            &[
                "warn  proofs       never woken by us, so their group may not stop them: nuc1 → `homelabctl prove NODE` *",
                "ok    lab *",
            ],
        ),
        (
            json!({}),
            &ten,
            &[
                "warn  proofs *: n0, n1, n2, n3, n4, n5, n6, n7 and 2 more → *",
                "ok    lab *",
            ],
        ),
        (
            json!({"requireProof": false}),
            &[("nuc1", json!({}), json!({}))],
            &["ok    proofs       no machine needs one", "ok    lab *"],
        ),
        (
            json!({}),
            &[("nuc1", json!({"power": "AlwaysOn"}), json!({}))],
            &["ok    proofs       no machine needs one", "ok    lab *"],
        ),
        (
            json!({}),
            &[("nuc1", json!({}), wrong("MissingCredentials", "True"))],
            &[
                "ok    proofs *",
                "fail  lab          nuc1 has MissingCredentials: Mend it. → *`homelabctl explain nuc1` *",
            ],
        ),
        (
            json!({}),
            &[
                ("nuc1", json!({}), wrong("MissingCredentials", "False")),
                ("nuc2", json!({}), wrong("Quarantined", "True")),
            ],
            &["ok    proofs *", "ok    lab *"],
        ),
    ];
    for (group, nodes, lines) in cases {
        assert_lines(lines[0], &machines::judge(&lab_with(group, nodes)), lines);
    }
}

#[test]
fn machines_without_an_armed_card_are_told_with_what_arms_it() {
    let capable = |status: &str, reason: &str| {
        let mut told = proven();
        told["conditions"] = json!([{"type": "WakeCapable", "status": status, "reason": reason, "message": "M.",
            "lastTransitionTime": "2026-11-21T14:00:00Z"}]);
        told
    };
    let unarmed = || capable("False", "NotArmed");
    let told = "warn  cards        no network card of nuc1 is armed for a magic packet, so it may not wake → on it `ethtool CARD` \
                must say \"Wake-on: g\": * `ethtool -s CARD wol g`, *";
    let cases: [(&[Row<'_>], &[&str]); 5] = [
        (&[("nuc1", json!({}), unarmed())], &[told]),
        (
            &[
                ("nuc1", json!({}), unarmed()),
                ("nuc2", json!({}), capable("True", "Proven")),
                ("nuc3", json!({}), unarmed()),
            ],
            &[
                "warn  cards        no network card of nuc1, nuc3 is armed for a magic packet, so they may not wake → on each *",
            ],
        ),
        (&[("nuc1", json!({}), capable("False", "DidNotWake"))], &[]),
        (&[("nuc1", json!({}), capable("Unknown", "Unproven"))], &[]),
        (&[("nuc1", json!({"power": "Unmanaged"}), unarmed())], &[]),
    ];
    for (nodes, lines) in cases {
        let found = machines::judge(&lab(nodes));
        let cards: Vec<Finding> = found.into_iter().filter(|f| f.what == "cards").collect();
        assert_lines(&format!("{nodes:?}"), &cards, lines);
    }
}
