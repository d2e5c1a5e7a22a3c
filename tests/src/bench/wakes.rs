//! From IncreaseSize to the magic packet on the wire, among 1,000 Nodes, through a real agent; and the agent's size.
//! Holds: the broker is reached over TLS; time starts before the call is sent and ends with the first packet of a machine that had none.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use proto_autoscaler::{
    NodeGroupIncreaseSizeRequest, RefreshRequest, cloud_provider_client::CloudProviderClient,
};
use serde_json::{Value, json};
use tokio::{net::UdpSocket, sync::mpsc, time::timeout};

use super::{
    figures::{self, Samples, Unit},
    footprint,
    lab::{self, GROUPS, LIMIT, Lab, MEMBERS, Plan},
};
use crate::{
    harness::{Transport, programs},
    recorder::{Mac, magic, shared_socket},
};

const ROUNDS: usize = 100;
/// Between two rounds: the train of the last one, three packets within 200 ms, is over by then.
const PAUSE: Duration = Duration::from_millis(300);
/// Upper bounds that the design has set.
const GOAL_PACKET_MS: f64 = 50.0;
const GOAL_RESIDENT_MIB: f64 = 5.0;
const GOAL_BINARY_MB: f64 = 5.0;

pub(super) async fn measure() -> Result<Value> {
    let broadcast = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), 0);
    let (socket, wake) = shared_socket(broadcast)?;
    let lab = Lab::start(Plan {
        groups: GROUPS,
        transport: Transport::Tls,
        wake: Some(wake),
        // Machines that are asked for one after the other are woken 2 s apart: that wait is wanted, and not what is measured.
        timing: &["wake_stagger=0s"],
    })
    .await?;
    let relay = lab.start_relay().await?;
    let mut client = CloudProviderClient::new(lab.connect().await?);
    let (tell, mut packets) = mpsc::unbounded_channel();
    let listener = tokio::spawn(listen(socket, tell));

    let mut woken = HashSet::new();
    let mut to_answer = Samples::default();
    let mut to_packet = Samples::default();
    for round in 0..ROUNDS {
        // A look, as the autoscaler takes one before each wish: without it the same call again is a repetition.
        client.refresh(RefreshRequest {}).await?;
        let asked = NodeGroupIncreaseSizeRequest {
            delta: 1,
            id: lab::group_id(round % GROUPS),
        };
        let started = Instant::now();
        client.node_group_increase_size(asked).await?;
        to_answer.push(started.elapsed());
        let at = loop {
            let packet = timeout(LIMIT, packets.recv()).await;
            let (mac, at) = packet
                .with_context(|| format!("no packet in round {round}"))?
                .context("the listener has ended")?;
            if woken.insert(mac) {
                break at;
            }
        };
        to_packet.push(at - started);
        tokio::time::sleep(PAUSE).await;
    }
    listener.abort();
    Ok(json!({
        "nodes": GROUPS * MEMBERS,
        "broker": "mosquitto, TLS",
        "increase_to_answer_ms": to_answer.told(Unit::Milliseconds, None),
        "increase_to_packet_ms": to_packet.told(Unit::Milliseconds, Some(GOAL_PACKET_MS)),
        "agent_resident_mib": footprint::resident(&relay)?.against(GOAL_RESIDENT_MIB),
        "agent_binary_mb": figures::against(binary_mb()?, GOAL_BINARY_MB),
    }))
}

async fn listen(socket: UdpSocket, tell: mpsc::UnboundedSender<(Mac, Instant)>) {
    let mut buffer = [0; 1_500];
    while let Ok(length) = socket.recv(&mut buffer).await {
        let at = Instant::now();
        if let Some(mac) = magic::find(&buffer[..length])
            && tell.send((mac, at)).is_err()
        {
            return;
        }
    }
}

fn binary_mb() -> Result<f64> {
    let agent = programs::ours("homelab-agent")?;
    let file = agent.metadata().context("look at the agent's binary")?;
    Ok(file.len() as f64 / 1_000_000.0)
}
