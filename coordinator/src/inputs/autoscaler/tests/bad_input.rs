//! What makes no sense, or cannot be read: its code, and that nothing came of it.

use coordinator_core::Policy;
use prost::Message as _;

use super::raw::{Raw, code_of};
use super::server::REQUEST;
use super::writes::{decrease, delete, increase, sleeping};
use super::*;

/// The calls that change a size.
const WRITES: [&str; 3] = [
    "NodeGroupIncreaseSize",
    "NodeGroupDeleteNodes",
    "NodeGroupDecreaseTargetSize",
];

fn in_group<T>(id: &str, with: impl FnOnce(String) -> T) -> T {
    with(id.to_owned())
}

#[tokio::test]
async fn reads_about_no_group_and_about_an_unknown_one_have_their_codes() {
    let mut bench = Bench::showing(lab([group("default/workers")])).await;
    for (id, expected) in [
        ("", Code::InvalidArgument),
        ("default/ghosts", Code::NotFound),
    ] {
        let client = &mut bench.client;
        let codes = [
            code(
                client
                    .node_group_target_size(in_group(id, |id| NodeGroupTargetSizeRequest { id }))
                    .await,
            ),
            code(
                client
                    .node_group_nodes(in_group(id, |id| NodeGroupNodesRequest { id }))
                    .await,
            ),
            code(
                client
                    .node_group_template_node_info(in_group(id, |id| {
                        NodeGroupTemplateNodeInfoRequest { id }
                    }))
                    .await,
            ),
            code(
                client
                    .node_group_get_options(in_group(id, |id| NodeGroupAutoscalingOptionsRequest {
                        id,
                        defaults: None,
                    }))
                    .await,
            ),
        ];
        assert_eq!(codes, [expected; 4], "`{id}`");
    }
    assert_eq!(bench.script.asked(), 0);
}

#[tokio::test]
async fn a_node_without_name_is_in_no_group_and_that_is_no_error() {
    let mut bench = Bench::showing(lab([group("default/workers")])).await;
    for node in [
        None,
        Some(node("", "")),
        Some(node("aws:///i-1", "ip-10-0-0-1")),
    ] {
        let answer = bench
            .client
            .node_group_for_node(NodeGroupForNodeRequest { node })
            .await;
        assert_eq!(
            answer.unwrap().into_inner().node_group,
            Some(Default::default())
        );
    }
}

#[tokio::test]
async fn arguments_that_never_make_sense_do_not_reach_the_engine() {
    let mut bench = Bench::showing(lab([group("default/workers")])).await;
    let client = &mut bench.client;
    let nowhere = String::new;
    for delta in [0, -1, i32::MIN] {
        assert_eq!(
            code(client.node_group_increase_size(increase(delta)).await),
            Code::InvalidArgument,
            "{delta}"
        );
    }
    for delta in [0, 1, i32::MAX] {
        assert_eq!(
            code(
                client
                    .node_group_decrease_target_size(decrease(delta))
                    .await
            ),
            Code::InvalidArgument,
            "{delta}"
        );
    }
    for (what, nodes) in [
        ("none", Vec::new()),
        ("one without a name", vec![node("p", "n"), node("", "")]),
        (
            "10,000",
            (0..10_000)
                .map(|number| node(&format!("homelab://default/{number}"), "n"))
                .collect(),
        ),
    ] {
        assert_eq!(
            code(client.node_group_delete_nodes(delete(nodes)).await),
            Code::InvalidArgument,
            "{what}"
        );
    }
    let more = NodeGroupIncreaseSizeRequest {
        id: nowhere(),
        delta: 1,
    };
    let without = NodeGroupDeleteNodesRequest {
        id: nowhere(),
        nodes: vec![node("p", "n")],
    };
    let fewer = NodeGroupDecreaseTargetSizeRequest {
        id: nowhere(),
        delta: -1,
    };
    assert_eq!(
        code(client.node_group_increase_size(more).await),
        Code::InvalidArgument
    );
    assert_eq!(
        code(client.node_group_delete_nodes(without).await),
        Code::InvalidArgument
    );
    assert_eq!(
        code(client.node_group_decrease_target_size(fewer).await),
        Code::InvalidArgument
    );
    assert_eq!(bench.script.asked(), 0);
}

#[tokio::test]
async fn what_does_not_fit_the_lab_is_refused_and_the_group_stays_as_it_is() {
    let (mut client, engine, _) = sleeping(3, Policy::default()).await;
    client.node_group_increase_size(increase(1)).await.unwrap();
    let before = engine.current().groups[&workers()].sequence;
    let ghosts = || "default/ghosts".to_owned();
    let foreign = vec![node("homelab://other/nas", "nas")];
    let codes = [
        code(
            client
                .node_group_increase_size(NodeGroupIncreaseSizeRequest {
                    id: ghosts(),
                    delta: 1,
                })
                .await,
        ),
        code(
            client
                .node_group_delete_nodes(NodeGroupDeleteNodesRequest {
                    id: ghosts(),
                    nodes: foreign.clone(),
                })
                .await,
        ),
        code(
            client
                .node_group_decrease_target_size(NodeGroupDecreaseTargetSizeRequest {
                    id: ghosts(),
                    delta: -1,
                })
                .await,
        ),
        code(client.node_group_increase_size(increase(i32::MAX)).await),
        code(client.node_group_delete_nodes(delete(foreign)).await),
    ];
    let expected = [
        Code::NotFound,
        Code::NotFound,
        Code::NotFound,
        Code::ResourceExhausted,
        Code::InvalidArgument,
    ];
    assert_eq!(codes, expected);
    assert_eq!(engine.current().groups[&workers()].sequence, before);
}

#[tokio::test]
async fn bytes_that_are_no_message_are_an_internal_error_as_everywhere_in_grpc() {
    let bench = Bench::showing(lab([group("default/workers")])).await;
    let mut raw = Raw::connect(bench.address).await;
    let reads = [
        "NodeGroupForNode",
        "NodeGroupTargetSize",
        "NodeGroupGetOptions",
    ];
    for method in reads.iter().chain(&WRITES) {
        for message in [
            // A field that ends after its length; one with a number that none has; one with the wrong type.
            &b"\x0a\x05g"[..],
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x0d\x01\x02\x03\x04",
        ] {
            assert_eq!(
                raw.call(method, message).await,
                Code::Internal,
                "{method} {message:02x?}"
            );
        }
    }
    assert_eq!(bench.script.asked(), 0);
    let whole = increase(1).encode_to_vec();
    assert_eq!(
        raw.call(WRITES[0], &whole).await,
        Code::Ok,
        "the connection lives on"
    );
}

#[tokio::test]
async fn labels_that_are_no_text_change_nothing() {
    let bench = Bench::showing(lab([group("default/workers")])).await;
    let mut raw = Raw::connect(bench.address).await;
    // nodes=1 { providerID=1 "p", labels=3 { key=1 <ff>, value=2 "v" } }, id=2 "default/workers".
    let mut message = b"\x0a\x0b\x0a\x01p\x1a\x06\x0a\x01\xff\x12\x01v\x12\x0f".to_vec();
    message.extend(b"default/workers");
    assert_eq!(
        raw.call("NodeGroupDeleteNodes", &message).await,
        Code::Internal
    );
    assert_eq!(bench.script.asked(), 0);
    let readable = message
        .iter()
        .map(|byte| if *byte == 0xff { b'k' } else { *byte });
    let readable: Vec<u8> = readable.collect();
    assert_eq!(
        raw.call("NodeGroupDeleteNodes", &readable).await,
        Code::Ok,
        "only the text was wrong"
    );
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_before_it_is_read() {
    let bench = Bench::showing(lab([group("default/workers")])).await;
    let mut raw = Raw::connect(bench.address).await;
    for method in WRITES {
        let (answer, mut body) = raw.open(method, &[]).await;
        // Only the head: it claims one byte more than is allowed.
        let mut head = vec![0];
        head.extend(u32::try_from(REQUEST + 1).unwrap().to_be_bytes());
        body.send_data(head.into(), false).unwrap();
        assert_eq!(code_of(answer).await, Code::OutOfRange, "{method}");
    }
    assert_eq!(bench.script.asked(), 0);
}
