//! What an autoscaler up to 1.34 sends and reads, in bytes made by hand from its field table.

use prost::Message as _;
use proto_autoscaler::core_v1::Node;

use super::raw::Raw;
use super::*;

fn overriding() -> View {
    lab([GroupView {
        scale_down: Some(ScaleDown {
            unneeded_ms: Some(4_000),
            ..ScaleDown::default()
        }),
        template: Some(Template {
            declared: false,
            learned_from: Vec::new(),
            learned_at_ms: None,
            labels: BTreeMap::from([("kubernetes.io/os".into(), "linux".into())]),
            taints: Vec::new(),
            capacity: BTreeMap::new(),
            allocatable: BTreeMap::new(),
        }),
        ..group("g")
    }])
}

#[tokio::test]
async fn an_old_autoscalers_defaults_are_overlaid_and_answered_in_its_fields() {
    let bench = Bench::showing(overriding()).await;
    let mut raw = Raw::connect(bench.address).await;
    // id=1 "g"; defaults=2 { unneeded=3 1 s, unready=4 2 s, provision=5 3 s }, each {nanoseconds=1}.
    let asked = b"\x0a\x01g\x12\x18\
        \x1a\x06\x08\x80\x94\xeb\xdc\x03\
        \x22\x06\x08\x80\xa8\xd6\xb9\x07\
        \x2a\x06\x08\x80\xbc\xc1\x96\x0b";
    let answered = raw.answer("NodeGroupGetOptions", asked).await;
    // nodeGroupAutoscalingOptions=1 { unneeded=3 4 s, unready=4 2 s, provision=5 3 s; the same as 8, 9, 10 }.
    assert_eq!(
        answered,
        b"\x0a\x24\
        \x1a\x06\x08\x80\xd0\xac\xf3\x0e\
        \x22\x06\x08\x80\xa8\xd6\xb9\x07\
        \x2a\x06\x08\x80\xbc\xc1\x96\x0b\
        \x42\x02\x08\x04\x4a\x02\x08\x02\x52\x02\x08\x03"
    );
}

#[tokio::test]
async fn a_template_is_answered_as_message_and_as_bytes() {
    let bench = Bench::showing(overriding()).await;
    let mut raw = Raw::connect(bench.address).await;
    let answered = raw.answer("NodeGroupTemplateNodeInfo", b"\x0a\x01g").await;
    // Field 1, as up to 1.34; then field 2, as since 1.35; nothing else.
    let fields = fields(&answered);
    let [(1, old), (2, new)] = &fields[..] else {
        panic!("{fields:?}")
    };
    assert_eq!(old, new);
    let labels = Node::decode(&new[..]).unwrap().metadata.unwrap().labels;
    assert_eq!(labels["kubernetes.io/os"], "linux");
}

/// The fields of a message that has only short ones with a length.
fn fields(mut message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut fields = Vec::new();
    while let [tag, length, rest @ ..] = message {
        assert!(*length < 0x80, "one byte is enough for the length");
        let (field, rest) = rest.split_at(usize::from(*length));
        fields.push((tag >> 3, field.to_vec()));
        message = rest;
    }
    fields
}
