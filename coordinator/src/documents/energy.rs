//! What electricity costs, as the core carries it for the autoscaler's prices.
//!
//! In: what a Group declares. Out: [`Energy`], and what should be mended in it.
//! Holds: an [`Energy`] names a time zone that exists. One that nobody knows leaves the group without prices: guessed ones would
//! favour the wrong group in silence.
//! Not here: what a time costs (`inputs::autoscaler`).

use std::sync::Arc;

use coordinator_core::{Concern, Concerns, Energy, PriceWindow};
use coordinator_crds as crds;
use crds::energy::{Day, Window};
use jiff::tz::TimeZone;

/// Where no window needs a clock.
const NO_MATTER_WHERE: &str = "UTC";
/// From Monday, as the core counts.
const WEEK: [Day; 7] = [
    Day::Monday,
    Day::Tuesday,
    Day::Wednesday,
    Day::Thursday,
    Day::Friday,
    Day::Saturday,
    Day::Sunday,
];

/// What is declared, and what is wrong with it.
pub(super) fn energy(declared: Option<&crds::Energy>) -> (Option<Arc<Energy>>, Concerns) {
    let Some(declared) = declared else {
        return (None, Concerns::new());
    };
    let zone = declared.time_zone.as_deref().unwrap_or(NO_MATTER_WHERE);
    let known = TimeZone::get(zone).is_ok_and(|zone| !zone.is_unknown());
    if !known {
        let message = format!(
            "spec.energy.timeZone: Not found: {zone:?}: the IANA database knows no such zone, so this group has no prices and the \
             cluster-autoscaler's price expander leaves it out; write one like Europe/Berlin (`timedatectl list-timezones` prints all)"
        );
        return (None, Concerns::from([(Concern::UnknownTimeZone, message)]));
    }
    let energy = Energy {
        watts: declared.watts,
        per_kwh_micros: declared.per_kwh.micros(),
        time_zone: zone.to_owned(),
        windows: declared.windows.iter().map(window).collect(),
    };
    (Some(Arc::new(energy)), Concerns::new())
}

fn window(declared: &Window) -> PriceWindow {
    PriceWindow {
        days: WEEK.map(|day| declared.days.is_empty() || declared.days.contains(&day)),
        from_minute: declared.from.minutes(),
        to_minute: declared.to.minutes(),
        per_kwh_micros: declared.per_kwh.micros(),
    }
}
