//! Who could wake which machine: what was collected, and the lines it gives.

use super::*;
use crate::check::relays;

#[track_caller]
fn assert_judged(lab: &Lab, lines: &[&str]) {
    let sleepers = places::sleepers(lab, &[]);
    assert_lines(&format!("{lines:?}"), &relays::judge(lab, &sleepers), lines);
}

/// Machines, agents, and what is said of them.
type Case<'a> = (&'a [Row<'a>], Value, &'a [&'a str]);

#[track_caller]
fn assert_each<'a>(cases: impl IntoIterator<Item = Case<'a>>) {
    for (nodes, heard, lines) in cases {
        let mut lab = lab(nodes);
        agents(&mut lab, heard);
        assert_judged(&lab, lines);
    }
}

#[test]
fn relays_are_counted_by_segment_and_never_by_the_machine_itself() {
    let pi = |live: bool| json!({"name": "pi", "live": live, "segments": ["default"]});
    let nuc = |name: &str| json!({"name": name, "live": true, "segments": ["default"]});
    let garage = json!({"wakeOnLAN": {"mac": "1c:69:7a:0b:11:03", "segment": "garage"}});
    let two = [("nuc1", json!({}), proven()), ("nuc2", json!({}), proven())];
    let cases: [Case<'_>; 7] = [
        (
            &two,
            json!([pi(true)]),
            &["ok    relays       segment default has pi awake"],
        ),
        (
            &two,
            json!([]),
            &[
                "fail  relays       no agent is a relay on segment default: nobody can wake nuc1, nuc2 → start an agent with [relay] *",
            ],
        ),
        (
            &two,
            json!([pi(false)]),
            &[
                "fail  relays       no relay is awake on segment default (pi not heard lately): nobody can wake nuc1, nuc2 → see whether *",
            ],
        ),
        (
            &two,
            json!([nuc("nuc1")]),
            &[
                "warn  relays       nuc1 is the only relay awake on segment default, and nobody else could wake it → *",
            ],
        ),
        (
            &two,
            json!([nuc("nuc1"), nuc("nuc2")]),
            &[
                "warn  relays       every relay awake on segment default is a machine that may sleep (nuc1, nuc2); *",
            ],
        ),
        (
            &[("nuc1", garage, proven()), ("nuc2", json!({}), proven())],
            json!([pi(true)]),
            &[
                "ok    relays       segment default *",
                "fail  relays       no agent is a relay on segment garage: nobody can wake nuc1 → *",
            ],
        ),
        (
            &[("nuc1", json!({"power": "Unmanaged"}), proven())],
            json!([]),
            &["ok    relays       no machine needs one to be woken"],
        ),
    ];
    assert_each(cases);
}

#[test]
fn a_relay_in_the_cluster_sleeps_with_the_machine_that_its_pod_is_on() {
    let mut lab = lab(&[("nuc1", json!({}), proven()), ("nuc2", json!({}), proven())]);
    agents(
        &mut lab,
        json!([{"name": "cluster-relay", "live": true, "segments": ["default"]}]),
    );
    for (node, line) in [
        (
            "cp1",
            "ok    relays       segment default has cluster-relay awake",
        ),
        (
            "nuc2",
            "warn  relays       every relay awake on segment default is a machine that may sleep (cluster-relay); *",
        ),
    ] {
        let cluster = cluster(json!([]), json!([installed("homelab-relay", node)]));
        let sleepers = places::with_relay_pods(places::sleepers(&lab, &[]), &lab, &cluster);
        assert_lines(node, &relays::judge(&lab, &sleepers), &[line]);
    }
}

/// A relay that holds these credentials.
fn holder(name: &str, live: bool, credentials: &[&str]) -> Value {
    json!({"name": name, "live": live, "segments": ["default"], "credentials": credentials})
}

/// Woken by its BMC alone.
fn bmc(credentials: &str) -> Value {
    json!({"wake": ["redfish"], "redfish": {"address": "https://b", "credentials": credentials}})
}

#[test]
fn machines_with_a_bmc_are_counted_by_who_holds_its_credentials() {
    let two = [
        ("r720", bmc("dell"), proven()),
        ("r730", bmc("dell"), proven()),
    ];
    let unmanaged = {
        let mut spec = bmc("dell");
        spec["power"] = json!("Unmanaged");
        spec
    };
    let silent_about = json!({"name": "pi", "live": true, "segments": ["default"]});
    let no_relay = json!({"name": "pi", "live": true, "segments": []});
    let none = "fail  relays       no agent is a relay with the BMC credentials dell: nobody can wake r720, r730 → give an agent \
                with [relay]*the files dell.username, dell.password and dell.hosts*";
    let awake = "ok    relays       the BMC credentials dell have pi awake";
    let cases: [Case<'_>; 10] = [
        (&two, json!([]), &[none]),
        (&two, json!([holder("pi", true, &["hp"])]), &[none]),
        (&two, json!([no_relay]), &[none]),
        (&two, json!([holder("pi", true, &["dell"])]), &[awake]),
        // Too many to tell them all.
        (&two, json!([silent_about]), &[awake]),
        (
            &two,
            json!([holder("pi", false, &["dell"]), holder("nas", true, &["hp"])]),
            &[
                "fail  relays       no relay is awake with the BMC credentials dell (pi not heard lately): nobody can wake r720, r730 → see *",
            ],
        ),
        (
            &two,
            json!([holder("r720", true, &["dell"])]),
            &[
                "warn  relays       r720 is the only relay awake with the BMC credentials dell, and nobody else could wake it → give *",
            ],
        ),
        (
            &two,
            json!([
                holder("r720", true, &["dell"]),
                holder("r730", true, &["dell"])
            ]),
            &[
                "warn  relays       every relay awake with the BMC credentials dell is a machine that may sleep (r720, r730); \
                 the last that a machine needs is kept running → give *",
            ],
        ),
        (
            &[
                ("r720", bmc("dell"), proven()),
                ("ml30", bmc("hp"), proven()),
            ],
            json!([holder("pi", true, &["dell"])]),
            &[
                awake,
                "fail  relays       no agent is a relay with the BMC credentials hp: nobody can wake ml30 → *",
            ],
        ),
        (
            &[("r720", unmanaged, proven())],
            json!([]),
            &["ok    relays       no machine needs one to be woken"],
        ),
    ];
    assert_each(cases);
}

#[test]
fn of_a_machine_with_two_ways_to_wake_one_that_fails_is_a_warning() {
    let both = |segment: &str| {
        json!({"redfish": {"address": "https://b", "credentials": "dell"},
            "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02", "segment": segment}})
    };
    let packet = ("nuc1", json!({}), proven());
    let cases: [Case<'_>; 4] = [
        (
            &[("r720", both("default"), proven())],
            json!([holder("pi", true, &["dell"])]),
            &[
                "ok    relays       segment default has pi awake",
                "ok    relays       the BMC credentials dell have pi awake",
            ],
        ),
        (
            &[("r720", both("default"), proven())],
            json!([holder("pi", true, &[])]),
            &[
                "ok    relays       segment default has pi awake",
                "warn  relays       no agent is a relay with the BMC credentials dell: r720 can be woken the other way alone → *",
            ],
        ),
        (
            &[("r720", both("garage"), proven()), packet],
            json!([holder("pi", true, &["dell"])]),
            &[
                "ok    relays       segment default has pi awake",
                "warn  relays       no agent is a relay on segment garage: r720 can be woken the other way alone → *",
                "ok    relays       the BMC credentials dell have pi awake",
            ],
        ),
        (
            &[("r720", both("default"), proven())],
            // Nobody wakes itself, by whatever way.
            json!([holder("r720", true, &["dell"])]),
            &[
                "warn  relays       r720 is the only relay awake on segment default, *",
                "warn  relays       r720 is the only relay awake with the BMC credentials dell, *",
            ],
        ),
    ];
    assert_each(cases);
}
