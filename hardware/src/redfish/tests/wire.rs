//! Broken, slow and hostile answers below the level of Redfish.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::super::mock::{Reply, whole};
use super::*;
use crate::fault::Effect;

/// A time that surely passes when nothing comes, yet is short for a test.
const SHORT: Duration = Duration::from_millis(300);

fn impatient(mock: &Mock) -> Machine {
    open(mock, |options| options.request_timeout = SHORT).machine(None)
}

#[tokio::test]
async fn a_silent_bmc_times_out_and_only_a_post_may_have_had_an_effect() {
    let mock = Mock::scripted(|request, _| request.is_system().then_some(Reply::Silence)).await;
    let fault = impatient(&mock).observe().await.expect_err("silence");
    assert_eq!(
        (fault.kind, fault.effect),
        (FaultKind::Timeout, Effect::None)
    );

    let mock = Mock::scripted(|request, _| request.is_reset().then_some(Reply::Silence)).await;
    let machine = open(&mock, |options| {
        options.request_timeout = Duration::from_secs(3)
    })
    .machine(None);
    let fault = machine.apply(Step::On).await.expect_err("silence");
    assert_eq!(
        (fault.kind, fault.effect),
        (FaultKind::Timeout, Effect::Possible)
    );
    assert_eq!(mock.resets().len(), 1, "a POST is never repeated");
}

#[tokio::test]
async fn a_dripping_answer_does_not_outlive_the_deadline() {
    let slow = whole(200, &[], &[b' '; 2000]);
    let mock = Mock::scripted(move |_, _| Some(Reply::Drip(slow.clone()))).await;
    let fault = impatient(&mock).observe().await.expect_err("too slow");
    assert_eq!(
        (fault.kind, fault.effect),
        (FaultKind::Timeout, Effect::None)
    );
}

#[tokio::test]
async fn a_slow_but_whole_answer_is_taken() {
    let mock = Mock::scripted(|request, _| {
        let system = json!({"PowerState": "Off"}).to_string();
        request
            .is_system()
            .then(|| Reply::Drip(whole(200, &[], system.as_bytes())))
    })
    .await;
    assert_eq!(power(&machine(&mock)).await, Power::Off);
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_fault_with_the_right_effect() {
    for broken in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"PowerState\":\"Off\"}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let reply = Reply::Raw(broken.to_vec());
        let mock = Mock::scripted({
            let reply = reply.clone();
            move |request, _| request.is_system().then(|| reply.clone())
        })
        .await;
        let fault = machine(&mock).observe().await.expect_err("broken");
        assert_eq!(
            (fault.kind, fault.effect),
            (FaultKind::Transient, Effect::None)
        );

        let mock =
            Mock::scripted(move |request, _| request.is_reset().then(|| reply.clone())).await;
        let fault = machine(&mock).apply(Step::On).await.expect_err("broken");
        assert_eq!(
            (fault.kind, fault.effect),
            (FaultKind::Transient, Effect::Possible)
        );
        assert_eq!(mock.resets().len(), 1, "a POST is never repeated");
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_unreachable_without_effect() {
    let mock = Mock::plain().await;
    let machine = machine(&mock);
    drop(mock);
    // The listener closes when its task has ended.
    loop {
        let fault = machine.observe().await.expect_err("nobody there");
        if fault.kind == FaultKind::Unreachable {
            assert_eq!(fault.effect, Effect::None);
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_body_that_is_no_object_is_a_protocol_fault() {
    let deep = format!("{}{}", "{\"a\":".repeat(10_000), "}".repeat(10_000)).into_bytes();
    for body in [
        b"<html>".to_vec(),
        Vec::new(),
        b"[]".to_vec(),
        b"{\"PowerState\":NaN}".to_vec(),
        b"{\"PowerState\":\"On\",\"PowerState\":\"Off\"}".to_vec(),
        b"\xef\xbb\xbf{\"PowerState\":\"Off\"}".to_vec(),
        b"{\"PowerState\":\"\xff\"}".to_vec(),
        deep,
    ] {
        let mock = Mock::scripted({
            let body = body.clone();
            move |request, _| {
                request
                    .is_system()
                    .then(|| Reply::With(200, vec![], body.clone()))
            }
        })
        .await;
        let fault = machine(&mock).apply(Step::On).await.expect_err("nonsense");
        assert_eq!(
            (fault.kind, fault.effect),
            (FaultKind::Protocol, Effect::None)
        );
        assert!(mock.resets().is_empty());
    }
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let mock = Mock::scripted(|_, _| Some(Reply::Endless)).await;
    let fault = machine(&mock).observe().await.expect_err("too much");
    assert_eq!(fault.kind, FaultKind::Protocol);
    assert!(
        fault.detail.ends_with("sent more than 4194304 bytes"),
        "{fault}"
    );
}

fn redirect(status: u16, to: String) -> Reply {
    Reply::With(
        status,
        vec![("Location", to)],
        b"<html>moved</html>".to_vec(),
    )
}

#[tokio::test]
async fn one_redirect_on_the_same_origin_is_followed_for_get_and_post() {
    let mock = Mock::scripted(|request, model| {
        let target = request.path.strip_prefix("/old").map(str::to_owned);
        model.action =
            Some(json!({"target": "/old/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"}));
        match (request.path.as_str(), target) {
            ("/redfish/v1/", _) => Some(Reply::Json(
                200,
                json!({"Systems": {"@odata.id": "/old/redfish/v1/Systems"}}),
            )),
            (_, Some(target)) => Some(redirect(307, target)),
            (_, None) => None,
        }
    })
    .await;
    let machine = machine(&mock);
    machine.apply(Step::On).await.expect("followed");
    assert_eq!(power(&machine).await, Power::On);
    assert_eq!(
        mock.resets(),
        ["On", "On"],
        "once to the old place, once to the new"
    );
}

#[tokio::test]
async fn a_redirect_elsewhere_or_in_a_circle_is_refused_and_nobody_else_sees_the_password() {
    let other = Mock::plain().await;
    let elsewhere = other.url();
    for (status, to) in [
        (307, format!("{elsewhere}/redfish/v1/Systems/1")),
        (308, format!("//{}/redfish/v1/Systems/1", other.address)),
        (307, "https://127.0.0.1/redfish/v1/Systems/1".to_owned()),
        (307, "/redfish/v1/Systems/1".to_owned()),
        (307, "/redfish/../Systems/1".to_owned()),
        (301, "/redfish/v1/Systems/2".to_owned()),
        (302, format!("{elsewhere}/")),
        (304, String::new()),
    ] {
        let mock = Mock::scripted({
            let to = to.clone();
            move |request, _| request.is_system().then(|| redirect(status, to.clone()))
        })
        .await;
        let fault = machine(&mock).apply(Step::On).await.expect_err("refused");
        assert_eq!(
            (fault.kind, fault.effect),
            (FaultKind::Protocol, Effect::None),
            "{status} {to}"
        );
        assert!(mock.log().len() <= 4);
    }
    assert!(other.log().is_empty());
}

#[tokio::test]
async fn a_reset_target_elsewhere_is_refused_before_any_request() {
    let other = Mock::plain().await;
    for target in [
        format!(
            "{}/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
            other.url()
        ),
        format!("//{}/x", other.address),
        "/redfish/v1/../../x".to_owned(),
        "/redfish/v1/%2e%2e/x".to_owned(),
    ] {
        let mock = Mock::plain().await;
        mock.model().action = Some(json!({"target": target}));
        let fault = machine(&mock).apply(Step::On).await.expect_err("refused");
        assert_eq!(
            (fault.kind, fault.effect),
            (FaultKind::Protocol, Effect::None),
            "{target}"
        );
        assert!(mock.log().iter().all(|request| request.method == "GET"));
    }
    assert!(other.log().is_empty());
}

/// The environment of a process cannot be changed safely, so the same test program runs again with another one.
#[tokio::test]
async fn a_proxy_in_the_environment_is_not_used() {
    let proxy = Mock::plain().await;
    let mock = Mock::plain().await;
    let url = mock.url();
    let child = tokio::task::spawn_blocking({
        let proxy = proxy.url();
        move || {
            Command::new(std::env::current_exe().expect("this program"))
                .args([
                    "--exact",
                    "--ignored",
                    "redfish::tests::wire::reads_the_bmc_of_the_environment",
                ])
                .env("HTTP_PROXY", &proxy)
                .env("http_proxy", &proxy)
                .env("HTTPS_PROXY", &proxy)
                .env("ALL_PROXY", &proxy)
                .env("NO_PROXY", "")
                .env("TEST_BMC", url)
                .output()
        }
    });
    let output = child.await.expect("no panic").expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert!(!mock.log().is_empty());
    assert!(proxy.log().is_empty());
}

#[tokio::test]
#[ignore = "run by a_proxy_in_the_environment_is_not_used"]
async fn reads_the_bmc_of_the_environment() {
    let address = std::env::var("TEST_BMC").expect("set by the other test");
    let credentials = Credentials::new("power", "secret", ["127.0.0.1"]).expect("usable");
    let options = BmcOptions::new(address.parse().expect("an address"), Some(credentials));
    let machine = Bmcs::new().open(options).expect("usable").machine(None);
    assert_eq!(power(&machine).await, Power::Off);
}
