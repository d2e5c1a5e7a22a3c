//! Why a machine is where it is in its life: one word for people, each with a sentence beside it.
//!
//! Out: the stable words of status, conditions and Events.
//! Holds: a word is told, and compared only to tell it once; what is decided stands in `machine::Phase`.

/// The reason that goes with a machine's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    BmcIgnoredWake,
    BootTimeout,
    Booting,
    CameBack,
    ConfirmedByPerson,
    DrainBlocked,
    Draining,
    ForeignProviderId,
    GoingDown,
    MissingCredentials,
    NoRelay,
    NoWayToStop,
    NotSeenYet,
    NotStopped,
    NotWanted,
    Off,
    PodsStillRunning,
    PodsUnknown,
    RecordRefused,
    RelayNotListening,
    Retry,
    Running,
    SeenRunning,
    Silent,
    StopAccepted,
    StopCancelled,
    StopOrdered,
    StopRefused,
    StopSent,
    StopTimedOut,
    WakeOrdered,
    WakeRefused,
    WakeSent,
    WakeUnanswered,
}

impl Why {
    /// The stable word.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::BmcIgnoredWake => "BMCIgnoredWake",
            Self::BootTimeout => "BootTimeout",
            Self::Booting => "Booting",
            Self::CameBack => "CameBack",
            Self::ConfirmedByPerson => "ConfirmedByPerson",
            Self::DrainBlocked => "DrainBlocked",
            Self::Draining => "Draining",
            Self::ForeignProviderId => "ForeignProviderID",
            Self::GoingDown => "GoingDown",
            Self::MissingCredentials => "MissingCredentials",
            Self::NoRelay => "NoRelay",
            Self::NoWayToStop => "NoWayToStop",
            Self::NotSeenYet => "NotSeenYet",
            Self::NotStopped => "NotStopped",
            Self::NotWanted => "NotWanted",
            Self::Off => "Off",
            Self::PodsStillRunning => "PodsStillRunning",
            Self::PodsUnknown => "PodsUnknown",
            Self::RecordRefused => "RecordRefused",
            Self::RelayNotListening => "RelayNotListening",
            Self::Retry => "Retry",
            Self::Running => "Running",
            Self::SeenRunning => "SeenRunning",
            Self::Silent => "Silent",
            Self::StopAccepted => "StopAccepted",
            Self::StopCancelled => "StopCancelled",
            Self::StopOrdered => "StopOrdered",
            Self::StopRefused => "StopRefused",
            Self::StopSent => "StopSent",
            Self::StopTimedOut => "StopTimedOut",
            Self::WakeOrdered => "WakeOrdered",
            Self::WakeRefused => "WakeRefused",
            Self::WakeSent => "WakeSent",
            Self::WakeUnanswered => "WakeUnanswered",
        }
    }
}
