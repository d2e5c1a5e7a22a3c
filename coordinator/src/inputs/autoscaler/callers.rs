//! Who calls: the user agent of the latest call, as far as it says anything about the autoscaler's version.
//! Holds: clones share one record; noting an unchanged caller takes no write lock.

use std::sync::{Arc, PoisonError, RwLock};

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

    pub(super) fn saw(&self, metadata: &MetadataMap) {
        let Some(agent) = metadata
            .get("user-agent")
            .and_then(|value| value.to_str().ok())
        else {
            return;
        };
        // `to_str` only gives visible ASCII, so every byte is a character.
        let agent = &agent[..agent.len().min(LONGEST)];
        if self.user_agent().as_deref() == Some(agent) {
            return;
        }
        tracing::info!(user_agent = agent, "caller seen");
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::from(agent));
    }
}
