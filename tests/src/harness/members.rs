//! A client of the autoscaler's API as the coordinator wants it: with the certificate from the Secret that it keeps.
//! In: that Secret. Out: TLS for a connection, files for a program.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::WorkDir;

/// The names of the Secrets that the coordinator keeps its certificates in.
pub const SECRETS: [&str; 3] = [
    "homelab-autoscaler-ca",
    "homelab-coordinator-tls",
    "cluster-autoscaler-tls",
];

/// What is in the client's Secret.
#[derive(Clone)]
pub struct Member {
    files: [(&'static str, Vec<u8>); 3],
}

impl Member {
    /// Reads the Secret.
    ///
    /// # Errors
    /// It is not there, or lacks a field.
    pub async fn read(client: &Client, namespace: &str) -> Result<Self> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let data = secrets.get(SECRETS[2]).await?.data.unwrap_or_default();
        let field = |name: &'static str| {
            let bytes = data.get(name).with_context(|| format!("no {name}"))?;
            anyhow::Ok((name, bytes.0.clone()))
        };
        let files = [field("tls.crt")?, field("tls.key")?, field("ca.crt")?];
        Ok(Self { files })
    }

    /// What it shows and trusts, for a host whose name it expects.
    #[must_use]
    pub fn tls(&self, host: &str) -> ClientTlsConfig {
        let [(_, cert), (_, key), _] = &self.files;
        self.trust(host).identity(Identity::from_pem(cert, key))
    }

    /// What it trusts alone; it shows nothing.
    #[must_use]
    pub fn trust(&self, host: &str) -> ClientTlsConfig {
        let [_, _, (_, ca)] = &self.files;
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name(host)
    }

    /// Writes the files into a folder, as the kubelet mounts them.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn mount(&self, work: &WorkDir, folder: &str) -> Result<()> {
        for (name, bytes) in &self.files {
            work.write(&format!("{folder}/{name}"), bytes)?;
        }
        Ok(())
    }
}
