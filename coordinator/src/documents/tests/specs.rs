//! What is declared arrives, with its defaults.

use super::*;

#[test]
fn an_empty_group_has_the_defaults() {
    let spec = group_spec(&group(json!({})));
    assert_eq!(
        spec,
        core::GroupSpec {
            id: GroupId::new("lab/workers"),
            mode: core::Mode::Autoscaler,
            min_size: 0,
            max_size: None,
            node_object_policy: core::NodeObjectPolicy::Delete,
            declared: core::Declared::default(),
            scale_down: None,
            energy: None,
            local_volume_policy: core::LocalVolumePolicy::Protect,
            require_proof: true,
            paused: false,
            concerns: core::Concerns::new(),
        }
    );
}

#[test]
fn everything_a_group_declares_arrives() {
    let spec = group_spec(&group(json!({
        "mode": "Manual", "targetSize": 2, "minSize": 1, "maxSize": 5, "nodeObjectPolicy": "Retain",
        "requireProof": false, "paused": true,
        "template": {"labels": {"disk": "ssd"}, "taints": [{"key": "gpu", "effect": "NoSchedule"}],
            "capacity": {"cpu": 4, "memory": "16Gi"}},
        "scaleDown": {"utilizationThreshold": "50%", "unneededDuration": "10m", "maxNodeProvisionDuration": "15m"},
    })));
    assert_eq!(spec.mode, core::Mode::Manual { target: 2 });
    assert_eq!((spec.min_size, spec.max_size), (1, Some(5)));
    assert_eq!(spec.node_object_policy, core::NodeObjectPolicy::Retain);
    assert!(!spec.require_proof && spec.paused);
    assert_eq!(spec.declared.labels["disk"], "ssd");
    assert_eq!(spec.declared.taints, [taint("gpu", "", "NoSchedule")]);
    assert_eq!(spec.declared.capacity["cpu"], "4");
    assert_eq!(spec.declared.capacity["memory"], "16Gi");
    let scale_down = spec.scale_down.unwrap();
    assert_eq!(scale_down.utilization_threshold, Some(0.5));
    assert_eq!(scale_down.unneeded_ms, Some(600_000));
    assert_eq!(scale_down.max_provision_ms, Some(900_000));
    assert_eq!(scale_down.unready_ms, None);
}

#[test]
fn options_that_give_machines_no_time_are_left_out_and_said_and_the_others_hold() {
    let spec = |options| group_spec(&group(json!({ "scaleDown": options })));
    let both = spec(json!({"maxNodeProvisionDuration": "0s", "unreadyDuration": "0ms"}));
    assert_eq!(both.scale_down, None, "nothing is overridden");
    let message = &both.concerns[&core::Concern::ScaleDownTooShort];
    for part in [
        "spec.scaleDown.unreadyDuration: Invalid value: \"0s\"",
        "spec.scaleDown.maxNodeProvisionDuration: Invalid value: \"0s\"",
        "left out",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let one = spec(json!({"maxNodeProvisionDuration": "999ms", "unneededDuration": "0s"}));
    let expected = core::ScaleDown {
        unneeded_ms: Some(0),
        ..core::ScaleDown::default()
    };
    assert_eq!(one.scale_down, Some(expected));
    assert!(one.concerns.contains_key(&core::Concern::ScaleDownTooShort));
    let fine = spec(json!({"maxNodeProvisionDuration": "1s", "unreadyDuration": "1s"}));
    assert!(fine.concerns.is_empty(), "{:?}", fine.concerns);
    assert_eq!(spec(json!({})).scale_down, None);
}

#[test]
fn what_electricity_costs_arrives_in_millionths_and_minutes() {
    let spec = group_spec(&group(
        json!({"energy": {"watts": 45, "perKWh": "0.32", "timeZone": "Europe/Berlin", "windows": [
            {"from": "22:00", "to": "06:00", "perKWh": "0.19"},
            {"days": ["Sunday", "Monday"], "from": "00:00", "to": "24:00", "perKWh": "0"},
        ]}}),
    ));
    let expected = core::Energy {
        watts: 45,
        per_kwh_micros: 320_000,
        time_zone: "Europe/Berlin".into(),
        windows: vec![
            core::PriceWindow {
                days: [true; 7],
                from_minute: 1_320,
                to_minute: 360,
                per_kwh_micros: 190_000,
            },
            core::PriceWindow {
                days: [true, false, false, false, false, false, true],
                from_minute: 0,
                to_minute: 1_440,
                per_kwh_micros: 0,
            },
        ],
    };
    assert_eq!(spec.energy.as_deref(), Some(&expected));
    assert!(spec.concerns.is_empty());
    let flat = group_spec(&group(json!({"energy": {"watts": 45, "perKWh": "0.32"}})));
    assert_eq!(flat.energy.unwrap().time_zone, "UTC");
}

#[test]
fn a_time_zone_that_nobody_knows_leaves_a_group_without_prices_and_is_said() {
    let spec = group_spec(&group(
        json!({"energy": {"watts": 45, "perKWh": "0.32", "timeZone": "Europe/Belrin"}}),
    ));
    assert_eq!(spec.energy, None);
    let message = &spec.concerns[&core::Concern::UnknownTimeZone];
    assert!(
        message.starts_with("spec.energy.timeZone: Not found: \"Europe/Belrin\""),
        "{message}"
    );
}

#[test]
fn nodes_of_a_group_that_declares_gpus_are_labelled_with_their_kind() {
    let label = |spec: &serde_json::Value| {
        let spec = group_spec(&group(spec.clone()));
        let mut labels = spec.declared.labels;
        labels.remove("homelab-autoscaler.dev/gpu")
    };
    let labels = |kind: &str| json!({"homelab-autoscaler.dev/gpu": kind});
    for (template, kind) in [
        (json!({"capacity": {"nvidia.com/gpu": 1}}), Some("nvidia")),
        (
            json!({"capacity": {"nvidia.com/gpu": "2"}, "labels": labels("rtx-3060")}),
            Some("rtx-3060"),
        ),
        (
            json!({"capacity": {"amd.com/gpu": 1}, "labels": labels("rx-6600")}),
            Some("rx-6600"),
        ),
        (json!({"capacity": {"nvidia.com/gpu": 0}}), None),
        (json!({"capacity": {"amd.com/gpu": 1}}), None),
        (json!({"capacity": {"cpu": 4}}), None),
    ] {
        let spec = json!({ "template": template });
        assert_eq!(label(&spec).as_deref(), kind, "{spec}");
    }
    let manual =
        json!({"mode": "Manual", "targetSize": 1, "template": {"capacity": {"nvidia.com/gpu": 1}}});
    assert_eq!(label(&manual), None, "the autoscaler does not manage it");
}

#[test]
fn a_machine_is_called_after_its_object_and_woken_by_what_it_declares() {
    let spec = machine_spec(
        &node(json!({"group": "workers", "wakeOnLAN": {"mac": "1C-69-7A-0B-11-02"}})),
        Place::Cluster,
        None,
    );
    assert_eq!(spec.id, MachineId::new("nuc1"));
    assert_eq!(spec.group, GroupId::new("lab/workers"));
    assert_eq!(&*spec.node_name, "nuc1");
    assert_eq!(spec.agent, AgentId::new("nuc1"));
    assert_eq!(spec.wake, [core::WakeMethod::WakeOnLan]);
    assert_eq!(spec.stop, [core::StopMethod::Agent]);
    assert_eq!(spec.joins, core::Joins::Kubelet);
    let wake = spec.wake_on_lan.unwrap();
    assert_eq!(wake.mac, "1c:69:7a:0b:11:02");
    assert_eq!((wake.segment.as_str(), wake.ports), ("default", vec![9, 7]));
    assert_eq!(
        spec.timeouts,
        core::Timeouts {
            boot_ms: 600_000,
            drain_ms: 600_000,
            stop_ms: 300_000,
            off_hold_ms: 60_000
        }
    );
    assert_eq!(spec.fault, None);
}

#[test]
fn methods_keep_the_declared_order_and_default_to_redfish_first() {
    use coordinator_core::{StopMethod, WakeMethod};
    let redfish = json!({"address": "https://10.0.9.20/", "credentials": "r720"});
    let wol = json!({"mac": "1c:69:7a:0b:11:02"});
    for (spec, wake, stop) in [
        (
            json!({"group": "g", "redfish": redfish, "wakeOnLAN": wol}),
            vec![WakeMethod::Redfish, WakeMethod::WakeOnLan],
            vec![StopMethod::Agent, StopMethod::Redfish],
        ),
        (
            json!({"group": "g", "redfish": redfish, "wakeOnLAN": wol, "wake": ["wakeOnLAN", "redfish"], "stop": ["redfish"]}),
            vec![WakeMethod::WakeOnLan, WakeMethod::Redfish],
            vec![StopMethod::Redfish],
        ),
        (
            json!({"group": "g", "power": "AlwaysOn"}),
            vec![],
            vec![StopMethod::Agent],
        ),
    ] {
        let machine = machine_spec(&node(spec.clone()), Place::Cluster, None);
        assert_eq!((machine.wake, machine.stop), (wake, stop), "{spec}");
    }
    let machine = machine_spec(
        &node(json!({"group": "g", "redfish": redfish})),
        Place::Cluster,
        None,
    );
    assert_eq!(machine.redfish.unwrap().address, "https://10.0.9.20");
}

#[test]
fn without_kubernetes_every_machine_joins_by_its_agent() {
    let machine = node(json!({"group": "g", "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02"}}));
    assert_eq!(
        machine_spec(&machine, Place::Standalone, None).joins,
        core::Joins::Agent
    );
    let nas =
        node(json!({"group": "g", "joins": "Agent", "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02"}}));
    assert_eq!(
        machine_spec(&nas, Place::Cluster, None).joins,
        core::Joins::Agent
    );
}

#[test]
fn a_slow_boot_is_a_concern_and_what_two_machines_share_is_a_fault() {
    let groups = [group(json!({}))];
    let slow = node(
        json!({"group": "workers", "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02"}, "timeouts": {"boot": "20m"}}),
    );
    let mut twin = slow.clone();
    twin.metadata.name = Some("nuc2".into());
    twin.spec.timeouts = crds::node::Timeouts::default();
    let key = |name: &str| ("lab".to_owned(), name.to_owned());

    let judged = judge(&groups, std::slice::from_ref(&slow));
    let alone = &judged[&key("nuc1")];
    assert_eq!(alone.fault, None);
    let concern = &alone.concerns[&core::Concern::BootAboveProvisionTime];
    assert!(
        concern.starts_with("spec.timeouts.boot: Invalid value: \"20m\"")
            && concern.contains("15m"),
        "{concern}"
    );
    let spec = machine_spec(&slow, Place::Cluster, Some(alone));
    assert_eq!((spec.fault, spec.concerns), (None, alone.concerns.clone()));

    let judged = judge(&groups, &[slow.clone(), twin]);
    for name in ["nuc1", "nuc2"] {
        let fault = judged[&key(name)].fault.as_ref().unwrap();
        assert_eq!(fault.reason, "DuplicateMAC");
    }
    assert!(
        judge(
            &groups,
            &[node(
                json!({"group": "workers", "wakeOnLAN": {"mac": "1c:69:7a:0b:11:02"}})
            )]
        )
        .is_empty()
    );
}
