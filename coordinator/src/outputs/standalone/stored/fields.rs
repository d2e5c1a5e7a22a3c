//! From the core's records to their stored form, and back.
//!
//! Holds: each record is taken apart field by field, so a field that the core adds cannot be forgotten here.

use std::collections::BTreeMap;

use coordinator_core::{
    GroupRecord, Increase, Learned, MachineId, MachineRecord, NodeBackup, OffOrder, Operation,
    OperationKind, Outage, Override, OverridePower, PowerRecord, PowerState, Quarantine, SharedMap,
    Taint, Token, Witness,
};

use super::{
    StoredBackup, StoredGroup, StoredIncrease, StoredKind, StoredLearned, StoredMachine,
    StoredOperation, StoredOrder, StoredOutage, StoredOverride, StoredPower, StoredQuarantine,
    StoredState, StoredTaint, StoredToken, StoredWish, StoredWitness,
};

/// Writes both directions of a struct whose fields have the same names on both sides.
///
/// Texts that the core shares are in `text`. Both patterns name every field, so the compiler reports one that is missing on either side.
macro_rules! same_fields {
    (
        $stored:ident,
        $core:ident { $($plain:ident),* } $(into { $($nested:ident),* })? $(text { $($text:ident),* })?
    ) => {
        impl From<$core> for $stored {
            fn from(core: $core) -> Self {
                let $core { $($plain,)* $($($nested,)*)? $($($text,)*)? } = core;
                Self {
                    $($plain,)*
                    $($($nested: $nested.map_into(),)*)?
                    $($($text: $text.as_deref().map(Into::into),)*)?
                }
            }
        }

        impl From<$stored> for $core {
            fn from(stored: $stored) -> Self {
                let $stored { $($plain,)* $($($nested,)*)? $($($text,)*)? } = stored;
                Self {
                    $($plain,)*
                    $($($nested: $nested.map_into(),)*)?
                    $($($text: $text.as_deref().map(Into::into),)*)?
                }
            }
        }
    };
}

/// Writes both directions of a plain enum whose variants have the same names on both sides.
macro_rules! same_variants {
    ($stored:ident, $core:ident { $($variant:ident),* }) => {
        impl From<$core> for $stored {
            fn from(core: $core) -> Self {
                match core { $($core::$variant => Self::$variant,)* }
            }
        }

        impl From<$stored> for $core {
            fn from(stored: $stored) -> Self {
                match stored { $($stored::$variant => Self::$variant,)* }
            }
        }
    };
}

/// Writes both directions for what the core keeps in a box.
macro_rules! boxed {
    ($($stored:ident, $core:ident);* $(;)?) => {
        $(
            impl From<Box<$core>> for $stored {
                fn from(core: Box<$core>) -> Self {
                    Self::from(*core)
                }
            }

            impl From<$stored> for Box<$core> {
                fn from(stored: $stored) -> Self {
                    Self::new(stored.into())
                }
            }
        )*
    };
}

boxed!(
    StoredOperation, Operation;
    StoredOrder, OffOrder;
    StoredOverride, Override;
    StoredQuarantine, Quarantine;
    StoredLearned, Learned;
    StoredBackup, NodeBackup;
);

/// `Into` that also reaches into an `Option` or a `Vec`.
trait MapInto<T> {
    fn map_into(self) -> T;
}

impl<A, B: From<A>> MapInto<Option<B>> for Option<A> {
    fn map_into(self) -> Option<B> {
        self.map(B::from)
    }
}

impl<A, B: From<A>> MapInto<Vec<B>> for Vec<A> {
    fn map_into(self) -> Vec<B> {
        self.into_iter().map(B::from).collect()
    }
}

impl MapInto<BTreeMap<String, String>> for SharedMap {
    fn map_into(self) -> BTreeMap<String, String> {
        Self::unwrap_or_clone(self)
    }
}

impl MapInto<SharedMap> for BTreeMap<String, String> {
    fn map_into(self) -> SharedMap {
        self.into()
    }
}

macro_rules! one_into {
    ($($from:ident => $to:ident),* $(,)?) => {
        $(
            impl MapInto<$to> for $from {
                fn map_into(self) -> $to {
                    self.into()
                }
            }
        )*
    };
}

one_into!(
    Token => StoredToken, StoredToken => Token,
    PowerRecord => StoredPower, StoredPower => PowerRecord,
    PowerState => StoredState, StoredState => PowerState,
    OperationKind => StoredKind, StoredKind => OperationKind,
    OverridePower => StoredWish, StoredWish => OverridePower,
);

same_variants!(
    StoredState,
    PowerState {
        Running,
        Off,
        Unknown
    }
);
same_variants!(StoredKind, OperationKind { Wake, Stop });
same_variants!(StoredWish, OverridePower { Running, Off });

same_fields!(StoredIncrease, Increase { delta, at_ms });
same_fields!(StoredToken, Token { epoch, seq });
same_fields!(
    StoredOrder,
    OffOrder {
        id,
        by,
        at_ms,
        then_wake
    }
);
same_fields!(
    StoredQuarantine,
    Quarantine {
        until_ms,
        failures,
        reason,
        message
    }
);
same_fields!(StoredTaint, Taint { key, value, effect });
same_fields!(StoredOverride, Override { until_ms, by } into { power });
same_fields!(
    StoredOperation,
    Operation { id, started_at_ms, by, ordered_at_ms, going_down }
        into { kind, token }
        text { boot_id }
);
same_fields!(StoredLearned, Learned { at_ms } into { capacity, allocatable, labels, taints });
same_fields!(StoredBackup, NodeBackup { annotations, cordoned } into { labels, taints });
same_fields!(
    StoredMachine,
    MachineRecord { proven_at_ms, boots_s, last_off_at_ms, provider_id, last_ask }
        into { token, operation, order, power, outage, quarantine, override_, learned, node_backup }
        text { boot_id }
);

impl From<Outage> for StoredOutage {
    fn from(core: Outage) -> Self {
        match core {
            Outage::PowerCut { until_ms } => Self::PowerCut { until_ms },
            Outage::SwitchedOff => Self::SwitchedOff,
        }
    }
}

impl From<StoredOutage> for Outage {
    fn from(stored: StoredOutage) -> Self {
        match stored {
            StoredOutage::PowerCut { until_ms } => Self::PowerCut { until_ms },
            StoredOutage::SwitchedOff => Self::SwitchedOff,
        }
    }
}

impl From<PowerRecord> for StoredPower {
    fn from(core: PowerRecord) -> Self {
        let inferred = core.inferred();
        let PowerRecord {
            state,
            witness,
            since_ms,
        } = core;
        let witness = witness.and_then(|witness| match witness {
            Witness::Bmc => Some(StoredWitness::Bmc),
            Witness::Agent => Some(StoredWitness::Agent),
            Witness::Kubelet => Some(StoredWitness::Kubelet),
            Witness::Person => Some(StoredWitness::Person),
            Witness::Silence => None,
        });
        Self {
            state: state.into(),
            inferred,
            since_ms,
            witness,
        }
    }
}

impl From<StoredPower> for PowerRecord {
    fn from(stored: StoredPower) -> Self {
        let StoredPower {
            state,
            inferred,
            since_ms,
            witness,
        } = stored;
        let named = witness.map(|witness| match witness {
            StoredWitness::Bmc => Witness::Bmc,
            StoredWitness::Agent => Witness::Agent,
            StoredWitness::Kubelet => Witness::Kubelet,
            StoredWitness::Person => Witness::Person,
        });
        Self {
            state: state.into(),
            witness: named.or_else(|| inferred.then_some(Witness::Silence)),
            since_ms,
        }
    }
}

impl From<GroupRecord> for StoredGroup {
    fn from(core: GroupRecord) -> Self {
        let GroupRecord {
            wanted,
            sequence,
            last_increase,
        } = core;
        Self {
            wanted: wanted.iter().map(ToString::to_string).collect(),
            sequence,
            last_increase: last_increase.map_into(),
        }
    }
}

impl From<StoredGroup> for GroupRecord {
    fn from(stored: StoredGroup) -> Self {
        let StoredGroup {
            wanted,
            sequence,
            last_increase,
        } = stored;
        Self {
            wanted: wanted.iter().map(|name| MachineId::new(name)).collect(),
            sequence,
            last_increase: last_increase.map_into(),
        }
    }
}
