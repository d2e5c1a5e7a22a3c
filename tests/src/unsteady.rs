//! A way to the provider on which single calls fail, as they do where a network or a provider is busy.
//! In: a connection to the provider; which calls are to fail, and where. Out: an address for an autoscaler.
//! Holds: whatever is not to fail goes through as it is, byte for byte; a call that is to fail does so once.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use http::{Request, Response};
use tonic::{Status, body::Body, transport::Channel};

use crate::{
    harness::wait,
    passage::{Gate, Passage, forwarded},
};

/// Where a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// On its way: the provider never hears of it.
    Lost,
    /// On its way back: it is carried out, and nobody is told.
    Unanswered,
}

/// The way; it is closed when the value is dropped.
#[derive(Debug)]
pub struct UnsteadyLine {
    gate: Gate,
    due: Due,
}

/// The calls that are to fail, each by the name of its RPC.
type Due = Arc<Mutex<Vec<(&'static str, Fault)>>>;

impl UnsteadyLine {
    /// Leads to a provider, and lets everything through.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn to(provider: Channel) -> Result<Self> {
        let due = Due::default();
        let line = Line {
            provider,
            due: Arc::clone(&due),
        };
        let gate = Gate::to(line).await?;
        Ok(Self { gate, due })
    }

    /// Where an autoscaler finds the provider.
    #[must_use]
    pub fn address(&self) -> String {
        self.gate.address()
    }

    /// The next call of each of these RPCs is lost, and the one after it is not answered.
    pub fn fail(&self, rpcs: &[&'static str]) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        for rpc in rpcs {
            due.extend([(*rpc, Fault::Lost), (*rpc, Fault::Unanswered)]);
        }
    }

    /// Waits until every call that was to fail has failed.
    ///
    /// # Errors
    /// When one is never made; with those that are left.
    pub async fn until_failed(&self, limit: Duration) -> Result<()> {
        wait::until(limit, "the calls that are to fail", async || {
            let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            ensure!(due.is_empty(), "{due:?}");
            Ok(())
        })
        .await
    }
}

/// What calls go through.
#[derive(Debug, Clone)]
struct Line {
    provider: Channel,
    due: Due,
}

impl Line {
    /// What is to become of a call with this path; a fault is taken off the list.
    fn fate(&self, path: &str) -> Option<Fault> {
        let rpc = path.rsplit('/').next().unwrap_or_default();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let found = due.iter().position(|(wanted, _)| *wanted == rpc)?;
        Some(due.remove(found).1)
    }
}

impl Passage for Line {
    async fn pass(self, request: Request<Body>) -> Result<Response<Body>> {
        let fate = self.fate(request.uri().path());
        if fate == Some(Fault::Lost) {
            return Ok(Status::unavailable("lost on its way").into_http());
        }
        let answer = forwarded(self.provider, request).await;
        match fate {
            Some(_) => Ok(Status::deadline_exceeded("its answer was lost").into_http()),
            None => answer,
        }
    }
}
