//! What the driver makes of a BMC's status codes and words.

use std::time::Duration;

use serde_json::json;

use super::super::mock::{Reply, Request};
use super::*;
use crate::fault::Effect;

fn error(id: &str) -> Value {
    json!({"error": {"code": "Base.1.0.GeneralError", "message": "see info",
        "@Message.ExtendedInfo": [{"MessageId": id, "Message": format!("words of {id}")}]}})
}

/// A BMC that answers each reset by this, while its state stays Off.
async fn refusing(reply: Reply) -> Mock {
    Mock::scripted(move |request, _| request.is_reset().then(|| reply.clone())).await
}

#[tokio::test]
async fn a_conflict_is_a_success_where_the_state_agrees_and_busy_where_not() {
    for status_and_id in [
        (409, "IDRAC.2.1.PSU501"),
        (400, "iLO.2.14.InvalidOperationForSystemState"),
        (400, "IDRAC.2.8.SWC0700"),
    ] {
        let (status, id) = status_and_id;
        let mock = Mock::scripted(move |request, model| {
            request.is_reset().then(|| {
                model.systems[0].3 = json!("On");
                Reply::Json(status, error(id))
            })
        })
        .await;
        assert_eq!(
            machine(&mock).apply(Step::On).await,
            Ok(Applied::NoChange),
            "{id}"
        );

        let mock = refusing(Reply::Json(status, error(id))).await;
        let fault = machine(&mock).apply(Step::On).await.expect_err("still off");
        assert_eq!(
            (fault.kind, fault.effect),
            (FaultKind::Busy, Effect::None),
            "{id}"
        );
        assert!(fault.detail.contains(&format!("words of {id}")), "{fault}");
        assert_eq!(mock.resets(), ["On"]);
    }
}

#[tokio::test]
async fn an_unknown_reset_type_leads_to_the_next_one() {
    for (status, id) in [
        (501, "Base.1.0.GeneralError"),
        (405, "Base.1.0.GeneralError"),
        (400, "Base.1.12.ActionParameterNotSupported"),
        (400, "Base.v1_4_0.ActionParameterValueNotInList"),
        (400, "ActionParameterUnknown"),
    ] {
        let mock = Mock::scripted(move |request, _| {
            (request.is_reset() && request.reset_type() == "On")
                .then(|| Reply::Json(status, error(id)))
        })
        .await;
        machine(&mock)
            .apply(Step::On)
            .await
            .expect("ForceOn is known");
        assert_eq!(mock.resets(), ["On", "ForceOn"], "{id}");

        let mock = refusing(Reply::Json(status, error(id))).await;
        let fault = machine(&mock)
            .apply(Step::On)
            .await
            .expect_err("none is known");
        assert_eq!(
            (fault.kind, fault.effect),
            (FaultKind::NotSupported, Effect::None),
            "{id}"
        );
        assert_eq!(mock.resets(), ["On", "ForceOn"]);
    }
}

#[tokio::test]
async fn a_refused_login_is_told_after_one_try() {
    let mock = Mock::scripted(|request, _| {
        (request.path != "/redfish/v1/")
            .then(|| Reply::With(401, vec![], b"<html>no</html>".to_vec()))
    })
    .await;
    let fault = machine(&mock).observe().await.expect_err("refused");
    assert_eq!((fault.kind, fault.effect), (FaultKind::Auth, Effect::None));
    assert!(fault.detail.contains("refused user `power` 401"), "{fault}");
    assert!(!fault.detail.contains("w0rd"));
    let tries = mock
        .log()
        .into_iter()
        .filter(|request| request.header("authorization").is_some());
    assert_eq!(tries.count(), 1);
}

#[tokio::test]
async fn a_closed_root_is_opened_with_the_credentials() {
    let mock = Mock::scripted(|request, _| {
        request
            .header("authorization")
            .is_none()
            .then(|| Reply::With(401, vec![], vec![]))
    })
    .await;
    assert_eq!(power(&machine(&mock)).await, Power::Off);
}

#[tokio::test]
async fn a_forbidden_step_is_told_apart_by_its_reason() {
    for (id, kind) in [
        ("Base.1.12.PasswordChangeRequired", FaultKind::Auth),
        ("SMC.1.0.OemLicenseNotPassed", FaultKind::NotSupported),
        ("Base.1.12.InsufficientPrivilege", FaultKind::Auth),
    ] {
        let mock = refusing(Reply::Json(403, error(id))).await;
        let fault = machine(&mock).apply(Step::On).await.expect_err("forbidden");
        assert_eq!((fault.kind, fault.effect), (kind, Effect::None), "{id}");
        assert!(fault.detail.contains(id), "{fault}");
    }
}

#[tokio::test]
async fn a_forbidden_side_resource_does_not_stop_power_control() {
    let mock = Mock::scripted(|request, _| {
        (request.path == "/info").then(|| Reply::Json(403, error("Base.1.0.InsufficientPrivilege")))
    })
    .await;
    let target = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    mock.model().action = Some(json!({"target": target, "@Redfish.ActionInfo": "/info"}));
    machine(&mock).apply(Step::On).await.expect("accepted");
}

#[tokio::test]
async fn a_busy_bmc_tells_how_long_to_wait() {
    for (status, header, seconds) in [
        (503, Some("2"), 2),
        (429, Some("99999"), 300),
        (503, Some("abc"), 10),
        (503, None, 10),
        (503, Some("Sun, 06 Nov 1994 08:49:37 GMT"), 1),
    ] {
        let headers = header
            .map(|value| ("Retry-After", value.to_owned()))
            .into_iter()
            .collect();
        let body = error("IDRAC.2.8.RAC0218").to_string().into_bytes();
        let mock = refusing(Reply::With(status, headers, body)).await;
        let fault = machine(&mock).apply(Step::On).await.expect_err("busy");
        assert_eq!((fault.kind, fault.effect), (FaultKind::Busy, Effect::None));
        assert_eq!(
            fault.retry_after,
            Some(Duration::from_secs(seconds)),
            "{header:?}"
        );
        assert_eq!(mock.resets().len(), 1);
    }
}

#[tokio::test]
async fn a_server_error_after_a_post_is_settled_by_the_state() {
    for status in [500, 502, 504] {
        let mock = refusing(Reply::Json(status, json!({}))).await;
        let fault = machine(&mock).apply(Step::On).await.expect_err("still off");
        assert_eq!(
            (fault.kind, fault.effect),
            (FaultKind::Transient, Effect::Possible)
        );

        let mock = Mock::scripted(move |request, model| {
            request.is_reset().then(|| {
                model.systems[0].3 = json!("On");
                Reply::Json(status, json!({}))
            })
        })
        .await;
        let applied = machine(&mock).apply(Step::On).await.expect("it is on");
        assert!(matches!(applied, Applied::Sent { .. }));
    }
    let mock =
        Mock::scripted(|request, _| request.is_system().then(|| Reply::Json(500, json!({})))).await;
    let fault = machine(&mock)
        .apply(Step::On)
        .await
        .expect_err("unreadable");
    assert_eq!(
        (fault.kind, fault.effect),
        (FaultKind::Transient, Effect::None)
    );
    assert!(mock.resets().is_empty());
}

#[tokio::test]
async fn every_form_of_acceptance_counts_and_a_critical_complaint_does_not() {
    let task = json!({"@odata.id": "/redfish/v1/TaskService/Tasks/1", "TaskState": "New"});
    let success = error("iLO.2.14.Success");
    let mut critical = success.clone();
    critical["error"]["@Message.ExtendedInfo"][0]["Severity"] = json!("Critical");
    for (reply, accepted) in [
        (Reply::Json(200, success.clone()), true),
        (Reply::With(200, vec![], vec![]), true),
        (Reply::Json(201, json!({})), true),
        (Reply::Json(202, task), true),
        (
            Reply::With(
                202,
                vec![(
                    "Location",
                    "/redfish/v1/TaskService/TaskMonitors/1".to_owned(),
                )],
                vec![],
            ),
            true,
        ),
        (Reply::With(204, vec![], vec![]), true),
        (Reply::Json(200, critical), false),
        (Reply::Json(200, error("Base.1.0.GeneralError")), false),
        (
            Reply::Json(200, json!({"error": {"@Message.ExtendedInfo": "odd"}})),
            false,
        ),
        (Reply::Json(200, json!({"error": {}})), false),
    ] {
        let mock = refusing(reply).await;
        let outcome = machine(&mock).apply(Step::On).await;
        match outcome {
            Ok(applied) => assert!(accepted && matches!(applied, Applied::Sent { .. })),
            Err(fault) => {
                assert!(!accepted, "{fault}");
                assert_eq!(
                    (fault.kind, fault.effect),
                    (FaultKind::Transient, Effect::Possible)
                );
            }
        }
        assert_eq!(mock.resets().len(), 1);
    }
}

#[tokio::test]
async fn a_demanded_condition_and_a_refused_encoding_are_answered_once() {
    let mock = Mock::scripted(|request, _| {
        let lacks = request.is_reset() && request.header("if-match") != Some("*");
        lacks.then(|| Reply::Json(428, json!({})))
    })
    .await;
    machine(&mock)
        .apply(Step::On)
        .await
        .expect("accepted with the condition");
    assert_eq!(mock.resets().len(), 2);

    let picky = |request: &Request| request.header("accept-encoding").is_some();
    let mock =
        Mock::scripted(move |request, _| picky(request).then(|| Reply::Json(406, json!({})))).await;
    machine(&mock)
        .apply(Step::On)
        .await
        .expect("accepted without the header");

    let mock = Mock::scripted(|_, _| Some(Reply::Json(406, json!({})))).await;
    let fault = machine(&mock)
        .observe()
        .await
        .expect_err("never acceptable");
    assert_eq!(fault.kind, FaultKind::Protocol);
    assert_eq!(mock.log().len(), 2);
}

#[tokio::test]
async fn a_server_without_redfish_is_named_as_such() {
    let mock = Mock::scripted(|_, _| Some(Reply::With(404, vec![], b"nginx".to_vec()))).await;
    let fault = machine(&mock).observe().await.expect_err("no Redfish");
    assert!(
        fault
            .detail
            .ends_with("has no Redfish service (404 at /redfish/v1/)"),
        "{fault}"
    );
}

#[tokio::test]
async fn pages_are_followed_but_not_without_end() {
    let page = |next: &str| json!({"Members": [{"@odata.id": "/redfish/v1/Systems/9"}], "Members@odata.nextLink": next});
    let mock = Mock::scripted(move |request, _| match request.path.as_str() {
        "/redfish/v1/Systems" => Some(Reply::Json(200, page("/redfish/v1/Systems?page=2"))),
        "/redfish/v1/Systems?page=2" => Some(Reply::Json(
            200,
            json!({"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]}),
        )),
        _ => None,
    })
    .await;
    assert_eq!(power(&machine_of(&mock, Some("node-1"))).await, Power::Off);

    let mock = Mock::scripted(move |request, _| {
        let systems = request.path == "/redfish/v1/Systems";
        systems.then(|| Reply::Json(200, page("/redfish/v1/Systems")))
    })
    .await;
    let fault = machine(&mock).observe().await.expect_err("a loop");
    assert!(
        fault.detail.ends_with("lists systems without end"),
        "{fault}"
    );

    let mock = Mock::scripted(|request, _| {
        let systems = request.path == "/redfish/v1/Systems";
        systems.then(|| Reply::Json(200, json!({"Members": null})))
    })
    .await;
    let fault = machine(&mock).observe().await.expect_err("empty");
    assert!(fault.detail.ends_with("has no system"), "{fault}");
}
