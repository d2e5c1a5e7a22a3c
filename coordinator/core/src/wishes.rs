//! What is wished for a machine, and by whom.
//!
//! Holds: absence from a wanted set is never an order; a person's word goes before the declaration's, and that before the group's.

use alloc::borrow::Cow;
use alloc::format;

use crate::groups::Group;
use crate::lab::Ctx;
use crate::machine::{Machine, Phase};
use crate::record::OverridePower;
use crate::spec::{Mode, PowerPolicy};
use crate::view::Wish;
use crate::why::Why;

/// How an order of the autoscaler's to give machines back begins, in the words of who has asked.
pub(crate) const DELETE_NODES: &str = "cluster-autoscaler DeleteNodes";

/// How everything begins that the autoscaler asks for.
const AUTOSCALER: &str = "cluster-autoscaler ";

/// Who sees to it that the pods of a machine which is to stop go elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drainer {
    /// The cluster-autoscaler drains what it gives back, and evicts nobody for what it only stops waiting for: what is left is
    /// waited for.
    Autoscaler,
    /// This process evicts them.
    Coordinator,
}

impl Drainer {
    /// Nobody's pods are evicted for a stop that nobody wishes any more.
    pub(crate) fn of(wished: &Wished) -> Self {
        if wished.wish == Wish::Off && !wished.by.starts_with(AUTOSCALER) {
            Self::Coordinator
        } else {
            Self::Autoscaler
        }
    }
}

/// A wish with its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wished {
    pub(crate) wish: Wish,
    pub(crate) by: Cow<'static, str>,
}

/// The wish that stands. `listed` is whether the machine is in its group's wanted set.
pub(crate) fn wish(machine: &Machine, group: Option<&Group>, listed: bool) -> Wished {
    let wished = |wish, by: Cow<'static, str>| Wished { wish, by };
    if machine.spec.power == PowerPolicy::Unmanaged {
        return wished(Wish::None, Cow::Borrowed(""));
    }
    if let Some(o) = &machine.record.override_ {
        let by = format!("{} (override)", o.by).into();
        return match o.power {
            OverridePower::Running => wished(Wish::Running, by),
            OverridePower::Off => wished(Wish::Off, by),
        };
    }
    match machine.spec.power {
        PowerPolicy::AlwaysOn => return wished(Wish::Running, Cow::Borrowed("power: AlwaysOn")),
        PowerPolicy::AlwaysOff => return wished(Wish::Off, Cow::Borrowed("power: AlwaysOff")),
        PowerPolicy::Unmanaged | PowerPolicy::Auto => {}
    }
    match &machine.record.order {
        // A proof stops the machine although its group wants it.
        Some(order) if order.then_wake && !(listed && matches!(machine.phase, Phase::Off)) => {
            return wished(Wish::Off, order.by.clone().into());
        }
        Some(order) if !listed => return wished(Wish::Off, order.by.clone().into()),
        Some(_) | None => {}
    }
    let found_running = matches!(machine.phase, Phase::Running) && machine.why == Why::SeenRunning;
    match group.filter(|_| listed) {
        Some(group) => wished(Wish::Running, asked_by(machine, group, found_running)),
        None if found_running => wished(Wish::None, Cow::Borrowed(FOUND_RUNNING)),
        None => wished(Wish::None, Cow::Borrowed("")),
    }
}

/// Nobody here has asked for it: a person pressed its button, or its firmware starts it when mains come back.
const FOUND_RUNNING: &str = "nobody: found running";

/// Who wants a listed machine. The last increase stands for the machines that it added, which are the last of the wish.
fn asked_by(machine: &Machine, group: &Group, found_running: bool) -> Cow<'static, str> {
    let wanted = &group.record.wanted;
    let increase = group.record.last_increase.as_ref().filter(|increase| {
        let added = usize::try_from(increase.delta).unwrap_or(0);
        let newest = wanted.iter().rev().take(added);
        newest.into_iter().any(|id| id == machine.id())
    });
    match (increase, group.spec.mode) {
        (Some(increase), _) => {
            format!("cluster-autoscaler IncreaseSize({})", increase.delta).into()
        }
        (None, Mode::Manual { .. }) => Cow::Borrowed("targetSize"),
        (None, Mode::Autoscaler) if found_running => Cow::Borrowed(FOUND_RUNNING),
        (None, Mode::Autoscaler) if group.spec.min_size > 0 => Cow::Borrowed("minSize"),
        (None, Mode::Autoscaler) => Cow::Borrowed("an earlier wish for its group"),
    }
}

/// Drops an override whose time is over, and sees that its end is noticed.
pub(crate) fn expire_override(machine: &mut Machine, ctx: &mut Ctx<'_>) {
    let Some(until_ms) = machine.record.override_.as_ref().and_then(|o| o.until_ms) else {
        return;
    };
    if ctx.due(ctx.on_boot_clock(until_ms)) {
        machine.record.override_ = None;
        machine.touch();
    }
}
