//! What the screen says of machines that do not wake: the sentences that people are promised.

use super::*;

const BOOT_TIMEOUT: &str = "No sign of life in 10m0s (last 5 boots: 48–71 s); cluster-autoscaler was told BOOT_TIMEOUT and \
    backs off group workers for about 5 min.";
const QUARANTINED: &str = "Out of group workers (maxSize 3 → 2) until 14:32 or until seen running; retry now: \
    `homelabctl power retry nuc1`.";
const WAKE_CAPABLE: &str = "Last proven 2026-11-18 with Wake-on g on enp3s0. If mains were cut since, the NIC is unarmed until \
    one boot: press the button, check BIOS ErP, then `homelabctl prove nuc1`.";
const SENT: &str = "3 magic packets for 1c:69:7a:0b:11:02 left relay pi (eth0, to 192.168.1.255 and 255.255.255.255, ports \
    9,7), train 2; asked by cluster-autoscaler IncreaseSize(1) at 14:02:11.";
const UNANSWERED: &str = "90 s after the first packet: no heartbeat, no kubelet, no ARP answer from nuc1; trains continue each \
    20 s, from 14:04 through relay nas as well.";
const NO_RELAY: &str = "Cannot wake nuc1: no awake relay on segment default (pi last seen 12 min ago; nas asleep since 02:10 \
    by our order).";
const IGNORED: &str = "BMC 10.0.9.20 accepted On (204) but still reports Off after 60 s; asking once more in 20 s, then \
    wakeOnLAN if declared.";

fn left_out() -> Case {
    let mut status = waking("BootTimeout", BOOT_TIMEOUT);
    status["phase"] = json!("Quarantined");
    status["since"] = json!("2026-11-21T14:04:00Z");
    status["why"] = json!("BootTimeout: next try 14:32, nuc2 is being woken instead");
    status["operation"] = Value::Null;
    status["quarantine"] = json!({"until": "2026-11-21T14:32:00Z", "count": 1, "reason": "BootTimeout", "message": BOOT_TIMEOUT});
    status["conditions"] = json!([
        condition(
            "Quarantined",
            "True",
            "BootTimeout",
            &format!("{BOOT_TIMEOUT} {QUARANTINED}")
        ),
        condition("Ready", "False", "BootTimeout", BOOT_TIMEOUT),
        condition("WakeCapable", "False", "DidNotWake", WAKE_CAPABLE),
    ]);
    Case::packet(status)
        .group(json!({}), wanting("nuc2"))
        .told(&[
            (240, "Normal", "WakeSent", SENT),
            (120, "Warning", "BootTimeout", BOOT_TIMEOUT),
        ])
}

fn unanswered() -> Case {
    Case::packet(waking("WakeUnanswered", UNANSWERED))
        .group(json!({}), wanting("nuc1"))
        .told(&[
            (229, "Normal", "WakeSent", SENT),
            (140, "Warning", "WakeUnanswered", UNANSWERED),
        ])
}

const BY_HAND: &str = "Next on the relay try `homelab-agent wake 1c:69:7a:0b:11:02`";
const RETRY: &str =
    "then `homelabctl power retry nuc1`; by itself it is tried again at 14:32:00 UTC.";

/// What it is, the machine, what stands on the screen, what it says to do.
type Promise = (&'static str, Case, &'static [&'static str], &'static str);

#[test]
fn each_sentence_about_a_machine_that_does_not_wake_is_on_the_screen_with_what_to_do_next() {
    let promises: Vec<Promise> = while_it_is_woken()
        .into_iter()
        .chain(once_it_has_failed())
        .collect();
    assert_eq!(promises.len(), 10);
    for (what, case, told, next) in promises {
        let words = case.words();
        for sentence in told.iter().chain([&next]) {
            assert!(
                words.contains(sentence),
                "{what}: {sentence}\n{}",
                case.screen()
            );
        }
    }
}

/// Nothing has come of it yet.
fn while_it_is_woken() -> Vec<Promise> {
    let bmc = json!({"group": "workers", "redfish": {"address": "https://10.0.9.20", "credentials": "r720"}});
    vec![
        (
            "the row while it is woken",
            unanswered(),
            &[
                "nuc1 (group workers) is off? and is being woken (Waking for 4m): WakeUnanswered",
                "Wish running:",
            ],
            BY_HAND,
        ),
        (
            "WakeSent",
            unanswered(),
            &["14:02:11 UTC WakeSent:", SENT],
            BY_HAND,
        ),
        ("WakeUnanswered", unanswered(), &[UNANSWERED], BY_HAND),
        (
            "NoRelay",
            Case::packet(waking("NoRelay", NO_RELAY)).told(&[(60, "Warning", "NoRelay", NO_RELAY)]),
            &[
                "Because NoRelay:",
                NO_RELAY,
                "14:05:00 UTC ! NoRelay: as above",
            ],
            "Next bring a relay back on the air (an agent with [relay] on segment default)",
        ),
        (
            "BMCIgnoredWake",
            Case::of(bmc, waking("BMCIgnoredWake", IGNORED)),
            &["Because BMCIgnoredWake:", IGNORED],
            "Next look at the BMC at https://10.0.9.20",
        ),
        (
            "the log's line",
            unanswered(),
            &[
                "14:03:40 UTC ! WakeUnanswered:",
                "operation 01JD holds token 7.12",
                "its time is over at 14:12:10 UTC (in 6m)",
            ],
            BY_HAND,
        ),
    ]
}

/// It was given up.
fn once_it_has_failed() -> Vec<Promise> {
    vec![
        (
            "the row later",
            left_out(),
            &[
                "nuc1 (group workers) is off?, and left out because it failed (Quarantined for 2m): BootTimeout: next try 14:32, \
                 nuc2 is being woken instead",
                "Wish running:",
            ],
            RETRY,
        ),
        (
            "BootTimeout",
            left_out(),
            &["14:04:00 UTC ! BootTimeout: as above", BOOT_TIMEOUT],
            RETRY,
        ),
        (
            "WakeCapable",
            left_out(),
            &["WakeCapable=False:", WAKE_CAPABLE],
            RETRY,
        ),
        (
            "Quarantined",
            left_out(),
            &["Because Quarantined:", QUARANTINED],
            RETRY,
        ),
    ]
}

#[test]
fn the_whole_screen_of_a_machine_that_does_not_answer() {
    let mut case = unanswered();
    case.agent = Some(Agent {
        name: "nuc1".to_owned(),
        live: Some(false),
        ..Agent::default()
    });
    let screen = case.screen();
    let expected = "\
nuc1 (group workers) is off? and is being woken (Waking for 4m): WakeUnanswered
Wish     running: cluster-autoscaler IncreaseSize(1) asked for it at 14:02:11 UTC; group workers
         wants 2, 1 of them run, at most 3 can.
Seen     off since 02:10:00 UTC, concluded from our own order and the silence after it; nobody
         measured it. Agent nuc1 is not heard.
Doing    waking it (step Waking) since 14:02:11 UTC, asked by cluster-autoscaler IncreaseSize(1);
         its time is over at 14:12:10 UTC (in 6m).
Lock     ours: operation 01JD holds token 7.12.
Proof    woken by us, last on 2026-11-18; its last 5 boots took 48–71 s (timeouts.boot 10m).
Because  WakeUnanswered: 90 s after the first packet: no heartbeat, no kubelet, no ARP answer from
         nuc1; trains continue each 20 s, from 14:04 through relay nas as well.
Events   14:03:40 UTC ! WakeUnanswered: as above
         14:02:11 UTC WakeSent: 3 magic packets for 1c:69:7a:0b:11:02 left relay pi (eth0, to
         192.168.1.255 and 255.255.255.255, ports 9,7), train 2; asked by cluster-autoscaler
         IncreaseSize(1) at 14:02:11.
Next     on the relay try `homelab-agent wake 1c:69:7a:0b:11:02`; if it stays dark, look at
         Wake-on-LAN and ErP in its BIOS, at cable and switch, or press its button.
";
    assert_eq!(screen, expected, "\n{screen}");
}
