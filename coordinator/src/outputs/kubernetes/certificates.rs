//! The Secrets with the certificates of the cluster-autoscaler's API.
//!
//! In: names of the server, the mandate. Out: what to serve with; whether the client has its Secret.
//! Holds: a Secret is made by one create, so of several coordinators one makes it and all read the same; what is there and was
//! not issued by our authority, or is damaged, is never written over. No fault and no log line shows a key.
//! Holds: no authority is made beside certificates of another one; what is due is renewed by who leads alone.
//! Not here: what is in a certificate, and when it is due (`certificates`).

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, api::PostParams, core::ObjectMeta};
use rustls::pki_types::ServerName;
use thiserror::Error;

use crate::{
    certificates::{Authority, CertificateFault, Pair, Role, Worth, date},
    clock,
    inputs::kubernetes::{CallFault, Cluster, call},
    mandate::Mandate,
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

/// When a Secret that is not there may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Making {
    /// At any time: whoever is faster settles it. So it is until this process has certificates.
    Anybody,
    /// Only while this process leads.
    Leader,
}

/// Whose doing a Secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was there.
    Found,
    /// This call has made it.
    Made,
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
    /// The authority is away while something that it may have issued is there.
    #[error("Secret {AUTHORITY} is gone while Secret {beside} is there; {CURE}")]
    Gone {
        /// What was found.
        beside: &'static str,
    },
    /// Whoever leads has to make it.
    #[error("Secret {secret} is gone, and made again by who leads")]
    Away { secret: &'static str },
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

impl SecretFault {
    /// Whether it may pass by itself: nobody has to mend a Secret.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Api { .. } | Self::Away { .. } => true,
            Self::Gone { .. } | Self::Field { .. } | Self::Unusable { .. } | Self::Issue { .. } => {
                false
            }
        }
    }
}

/// What helps against a Secret that cannot be used.
const CURE: &str = "restore it, or scale the coordinator to 0, delete the Secrets homelab-autoscaler-ca, homelab-coordinator-tls and \
                    cluster-autoscaler-tls, scale it up again, and restart the cluster-autoscaler once they are there";

/// The three Secrets, at one look at them.
pub(crate) struct Shelf<'a> {
    secrets: Api<Secret>,
    metrics: &'a Metrics,
    mandate: &'a Mandate,
    making: Making,
    /// Seconds since 1970.
    now: i64,
}

impl<'a> Shelf<'a> {
    /// Nothing is asked for yet.
    pub(crate) fn new(
        cluster: &Cluster,
        metrics: &'a Metrics,
        mandate: &'a Mandate,
        making: Making,
    ) -> Self {
        Self {
            secrets: cluster.namespaced(cluster.own_namespace()),
            metrics,
            mandate,
            making,
            now: clock::now().wall_ms / 1_000,
        }
    }

    /// The authority whose clients are served, made if it never was.
    ///
    /// # Errors
    /// The API server does not answer or has no right for us, or the Secret cannot be used or is gone.
    pub(crate) async fn authority(&self) -> Result<Authority, SecretFault> {
        let secret = AUTHORITY;
        let found = match self.read(secret).await? {
            Some(found) => found,
            None => self.new_authority().await?,
        };
        let pair = pair_of(&found, secret)?;
        Authority::load(&pair, self.now).map_err(|source| SecretFault::Unusable { secret, source })
    }

    /// What to serve with under these names, made or renewed as it is this process's duty.
    ///
    /// # Errors
    /// As [`Self::authority`].
    pub(crate) async fn server(
        &self,
        authority: &Authority,
        names: &[ServerName<'static>],
    ) -> Result<Pair, SecretFault> {
        let (pair, _) = self.pair(SERVER, authority, Role::Server(names)).await?;
        Ok(pair)
    }

    /// Sees to it that the cluster-autoscaler has its Secret; whose doing it is.
    ///
    /// # Errors
    /// As [`Self::authority`].
    pub(crate) async fn client(&self, authority: &Authority) -> Result<Origin, SecretFault> {
        let (_, origin) = self.pair(CLIENT, authority, Role::Client).await?;
        Ok(origin)
    }

    async fn new_authority(&self) -> Result<Secret, SecretFault> {
        let secret = AUTHORITY;
        for beside in [SERVER, CLIENT] {
            if self.read(beside).await?.is_some() {
                // Somebody may have made the authority, and then this, since it was asked for.
                let there = self.read(secret).await?;
                return there.ok_or(SecretFault::Gone { beside });
            }
        }
        let made = Authority::make(self.now);
        let made = made.map_err(|source| SecretFault::Issue { secret, source })?;
        let made = Secret {
            immutable: Some(true),
            ..new_secret(secret, [(CERT, &made.cert), (KEY, &made.key)])
        };
        Ok(self.make(secret, &made).await?.0)
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
        if !text(&found, CA).is_some_and(|ca| authority.is_in(ca)) {
            return Err(SecretFault::Field { secret, field: CA });
        }
        match worth {
            Worth::Due { ends } if self.mandate.holds() => {
                let fresh = self.issue(secret, authority, role)?;
                let whole = filled(secret, &fresh, authority);
                self.replace(secret, found, whole).await?;
                told(secret, role, ends);
                Ok((fresh, origin))
            }
            Worth::Good | Worth::Due { .. } => Ok((pair, origin)),
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
        match self.making {
            Making::Leader if !self.mandate.holds() => return Err(SecretFault::Away { secret }),
            Making::Anybody | Making::Leader => {}
        }
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
