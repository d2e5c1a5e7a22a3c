//! A BMC that restarts while a machine is on its way: gone, then half there, then itself again.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::net::TcpSocket;

use super::super::mock::{Reply, UUID_1};
use super::*;
use crate::fault::Effect;

#[tokio::test]
async fn a_bmc_that_restarts_after_a_step_is_read_again_without_another_step_as_soon_as_it_answers()
{
    let instead = Arc::new(Mutex::new(None::<Reply>));
    let script = Arc::clone(&instead);
    let mock = Mock::scripted(move |_, _| script.lock().expect("no panic holds it").clone()).await;
    let machine = machine_of(&mock, Some(UUID_1));
    machine.apply(Step::On).await.expect("accepted");

    for (reply, kind) in [
        (Reply::Raw(Vec::new()), FaultKind::Transient),
        (Reply::Json(404, json!({})), FaultKind::Protocol),
        (
            Reply::With(503, vec![("Retry-After", "2".to_owned())], Vec::new()),
            FaultKind::Busy,
        ),
        (Reply::Json(500, json!({})), FaultKind::Transient),
        (
            Reply::With(200, Vec::new(), b"<html>starting".to_vec()),
            FaultKind::Protocol,
        ),
    ] {
        *instead.lock().expect("no panic holds it") = Some(reply);
        let asked = mock.log().len();
        let fault = machine.observe().await.expect_err("not itself");
        assert_eq!((fault.kind, fault.effect), (kind, Effect::None), "{fault}");
        // Where the system is gone, whoever starts anew looks for it from the root once.
        assert!(mock.log().len() - asked <= 2, "{fault}: a storm");
    }
    *instead.lock().expect("no panic holds it") = None;
    assert_eq!(power(&machine).await, Power::On);
    assert_eq!(machine.apply(Step::On).await, Ok(Applied::NoChange));
    assert_eq!(mock.resets(), ["On"]);
}

#[tokio::test]
async fn a_bmc_that_is_away_takes_the_step_when_it_is_there() {
    // Bound but not listening: the port is held, and connections are refused.
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = "127.0.0.1:0".parse().expect("an address");
    socket.bind(any).expect("a loopback port");
    let address = socket.local_addr().expect("bound");
    let url = format!("http://{address}").parse().expect("an address");
    let bmc = Bmcs::new().open(BmcOptions::new(url, None));
    let machine = bmc.expect("usable options").machine(None);
    let fault = machine.apply(Step::On).await.expect_err("nobody there");
    let told = (fault.kind, fault.effect);
    assert_eq!(told, (FaultKind::Unreachable, Effect::None));

    let mock = Mock::at(socket.listen(16).expect("the port is ours"));
    let applied = machine.apply(Step::On).await.expect("it is back");
    assert!(matches!(applied, Applied::Sent { .. }), "{applied:?}");
    assert_eq!(mock.resets(), ["On"]);
}
