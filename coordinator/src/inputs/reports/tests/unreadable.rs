//! Messages as no agent should ever send them.

use super::*;

#[tokio::test]
async fn nothing_that_arrives_gives_a_wrong_fact_or_a_panic() {
    let mut bench = Bench::new().await;
    let huge = vec![b' '; MAX_PAYLOAD_BYTES + 1];
    let later_version = String::from_utf8(heartbeat().encode())
        .unwrap()
        .replacen("\"v\":1", "\"v\":2", 1);
    let unknown_state = String::from_utf8(status(WireState::Online, 1).encode())
        .unwrap()
        .replace("online", "dreaming");
    let no_body = Envelope::seal(&signer(), Purpose::Result, RES, "not JSON".into()).encode();
    for (topic, payload) in [
        ("hla/v1/a/pi/hb", &b""[..]),
        ("hla/v1/a/pi/hb", b"{}"),
        ("hla/v1/a/pi/hb", b"\xff\xfe"),
        ("hla/v1/a/pi/hb", &huge),
        ("hla/v1/a/pi/hb", later_version.as_bytes()),
        ("hla/v1/a/pi/status", unknown_state.as_bytes()),
        ("hla/v1/a/pi/status", b"[]"),
        ("hla/v1/a/pi/inv", b"null"),
        ("hla/v1/a/pi/res", b"{\"v\":1}"),
        ("hla/v1/a/pi/res", &no_body),
        ("hla/v1/a/pi/last", &no_body),
        ("hla/v1/a/pi/health", b"12"),
        ("hla/v1/a/pi/cmd", b"{}"),
        ("hla/v1/a/pi/ping", b"{}"),
        ("hla/v1/a/PI/hb", b"{}"),
        ("hla/v1/c/status", b"{}"),
        ("other/topic\n", b"{}"),
        ("", b""),
    ] {
        for _twice in 0..2 {
            assert_eq!(bench.facts_of(topic, payload, false).await, [], "{topic}");
        }
    }
}

#[tokio::test]
async fn strangers_are_only_remembered_up_to_a_number_and_take_no_place_of_a_declared_machine() {
    let mut bench = Bench::among(2).await;
    let payload = inventory().encode();
    let sensors = br#"{"v": 1, "at_up_s": 1, "load1": 0.5, "mem_used_pct": 20.0}"#;
    for number in 0..MOST_STRANGERS {
        let topic = format!("hla/v1/a/a{number}/inv");
        assert_eq!(bench.facts_of(&topic, &payload, true).await.len(), 1);
    }
    let one_more = bench.facts_of("hla/v1/a/pi/inv", &payload, true).await;
    assert_eq!(one_more, []);
    let known = bench.facts_of("hla/v1/a/a0/inv", &payload, true).await;
    assert_eq!(known.len(), 1);
    for declared in ["m0", "agent-of-m1"] {
        let topic = format!("hla/v1/a/{declared}/inv");
        let told = bench.facts_of(&topic, &payload, true).await;
        assert_eq!(told.len(), 1, "{declared}");
        let topic = format!("hla/v1/a/{declared}/health");
        bench.facts_of(&topic, sensors, false).await;
        assert!(bench.readings.of(&AgentId::new(declared)).is_some());
    }
    bench.facts_of("hla/v1/a/pi/health", sensors, false).await;
    assert!(bench.readings.of(&agent()).is_none());
}
