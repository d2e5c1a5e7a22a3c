//! What `homelabctl check` looks at in a cluster.
//!
//! Holds: only reads; what may not be read is told, and ends nothing.

use kube::{Api, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use super::{Cluster, innermost};
use crate::{
    check::{ClusterFacts, Facts, Surroundings},
    fault::CtlFault,
};

/// Objects in one answer of the API server.
const PAGE: u32 = 500;

impl Cluster {
    pub(crate) async fn facts(&self) -> Result<Facts, CtlFault> {
        let (lab, page) = self.lab_and_page().await?;
        Ok(Facts {
            lab,
            around: Surroundings::Cluster(Box::new(ClusterFacts {
                page,
                nodes: self.every("nodes").await,
                pods: self.every("pods").await,
                deployments: self.every("deployments").await,
                system_namespace: self.system_namespace.clone(),
                namespace: self.namespace.clone(),
            })),
        })
    }

    /// Every object of a kind in the cluster, or why they cannot be read.
    async fn every<K>(&self, plural: &str) -> Result<Vec<K>, String>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let mut all = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let answer = match api.list(&params).await {
                Ok(answer) => answer,
                Err(kube::Error::Api(status)) => return Err(status.message.clone()),
                Err(fault) => return Err(format!("{plural}: {}", innermost(&fault))),
            };
            all.extend(answer.items);
            match answer.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => params = params.continue_token(&next),
                None => return Ok(all),
            }
        }
    }
}
