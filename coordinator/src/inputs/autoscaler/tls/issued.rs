//! Mutual TLS of the service with certificates that this process has issued itself.
//! In: a pair and its authority, at first and after each renewal. Out: the configuration for the next handshake.
//! Holds: until there are certificates a handshake waits, and ends with the time that it has.
//! Not here: who issues them and where they are kept (`certificates`, `outputs::kubernetes::certificates`).

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::sync::watch;

use super::config::{self, Ends, Unusable};
use super::{Latest, NoPem};
use crate::certificates::Pair;
use crate::metrics::{Certificate, Metrics};

/// The listener's end; clones share it.
#[derive(Clone)]
pub(crate) struct Issued {
    publish: watch::Sender<Option<Arc<ServerConfig>>>,
    /// Of what is in force.
    ends: watch::Sender<Option<Ends>>,
    metrics: Metrics,
}

/// Why issued certificates make no TLS server.
#[derive(Debug, Error)]
pub(crate) enum IssuedFault {
    /// They are not PEM.
    #[error("the issued certificates are no PEM")]
    Pem(#[source] NoPem),
    /// They do not fit together.
    #[error("the issued certificates make no TLS server")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Issued {
    /// Without certificates yet.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            publish: watch::Sender::new(None),
            ends: watch::Sender::new(None),
            metrics,
        }
    }

    /// What the next handshake must use.
    pub(in crate::inputs::autoscaler) fn config(&self) -> Latest {
        self.publish.subscribe()
    }

    /// Serves with these from the next handshake on.
    ///
    /// # Errors
    /// They do not fit together; the last good ones stay in force.
    pub(crate) fn serve_with(&self, server: &Pair, authority: &str) -> Result<(), IssuedFault> {
        let (chain, authorities) = (certificates(&server.cert)?, certificates(authority)?);
        let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes());
        let key = key.map_err(|fault| IssuedFault::Pem(fault.into()))?;
        let ends = Ends::of(&chain, &authorities);
        let config = config::mutual(chain, key, authorities).map_err(|fault| {
            IssuedFault::Unusable(match fault {
                Unusable::Pair(fault) | Unusable::Authority(fault) => fault.into(),
                Unusable::Authorities(fault) => fault.into(),
            })
        })?;
        self.publish.send_replace(Some(Arc::new(config)));
        ends.show(&self.metrics);
        self.ends.send_replace(Some(ends));
        Ok(())
    }

    /// Whether there is anything to serve with.
    pub(crate) fn is_served(&self) -> bool {
        self.publish.borrow().is_some()
    }

    /// Whether a handshake is under way: each has a receiver of its own, beside the listener's.
    #[cfg(test)]
    pub(in crate::inputs::autoscaler) fn is_greeting(&self) -> bool {
        self.publish.receiver_count() > 1
    }

    /// Tells if what is in force ends soon.
    pub(crate) fn remind(&self) {
        if let Some(ends) = &*self.ends.borrow() {
            ends.remind(|certificate| match certificate {
                Certificate::Server => "the issued server certificate",
                Certificate::ClientCa => "the issued authority",
            });
        }
    }
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, IssuedFault> {
    let found: Result<_, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    found.map_err(|fault| IssuedFault::Pem(fault.into()))
}
