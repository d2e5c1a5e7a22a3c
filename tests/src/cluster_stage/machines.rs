//! The machines of a lab: hollow ones on the shelf, and what the cluster is told of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use kube::api::PostParams;
use serde_json::{Value, from_value, json};

use super::{ClusterStage, GroupPlan, Plan, Woken};
use crate::{
    harness::{self, Sushy, SushyOptions, System},
    hollow::{AgentSpec, Bmc, HollowMachine, KubeletSpec, MachineSpec, Power},
    stage::{BMC_LOGIN, mac},
};

/// From power on until agent and kubelet start.
const BOOT: Duration = Duration::from_secs(1);
/// From the shutdown order to power off.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// The emulator with a system for each machine that has a BMC; none where no machine has one.
pub(super) async fn start_sushy(plan: &Plan) -> Result<Option<Arc<Sushy>>> {
    let with_bmc = plan
        .groups
        .iter()
        .filter(|group| group.woken == Woken::Redfish);
    let power = match plan.starts {
        Power::Off => harness::Power::Off,
        Power::Booting | Power::On | Power::ShuttingDown => harness::Power::On,
    };
    let systems: Vec<System> = with_bmc
        .flat_map(|group| group.machines)
        .map(|name| System {
            uuid: system(name),
            name: (*name).to_owned(),
            mac: mac(name).to_string(),
            power,
        })
        .collect();
    if systems.is_empty() {
        return Ok(None);
    }
    let (user, password) = BMC_LOGIN;
    let options = SushyOptions {
        login: Some((user.to_owned(), password.to_owned())),
        ..SushyOptions::default()
    };
    Ok(Some(Arc::new(Sushy::start_with(&systems, options).await?)))
}

/// The machine's id behind the BMC: its MAC address in a UUID.
fn system(machine: &str) -> String {
    let digits = mac(machine).to_string().replace(':', "");
    format!("00000000-0000-4000-8000-{digits}")
}

impl ClusterStage {
    /// Puts a group's machines on the shelf, as the plan has them start; nobody tells the cluster of them.
    ///
    /// # Errors
    /// When a program is missing, or the broker has no user for one of them.
    pub async fn shelve(&self, group: &GroupPlan) -> Result<BTreeMap<String, HollowMachine>> {
        let mut machines = BTreeMap::new();
        for name in group.machines {
            let mut spec = MachineSpec::new(name, mac(name));
            match group.woken {
                Woken::Packet => spec.wake.push(self.wake),
                Woken::Redfish => {
                    let emulator = Arc::clone(self.sushy.as_ref().context("a BMC runs")?);
                    let system = system(name);
                    spec.bmc = Some(Bmc::Sushy { emulator, system });
                }
            }
            spec.boot = BOOT;
            spec.shutdown = SHUTDOWN;
            spec.starts = self.plan.starts;
            let config = self.agent(name)?.config(&self.work)?;
            spec.agent = Some(AgentSpec::ours(&config)?);
            spec.kubelet = Some(KubeletSpec {
                labels: self.plan.labels.clone(),
                taints: self.plan.taints.clone(),
                ..KubeletSpec::new(self.client())
            });
            let machine = HollowMachine::start(spec, &self.recorder).await?;
            machines.insert((*name).to_owned(), machine);
        }
        Ok(machines)
    }

    pub(super) async fn start_others(&mut self) -> Result<()> {
        for name in self.plan.others {
            let mut spec = MachineSpec::new(name, mac(name));
            spec.starts = Power::On;
            let mut kubelet = KubeletSpec::new(self.client());
            kubelet.resources.insert("cpu".to_owned(), "1".to_owned());
            spec.kubelet = Some(kubelet);
            let machine = HollowMachine::start(spec, &self.recorder).await?;
            self.machines.insert((*name).to_owned(), machine);
        }
        Ok(())
    }

    /// Creates the objects of a group and of its machines, as `kubectl apply` would.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn declare(&self, group: &GroupPlan) -> Result<()> {
        let object = json!({
            "apiVersion": coordinator_crds::API_VERSION, "kind": "Group",
            "metadata": {"name": group.name}, "spec": group.spec,
        });
        self.groups()
            .create(&PostParams::default(), &from_value(object)?)
            .await
            .with_context(|| format!("create Group {}", group.name))?;
        for name in group.machines {
            let object = json!({
                "apiVersion": coordinator_crds::API_VERSION, "kind": "Node",
                "metadata": {"name": name}, "spec": self.spec(group, name)?,
            });
            self.machine_objects()
                .create(&PostParams::default(), &from_value(object)?)
                .await
                .with_context(|| format!("create Node {name}"))?;
        }
        Ok(())
    }

    fn spec(&self, group: &GroupPlan, name: &str) -> Result<Value> {
        // Only what a test waits for is short.
        let timeouts = json!({"boot": "10m", "stop": "60s", "offHold": "4s"});
        let mut spec = json!({"group": group.name, "timeouts": timeouts});
        match group.woken {
            Woken::Packet => {
                spec["wakeOnLAN"] = json!({
                    "mac": mac(name).to_string(),
                    "broadcast": self.wake.ip().to_string(),
                    "ports": [self.wake.port()],
                });
            }
            Woken::Redfish => {
                let address = self.sushy.as_ref().context("a BMC runs")?.address();
                spec["redfish"] =
                    json!({"address": address, "credentials": "bmc", "system": system(name)});
            }
        }
        if let Some(otherwise) = group.otherwise.get(name) {
            put_over(&mut spec, otherwise);
        }
        Ok(spec)
    }
}

/// Replaces what `changes` names, field by field.
fn put_over(spec: &mut Value, changes: &Value) {
    match (spec, changes) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                put_over(fields.entry(name).or_insert(Value::Null), change);
            }
        }
        (spec, changes) => *spec = changes.clone(),
    }
}
