//! Control planes that tests share one after the other: starting one costs more than most scenarios.
//! Holds: whoever has the plane has it alone; it ends with the last test that waits for it.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex as Slot, PoisonError, Weak},
};

use anyhow::Result;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::harness::ControlPlane;

/// Where the control plane of the tests of one program is kept.
#[derive(Debug)]
pub struct Planes {
    shared: Slot<Weak<Mutex<Option<ControlPlane>>>>,
}

/// A control plane, for one stage alone.
#[derive(Debug)]
pub struct Plane(OwnedMutexGuard<Option<ControlPlane>>);

impl Planes {
    /// A place without a control plane yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            shared: Slot::new(Weak::new()),
        }
    }

    /// The shared control plane with our kinds, as soon as nobody else uses it.
    ///
    /// Whoever ends its API server takes [`Planes::own`]: a scheduler that was cut off for a while missed what was deleted, so it takes
    /// Nodes and pods of the same names in the next test for changed ones, and never tries a pod again that fitted nowhere.
    ///
    /// # Errors
    /// When it has to be started and does not come up.
    pub async fn shared(&self) -> Result<Plane> {
        let plane = {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                let fresh = Arc::new(Mutex::new(None));
                *shared = Arc::downgrade(&fresh);
                fresh
            })
        };
        Plane::filled(plane).await
    }

    /// A control plane that no other test uses.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn own(&self) -> Result<Plane> {
        Plane::filled(Arc::new(Mutex::new(None))).await
    }
}

impl Default for Planes {
    fn default() -> Self {
        Self::new()
    }
}

impl Plane {
    async fn filled(plane: Arc<Mutex<Option<ControlPlane>>>) -> Result<Self> {
        let mut plane = plane.lock_owned().await;
        if plane.is_none() {
            // The provider may have been chosen by somebody else in this process already.
            let _chosen = rustls::crypto::ring::default_provider().install_default();
            let started = ControlPlane::start().await?;
            started.apply_crds().await?;
            started.grant_shipped_rights().await?;
            *plane = Some(started);
        }
        Ok(Self(plane))
    }
}

impl Deref for Plane {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        self.0.as_ref().expect("filled before it is given out")
    }
}

impl DerefMut for Plane {
    fn deref_mut(&mut self) -> &mut ControlPlane {
        self.0.as_mut().expect("filled before it is given out")
    }
}
