//! Where a machine may be, and what may happen to it there.
//!
//! Out: the rows and columns of the table of transitions.

/// A variant list with all of its members.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($variant),* }

        impl $name {
            pub(crate) const ALL: [Self; [$(stringify!($variant)),*].len()] = [$(Self::$variant),*];
        }
    };
}

named!(
    /// Where the machine is: its phase, and the step of a stop.
    Start {
        Unknown, Off, Waking, WakeFailed, Running, Silent, Appearing, Fencing, Listing, ListingAgain, Evicting, Draining,
        HeldByPods, Ordered, GoingDown,
    }
);

named!(
    /// What happens to it.
    Input {
        Heard, Silence, BmcOn, BmcOff, BmcOther, Increase, Delete, Decrease, AskOn, AskOff, Release, Retry, ConfirmOff,
        Prove, AlwaysOn, AlwaysOff, Unmanage, Pause, Accepted, Running, Done, Refused, Failed, Interrupted, Unheard,
        Fenced, FenceFailed, PodsGone, PodsLeft, PodsBare, PodsUnknown, Evicted, Withheld, NodeGone, TimeUp, Restart, DeclareAnew, GroupRemoved,
        Following,
    }
);

impl Input {
    /// Evidence needs a while to count; for everything else the next moment tells.
    pub(crate) fn counts_after_ms(self) -> u64 {
        let evidence = [
            Self::Heard,
            Self::Silence,
            Self::BmcOn,
            Self::BmcOff,
            Self::BmcOther,
        ];
        if evidence.contains(&self) {
            80_000
        } else {
            100
        }
    }
}
