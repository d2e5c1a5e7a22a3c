//! What is stored comes back.

use std::collections::BTreeMap;

use super::*;

#[test]
fn absent_status_reads_as_nothing_stored() {
    assert_eq!(machine_record(None), MachineRecord::default());
    assert_eq!(
        machine_record(Some(&NodeStatus::default())),
        MachineRecord::default()
    );
    assert_eq!(group_record(None), GroupRecord::default());
    assert_eq!(
        group_record(Some(&GroupStatus::default())),
        GroupRecord::default()
    );
}

fn full_record() -> MachineRecord {
    let words = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    MachineRecord {
        token: core::Token { epoch: 7, seq: 41 },
        operation: Some(Box::new(core::Operation {
            id: "01JD0000000000000000000000".into(),
            kind: core::OperationKind::Stop,
            token: core::Token { epoch: 7, seq: 40 },
            boot_id: Some("boot-1".into()),
            started_at_ms: NOW,
            by: "cluster-autoscaler DeleteNodes".into(),
            ordered_at_ms: Some(5_000),
            going_down: true,
        })),
        order: Some(Box::new(core::OffOrder {
            id: "01JD1".into(),
            by: "cluster-autoscaler".into(),
            at_ms: NOW,
            then_wake: true,
        })),
        power: core::PowerRecord {
            state: core::PowerState::Off,
            witness: Some(core::Witness::Silence),
            since_ms: NOW,
        },
        boot_id: Some("boot-1".into()),
        proven_at_ms: Some(NOW - 5_000),
        boots_s: vec![48, 71],
        last_off_at_ms: Some(NOW - 6_000),
        outage: Some(core::Outage::PowerCut {
            until_ms: NOW + 300_000,
        }),
        quarantine: Some(Box::new(core::Quarantine {
            until_ms: NOW + 300_000,
            failures: 2,
            reason: "BootTimeout".into(),
            message: "No sign of life in 10m0s.".into(),
        })),
        provider_id: Some("homelab://lab/nuc1".into()),
        override_: Some(Box::new(core::Override {
            power: core::OverridePower::Off,
            until_ms: Some(NOW + 7_200_000),
            by: "ann".into(),
        })),
        learned: Some(Box::new(core::Learned {
            capacity: words(&[("cpu", "4"), ("memory", "16Gi")]).into(),
            allocatable: words(&[("cpu", "3900m")]).into(),
            labels: words(&[("kubernetes.io/arch", "amd64")]).into(),
            taints: vec![taint("gpu", "", "NoSchedule"), taint("a", "b", "NoExecute")],
            at_ms: NOW - 9_000,
        })),
        node_backup: Some(Box::new(core::NodeBackup {
            labels: words(&[("mine", "1")]).into(),
            annotations: words(&[("note", "keep")]),
            taints: vec![taint("slow", "yes", "PreferNoSchedule")],
            cordoned: true,
        })),
        last_ask: Some("ask-9".into()),
    }
}

#[test]
fn a_machine_record_survives_the_store() {
    let waking = MachineRecord {
        operation: Some(Box::new(core::Operation {
            kind: core::OperationKind::Wake,
            ordered_at_ms: None,
            going_down: false,
            boot_id: None,
            ..*full_record().operation.unwrap()
        })),
        override_: Some(Box::new(core::Override {
            power: core::OverridePower::Running,
            until_ms: None,
            by: "bob".into(),
        })),
        ..full_record()
    };
    for record in [MachineRecord::default(), full_record(), waking] {
        let mut status = NodeStatus::default();
        store_machine(&record, &mut status);
        assert_eq!(machine_record(Some(&through_json(&status))), record);
    }
}

#[test]
fn a_machine_record_keeps_whole_seconds_and_an_echo_compares_equal() {
    let record = MachineRecord {
        last_off_at_ms: Some(NOW + 999),
        ..MachineRecord::default()
    };
    let mut status = NodeStatus::default();
    store_machine(&record, &mut status);
    assert_eq!(status, through_json(&status));
    assert_eq!(machine_record(Some(&status)).last_off_at_ms, Some(NOW));
}

#[test]
fn storing_a_record_leaves_the_fields_of_others_and_clears_what_is_over() {
    let mut status: NodeStatus = from(json!({
        "token": {"epoch": 3, "seq": 1}, "agent": {"publicKey": "ed25519:abc"},
        "ask": {"id": "a2", "verb": "Retry", "by": "ann"}, "phase": "Waking",
        "operation": {"id": "x", "kind": "Wake", "token": {"epoch": 3, "seq": 1}, "step": "Waking", "startedAt": "2026-11-21T10:00:00Z", "by": "ann"},
    }));
    store_machine(&MachineRecord::default(), &mut status);
    assert_eq!(status.operation, None);
    assert_eq!(
        status.token,
        Some(crds::node_status::Token { epoch: 3, seq: 1 })
    );
    assert_eq!(pinned_key(Some(&status)), Some("ed25519:abc"));
    assert!(status.ask.is_some());
    store_machine(
        &MachineRecord {
            last_ask: Some("a2".into()),
            ..MachineRecord::default()
        },
        &mut status,
    );
    assert_eq!(status.ask, None, "a request that was taken goes away");
}

#[test]
fn a_group_record_survives_the_store() {
    let records = [
        GroupRecord {
            sequence: 1,
            ..GroupRecord::default()
        },
        GroupRecord {
            wanted: vec![MachineId::new("b"), MachineId::new("a")],
            sequence: 12,
            last_increase: Some(core::Increase {
                delta: 2,
                at_ms: NOW,
            }),
        },
    ];
    for record in records {
        let status = GroupStatus {
            wanted: Some(wanted(&record)),
            ..GroupStatus::default()
        };
        assert_eq!(group_record(Some(&through_json(&status))), record);
    }
}

#[test]
fn what_exceeds_the_schema_is_cut_and_discovered_labels_go_first() {
    let mut labels: BTreeMap<String, String> = (0..100)
        .map(|i| (format!("feature.node.kubernetes.io/f{i}"), String::new()))
        .collect();
    labels.insert("kubernetes.io/arch".into(), "amd64".into());
    let record = MachineRecord {
        learned: Some(Box::new(core::Learned {
            labels: labels.into(),
            ..core::Learned::default()
        })),
        node_backup: Some(Box::new(core::NodeBackup {
            annotations: [
                ("big".to_owned(), "x".repeat(9000)),
                ("small".to_owned(), "y".to_owned()),
            ]
            .into(),
            ..core::NodeBackup::default()
        })),
        ..MachineRecord::default()
    };
    let mut status = NodeStatus::default();
    store_machine(&record, &mut status);
    let labels = status.template.unwrap().labels;
    assert_eq!(labels.len(), 64);
    assert_eq!(labels["kubernetes.io/arch"], "amd64");
    let kept: Vec<_> = status
        .node_backup
        .unwrap()
        .annotations
        .into_keys()
        .collect();
    assert_eq!(kept, ["small"]);
}

#[test]
fn a_request_is_read_until_it_was_taken() {
    use coordinator_core::{Ask, OverridePower};
    let until = "2026-11-21T10:00:00Z";
    for (verb, expected) in [
        (
            "PowerOn",
            Ask::Power {
                power: OverridePower::Running,
                until_ms: Some(1_795_255_200_000),
            },
        ),
        (
            "PowerOff",
            Ask::Power {
                power: OverridePower::Off,
                until_ms: Some(1_795_255_200_000),
            },
        ),
        ("Release", Ask::Release),
        ("Retry", Ask::Retry),
        ("ConfirmOff", Ask::ConfirmOff),
        ("Prove", Ask::Prove),
    ] {
        let mut status: NodeStatus =
            from(json!({"ask": {"id": "a1", "verb": verb, "until": until, "by": "ann"}}));
        let request = core::Request::Ask {
            machine: MachineId::new("nuc1"),
            id: "a1".into(),
            ask: expected,
            by: "ann".into(),
        };
        assert_eq!(ask(&MachineId::new("nuc1"), &status), Some(request));
        status.last_ask_id = Some("a1".into());
        assert_eq!(ask(&MachineId::new("nuc1"), &status), None);
    }
    assert_eq!(ask(&MachineId::new("nuc1"), &NodeStatus::default()), None);
}

#[test]
fn who_established_power_is_written_and_read_again() {
    for (witness, source, inferred) in [
        (core::Witness::Bmc, "bmc", false),
        (core::Witness::Agent, "agent", false),
        (core::Witness::Kubelet, "kubelet", false),
        (core::Witness::Person, "person", true),
        (core::Witness::Silence, "inferred", true),
    ] {
        let record = MachineRecord {
            power: core::PowerRecord {
                state: core::PowerState::Off,
                witness: Some(witness),
                since_ms: NOW,
            },
            ..MachineRecord::default()
        };
        let mut status = NodeStatus::default();
        store_machine(&record, &mut status);
        let power = status.power.clone().unwrap();
        assert_eq!((power.source.as_str(), power.inferred), (source, inferred));
        assert_eq!(machine_record(Some(&status)), record);
    }
}
