//! What the cluster-autoscaler waits for, and what it and the Nodes cost the coordinator, at several sizes.
//! In: a [`Trial`]. Out: for each size the loop, its calls, memory and load; then the memory over many loops.
//! Holds: every machine beats each ten seconds all the while; only loops that are warm count.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proto_autoscaler::{CleanupRequest, GetAvailableGpuTypesRequest, GpuLabelRequest};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::{
    beats::{self, Beats},
    figures::{self, Samples, Unit},
    footprint, handlers,
    lab::{self, Lab, MEMBERS, Plan},
    loops::{self, Calls, Client, Loop},
    trial::Trial,
};
use crate::harness::{Process, Transport};

const WARM_UP: usize = 5;
/// Calls of each kind that no loop has.
const SELDOM: usize = 1_000;
/// How long the coordinator is watched while nobody calls it.
const REST: Duration = Duration::from_secs(30);
/// Groups of the lab that many loops run over: what a call leaves behind does not depend on how many Nodes there are.
const FEW: usize = 1;
/// How often memory is read in the course of them.
const LOOKS: usize = 10;
/// Upper bounds that the design has set: for 1,000 Nodes, for 15,000, for each beyond 1,000, for every read.
const GOAL_LOOP_S: f64 = 0.5;
const GOAL_LARGE_LOOP_S: f64 = 8.0;
const GOAL_READ_MS: f64 = 5.0;
const GOAL_RESIDENT_MIB: f64 = 20.0;
const GOAL_KIB_PER_NODE: f64 = 2.0;
const GOAL_REST_PERCENT: f64 = 0.5;
/// Memory after all loops above that after the first tenth. The allocator gives and takes some pages; 16 bytes that are left
/// behind by each of 10,000 loops would be more.
const GOAL_GROWTH_KIB: f64 = 128.0;
const SMALL: usize = 1_000;
const LARGE: usize = 15_000;
const KIB_PER_MIB: f64 = 1024.0;

pub(super) async fn measure(trial: &Trial) -> Result<Value> {
    beats::allow_many_connections()?;
    let mut sizes = Map::new();
    let mut smallest = None;
    for &nodes in &trial.nodes {
        let (mut told, resident_mib) = one_size(nodes, trial.loops).await?;
        let (fewest, least_mib) = *smallest.get_or_insert((nodes, resident_mib));
        if nodes > fewest {
            let further = (nodes - fewest) as f64;
            let kib = (resident_mib - least_mib) * KIB_PER_MIB / further;
            told["resident_kib_per_further_node"] = figures::against(kib, GOAL_KIB_PER_NODE);
        }
        told["handlers"] = handlers::compare(nodes).await?;
        sizes.insert(nodes.to_string(), told);
    }
    Ok(json!({
        "nodes": sizes,
        "many_loops": many_loops(trial.many_loops).await?,
    }))
}

/// A lab whose machines are all heard, and a connection to its coordinator.
struct Stage {
    lab: Lab,
    _beats: Beats,
    client: Client,
    asks: Loop,
}

impl Stage {
    async fn start(groups: usize) -> Result<Self> {
        let machines = lab::machines(groups);
        let lab = Lab::start(Plan {
            groups,
            transport: Transport::Plain,
            wake: None,
            timing: &[],
        })
        .await?;
        let beats = Beats::start(&lab.broker, &machines).await?;
        let mut client = Client::new(lab.connect().await?);
        loops::until_all_run(&client, groups).await?;
        let asks = Loop::over(groups, &machines);
        for _ in 0..WARM_UP {
            asks.run(&mut client, &mut Calls::default()).await?;
        }
        Ok(Self {
            lab,
            _beats: beats,
            client,
            asks,
        })
    }
}

/// The figures of one size, and the resident memory in MiB.
async fn one_size(nodes: usize, loops: usize) -> Result<(Value, f64)> {
    ensure!(
        nodes >= MEMBERS && nodes.is_multiple_of(MEMBERS),
        "{nodes} Nodes: groups have {MEMBERS} each, so name a multiple of that"
    );
    let groups = nodes / MEMBERS;
    let mut stage = Stage::start(groups).await?;
    let mut calls = Calls::default();
    let mut durations = Samples::default();
    let before = footprint::cpu_time(&stage.lab.coordinator)?;
    for _ in 0..loops {
        durations.push(stage.asks.run(&mut stage.client, &mut calls).await?);
    }
    let spent = footprint::cpu_time(&stage.lab.coordinator)? - before;
    let goal_s = match nodes {
        SMALL => Some(GOAL_LOOP_S),
        LARGE => Some(GOAL_LARGE_LOOP_S),
        _ => None,
    };
    let all = calls.together();
    seldom_asked(&mut stage.client, &mut calls).await?;
    let rest_percent = at_rest(&stage.lab.coordinator).await?;
    let resident = footprint::resident(&stage.lab.coordinator)?;
    let mut told = json!({
        "groups": groups,
        "reports_per_s": beats::per_second(nodes),
        "calls_per_loop": stage.asks.calls(),
        "loop_s": durations.told(Unit::Seconds, goal_s),
        "loop_cpu_ms": figures::rounded(spent.as_secs_f64() * 1_000.0 / loops as f64),
        "reads_ms": all.told(Unit::Milliseconds, Some(GOAL_READ_MS)),
        "rpc_ms": calls.told(),
        "rest_cpu_percent": figures::rounded(rest_percent),
        "coordinator_resident_mib": resident.told(),
    });
    if nodes == SMALL {
        told["rest_cpu_percent"] = figures::against(rest_percent, GOAL_REST_PERCENT);
        told["coordinator_resident_mib"] = resident.against(GOAL_RESIDENT_MIB);
    }
    Ok((told, resident.mib))
}

/// Asked once, or now and then: not part of each loop. Cleanup does nothing here, so it is what any call costs.
async fn seldom_asked(client: &mut Client, calls: &mut Calls) -> Result<()> {
    for _ in 0..SELDOM {
        let label = client.gpu_label(GpuLabelRequest {});
        calls.time("GPULabel", label).await?;
        let types = client.get_available_gpu_types(GetAvailableGpuTypesRequest {});
        calls.time("GetAvailableGPUTypes", types).await?;
        let nothing = client.cleanup(CleanupRequest {});
        calls.time("Cleanup", nothing).await?;
    }
    Ok(())
}

/// Share of one core that the heartbeats of all machines take while nobody calls, in percent.
async fn at_rest(coordinator: &Process) -> Result<f64> {
    let (before, started) = (footprint::cpu_time(coordinator)?, Instant::now());
    sleep(REST).await;
    let spent = footprint::cpu_time(coordinator)? - before;
    Ok(spent.as_secs_f64() / started.elapsed().as_secs_f64() * 100.0)
}

/// Whether loops leave anything behind.
async fn many_loops(loops: usize) -> Result<Value> {
    let mut stage = Stage::start(FEW).await?;
    let between = loops.div_ceil(LOOKS);
    let mut mib = Vec::new();
    for _ in 0..LOOKS {
        for _ in 0..between {
            stage
                .asks
                .run(&mut stage.client, &mut Calls::default())
                .await?;
        }
        mib.push(footprint::resident(&stage.lab.coordinator)?.mib);
    }
    let ends = mib.first().zip(mib.last());
    let growth = ends.map_or(0.0, |(first, last)| (last - first) * KIB_PER_MIB);
    Ok(json!({
        "nodes": FEW * MEMBERS,
        "loops": between * LOOKS,
        "resident_mib": mib,
        "growth_kib": figures::against(growth, GOAL_GROWTH_KIB),
    }))
}
