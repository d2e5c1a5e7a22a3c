//! The machines of a lab: hollow ones on the shelf, and what the cluster is told of them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use coordinator_crds::{Group, Node};
use kube::{Api, api::PostParams};
use serde_json::{Value, from_value, json};

use super::{ClusterStage, LAB, Plan, Woken};
use crate::{
    harness::{self, Sushy, SushyOptions, System, programs},
    hollow::{AgentSpec, Bmc, HollowMachine, KubeletSpec, MachineSpec, Power},
    stage::mac,
};

/// User and password of the BMC.
pub(super) const BMC_LOGIN: (&str, &str) = ("power", "secret");
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
    pub(super) async fn start_machines(&mut self, key: &str) -> Result<()> {
        for group in self.plan.groups.clone() {
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
                let config = self.agent_config(name, key)?;
                let config = format!("{config}power_acts_per_hour = 10000\n");
                spec.agent = Some(AgentSpec {
                    program: programs::ours("homelab-agent")?,
                    host_program: programs::ours("hollow-host")?,
                    config: config.parse().context("the machine's configuration")?,
                    environment: Vec::new(),
                });
                spec.kubelet = Some(KubeletSpec {
                    labels: self.plan.labels.clone(),
                    ..KubeletSpec::new(self.client())
                });
                self.put_on_shelf(spec).await?;
            }
        }
        for name in self.plan.others {
            let mut spec = MachineSpec::new(name, mac(name));
            spec.starts = Power::On;
            let mut kubelet = KubeletSpec::new(self.client());
            kubelet.resources.insert("cpu".to_owned(), "1".to_owned());
            spec.kubelet = Some(kubelet);
            self.put_on_shelf(spec).await?;
        }
        Ok(())
    }

    async fn put_on_shelf(&mut self, spec: MachineSpec) -> Result<()> {
        let name = spec.name.clone();
        let machine = HollowMachine::start(spec, &self.recorder).await?;
        self.machines.insert(name, machine);
        Ok(())
    }

    /// Creates the Group and Node objects, as `kubectl apply` would.
    pub(super) async fn declare(&self) -> Result<()> {
        let groups: Api<Group> = Api::namespaced(self.client(), LAB);
        let machines: Api<Node> = Api::namespaced(self.client(), LAB);
        for group in &self.plan.groups {
            let object = json!({
                "apiVersion": coordinator_crds::API_VERSION, "kind": "Group",
                "metadata": {"name": group.name}, "spec": group.spec,
            });
            groups
                .create(&PostParams::default(), &from_value(object)?)
                .await
                .with_context(|| format!("create Group {}", group.name))?;
            for name in group.machines {
                let object = json!({
                    "apiVersion": coordinator_crds::API_VERSION, "kind": "Node",
                    "metadata": {"name": name}, "spec": self.spec(group.name, group.woken, name)?,
                });
                machines
                    .create(&PostParams::default(), &from_value(object)?)
                    .await
                    .with_context(|| format!("create Node {name}"))?;
            }
        }
        Ok(())
    }

    fn spec(&self, group: &str, woken: Woken, name: &str) -> Result<Value> {
        let timeouts = json!({"boot": "60s", "stop": "60s", "offHold": "4s"});
        let mut spec = json!({"group": group, "timeouts": timeouts});
        match woken {
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
        Ok(spec)
    }
}
