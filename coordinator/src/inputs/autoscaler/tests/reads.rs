//! Reads from a scripted view.

use prost::Message as _;
use prost_types::Duration as WireDuration;
use proto_autoscaler::instance_status::InstanceState as WireState;
use proto_autoscaler::{NodeGroupAutoscalingOptions, core_v1};

use super::*;

#[tokio::test]
async fn groups_are_listed_with_their_bounds_and_manual_ones_are_not() {
    let manual = GroupView {
        autoscaled: false,
        ..group("default/nas")
    };
    let mut bench = Bench::showing(lab([group("default/workers"), manual])).await;
    let groups = bench
        .client
        .node_groups(NodeGroupsRequest {})
        .await
        .unwrap()
        .into_inner()
        .node_groups;
    let [listed] = &groups[..] else {
        panic!("{groups:?}")
    };
    assert_eq!(
        (listed.id.as_str(), listed.min_size, listed.max_size),
        ("default/workers", 1, 4)
    );
    assert_eq!(listed.debug, "2 of 4 wanted");
    let asked = NodeGroupTargetSizeRequest {
        id: "default/nas".into(),
    };
    assert_eq!(
        code(bench.client.node_group_target_size(asked).await),
        Code::NotFound
    );
}

/// What the four reads about one group answer.
pub(super) async fn about(client: &mut Client, group: &str) -> [Code; 4] {
    let id = || group.to_owned();
    let size = NodeGroupTargetSizeRequest { id: id() };
    let nodes = NodeGroupNodesRequest { id: id() };
    let template = NodeGroupTemplateNodeInfoRequest { id: id() };
    let options = NodeGroupAutoscalingOptionsRequest {
        id: id(),
        defaults: None,
    };
    [
        code(client.node_group_target_size(size).await),
        code(client.node_group_nodes(nodes).await),
        code(client.node_group_template_node_info(template).await),
        code(client.node_group_get_options(options).await),
    ]
}

#[tokio::test]
async fn cleanup_always_succeeds() {
    let mut bench = Bench::showing(View::default()).await;
    bench.client.cleanup(CleanupRequest {}).await.unwrap();
}

#[tokio::test]
async fn the_gpu_label_is_always_the_same_and_kinds_are_those_of_templates() {
    let with = |kind: &str, name: &str| GroupView {
        template: Some(Template {
            labels: BTreeMap::from([("homelab-autoscaler.dev/gpu".into(), kind.into())]),
            ..Template::default()
        }),
        ..group(name)
    };
    let plain = GroupView {
        template: Some(Template::default()),
        ..group("default/plain")
    };
    let manual = GroupView {
        autoscaled: false,
        ..with("a100", "default/manual")
    };
    let groups = [
        with("rtx-3060", "default/one"),
        with("rtx-3060", "default/two"),
        with("nvidia", "default/three"),
        group("default/unknown"),
        plain,
        manual,
    ];
    for (view, kinds) in [(lab([]), vec![]), (lab(groups), vec!["nvidia", "rtx-3060"])] {
        let mut bench = Bench::showing(view).await;
        let label = bench.client.gpu_label(GpuLabelRequest {}).await.unwrap();
        assert_eq!(label.into_inner().label, "homelab-autoscaler.dev/gpu");
        let asked = GetAvailableGpuTypesRequest {};
        let types = bench.client.get_available_gpu_types(asked).await.unwrap();
        let types = types.into_inner().gpu_types;
        assert_eq!(types.keys().collect::<Vec<_>>(), kinds);
    }
}

#[tokio::test]
async fn an_unknown_group_is_not_found() {
    let mut bench = Bench::showing(lab([group("default/workers")])).await;
    let codes = about(&mut bench.client, "default/ghosts").await;
    assert_eq!(codes, [Code::NotFound; 4]);
}

/// Two groups whose ids begin alike, a running, a booting and a retained machine.
fn members() -> View {
    let mut view = lab([
        group("default/workers"),
        group("default/workers-2"),
        group("default/kept"),
    ]);
    let manual = GroupView {
        autoscaled: false,
        ..group("default/nas")
    };
    view.groups.insert(manual.id.clone(), Arc::new(manual));
    for (provider_id, group) in [
        ("homelab://default/nuc1", "default/workers"),
        ("homelab://default/nuc2", "default/workers-2"),
        ("homelab://default/old", "default/kept"),
        ("homelab://default/nas", "default/nas"),
        ("homelab://default/lost", "default/removed"),
    ] {
        view.by_provider_id
            .insert(provider_id.into(), GroupId::new(group));
    }
    for (name, group) in [
        ("nuc1", "default/workers"),
        ("fresh", "default/workers"),
        ("nas", "default/nas"),
    ] {
        view.by_node_name.insert(name.into(), GroupId::new(group));
    }
    view.held_nodes.insert("old".into(), HeldNode::Away);
    view
}

#[tokio::test]
async fn a_node_belongs_to_one_listed_group_or_to_none() {
    let mut bench = Bench::showing(members()).await;
    for (provider_id, name, group) in [
        ("homelab://default/nuc1", "nuc1", "default/workers"),
        // Provider id before name.
        ("homelab://default/nuc2", "nuc1", "default/workers-2"),
        // Registered a moment ago, without its provider id.
        ("", "fresh", "default/workers"),
        // The fake Node of a booting machine.
        (
            "homelab://default/nuc2",
            "homelab://default/nuc2",
            "default/workers-2",
        ),
        // A kept Node whose machine is off or boots; its fake Node counts.
        ("homelab://default/old", "old", ""),
        (
            "homelab://default/old",
            "homelab://default/old",
            "default/kept",
        ),
        // The autoscaler's own inventions, by provider id or by name.
        (
            "homelab://default/nuc1",
            "template-node-for-default/workers-2-77",
            "default/workers",
        ),
        (
            "",
            "template-node-for-default/workers-5577006791947779410",
            "default/workers",
        ),
        (
            "",
            "template-node-for-default/workers-2-77",
            "default/workers-2",
        ),
        (
            "",
            "template-node-for-default/workers-77-upcoming-3",
            "default/workers",
        ),
        ("", "template-node-for-default/ghosts-77", ""),
        ("", "template-node-for-default/workers", ""),
        ("", "template-node-for-default/nas-77", ""),
        // Not ours, not managed, or of a group that is not listed.
        ("aws:///eu/i-1", "ip-10-0-0-1", ""),
        ("homelab://default/nas", "nas", ""),
        ("homelab://default/lost", "lost", ""),
        ("", "", ""),
    ] {
        let asked = NodeGroupForNodeRequest {
            node: Some(node(provider_id, name)),
        };
        let found = bench
            .client
            .node_group_for_node(asked)
            .await
            .unwrap()
            .into_inner()
            .node_group
            .unwrap();
        assert_eq!(found.id, group, "{provider_id} {name}");
        if !group.is_empty() {
            assert_eq!(
                (found.min_size, found.max_size, found.debug.as_str()),
                (1, 4, "2 of 4 wanted")
            );
        }
    }
    let nobody = bench
        .client
        .node_group_for_node(NodeGroupForNodeRequest { node: None })
        .await
        .unwrap();
    assert_eq!(nobody.into_inner().node_group.unwrap().id, "");
}

/// It lists Nodes before it refreshes and asks for their groups after that: a Node that is back in between is still a
/// suspended one to it, and as a member it would stand in for one that it waits for.
#[tokio::test]
async fn a_node_that_is_back_is_a_member_once_nodes_were_listed_after_it() {
    let mut view = members();
    let back = HeldNode::BackSince(crate::clock::boot_ms().saturating_sub(1));
    view.held_nodes.insert("old".into(), back);
    let mut bench = Bench::showing(view).await;
    let group = async |bench: &mut Bench| {
        let node = Some(ExternalGrpcNode {
            provider_id: "homelab://default/old".into(),
            name: "old".into(),
            ..ExternalGrpcNode::default()
        });
        let asked = NodeGroupForNodeRequest { node };
        let answer = bench.client.node_group_for_node(asked).await.unwrap();
        answer.into_inner().node_group.unwrap().id
    };
    let round = async |bench: &mut Bench| {
        bench.client.refresh(RefreshRequest {}).await.unwrap();
    };
    assert_eq!(group(&mut bench).await, "");
    round(&mut bench).await;
    assert_eq!(group(&mut bench).await, "", "listed before it was back");
    round(&mut bench).await;
    assert_eq!(group(&mut bench).await, "default/kept");
}

#[tokio::test]
async fn instances_carry_their_state_and_errors_only_while_creating() {
    let instance = |name: &str, state| Instance {
        machine: MachineId::new(name),
        provider_id: format!("homelab://default/{name}").into(),
        state,
    };
    let failed = |out_of_resources| InstanceState::Failed {
        code: "BOOT_TIMEOUT",
        message: "no sign of life in 10m".into(),
        out_of_resources,
    };
    let workers = GroupView {
        instances: vec![
            instance("a", InstanceState::Running),
            instance("b", InstanceState::Creating),
            instance("c", failed(false)),
            instance("d", failed(true)),
            instance("e", InstanceState::Deleting),
        ],
        ..group("default/workers")
    };
    let mut bench = Bench::showing(lab([workers])).await;
    let asked = NodeGroupNodesRequest {
        id: "default/workers".into(),
    };
    let listed = bench
        .client
        .node_group_nodes(asked)
        .await
        .unwrap()
        .into_inner()
        .instances;
    let read: Vec<_> = listed
        .iter()
        .map(|instance| {
            let status = instance.status.as_ref().unwrap();
            let error = status
                .error_info
                .as_ref()
                .map(|error| (error.error_code.as_str(), error.instance_error_class));
            (instance.id.as_str(), status.instance_state(), error)
        })
        .collect();
    assert_eq!(
        read,
        [
            ("homelab://default/a", WireState::InstanceRunning, None),
            ("homelab://default/b", WireState::InstanceCreating, None),
            (
                "homelab://default/c",
                WireState::InstanceCreating,
                Some(("BOOT_TIMEOUT", 99))
            ),
            (
                "homelab://default/d",
                WireState::InstanceCreating,
                Some(("BOOT_TIMEOUT", 1))
            ),
            ("homelab://default/e", WireState::InstanceDeleting, None),
        ]
    );
}

#[tokio::test]
async fn a_known_template_is_a_ready_schedulable_node_and_an_unknown_one_is_unimplemented() {
    let amounts = |cpu: &str| {
        BTreeMap::from([
            ("cpu".to_owned(), cpu.to_owned()),
            ("pods".to_owned(), "110".to_owned()),
        ])
    };
    let taint = coordinator_core::Taint {
        key: "dedicated".into(),
        value: "gpu".into(),
        effect: "NoSchedule".into(),
    };
    let known = GroupView {
        template: Some(Template {
            declared: false,
            learned_from: Vec::new(),
            learned_at_ms: None,
            capacity: amounts("8"),
            allocatable: amounts("7800m"),
            labels: BTreeMap::from([("kubernetes.io/arch".to_owned(), "amd64".to_owned())]),
            taints: vec![taint],
        }),
        ..group("default/known")
    };
    let mut bench = Bench::showing(lab([known, group("default/unknown")])).await;
    let asked = |id: &str| NodeGroupTemplateNodeInfoRequest { id: id.into() };
    let answer = bench
        .client
        .node_group_template_node_info(asked("default/known"))
        .await
        .unwrap();
    let node = core_v1::Node::decode(&answer.into_inner().node_bytes[..]).unwrap();
    let (metadata, spec, status) = (
        node.metadata.unwrap(),
        node.spec.unwrap(),
        node.status.unwrap(),
    );
    assert_eq!(metadata.labels["kubernetes.io/arch"], "amd64");
    assert_eq!((spec.provider_id.as_str(), spec.unschedulable), ("", false));
    assert_eq!(
        (spec.taints[0].key.as_str(), spec.taints[0].effect.as_str()),
        ("dedicated", "NoSchedule")
    );
    assert_eq!(
        (
            status.capacity["cpu"].string.as_str(),
            status.allocatable["cpu"].string.as_str()
        ),
        ("8", "7800m")
    );
    assert_eq!(status.allocatable["pods"].string, "110");
    assert_eq!(
        (
            status.conditions[0].r#type.as_str(),
            status.conditions[0].status.as_str()
        ),
        ("Ready", "True")
    );
    let unknown = bench
        .client
        .node_group_template_node_info(asked("default/unknown"))
        .await;
    assert_eq!(code(unknown), Code::Unimplemented);
}

#[tokio::test]
async fn options_start_from_the_autoscalers_defaults_and_are_unimplemented_without_overrides() {
    let seconds = |seconds, nanos| Some(WireDuration { seconds, nanos });
    let defaults = NodeGroupAutoscalingOptions {
        scale_down_utilization_threshold: 0.5,
        scale_down_gpu_utilization_threshold: 0.6,
        zero_or_max_node_scaling: true,
        ignore_daemon_sets_utilization: true,
        scale_down_unneeded_duration: seconds(600, 0),
        scale_down_unready_duration: seconds(1_200, 0),
        max_node_provision_duration: seconds(900, 0),
        ..NodeGroupAutoscalingOptions::default()
    };
    let overriding = GroupView {
        scale_down: Some(ScaleDown {
            unneeded_ms: Some(90_500),
            utilization_threshold: Some(0.3),
            ..ScaleDown::default()
        }),
        ..group("default/overriding")
    };
    let mut bench = Bench::showing(lab([overriding, group("default/plain")])).await;
    let asked = |id: &str, defaults| NodeGroupAutoscalingOptionsRequest {
        id: id.into(),
        defaults,
    };
    let answer = bench
        .client
        .node_group_get_options(asked("default/overriding", Some(defaults)))
        .await;
    let expected = NodeGroupAutoscalingOptions {
        scale_down_utilization_threshold: 0.3,
        ..defaults
    };
    let durations = proto_autoscaler::OptionDurations {
        unneeded: seconds(90, 500_000_000).unwrap(),
        unready: seconds(1_200, 0).unwrap(),
        provision: seconds(900, 0).unwrap(),
    };
    let expected = expected.with_durations(durations);
    assert_eq!(
        answer.unwrap().into_inner().node_group_autoscaling_options,
        Some(expected)
    );
    let plain = bench
        .client
        .node_group_get_options(asked("default/plain", Some(defaults)))
        .await;
    assert_eq!(code(plain), Code::Unimplemented);
    // Without a start every other field would be zero, and a zero provision time removes machines while they boot.
    let incomplete = NodeGroupAutoscalingOptions {
        max_node_provision_duration: None,
        ..defaults
    };
    for defaults in [None, Some(incomplete)] {
        let baseless = bench
            .client
            .node_group_get_options(asked("default/overriding", defaults))
            .await;
        assert_eq!(code(baseless), Code::Unimplemented);
    }
}

#[tokio::test]
async fn the_callers_user_agent_is_remembered() {
    let mut bench = Bench::showing(View::default()).await;
    assert_eq!(bench.callers.user_agent(), None);
    bench.client.gpu_label(GpuLabelRequest {}).await.unwrap();
    let agent = bench.callers.user_agent().unwrap();
    assert!(agent.starts_with("cluster-autoscaler/1.36.1"), "{agent}");
}
