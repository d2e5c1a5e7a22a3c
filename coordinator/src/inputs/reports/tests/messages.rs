//! Messages as agents send them.

use super::*;

#[tokio::test]
async fn a_live_heartbeat_is_a_beat_and_a_retained_one_is_nothing() {
    let mut bench = Bench::new().await;
    let facts = bench
        .facts_of("hla/v1/a/pi/hb", heartbeat().encode(), false)
        .await;
    let [Fact::Beat(beat)] = &facts[..] else {
        panic!("{facts:?}")
    };
    assert_eq!((beat.agent.as_str(), &*beat.boot_id), ("pi", BOOT));
    assert_eq!((beat.instance.as_str(), beat.up_ms), ("00c0ffee", 600_000));
    assert_eq!(beat.challenge, Challenge([1; 16]).to_string());
    assert!(
        bench
            .facts_of("hla/v1/a/pi/hb", heartbeat().encode(), true)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn presence_and_inventory_give_what_an_agent_is_in_either_order() {
    let mut bench = Bench::new().await;
    let facts = bench
        .facts_of(
            "hla/v1/a/pi/status",
            status(WireState::Online, 7).encode(),
            true,
        )
        .await;
    let state = |state| Fact::AgentState {
        agent: agent(),
        state,
        boot_id: BOOT.into(),
        instance: "00c0ffee".into(),
    };
    assert_eq!(facts, [state(AgentState::Online)]);
    let facts = bench
        .facts_of("hla/v1/a/pi/inv", inventory().encode(), true)
        .await;
    let [Fact::AgentInfo(info)] = &facts[..] else {
        panic!("{facts:?}")
    };
    assert_eq!(info.key, Some(signer().public_key().to_string().into()));
    assert_eq!(info.segments, ["default"]);
    assert_eq!(info.macs, ["02:00:00:00:00:01", "02:00:00:00:00:02"]);
    assert_eq!(info.wake_armed, Some(["eth2".into()].into()));
    let high = |seq| vec![(MachineId::new("pi"), Token { epoch: 2, seq })];
    assert_eq!(info.high_water, high(7));
    let facts = bench
        .facts_of(
            "hla/v1/a/pi/status",
            status(WireState::Stopping, 8).encode(),
            false,
        )
        .await;
    let [first, Fact::AgentInfo(info)] = &facts[..] else {
        panic!("{facts:?}")
    };
    assert_eq!(
        (first, &info.high_water),
        (&state(AgentState::Stopping), &high(8))
    );
    let facts = bench
        .facts_of(
            "hla/v1/a/pi/status",
            status(WireState::Offline, 8).encode(),
            false,
        )
        .await;
    assert_eq!(facts, [state(AgentState::Offline)]);
}

#[tokio::test]
async fn a_relay_tells_the_marks_of_its_targets_and_the_credentials_that_it_holds() {
    let mut bench = Bench::new().await;
    let relay = Inventory {
        credentials: Some(vec!["r720".into()]),
        ..inventory()
    };
    let facts = bench
        .facts_of("hla/v1/a/pi/inv", relay.encode(), true)
        .await;
    let [Fact::AgentInfo(info)] = &facts[..] else {
        panic!("{facts:?}")
    };
    assert_eq!(info.credentials, Some(vec!["r720".to_owned()]));
    let wire = |epoch, seq| proto_mqtt::Token { epoch, seq };
    let marked = Status {
        marks: [
            ("nuc1".parse().unwrap(), wire(2, 5)),
            ("r720".parse().unwrap(), wire(1, u64::MAX)),
        ]
        .into(),
        ..status(WireState::Online, 7)
    };
    let facts = bench
        .facts_of("hla/v1/a/pi/status", marked.encode(), true)
        .await;
    let [Fact::AgentState { .. }, Fact::AgentInfo(info)] = &facts[..] else {
        panic!("{facts:?}")
    };
    let mark = |machine, epoch, seq| (MachineId::new(machine), Token { epoch, seq });
    assert_eq!(
        info.high_water,
        [
            mark("nuc1", 2, 5),
            mark("pi", 2, 7),
            mark("r720", 1, u32::MAX)
        ]
    );
    assert_eq!(info.credentials, Some(vec!["r720".to_owned()]));
}

#[tokio::test]
async fn a_result_is_trusted_only_under_the_pinned_key_and_for_its_own_topic() {
    let mut bench = Bench::new().await;
    let body = result(ResultState::Accepted);
    let own = sealed(&signer(), RES, &body);
    let foreign = sealed(&Signer::from_seed(RESULT_KID, &[8; 32]), RES, &body);
    let other_topic = sealed(&signer(), "hla/v1/a/nas/res", &body);
    for (payload, trusted) in [(own, true), (foreign, false), (other_topic, false)] {
        let facts = bench.facts_of(RES, payload, false).await;
        let report = only_report(&facts);
        assert_eq!(
            (report.trusted, report.state),
            (trusted, ReportState::Accepted)
        );
        assert_eq!(report.command, Ulid::from_bits(5).to_string());
    }
    // Signed well, but by an agent whose key nobody pinned.
    let facts = bench
        .facts_of(
            "hla/v1/a/nas/res",
            sealed(&signer(), "hla/v1/a/nas/res", &body),
            false,
        )
        .await;
    assert!(!only_report(&facts).trusted);
}

#[tokio::test]
async fn outcomes_become_readings_and_sentences() {
    let mut bench = Bench::new().await;
    let bmc = |power, word: &str| {
        Outcome::Redfish(BmcOutcome {
            power,
            word: word.into(),
            changed: false,
        })
    };
    let wol = Outcome::Wol(WakeOutcome {
        sent: vec![Sent {
            iface: "eth0".into(),
            to: vec![
                "192.168.1.255".parse().unwrap(),
                "255.255.255.255".parse().unwrap(),
            ],
        }],
        ports: vec![9, 7],
        packets: 12,
    });
    for (out, read, message) in [
        (
            bmc(Power::On, "On"),
            Some(PowerRead::On),
            "the BMC reports On",
        ),
        (
            bmc(Power::Off, ""),
            Some(PowerRead::Off),
            "the BMC reports off",
        ),
        (
            bmc(Power::Unknown, "PoweringOn"),
            Some(PowerRead::Other),
            "the BMC reports PoweringOn",
        ),
        (
            wol,
            None,
            "12 magic packets left (eth0 to 192.168.1.255 and 255.255.255.255, ports 9,7)",
        ),
    ] {
        let body = ResultBody {
            out: Some(out),
            ..result(ResultState::Done)
        };
        let facts = bench
            .facts_of(RES, sealed(&signer(), RES, &body), false)
            .await;
        let report = only_report(&facts);
        assert_eq!((report.read, report.message.as_str()), (read, message));
    }
}

#[tokio::test]
async fn a_refusal_carries_its_code_and_words() {
    let mut bench = Bench::new().await;
    let body = ResultBody {
        code: Some(Code::MinUptime),
        msg: "up for 20 s".into(),
        ..result(ResultState::Refused)
    };
    let facts = bench
        .facts_of(RES, sealed(&signer(), RES, &body), false)
        .await;
    let report = only_report(&facts);
    assert_eq!(report.state, ReportState::Refused);
    assert_eq!(
        (report.code.as_str(), report.message.as_str()),
        ("min_uptime", "up for 20 s")
    );
}

#[tokio::test]
async fn the_last_word_about_the_nics_counts_only_if_signed() {
    let mut bench = Bench::new().await;
    bench
        .facts_of("hla/v1/a/pi/inv", inventory().encode(), true)
        .await;
    let body = ResultBody {
        out: Some(Outcome::Host(HostOutcome {
            nics: vec![HostNic {
                mac: Mac([2, 0, 0, 0, 0, 1]),
                wol: WakeFlag::Unarmed,
            }],
        })),
        ..result(ResultState::Running)
    };
    let forged = sealed(&Signer::from_seed(RESULT_KID, &[8; 32]), RES, &body);
    only_report(&bench.facts_of(RES, forged, false).await);
    let facts = bench
        .facts_of(RES, sealed(&signer(), RES, &body), false)
        .await;
    let [Fact::Reported(_), Fact::AgentInfo(info)] = &facts[..] else {
        panic!("{facts:?}")
    };
    assert_eq!(info.wake_armed, Some([].into()));
    let card = |last, wol| HostNic {
        mac: Mac([2, 0, 0, 0, 0, last]),
        wol,
    };
    // The second has come since the inventory, so only its address is known.
    let nics = vec![card(2, WakeFlag::Armed), card(9, WakeFlag::Armed)];
    let body = ResultBody {
        out: Some(Outcome::Host(HostOutcome { nics })),
        ..result(ResultState::Running)
    };
    let facts = bench
        .facts_of(RES, sealed(&signer(), RES, &body), false)
        .await;
    let [Fact::Reported(_), Fact::AgentInfo(info)] = &facts[..] else {
        panic!("{facts:?}")
    };
    let named = vec!["eth2".to_owned(), "02:00:00:00:00:09".to_owned()];
    assert_eq!(info.wake_armed, Some(named.into()));
}

#[tokio::test]
async fn the_last_outcomes_of_an_agent_reach_a_new_leader() {
    let mut bench = Bench::new().await;
    let last = LastResults {
        v: V1,
        results: vec![result(ResultState::Accepted), result(ResultState::Done)],
    };
    let topic = "hla/v1/a/pi/last";
    let payload = Envelope::seal(&signer(), Purpose::Result, topic, last.encode_text()).encode();
    let facts = bench.facts_of(topic, payload, true).await;
    let [Fact::Reported(first), Fact::Reported(second)] = &facts[..] else {
        panic!("{facts:?}")
    };
    assert_eq!(
        (first.state, second.state),
        (ReportState::Accepted, ReportState::Done)
    );
    assert!(first.trusted && second.trusted);
}

#[tokio::test]
async fn sensors_are_kept_for_people_and_decide_nothing() {
    let mut bench = Bench::new().await;
    let health = Health {
        v: V1,
        at_up_s: 1,
        at_wall_s: None,
        load1: 0.5,
        mem_used_pct: 20.0,
        temps: std::collections::BTreeMap::new(),
        disks: Vec::new(),
        power_w: Some(12.5),
        energy_wh: None,
        users: 0,
        inhibitors: 0,
        targets: Vec::new(),
    };
    assert!(
        bench
            .facts_of("hla/v1/a/pi/health", health.encode(), true)
            .await
            .is_empty()
    );
    assert_eq!(
        bench.readings.of(&agent()).map(|reading| reading.health),
        Some(health)
    );
}

#[test]
fn only_a_reading_that_comes_straight_from_its_host_tells_how_far_its_clock_is_off() {
    let health = |at_wall_s| -> Health {
        let text = serde_json::json!({"v": 1, "at_up_s": 1, "at_wall_s": at_wall_s, "load1": 0.5, "mem_used_pct": 20.0});
        serde_json::from_value(text).unwrap()
    };
    for (wall_s, stored, ahead_s) in [
        (Some(1_000_u64), false, Some(0)),
        (Some(1_300), false, Some(300)),
        (Some(10), false, Some(-990)),
        (Some(1_300), true, None),
        (None, false, None),
        (Some(u64::MAX), false, None),
    ] {
        let reading = Reading::new(health(wall_s), 1_000_900, stored);
        assert_eq!(reading.clock_ahead_s, ahead_s, "{wall_s:?} {stored}");
    }
}

#[test]
fn armed_interfaces_are_named_and_silence_says_nothing() {
    use WakeFlag::{Armed, Unarmed, Unknown, Unsupported};
    for (flags, armed) in [
        (&[][..], None),
        (&[Unknown], None),
        (&[Unsupported], Some(&[][..])),
        (&[Unarmed, Unknown], Some(&[])),
        (&[Unarmed, Armed, Unsupported, Armed], Some(&["b", "d"])),
    ] {
        let named = flags.iter().copied().zip(["a", "b", "c", "d"]);
        let armed = armed.map(|names| names.iter().map(ToString::to_string).collect());
        assert_eq!(parse::armed(named), armed, "{flags:?}");
    }
}
