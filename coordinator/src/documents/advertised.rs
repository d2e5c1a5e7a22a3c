//! The template that a group tells the autoscaler, as its status shows it.
//!
//! In: the core's template. Out: what is advertised, whom it was learned from, and a digest that moves with it.

use coordinator_core::Template;
use coordinator_crds::group_status::AdvertisedTemplate;

use super::{
    records::{amounts_out, cut, labels_out, taints_out},
    whole_second,
};

/// Longest source that the schema takes.
const MAX_SOURCE: usize = 320;
/// Machines that are named; of more, the number is told.
const NAMED: usize = 5;

pub(super) fn advertised(template: &Template) -> AdvertisedTemplate {
    AdvertisedTemplate {
        digest: digest(template),
        source: cut(&source(template), MAX_SOURCE),
        learned_at: template.learned_at_ms.map(whole_second),
        allocatable: amounts_out(&template.allocatable),
        labels: labels_out(&template.labels),
        taints: taints_out(&template.taints),
    }
}

fn source(template: &Template) -> String {
    let machines = &template.learned_from;
    if machines.is_empty() {
        return "Declared".to_owned();
    }
    let names: Vec<&str> = machines.iter().take(NAMED).map(|id| id.as_str()).collect();
    let more = machines.len() - names.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let word = if template.declared {
        "Merged with the declaration, learned"
    } else {
        "Learned"
    };
    format!("{word} from {}{more}", names.join(", "))
}

/// FNV-1a of everything that pods are matched against. It tells one template from the next; it protects nothing.
fn digest(template: &Template) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = OFFSET;
    let mut feed = |part: &str| {
        // The byte behind each part cannot occur in it, so that "ab","c" and "a","bc" differ.
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    };
    let maps = [&template.capacity, &template.allocatable, &template.labels];
    for (number, map) in maps.into_iter().enumerate() {
        feed(&number.to_string());
        for (key, value) in map {
            feed(key);
            feed(value);
        }
    }
    for taint in &template.taints {
        feed(&taint.key);
        feed(&taint.value);
        feed(&taint.effect);
    }
    format!("fnv1a:{hash:016x}")
}
