//! What was observed of one machine since this process started.
//!
//! Holds: it is gone after a restart, and observed again; nothing is decided on it that the record must keep.
//! Not here: what counts as on or off (`power`), and what its agent said (`agents`).

use alloc::boxed::Box;
use alloc::string::String;

use crate::actions::Cordon;
use crate::facts::{NodeSeen, PowerRead};
use crate::view::HeldNode;

/// Times are on the boot clock, milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Boxed: it is large, and machines that join by their agent alone have none.
    pub(crate) node: Option<Box<NodeSeen>>,
    /// When that Node, and no other under its name, was seen first.
    pub(crate) node_ms: Option<u64>,
    pub(crate) lease_ms: Option<u64>,
    /// Since when its kubelet is heard without a break.
    pub(crate) kubelet_since_ms: Option<u64>,
    pub(crate) bmc: Option<BmcReading>,
    pub(crate) bmc_asked_ms: Option<u64>,
    /// When off was confirmed: only what was heard later shows that it is on again.
    pub(crate) off_ms: Option<u64>,
    /// Uid of the Node it left behind then; empty where it had none.
    pub(crate) off_uid: Option<String>,
    /// A person had cordoned the Node before anybody else did.
    pub(crate) cordoned_by_person: bool,
    /// A change of the Node is under way, or failed and waits.
    pub(crate) node_busy_until_ms: Option<u64>,
    pub(crate) fenced_ms: Option<u64>,
    /// How its Node stands to it where that is kept; `None` where it never was away.
    pub(crate) held: Option<HeldNode>,
}

/// What a machine's BMC has said, boot clock, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BmcReading {
    On {
        at_ms: u64,
    },
    /// Without a break from the first to the last time.
    Off {
        first_ms: u64,
        last_ms: u64,
    },
    Other,
}

impl BmcReading {
    /// With one more reading.
    pub(crate) fn after(before: Option<Self>, read: PowerRead, now_ms: u64) -> Self {
        match (read, before) {
            (PowerRead::On, _) => Self::On { at_ms: now_ms },
            (PowerRead::Off, Some(Self::Off { first_ms, .. })) => Self::Off {
                first_ms,
                last_ms: now_ms,
            },
            (PowerRead::Off, Some(Self::On { .. } | Self::Other) | None) => Self::Off {
                first_ms: now_ms,
                last_ms: now_ms,
            },
            (PowerRead::Other, _) => Self::Other,
        }
    }
}

impl Seen {
    /// Whose the cordon is once the Node is fenced.
    pub(crate) fn cordon(&self) -> Cordon {
        if self.cordoned_by_person {
            Cordon::Persons
        } else {
            Cordon::Ours
        }
    }

    /// Its Node is gone, or not its own any more.
    pub(crate) fn lost_node(&mut self) -> Option<Box<NodeSeen>> {
        self.node_ms = None;
        self.lease_ms = None;
        self.fenced_ms = None;
        self.node_busy_until_ms = None;
        self.node.take()
    }

    /// Off was confirmed: what is heard later counts, and the Node that is there now is the one left behind.
    pub(crate) fn went_off(&mut self, now_ms: u64) {
        self.off_ms = Some(now_ms);
        let uid = self
            .node
            .as_ref()
            .map_or_else(String::new, |node| node.uid.clone());
        self.off_uid = Some(uid);
    }
}
