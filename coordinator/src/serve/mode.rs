//! The two modes, as the rest of the wiring sees them.
//! In: settings. Out: what the engine needs, and running tasks.
//! Holds: nothing else in the wiring knows which mode it is.

use std::sync::Arc;

use coordinator_core::Policy;

use super::{Broker, RunFault, Wiring, kubernetes, standalone};
use crate::admin::LabPage;
use crate::args::Mode;
use crate::mandate::Mandate;
use crate::outputs::Outputs;
use crate::outputs::commands::CoordinatorKey;

/// A mode whose configuration was read; what it waits for comes later.
pub(super) enum Prepared {
    Standalone(Box<standalone::Prepared>),
    Kubernetes(Box<kubernetes::Prepared>),
}

/// What a mode brings once it has started.
pub(super) struct Started {
    /// Makes the core's ids; see `Lab::new`.
    pub(super) seed: u64,
    /// The policy, with what the mode knows.
    pub(super) policy: Policy,
    /// Carries out everything but commands.
    pub(super) outputs: Box<dyn Outputs>,
    /// Signs commands.
    pub(super) key: Arc<CoordinatorKey>,
    /// Until when this process may command.
    pub(super) mandate: Mandate,
    /// Who leads, for people.
    pub(super) leader: String,
    /// The cluster-autoscaler's cloud config, where its certificates are issued here.
    pub(super) cloud_config: Option<String>,
    /// The lab for `/state`.
    pub(super) lab: Option<LabPage>,
}

impl Prepared {
    /// Reads what the mode is configured with; waits for nothing.
    pub(super) async fn new(mode: Mode) -> Result<Self, RunFault> {
        Ok(match mode {
            Mode::Standalone(settings) => {
                Self::Standalone(Box::new(standalone::prepare(settings)?))
            }
            Mode::Kubernetes(settings) => {
                Self::Kubernetes(Box::new(kubernetes::prepare(settings).await?))
            }
        })
    }

    /// Whether there is a cluster to be connected to.
    pub(super) fn in_cluster(&self) -> bool {
        match self {
            Self::Standalone(_) => false,
            Self::Kubernetes(_) => true,
        }
    }

    /// Starts the mode's tasks; in a cluster it waits for the API server.
    pub(super) async fn start(
        self,
        policy: Policy,
        broker: &Broker,
        wiring: &mut Wiring,
    ) -> Result<Started, RunFault> {
        match self {
            Self::Standalone(prepared) => prepared.start(policy, broker, wiring),
            Self::Kubernetes(prepared) => prepared.start(policy, wiring).await,
        }
    }
}
