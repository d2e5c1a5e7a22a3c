//! NodeGroupForNode beside handlers that do nothing, in one process and one thread, compiled alike.
//! In: how many Nodes there are. Out: wall time and the server's CPU time of a call to each.
//! Holds: one connection to each, one call after the other, in turns, so that what else the computer does falls on all alike.

mod servers;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use proto_autoscaler::{NodeGroupForNodeRequest, RefreshRequest};
use serde_json::{Value, json};
use tonic::transport::Endpoint;

use super::{
    figures::{self, Samples, Unit},
    footprint,
    lab::{self, MEMBERS},
    loops::{self, Client},
};
use servers::Servers;

/// Rounds, and calls of each kind in one.
const ROUNDS: usize = 40;
const CALLS: usize = 250;
/// Upper bound that the design has set: the median beside that of an empty handler.
const GOAL_TIMES: f64 = 1.3;

/// Measures, among so many Nodes.
pub(super) async fn compare(nodes: usize) -> Result<Value> {
    let machines = lab::machines(nodes / MEMBERS);
    let servers = Servers::start(&machines).await?;
    let mut ours = Contender::at(servers.service, Asks::GroupForNode).await?;
    let mut empty = Contender::at(servers.empty, Asks::Nothing).await?;
    let mut decoding = Contender::at(servers.decoding, Asks::GroupForNode).await?;
    for round in 0..ROUNDS {
        for contender in [&mut ours, &mut empty, &mut decoding] {
            let before = footprint::thread_time(&servers.thread)?;
            for call in 0..CALLS {
                let machine = &machines[(round * CALLS + call) % machines.len()];
                contender.ask(&machine.name).await?;
            }
            contender.cpu += footprint::thread_time(&servers.thread)? - before;
        }
    }
    let beside = |other: &Contender, goal: Option<f64>| {
        let p50 = figures::rounded(ours.wall.p50().div_duration_f64(other.wall.p50()));
        let cpu = figures::rounded(ours.cpu.div_duration_f64(other.cpu));
        json!({"p50": p50, "goal_p50": goal, "cpu": cpu})
    };
    Ok(json!({
        "node_group_for_node": ours.told(),
        "empty": empty.told(),
        "empty_same_request": decoding.told(),
        "times_empty": beside(&empty, Some(GOAL_TIMES)),
        "times_empty_same_request": beside(&decoding, None),
    }))
}

/// What a contender is asked.
enum Asks {
    /// NodeGroupForNode, with a Node as the autoscaler sends it.
    GroupForNode,
    /// Refresh, whose messages have no fields.
    Nothing,
}

/// One server as its caller sees it.
struct Contender {
    client: Client,
    asks: Asks,
    wall: Samples,
    cpu: Duration,
}

impl Contender {
    async fn at(address: SocketAddr, asks: Asks) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.tcp_nodelay(true).connect().await;
        Ok(Self {
            client: Client::new(channel.context("connect to a server")?),
            asks,
            wall: Samples::default(),
            cpu: Duration::ZERO,
        })
    }

    async fn ask(&mut self, name: &str) -> Result<()> {
        let asked = NodeGroupForNodeRequest {
            node: Some(loops::node(name)),
        };
        let started = Instant::now();
        match self.asks {
            Asks::GroupForNode => drop(self.client.node_group_for_node(asked).await?),
            Asks::Nothing => drop(self.client.refresh(RefreshRequest {}).await?),
        }
        self.wall.push(started.elapsed());
        Ok(())
    }

    fn told(&self) -> Value {
        let cpu_us = self.cpu.as_secs_f64() * 1e6 / (ROUNDS * CALLS) as f64;
        json!({
            "wall_ms": self.wall.told(Unit::Milliseconds, None),
            "cpu_us_per_call": figures::rounded(cpu_us),
        })
    }
}
