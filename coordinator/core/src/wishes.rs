//! What is wished for a machine, and by whom.
//!
//! Holds: absence from a wanted set is never an order; a person's word goes before the group's.

use alloc::format;
use alloc::string::String;

use crate::groups::Group;
use crate::lab::Ctx;
use crate::machine::{Machine, Phase, Wished};
use crate::record::OverridePower;
use crate::spec::PowerPolicy;
use crate::view::Wish;

/// The wish that stands. `listed` is whether the machine is in its group's wanted set.
pub(crate) fn wish(machine: &Machine, group: Option<&Group>, listed: bool) -> Wished {
    let wished = |wish, by: String| Wished { wish, by };
    match machine.spec.power {
        PowerPolicy::Unmanaged => return wished(Wish::None, String::new()),
        PowerPolicy::AlwaysOn => return wished(Wish::Running, String::from("power: AlwaysOn")),
        PowerPolicy::AlwaysOff => return wished(Wish::Off, String::from("power: AlwaysOff")),
        PowerPolicy::Auto => {}
    }
    if let Some(o) = &machine.record.override_ {
        let by = format!("{} (override)", o.by);
        return match o.power {
            OverridePower::Running => wished(Wish::Running, by),
            OverridePower::Off => wished(Wish::Off, by),
        };
    }
    match &machine.record.order {
        // A proof stops the machine although its group wants it.
        Some(order) if order.then_wake && !(listed && matches!(machine.phase, Phase::Off)) => {
            return wished(Wish::Off, order.by.clone());
        }
        Some(order) if !listed => return wished(Wish::Off, order.by.clone()),
        Some(_) | None => {}
    }
    if listed {
        let asked = group.and_then(|g| g.record.last_increase.as_ref());
        let by = asked.map_or_else(
            || String::from("group size"),
            |increase| format!("cluster-autoscaler IncreaseSize({})", increase.delta),
        );
        return wished(Wish::Running, by);
    }
    wished(Wish::None, String::new())
}

/// Drops an override whose time is over, and sees that its end is noticed.
pub(crate) fn expire_override(machine: &mut Machine, ctx: &mut Ctx<'_>) {
    let Some(until_ms) = machine.record.override_.as_ref().and_then(|o| o.until_ms) else {
        return;
    };
    let left_ms = u64::try_from(until_ms.saturating_sub(ctx.now.wall_ms)).unwrap_or(0);
    if ctx.due(ctx.now.boot_ms.saturating_add(left_ms)) {
        machine.record.override_ = None;
        machine.touch();
    }
}
