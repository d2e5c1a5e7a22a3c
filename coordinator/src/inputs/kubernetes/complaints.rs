//! What is wrong with objects that the core is not told about.
//!
//! In: objects that do not decode, or whose name an older one has; and which are sound or gone. Out: what stands right now.
//! Holds: an object is complained about as it was seen last, so that what is written about it can name that version.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{declared::Key, mirror::Place, notices::Kind};
use crate::documents::Finding;

/// Everything that stands.
#[derive(Default)]
pub(crate) struct Complaints(Mutex<BTreeMap<(Kind, Key), Standing>>);

/// About one object.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Which object, at which version.
    pub(crate) place: Place,
    /// Its conditions.
    pub(crate) findings: Vec<Finding>,
}

impl Complaints {
    fn all(&self) -> MutexGuard<'_, BTreeMap<(Kind, Key), Standing>> {
        // A panic elsewhere cannot leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object is as found. True where something else stood about it, or nothing.
    pub(crate) fn found(&self, kind: Kind, place: Place, findings: &[Finding]) -> bool {
        let key = (place.namespace.clone(), place.name.clone());
        let uid = place.uid.clone();
        let standing = Standing {
            place,
            findings: findings.to_vec(),
        };
        let before = self.all().insert((kind, key), standing);
        before.is_none_or(|before| before.place.uid != uid || before.findings != findings)
    }

    /// An object is sound, or gone. True where something stood about it.
    pub(crate) fn over(&self, kind: Kind, key: &Key) -> bool {
        self.all().remove(&(kind, key.clone())).is_some()
    }

    /// What stands about an object.
    pub(crate) fn standing(&self, kind: Kind, key: &Key) -> Option<Standing> {
        self.all().get(&(kind, key.clone())).cloned()
    }

    /// Every object that something stands about.
    pub(super) fn about(&self) -> Vec<(Kind, Key)> {
        self.all().keys().cloned().collect()
    }
}
