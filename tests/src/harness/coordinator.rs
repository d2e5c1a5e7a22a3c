//! The coordinator's own program: started, stopped in its tracks, killed, started again at the same addresses, asked for its pages.
//! In: a command line without addresses. Out: where it answers, its pages, a connection to its gRPC API.
//! Holds: it has told its ports when a start returns, and serves unless it was started to follow; the system chooses ports at the first start.
//! Not here: what the command line says; see the stages.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use reqwest::Response;
use rustix::process::Signal;
use serde_json::Value;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::{process::Process, programs, wait, workdir::WorkDir};

/// Time for anything that is waited for; a busy machine with two cores needs a large part of it.
const LIMIT: Duration = Duration::from_secs(120);
/// A port that the system chooses.
const ANY: &str = "127.0.0.1:0";

/// Where a coordinator answers.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Its gRPC API.
    pub grpc: String,
    /// Its pages.
    pub admin: String,
    /// The broker that it uses, as a URL.
    pub broker: String,
}

/// A coordinator that runs, or will run again.
#[derive(Debug)]
pub struct Coordinator {
    process: Option<Process>,
    ports: Ports,
    tls: Option<ClientTlsConfig>,
    http: reqwest::Client,
}

impl Coordinator {
    /// One that has never been started.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new() -> Result<Self> {
        // Somebody else in this process may have installed it before.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let ports = Ports {
            grpc: ANY.to_owned(),
            admin: ANY.to_owned(),
            broker: format!("mqtt://{ANY}"),
        };
        let http = reqwest::Client::builder().no_proxy().build();
        Ok(Self {
            process: None,
            ports,
            tls: None,
            http: http.context("make an HTTP client")?,
        })
    }

    /// A command line that runs it; the caller adds what differs.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn command(timing: &[String]) -> Result<Command> {
        let mut command = Command::new(programs::ours("homelab-coordinator")?);
        command.arg("run");
        for change in timing {
            command.args(["--timing", change]);
        }
        Ok(command)
    }

    /// Starts it, the second time and later at the same addresses, and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(&mut self, work: &WorkDir, command: Command) -> Result<()> {
        let mut process = self.launch(work, command).await?;
        wait::until(LIMIT, "the coordinator serves", async || {
            process.check_alive()?;
            let state = self.state().await?;
            ensure!(state["serving"] == true, "{}", state["waitingFor"]);
            ensure!(self.is_ready().await?, "it is not ready");
            Ok(())
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts it and waits until it listens: another one may lead.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_following(&mut self, work: &WorkDir, command: Command) -> Result<()> {
        self.process = Some(self.launch(work, command).await?);
        Ok(())
    }

    async fn launch(&mut self, work: &WorkDir, mut command: Command) -> Result<Process> {
        let file = work.file("ports.json");
        if file.exists() {
            std::fs::remove_file(&file).context("remove the old ports file")?;
        }
        command
            .arg("--ports-file")
            .arg(&file)
            .args(["--grpc-address", &self.ports.grpc])
            .args(["--admin-address", &self.ports.admin]);
        let mut process = Process::start(work, "coordinator", &command)?;
        self.ports = wait::until(LIMIT, "the coordinator tells its ports", async || {
            process.check_alive()?;
            Ports::read(&file)
        })
        .await?;
        Ok(process)
    }

    /// Stops it in its tracks, as a host does that is suspended or starved.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&mut self) -> Result<()> {
        self.running()?.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&mut self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// Asks it to stop and waits for its end: it gives its Lease back.
    ///
    /// # Errors
    /// When it does not run, or goes on.
    pub async fn stop(&mut self) -> Result<()> {
        self.running()?.stop(LIMIT).await.map(drop)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it never does.
    pub async fn until_ended(&mut self) -> Result<()> {
        self.running()?.ended(LIMIT).await.map(drop)
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// That, or it was never started.
    pub fn check_alive(&mut self) -> Result<()> {
        self.running()?.check_alive()
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the coordinator runs")
    }

    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Where it answers.
    #[must_use]
    pub const fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Connections are made with this from now on; in plain text before.
    pub fn speak(&mut self, tls: ClientTlsConfig) {
        self.tls = Some(tls);
    }

    /// A connection to the gRPC API, made at its first call and again whenever it broke.
    ///
    /// # Errors
    /// Never for an address that the coordinator has told.
    pub fn channel(&self) -> Result<Channel> {
        let address = &self.ports.grpc;
        let endpoint = match &self.tls {
            Some(tls) => {
                Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls.clone())?
            }
            None => Endpoint::from_shared(format!("http://{address}"))?,
        };
        Ok(endpoint.connect_lazy())
    }

    /// One of its pages, whatever its status.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn page(&self, path: &str) -> Result<String> {
        let page = self.get(path).await?.text().await;
        page.with_context(|| format!("read {path}"))
    }

    /// Whether a Service would send anybody to it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn is_ready(&self) -> Result<bool> {
        Ok(self.get("/readyz").await?.status().is_success())
    }

    async fn get(&self, path: &str) -> Result<Response> {
        let url = format!("http://{}{path}", self.ports.admin);
        let page = self.http.get(url).send().await;
        page.with_context(|| format!("ask for {path}"))
    }

    /// Its `/state` page.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn state(&self) -> Result<Value> {
        let page = self.page("/state").await?;
        serde_json::from_str(&page).context("read /state")
    }

    /// Waits until the state is as it should be, and returns it.
    ///
    /// # Errors
    /// When it never is; with the machines last seen.
    pub async fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(LIMIT, what, async || {
            let state = self.state().await?;
            let seen = &state["machines"];
            ensure!(fits(&state), "{}", serde_json::to_string_pretty(seen)?);
            Ok(state)
        })
        .await
    }

    /// The key that agents must know it by.
    ///
    /// # Errors
    /// When it never tells one.
    pub async fn key(&self) -> Result<String> {
        let told = |state: &Value| state["coordinatorKey"].is_string();
        let state = self.until("the coordinator's key", told).await?;
        let key = state["coordinatorKey"].as_str();
        Ok(key.context("a key is text")?.to_owned())
    }
}

impl Ports {
    fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).context("read the ports file")?;
        let ports: Value = serde_json::from_str(&text).context("parse the ports file")?;
        let text = |name: &str| {
            let port = ports[name].as_str().map(str::to_owned);
            port.with_context(|| format!("no {name} port"))
        };
        Ok(Self {
            grpc: text("grpc")?,
            admin: text("admin")?,
            broker: text("broker")?,
        })
    }
}
