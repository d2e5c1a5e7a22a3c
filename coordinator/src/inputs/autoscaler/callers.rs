//! Who calls: the user agent of the latest call, as far as it says anything about the autoscaler's version.
//! Holds: clones share one record; noting an unchanged caller takes no write lock.

use std::sync::{Arc, PoisonError, RwLock};

use coordinator_core::AutoscalerVersion;
use tonic::metadata::MetadataMap;

/// Longest user agent that is kept, in bytes; it comes from outside.
const LONGEST: usize = 200;

/// The user agent of the latest call.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    latest: Arc<RwLock<Option<Arc<str>>>>,
}

impl Callers {
    /// The user agent of the latest call, if there was one.
    #[must_use]
    pub fn user_agent(&self) -> Option<Arc<str>> {
        self.latest
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes who calls. The version of the autoscaler, where a user agent tells one and is another than before.
    pub(super) fn saw(&self, metadata: &MetadataMap) -> Option<AutoscalerVersion> {
        let agent = metadata.get("user-agent")?.to_str().ok()?;
        // `to_str` only gives visible ASCII, so every byte is a character.
        let agent = &agent[..agent.len().min(LONGEST)];
        if self.user_agent().as_deref() == Some(agent) {
            return None;
        }
        tracing::info!(user_agent = agent, "caller seen");
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::from(agent));
        version(agent)
    }
}

/// The version in `cluster-autoscaler/1.36.1 …`. The autoscaler itself sends its gRPC library's name only; whoever wraps or
/// builds it may set this.
pub(super) fn version(agent: &str) -> Option<AutoscalerVersion> {
    let (_, rest) = agent.split_once("cluster-autoscaler/")?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_user_agent_that_names_the_autoscaler_tells_its_version() {
        let told = |agent: &str| version(agent).map(|version| version.to_string());
        assert_eq!(
            told("cluster-autoscaler/1.36.1 grpc-go/1.81.1"),
            Some("1.36".into())
        );
        assert_eq!(
            told("proxy/2 cluster-autoscaler/v1.35.0"),
            Some("1.35".into())
        );
        for silent in [
            "grpc-go/1.81.1",
            "cluster-autoscaler",
            "cluster-autoscaler/",
            "",
        ] {
            assert_eq!(told(silent), None, "{silent}");
        }
    }

    #[test]
    fn a_caller_tells_its_version_once() {
        let callers = Callers::default();
        let mut metadata = MetadataMap::new();
        metadata.insert("user-agent", "cluster-autoscaler/1.36.1".parse().unwrap());
        assert!(callers.saw(&metadata).is_some());
        assert!(callers.saw(&metadata).is_none());
    }
}
