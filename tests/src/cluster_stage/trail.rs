//! Every version of the objects of one kind, in the order in which the API server stored them.
//! Out: the resource version at which something was true first, and every version; those of different kinds compare, as they come
//! from one etcd.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use futures::StreamExt as _;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

use crate::harness::wait;

/// A watch that remembers; ends when it is dropped.
#[derive(Debug)]
pub struct Trail<K> {
    versions: Arc<Mutex<Vec<(u64, K)>>>,
    task: AbortHandle,
}

impl<K> Trail<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Begins with what happens from now on.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn follow(api: Api<K>) -> Result<Self> {
        let now = api.list(&ListParams::default()).await?;
        let from = now
            .metadata
            .resource_version
            .context("a list has a version")?;
        let stream = api.watch(&WatchParams::default(), &from).await?;
        let versions = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&versions);
        let task = tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            while let Some(Ok(event)) = stream.next().await {
                let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else {
                    continue;
                };
                let version = object.resource_version().and_then(|text| text.parse().ok());
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push((version.unwrap_or(u64::MAX), object));
            }
        });
        Ok(Self {
            versions,
            task: task.abort_handle(),
        })
    }

    /// The first version of which this is true; waits for it.
    ///
    /// # Errors
    /// When there is none within `limit`.
    pub async fn first(
        &self,
        limit: Duration,
        what: &str,
        fits: impl Fn(&K) -> bool,
    ) -> Result<u64> {
        wait::until(limit, what, async || {
            let seen = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            let found = seen.iter().find(|(_, object)| fits(object));
            found
                .map(|(version, _)| *version)
                .with_context(|| format!("{} versions seen", seen.len()))
        })
        .await
    }

    /// Every version so far.
    #[must_use]
    pub fn seen(&self) -> Vec<K> {
        let seen = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|(_, object)| object.clone()).collect()
    }
}

impl<K> Drop for Trail<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
