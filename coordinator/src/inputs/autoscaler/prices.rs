//! Prices of machines and pods: what their electricity costs in a given time.
//! In: what groups declare, a Node or a Pod, a time. Out: money without a currency; the autoscaler compares, it does not pay.
//! Holds: both calls are there or neither is: as long as no listed group declares its energy, both are Unimplemented.
//! Holds: a Pod costs its share of the machine on which that share is cheapest, because the autoscaler compares all groups by it.
//! Not here: tariffs (`tariff`), which group a Node is in (`membership`).

use std::collections::BTreeMap;

use coordinator_core::{Energy, GroupView, View, amount};
use prost::Message as _;
use proto_autoscaler::core_v1::{Container, Pod, PodSpec, Quantity};
use proto_autoscaler::{
    PricingNodePriceRequest, PricingNodePriceResponse, PricingPodPriceRequest,
    PricingPodPriceResponse,
};
use tonic::Status;

use super::membership;
use super::tariff::{self, Span};

/// An init container with this restart policy runs beside the containers.
const SIDECAR: &str = "Always";

/// What a machine like this Node costs.
pub(super) fn of_node(
    view: &View,
    asked: PricingNodePriceRequest,
) -> Result<PricingNodePriceResponse, Status> {
    some_group_has_prices(view)?;
    let span = span(asked.interval())?;
    let node = asked.node.unwrap_or_default();
    if node.provider_id.is_empty() && node.name.is_empty() && node.labels.is_empty() {
        return Err(Status::invalid_argument("the Node to be priced is missing"));
    }
    let Some(group) = membership::group_of_priced(view, &node) else {
        return Err(Status::not_found(format!(
            "Node `{}` is in no group, by its provider id, name or labels",
            node.name
        )));
    };
    let energy = energy(group).ok_or_else(|| {
        Status::failed_precondition(format!(
            "group {} has no prices: declare spec.energy.watts and spec.energy.perKWh",
            group.id
        ))
    })?;
    Ok(PricingNodePriceResponse {
        price: tariff::price(energy, span),
    })
}

/// What a Pod costs.
pub(super) fn of_pod(
    view: &View,
    asked: &PricingPodPriceRequest,
) -> Result<PricingPodPriceResponse, Status> {
    some_group_has_prices(view)?;
    let span = span(asked.interval())?;
    let bytes = asked.encoded_pod();
    if bytes.is_empty() {
        return Err(Status::invalid_argument("the Pod to be priced is missing"));
    }
    let pod = Pod::decode(bytes)
        .map_err(|error| Status::invalid_argument(format!("the Pod cannot be read: {error}")))?;
    let spec = pod.spec.unwrap_or_default();
    let requests = requests(&spec);
    let best = membership::listed(view)
        .filter_map(|group| Place::in_group(group, &requests, span))
        .min_by(|a, b| {
            let by_price = a.price.total_cmp(&b.price);
            a.lacking.cmp(&b.lacking).then(by_price)
        });
    let Some(Place { price, .. }) = best else {
        return Err(Status::failed_precondition(
            "of no group with prices is known what its machines bring",
        ));
    };
    Ok(PricingPodPriceResponse { price })
}

fn energy(group: &GroupView) -> Option<&Energy> {
    group.energy.as_deref()
}

fn some_group_has_prices(view: &View) -> Result<(), Status> {
    if membership::listed(view).any(|group| energy(group).is_some()) {
        return Ok(());
    }
    Err(Status::unimplemented("no group declares its energy"))
}

fn span(
    interval: Option<(prost_types::Timestamp, prost_types::Timestamp)>,
) -> Result<Span, Status> {
    Span::of(interval).map_err(|fault| Status::invalid_argument(fault.to_string()))
}

/// A Pod on a machine of one group.
struct Place {
    /// How many of the resources that it asks for the machine does not have.
    lacking: usize,
    price: f64,
}

impl Place {
    /// Nowhere, if the group has no prices or nobody knows what its machines bring.
    fn in_group(group: &GroupView, requests: &BTreeMap<&str, u128>, span: Span) -> Option<Self> {
        let (energy, template) = (energy(group)?, group.template.as_ref()?);
        let offered = |resource: &str| template.allocatable.get(resource).map(|has| amount(has));
        let mut lacking = 0;
        // Whatever it takes most of, no other Pod can have: its share of the machine.
        let mut share = 0.0_f64;
        for (resource, asked) in requests.iter().filter(|(_, asked)| **asked > 0) {
            match offered(resource).filter(|has| *has > 0) {
                Some(has) => share = share.max(*asked as f64 / has as f64),
                None => lacking += 1,
            }
        }
        Some(Self {
            lacking,
            price: share * tariff::price(energy, span),
        })
    }
}

/// What the scheduler sets aside for a Pod, by resource, and the one place that each Pod takes.
fn requests(spec: &PodSpec) -> BTreeMap<&str, u128> {
    let mut running = BTreeMap::new();
    let mut starting = BTreeMap::new();
    for container in &spec.init_containers {
        let mut then = running.clone();
        add(&mut then, asked_by(container));
        if container.restart_policy == SIDECAR {
            running.clone_from(&then);
        }
        raise(&mut starting, &then);
    }
    for container in &spec.containers {
        add(&mut running, asked_by(container));
    }
    raise(&mut running, &starting);
    // What is asked for the Pod as a whole stands for what its containers ask.
    let whole = spec.resources.iter().flat_map(|whole| &whole.requests);
    running.extend(whole.map(|(resource, asked)| (resource.as_str(), amount(&asked.string))));
    add(&mut running, spec.overhead.iter());
    running.insert("pods", amount("1"));
    running
}

fn asked_by(container: &Container) -> impl Iterator<Item = (&String, &Quantity)> {
    let resources = container.resources.iter();
    resources.flat_map(|resources| &resources.requests)
}

fn add<'a>(
    sum: &mut BTreeMap<&'a str, u128>,
    more: impl Iterator<Item = (&'a String, &'a Quantity)>,
) {
    for (resource, asked) in more {
        let known = sum.entry(resource).or_default();
        *known = known.saturating_add(amount(&asked.string));
    }
}

/// The greater of both, by resource.
fn raise<'a>(most: &mut BTreeMap<&'a str, u128>, than: &BTreeMap<&'a str, u128>) {
    for (resource, asked) in than {
        let known = most.entry(resource).or_default();
        *known = (*known).max(*asked);
    }
}
