//! PersistentVolumes that exist on one Node alone, cut down to where they are and whose they are.
//!
//! In: volumes as they are watched. Out: the bound ones among them, by the host name that they are pinned to.
//! Holds: nothing is told before a first list is whole; of a volume that is bound to nobody, or may be elsewhere, nothing is kept.

use std::{collections::BTreeMap, sync::Arc};

use coordinator_core::{HOSTNAME_LABEL, LocalVolumes};
use k8s_openapi::api::core::v1::{NodeSelectorTerm, PersistentVolume};

use super::watches::Watched;

/// What of a volume counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VolumeSeen {
    pub(super) name: String,
    /// Where it is pinned to, if it is bound and pinned.
    pub(super) pinned: Option<Pinned>,
}

/// A bound volume that one host alone can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pinned {
    host: String,
    /// `namespace/name`.
    claim: String,
}

/// What of a volume is kept.
pub(super) fn volume_seen(volume: PersistentVolume) -> VolumeSeen {
    VolumeSeen {
        pinned: pinned(&volume),
        name: volume.metadata.name.unwrap_or_default(),
    }
}

fn pinned(volume: &PersistentVolume) -> Option<Pinned> {
    let phase = volume.status.as_ref()?.phase.as_deref();
    let spec = volume.spec.as_ref().filter(|_| phase == Some("Bound"))?;
    let claim = spec.claim_ref.as_ref()?;
    let terms = &spec
        .node_affinity
        .as_ref()?
        .required
        .as_ref()?
        .node_selector_terms;
    // One term is enough to reach it; so it is pinned where all of them name the same host, and no other.
    let mut hosts = terms.iter().map(only_host);
    let host = hosts.next()??;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    hosts.all(|other| other == Some(host)).then(|| Pinned {
        host: host.to_owned(),
        claim: format!("{}/{}", part(&claim.namespace), part(&claim.name)),
    })
}

/// The one host that a term allows.
fn only_host(term: &NodeSelectorTerm) -> Option<&str> {
    term.match_expressions
        .iter()
        .flatten()
        .filter(|one| one.key == HOSTNAME_LABEL && one.operator == "In")
        .find_map(|one| match one.values.as_deref() {
            Some([host]) => Some(host.as_str()),
            Some(_) | None => None,
        })
}

/// Every pinned volume that is known.
#[derive(Default)]
pub(super) struct Volumes {
    pinned: BTreeMap<String, Pinned>,
    /// Of the list under way.
    listing: Option<BTreeMap<String, Pinned>>,
    complete: bool,
}

impl Volumes {
    /// Takes one event in; what is known by then, if that is news.
    pub(super) fn take(&mut self, watched: Watched<VolumeSeen>) -> Option<Arc<LocalVolumes>> {
        let is_news = match watched {
            Watched::Begin => {
                self.listing = Some(BTreeMap::new());
                false
            }
            Watched::Is(seen) => {
                if let Some(listing) = &mut self.listing {
                    put(listing, (*seen).clone());
                }
                put(&mut self.pinned, *seen)
            }
            // The API server's own kind: it always decodes.
            Watched::Unreadable(_) => false,
            Watched::Gone { key: (_, name), .. } => {
                let pinned = None;
                put(&mut self.pinned, VolumeSeen { name, pinned })
            }
            Watched::Complete => {
                let listed = self.listing.take().unwrap_or_default();
                let is_first = !std::mem::replace(&mut self.complete, true);
                let before = std::mem::replace(&mut self.pinned, listed);
                is_first || before != self.pinned
            }
        };
        (is_news && self.complete).then(|| self.known()).flatten()
    }

    /// What is known; nothing before a first list is whole.
    pub(super) fn known(&self) -> Option<Arc<LocalVolumes>> {
        let mut by_host = LocalVolumes::new();
        for pinned in self.pinned.values() {
            let claims = by_host.entry(pinned.host.clone()).or_default();
            claims.push(pinned.claim.clone());
        }
        self.complete.then(|| Arc::new(by_host))
    }
}

/// Whether that changed anything.
fn put(known: &mut BTreeMap<String, Pinned>, seen: VolumeSeen) -> bool {
    let VolumeSeen { name, pinned } = seen;
    let before = match &pinned {
        Some(pinned) => known.insert(name, pinned.clone()),
        None => known.remove(&name),
    };
    before != pinned
}

#[cfg(test)]
mod tests;
