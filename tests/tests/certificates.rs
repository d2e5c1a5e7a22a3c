//! Certificates that the coordinator issues itself: its own program at a real API server, with the rights that are shipped.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use proto_autoscaler::GpuLabelRequest;
use serde_json::{from_value, json};
use tests::{
    caller::Caller,
    cluster_stage::{LAB, OWN},
    harness::{Account, ControlPlane, Coordinator, Member, Parts, WorkDir, members::SECRETS, wait},
};
use tonic::{
    Code, Status,
    transport::{Channel, ClientTlsConfig},
};

/// Time for anything that is waited for; a busy machine with two cores needs a large part of it.
const LIMIT: Duration = Duration::from_secs(120);
/// The host of everything here, in no certificate but by a flag.
const HOST: &str = "127.0.0.1";
/// The name that the cloud config has.
const SERVICE: &str = "homelab-coordinator.homelab-autoscaler-system.svc";

/// A cluster in which coordinators can be installed.
struct Lab {
    plane: ControlPlane,
    client: Client,
}

/// One of them, with a folder of its own.
struct Replica {
    coordinator: Coordinator,
    work: WorkDir,
    name: &'static str,
}

impl Lab {
    async fn set() -> Result<Self> {
        // Somebody else in this process may have installed it before.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let plane = ControlPlane::start_with(Parts::API_ONLY).await?;
        plane.apply_crds().await?;
        plane.grant_shipped_rights().await?;
        let client = plane.client().await?;
        Ok(Self { plane, client })
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), OWN)
    }

    /// The three Secrets, as they are stored.
    async fn stored(&self) -> Result<Vec<Secret>> {
        let mut stored = Vec::new();
        for name in SECRETS {
            stored.push(self.secrets().get(name).await?);
        }
        Ok(stored)
    }

    async fn member(&self) -> Result<Member> {
        Member::read(&self.client, OWN).await
    }

    /// A client with the rights of a cluster-autoscaler.
    async fn autoscaler(&self) -> Result<Client> {
        let file = self.plane.kubeconfig_of(Account::ClusterAutoscaler);
        let config = Kubeconfig::read_from(file)?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(config, &options).await?;
        Ok(Client::try_from(config)?)
    }
}

impl Replica {
    fn new(name: &'static str) -> Result<Self> {
        Ok(Self {
            coordinator: Coordinator::new()?,
            work: WorkDir::new("certificates")?,
            name,
        })
    }

    fn command(&self, rights: &Path, flags: &[&str]) -> Result<Command> {
        let mut command = Coordinator::command(&[])?;
        command
            .arg("--kubeconfig")
            .arg(rights)
            .args(["--own-namespace", OWN, "--leader-elect-identity", self.name])
            .args(["--leader-elect-lease-duration", "9s"])
            .args(["--leader-elect-renew-deadline", "7s"])
            .args(["--leader-elect-retry-period", "1s"])
            // Nobody is there: certificates need no agents.
            .args(["--broker", "mqtt://127.0.0.1:1"])
            .arg("--grpc-issue-certs")
            .args(flags);
        Ok(command)
    }

    /// Starts it and waits until it leads and serves.
    async fn start(&mut self, lab: &Lab, flags: &[&str]) -> Result<()> {
        let rights = lab.plane.kubeconfig_of(Account::Coordinator);
        let command = self.command(&rights, flags)?;
        self.coordinator.start(&self.work, command).await
    }

    /// Starts it and waits until it listens.
    async fn begin(&mut self, lab: &Lab) -> Result<()> {
        let rights = lab.plane.kubeconfig_of(Account::Coordinator);
        let command = self.command(&rights, &[])?;
        self.coordinator.start_following(&self.work, command).await
    }

    fn log(&self) -> Result<String> {
        let log = std::fs::read_to_string(self.work.file("coordinator.log"));
        log.context("read the log")
    }

    /// One call over a connection of its own, with HTTP/2 agreed on in the handshake. With TLS 1.3 a client learns of its
    /// refusal only when it reads, so the call counts.
    async fn call(&self, tls: ClientTlsConfig) -> Result<(), Status> {
        let url = format!("https://{}", self.coordinator.ports().grpc);
        let connected = async {
            let endpoint = Channel::from_shared(url).map_err(|fault| fault.to_string())?;
            let endpoint = endpoint.tls_config(tls);
            let endpoint = endpoint.map_err(|fault| fault.to_string())?;
            let channel = endpoint.connect().await;
            channel.map_err(|fault| format!("{fault:?}"))
        };
        let called = async {
            let channel = connected.await.map_err(Status::unknown)?;
            Caller::new(channel, LAB).groups().await.map(drop)
        };
        let late = |_| Status::deadline_exceeded("no answer at all");
        tokio::time::timeout(LIMIT, called).await.map_err(late)?
    }

    /// It took the client for a member, whether it leads or not.
    async fn takes(&self, tls: ClientTlsConfig) -> Result<()> {
        match self.call(tls).await {
            Ok(()) => Ok(()),
            // Only the coordinator itself says this without a source.
            Err(status) if is_from_the_service(&status) => Ok(()),
            Err(status) => Err(status).context(self.name),
        }
    }

    async fn refuses(&self, tls: ClientTlsConfig) -> Result<()> {
        match self.call(tls).await {
            Err(status) if !is_from_the_service(&status) => Ok(()),
            other => anyhow::bail!("{}: {other:?}", self.name),
        }
    }
}

fn is_from_the_service(status: &Status) -> bool {
    status.code() == Code::Unavailable && std::error::Error::source(status).is_none()
}

/// All that a write changes.
fn versions(secrets: &[Secret]) -> Vec<Option<&str>> {
    let versions = secrets.iter();
    let versions = versions.map(|secret| secret.metadata.resource_version.as_deref());
    versions.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn first_start_makes_secrets_and_every_other_start_uses_them_again() -> Result<()> {
    let lab = Lab::set().await?;
    let mut first = Replica::new("first")?;
    first.start(&lab, &["--grpc-cert-name", HOST]).await?;
    let made = lab.stored().await?;
    for secret in &made[1..] {
        let data = secret.data.clone().unwrap_or_default();
        let fields: Vec<_> = data.keys().map(String::as_str).collect();
        ensure!(fields == ["ca.crt", "tls.crt", "tls.key"], "{fields:?}");
    }
    let log = first.log()?;
    let (_, port) = first
        .coordinator
        .ports()
        .grpc
        .split_once(':')
        .context("a port")?;
    let address = format!("address: \"{SERVICE}:{port}\"");
    ensure!(log.matches(&address).count() == 1, "{log}");
    ensure!(!log.contains("PRIVATE KEY"), "{log}");

    let member = lab.member().await?;
    for name in [SERVICE, HOST] {
        first.call(member.tls(name)).await?;
    }
    first.refuses(member.trust(SERVICE)).await?;
    first.refuses(member.tls("localhost")).await?;
    let plain = Caller::new(first.coordinator.channel()?, LAB);
    let plain = plain.client.clone().gpu_label(GpuLabelRequest {}).await;
    ensure!(plain.is_err(), "{plain:?}");
    let autoscalers: Api<Secret> = Api::namespaced(lab.autoscaler().await?, OWN);
    for name in SECRETS {
        let read = autoscalers.get(name).await.err().context("no right")?;
        ensure!(
            matches!(read, kube::Error::Api(ref told) if told.code == 403),
            "{read}"
        );
    }

    let mut second = Replica::new("second")?;
    second.begin(&lab).await?;
    wait::until(LIMIT, "a follower serves with the same", async || {
        second.takes(member.tls(SERVICE)).await
    })
    .await?;
    first.coordinator.kill();
    let serving = |state: &serde_json::Value| state["serving"] == true;
    second.coordinator.until("it leads", serving).await?;
    second.call(member.tls(SERVICE)).await?;
    second.coordinator.kill();
    first.start(&lab, &["--grpc-cert-name", HOST]).await?;
    first.call(member.tls(SERVICE)).await?;
    ensure!(
        first.log()?.matches(&address).count() == 1,
        "it was told once"
    );
    let after = lab.stored().await?;
    ensure!(versions(&made) == versions(&after), "somebody wrote again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_that_start_at_once_serve_with_one_authority() -> Result<()> {
    let lab = Lab::set().await?;
    let mut replicas = [Replica::new("a")?, Replica::new("b")?, Replica::new("c")?];
    let [a, b, c] = &mut replicas;
    tokio::try_join!(a.begin(&lab), b.begin(&lab), c.begin(&lab))?;
    let serving = async |replica: &Replica| {
        wait::until(LIMIT, "it serves members", async || {
            let member = lab.member().await?;
            replica.takes(member.tls(SERVICE)).await
        })
        .await
    };
    for replica in &replicas {
        serving(replica).await?;
    }
    let told = "this is its cloud config";
    let mut logs = Vec::new();
    for replica in &replicas {
        logs.push(replica.log()?);
    }
    let told = logs.iter().map(|log| log.matches(told).count());
    ensure!(told.sum::<usize>() == 1, "{logs:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_secret_is_told_left_alone_and_waited_for() -> Result<()> {
    let lab = Lab::set().await?;
    let theirs: Secret = from_value(json!({
        "metadata": {"name": "cluster-autoscaler-tls"},
        "stringData": {"tls.crt": "theirs", "tls.key": "also theirs"},
    }))?;
    let theirs = lab
        .secrets()
        .create(&PostParams::default(), &theirs)
        .await?;
    let mut replica = Replica::new("first")?;
    replica.begin(&lab).await?;
    wait::until(LIMIT, "it says why it waits", async || {
        let log = replica.log()?;
        let told = "Secret homelab-autoscaler-ca is gone while Secret cluster-autoscaler-tls is";
        ensure!(log.contains(told), "{log}");
        ensure!(!log.contains("theirs"), "{log}");
        Ok(())
    })
    .await?;
    let leads = |state: &serde_json::Value| state["serving"] == true;
    let led = replica.coordinator.until("everything else runs", leads);
    led.await?;
    ensure!(!replica.coordinator.is_ready().await?);
    let found = lab.secrets().get("cluster-autoscaler-tls").await?;
    ensure!(found == theirs, "{found:?}");
    let none = DeleteParams::default();
    lab.secrets()
        .delete("cluster-autoscaler-tls", &none)
        .await?;
    wait::until(LIMIT, "it is ready", async || {
        ensure!(replica.coordinator.is_ready().await?);
        Ok(())
    })
    .await?;
    let member = lab.member().await?;
    replica.call(member.tls(SERVICE)).await?;

    // Beside an authority it harms nobody but whoever mounts it.
    replica.coordinator.kill();
    let mut spoilt = lab.secrets().get("cluster-autoscaler-tls").await?;
    spoilt.data = theirs.data;
    let writing = PostParams::default();
    let secrets = lab.secrets();
    let spoilt = secrets.replace("cluster-autoscaler-tls", &writing, &spoilt);
    let spoilt = spoilt.await?;
    replica.start(&lab, &[]).await?;
    replica.call(member.tls(SERVICE)).await?;
    wait::until(LIMIT, "it says what is wrong", async || {
        let log = replica.log()?;
        let told = "Secret cluster-autoscaler-tls is not ours or damaged";
        ensure!(log.contains(told), "{log}");
        ensure!(!log.contains("theirs"), "{log}");
        Ok(())
    })
    .await?;
    let found = lab.secrets().get("cluster-autoscaler-tls").await?;
    ensure!(found == spoilt, "{found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_issues_its_certificate_anew_and_serves_with_it_at_once() -> Result<()> {
    let lab = Lab::set().await?;
    let mut replica = Replica::new("first")?;
    replica.start(&lab, &[]).await?;
    let before = lab.stored().await?;
    let member = lab.member().await?;
    replica.refuses(member.tls(HOST)).await?;
    replica.coordinator.kill();
    // A name more than what is stored has.
    replica.start(&lab, &["--grpc-cert-name", HOST]).await?;
    wait::until(LIMIT, "the other certificate", async || {
        replica.call(member.tls(HOST)).await.map_err(Into::into)
    })
    .await?;
    replica.call(member.tls(SERVICE)).await?;
    let after = lab.stored().await?;
    let same: Vec<_> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| before.data == after.data)
        .collect();
    ensure!(same == [true, false, true], "{same:?}");
    Ok(())
}
