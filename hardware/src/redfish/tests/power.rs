//! What is sent for which state, and what is read.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Notify;

use super::super::mock::{Model, Reply, Request, UUID_1, UUID_2};
use super::*;
use crate::fault::Effect;

fn three(model: &mut Model) {
    let system = |id, name, uuid| (id, name, uuid, json!("Off"));
    model.systems = vec![
        system("1", "node-1", UUID_1),
        system("2", "node-2", UUID_2),
        system("3", "node-3", "00112233-4455-6677-8899-aabbccddee03"),
    ];
}

#[tokio::test]
async fn on_from_off_is_one_post_with_these_bytes_and_headers() {
    let mock = Mock::plain().await;
    let machine = machine(&mock);
    let applied = machine.apply(Step::On).await.expect("accepted");
    let detail = format!("On accepted by BMC {} (204)", mock.url());
    assert_eq!(applied, Applied::Sent { detail });
    assert_eq!(power(&machine).await, Power::On);

    let log = mock.log();
    let posts: Vec<&Request> = log
        .iter()
        .filter(|request| request.method == "POST")
        .collect();
    assert_eq!(posts.len(), 1);
    assert_eq!(
        posts[0].path,
        "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"
    );
    assert_eq!(posts[0].body, r#"{"ResetType":"On"}"#);
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("odata-version", "4.0"),
        ("authorization", "Basic cG93ZXI6cGFzczp3MHJk"),
    ] {
        assert_eq!(posts[0].header(name), Some(value), "{name}");
    }
    assert_eq!(posts[0].header("if-match"), None);
    assert_eq!(log[0].path, "/redfish/v1/");
    assert_eq!(log[0].header("authorization"), None, "the root is open");
}

#[tokio::test]
async fn a_step_towards_the_present_state_sends_nothing() {
    for (state, step) in [
        ("On", Step::On),
        ("PoweringOn", Step::On),
        ("Off", Step::ShutdownGraceful),
        ("Off", Step::OffHard),
        ("PoweringOff", Step::ShutdownGraceful),
    ] {
        let mock = Mock::plain().await;
        mock.model().systems[0].3 = json!(state);
        assert_eq!(
            machine(&mock).apply(step).await,
            Ok(Applied::NoChange),
            "{state} {step}"
        );
        assert!(mock.resets().is_empty());
    }
}

#[tokio::test]
async fn each_step_sends_its_reset_type() {
    for (state, step, sent) in [
        ("Off", Step::On, "On"),
        ("On", Step::ShutdownGraceful, "GracefulShutdown"),
        ("On", Step::OffHard, "ForceOff"),
        ("PoweringOff", Step::OffHard, "ForceOff"),
    ] {
        let mock = Mock::plain().await;
        mock.model().systems[0].3 = json!(state);
        machine(&mock).apply(step).await.expect("accepted");
        assert_eq!(mock.resets(), [sent]);
    }
}

#[tokio::test]
async fn a_step_against_a_running_transition_waits() {
    for (state, step) in [
        ("PoweringOff", Step::On),
        ("PoweringOn", Step::ShutdownGraceful),
        ("PoweringOn", Step::OffHard),
    ] {
        let mock = Mock::plain().await;
        mock.model().systems[0].3 = json!(state);
        let fault = machine(&mock).apply(step).await.expect_err("not now");
        assert_eq!((fault.kind, fault.effect), (FaultKind::Busy, Effect::None));
        assert!(mock.resets().is_empty());
    }
}

#[tokio::test]
async fn a_reboot_is_not_offered() {
    let mock = Mock::plain().await;
    let fault = machine(&mock)
        .apply(Step::Reboot)
        .await
        .expect_err("not offered");
    assert_eq!(fault.kind, FaultKind::NotSupported);
    assert!(mock.log().is_empty());
}

#[tokio::test]
async fn a_state_that_is_no_exact_word_is_unknown_and_nothing_is_written() {
    // `false` makes the mock leave the state out.
    for state in [
        json!(false),
        json!(null),
        json!("on"),
        json!("Reset"),
        json!(""),
        json!(7),
        json!(["On"]),
    ] {
        let mock = Mock::plain().await;
        mock.model().systems[0].3 = state.clone();
        let machine = machine(&mock);
        assert!(
            matches!(power(&machine).await, Power::Unknown(_)),
            "{state}"
        );
        for step in [Step::On, Step::ShutdownGraceful, Step::OffHard] {
            let fault = machine.apply(step).await.expect_err("unknown state");
            assert_eq!(
                (fault.kind, fault.effect),
                (FaultKind::Protocol, Effect::None)
            );
        }
        assert!(mock.resets().is_empty());
    }
}

#[tokio::test]
async fn each_reading_says_what_the_bmc_says_now_even_if_it_flaps() {
    let states = ["On", "Off", "PoweringOff", "Off", "On", "Sleeping"];
    let mut next = states.into_iter();
    let mock = Mock::scripted(move |request, model| {
        if request.is_system() {
            model.systems[0].3 = json!(next.next());
        }
        None
    })
    .await;
    let machine = machine(&mock);
    let mut seen = Vec::new();
    for _ in states {
        let reading = machine.observe().await.expect("readable");
        assert_eq!(reading.basis, Basis::Asserted);
        seen.push(reading.power);
    }
    let sleeping = Power::Unknown("PowerState is Sleeping".to_owned());
    let expected = [
        Power::On,
        Power::Off,
        Power::Transitioning,
        Power::Off,
        Power::On,
        sleeping,
    ];
    assert_eq!(seen, expected);
    // Root and collection once, then one request for each reading.
    assert_eq!(mock.log().len(), 2 + states.len());
}

#[tokio::test]
async fn of_several_systems_none_is_guessed() {
    let mock = Mock::plain().await;
    three(&mut mock.model());
    let fault = machine(&mock)
        .apply(Step::On)
        .await
        .expect_err("which one?");
    assert_eq!(fault.kind, FaultKind::InvalidConfig);
    assert!(
        fault
            .detail
            .ends_with("has 3 systems; set `system` to one of 1, 2, 3"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_system_is_found_by_id_name_uuid_and_path() {
    for wanted in [
        "2",
        "node-2",
        UUID_2,
        "00112233-4455-6677-8899-AABBCCDDEE02",
        "33221100-5544-7766-8899-aabbccddee02",
        "/redfish/v1/Systems/2",
        "/redfish/v1/Systems/2/",
    ] {
        let mock = Mock::plain().await;
        three(&mut mock.model());
        machine_of(&mock, Some(wanted))
            .apply(Step::On)
            .await
            .expect(wanted);
        let states: Vec<_> = mock
            .model()
            .systems
            .iter()
            .map(|system| system.3.clone())
            .collect();
        assert_eq!(
            states,
            [json!("Off"), json!("On"), json!("Off")],
            "{wanted}"
        );
    }
}

#[tokio::test]
async fn a_name_that_fits_none_or_two_systems_changes_neither() {
    let mock = Mock::plain().await;
    three(&mut mock.model());
    mock.model().systems[1].1 = "node-1";
    for wanted in ["node-1", "node-9", "/redfish/v1/Systems"] {
        let fault = machine_of(&mock, Some(wanted))
            .apply(Step::On)
            .await
            .expect_err(wanted);
        assert_eq!(fault.kind, FaultKind::InvalidConfig, "{wanted}");
    }
    assert!(mock.resets().is_empty());
}

#[tokio::test]
async fn another_uuid_than_the_meant_one_is_an_identity_mismatch() {
    let mock = Mock::plain().await;
    let fault = machine_of(&mock, Some(UUID_2))
        .apply(Step::On)
        .await
        .expect_err("another machine");
    assert_eq!(fault.kind, FaultKind::IdentityMismatch);
    assert!(mock.resets().is_empty());

    // Also if the machine behind a remembered link was exchanged.
    let machine = machine_of(&mock, Some(UUID_1));
    assert_eq!(power(&machine).await, Power::Off);
    mock.model().systems[0].2 = UUID_2;
    let fault = machine.apply(Step::On).await.expect_err("exchanged");
    assert_eq!(fault.kind, FaultKind::IdentityMismatch);
    assert!(mock.resets().is_empty());
}

#[tokio::test]
async fn a_system_whose_id_moved_is_found_again() {
    let mock = Mock::plain().await;
    let machine = machine_of(&mock, Some(UUID_1));
    assert_eq!(power(&machine).await, Power::Off);
    mock.model().systems[0].0 = "System.Embedded.1";
    machine.apply(Step::On).await.expect("found again");
    assert_eq!(mock.resets(), ["On"]);
}

#[tokio::test]
async fn the_allowable_values_are_a_preference_wherever_they_stand() {
    let target = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    let info = "/redfish/v1/Systems/1/ResetActionInfo";
    for (action, offered, sent) in [
        (json!({"target": target}), json!([]), "On"),
        (
            json!({"target": target, "@Redfish.ActionInfo": info}),
            json!(["ForceOn", "ForceOff"]),
            "ForceOn",
        ),
        (
            json!({"target": target, "@Redfish.ActionInfo": info, "ResetType@Redfish.AllowableValues": ["ForceOn"]}),
            json!(["On"]),
            "On",
        ),
        (
            json!({"target": target, "ResetType@Redfish.AllowableValues": ["ForceOn"]}),
            json!([]),
            "ForceOn",
        ),
        (
            json!({"target": target, "ResetType@Redfish.AllowableValues": ["GracefulShutdownGracefulRestart"]}),
            json!([]),
            "On",
        ),
        (
            json!({"target": target, "@Redfish.ActionInfo": "/redfish/v1/gone"}),
            json!([]),
            "On",
        ),
    ] {
        let mock = Mock::scripted(move |request, _| {
            let body = json!({"Parameters": [
                {"Name": "Other", "AllowableValues": ["Nmi"]},
                {"Name": "ResetType", "AllowableValues": offered},
            ]});
            (request.path == info).then_some(Reply::Json(200, body))
        })
        .await;
        mock.model().action = Some(action.clone());
        machine(&mock).apply(Step::On).await.expect("accepted");
        assert_eq!(mock.resets(), [sent], "{action}");
    }
}

#[tokio::test]
async fn a_fused_list_does_not_hinder_a_graceful_shutdown() {
    let mock = Mock::plain().await;
    let mut action = json!({"target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"});
    action["ResetType@Redfish.AllowableValues"] = json!(["On", "GracefulShutdownGracefulRestart"]);
    mock.model().action = Some(action);
    mock.model().systems[0].3 = json!("On");
    machine(&mock)
        .apply(Step::ShutdownGraceful)
        .await
        .expect("accepted");
    assert_eq!(mock.resets(), ["GracefulShutdown"]);
}

#[tokio::test]
async fn a_second_step_for_the_same_machine_is_busy_until_the_first_is_done_or_dropped() {
    let held = Arc::new(Notify::new());
    let permit = Arc::clone(&held);
    let mock = Mock::scripted(move |request, _| {
        request.is_reset().then(|| Reply::Held(Arc::clone(&permit)))
    })
    .await;
    let bmc = open(&mock, |_| {});
    let (first, second) = (bmc.machine(None), bmc.machine(None));
    {
        let mut running = first.apply(Step::On);
        // Runs the first step until its POST hangs.
        while mock.resets().is_empty() {
            let turn = tokio::task::yield_now();
            tokio::select! { _ = &mut running => unreachable!("the answer is held back"), () = turn => {} }
        }
        let fault = second.apply(Step::On).await.expect_err("one is under way");
        assert_eq!((fault.kind, fault.effect), (FaultKind::Busy, Effect::None));
        held.notify_one();
        running.await.expect("accepted");
    }
    mock.model().systems[0].3 = json!("Off");
    {
        let mut dropped = first.apply(Step::On);
        while mock.resets().len() < 2 {
            let turn = tokio::task::yield_now();
            tokio::select! { _ = &mut dropped => unreachable!("the answer is held back"), () = turn => {} }
        }
    }
    held.notify_one();
    held.notify_one();
    let third = second.apply(Step::OffHard).await;
    assert!(third.is_ok(), "{third:?}");
}

#[tokio::test]
async fn requests_to_one_bmc_are_serialised_also_for_two_machines_opened_apart() {
    let mock = Mock::plain().await;
    three(&mut mock.model());
    let bmcs = Bmcs::new();
    let open = || {
        let options = BmcOptions::new(mock.url().parse().expect("an address"), None);
        bmcs.open(options).expect("usable")
    };
    let machines = ["1", "2", "3"].map(|id| open().machine(Some(id.to_owned())));
    let [a, b, c] = &machines;
    let (a, b, c) = tokio::join!(a.apply(Step::On), b.apply(Step::On), c.apply(Step::On));
    for outcome in [a, b, c] {
        outcome.expect("accepted");
    }
    assert_eq!(mock.resets().len(), 3);
    assert_eq!(mock.most_inflight(), 1);
}

#[tokio::test]
async fn credentials_are_refused_for_a_host_they_are_not_bound_to() {
    let mock = Mock::plain().await;
    let credentials = Credentials::new("power", "secret", ["10.0.9.20"]).expect("usable");
    let options = BmcOptions::new(mock.url().parse().expect("an address"), Some(credentials));
    let fault = Bmcs::new().open(options).err().expect("refused");
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(mock.log().is_empty());
}

#[test]
fn plain_http_beyond_loopback_needs_permission() {
    let open = |host: &str, insecure_http| {
        let credentials = Credentials::new("power", "secret", [host]).expect("usable");
        let mut options = BmcOptions::new(
            "http://10.0.9.20".parse().expect("an address"),
            Some(credentials),
        );
        options.insecure_http = insecure_http;
        Bmcs::new()
            .open(options)
            .map(|_| ())
            .map_err(|fault| fault.kind)
    };
    assert_eq!(open("10.0.9.20", false), Err(FaultKind::InvalidConfig));
    assert_eq!(open("10.0.9.20", true), Ok(()));
    assert_eq!(open("http://10.0.9.20", false), Ok(()));
}
