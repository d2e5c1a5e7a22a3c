//! The mock BMC's HTTP side: service root, systems, reset action.
//! Holds: the root is open, the rest wants the login; errors have Redfish's body.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Request as HttpRequest, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{BmcOrder, Request, Shared, lock};
use crate::recorder::Effect;

const ROOT: &str = "/redfish/v1";

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let closed = Router::new()
        .route("/redfish/v1/Systems", get(systems))
        .route("/redfish/v1/Systems/{id}", get(system))
        .route(
            "/redfish/v1/Systems/{id}/Actions/ComputerSystem.Reset",
            post(reset),
        )
        .layer(middleware::from_fn_with_state(
            Arc::clone(&shared),
            authorize,
        ));
    Router::new()
        .route("/redfish/v1", get(root))
        .route("/redfish/v1/", get(root))
        .merge(closed)
        .fallback(async || error(StatusCode::NOT_FOUND, "ResourceMissingAtURI", "no such URI"))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), log))
        .with_state(shared)
}

async fn log(State(shared): State<Arc<Shared>>, request: HttpRequest, next: Next) -> Response {
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let answer = next.run(request).await;
    let status = answer.status().as_u16();
    lock(&shared.requests).push(Request {
        method,
        path,
        status,
    });
    answer
}

async fn authorize(
    State(shared): State<Arc<Shared>>,
    request: HttpRequest,
    next: Next,
) -> Response {
    if let Some((user, password)) = &shared.login {
        let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let given = request.headers().get(header::AUTHORIZATION);
        if given.map(|value| value.as_bytes()) != Some(expected.as_bytes()) {
            let mut answer = error(
                StatusCode::UNAUTHORIZED,
                "NoValidSession",
                "user and password are required",
            );
            let realm = header::HeaderValue::from_static("Basic realm=\"BMC\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
            return answer;
        }
    }
    next.run(request).await
}

async fn root() -> Response {
    ok(json!({
        "@odata.id": format!("{ROOT}/"),
        "@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot",
        "Id": "RootService",
        "Name": "Mock BMC",
        "RedfishVersion": "1.6.0",
        "Systems": {"@odata.id": format!("{ROOT}/Systems")},
    }))
}

async fn systems(State(shared): State<Arc<Shared>>) -> Response {
    let members: Vec<Value> = lock(&shared.systems)
        .keys()
        .map(|id| json!({"@odata.id": format!("{ROOT}/Systems/{id}")}))
        .collect();
    ok(json!({
        "@odata.id": format!("{ROOT}/Systems"),
        "@odata.type": "#ComputerSystemCollection.ComputerSystemCollection",
        "Name": "Systems",
        "Members@odata.count": members.len(),
        "Members": members,
    }))
}

async fn system(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let Ok(delay) = shared.with(&id, |system| system.faults.delay) else {
        return missing(&id);
    };
    tokio::time::sleep(delay).await;
    let seen = shared.with(&id, |system| {
        let offered = system.faults.offered.clone();
        let power = (!system.faults.hide_power).then_some(system.power);
        (power, offered.unwrap_or_else(all_resets))
    });
    let Ok((power, offered)) = seen else {
        return missing(&id);
    };
    let path = format!("{ROOT}/Systems/{id}");
    let mut body = json!({
        "@odata.id": path,
        "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem",
        "Id": id,
        "Name": id,
        "UUID": id,
        "Status": {"State": "Enabled", "Health": "OK"},
        "Actions": {"#ComputerSystem.Reset": {
            "target": format!("{path}/Actions/ComputerSystem.Reset"),
            "ResetType@Redfish.AllowableValues": offered,
        }},
    });
    if let Some(power) = power {
        body["PowerState"] = power.as_str().into();
    }
    ok(body)
}

async fn reset(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(delay) = shared.with(&id, |system| system.faults.delay) else {
        return missing(&id);
    };
    tokio::time::sleep(delay).await;
    let body: Option<Value> = serde_json::from_slice(&body).ok();
    let wanted = body.as_ref().and_then(|body| body["ResetType"].as_str());
    let answer = match wanted {
        _ if !is_json(&headers) => error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            "the body must be application/json",
        ),
        None => error(
            StatusCode::BAD_REQUEST,
            "ActionParameterMissing",
            "ResetType is missing",
        ),
        Some(word) => carry_out(&shared, &id, word),
    };
    shared.recorder.record(Effect::BmcReset {
        system: id,
        reset: wanted.unwrap_or_default().to_owned(),
        status: answer.status().as_u16(),
    });
    answer
}

fn carry_out(shared: &Shared, id: &str, word: &str) -> Response {
    let done = shared.with(id, |system| {
        if let Some((status, times)) = system.faults.refuse_resets
            && times > 0
        {
            system.faults.refuse_resets = Some((status, times - 1));
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return error(status, "GeneralError", "the reset is refused");
        }
        let offered = system.faults.offered.clone().unwrap_or_else(all_resets);
        let order = BmcOrder::parse(word).filter(|_| offered.iter().any(|known| known == word));
        let Some(order) = order else {
            let text = format!("the value {word} for ResetType is not offered");
            return error(
                StatusCode::BAD_REQUEST,
                "ActionParameterValueNotInList",
                &text,
            );
        };
        if system.faults.ignore_resets > 0 {
            system.faults.ignore_resets -= 1;
        } else {
            system.order(order);
        }
        StatusCode::NO_CONTENT.into_response()
    });
    done.unwrap_or_else(|_| missing(id))
}

fn all_resets() -> Vec<String> {
    let words = BmcOrder::ALL.iter().map(|(_, word)| (*word).to_owned());
    words.collect()
}

fn is_json(headers: &HeaderMap) -> bool {
    let content = headers.get(header::CONTENT_TYPE);
    content.is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
}

fn ok(body: Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (ODATA, "4.0")];
    (headers, body.to_string()).into_response()
}

const ODATA: header::HeaderName = header::HeaderName::from_static("odata-version");

fn missing(id: &str) -> Response {
    let text = format!("there is no system {id}");
    error(StatusCode::NOT_FOUND, "ResourceMissingAtURI", &text)
}

fn error(status: StatusCode, key: &str, message: &str) -> Response {
    let id = format!("Base.1.8.{key}");
    let body = json!({"error": {
        "code": id,
        "message": message,
        "@Message.ExtendedInfo": [{"MessageId": id, "Message": message, "Severity": "Critical"}],
    }});
    let mut answer = ok(body);
    *answer.status_mut() = status;
    answer
}
