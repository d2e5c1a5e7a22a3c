use serde_json::{Value, json};

use super::*;
use crate::recorder::{Effect, Keys};

const SYSTEM: &str = "437XR1138R2";
const RESET: &str = "/redfish/v1/Systems/437XR1138R2/Actions/ComputerSystem.Reset";

async fn bmc(login: Option<(&str, &str)>) -> (MockBmc, Recorder) {
    let recorder = Recorder::in_memory();
    let keys = Keys {
        bmc_system: Some(SYSTEM.into()),
        ..Keys::default()
    };
    recorder.add_machine("r720", keys);
    let options = BmcOptions {
        login: login.map(|(user, password)| (user.to_owned(), password.to_owned())),
        systems: vec![SYSTEM.into(), "other".into()],
    };
    let bmc = MockBmc::start(options, recorder.clone()).await.unwrap();
    (bmc, recorder)
}

fn client() -> reqwest::Client {
    // Plain HTTP still needs a TLS provider to build the client.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn read(bmc: &MockBmc, path: &str) -> Value {
    let answer = client().get(bmc.url() + path).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

async fn order(bmc: &MockBmc, reset: &str) -> (u16, Value) {
    let request = client()
        .post(bmc.url() + RESET)
        .json(&json!({"ResetType": reset}));
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

#[tokio::test]
async fn reset_is_found_by_following_links() {
    let (bmc, recorder) = bmc(None).await;
    let root = read(&bmc, "/redfish/v1/").await;
    let systems = read(&bmc, root["Systems"]["@odata.id"].as_str().unwrap()).await;
    assert_eq!(systems["Members@odata.count"], 2);
    let system = read(&bmc, systems["Members"][0]["@odata.id"].as_str().unwrap()).await;
    assert_eq!(system["PowerState"], "Off");
    let action = &system["Actions"]["#ComputerSystem.Reset"];
    assert_eq!(action["target"], RESET);
    assert_eq!(action["ResetType@Redfish.AllowableValues"][0], "On");
    assert_eq!(order(&bmc, "On").await, (204, Value::Null));
    assert_eq!(bmc.power(SYSTEM).unwrap(), PowerState::On);
    assert_eq!(bmc.power("other").unwrap(), PowerState::Off);
    assert_eq!(recorder.resets("r720", "On"), 1);
}

#[tokio::test]
async fn login_guards_everything_but_the_root() {
    let (bmc, recorder) = bmc(Some(("power", "pass:w0rd"))).await;
    read(&bmc, "/redfish/v1/").await;
    let url = format!("{}/redfish/v1/Systems", bmc.url());
    for (password, status) in [("pass:w0rd", 200), ("wrong", 401)] {
        let request = client().get(&url).basic_auth("power", Some(password));
        assert_eq!(request.send().await.unwrap().status(), status, "{password}");
    }
    assert_eq!(order(&bmc, "On").await.0, 401);
    assert_eq!(recorder.records(), []);
    assert_eq!(bmc.power(SYSTEM).unwrap(), PowerState::Off);
}

#[tokio::test]
async fn attached_machine_decides_what_is_shown() {
    let (bmc, _recorder) = bmc(None).await;
    let mut orders = bmc.attach(SYSTEM).unwrap();
    order(&bmc, "GracefulShutdown").await;
    order(&bmc, "ForceOn").await;
    assert_eq!(orders.recv().await, Some(BmcOrder::GracefulShutdown));
    assert_eq!(orders.recv().await, Some(BmcOrder::On));
    assert_eq!(bmc.power(SYSTEM).unwrap(), PowerState::Off);
    bmc.set_power(SYSTEM, PowerState::PoweringOn).unwrap();
    let system = read(&bmc, &format!("/redfish/v1/Systems/{SYSTEM}")).await;
    assert_eq!(system["PowerState"], "PoweringOn");
}

#[tokio::test]
async fn faults_are_played_as_scripted() {
    let (bmc, recorder) = bmc(None).await;
    let faults = Faults {
        refuse_resets: Some((503, 1)),
        ignore_resets: 1,
        hide_power: true,
        ..Faults::default()
    };
    bmc.set_faults(SYSTEM, faults).unwrap();
    let (status, body) = order(&bmc, "On").await;
    assert_eq!(status, 503);
    assert_eq!(body["error"]["code"], "Base.1.8.GeneralError");
    assert_eq!(order(&bmc, "On").await.0, 204);
    assert_eq!(bmc.power(SYSTEM).unwrap(), PowerState::Off);
    assert_eq!(order(&bmc, "On").await.0, 204);
    assert_eq!(bmc.power(SYSTEM).unwrap(), PowerState::On);
    let system = read(&bmc, &format!("/redfish/v1/Systems/{SYSTEM}")).await;
    assert!(system.get("PowerState").is_none());
    let statuses: Vec<u16> = recorder
        .records()
        .iter()
        .filter_map(|record| {
            let Effect::BmcReset { status, .. } = record.effect else {
                return None;
            };
            Some(status)
        })
        .collect();
    assert_eq!(statuses, [503, 204, 204]);
}

#[tokio::test]
async fn bad_resets_are_refused_with_a_reason() {
    let (bmc, _recorder) = bmc(None).await;
    let offered = Faults {
        offered: Some(vec!["ForceOff".into()]),
        ..Faults::default()
    };
    bmc.set_faults(SYSTEM, offered).unwrap();
    for reset in ["On", "Nmi"] {
        let (status, body) = order(&bmc, reset).await;
        assert_eq!(status, 400, "{reset}");
        let code = body["error"]["code"].as_str().unwrap();
        assert_eq!(code, "Base.1.8.ActionParameterValueNotInList");
    }
    let without_type = client().post(bmc.url() + RESET).body("{}").send();
    assert_eq!(without_type.await.unwrap().status(), 415);
    let empty = client().post(bmc.url() + RESET).json(&json!({})).send();
    assert_eq!(empty.await.unwrap().status(), 400);
    let unknown = client().get(bmc.url() + "/redfish/v1/Systems/x").send();
    assert_eq!(unknown.await.unwrap().status(), 404);
    let last = bmc.requests().pop().unwrap();
    assert_eq!(
        (last.path.as_str(), last.status),
        ("/redfish/v1/Systems/x", 404)
    );
}
