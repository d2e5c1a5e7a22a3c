//! The command line: parsed once into domain values, so that nothing later reads a flag or the environment.
//! In: arguments, each with a twin in the environment (`HOMELAB_…`). Out: [`Settings`].
//! Holds: what is wrong is said in one line that names the flag, the value and what would be right.
//! Not here: what the settings do (`serve`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use coordinator_core::{AutoscalerVersion, Policy};
use proto_link::BrokerUrl;
use rustls::pki_types::ServerName;

mod fault;
mod flags;
mod timing;

pub use fault::ArgsFault;

use flags::{BrokerFlags, GrpcFlags, KubernetesFlags, RunFlags, StandaloneFlags};

/// The program's command line.
#[derive(Debug, Parser)]
#[command(
    name = "homelab-coordinator",
    version,
    about = "Wakes and stops the machines of a homelab"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the coordinator: with --lab on its own, without it inside a Kubernetes cluster.
    Run(Box<RunFlags>),
}

/// Everything that was chosen at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// With or without Kubernetes.
    pub mode: Mode,
    /// The autoscaler's API.
    pub grpc: GrpcSettings,
    /// Where `/healthz`, `/readyz`, `/metrics` and `/state` are served.
    pub admin: SocketAddr,
    /// How the agents' broker is reached.
    pub broker: BrokerSettings,
    /// Where the real addresses are written once everything listens.
    pub ports_file: Option<PathBuf>,
    /// Time limits and bounds.
    pub policy: Policy,
    /// What is logged, as tracing's filter directives.
    pub log: String,
}

/// With or without Kubernetes.
#[derive(Clone, Debug)]
pub enum Mode {
    /// The lab is a folder, the store a file.
    Standalone(StandaloneSettings),
    /// The lab and the store are custom resources.
    Kubernetes(KubernetesSettings),
}

/// What the mode without Kubernetes needs.
#[derive(Clone, Debug)]
pub struct StandaloneSettings {
    /// Folder with the lab's YAML documents.
    pub lab: PathBuf,
    /// Folder for the store and the coordinator's key; created if absent.
    pub state: PathBuf,
    /// Local socket for `homelabctl`.
    pub socket: PathBuf,
}

/// What the mode inside a cluster needs.
#[derive(Clone, Debug)]
pub struct KubernetesSettings {
    /// Namespaces whose Groups and Nodes are watched; empty means all.
    pub namespaces: Vec<String>,
    /// Instead of the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the coordinator's own Lease and Secrets; absent means the pod's, or `homelab-autoscaler-system`.
    pub own_namespace: Option<String>,
    /// Name under which this process holds the Lease; absent means the host's name.
    pub identity: Option<String>,
    /// Name of the Secret that holds the coordinator's key.
    pub key_secret: String,
    /// How one leader is chosen.
    pub election: Election,
}

/// How one leader is chosen among the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Election {
    /// False: this process leads without asking. Only for a single replica.
    pub enabled: bool,
    /// A leader that has not renewed for so long is followed by another.
    pub lease: Duration,
    /// A leader that could not renew for so long stops leading; shorter than the lease.
    pub renew: Duration,
    /// Between attempts; shorter than `renew`.
    pub retry: Duration,
}

/// The autoscaler's API.
#[derive(Clone, Debug)]
pub struct GrpcSettings {
    /// Where it is served; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Who may call, and how that is seen.
    pub security: GrpcSecurity,
    /// Whether clients may ask what the API looks like.
    #[cfg(feature = "reflection")]
    pub reflection: bool,
}

impl GrpcSettings {
    /// Plain text, and nothing beside the service itself.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            security: GrpcSecurity::PlainText,
            #[cfg(feature = "reflection")]
            reflection: false,
        }
    }
}

/// Who may call the autoscaler's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrpcSecurity {
    /// Everybody who reaches it.
    PlainText,
    /// Who shows a certificate, by files of the household's own.
    Files(TlsFiles),
    /// Who shows a certificate, by certificates that the coordinator issues and keeps in Secrets. Only inside a cluster.
    Issued {
        /// Names of the server beside those of its Service.
        names: Vec<ServerName<'static>>,
    },
}

/// PEM files for mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities whose client certificates are accepted.
    pub client_ca: PathBuf,
}

/// How the agents' broker is reached.
#[derive(Clone, Debug)]
pub enum BrokerSettings {
    /// A broker of the household.
    External {
        /// Where it is.
        url: BrokerUrl,
        /// User name.
        user: Option<String>,
        /// File with the password.
        password_file: Option<PathBuf>,
        /// PEM file with the only authority to trust.
        ca_file: Option<PathBuf>,
    },
    /// A broker inside this process, for trials: it has no access control.
    Embedded {
        /// Where it listens; port 0 lets the system choose.
        address: SocketAddr,
    },
}

impl BrokerSettings {
    /// The host of a broker that is not in this process, as it was written.
    fn host(&self) -> Option<&str> {
        match self {
            Self::External { url, .. } => Some(url.host()),
            Self::Embedded { .. } => None,
        }
    }
}

impl Cli {
    /// Turns flags into settings.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn settings(self) -> Result<Settings, ArgsFault> {
        let Command::Run(run) = self.command;
        run.settings()
    }
}

impl RunFlags {
    fn settings(self) -> Result<Settings, ArgsFault> {
        let Self {
            standalone,
            kubernetes,
            grpc,
            broker,
            admin_address,
            ports_file,
            node_name,
            timing,
            log,
        } = self;
        let mut policy = timing::policy(&timing)?;
        policy.own_node = node_name;
        policy.autoscaler = autoscaler_version(grpc.autoscaler_version.as_deref())?;
        let broker_node = broker.broker_node_name.clone();
        check_log(&log)?;
        let embedded_broker = standalone.embedded_broker;
        let mode = mode(standalone, kubernetes)?;
        let broker = broker.settings(embedded_broker, &mode)?;
        policy.broker_node = broker_node.or_else(|| broker.host().map(str::to_owned));
        Ok(Settings {
            broker,
            grpc: grpc.settings(&mode)?,
            mode,
            admin: admin_address,
            ports_file,
            policy,
            log,
        })
    }
}

fn autoscaler_version(text: Option<&str>) -> Result<Option<AutoscalerVersion>, ArgsFault> {
    let read = |text: &str| {
        let wrong = |_| ArgsFault::AutoscalerVersion(text.to_owned());
        text.parse().map_err(wrong)
    };
    text.map(read).transpose()
}

fn check_log(directives: &str) -> Result<(), ArgsFault> {
    match directives.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(()),
        Err(fault) => Err(ArgsFault::Log {
            directives: directives.to_owned(),
            detail: fault.to_string(),
        }),
    }
}

fn mode(standalone: StandaloneFlags, kubernetes: KubernetesFlags) -> Result<Mode, ArgsFault> {
    let Some(lab) = standalone.lab else {
        for (given, flag) in [
            (standalone.state.is_some(), "--state"),
            (standalone.socket.is_some(), "--socket"),
            (standalone.embedded_broker.is_some(), "--embedded-broker"),
        ] {
            if given {
                return Err(ArgsFault::Needs {
                    flag,
                    needs: "--lab",
                });
            }
        }
        return Ok(Mode::Kubernetes(kubernetes.settings()?));
    };
    if kubernetes.kubeconfig.is_some() {
        return Err(ArgsFault::Both {
            one: "--lab",
            other: "--kubeconfig",
        });
    }
    if !kubernetes.namespace.is_empty() {
        return Err(ArgsFault::Both {
            one: "--lab",
            other: "--namespace",
        });
    }
    let state = match standalone.state {
        Some(state) => state,
        None => {
            flags::default_state(|name| std::env::var_os(name)).ok_or(ArgsFault::StateMissing)?
        }
    };
    let socket = standalone
        .socket
        .unwrap_or_else(|| state.join("coordinator.sock"));
    Ok(Mode::Standalone(StandaloneSettings { lab, state, socket }))
}

impl KubernetesFlags {
    fn settings(self) -> Result<KubernetesSettings, ArgsFault> {
        let duration = |flag: &'static str, text: &str| {
            coordinator_crds::duration::parse(text)
                .map_err(|source| ArgsFault::Duration { flag, source })
        };
        let election = Election {
            enabled: self.leader_elect,
            lease: duration(
                "--leader-elect-lease-duration",
                &self.leader_elect_lease_duration,
            )?,
            renew: duration(
                "--leader-elect-renew-deadline",
                &self.leader_elect_renew_deadline,
            )?,
            retry: duration(
                "--leader-elect-retry-period",
                &self.leader_elect_retry_period,
            )?,
        };
        let ordered = Duration::ZERO < election.retry
            && election.retry < election.renew
            && election.renew < election.lease;
        // The Lease holds whole seconds.
        if !ordered || election.lease < Duration::from_secs(1) {
            return Err(ArgsFault::ElectionOrder);
        }
        Ok(KubernetesSettings {
            namespaces: self.namespace,
            kubeconfig: self.kubeconfig,
            own_namespace: self.own_namespace,
            identity: self.leader_elect_identity,
            key_secret: self.key_secret,
            election,
        })
    }
}

impl GrpcFlags {
    fn settings(self, mode: &Mode) -> Result<GrpcSettings, ArgsFault> {
        let security = self.security(mode)?;
        let open = security == GrpcSecurity::PlainText && !self.grpc_address.ip().is_loopback();
        if open && !self.grpc_insecure {
            return Err(ArgsFault::PlainText(self.grpc_address));
        }
        Ok(GrpcSettings {
            address: self.grpc_address,
            security,
            #[cfg(feature = "reflection")]
            reflection: self.grpc_reflection,
        })
    }

    fn security(&self, mode: &Mode) -> Result<GrpcSecurity, ArgsFault> {
        let files = self.files()?;
        if !self.grpc_issue_certs {
            if !self.grpc_cert_name.is_empty() {
                return Err(ArgsFault::Needs {
                    flag: "--grpc-cert-name",
                    needs: "--grpc-issue-certs",
                });
            }
            return Ok(files.map_or(GrpcSecurity::PlainText, GrpcSecurity::Files));
        }
        let excluded = match mode {
            Mode::Standalone(_) => Some("--lab"),
            Mode::Kubernetes(_) if files.is_some() => Some("--grpc-cert"),
            Mode::Kubernetes(_) if self.grpc_insecure => Some("--grpc-insecure"),
            Mode::Kubernetes(_) => None,
        };
        if let Some(other) = excluded {
            return Err(ArgsFault::Both {
                one: "--grpc-issue-certs",
                other,
            });
        }
        let names = self.grpc_cert_name.iter().map(|name| {
            // No certificate holds the dot at the end that DNS allows.
            let read = ServerName::try_from(name.clone()).ok();
            let read = read.filter(|_| !name.ends_with('.'));
            read.ok_or_else(|| ArgsFault::CertName(name.clone()))
        });
        Ok(GrpcSecurity::Issued {
            names: names.collect::<Result<_, _>>()?,
        })
    }

    fn files(&self) -> Result<Option<TlsFiles>, ArgsFault> {
        let (flag, needs) = match (&self.grpc_cert, &self.grpc_key, &self.grpc_client_ca) {
            (Some(cert), Some(key), Some(client_ca)) => {
                return Ok(Some(TlsFiles {
                    cert: cert.clone(),
                    key: key.clone(),
                    client_ca: client_ca.clone(),
                }));
            }
            (None, None, None) => return Ok(None),
            (Some(_), _, _) => ("--grpc-cert", "--grpc-key and --grpc-client-ca"),
            (None, Some(_), _) => ("--grpc-key", "--grpc-cert and --grpc-client-ca"),
            (None, None, Some(_)) => ("--grpc-client-ca", "--grpc-cert and --grpc-key"),
        };
        Err(ArgsFault::Needs { flag, needs })
    }
}

impl BrokerFlags {
    fn settings(
        self,
        embedded: Option<SocketAddr>,
        mode: &Mode,
    ) -> Result<BrokerSettings, ArgsFault> {
        let Some(address) = self.broker else {
            for (given, flag) in [
                (
                    self.broker_password_file.is_some(),
                    "--broker-password-file",
                ),
                (self.broker_ca_file.is_some(), "--broker-ca-file"),
            ] {
                if given {
                    return Err(ArgsFault::Needs {
                        flag,
                        needs: "--broker",
                    });
                }
            }
            return match mode {
                Mode::Standalone(_) => Ok(BrokerSettings::Embedded {
                    address: embedded.unwrap_or(flags::EMBEDDED_BROKER),
                }),
                Mode::Kubernetes(_) => Err(ArgsFault::BrokerMissing),
            };
        };
        if embedded.is_some() {
            return Err(ArgsFault::Both {
                one: "--broker",
                other: "--embedded-broker",
            });
        }
        let (user, address) = split_user(&address)?;
        Ok(BrokerSettings::External {
            url: address.parse()?,
            user,
            password_file: self.broker_password_file,
            ca_file: self.broker_ca_file,
        })
    }
}

/// Takes `user@` out of `mqtt://user@host:port`.
fn split_user(address: &str) -> Result<(Option<String>, String), ArgsFault> {
    let Some((scheme, rest)) = address.split_once("://") else {
        return Ok((None, address.to_owned()));
    };
    let Some((user, host)) = rest.rsplit_once('@') else {
        return Ok((None, address.to_owned()));
    };
    if user.contains(':') {
        return Err(ArgsFault::BrokerPassword);
    }
    Ok((Some(user.to_owned()), format!("{scheme}://{host}")))
}

#[cfg(test)]
mod tests;
