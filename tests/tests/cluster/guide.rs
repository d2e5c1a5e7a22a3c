//! The guide's page about the cluster-autoscaler, carried out command by command: the real program where one is named, the model
//! otherwise, over mutual TLS with certificates that the coordinator has issued.
//! Holds: a command that nothing here carries out fails the test.
//! Not here: whether the page and the shipped files say the same; see the test program `guide`.

use std::process::Command;

use anyhow::bail;
use coordinator_crds::yaml;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use tests::{
    cluster_stage::{OWN, Speech},
    guide::Guide,
    harness::programs,
};

use super::{front::Front, *};

const NUCS: [&str; 3] = ["nuc1", "nuc2", "nuc3"];
/// What the page's manifest wakes: three pods of two cores on machines with four.
const NEEDED: usize = 2;

/// Somebody who reads the page and does what it says.
struct Reader {
    stage: ClusterStage,
    front: Front,
    guide: Guide,
    /// What was printed by the last command that prints a cloud config.
    printed: String,
    autoscaler: Option<Autoscaler>,
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_of_the_guide_gets_an_autoscaler_that_wakes_and_stops_over_mutual_tls() -> Result<()>
{
    let machines = &["nuc1", "nuc2", "nuc3"];
    let plan = Plan {
        speech: Speech::Mutual,
        // A coordinator that was killed holds the Lease until it runs out.
        election: Election("9s", "7s", "1s"),
        ..Plan::quick(vec![group("packet", Woken::Packet, machines)])
    };
    // The pods of a Deployment come again as long as it stands, so no other test has this cluster.
    let stage = ClusterStage::start(plan, PLANES.own().await?).await?;
    let mut reader = Reader {
        front: Front::start(&stage.plane, stage.admin()).await?,
        guide: Guide::read("guide/cluster-autoscaler.md")?,
        stage,
        printed: String::new(),
        autoscaler: None,
    };
    let commands = reader.guide.commands();
    let commands: Vec<_> = commands.into_iter().map(str::to_owned).collect();
    ensure!(commands.len() > 8, "{commands:?}");
    for command in commands {
        let done = reader.types(&command).await;
        done.with_context(|| format!("$ {command}"))?;
    }
    reader.autoscaler()?.until_loops(3).await?;
    let totals = reader.stage.recorder.totals();
    ensure!(totals.wakes == NEEDED, "{totals:?}");
    let unasked = reader.stage.recorder.unasked_effects(GRACE);
    ensure!(unasked.is_empty(), "unasked: {unasked:?}");
    Ok(())
}

impl Reader {
    async fn types(&mut self, command: &str) -> Result<()> {
        let words: Vec<_> = command.split_whitespace().collect();
        match words[..] {
            ["kubectl", "-n", OWN, "get", "secret", name] => {
                let secrets: Api<Secret> = Api::namespaced(self.stage.client(), OWN);
                secrets.get(name).await.map(drop).context("it is there")
            }
            ["homelabctl", "autoscaler", "config"] => self.prints_the_cloud_config(),
            ["kubectl", "apply", "-f", "deploy/cluster-autoscaler.yaml"] => {
                // Its rights stand since the cluster does, by the same file; its flags are read from there.
                self.autoscaler = Some(self.stage.guided_autoscaler(&self.printed).await?);
                self.autoscaler()?.until_loops(2).await
            }
            [
                "kubectl",
                "-n",
                OWN,
                "logs",
                "deployment/cluster-autoscaler",
                "|",
                "grep",
                "'Failed",
                "to'",
            ] => {
                let failures = self.autoscaler()?.failures(Excuse::Nothing)?;
                ensure!(failures.is_empty(), "{failures:?}");
                Ok(())
            }
            [
                "kubectl",
                "-n",
                OWN,
                "get",
                "configmap",
                "cluster-autoscaler-status",
                "-o",
                "yaml",
            ] => {
                ensure!(self.autoscaler()?.finds_healthy().await?);
                Ok(())
            }
            // To the same end, which the test of the shipped files compares.
            ["helm", ..] => Ok(()),
            ["kubectl", "apply", "-f", "room.yaml"] => self.asks_for_room().await,
            ["homelabctl", "check"] => {
                // It ends with 1 where one line must be mended.
                let findings = self.homelabctl(&["check"])?;
                ensure!(findings.contains("ok    relays"), "{findings}");
                Ok(())
            }
            ["homelabctl", "status"] => self.sees_machines().await,
            ["kubectl", "delete", "-f", "room.yaml"] => self.gives_room_back().await,
            ["kubectl", "-n", OWN, "delete", "secret", ref names @ ..] => {
                let secrets: Api<Secret> = Api::namespaced(self.stage.client(), OWN);
                for name in names {
                    secrets.delete(name, &DeleteParams::default()).await?;
                }
                Ok(())
            }
            [
                "kubectl",
                "-n",
                OWN,
                "scale",
                "deployment/homelab-coordinator",
                replicas,
            ] => self.scales(replicas).await,
            ["kubectl", "-n", OWN, "rollout", "restart", what] => self.restarts(what).await,
            _ => bail!("nothing here carries this out"),
        }
    }

    fn autoscaler(&mut self) -> Result<&mut Autoscaler> {
        self.autoscaler.as_mut().context("it was started")
    }

    fn homelabctl(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(programs::ours("homelabctl")?);
        command.args(words).arg("--kubeconfig");
        command.arg(self.front.kubeconfig()).env_clear();
        let output = tokio::task::block_in_place(|| command.output())?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The page shows what is printed, but for the port, which the system has chosen here.
    fn prints_the_cloud_config(&mut self) -> Result<()> {
        self.printed = self.homelabctl(&["autoscaler", "config"])?;
        let grpc = &self.stage.coordinator.ports().grpc;
        let (_, port) = grpc.rsplit_once(':').context("a port")?;
        let shown = self.guide.block("yaml", "address:")?;
        let shown = shown.replace(":50051\"", &format!(":{port}\""));
        ensure!(self.printed == shown, "{}", self.printed);
        Ok(())
    }

    fn room(&self) -> Result<Deployment> {
        let text = self.guide.block("yaml", "kind: Deployment")?;
        let documents = yaml::documents(text)?;
        let [document] = &documents[..] else {
            bail!("one document");
        };
        Ok(serde_json::from_value(document.value.clone())?)
    }

    async fn asks_for_room(&mut self) -> Result<()> {
        self.stage.recorder.ask_any(&NUCS, NEEDED, Wish::On);
        let rooms: Api<Deployment> = Api::namespaced(self.stage.client(), "default");
        rooms.create(&PostParams::default(), &self.room()?).await?;
        wait::until(LIMIT, "the room", async || {
            let status = rooms.get("room").await?.status.unwrap_or_default();
            ensure!(status.ready_replicas == Some(3), "{status:?}");
            Ok(())
        })
        .await
    }

    fn running(&self) -> Vec<&'static str> {
        let names = NUCS.into_iter();
        let on = names.filter(|name| self.stage.machines[*name].power() == Power::On);
        on.collect()
    }

    /// None of them was ever seen, until something has asked for room.
    async fn sees_machines(&self) -> Result<()> {
        let running = self.running();
        let rooms: Api<Deployment> = Api::namespaced(self.stage.client(), "default");
        let asked = rooms.get_opt("room").await?.is_some();
        let (expected, phase, names) = if asked {
            (NEEDED, "Running", running)
        } else {
            ensure!(running.is_empty(), "{running:?}");
            (NUCS.len(), "Unknown", NUCS.to_vec())
        };
        ensure!(names.len() == expected, "{names:?}");
        for name in names {
            self.stage.until_phase(name, phase).await?;
        }
        let table = self.homelabctl(&["status"])?;
        let rows = table.lines().filter(|row| row.contains(phase));
        ensure!(rows.count() == expected, "{table}");
        Ok(())
    }

    /// And waits until the machines sleep again.
    async fn gives_room_back(&mut self) -> Result<()> {
        let running = self.running();
        for name in &running {
            self.stage.recorder.ask(name, Wish::Off);
        }
        let rooms: Api<Deployment> = Api::namespaced(self.stage.client(), "default");
        rooms.delete("room", &DeleteParams::default()).await?;
        for name in running {
            self.stage.machines[name].until(Power::Off, LIMIT).await?;
            self.stage.until_phase(name, "Sleeping").await?;
            self.stage.until_no_node(name).await?;
        }
        let grown = NEEDED as u64;
        changed(self.autoscaler()?, grown, grown).await
    }

    async fn scales(&mut self, replicas: &str) -> Result<()> {
        match replicas {
            "--replicas=0" => {
                self.stage.kill_coordinator();
                Ok(())
            }
            "--replicas=1" => {
                self.stage.start_coordinator().await?;
                let secrets: Api<Secret> = Api::namespaced(self.stage.client(), OWN);
                let made = secrets.list(&ListParams::default()).await?;
                let made = made.iter().filter_map(|secret| secret.type_.as_deref());
                ensure!(made.filter(|made| *made == "kubernetes.io/tls").count() == 3);
                Ok(())
            }
            _ => bail!("nothing here has {replicas}"),
        }
    }

    async fn restarts(&mut self, what: &str) -> Result<()> {
        match what {
            "deployment/cluster-autoscaler" => {
                // First it goes: two at once would ask for the same twice.
                self.autoscaler = None;
                self.autoscaler = Some(self.stage.guided_autoscaler(&self.printed).await?);
                self.autoscaler()?.until_loops(3).await?;
                // The log of the one before goes on, and that one had its coordinator taken away.
                let failures = self.autoscaler()?.failures(Excuse::Outages)?;
                ensure!(failures.is_empty(), "{failures:?}");
                let calls = |state: &Value| state["autoscalerUserAgent"].is_string();
                let called = self.stage.until("it is let in", calls);
                called.await.map(drop)
            }
            _ => bail!("nothing here restarts {what}"),
        }
    }
}
