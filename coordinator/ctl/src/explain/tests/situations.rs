//! What the screen says of everything else.

use super::*;

#[test]
fn whoever_stands_behind_a_wish_is_named() {
    let power = |policy: &str| json!({"group": "workers", "power": policy, "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02"}});
    let held = |policy: &str, until: Value| {
        json!({"phase": "Running", "wanted": "running",
        "override": {"power": policy, "until": until, "by": "user ann"}})
    };
    let order = |then_wake: bool| {
        json!({"phase": "Stopping", "wanted": "stopped",
        "orderedOff": {"by": "cluster-autoscaler DeleteNodes(1)", "id": "o", "at": "2026-11-21T14:00:00Z", "thenWake": then_wake}})
    };
    let wanted = || json!({"phase": "Running", "wanted": "running"});
    for (case, told) in [
        (
            Case::of(power("AlwaysOn"), wanted()),
            "Wish running: its declaration says power: AlwaysOn; group workers wants 2",
        ),
        (
            Case::of(
                power("Unmanaged"),
                json!({"phase": "Running", "wanted": "any"}),
            ),
            "Wish none: its declaration says power: Unmanaged",
        ),
        (
            Case::packet(held("AlwaysOn", json!("2026-11-21T16:00:00Z"))),
            "Wish running: user ann keeps it running until 16:00:00 UTC",
        ),
        (
            Case::packet(held("AlwaysOff", Value::Null)),
            "user ann keeps it off until released",
        ),
        (
            Case::packet(order(false)),
            "Wish off: cluster-autoscaler DeleteNodes(1) ordered it off, at 14:00:00 UTC",
        ),
        (
            Case::packet(order(true)).group(json!({}), wanting("nuc1")),
            "asked to stop it once and wake it once, at 14:00:00 UTC",
        ),
    ] {
        assert_wish(&case, told);
    }
}

#[track_caller]
fn assert_wish(case: &Case, told: &str) {
    let words = case.words();
    assert!(words.contains(told), "{told}\n{words}");
}

#[test]
fn what_a_group_wants_of_a_machine_is_told_with_its_size() {
    let wanted = || json!({"phase": "Running", "wanted": "running"});
    let plain = || json!({"targetSize": 0, "ready": 0, "maxSize": 3});
    let earlier = || json!({"wanted": {"sequence": 4, "machines": ["nuc1"]}});
    for (case, told) in [
        (
            Case::packet(wanted()).group(json!({}), wanting("nuc1")),
            "cluster-autoscaler IncreaseSize(1) asked for it at 14:02:11 UTC",
        ),
        (
            Case::packet(wanted()).group(json!({"minSize": 1}), earlier()),
            "minSize, or an earlier wish for its group",
        ),
        (
            Case::packet(wanted()).group(json!({}), earlier()),
            "running: an earlier wish for its group",
        ),
        (
            Case::packet(wanted()).group(json!({"mode": "Manual", "targetSize": 1}), earlier()),
            "targetSize of its group",
        ),
        (
            Case::packet(json!({"phase": "Sleeping", "wanted": "any"})).group(json!({}), plain()),
            "Wish none: nobody wants it running and nobody has ordered it off",
        ),
        (
            Case::packet(wanted()).group(json!({"paused": true}), plain()),
            "group workers is paused, its machines are left as they are",
        ),
        (
            Case {
                group: None,
                ..Case::packet(wanted())
            },
            "there is no group workers",
        ),
    ] {
        assert_wish(&case, told);
    }
}

#[test]
fn what_is_seen_names_its_proof() {
    let seen = |source: &str, inferred: bool| {
        json!({"phase": "Sleeping", "wanted": "any",
        "power": {"state": "PoweredOff", "inferred": inferred, "shown": "off", "source": source, "since": "2026-11-20T02:10:00Z"}})
    };
    for (source, inferred, told) in [
        (
            "bmc",
            false,
            "off since 2026-11-20 02:10 UTC, its BMC says so.",
        ),
        ("agent", false, "its agent's heartbeat says so."),
        ("kubelet", false, "its kubelet's Lease says so."),
        ("person", false, "a person said so."),
        (
            "inferred",
            true,
            "concluded from our own order and the silence after it; nobody measured it.",
        ),
        ("plug", false, "plug says so."),
        ("", true, "concluded; nobody measured it."),
    ] {
        let words = Case::packet(seen(source, inferred)).words();
        assert!(words.contains(told), "{told}\n{words}");
    }
    let mut silent = seen("agent", false);
    silent["phase"] = json!("Unknown");
    silent["power"]["state"] = json!("Running");
    let words = Case::packet(silent).words();
    assert!(words.contains("nobody can tell (Unknown)"), "{words}");
    assert!(words.contains("Seen last running since"), "{words}");
}

#[test]
fn a_lock_names_its_holder() {
    let held = "backup-job holds it for power-state-change since 10:00; nothing is begun before the annotation goes";
    let locked = json!({"phase": "Sleeping", "wanted": "any", "conditions": [condition("Locked", "True", "HeldByOthers", held)]});
    let words = Case::packet(locked.clone()).words();
    assert!(
        words.contains(&format!("Lock held by others: {held}.")),
        "{words}"
    );
    assert!(
        words.contains("`kubectl annotate hn nuc1 homelab-autoscaler.dev/operation-lock-`"),
        "{words}"
    );
    let standalone = Case {
        place: Place::Standalone,
        ..Case::packet(locked)
    };
    assert!(
        !standalone.words().contains("kubectl"),
        "{}",
        standalone.words()
    );

    let mut behind = Case::packet(json!({"phase": "Sleeping", "wanted": "any"}));
    assert!(behind.words().contains("Lock free."));
    behind.node.metadata.annotations = Some(
        [
            (LOCK[0].to_owned(), "upgrade".to_owned()),
            (LOCK[1].to_owned(), "ann".to_owned()),
        ]
        .into(),
    );
    let words = behind.words();
    assert!(
        words.contains("left behind by ann for upgrade; it does not count any more."),
        "{words}"
    );
}

#[track_caller]
fn assert_next(case: &Case, next: &str) {
    let words = case.words();
    let (_, said) = words.rsplit_once("Next ").unwrap();
    assert!(said.contains(next), "{next}\n{words}");
}

/// Proven, left as it is, in this phase.
fn in_phase(phase: &str) -> Value {
    json!({"phase": phase, "wanted": "any", "wake": {"provenAt": "2026-11-18T09:00:00Z"}})
}

#[test]
fn what_keeps_the_coordinator_from_deciding_is_the_first_thing_to_mend() {
    let asked = json!({"phase": "Running", "wanted": "any", "ask": {"id": "a", "verb": "PowerOn", "by": "user ann"}, "lastAskID": "b"});
    let wrong = json!({"phase": "Running", "wanted": "any", "conditions": [condition("Conflict", "True", "DuplicateMAC", "nuc1 and nuc2.")]});
    let frozen = json!({"conditions": [condition("MassSilence", "True", "MassSilence", "Half of the group fell silent.")]});
    for (case, next) in [
        (
            Case {
                waiting_for: "the cluster",
                ..Case::packet(in_phase("Running"))
            },
            "because the coordinator waits for the cluster: look at its log",
        ),
        (
            Case {
                broker_up: Some(false),
                ..Case::packet(in_phase("Running"))
            },
            "bring the agents' broker back",
        ),
        (
            Case::packet(Value::Null),
            "see whether the coordinator runs",
        ),
        (Case::packet(json!({})), "see whether the coordinator runs"),
        (
            Case::packet(asked),
            "the request of user ann has not been taken",
        ),
        (
            Case::packet(wrong.clone()),
            "correct its declaration: `kubectl edit hn nuc1`",
        ),
        (
            Case {
                place: Place::Standalone,
                ..Case::packet(wrong)
            },
            "correct its declaration in the lab folder",
        ),
        (
            Case::packet(in_phase("Running")).group(json!({}), frozen),
            "look at the switch, the broker and the mains",
        ),
    ] {
        assert_next(&case, next);
    }
}

#[test]
fn an_order_that_stands_beneath_an_override_is_not_taken_back_by_its_release() {
    let spec = |power: &str| json!({"group": "workers", "power": power, "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02"}});
    let order = || json!({"by": "cluster-autoscaler DeleteNodes(1)", "id": "o", "at": "2026-11-21T14:00:00Z"});
    let (released, kept) = (
        "`homelabctl power release nuc1` takes the order back",
        "`homelabctl power on nuc1` keeps it running",
    );
    for (power, order, next) in [
        ("Auto", Value::Null, released),
        ("AlwaysOff", Value::Null, kept),
        ("Auto", order(), kept),
    ] {
        let conditions = [condition("Ready", "False", "Draining", "It is so.")];
        let mut status = json!({"phase": "Stopping", "wanted": "stopped", "conditions": conditions,
            "override": {"power": "AlwaysOff", "until": null, "by": "user ann"}});
        if !order.is_null() {
            status["orderedOff"] = order;
        }
        assert_next(&Case::of(spec(power), status), next);
    }
}

#[test]
fn each_reason_that_calls_for_a_step_has_one() {
    for (reason, next) in [
        ("PodsStillRunning", "--field-selector spec.nodeName=nuc1`"),
        ("DrainBlocked", "(budgets: `kubectl get pdb -A`)"),
        (
            "DrainBlocked",
            "`homelabctl power on nuc1` keeps it running",
        ),
        ("Draining", "its pods are given time to leave"),
        ("StopRefused", "`homelab-agent check` there"),
        ("NoWayToStop", "`homelabctl agent config nuc1`"),
        ("Silent", "`homelabctl power confirm-off nuc1`"),
        (
            "MissingCredentials",
            "put the files of these credentials onto a relay",
        ),
        ("RelayNotListening", "bring a relay back on the air"),
        ("WakeRefused", "try `homelab-agent wake 1c:69:7a:0b:11:02`"),
        ("BootTimeout", "`homelabctl power retry nuc1`"),
        ("ForeignProviderID", "declare the providerID that it has"),
        ("RecordRefused", "look at the coordinator's log"),
    ] {
        let conditions = [condition("Ready", "False", reason, "It is so.")];
        let status = json!({"phase": "Running", "wanted": "stopped", "conditions": conditions});
        assert_next(&Case::packet(status), next);
    }
}

#[test]
fn a_complaint_of_the_coordinator_comes_before_what_its_phase_allows() {
    let mut status = in_phase("Running");
    let renamed = "Its kubelet goes by nuc1.lan: declare nodeName: nuc1.lan.";
    status["conditions"] = json!([condition("NodeRenamed", "True", "NodeRenamed", renamed)]);
    let case = Case::packet(status);
    assert_next(&case, "mend what is said about NodeRenamed above.");
    let words = case.words();
    assert!(
        words.contains(&format!("Because NodeRenamed: {renamed}")),
        "{words}"
    );
}

#[test]
fn where_nothing_is_wrong_the_next_step_follows_from_the_phase() {
    let off = json!({"phase": "Sleeping", "wanted": "any", "outage": {"kind": "SwitchedOff"},
        "power": {"state": "PoweredOff", "shown": "off", "source": "bmc"}});
    for (case, next) in [
        (
            Case::packet(json!({"phase": "Running", "wanted": "any"})),
            "`homelabctl prove nuc1` stops it once",
        ),
        (
            Case::packet(in_phase("Running")),
            "nothing; `homelabctl power off nuc1` stops it",
        ),
        (
            Case::packet(in_phase("Sleeping")),
            "nothing; `homelabctl power on nuc1` wakes it",
        ),
        (
            Case::packet(off),
            "nothing, if it was switched off on purpose",
        ),
        (
            Case::packet(in_phase("Unknown")),
            "`homelabctl power confirm-off nuc1`",
        ),
        (
            Case::packet(in_phase("WakeFailed")),
            "then `homelabctl power retry nuc1`",
        ),
        (
            Case::packet(waking("WakeSent", "Sent.")),
            "nothing yet: it is given time, until 14:12:10 UTC",
        ),
        (
            Case::packet(in_phase("Stopping")),
            "nothing yet: it is given time to shut down",
        ),
        (
            Case::packet(in_phase("Hibernating")),
            "`homelabctl power on nuc1` and `off` override it",
        ),
    ] {
        assert_next(&case, next);
    }
}

/// Every text at its longest, in a script without blanks, with what moves cursors in it.
#[test]
fn nothing_that_is_written_about_a_machine_fills_more_than_a_screen() {
    let long = |n: usize| "\u{1b}[2J長い文".repeat(n);
    let kinds = [
        "Quarantined",
        "InvalidSpec",
        "Conflict",
        "TemplateDrift",
        "ForeignProviderID",
        "MissingCredentials",
    ];
    let conditions: Vec<Value> = kinds
        .iter()
        .map(|kind| condition(kind, "True", "X", &format!("{kind} {}", long(500))))
        .collect();
    let mut status = waking(&long(150), &long(500));
    status["conditions"] = json!(conditions);
    status["operation"]["by"] = json!(long(40));
    status["override"] = json!({"power": "AlwaysOn", "by": long(40)});
    let mut case = Case::packet(status);
    case.waiting_for = "";
    let told: Vec<Told> = (0..200)
        .map(|n| Told {
            at_ms: NOW - n,
            reason: long(20),
            message: long(100),
            count: 9,
            ..Told::default()
        })
        .collect();
    case.told = Ok(told);
    let screen = case.screen();
    assert_eq!(screen.lines().count(), HEIGHT, "{screen}");
    assert!(!screen.contains('\u{1b}'));
    for label in [
        "Wish", "Seen", "Doing", "Lock", "Proof", "Because", "Events", "Next",
    ] {
        assert!(
            screen.lines().any(|line| line.starts_with(label)),
            "{label}\n{screen}"
        );
    }
}

#[test]
fn a_machine_with_nothing_at_all_and_events_that_may_not_be_read_are_told() {
    let empty = NodeSpec {
        ..Case::packet(Value::Null).node.spec
    };
    let mut case = Case::packet(Value::Null);
    case.node = Node::new("", empty);
    case.group = None;
    case.told = Err("the cluster does not let you list events".to_owned());
    let words = case.words();
    assert!(
        words.contains("the coordinator has written nothing about it yet."),
        "{words}"
    );
    assert!(words.contains("Seen nothing yet."), "{words}");
    assert!(
        words.contains("Events cannot be read: the cluster does not let you list events"),
        "{words}"
    );
}
