//! Prices from a scripted view.

use coordinator_core::{Energy, PriceWindow};
use prost::Message as _;
use prost_types::Timestamp;
use proto_autoscaler::core_v1::{Container, Pod, PodSpec, Quantity, ResourceRequirements};

use super::*;

/// Noon and one o'clock in UTC.
const NOON: i64 = 1_768_478_400;
const ONE: i64 = NOON + 3_600;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// A group whose machines draw so much and bring that, at 0.30 by day and 0.10 from one o'clock on.
fn priced(name: &str, watts: u32, brings: &[(&str, &str)]) -> GroupView {
    let amounts = brings
        .iter()
        .map(|(resource, amount)| ((*resource).to_owned(), (*amount).to_owned()));
    let energy = Energy {
        watts,
        per_kwh_micros: 300_000,
        time_zone: "UTC".into(),
        windows: vec![PriceWindow {
            days: [true; 7],
            from_minute: 13 * 60,
            to_minute: 0,
            per_kwh_micros: 100_000,
        }],
    };
    GroupView {
        energy: Some(Arc::new(energy)),
        template: Some(Template {
            allocatable: amounts.collect(),
            ..Template::default()
        }),
        ..group(name)
    }
}

fn of_node(node: ExternalGrpcNode, from: i64, to: i64) -> PricingNodePriceRequest {
    PricingNodePriceRequest {
        node: Some(node),
        start_timestamp: at(from),
        end_timestamp: at(to),
        ..PricingNodePriceRequest::default()
    }
}

fn of_pod(spec: PodSpec) -> PricingPodPriceRequest {
    let pod = Pod {
        spec: Some(spec),
        ..Pod::default()
    };
    PricingPodPriceRequest {
        pod_bytes: pod.encode_to_vec(),
        start_timestamp: at(NOON),
        end_timestamp: at(ONE),
        ..PricingPodPriceRequest::default()
    }
}

fn labelled(name: &str, group: &str) -> ExternalGrpcNode {
    ExternalGrpcNode {
        labels: BTreeMap::from([("homelab-autoscaler.dev/group".into(), group.into())]),
        ..node("", name)
    }
}

fn resources(requests: &[(&str, &str)]) -> ResourceRequirements {
    let quantity = |amount: &str| Quantity {
        string: amount.into(),
    };
    let requests = requests
        .iter()
        .map(|(resource, amount)| ((*resource).into(), quantity(amount)));
    ResourceRequirements {
        requests: requests.collect(),
        ..ResourceRequirements::default()
    }
}

fn container(requests: &[(&str, &str)]) -> Container {
    Container {
        resources: Some(resources(requests)),
        ..Container::default()
    }
}

fn sidecar(requests: &[(&str, &str)]) -> Container {
    Container {
        restart_policy: "Always".into(),
        ..container(requests)
    }
}

fn running(containers: Vec<Container>) -> PodSpec {
    PodSpec {
        containers,
        ..PodSpec::default()
    }
}

#[track_caller]
fn close(found: f64, expected: f64, what: &str) {
    assert!(
        (found - expected).abs() < 1e-9,
        "{what}: {found}, not {expected}"
    );
}

async fn pod_price(client: &mut Client, spec: PodSpec) -> f64 {
    let answer = client.pricing_pod_price(of_pod(spec)).await;
    answer.unwrap().into_inner().price
}

#[tokio::test]
async fn where_no_listed_group_has_prices_neither_call_is_implemented() {
    let manual = GroupView {
        autoscaled: false,
        ..priced("default/manual", 100, &[("cpu", "4")])
    };
    let mut bench = Bench::showing(lab([group("default/workers"), manual])).await;
    let client = &mut bench.client;
    let node = of_node(labelled("n", "workers"), NOON, ONE);
    let codes = [
        code(client.pricing_node_price(node).await),
        code(
            client
                .pricing_node_price(PricingNodePriceRequest::default())
                .await,
        ),
        code(client.pricing_pod_price(of_pod(PodSpec::default())).await),
        code(
            client
                .pricing_pod_price(PricingPodPriceRequest::default())
                .await,
        ),
    ];
    assert_eq!(codes, [Code::Unimplemented; 4]);
}

/// Machines of 100 W and of 200 W, a group without prices, and two of one name.
fn mixed() -> View {
    let mut view = lab([
        priced("default/workers", 100, &[]),
        priced("default/big", 200, &[]),
        priced("default/twice", 100, &[]),
        priced("other/twice", 200, &[]),
        group("default/silent"),
    ]);
    let big = || GroupId::new("default/big");
    view.by_provider_id
        .insert("homelab://default/r720".into(), big());
    view.by_node_name.insert("r720".into(), big());
    view
}

#[tokio::test]
async fn a_node_costs_the_watts_of_its_group_times_the_tariff_of_the_time() {
    let mut bench = Bench::showing(mixed()).await;
    let (small, big) = (0.1 * 0.3, 0.2 * 0.3);
    for (what, node, price) in [
        ("by provider id", node("homelab://default/r720", "x"), big),
        ("by name", node("", "r720"), big),
        (
            "the fake Node of an instance",
            node("homelab://default/r720", "homelab://default/r720"),
            big,
        ),
        (
            "a template Node by name",
            node("", "template-node-for-default/workers-4711"),
            small,
        ),
        (
            "a template Node by its group's label",
            labelled("template-node-for-somebody-4711-upcoming-0", "workers"),
            small,
        ),
        ("by label alone", labelled("", "big"), big),
    ] {
        let asked = of_node(node, NOON, ONE);
        let answer = bench.client.pricing_node_price(asked).await.unwrap();
        close(answer.into_inner().price, price, what);
    }
    // Half an hour before the tariff changes, and half an hour behind it.
    let asked = of_node(node("", "r720"), ONE - 1_800, ONE + 1_800);
    let answer = bench.client.pricing_node_price(asked).await.unwrap();
    close(answer.into_inner().price, 0.2 * 0.2, "over a change");
    // As an autoscaler up to 1.34 sends its times.
    let asked = PricingNodePriceRequest {
        node: Some(node("", "r720")),
        start_time: at(NOON),
        end_time: at(ONE),
        ..PricingNodePriceRequest::default()
    };
    let answer = bench.client.pricing_node_price(asked).await.unwrap();
    close(answer.into_inner().price, big, "old times");
}

#[tokio::test]
async fn what_cannot_be_priced_has_its_code() {
    let mut bench = Bench::showing(mixed()).await;
    let nobody = ExternalGrpcNode::default;
    let known = || node("", "r720");
    for (what, asked, expected) in [
        (
            "nothing",
            of_node(nobody(), NOON, ONE),
            Code::InvalidArgument,
        ),
        (
            "a stranger",
            of_node(node("aws:///eu/i-1", "ip-10-0-0-1"), NOON, ONE),
            Code::NotFound,
        ),
        (
            "a name that two groups have",
            of_node(labelled("n", "twice"), NOON, ONE),
            Code::NotFound,
        ),
        (
            "a group without prices",
            of_node(labelled("n", "silent"), NOON, ONE),
            Code::FailedPrecondition,
        ),
        (
            "backwards",
            of_node(known(), ONE, NOON),
            Code::InvalidArgument,
        ),
        (
            "a year",
            of_node(known(), NOON, NOON + 31_536_000),
            Code::InvalidArgument,
        ),
        (
            "beyond the calendar",
            of_node(known(), i64::MIN, i64::MAX),
            Code::InvalidArgument,
        ),
        (
            "no end",
            PricingNodePriceRequest {
                end_timestamp: None,
                ..of_node(known(), NOON, ONE)
            },
            Code::InvalidArgument,
        ),
    ] {
        let answer = bench.client.pricing_node_price(asked).await;
        assert_eq!(code(answer), expected, "{what}");
    }
}

#[tokio::test]
async fn a_pod_that_cannot_be_read_is_an_invalid_argument() {
    let mut bench = Bench::showing(mixed()).await;
    let whole = of_pod(PodSpec::default());
    for (what, asked) in [
        (
            "no pod",
            PricingPodPriceRequest {
                pod_bytes: Vec::new(),
                ..whole.clone()
            },
        ),
        (
            "no message",
            PricingPodPriceRequest {
                pod_bytes: vec![0x0a, 5],
                ..whole.clone()
            },
        ),
        (
            "no begin",
            PricingPodPriceRequest {
                start_timestamp: None,
                ..whole
            },
        ),
    ] {
        let answer = bench.client.pricing_pod_price(asked).await;
        assert_eq!(code(answer), Code::InvalidArgument, "{what}");
    }
}

fn cpu(amount: &str) -> Container {
    container(&[("cpu", amount)])
}

/// What a Pod is charged of a machine with 4 CPUs, 8Gi, 2 GPUs and 100 places that costs 0.30.
async fn shares(cases: Vec<(&str, PodSpec, f64)>) {
    let brings = [
        ("cpu", "4"),
        ("memory", "8Gi"),
        ("pods", "100"),
        ("nvidia.com/gpu", "2"),
    ];
    let mut bench = Bench::showing(lab([priced("default/workers", 1_000, &brings)])).await;
    for (what, spec, share) in cases {
        let price = pod_price(&mut bench.client, spec).await;
        close(price, share * 0.3, what);
    }
}

#[tokio::test]
async fn a_pod_costs_its_greatest_share_of_a_machine() {
    let asks = |requests: &[(&str, &str)]| running(vec![container(requests)]);
    let limited = Container {
        resources: Some(ResourceRequirements {
            limits: resources(&[("cpu", "4")]).requests,
            requests: resources(&[("cpu", "1")]).requests,
        }),
        ..Container::default()
    };
    shares(vec![
        ("nothing but its place", PodSpec::default(), 0.01),
        ("cpu", asks(&[("cpu", "1")]), 0.25),
        (
            "memory above cpu",
            asks(&[("cpu", "500m"), ("memory", "4Gi")]),
            0.5,
        ),
        (
            "a GPU",
            asks(&[("cpu", "100m"), ("nvidia.com/gpu", "1")]),
            0.5,
        ),
        ("more than a machine", asks(&[("cpu", "8")]), 2.0),
        (
            "none of what nobody has",
            asks(&[("example.com/fpga", "0"), ("cpu", "1")]),
            0.25,
        ),
        ("containers", running(vec![cpu("1"), cpu("1")]), 0.5),
        ("limits are no requests", running(vec![limited]), 0.25),
    ])
    .await;
}

#[tokio::test]
async fn a_pod_takes_what_the_scheduler_sets_aside_for_it() {
    let init = |init_containers, containers| PodSpec {
        init_containers,
        ..running(containers)
    };
    let beside = || sidecar(&[("cpu", "1")]);
    let overhead = PodSpec {
        overhead: resources(&[("cpu", "1")]).requests,
        ..running(vec![cpu("1")])
    };
    let whole = PodSpec {
        resources: Some(resources(&[("cpu", "2")])),
        ..running(vec![cpu("1")])
    };
    shares(vec![
        ("a great start", init(vec![cpu("2")], vec![cpu("1")]), 0.5),
        (
            "one start after the other",
            init(vec![cpu("1"), cpu("1")], vec![cpu("1")]),
            0.25,
        ),
        ("a sidecar", init(vec![beside()], vec![cpu("1")]), 0.5),
        (
            "a start beside an earlier sidecar",
            init(vec![beside(), cpu("2")], vec![cpu("1")]),
            0.75,
        ),
        (
            "a start before a sidecar",
            init(vec![cpu("2"), beside()], Vec::new()),
            0.5,
        ),
        ("overhead", overhead, 0.5),
        ("the whole pod", whole, 0.5),
    ])
    .await;
}

#[tokio::test]
async fn a_pod_without_measure_has_a_price_that_is_a_number() {
    let view = lab([priced("default/workers", 1_000, &[("cpu", "4")])]);
    let mut bench = Bench::showing(view).await;
    let endless = running(vec![cpu("9E"), cpu("1e99")]);
    let price = pod_price(&mut bench.client, endless).await;
    assert!(price.is_finite() && price > 1.0, "{price}");
}

#[tokio::test]
async fn a_pod_is_priced_on_the_machine_that_serves_it_cheapest() {
    let unknown = GroupView {
        template: None,
        ..priced("default/unknown", 1, &[])
    };
    let gpu = [("cpu", "4"), ("nvidia.com/gpu", "1")];
    let mut bench = Bench::showing(lab([
        // 25 W for each cpu, 20 W, 50 W with a GPU.
        priced("default/small", 100, &[("cpu", "4")]),
        priced("default/large", 320, &[("cpu", "16")]),
        priced("default/gpu", 200, &gpu),
        unknown,
        group("default/silent"),
    ]))
    .await;
    let client = &mut bench.client;
    let asks = |requests| running(vec![container(requests)]);
    let plain = pod_price(client, asks(&[("cpu", "1")])).await;
    close(plain, 0.02 * 0.3, "the large one");
    let with_gpu = pod_price(client, asks(&[("cpu", "1"), ("nvidia.com/gpu", "1")])).await;
    close(with_gpu, 0.2 * 0.3, "the only one with a GPU");
    let with_fpga = pod_price(client, asks(&[("cpu", "1"), ("example.com/fpga", "1")])).await;
    close(with_fpga, 0.02 * 0.3, "nobody has one");
}

#[tokio::test]
async fn a_pod_has_no_price_while_nobody_knows_what_machines_bring() {
    let unknown = GroupView {
        template: None,
        ..priced("default/unknown", 100, &[])
    };
    let mut bench = Bench::showing(lab([unknown])).await;
    let asked = of_pod(PodSpec::default());
    let answer = bench.client.pricing_pod_price(asked).await;
    assert_eq!(code(answer), Code::FailedPrecondition);
}
