//! Each judgement as a table: what was collected, and the lines it gives.

use serde_json::{Value, from_value, json};

use super::*;

mod autoscaler;
mod leftovers;
mod machines;
mod relays;

/// The 21st of November 2026, 14:06 UTC.
const NOW: i64 = 1_795_269_960_000;

/// A Node: its name, additions to its spec, its status.
type Row<'a> = (&'a str, Value, Value);

/// A lab of one group `workers` and these Nodes: name, additions to the spec, status.
fn lab(nodes: &[Row<'_>]) -> Lab {
    lab_with(json!({}), nodes)
}

fn lab_with(group: Value, nodes: &[Row<'_>]) -> Lab {
    let kind = |kind: &str, name: &str, spec: &Value| {
        json!({"apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "lab"}, "spec": spec})
    };
    let node = |(name, more, status): &Row<'_>| {
        let mut spec = json!({"group": "workers", "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02"}});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let mut node = kind("Node", name, &spec);
        node["status"] = status.clone();
        node
    };
    let lab = json!({
        "nowMs": NOW,
        "brokerUp": true,
        "groups": [kind("Group", "workers", &group)],
        "nodes": nodes.iter().map(node).collect::<Vec<_>>(),
    });
    from_value(lab).unwrap()
}

fn proven() -> Value {
    json!({"wake": {"provenAt": "2026-11-18T09:00:00Z", "bootSeconds": [48, 71]}})
}

fn agents(lab: &mut Lab, agents: Value) {
    lab.agents = from_value(agents).unwrap();
}

/// A cluster in which everything can be read, with these objects in it.
fn cluster(nodes: Value, pods: Value) -> ClusterFacts {
    ClusterFacts {
        page: Ok(from_value(json!({"brokerUp": true})).unwrap()),
        nodes: Ok(from_value(nodes).unwrap()),
        pods: Ok(from_value(pods).unwrap()),
        deployments: Ok(Vec::new()),
        system_namespace: "homelab-autoscaler-system".to_owned(),
        namespace: None,
    }
}

/// A core Node with this readiness.
fn core(name: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}})
}

/// A running autoscaler's pod.
fn autoscaler(arguments: &[&str]) -> Value {
    let mut all = vec!["--cloud-provider=externalgrpc", "--cloud-config=/etc/c"];
    all.extend(arguments);
    json!({"metadata": {"name": "ca-1", "namespace": "kube-system"}, "status": {"phase": "Running"},
        "spec": {"containers": [{"name": "c", "image": "x/cluster-autoscaler:v1.36.1", "args": all}]}})
}

/// What is installed in our namespace, on this Node.
fn installed(app: &str, node: &str) -> Value {
    json!({"metadata": {"name": app, "namespace": "homelab-autoscaler-system", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": []}})
}

/// The lines as they are printed must be exactly these, but for what stands in place of `*`.
#[track_caller]
fn assert_lines(case: &str, found: &[Finding], expected: &[&str]) {
    let text = render(found);
    let lines: Vec<&str> = text.lines().collect();
    let fits = |line: &str, pattern: &str| {
        let mut rest = line;
        let mut parts = pattern.split('*');
        let starts = parts
            .next()
            .is_some_and(|first| match rest.strip_prefix(first) {
                Some(after) => {
                    rest = after;
                    true
                }
                None => false,
            });
        starts
            && parts.all(|part| match rest.split_once(part) {
                Some((_, after)) => {
                    rest = after;
                    true
                }
                None => false,
            })
    };
    let all = lines.len() == expected.len() && lines.iter().zip(expected).all(|(l, p)| fits(l, p));
    assert!(all, "{case}: expected {expected:#?}\n{text}");
}

#[test]
fn a_sound_cluster_is_all_ok() {
    let mut lab = lab(&[("nuc1", json!({}), proven())]);
    agents(
        &mut lab,
        json!([{"name": "pi", "live": true, "segments": ["default"], "clockAheadS": 1}]),
    );
    let nodes = json!([core("cp1", "True"), core("nuc1", "True")]);
    let pods = json!([
        installed("homelab-coordinator", "cp1"),
        installed("homelab-broker", "cp1"),
        autoscaler(&[])
    ]);
    let facts = Facts {
        lab,
        around: Surroundings::Cluster(Box::new(cluster(nodes, pods))),
    };
    let found = judge(&facts);
    assert_eq!(failed(&found), 0);
    let expected = "\
ok    coordinator  it decides, and its broker is connected
ok    relays       segment default has pi awake
ok    clocks       within 10 s of the coordinator's: pi
ok    places       homelab-coordinator on cp1, homelab-broker on cp1: none of these may sleep
ok    proofs       woken by us before: nuc1
ok    lab          nothing is wrong with what is declared
ok    autoscaler   the flags of kube-system/ca-1 fit this lab
ok    leftovers    no mark of ours on a Node without a machine
";

    assert_eq!(render(&found), expected);
}

#[test]
fn what_cannot_be_read_is_said_and_is_no_failure() {
    let denied = || "services is forbidden: User \"ann\" cannot get".to_owned();
    let facts = Facts {
        lab: lab(&[("nuc1", json!({}), proven())]),
        around: Surroundings::Cluster(Box::new(ClusterFacts {
            page: Err(denied()),
            nodes: Err(denied()),
            pods: Err(denied()),
            deployments: Err(denied()),
            namespace: Some("lab".to_owned()),
            ..cluster(json!([]), json!([]))
        })),
    };
    let found = judge(&facts);
    assert_eq!(failed(&found), 0);
    let lines = [
        "warn  coordinator  its page cannot be read, so broker, relays and clocks are not checked: services is forbidden*",
        "warn  rights       leftovers and unready Nodes cannot be checked: *",
        "warn  rights       the autoscaler, and where coordinator and broker run, cannot be checked: *",
        "warn  rights       an autoscaler without a running pod cannot be checked: *",
        "ok    proofs *",
        "ok    lab *",
        "warn  leftovers    not looked for, because with --namespace only a part of the machines is known → leave --namespace out",
    ];
    assert_lines("denied", &found, &lines);
}

#[test]
fn a_sound_lab_without_a_cluster_is_all_ok() {
    let mut lab = lab(&[("nuc1", json!({}), proven())]);
    agents(
        &mut lab,
        json!([{"name": "pi", "live": true, "segments": ["default"], "clockAheadS": -1}]),
    );
    let facts = Facts {
        lab,
        around: Surroundings::Host(HostFacts {
            boot_id: Some("b".to_owned()),
            name: "pi".to_owned(),
            broker: "mqtt://127.0.0.1:1883".to_owned(),
        }),
    };
    let lines = [
        "ok    coordinator  it decides, and its broker is connected",
        "ok    places       neither coordinator nor broker is seen on a machine that may sleep",
        "ok    relays       segment default has pi awake",
        "ok    clocks       within 10 s of the coordinator's: pi",
        "ok    proofs       woken by us before: nuc1",
        "ok    lab          nothing is wrong with what is declared",
        "ok    autoscaler   its flags cannot be seen from here; its defaults leave every machine the time to boot",
    ];
    assert_lines("standalone", &judge(&facts), &lines);
}

#[test]
fn a_finding_is_one_line_whatever_stands_in_it() {
    let found = Finding::fail("lab", "a\u{1b}[2J\nb", "c");
    assert_eq!(found.line(), "fail  lab          a [2J b → c\n");
}
