//! Credentials by name, and a small BMC on loopback.

use super::*;
use proto_mqtt::{AgentId, Ulid};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const ROOT: &str = r#"{"Systems":{"@odata.id":"/redfish/v1/Systems"}}"#;
const SYSTEMS: &str = r#"{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}]}"#;
const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";

/// A BMC that is on and remembers what it was asked to do.
async fn bmc() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("its address"));
    let writes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&writes);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut request = Vec::new();
                while let Ok(read) = stream.read_buf(&mut request).await {
                    if read == 0 || is_whole(&request) {
                        break;
                    }
                }
                let answer = answer(&String::from_utf8_lossy(&request), &seen);
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (address, writes)
}

/// Whether the head and as many bytes of body as it announces have arrived.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let announced = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    body.len() >= announced.unwrap_or(0)
}

fn answer(request: &str, seen: &Mutex<Vec<String>>) -> String {
    let system = format!(
        r##"{{"Id":"1","PowerState":"On","Actions":{{"#ComputerSystem.Reset":{{"target":"{RESET}","ResetType@Redfish.AllowableValues":["On","ForceOff","GracefulShutdown"]}}}}}}"##
    );
    let path = request
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .trim_end_matches('/');
    let body = match path {
        "/redfish/v1" => ROOT.to_owned(),
        "/redfish/v1/Systems" => SYSTEMS.to_owned(),
        "/redfish/v1/Systems/1" => system,
        RESET => {
            let body = request
                .split("\r\n\r\n")
                .nth(1)
                .unwrap_or_default()
                .to_owned();
            seen.lock().expect("no panic holds it").push(body);
            "{}".to_owned()
        }
        _ => {
            return "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                .to_owned();
        }
    };
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn folder(hosts: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (kind, content) in [
        ("username", "power\n"),
        ("password", "secret\n"),
        ("hosts", hosts),
    ] {
        std::fs::write(folder.path().join(format!("r720.{kind}")), content).expect("a file");
    }
    folder
}

fn order(address: &str) -> BmcOrder {
    BmcOrder {
        address: Text::from(address),
        system: None,
        credentials: Text::from("r720"),
        fingerprint: None,
        ca: None,
    }
}

fn job(order: Order, expect: Option<Power>) -> Job {
    let target: AgentId = "r720".parse().expect("a name");
    Job {
        id: Ulid::from_bits(1),
        target,
        order,
        expect,
    }
}

#[tokio::test]
async fn a_status_reads_and_changes_nothing() {
    let (address, writes) = bmc().await;
    let folder = folder("127.0.0.1");
    let relay = RedfishRelay::new(Some(folder.path().to_owned()));
    let outcome = relay
        .carry(&job(Order::RedfishStatus(order(&address)), None))
        .await
        .expect("a reading");
    assert_eq!(
        outcome,
        BmcOutcome {
            power: Power::On,
            word: Text::from("On"),
            changed: false
        }
    );
    assert!(writes.lock().expect("no panic holds it").is_empty());
}

#[tokio::test]
async fn off_is_one_write_and_on_where_it_is_on_is_none() {
    let (address, writes) = bmc().await;
    let folder = folder("127.0.0.1");
    let relay = RedfishRelay::new(Some(folder.path().to_owned()));
    let on = relay
        .carry(&job(Order::RedfishOn(order(&address)), None))
        .await
        .expect("on already");
    assert!(!on.changed);
    let off = Order::RedfishOff {
        bmc: order(&address),
        mode: OffMode::Force,
    };
    let off = relay
        .carry(&job(off, Some(Power::On)))
        .await
        .expect("accepted");
    assert!(off.changed);
    let writes = writes.lock().expect("no panic holds it").clone();
    assert_eq!(writes.len(), 1);
    assert!(writes[0].contains("ForceOff"), "{writes:?}");
}

#[tokio::test]
async fn an_authority_is_a_pem_file_beside_the_credentials() {
    let folder = folder("127.0.0.1");
    std::fs::write(folder.path().join("lab.pem"), "no certificate").expect("a file");
    let relay = RedfishRelay::new(Some(folder.path().to_owned()));
    let trusting = |address: &str| BmcOrder {
        ca: Some(Text::from("lab")),
        ..order(address)
    };
    let fault = relay
        .carry(&job(
            Order::RedfishStatus(trusting("https://127.0.0.1")),
            None,
        ))
        .await
        .expect_err("nothing to trust");
    assert!(
        fault.msg.as_str().contains("BEGIN CERTIFICATE"),
        "{}",
        fault.msg
    );
    // Over plain HTTP nothing is verified, so the file is found and nothing more.
    let (address, _) = bmc().await;
    let outcome = relay
        .carry(&job(Order::RedfishStatus(trusting(&address)), None))
        .await
        .expect("a reading");
    assert_eq!(outcome.power, Power::On);
}

#[test]
fn only_whole_credentials_are_told_and_never_some_of_too_many() {
    let folder = folder("127.0.0.1");
    let told = || held(folder.path()).map(|names| names.iter().map(Text::to_string).collect());
    let file = |name: &str| std::fs::write(folder.path().join(name), "x").expect("a file");
    for name in [
        "lab.pem",
        "half.username",
        "half.password",
        ".hidden.username",
    ] {
        file(name);
    }
    assert_eq!(told(), Some(vec!["r720".to_owned()]));
    assert_eq!(held(&folder.path().join("gone")), Some(vec![]));
    assert_eq!(held(&folder.path().join("lab.pem")), None, "no folder");
    for index in 0..MAX_CREDENTIALS {
        for kind in ["username", "password", "hosts"] {
            file(&format!("bmc{index}.{kind}"));
        }
    }
    assert_eq!(told(), None::<Vec<String>>);
}

#[tokio::test]
async fn an_expectation_that_is_not_met_stops_the_order() {
    let (address, writes) = bmc().await;
    let folder = folder("127.0.0.1");
    let relay = RedfishRelay::new(Some(folder.path().to_owned()));
    let fault = relay
        .carry(&job(Order::RedfishOn(order(&address)), Some(Power::Off)))
        .await
        .expect_err("it is on");
    assert_eq!(fault.code, Code::Precondition);
    assert_eq!(
        fault.msg.as_str(),
        "the BMC says On, the command expects off"
    );
    assert!(writes.lock().expect("no panic holds it").is_empty());
}

#[tokio::test]
async fn credentials_stay_with_their_hosts_and_in_their_folder() {
    let (address, _) = bmc().await;
    let fault_with = async |folder: Option<&Path>, change: fn(&mut BmcOrder)| {
        let relay = RedfishRelay::new(folder.map(Path::to_owned));
        let mut order = order(&address);
        change(&mut order);
        let fault = relay
            .carry(&job(Order::RedfishStatus(order), None))
            .await
            .expect_err("refused");
        fault.msg.to_string()
    };
    let elsewhere = folder("10.0.9.20");
    let here = folder("127.0.0.1");
    let unchanged: fn(&mut BmcOrder) = |_| {};
    assert!(
        fault_with(Some(elsewhere.path()), unchanged)
            .await
            .contains("not for http://127.0.0.1")
    );
    assert!(fault_with(None, unchanged).await.contains("no relay"));
    for name in ["../r720", "", ".hidden"] {
        let relay = RedfishRelay::new(Some(here.path().to_owned()));
        let order = BmcOrder {
            credentials: Text::from(name),
            ..order(&address)
        };
        let fault = relay
            .carry(&job(Order::RedfishStatus(order), None))
            .await
            .expect_err("refused");
        assert_eq!(fault.code, Code::ExecRefused);
        assert!(
            fault.msg.as_str().contains("is no name of credentials"),
            "{}",
            fault.msg
        );
    }
    assert!(
        fault_with(Some(here.path()), |order| order.credentials =
            Text::from("r9"))
        .await
        .contains("r9.hosts")
    );
    assert!(
        fault_with(Some(here.path()), |order| order.ca =
            Some(Text::from("lab")))
        .await
        .contains("lab.pem")
    );
    assert!(
        fault_with(Some(here.path()), |order| order.ca =
            Some(Text::from("../lab")))
        .await
        .contains("is no name of credentials")
    );
    assert!(
        fault_with(Some(here.path()), |order| order.fingerprint =
            Some(Text::from("sha256:9f")))
        .await
        .contains("sha256:9f")
    );
}
