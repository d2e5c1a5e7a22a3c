//! The Secrets with the certificates of the cluster-autoscaler's API.
//!
//! In: names of the server. Out: what to serve with.
//! Holds: a Secret is made by one create, so of several coordinators one makes it and all read the same; what is there and was
//! not issued by our authority, or is damaged, is never written over. No fault and no log line shows a key.
//! Not here: what is in a certificate, and when it is due (`certificates`).

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, api::PostParams, core::ObjectMeta};
use rustls::pki_types::ServerName;
use thiserror::Error;

use crate::{
    certificates::{Authority, CertificateFault, Pair, Role, Worth, date},
    clock,
    inputs::kubernetes::{CallFault, Cluster, call},
    metrics::{ApiWrite, Metrics},
};

/// With the authority's key: for the coordinator alone.
const AUTHORITY: &str = "homelab-autoscaler-ca";
const SERVER: &str = "homelab-coordinator-tls";
/// What the cluster-autoscaler mounts.
pub(crate) const CLIENT: &str = "cluster-autoscaler-tls";
/// The fields, and the type that asks for the first two.
const CERT: &str = "tls.crt";
const KEY: &str = "tls.key";
const CA: &str = "ca.crt";
const TYPE: &str = "kubernetes.io/tls";

/// What may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// What is not there. Whoever is faster settles it, so everybody may.
    Make,
    /// That, and what is due. Only who leads may.
    Renew,
}

/// Whose doing a Secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was there.
    Found,
    /// This call has made it.
    Made,
}

/// What to serve with.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The certificate of the authority whose clients are served, in PEM.
    pub(crate) authority: String,
    pub(crate) server: Pair,
    /// Whose doing the client's Secret is.
    pub(crate) client: Origin,
}

/// Why there are no certificates, or none that are renewed.
#[derive(Debug, Error)]
pub(crate) enum SecretFault {
    /// The API server did not give or take one.
    #[error("{operation} Secret {secret}")]
    Api {
        /// What was tried.
        operation: &'static str,
        secret: &'static str,
        #[source]
        source: CallFault,
    },
    /// A field is not there, or not as it must be.
    #[error(
        "Secret {secret} is damaged and left as it is: {field} is not what it was made with; {CURE}"
    )]
    Field {
        secret: &'static str,
        field: &'static str,
    },
    /// Somebody else's, or damaged.
    #[error("Secret {secret} is not ours or damaged, and left as it is; {CURE}")]
    Unusable {
        secret: &'static str,
        #[source]
        source: CertificateFault,
    },
    /// None can be made.
    #[error("cannot issue a certificate for Secret {secret}")]
    Issue {
        secret: &'static str,
        #[source]
        source: CertificateFault,
    },
}

/// What helps against a Secret that cannot be used.
const CURE: &str = "restore it, or delete the Secrets homelab-autoscaler-ca, homelab-coordinator-tls and cluster-autoscaler-tls, and restart \
                    the cluster-autoscaler once they are there again";

/// Reads the three Secrets, and makes or renews them as it is this process's duty.
///
/// # Errors
/// The API server does not answer or has no right for us, or a Secret holds something else.
pub(crate) async fn certificates(
    cluster: &Cluster,
    metrics: &Metrics,
    names: &[ServerName<'static>],
    duty: Duty,
) -> Result<Stored, SecretFault> {
    let shelf = Shelf {
        secrets: cluster.namespaced(cluster.own_namespace()),
        metrics,
        duty,
        now: clock::now().wall_ms / 1_000,
    };
    let authority = shelf.authority().await?;
    let (server, _) = shelf.pair(SERVER, &authority, Role::Server(names)).await?;
    let (_, client) = shelf.pair(CLIENT, &authority, Role::Client).await?;
    Ok(Stored {
        authority: authority.cert().to_owned(),
        server,
        client,
    })
}

struct Shelf<'a> {
    secrets: Api<Secret>,
    metrics: &'a Metrics,
    duty: Duty,
    /// Seconds since 1970.
    now: i64,
}

impl Shelf<'_> {
    async fn authority(&self) -> Result<Authority, SecretFault> {
        let secret = AUTHORITY;
        let found = match self.read(secret).await? {
            Some(found) => found,
            None => {
                let made = Authority::make(self.now);
                let made = made.map_err(|source| SecretFault::Issue { secret, source })?;
                let made = Secret {
                    immutable: Some(true),
                    ..new_secret(secret, [(CERT, &made.cert), (KEY, &made.key)])
                };
                self.make(secret, &made).await?.0
            }
        };
        let pair = pair_of(&found, secret)?;
        Authority::load(&pair, self.now).map_err(|source| SecretFault::Unusable { secret, source })
    }

    async fn pair(
        &self,
        secret: &'static str,
        authority: &Authority,
        role: Role<'_>,
    ) -> Result<(Pair, Origin), SecretFault> {
        let (found, origin) = match self.read(secret).await? {
            Some(found) => (found, Origin::Found),
            None => {
                let fresh = self.issue(secret, authority, role)?;
                self.make(secret, &filled(secret, &fresh, authority))
                    .await?
            }
        };
        let pair = pair_of(&found, secret)?;
        let worth = authority.judge(&pair, role, self.now);
        let worth = worth.map_err(|source| SecretFault::Unusable { secret, source })?;
        if text(&found, CA) != Some(authority.cert()) {
            return Err(SecretFault::Field { secret, field: CA });
        }
        match (worth, self.duty) {
            (Worth::Good, _) | (Worth::Due { .. }, Duty::Make) => Ok((pair, origin)),
            (Worth::Due { ends }, Duty::Renew) => {
                let fresh = self.issue(secret, authority, role)?;
                let whole = filled(secret, &fresh, authority);
                self.replace(secret, found, whole).await?;
                told(secret, role, ends);
                Ok((fresh, origin))
            }
        }
    }

    fn issue(
        &self,
        secret: &'static str,
        authority: &Authority,
        role: Role<'_>,
    ) -> Result<Pair, SecretFault> {
        let issued = authority.issue(role, self.now);
        issued.map_err(|source| SecretFault::Issue { secret, source })
    }

    async fn read(&self, secret: &'static str) -> Result<Option<Secret>, SecretFault> {
        let found = call(self.secrets.get_opt(secret)).await;
        found.map_err(api("read", secret))
    }

    /// Makes a Secret, unless somebody was faster: what is there counts.
    async fn make(
        &self,
        secret: &'static str,
        whole: &Secret,
    ) -> Result<(Secret, Origin), SecretFault> {
        self.metrics.api_write(ApiWrite::Secret);
        match call(self.secrets.create(&PostParams::default(), whole)).await {
            Ok(made) => {
                tracing::info!(secret, "certificate issued");
                Ok((made, Origin::Made))
            }
            // Also where the answer got lost.
            Err(CallFault::Conflict(_) | CallFault::Unsure(_)) => {
                let there = call(self.secrets.get(secret)).await;
                Ok((there.map_err(api("read", secret))?, Origin::Found))
            }
            Err(
                fault @ (CallFault::NotFound | CallFault::Unprocessable(_) | CallFault::Refused(_)),
            ) => Err(api("create", secret)(fault)),
        }
    }

    /// Puts other contents into exactly the Secret that was read; what else people put there stays.
    async fn replace(
        &self,
        secret: &'static str,
        mut found: Secret,
        whole: Secret,
    ) -> Result<(), SecretFault> {
        let contents = whole.data.unwrap_or_default();
        found.data.get_or_insert_default().extend(contents);
        self.metrics.api_write(ApiWrite::Secret);
        let parameters = PostParams::default();
        let replaced = self.secrets.replace(secret, &parameters, &found);
        call(replaced).await.map_err(api("renew", secret))?;
        Ok(())
    }
}

/// Says what was renewed, and what a person must do about it.
fn told(secret: &'static str, role: Role<'_>, ends: i64) {
    let before = date(ends);
    match role {
        Role::Server(_) => tracing::info!(secret, "server certificate renewed"),
        Role::Client => tracing::warn!(
            secret,
            before,
            "client certificate renewed: restart the cluster-autoscaler before its old one ends, since it reads it once"
        ),
    }
}

fn api(operation: &'static str, secret: &'static str) -> impl FnOnce(CallFault) -> SecretFault {
    move |source| SecretFault::Api {
        operation,
        secret,
        source,
    }
}

fn filled(secret: &str, pair: &Pair, authority: &Authority) -> Secret {
    let (cert, key) = (&pair.cert, &pair.key);
    new_secret(secret, [(CERT, cert), (KEY, key), (CA, authority.cert())])
}

fn new_secret<const N: usize>(name: &str, fields: [(&str, &str); N]) -> Secret {
    let fields = fields.into_iter();
    let data = fields.map(|(field, text)| (field.to_owned(), ByteString(text.into())));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        data: Some(data.collect()),
        ..Secret::default()
    }
}

fn pair_of(found: &Secret, secret: &'static str) -> Result<Pair, SecretFault> {
    let read = |field| {
        let text = text(found, field).map(str::to_owned);
        text.ok_or(SecretFault::Field { secret, field })
    };
    Ok(Pair {
        cert: read(CERT)?,
        key: read(KEY)?,
    })
}

fn text<'a>(found: &'a Secret, field: &str) -> Option<&'a str> {
    let bytes = found.data.as_ref()?.get(field)?;
    std::str::from_utf8(&bytes.0).ok()
}

#[cfg(test)]
mod tests;
