//! The lab that the checks share: one control plane, one coordinator, one relay; each check adds groups of its own.
//! Holds: it begins with the first check and ends with the last; checks that kill a part of it have a lab of their own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use proto_autoscaler::{Instance, instance_status::InstanceState};
use serde_json::{Value, json};
use tests::{
    caller::Caller,
    cluster_stage::{ClusterStage, GroupPlan, POWER_OFF, Plan, Planes, Woken, objects::has_taint},
    harness::wait,
    hollow::HollowMachine,
    recorder::{Effect, Record},
    stage::mac,
};
use tokio::runtime::Runtime;
use tonic::{Code, Status};

/// Time for anything that is waited for; a busy machine with two cores needs a large part of it.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// Machines of the shared lab with something behind them: their agents need a user at the broker.
const HOLLOW: &[&str] = &[
    "c03a", "c13a", "c13b", "c14a", "c14b", "c15x", "c21a", "c21b", "c21c", "c23a", "c23b", "c23c",
    "c23d", "c23e", "c23f", "c23g", "c23h", "c23i", "c23j", "c24h", "c25a", "c26a", "c26b", "c26c",
    "c29a", "c30a", "c30b", "c35a", "c35b", "c35c", "c38a", "c42a", "c42b", "c42d", "c42e", "c42f",
    "c43a", "c45a",
];
/// For the shared lab, and for the labs of single checks one after the other.
static PLANES: Planes = Planes::new();
static FLOOR: Mutex<Weak<Floor>> = Mutex::new(Weak::new());

/// A lab with the threads that everything in it runs on.
struct Floor {
    stage: Option<ClusterStage>,
    runtime: Runtime,
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.stage = None;
    }
}

/// Runs a check in the lab that checks share.
pub(crate) fn shared(check: impl AsyncFnOnce(&ClusterStage) -> Result<()>) -> Result<()> {
    let floor = {
        let mut kept = FLOOR.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.upgrade() {
            Some(floor) => floor,
            None => {
                let floor = Arc::new(Floor::build()?);
                *kept = Arc::downgrade(&floor);
                floor
            }
        }
    };
    let stage = floor.stage.as_ref().context("built with a stage")?;
    floor.runtime.block_on(check(stage))
}

/// Runs a check in a lab of its own.
pub(crate) fn alone(
    plan: Plan,
    check: impl AsyncFnOnce(&mut ClusterStage) -> Result<()>,
) -> Result<()> {
    runtime()?.block_on(async {
        let mut stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
        check(&mut stage).await
    })
}

/// Runs a check that ends the API server: in a lab and on a control plane of its own.
pub(crate) fn apart(
    plan: Plan,
    check: impl AsyncFnOnce(&mut ClusterStage) -> Result<()>,
) -> Result<()> {
    runtime()?.block_on(async {
        let mut stage = ClusterStage::start(plan, PLANES.own().await?).await?;
        check(&mut stage).await
    })
}

fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().context("start threads")
}

impl Floor {
    fn build() -> Result<Self> {
        let runtime = runtime()?;
        let plan = Plan {
            others: &[],
            guests: HOLLOW,
            ..Plan::quick(Vec::new())
        };
        let stage = runtime.block_on(async {
            let plane = PLANES.own().await?;
            ClusterStage::start(plan, plane).await
        })?;
        Ok(Self {
            stage: Some(stage),
            runtime,
        })
    }
}

/// What stands behind the machines of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Nothing: they are declared, and woken in vain.
    Nothing,
    /// A hollow machine with an agent and a kubelet.
    Hollow,
}

/// A group of one check.
pub(crate) struct Group<'a> {
    pub(crate) stage: &'a ClusterStage,
    pub(crate) caller: Caller,
    pub(crate) name: &'static str,
    pub(crate) machines: &'static [&'static str],
    pub(crate) hollow: BTreeMap<String, HollowMachine>,
}

/// A plan of machines that packets wake, with the size of a small server.
pub(crate) fn plan(name: &'static str, machines: &'static [&'static str]) -> GroupPlan {
    GroupPlan {
        name,
        woken: Woken::Packet,
        machines,
        spec: json!({"template": {"capacity": {"cpu": "4", "memory": "8Gi"}}}),
        otherwise: BTreeMap::new(),
    }
}

/// A lab of its own whose machines have BMCs, for [`alone`].
pub(crate) fn behind_bmcs(group: GroupPlan) -> Plan {
    let woken = Woken::Redfish;
    Plan {
        others: &[],
        ..Plan::quick(vec![GroupPlan { woken, ..group }])
    }
}

/// The group that a lab of its own began with, once a BMC has said of each of its machines that it is off.
pub(crate) async fn asleep<'a>(stage: &'a mut ClusterStage, plan: &GroupPlan) -> Result<Group<'a>> {
    for machine in plan.machines {
        stage.until_phase(machine, "Sleeping").await?;
    }
    begun(stage, plan)
}

/// The group that a lab of its own began with.
pub(crate) fn begun<'a>(stage: &'a mut ClusterStage, plan: &GroupPlan) -> Result<Group<'a>> {
    Ok(Group {
        caller: stage.caller()?,
        name: plan.name,
        machines: plan.machines,
        hollow: std::mem::take(&mut stage.machines),
        stage,
    })
}

/// Adds a group to the lab and waits until the coordinator knows it.
pub(crate) async fn group<'a>(
    stage: &'a ClusterStage,
    plan: GroupPlan,
    behind: Behind,
) -> Result<Group<'a>> {
    let hollow = match behind {
        Behind::Nothing => BTreeMap::new(),
        Behind::Hollow => stage.shelve(&plan).await?,
    };
    stage.declare(&plan).await?;
    stage.until_known(plan.machines).await?;
    let group = Group {
        stage,
        caller: stage.caller()?,
        name: plan.name,
        machines: plan.machines,
        hollow,
    };
    wait::until(LIMIT, "the group is listed", async || {
        group.row().await.map(drop)
    })
    .await?;
    Ok(group)
}

/// Nothing but a declaration.
pub(crate) async fn on_paper<'a>(
    stage: &'a ClusterStage,
    name: &'static str,
    machines: &'static [&'static str],
) -> Result<Group<'a>> {
    group(stage, plan(name, machines), Behind::Nothing).await
}

/// Machines that can wake and run.
pub(crate) async fn on_shelf<'a>(
    stage: &'a ClusterStage,
    name: &'static str,
    machines: &'static [&'static str],
) -> Result<Group<'a>> {
    group(stage, plan(name, machines), Behind::Hollow).await
}

/// Machines of which only the first ones have something behind them.
pub(crate) async fn half_hollow<'a>(
    stage: &'a ClusterStage,
    name: &'static str,
    (hollow, all): (&'static [&'static str], &'static [&'static str]),
) -> Result<Group<'a>> {
    let machines = stage.shelve(&plan(name, hollow)).await?;
    let mut group = on_paper(stage, name, all).await?;
    group.hollow = machines;
    Ok(group)
}

impl Group<'_> {
    /// Its row in `NodeGroups`.
    pub(crate) async fn row(&self) -> Result<proto_autoscaler::NodeGroup> {
        let id = self.caller.group_id(self.name);
        let listed = self.caller.groups().await?;
        let mut rows = listed.into_iter().filter(|row| row.id == id);
        let row = rows.next().with_context(|| format!("{id} is listed"))?;
        ensure!(rows.next().is_none(), "{id} is listed once");
        Ok(row)
    }

    pub(crate) async fn increase(&self, delta: i32) -> Result<(), Status> {
        self.caller.increase(self.name, delta).await
    }

    pub(crate) async fn target(&self) -> Result<i32> {
        Ok(self.caller.target(self.name).await?)
    }

    pub(crate) async fn delete(&self, machine: &str) -> Result<(), Status> {
        self.caller.delete(self.name, machine).await
    }

    /// The machines listed as being created.
    pub(crate) async fn creating(&self) -> Result<Vec<String>> {
        self.listed(InstanceState::InstanceCreating).await
    }

    /// The machines listed as running.
    pub(crate) async fn running(&self) -> Result<Vec<String>> {
        self.listed(InstanceState::InstanceRunning).await
    }

    /// The machines listed as being deleted.
    pub(crate) async fn deleting(&self) -> Result<Vec<String>> {
        self.listed(InstanceState::InstanceDeleting).await
    }

    async fn listed(&self, state: InstanceState) -> Result<Vec<String>> {
        let mut names = self.caller.listed(self.name, state).await?;
        names.sort();
        Ok(names)
    }

    pub(crate) async fn instances(&self) -> Result<Vec<Instance>> {
        Ok(self.caller.instances(self.name).await?)
    }

    /// Asks for all machines and waits until they run with Nodes that the autoscaler may have.
    pub(crate) async fn all_running(&self) -> Result<()> {
        self.caller.refresh().await?;
        self.increase(i32::try_from(self.machines.len())?).await?;
        self.until_running(self.machines).await
    }

    /// Waits until these machines run with Nodes that the autoscaler may have.
    pub(crate) async fn until_running(&self, machines: &[&str]) -> Result<()> {
        let id = self.caller.group_id(self.name);
        for machine in machines {
            wait::until(LIMIT, "the machine runs", async || {
                let running = self.running().await?;
                ensure!(running.iter().any(|name| name == machine), "{running:?}");
                let group = self.caller.group_of(machine).await?;
                ensure!(group == id, "{group:?}");
                let node = self.stage.nodes().get(machine).await?;
                let provider_id = node.spec.and_then(|spec| spec.provider_id);
                ensure!(provider_id == Some(self.caller.provider_id(machine)));
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until a magic packet has left for each of these machines.
    pub(crate) async fn until_packets(&self, machines: &[&str]) -> Result<()> {
        for machine in machines {
            let what = format!("a packet for {machine}");
            let left = self.stage.recorder.until(LIMIT, &what, |records| {
                (packets(records, machine) > 0).then_some(())
            });
            left.await?;
        }
        Ok(())
    }

    /// Waits until the group may have so many machines: an edit is seen some time after it was accepted.
    pub(crate) async fn until_max_size(&self, size: i32) -> Result<()> {
        wait::until(LIMIT, "the maximum", async || {
            let row = self.row().await?;
            ensure!(row.max_size == size, "{row:?}");
            Ok(())
        })
        .await
    }

    /// Changes the Group's spec as `kubectl patch` would.
    pub(crate) async fn edit(&self, spec: Value) -> Result<()> {
        let patch = kube::api::Patch::Merge(json!({ "spec": spec }));
        let params = kube::api::PatchParams::default();
        self.stage
            .groups()
            .patch(self.name, &params, &patch)
            .await?;
        Ok(())
    }

    /// Changes a machine's spec as `kubectl patch` would.
    pub(crate) async fn edit_machine(&self, machine: &str, spec: Value) -> Result<()> {
        let patch = kube::api::Patch::Merge(json!({ "spec": spec }));
        let params = kube::api::PatchParams::default();
        let machines = self.stage.machine_objects();
        machines.patch(machine, &params, &patch).await?;
        Ok(())
    }

    /// The Node of a machine bears nothing of a stop.
    pub(crate) async fn is_open(&self, machine: &str) -> Result<()> {
        let node = self.stage.nodes().get(machine).await?;
        ensure!(!is_fenced(&node), "{node:?}");
        Ok(())
    }

    /// Target and list fit each other. What is looked at again is only what moved while it was looked at.
    pub(crate) async fn agrees(&self) -> Result<()> {
        let look = async || anyhow::Ok((self.target().await?, self.instances().await?));
        let still = wait::until(LIMIT, "a moment without change", async || {
            let (first, second) = (look().await?, look().await?);
            ensure!(first == second, "{first:?}, then {second:?}");
            Ok(second)
        });
        let (target, instances) = still.await?;
        let states = instances.iter().map(state_of);
        let counted = states.filter(|state| *state != InstanceState::InstanceDeleting);
        let counted = counted.count();
        ensure!(
            usize::try_from(target)? == counted,
            "{target}: {instances:?}"
        );
        Ok(())
    }
}

/// A Node bears something of a stop: our taint or a cordon.
pub(crate) fn is_fenced(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable);
    has_taint(node, POWER_OFF) || cordoned == Some(true)
}

/// How many magic packets have left for a machine.
pub(crate) fn packets(records: &[Record], machine: &str) -> u32 {
    let of_machine = |record: &Record| match record.effect {
        Effect::MagicPacketTrain {
            mac: of, packets, ..
        } if of == mac(machine) => packets,
        Effect::MagicPacketTrain { .. }
        | Effect::StrayDatagram { .. }
        | Effect::BmcReset { .. }
        | Effect::ShutdownAsked { .. }
        | Effect::PowerOn { .. }
        | Effect::BootDone { .. }
        | Effect::PowerOff { .. } => 0,
    };
    records.iter().map(of_machine).sum()
}

/// The state that an instance is listed with.
pub(crate) fn state_of(instance: &Instance) -> InstanceState {
    let status = instance.status.as_ref();
    status.map_or(InstanceState::Unspecified, |status| status.instance_state())
}

/// A call failed with this code.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code) -> Result<()> {
    match answer {
        Err(status) if status.code() == code => Ok(()),
        other => anyhow::bail!("{code:?} was due: {other:?}"),
    }
}
