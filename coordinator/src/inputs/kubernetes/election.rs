//! Who leads: the rule, without clock and network.
//!
//! In: the Lease as it stands, since when it has stood unchanged on our own boot clock, and who we are.
//! Out: one [`Step`].
//! Holds: no time in the Lease is ever compared with a clock; a holder counts as gone after a whole lease unchanged.
//! Holds: the count of transitions never decreases, also not by release or when the Lease is made anew.

/// A Lease as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Who holds it; empty after a release.
    pub(super) holder: String,
    /// Raised by every change of leader and every start.
    pub(super) transitions: u32,
    /// What its holder promised: longer than that it does not lead without renewal, milliseconds.
    pub(super) lease_ms: u64,
    /// Changes with every write.
    pub(super) version: String,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Unique to this replica.
    pub(super) identity: String,
    /// Random for each start of the process.
    pub(super) incarnation: String,
    /// The identity was given to be unique: an older incarnation of it is dead, because this one runs.
    pub(super) exclusive: bool,
    /// False: there is no other replica, whatever the Lease says.
    pub(super) contested: bool,
}

impl Candidate {
    /// What is written into the Lease.
    pub(super) fn holder(&self) -> String {
        format!("{}_{}", self.identity, self.incarnation)
    }

    fn is_own_predecessor(&self, holder: &str) -> bool {
        self.exclusive
            && holder
                .rsplit_once('_')
                .is_some_and(|(identity, _)| identity == self.identity)
    }
}

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It does not exist: make it.
    Create {
        /// The count to start with.
        transitions: u32,
    },
    /// It is free: write ourselves into exactly this version of it.
    Take {
        /// The version that must still stand there.
        version: String,
        /// The count from then on.
        transitions: u32,
    },
    /// It is ours.
    Hold,
    /// Somebody else leads, at least until then on our boot clock.
    Wait {
        /// Milliseconds on the boot clock.
        until_ms: u64,
    },
}

/// Decides. `floor` is the highest epoch that any store or agent knows.
pub(super) fn step(
    standing: Option<&Standing>,
    unchanged_since_ms: u64,
    now_ms: u64,
    me: &Candidate,
    floor: u32,
) -> Step {
    let Some(standing) = standing else {
        return Step::Create {
            transitions: floor.saturating_add(1),
        };
    };
    if standing.holder == me.holder() {
        return Step::Hold;
    }
    let until_ms = unchanged_since_ms.saturating_add(standing.lease_ms);
    let free = standing.holder.is_empty()
        || !me.contested
        || me.is_own_predecessor(&standing.holder)
        || now_ms >= until_ms;
    if free {
        Step::Take {
            version: standing.version.clone(),
            transitions: standing.transitions.max(floor).saturating_add(1),
        }
    } else {
        Step::Wait { until_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Candidate {
        Candidate {
            identity: "pod-a".into(),
            incarnation: "1f".into(),
            exclusive: true,
            contested: true,
        }
    }

    fn held_by(holder: &str) -> Standing {
        Standing {
            holder: holder.into(),
            transitions: 4,
            lease_ms: 15_000,
            version: "77".into(),
        }
    }

    fn take(transitions: u32) -> Step {
        Step::Take {
            version: "77".into(),
            transitions,
        }
    }

    #[test]
    fn the_lease_is_taken_only_when_nobody_can_hold_it() {
        for (case, standing, now_ms, floor, expected) in [
            ("no lease", None, 0, 0, Step::Create { transitions: 1 }),
            (
                "lease deleted, tokens remember",
                None,
                0,
                9,
                Step::Create { transitions: 10 },
            ),
            ("released", Some(held_by("")), 1_000, 0, take(5)),
            (
                "held, fresh",
                Some(held_by("pod-b_9")),
                15_999,
                0,
                Step::Wait { until_ms: 16_000 },
            ),
            (
                "held, a whole lease unchanged",
                Some(held_by("pod-b_9")),
                16_000,
                0,
                take(5),
            ),
            (
                "restored from a backup",
                Some(held_by("")),
                1_000,
                12,
                take(13),
            ),
            (
                "own process before the restart",
                Some(held_by("pod-a_0")),
                1_000,
                0,
                take(5),
            ),
            ("ours", Some(held_by("pod-a_1f")), 99_000, 0, Step::Hold),
        ] {
            assert_eq!(
                step(standing.as_ref(), 1_000, now_ms, &me(), floor),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn a_host_name_proves_nothing_about_another_process() {
        let guest = Candidate {
            exclusive: false,
            ..me()
        };
        assert_eq!(
            step(Some(&held_by("pod-a_0")), 1_000, 1_000, &guest, 0),
            Step::Wait { until_ms: 16_000 }
        );
    }

    #[test]
    fn an_uncontested_process_counts_its_starts_all_the_same() {
        let alone = Candidate {
            contested: false,
            ..me()
        };
        assert_eq!(
            step(Some(&held_by("pod-b_9")), 1_000, 1_000, &alone, 0),
            take(5)
        );
    }
}
