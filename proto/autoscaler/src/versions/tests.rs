//! Bytes as cluster-autoscaler up to 1.34 sends and reads them, made by hand from its field table.
//! Pinned for good: what an old autoscaler says does not change any more.

use prost::Message;

use crate::core_v1::{Node, ObjectMeta, Pod};
use crate::*;

/// Bytes from hexadecimal text with blanks.
fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|digit| *digit != ' ').collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

#[track_caller]
fn read<M: Message + Default>(text: &str) -> M {
    M::decode(bytes(text).as_slice()).unwrap()
}

fn timestamp(seconds: i64, nanos: i32) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn options(unneeded: i64, unready: i64, provision: i64) -> OptionDurations {
    OptionDurations {
        unneeded: seconds(unneeded),
        unready: seconds(unready),
        provision: seconds(provision),
    }
}

/// meta/v1 Durations of 1 s, 2 s and 3 s in the fields 3, 4 and 5.
const OLD_DURATIONS: &str = "1a06 088094ebdc03 2206 0880a8d6b907 2a06 0880bcc1960b";
/// The same in the fields 8, 9 and 10.
const NEW_DURATIONS: &str = "4202 0801 4a02 0802 5202 0803";

#[test]
fn times_of_an_old_price_request_are_read() {
    let node: PricingNodePriceRequest = read("0a03 0a0170 1202 0801 1a04 0802 1007");
    assert_eq!(node.node.as_ref().unwrap().provider_id, "p");
    assert_eq!(node.interval(), Some((timestamp(1, 0), timestamp(2, 7))));
    let pod: PricingPodPriceRequest = read("0a05 0a03 0a0170 1202 0801 1a02 0802");
    assert_eq!(pod.interval(), Some((timestamp(1, 0), timestamp(2, 0))));
    let named = Pod::decode(pod.encoded_pod()).unwrap().metadata.unwrap();
    assert_eq!(named.name, "p");
}

#[test]
fn the_newer_field_of_a_price_request_counts() {
    let node: PricingNodePriceRequest = read("1202 0801 1a02 0802 2202 0805 2a02 0806");
    assert_eq!(node.interval(), Some((timestamp(5, 0), timestamp(6, 0))));
    let pod: PricingPodPriceRequest =
        read("0a02 0a00 1202 0801 1a02 0802 2204 0a020a00 2a02 0805 3202 0806");
    assert_eq!(pod.interval(), Some((timestamp(5, 0), timestamp(6, 0))));
    assert_eq!(pod.encoded_pod(), bytes("0a020a00"));
}

#[test]
fn a_price_request_without_both_times_names_no_interval() {
    let node: PricingNodePriceRequest = read("1202 0801");
    assert_eq!(node.interval(), None);
    let pod: PricingPodPriceRequest = read("3202 0806");
    assert_eq!(
        (pod.interval(), pod.encoded_pod()),
        (None, [0u8; 0].as_slice())
    );
}

#[test]
fn durations_are_read_from_old_and_from_new_fields() {
    for text in [OLD_DURATIONS, NEW_DURATIONS] {
        let sent: NodeGroupAutoscalingOptions = read(text);
        assert_eq!(sent.durations(), Some(options(1, 2, 3)), "{text}");
    }
}

#[test]
fn the_newer_duration_counts_also_where_it_is_zero() {
    let sent: NodeGroupAutoscalingOptions =
        read(&format!("{OLD_DURATIONS} 4202 0804 4a02 0805 5200"));
    assert_eq!(sent.durations(), Some(options(4, 5, 0)));
}

#[test]
fn options_that_lack_a_duration_have_none() {
    for text in ["", "4202 0801 4a02 0802", "1a06 088094ebdc03 5202 0803"] {
        let sent: NodeGroupAutoscalingOptions = read(text);
        assert_eq!(sent.durations(), None, "{text}");
    }
}

#[test]
fn answered_options_carry_both_fields() {
    let answered = NodeGroupAutoscalingOptions::default().with_durations(options(1, 2, 3));
    assert_eq!(
        answered.encode_to_vec(),
        bytes(&format!("{OLD_DURATIONS} {NEW_DURATIONS}"))
    );
}

#[test]
fn durations_survive_the_way_through_the_old_field() {
    for (seconds, nanos) in [(0, 0), (90, 500_000_000), (-1, -5), (9_223_372_036, 0)] {
        let duration = prost_types::Duration { seconds, nanos };
        assert_eq!(super::newer(super::older(duration)), duration);
    }
    let endless = prost_types::Duration {
        seconds: i64::MAX,
        nanos: 999_999_999,
    };
    assert_eq!(super::older(endless).nanoseconds, i64::MAX);
}

#[test]
fn an_answered_template_carries_the_node_as_message_and_as_bytes() {
    let node = Node {
        metadata: Some(ObjectMeta {
            name: "n".into(),
            ..ObjectMeta::default()
        }),
        ..Node::default()
    };
    let answered = NodeGroupTemplateNodeInfoResponse::of(&node);
    assert_eq!(
        answered.encode_to_vec(),
        bytes("0a05 0a03 0a016e 1205 0a03 0a016e")
    );
}

#[test]
fn the_description_holds_the_service_and_all_it_imports() {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let names: Vec<_> = set
        .file
        .iter()
        .map(prost_types::FileDescriptorProto::name)
        .collect();
    for file in &set.file {
        for import in &file.dependency {
            assert!(names.contains(&import.as_str()), "{import} is missing");
        }
    }
    let services = set.file.iter().flat_map(|file| &file.service);
    assert_eq!(
        services.map(|service| service.method.len()).sum::<usize>(),
        15
    );
}
