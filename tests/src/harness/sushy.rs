//! A real Redfish service: sushy-tools' emulator with scripted systems whose power changes without delay.
//! In: systems, and whether the service asks for a password or speaks TLS.
//! Out: its address, and the power of a system as the emulator sees it.
//! Holds: a power change shows in the first read after it, as the emulator applies changes when it is read.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use super::{certs::Authority, ports::Port, process::Process, programs, wait, workdir::WorkDir};

/// A Python program of many modules on a loaded machine.
const START: Duration = Duration::from_secs(60);
/// One request; the emulator serves them one after the other.
const REQUEST: Duration = Duration::from_secs(10);

/// Runs the emulator with its random delay of 1 to 11 s replaced by none.
const LAUNCHER: &str = "\
import sys
from sushy_tools.emulator.resources.systems import fakedriver
from sushy_tools.emulator import main

class NoDelay:
    @staticmethod
    def randint(low, high):
        return 0

fakedriver.random = NoDelay
sys.exit(main.main())
";

/// Prints the password file's line for a user and password given as arguments.
const HASHER: &str = "\
import bcrypt, sys
print(sys.argv[1] + ':' + bcrypt.hashpw(sys.argv[2].encode(), bcrypt.gensalt(4)).decode())
";

/// Power as a BMC reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Running.
    On,
    /// Not running.
    Off,
}

impl Power {
    /// The word on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::Off => "Off",
        }
    }
}

/// One system behind the emulated BMC.
#[derive(Debug, Clone)]
pub struct System {
    /// Its Redfish id.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// MAC address of its only NIC.
    pub mac: String,
    /// Power when the emulator starts.
    pub power: Power,
}

/// How the service is reached.
#[derive(Debug, Clone, Default)]
pub struct SushyOptions {
    /// User and password that Basic authentication asks for; none by default.
    pub login: Option<(String, String)>,
    /// Serve https with a certificate valid for 127.0.0.1; http by default.
    pub tls: bool,
}

/// A running emulator of one test.
#[derive(Debug)]
pub struct Sushy {
    process: Process,
    port: Port,
    options: SushyOptions,
    client: reqwest::Client,
    work: WorkDir,
}

impl Sushy {
    /// Starts an emulator without password over http.
    ///
    /// # Errors
    /// When sushy-tools is missing or does not answer; the text has the end of its log.
    pub async fn start(systems: &[System]) -> Result<Self> {
        Self::start_with(systems, SushyOptions::default()).await
    }

    /// Starts an emulator as described.
    ///
    /// # Errors
    /// As [`Sushy::start`].
    pub async fn start_with(systems: &[System], options: SushyOptions) -> Result<Self> {
        let work = WorkDir::new("sushy")?;
        let port = Port::reserve()?;
        let mut settings = json!({
            "SUSHY_EMULATOR_LISTEN_IP": "127.0.0.1",
            "SUSHY_EMULATOR_LISTEN_PORT": port.number(),
            "SUSHY_EMULATOR_STATE_DIR": work.file("state"),
        });
        let mut client = reqwest::Client::builder().no_proxy().timeout(REQUEST);
        if options.tls {
            let authority = Authority::new()?;
            let ca = authority.pem();
            work.write("ca.pem", &ca)?;
            let serving = authority.issue(&work, "bmc")?;
            settings["SUSHY_EMULATOR_SSL_CERT"] = json!(serving.certificate);
            settings["SUSHY_EMULATOR_SSL_KEY"] = json!(serving.key);
            // The provider may have been chosen by somebody else in this process already.
            let _chosen = rustls::crypto::ring::default_provider().install_default();
            client = client.tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes())?]);
        }
        if let Some((user, password)) = &options.login {
            settings["SUSHY_EMULATOR_AUTH_FILE"] = json!(write_login(&work, user, password)?);
        }
        let process = launch(&work, &configuration(&settings, systems)?)?;
        let mut started = Self {
            process,
            port,
            options,
            client: client.build().context("make an HTTP client")?,
            work,
        };
        started.answers().await?;
        Ok(started)
    }

    /// The service's base address, such as `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn address(&self) -> String {
        let scheme = if self.options.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port.number())
    }

    /// PEM file of the authority that signed the service's certificate; with TLS only.
    #[must_use]
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.options.tls.then(|| self.work.file("ca.pem"))
    }

    /// Reads the power of a system.
    ///
    /// # Errors
    /// When the service does not answer or knows no such system.
    pub async fn power(&self, uuid: &str) -> Result<Power> {
        let body = self.get(&format!("/redfish/v1/Systems/{uuid}")).await?;
        match body["PowerState"].as_str() {
            Some("On") => Ok(Power::On),
            Some("Off") => Ok(Power::Off),
            Some(_) | None => bail!("system {uuid} has the power {}", body["PowerState"]),
        }
    }

    /// Posts a reset of the given type (`On`, `ForceOff`, `GracefulShutdown`…), as a person at the BMC would.
    ///
    /// # Errors
    /// When the service refuses it.
    pub async fn reset(&self, uuid: &str, kind: &str) -> Result<()> {
        let path = format!("/redfish/v1/Systems/{uuid}/Actions/ComputerSystem.Reset");
        let request = self.client.post(format!("{}{path}", self.address()));
        let response = self
            .authenticated(request)
            .json(&json!({ "ResetType": kind }))
            .send()
            .await
            .with_context(|| format!("post {path}"))?;
        let status = response.status();
        ensure!(
            status.is_success(),
            "reset {kind} of {uuid}: {status} {}",
            response.text().await.unwrap_or_default()
        );
        Ok(())
    }

    /// Stops it in its tracks: its connections are taken, and nobody answers on them.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> Result<()> {
        kill_process(self.process.pid()?, Signal::STOP).context("pause the emulator")
    }

    /// Lets it go on, with what was asked meanwhile.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> Result<()> {
        kill_process(self.process.pid()?, Signal::CONT).context("resume the emulator")
    }

    /// Ends the service by SIGKILL, as if its network cable were pulled.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path}", self.address()));
        self.authenticated(request)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .with_context(|| format!("get {path}"))?
            .json()
            .await
            .with_context(|| format!("read the body of {path}"))
    }

    fn authenticated(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.options.login {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    async fn answers(&mut self) -> Result<()> {
        wait::until(START, "sushy-tools to answer", async || {
            self.process.check_alive()?;
            self.get("/redfish/v1/Systems").await.map(drop)
        })
        .await
    }
}

fn launch(work: &WorkDir, configuration: &str) -> Result<Process> {
    let launcher = work.write("launcher.py", LAUNCHER)?;
    let configuration = work.write("emulator.conf", configuration)?;
    let mut command = Command::new(programs::sushy_python()?);
    command
        .arg(launcher)
        .arg("--config")
        .arg(configuration)
        .arg("--fake")
        .env("PYTHONUNBUFFERED", "1");
    Process::start(work, "sushy-emulator", &command)
}

/// The emulator's configuration is a Python file; JSON without booleans and null reads the same in Python.
fn configuration(settings: &Value, systems: &[System]) -> Result<String> {
    let mut text = String::from("SUSHY_EMULATOR_FAKE_DRIVER = True\n");
    for (name, value) in settings.as_object().context("settings are an object")? {
        text.push_str(&format!("{name} = {value}\n"));
    }
    let systems: Vec<Value> = systems
        .iter()
        .map(|system| {
            json!({
                "uuid": system.uuid,
                "name": system.name,
                "power_state": system.power.word(),
                "external_notifier": 0,
                "nics": [{"mac": system.mac, "ip": "127.0.0.1"}],
            })
        })
        .collect();
    text.push_str(&format!(
        "SUSHY_EMULATOR_FAKE_SYSTEMS = {}\n",
        Value::from(systems)
    ));
    Ok(text)
}

/// Writes the file that Basic authentication checks against; the emulator takes bcrypt only.
fn write_login(work: &WorkDir, user: &str, password: &str) -> Result<PathBuf> {
    let output = Command::new(programs::sushy_python()?)
        .args(["-c", HASHER, user, password])
        .output()
        .context("run Python to hash a password")?;
    ensure!(
        output.status.success(),
        "hash a password: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    work.write("htpasswd", output.stdout)
}
