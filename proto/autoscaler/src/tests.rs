//! Pinned bytes: one case for each message, so that a changed field number or type fails here.
//! A field is `tag` (number × 8 + wire type), then its value; nested messages carry their length.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};

use prost::Message;

use crate::core_v1 as v1;
use crate::instance_status::InstanceState;
use crate::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Asserts that `message` has exactly these bytes, and that they decode to it again.
#[track_caller]
fn pin<M: Message + Default + Debug + PartialEq>(message: &M, bytes: &str) {
    let encoded = message.encode_to_vec();
    assert_eq!(hex(&encoded), bytes.replace(' ', ""), "{message:?}");
    assert_eq!(&M::decode(encoded.as_slice()).unwrap(), message);
}

fn map<V>(key: &str, value: V) -> BTreeMap<String, V> {
    BTreeMap::from([(key.to_owned(), value)])
}

fn node_a() -> ExternalGrpcNode {
    ExternalGrpcNode {
        provider_id: "p".into(),
        ..Default::default()
    }
}

fn seconds(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

fn duration(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[test]
fn the_service_keeps_its_name() {
    assert_eq!(cloud_provider_server::SERVICE_NAME, SERVICE_NAME);
}

#[test]
fn groups_and_nodes_keep_their_numbers() {
    let group = NodeGroup {
        id: "g".into(),
        min_size: 1,
        max_size: 3,
        debug: "d".into(),
    };
    pin(&group, "0a0167 1001 1803 220164");
    pin(
        &NodeGroupsResponse {
            node_groups: vec![group.clone()],
        },
        "0a0a 0a0167 1001 1803 220164",
    );
    pin(
        &ExternalGrpcNode {
            provider_id: "p".into(),
            name: "n".into(),
            labels: map("k", "v".to_owned()),
            annotations: map("a", "b".to_owned()),
        },
        "0a0170 12016e 1a06 0a016b 120176 2206 0a0161 120162",
    );
    pin(
        &NodeGroupForNodeRequest {
            node: Some(node_a()),
        },
        "0a03 0a0170",
    );
    pin(
        &NodeGroupForNodeResponse {
            node_group: Some(NodeGroup {
                id: "g".into(),
                ..Default::default()
            }),
        },
        "0a03 0a0167",
    );
}

#[test]
fn prices_keep_their_numbers() {
    pin(
        &PricingNodePriceRequest {
            node: Some(node_a()),
            start_timestamp: Some(seconds(1)),
            end_timestamp: Some(seconds(2)),
            ..Default::default()
        },
        "0a03 0a0170 2202 0801 2a02 0802",
    );
    pin(
        &PricingNodePriceResponse { price: 1.0 },
        "09 000000000000f03f",
    );
    pin(
        &PricingPodPriceRequest {
            pod_bytes: vec![0xff],
            start_timestamp: Some(seconds(1)),
            end_timestamp: Some(seconds(2)),
            ..Default::default()
        },
        "2201ff 2a02 0801 3202 0802",
    );
    pin(
        &PricingPodPriceResponse { price: 1.0 },
        "09 000000000000f03f",
    );
}

#[test]
fn gpu_answers_keep_their_numbers() {
    pin(&GpuLabelResponse { label: "l".into() }, "0a016c");
    pin(
        &GetAvailableGpuTypesResponse {
            gpu_types: map("t", prost_types::Any::default()),
        },
        "0a03 0a0174",
    );
}

#[test]
fn size_messages_keep_their_numbers() {
    pin(&NodeGroupTargetSizeRequest { id: "g".into() }, "0a0167");
    pin(&NodeGroupTargetSizeResponse { target_size: 2 }, "0802");
    pin(
        &NodeGroupIncreaseSizeRequest {
            delta: 1,
            id: "g".into(),
        },
        "0801 120167",
    );
    pin(
        &NodeGroupDecreaseTargetSizeRequest {
            delta: -1,
            id: "g".into(),
        },
        "08ffffffffffffffffff01 120167",
    );
    pin(
        &NodeGroupDeleteNodesRequest {
            nodes: vec![node_a()],
            id: "g".into(),
        },
        "0a03 0a0170 120167",
    );
}

#[test]
fn instances_keep_their_numbers() {
    pin(&NodeGroupNodesRequest { id: "g".into() }, "0a0167");
    let status = |state: InstanceState, error_info| InstanceStatus {
        instance_state: state.into(),
        error_info,
    };
    let error = InstanceErrorInfo {
        error_code: "c".into(),
        error_message: "m".into(),
        instance_error_class: 99,
    };
    pin(&error, "0a0163 12016d 1863");
    pin(&status(InstanceState::Unspecified, None), "");
    pin(&status(InstanceState::InstanceRunning, None), "0801");
    pin(
        &status(InstanceState::InstanceCreating, Some(error)),
        "0802 1208 0a0163 12016d 1863",
    );
    let deleting = Instance {
        id: "i".into(),
        status: Some(status(InstanceState::InstanceDeleting, None)),
    };
    pin(&deleting, "0a0169 1202 0803");
    pin(
        &NodeGroupNodesResponse {
            instances: vec![deleting],
        },
        "0a07 0a0169 1202 0803",
    );
}

#[test]
fn templates_and_options_keep_their_numbers() {
    pin(
        &NodeGroupTemplateNodeInfoRequest { id: "g".into() },
        "0a0167",
    );
    pin(
        &NodeGroupTemplateNodeInfoResponse {
            node_bytes: vec![1],
            ..Default::default()
        },
        "120101",
    );
    let options = NodeGroupAutoscalingOptions {
        scale_down_utilization_threshold: 0.5,
        scale_down_gpu_utilization_threshold: 0.5,
        zero_or_max_node_scaling: true,
        ignore_daemon_sets_utilization: true,
        scale_down_unneeded_duration: Some(duration(1)),
        scale_down_unready_duration: Some(duration(2)),
        max_node_provision_duration: Some(duration(3)),
        ..Default::default()
    };
    let bytes = "09 000000000000e03f 11 000000000000e03f 3001 3801 4202 0801 4a02 0802 5202 0803";
    pin(&options, bytes);
    pin(
        &NodeGroupAutoscalingOptionsRequest {
            id: "g".into(),
            defaults: Some(options),
        },
        &format!("0a0167 1222 {bytes}"),
    );
    pin(
        &NodeGroupAutoscalingOptionsResponse {
            node_group_autoscaling_options: Some(options),
        },
        &format!("0a22 {bytes}"),
    );
}

#[test]
fn messages_without_fields_are_empty() {
    pin(&NodeGroupsRequest {}, "");
    pin(&GpuLabelRequest {}, "");
    pin(&GetAvailableGpuTypesRequest {}, "");
    pin(&CleanupRequest {}, "");
    pin(&CleanupResponse {}, "");
    pin(&RefreshRequest {}, "");
    pin(&RefreshResponse {}, "");
    pin(&NodeGroupIncreaseSizeResponse {}, "");
    pin(&NodeGroupDeleteNodesResponse {}, "");
    pin(&NodeGroupDecreaseTargetSizeResponse {}, "");
}

fn quantity(text: &str) -> v1::Quantity {
    v1::Quantity {
        string: text.into(),
    }
}

#[test]
fn core_nodes_keep_their_numbers() {
    let node = v1::Node {
        metadata: Some(v1::ObjectMeta {
            name: "n".into(),
            labels: map("k", "v".to_owned()),
            annotations: map("a", "b".to_owned()),
        }),
        spec: Some(v1::NodeSpec {
            provider_id: "p".into(),
            unschedulable: true,
            taints: vec![v1::Taint {
                key: "k".into(),
                value: "v".into(),
                effect: "e".into(),
            }],
        }),
        status: Some(v1::NodeStatus {
            capacity: map("cpu", quantity("4")),
            allocatable: map("cpu", quantity("3")),
            conditions: vec![v1::NodeCondition {
                r#type: "t".into(),
                status: "s".into(),
                last_heartbeat_time: Some(v1::Time {
                    seconds: 1,
                    nanos: 2,
                }),
                last_transition_time: Some(v1::Time::default()),
                reason: "r".into(),
                message: "m".into(),
            }],
        }),
    };
    let metadata = "0a13 0a016e 5a06 0a016b 120176 6206 0a0161 120162";
    let spec = "1210 1a0170 2001 2a09 0a016b 120176 1a0165";
    let capacity = "0a0a 0a03637075 1203 0a0134";
    let allocatable = "120a 0a03637075 1203 0a0133";
    let condition = "2214 0a0174 120173 1a04 0801 1002 2200 2a0172 32016d";
    pin(
        &node,
        &format!("{metadata} {spec} 1a2e {capacity} {allocatable} {condition}"),
    );
}

#[test]
fn core_pods_keep_their_numbers() {
    let container = v1::Container {
        resources: Some(v1::ResourceRequirements {
            limits: map("cpu", quantity("2")),
            requests: map("cpu", quantity("1")),
        }),
        ..Default::default()
    };
    let resources = "4218 0a0a 0a03637075 1203 0a0132 120a 0a03637075 1203 0a0131";
    pin(&container, resources);
    let pod = v1::Pod {
        metadata: Some(v1::ObjectMeta {
            name: "p".into(),
            ..Default::default()
        }),
        spec: Some(v1::PodSpec {
            containers: vec![container.clone()],
            init_containers: vec![container],
            ..Default::default()
        }),
    };
    pin(
        &pod,
        &format!("0a03 0a0170 1239 121a {resources} a2011a {resources}"),
    );
    pin(
        &v1::Container {
            restart_policy: "Always".into(),
            ..Default::default()
        },
        "c20106 416c77617973",
    );
    pin(
        &v1::PodSpec {
            overhead: map("cpu", quantity("1")),
            resources: Some(v1::ResourceRequirements {
                requests: map("cpu", quantity("1")),
                ..Default::default()
            }),
            ..Default::default()
        },
        "82020a 0a03637075 1203 0a0131 c2020c 120a 0a03637075 1203 0a0131",
    );
}

#[test]
fn fields_of_a_full_kubernetes_object_are_skipped() {
    // metadata{name=1, uid=5, generation=7, creationTimestamp=8}, spec{podCIDR=1, providerID=3}.
    let bytes = [
        0x0a, 0x0e, 0x0a, 0x01, b'n', 0x2a, 0x01, b'u', 0x38, 0x07, 0x42, 0x04, 0x08, 0x01, 0x10,
        0x00, 0x12, 0x06, 0x0a, 0x01, b'c', 0x1a, 0x01, b'p',
    ];
    let node = v1::Node::decode(&bytes[..]).unwrap();
    assert_eq!(node.metadata.unwrap().name, "n");
    assert_eq!(node.spec.unwrap().provider_id, "p");
}
