//! Who may call: mutual TLS at the coordinator's own program, with files that change while it runs.

use std::ffi::OsStr;

use anyhow::{Context, Result, ensure};
use tests::{
    caller::Caller,
    cluster_stage::{Election, LAB, Plan},
    harness::{
        Coordinator, WorkDir,
        certs::{Authority, Certificate},
        wait,
    },
};
use tonic::transport::{self, Channel, ClientTlsConfig, Identity};

use super::floor::{LIMIT, alone, on_paper};

/// What the server's certificates are made for.
const HOST: &str = "localhost";

/// An authority with what it has signed.
struct Party {
    authority: Authority,
    server: Certificate,
    client: Identity,
}

impl Party {
    fn new(work: &WorkDir, name: &str) -> Result<Self> {
        let authority = Authority::new()?;
        let server = authority.issue(work, &format!("{name}-server"))?;
        let client = authority.issue(work, &format!("{name}-client"))?;
        let client = Identity::from_pem(
            std::fs::read(client.certificate)?,
            std::fs::read(client.key)?,
        );
        Ok(Self {
            authority,
            server,
            client,
        })
    }

    /// Puts what a server needs where the coordinator looks for it.
    fn serve_from(&self, work: &WorkDir) -> Result<()> {
        let copy = |from, to| std::fs::copy(from, work.file(to)).context("copy a PEM file");
        copy(&self.server.certificate, "tls.crt")?;
        copy(&self.server.key, "tls.key")?;
        work.write("ca.crt", self.authority.pem()).map(drop)
    }

    /// What a client trusts that was set up with this authority, and which host it looks for.
    fn trusted(&self, host: &str) -> ClientTlsConfig {
        let authority = transport::Certificate::from_pem(self.authority.pem());
        ClientTlsConfig::new()
            .ca_certificate(authority)
            .domain_name(host)
    }

    /// A client with a certificate of this authority.
    fn member(&self) -> ClientTlsConfig {
        self.trusted(HOST).identity(self.client.clone())
    }
}

/// Connects as the autoscaler does, with HTTP/2 agreed on in the handshake, and lists the groups. With TLS 1.3 a client learns of
/// its refusal only when it reads, so the call counts.
async fn calls(coordinator: &Coordinator, tls: ClientTlsConfig) -> Result<Caller> {
    let url = format!("https://{}", coordinator.ports().grpc);
    let call = async {
        let channel = Channel::from_shared(url)?.tls_config(tls)?.connect().await;
        let caller = Caller::new(channel?, LAB);
        let groups = caller.groups().await?;
        ensure!(groups.len() == 1, "{groups:?}");
        anyhow::Ok(caller)
    };
    tokio::time::timeout(LIMIT, call).await.context("in time")?
}

#[test]
fn c47_only_members_are_answered_and_certificates_change_while_the_coordinator_runs() -> Result<()>
{
    let lab = Plan {
        others: &[],
        election: Election("6s", "5s", "500ms"),
        ..Plan::quick(Vec::new())
    };
    alone(lab, async |stage| {
        on_paper(stage, "c47", &["c47a"]).await?;
        let work = WorkDir::new("tls")?;
        let (ours, next) = (Party::new(&work, "ours")?, Party::new(&work, "next")?);
        ours.serve_from(&work)?;
        let file = |name| work.file(name).into_os_string();
        let (cert, key, ca) = (file("tls.crt"), file("tls.key"), file("ca.crt"));
        let flags = ["--grpc-cert", "--grpc-key", "--grpc-client-ca"].map(OsStr::new);
        let flags = [flags[0], &cert, flags[1], &key, flags[2], &ca];
        let mut replica = stage.start_replica(&flags).await?;
        stage.kill_coordinator();
        let serving = |state: &serde_json::Value| state["serving"] == true;
        replica.coordinator.until("it leads", serving).await?;

        let open = calls(&replica.coordinator, ours.member()).await?;
        let plain = replica.caller()?.groups().await;
        ensure!(plain.is_err(), "{plain:?}");
        let foreign = ours.trusted(HOST).identity(next.client.clone());
        let elsewhere = ours.trusted("elsewhere.lab").identity(ours.client.clone());
        for refused in [ours.trusted(HOST), foreign, elsewhere, next.member()] {
            let answer = calls(&replica.coordinator, refused).await;
            ensure!(answer.is_err(), "it was answered");
        }

        next.serve_from(&work)?;
        wait::until(LIMIT, "the other certificate", async || {
            calls(&replica.coordinator, next.member()).await.map(drop)
        })
        .await?;
        let before = calls(&replica.coordinator, ours.member()).await;
        ensure!(before.is_err(), "who was a member before");
        // It is still the same process, and who was let in stays.
        replica.coordinator.check_alive()?;
        open.groups().await?;
        Ok(())
    })
}
