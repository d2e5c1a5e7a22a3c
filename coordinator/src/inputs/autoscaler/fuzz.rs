//! Decoders of this module for the fuzzer.

use std::error::Error;
use std::sync::{Arc, LazyLock};

use coordinator_core::{
    AutoscalerVersion, Concerns, Energy, GroupId, GroupView, NodeObjectPolicy, PriceWindow,
    Template, View,
};
use proto_autoscaler::{PricingNodePriceRequest, PricingPodPriceRequest};

use super::tls::validity;
use super::{Issued, callers, deadline, prices};
use crate::certificates::{Authority, Pair, Role, server_names};
use crate::metrics::Metrics;

/// A lab with one group, whose machines cost more by night and bring what the pods that are tried ask for.
static LAB: LazyLock<View> = LazyLock::new(|| {
    let window = PriceWindow {
        days: [true; 7],
        from_minute: 22 * 60,
        to_minute: 6 * 60,
        per_kwh_micros: u64::MAX,
    };
    let energy = Energy {
        watts: u32::MAX,
        per_kwh_micros: 300_000,
        time_zone: "Europe/Berlin".to_owned(),
        windows: vec![window],
    };
    let offers = [("cpu", "8"), ("memory", "16Gi"), ("pods", "110")];
    let offers = offers.map(|(resource, amount)| (resource.to_owned(), amount.to_owned()));
    let group = GroupView {
        id: GroupId::new("default/workers"),
        autoscaled: true,
        min_size: 0,
        max_size: 1,
        target: 0,
        ready: 0,
        sequence: 1,
        instances: Vec::new(),
        template: Some(Template {
            allocatable: offers.into(),
            ..Template::default()
        }),
        scale_down: None,
        energy: Some(Arc::new(energy)),
        node_object_policy: NodeObjectPolicy::Delete,
        debug: String::new(),
        frozen: false,
        concerns: Concerns::new(),
    };
    View {
        serving: true,
        groups: [(group.id.clone(), Arc::new(group))].into(),
        ..View::default()
    }
});

/// The header `grpc-timeout`, in milliseconds.
#[must_use]
pub fn grpc_timeout(text: &str) -> Option<u64> {
    deadline::milliseconds(text)
}

/// The autoscaler's version in the header `user-agent`.
#[must_use]
pub fn autoscaler_version(text: &str) -> Option<AutoscalerVersion> {
    callers::version(text)
}

/// When a certificate in DER form ends, in seconds since 1970.
#[must_use]
pub fn certificate(der: &[u8]) -> Option<i64> {
    validity::end(der)
}

/// What a machine costs in a lab with one group; `None` where the call is refused.
#[must_use]
pub fn price_of_node(asked: PricingNodePriceRequest) -> Option<f64> {
    let answer = prices::of_node(&LAB, asked);
    answer.ok().map(|answer| answer.price)
}

/// What a pod costs there.
#[must_use]
pub fn price_of_pod(asked: &PricingPodPriceRequest) -> Option<f64> {
    let answer = prices::of_pod(&LAB, asked);
    answer.ok().map(|answer| answer.price)
}

/// A text with certificates and keys in PEM form, taken for each pair that a Secret may hold. Answers what is said against them.
#[must_use]
pub fn pairs(text: &str, now: i64) -> Vec<String> {
    let pair = Pair {
        cert: text.to_owned(),
        key: text.to_owned(),
    };
    let mut said = Vec::new();
    match Authority::load(&pair, now) {
        Ok(authority) => {
            assert!(authority.is_in(text), "its own certificate is in it");
            match server_names("homelab-autoscaler-system", &[]) {
                Ok(names) => tell(&mut said, authority.judge(&pair, Role::Server(&names), now)),
                Err(fault) => said.push(fault.to_string()),
            }
            tell(&mut said, authority.judge(&pair, Role::Client, now));
        }
        Err(fault) => tell(&mut said, Err::<(), _>(fault)),
    }
    let served = Issued::new(Metrics::unregistered());
    tell(&mut said, served.serve_with(&pair, text));
    said
}

/// A fault with its causes, and as it stands in a log.
fn tell<T, F: Error>(said: &mut Vec<String>, outcome: Result<T, F>) {
    let Err(fault) = outcome else { return };
    said.push(format!("{fault:?}"));
    let mut cause: Option<&dyn Error> = Some(&fault);
    while let Some(fault) = cause {
        said.push(fault.to_string());
        cause = fault.source();
    }
}
