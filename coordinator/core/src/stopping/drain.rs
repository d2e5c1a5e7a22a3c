//! Emptying the Node of a machine that stops by our own order: pods are evicted as their budgets allow, none by force.
//!
//! In: pod lists, answers to evictions. Out: a few evictions at a time; what keeps it, and what a person can do about it.
//! Holds: each round begins with a fresh list, so a drain goes on after a restart and ends with the order.
//! Holds: a pod that nobody would bring back, or that is marked, is left alone; no other is evicted while it holds the stop up.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::orders::look_again;
use super::{Step, Stopping};
use crate::actions::{Action, Severity};
use crate::lab::Ctx;
use crate::machine::{Machine, Phase};
use crate::pods::{Eviction, EvictionOutcome, PodRef, PodSeen, PodStanding, names};
use crate::telling::span;
use crate::view::DrainState;
use crate::why::Why;

/// Pods asked to leave at once: a person who takes the order back meanwhile saves all others.
const AT_ONCE: usize = 8;
/// Evictions that nobody has answered are taken up anew after this; each alone is given up sooner.
pub(super) const ANSWER_MS: u64 = 15_000;
/// However long the API server asks to be spared, a pod is asked again after this.
const LONGEST_PAUSE_MS: u64 = 600_000;

/// A drain under way.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    /// On the boot clock, milliseconds.
    since_ms: u64,
    /// A pod has been asked to leave.
    begun: bool,
    /// People have been told that it goes no further.
    told_blocked: bool,
    pub(crate) state: DrainState,
    /// As listed last.
    pods: Vec<PodSeen>,
    /// When each was asked to leave last, by uid; boot clock, milliseconds.
    asked: BTreeMap<String, u64>,
    /// What was asked to leave in vain, by uid.
    kept: BTreeMap<String, Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    again_ms: u64,
    hindrance: Hindrance,
    /// After the names of the pods.
    words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hindrance {
    /// It may end by itself.
    Passing,
    /// A person must change something.
    Lasting,
}

impl Drain {
    fn new(machine: &Machine, stopping: &Stopping, ctx: &Ctx<'_>) -> Self {
        // After a restart it is the drain that its stop had begun.
        let operation = machine.record.operation.as_ref();
        let started_ms = operation.map_or(ctx.now.wall_ms, |op| op.started_at_ms);
        let age_ms = u64::try_from(ctx.now.wall_ms.saturating_sub(started_ms)).unwrap_or(0);
        let age_ms = if stopping.resumed { age_ms } else { 0 };
        Self {
            since_ms: ctx.now.boot_ms.saturating_sub(age_ms),
            begun: stopping.resumed,
            told_blocked: false,
            state: DrainState::Evicting,
            pods: Vec::new(),
            asked: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Pods that only a person may end.
    fn is_held(&self) -> bool {
        self.pods.iter().any(|seen| match seen.standing {
            PodStanding::Bare | PodStanding::NotSafe => true,
            PodStanding::Controlled | PodStanding::Ending => false,
        })
    }

    /// As listed: what was noted of a pod counts while its controller would bring it back.
    fn take_list(&mut self, pods: Vec<PodSeen>) {
        let stands = |uid: &String| {
            let mut seen = pods.iter().filter(|seen| seen.pod.uid == *uid);
            seen.any(|seen| seen.standing == PodStanding::Controlled)
        };
        self.kept.retain(|uid, _| stands(uid));
        self.asked.retain(|uid, _| stands(uid));
        self.pods = pods;
    }

    /// Whom to ask now: those who have waited longest, so that nobody is passed over.
    fn due(&self, now_ms: u64) -> Vec<PodRef> {
        if self.is_held() {
            return Vec::new();
        }
        let rests = |pod: &PodRef| self.kept.get(&pod.uid).is_some_and(|k| now_ms < k.again_ms);
        let controlled = |seen: &&PodSeen| seen.standing == PodStanding::Controlled;
        let pods = self.pods.iter().filter(controlled).map(|seen| &seen.pod);
        let mut due: Vec<&PodRef> = pods.filter(|pod| !rests(pod)).collect();
        due.sort_by_key(|pod| self.asked.get(&pod.uid).copied());
        due.into_iter().take(AT_ONCE).cloned().collect()
    }

    fn is_late(&self, machine: &Machine, ctx: &mut Ctx<'_>) -> bool {
        ctx.due(self.since_ms.saturating_add(machine.spec.timeouts.drain_ms))
    }

    fn note(&mut self, told: Eviction, late: bool, ctx: &Ctx<'_>) {
        let pace_ms = |hindrance| match hindrance {
            Hindrance::Passing if !late => ctx.policy.pods_retry_ms,
            Hindrance::Passing | Hindrance::Lasting => ctx.policy.drain_blocked_ms,
        };
        let (hindrance, words, pause_ms) = match told.outcome {
            EvictionOutcome::Accepted | EvictionOutcome::Gone => {
                self.kept.remove(&told.pod.uid);
                return;
            }
            EvictionOutcome::Withheld {
                budget,
                retry_after_ms,
            } => {
                let words = format!("kept by a disruption budget ({})", brief(&budget));
                (Hindrance::Passing, words, retry_after_ms)
            }
            EvictionOutcome::Unanswered {
                fault,
                retry_after_ms,
            } => {
                let words = format!("not evicted yet ({})", brief(&fault));
                (Hindrance::Passing, words, retry_after_ms)
            }
            EvictionOutcome::Forbidden(fault) => {
                let words = format!("not to be evicted by this coordinator ({})", brief(&fault));
                (Hindrance::Lasting, words, None)
            }
            EvictionOutcome::Misconfigured(fault) => {
                let words = format!("impossible to evict as things are ({})", brief(&fault));
                (Hindrance::Lasting, words, None)
            }
        };
        let asked_ms = pause_ms.map_or(0, |ms| ms.min(LONGEST_PAUSE_MS));
        let pause_ms = asked_ms.max(pace_ms(hindrance));
        let kept = Kept {
            again_ms: ctx.now.boot_ms.saturating_add(pause_ms),
            hindrance,
            words,
        };
        self.kept.insert(told.pod.uid, kept);
    }

    /// An Event tells it once, whatever else stands in the way meanwhile.
    fn blocked(&mut self, machine: &mut Machine, message: String, ctx: &mut Ctx<'_>) {
        if self.told_blocked {
            machine.explain(Why::DrainBlocked, message);
        } else {
            self.told_blocked = true;
            machine.complain(Why::DrainBlocked, message, ctx);
        }
    }

    /// What is still there, and why.
    fn in_words(&self) -> String {
        let mut groups: BTreeMap<(PodStanding, &str), Vec<&PodSeen>> = BTreeMap::new();
        for seen in &self.pods {
            let words = match seen.standing {
                PodStanding::Bare => "without a controller that would bring it back elsewhere",
                PodStanding::NotSafe => "marked as not safe to evict",
                PodStanding::Ending => "ending",
                PodStanding::Controlled => match self.kept.get(&seen.pod.uid) {
                    Some(kept) => kept.words.as_str(),
                    None if self.asked.contains_key(&seen.pod.uid) => "asked to leave",
                    None => "to be asked to leave",
                },
            };
            groups.entry((seen.standing, words)).or_default().push(seen);
        }
        let parts: Vec<String> = groups
            .iter()
            .map(|((_, words), pods)| format!("{} {words}", names(pods.iter().copied())))
            .collect();
        parts.join("; ")
    }
}

/// Some of what an API server says.
fn brief(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Takes in a list of pods that are in the way: asks some to leave, or waits for those that were asked.
pub(super) fn go_on(
    machine: &mut Machine,
    stopping: &mut Stopping,
    pods: Vec<PodSeen>,
    ctx: &mut Ctx<'_>,
) {
    let mut drain = stopping
        .drain
        .take()
        .unwrap_or_else(|| Drain::new(machine, stopping, ctx));
    drain.take_list(pods);
    let due = drain.due(ctx.now.boot_ms);
    if due.is_empty() {
        let pace_ms = pace_ms(&drain, machine, ctx);
        tell(machine, &mut drain, ctx);
        look_again(machine, stopping, pace_ms, ctx);
    } else {
        begin(machine, &mut drain, ctx);
        let asked = due.iter().map(|pod| (pod.uid.clone(), ctx.now.boot_ms));
        drain.asked.extend(asked);
        tell(machine, &mut drain, ctx);
        // What may have left before was refused: it cannot be heeded any more.
        if !stopping.order_left() {
            machine.order_stayed();
        }
        stopping.step = Step::Evicting {
            asked_ms: ctx.now.boot_ms,
        };
        ctx.at(ctx.now.boot_ms.saturating_add(ANSWER_MS));
        ctx.out.push(Action::Evict {
            machine: machine.id().clone(),
            pods: due,
        });
    }
    stopping.drain = Some(drain);
}

/// Takes in what became of evictions; what comes of them shows in the next list.
pub(crate) fn evicted(machine: &mut Machine, told: Vec<Eviction>, ctx: &mut Ctx<'_>) {
    let Phase::Stopping(mut stopping) = machine.phase.clone() else {
        return;
    };
    if !matches!(stopping.step, Step::Evicting { .. }) {
        return;
    }
    let Some(mut drain) = stopping.drain.take() else {
        return;
    };
    let late = drain.is_late(machine, ctx);
    let moves = told
        .iter()
        .any(|pod| pod.outcome == EvictionOutcome::Accepted);
    for pod in told {
        drain.note(pod, late, ctx);
    }
    let pace_ms = if moves {
        ctx.policy.pods_retry_ms
    } else {
        pace_ms(&drain, machine, ctx)
    };
    tell(machine, &mut drain, ctx);
    look_again(machine, &mut stopping, pace_ms, ctx);
    stopping.drain = Some(drain);
    machine.phase = Phase::Stopping(stopping);
}

fn pace_ms(drain: &Drain, machine: &Machine, ctx: &mut Ctx<'_>) -> u64 {
    if drain.is_late(machine, ctx) {
        ctx.policy.drain_blocked_ms
    } else {
        ctx.policy.pods_retry_ms
    }
}

fn begin(machine: &Machine, drain: &mut Drain, ctx: &mut Ctx<'_>) {
    if drain.begun {
        return;
    }
    drain.begun = true;
    let by = machine
        .record
        .operation
        .as_ref()
        .map_or("", |op| op.by.as_str());
    let message = format!(
        "Ordered off by {by}: {} leave first, as their disruption budgets allow",
        names(&drain.pods)
    );
    machine.event(Severity::Normal, "DrainStarted", message, ctx);
}

/// Says how far it is, and once that it goes no further.
fn tell(machine: &mut Machine, drain: &mut Drain, ctx: &mut Ctx<'_>) {
    let late = drain.is_late(machine, ctx);
    let lasts = drain
        .kept
        .values()
        .any(|kept| kept.hindrance == Hindrance::Lasting);
    let held = drain.is_held();
    drain.state = if late || lasts || held {
        DrainState::Blocked
    } else {
        DrainState::Evicting
    };
    let left = drain.in_words();
    if late {
        let limit = span(machine.spec.timeouts.drain_ms);
        let message = format!(
            "Not stopped: still there after {limit}: {left}. Nothing is evicted by force: relax the budget or make room \
             elsewhere, delete what may be lost, or take the order back"
        );
        drain.blocked(machine, message, ctx);
    } else if lasts {
        let message = format!(
            "Not stopped: {left}. Waiting does not help: mend what is said, or take the order back"
        );
        drain.blocked(machine, message, ctx);
    } else if held {
        let message = format!(
            "Not stopped: {left}. Nothing is evicted meanwhile: delete what may be lost, or take the order back"
        );
        machine.complain(Why::PodsStillRunning, message, ctx);
    } else {
        machine.explain(Why::Draining, format!("Before it stops: {left}"));
    }
}
