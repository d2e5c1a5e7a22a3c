//! A real Kubernetes control plane: etcd, API server and, where wanted, controller manager and scheduler.
//! Out: a kubeconfig with the rights of a cluster admin, and clients made from it.
//! Holds: ready means that `/readyz` answers ok, the namespace `default` exists and every started part is healthy.
//! Not here: kubelets; a core Node of a test is as alive as whoever renews its Lease.

mod rights;

pub use rights::{Account, shipped};

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    api::core::v1::Namespace,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use rcgen::KeyPair;

use super::{
    certs::{Authority, Certificate},
    ports::Port,
    process::Process,
    programs, wait,
    workdir::WorkDir,
};

/// The parts start in seconds; a loaded machine with two cores may need far longer.
const START: Duration = Duration::from_secs(120);
/// A clean end flushes etcd and drains requests.
const STOP: Duration = Duration::from_secs(60);
/// A static token of group system:masters, good for everything on a server that only this test can reach.
const TOKEN: &str = "homelab-test-admin";

/// Which parts run beside etcd and the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Node lifecycle, garbage collection, namespaces, Deployments and the rest of the built-in controllers.
    pub controller_manager: bool,
    /// Binds pods to Nodes.
    pub scheduler: bool,
}

impl Parts {
    /// What a cluster has.
    pub const ALL: Self = Self {
        controller_manager: true,
        scheduler: true,
    };
    /// Enough for reading and writing objects; starts fastest.
    pub const API_ONLY: Self = Self {
        controller_manager: false,
        scheduler: false,
    };
}

/// A running control plane of one test.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields drop in this order: clients of the API server first, etcd last, the folder after all of them.
    scheduler: Option<Process>,
    controller_manager: Option<Process>,
    api_server: Process,
    etcd: Process,
    settings: Settings,
}

/// Everything that a part needs to start, and to start again.
#[derive(Debug)]
struct Settings {
    work: WorkDir,
    url: String,
    /// Certificate of the authority that the API server's own is of.
    ca: PathBuf,
    kubeconfig: PathBuf,
    serving: Certificate,
    etcd_client: Port,
    etcd_peer: Port,
    api: Port,
    controller_manager: Port,
    scheduler: Port,
}

impl ControlPlane {
    /// Starts all parts.
    ///
    /// # Errors
    /// When a program is missing or does not become ready; the text has the end of every log.
    pub async fn start() -> Result<Self> {
        Self::start_with(Parts::ALL).await
    }

    /// Starts etcd, the API server and the given parts.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_with(parts: Parts) -> Result<Self> {
        let settings = Settings::new()?;
        let etcd = settings.start_etcd()?;
        let api_server = settings.start_api_server()?;
        let mut plane = Self {
            scheduler: None,
            controller_manager: None,
            api_server,
            etcd,
            settings,
        };
        plane.api_server_ready().await?;
        if parts.controller_manager {
            plane.controller_manager = Some(plane.settings.start_controller_manager()?);
        }
        if parts.scheduler {
            plane.scheduler = Some(plane.settings.start_scheduler()?);
        }
        plane.parts_ready().await?;
        Ok(plane)
    }

    /// A kubeconfig for a cluster admin, for programs that take a file.
    #[must_use]
    pub fn kubeconfig_path(&self) -> &Path {
        &self.settings.kubeconfig
    }

    /// The API server's address, `https://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.settings.url
    }

    /// A client with the rights of a cluster admin.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.settings.client_config().await?)?)
    }

    /// The same, making each call once as the coordinator does: one that is put off is not repeated behind its back.
    ///
    /// # Errors
    /// As [`ControlPlane::client`].
    pub async fn unrepeating_client(&self) -> Result<Client> {
        let mut config = self.settings.client_config().await?;
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    /// Creates our custom resources and waits until the API server serves them.
    ///
    /// # Errors
    /// When the API server refuses one, or does not establish it in time.
    pub async fn apply_crds(&self) -> Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client().await?);
        for crd in coordinator_crds::crds() {
            let name = crd.name_any();
            api.create(&PostParams::default(), &crd)
                .await
                .with_context(|| format!("create {name}"))?;
            wait::until(START, &name, async || {
                let status = api.get(&name).await?.status.context("no status")?;
                let conditions = status.conditions.unwrap_or_default();
                let established = conditions.iter().any(|condition| {
                    condition.type_ == "Established" && condition.status == "True"
                });
                ensure!(established, "{conditions:?}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Ends the API server by SIGTERM; etcd keeps its data and the other parts keep retrying.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop_api_server(&mut self) -> Result<()> {
        self.api_server.stop(STOP).await.map(drop)
    }

    /// Ends the API server by SIGKILL.
    pub fn kill_api_server(&mut self) {
        self.api_server.kill();
    }

    /// Starts the API server again, at the same address and with the same data.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_api_server(&mut self) -> Result<()> {
        self.api_server.kill();
        self.api_server = self.settings.start_api_server()?;
        self.api_server_ready().await
    }

    async fn api_server_ready(&mut self) -> Result<()> {
        let client = self.client().await?;
        wait::until(START, "the API server", async || {
            self.etcd.check_alive()?;
            self.api_server.check_alive()?;
            get_text(&client, "/readyz").await?;
            Api::<Namespace>::all(client.clone()).get("default").await?;
            Ok(())
        })
        .await
    }

    async fn parts_ready(&mut self) -> Result<()> {
        let started = [
            (
                &mut self.controller_manager,
                &self.settings.controller_manager,
            ),
            (&mut self.scheduler, &self.settings.scheduler),
        ];
        for (part, port) in started {
            let Some(process) = part else { continue };
            let client = self.settings.health_client(port).await?;
            wait::until(START, "a part of the control plane", async || {
                process.check_alive()?;
                get_text(&client, "/healthz").await.map(drop)
            })
            .await?;
        }
        Ok(())
    }
}

impl Settings {
    fn new() -> Result<Self> {
        let work = WorkDir::new("control-plane")?;
        let authority = Authority::new()?;
        let ca = work.write("ca.pem", authority.pem())?;
        let serving = authority.issue(&work, "serving")?;
        let key = KeyPair::generate().context("make the key of service accounts")?;
        work.write("sa.key", key.serialize_pem())?;
        work.write("sa.pub", key.public_key_pem())?;
        work.write(
            "tokens.csv",
            format!("{TOKEN},admin,admin,system:masters\n"),
        )?;
        let api = Port::reserve()?;
        let url = format!("https://127.0.0.1:{}", api.number());
        let kubeconfig = work.write("kubeconfig", kubeconfig(&url, &ca, TOKEN))?;
        Ok(Self {
            work,
            url,
            ca,
            kubeconfig,
            serving,
            etcd_client: Port::reserve()?,
            etcd_peer: Port::reserve()?,
            api,
            controller_manager: Port::reserve()?,
            scheduler: Port::reserve()?,
        })
    }

    fn start_etcd(&self) -> Result<Process> {
        let client = format!("http://127.0.0.1:{}", self.etcd_client.number());
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer.number());
        let mut command = Command::new(programs::kubernetes("etcd")?);
        command
            .arg("--data-dir=etcd")
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            // The data dies with the test, so nothing is gained by waiting for the disk.
            .arg("--unsafe-no-fsync");
        Process::start(&self.work, "etcd", &command)
    }

    fn start_api_server(&self) -> Result<Process> {
        let mut command = self.part("kube-apiserver", &self.api)?;
        command
            .arg(format!(
                "--etcd-servers=http://127.0.0.1:{}",
                self.etcd_client.number()
            ))
            .arg("--service-account-issuer=https://localhost")
            .arg("--service-account-key-file=sa.pub")
            .arg("--service-account-signing-key-file=sa.key")
            .arg("--token-auth-file=tokens.csv")
            .arg("--authorization-mode=RBAC")
            .arg("--service-cluster-ip-range=10.0.0.0/24")
            .arg("--disable-admission-plugins=ServiceAccount")
            .arg("--allow-privileged");
        Process::start(&self.work, "kube-apiserver", &command)
    }

    fn start_controller_manager(&self) -> Result<Process> {
        let mut command = self.part("kube-controller-manager", &self.controller_manager)?;
        command
            .arg("--kubeconfig=kubeconfig")
            .arg("--controllers=*,-nodeipam,-service-lb-controller,-node-route-controller,-cloud-node-lifecycle-controller")
            // The shortest grace that a busy test machine keeps; dead machines are NotReady within seconds.
            .arg("--node-monitor-period=1s")
            .arg("--node-monitor-grace-period=8s")
            .arg("--service-account-private-key-file=sa.key")
            .arg("--use-service-account-credentials=false")
            .arg("--leader-elect=false");
        Process::start(&self.work, "kube-controller-manager", &command)
    }

    fn start_scheduler(&self) -> Result<Process> {
        let mut command = self.part("kube-scheduler", &self.scheduler)?;
        command
            .arg("--kubeconfig=kubeconfig")
            .arg("--leader-elect=false");
        Process::start(&self.work, "kube-scheduler", &command)
    }

    /// What all parts of Kubernetes have in common: the serving address and certificate.
    fn part(&self, name: &str, port: &Port) -> Result<Command> {
        let mut command = Command::new(programs::kubernetes(name)?);
        command
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={}", port.number()))
            .arg(format!(
                "--tls-cert-file={}",
                self.serving.certificate.display()
            ))
            .arg(format!(
                "--tls-private-key-file={}",
                self.serving.key.display()
            ))
            .arg("--cert-dir=certs");
        Ok(command)
    }

    async fn client_config(&self) -> Result<Config> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).context("read the kubeconfig")?;
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .context("use the kubeconfig")
    }

    /// A client for the health page of a part that trusts the same authority and asks no credentials.
    async fn health_client(&self, port: &Port) -> Result<Client> {
        let mut config = self.client_config().await?;
        config.cluster_url = format!("https://127.0.0.1:{}", port.number()).parse()?;
        config.auth_info = kube::config::AuthInfo::default();
        Ok(Client::try_from(config)?)
    }
}

async fn get_text(client: &Client, path: &str) -> Result<String> {
    let request = http::Request::get(path).body(Vec::new())?;
    client
        .request_text(request)
        .await
        .with_context(|| format!("get {path}"))
}

fn kubeconfig(url: &str, ca: &Path, token: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: test\n\
         clusters:\n\
         - name: test\n  cluster: {{server: \"{url}\", certificate-authority: \"{ca}\"}}\n\
         contexts:\n\
         - name: test\n  context: {{cluster: test, user: test}}\n\
         users:\n\
         - name: test\n  user: {{token: {token}}}\n",
        ca = ca.display()
    )
}
