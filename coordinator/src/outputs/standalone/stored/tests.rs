//! Stored values: there and back, and the bytes of the first release.

use coordinator_core::{
    Increase, Learned, MachineId, NodeBackup, OffOrder, Operation, OperationKind, Outage, Override,
    OverridePower, PowerRecord, PowerState, Quarantine, Taint, Token, Witness,
};

use super::*;

fn full_machine() -> MachineRecord {
    let taint = Taint {
        key: "gpu".to_owned(),
        value: "yes".to_owned(),
        effect: "NoSchedule".to_owned(),
    };
    let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    MachineRecord {
        token: Token { epoch: 3, seq: 9 },
        operation: Some(Box::new(Operation {
            id: "01A".to_owned(),
            kind: OperationKind::Stop,
            token: Token { epoch: 3, seq: 9 },
            boot_id: Some("b1".into()),
            started_at_ms: 5,
            by: "user ann".to_owned(),
            ordered_at_ms: Some(5_000),
            going_down: true,
        })),
        order: Some(Box::new(OffOrder {
            id: "01B".to_owned(),
            by: "cluster-autoscaler DeleteNodes".to_owned(),
            at_ms: 6,
            then_wake: true,
        })),
        power: PowerRecord {
            state: PowerState::Off,
            witness: Some(Witness::Silence),
            since_ms: 7,
        },
        boot_id: Some("b1".into()),
        boots_s: vec![48, 71],
        proven_at_ms: Some(8),
        last_off_at_ms: Some(9),
        outage: Some(Outage::PowerCut { until_ms: 13 }),
        quarantine: Some(Box::new(Quarantine {
            until_ms: 10,
            failures: 2,
            reason: "BootTimeout".to_owned(),
            message: "No sign of life".to_owned(),
        })),
        provider_id: Some("homelab://default/nuc1".to_owned()),
        override_: Some(Box::new(Override {
            power: OverridePower::Running,
            until_ms: Some(11),
            by: "user ann".to_owned(),
        })),
        learned: Some(Box::new(Learned {
            capacity: map("cpu", "4").into(),
            allocatable: map("cpu", "3800m").into(),
            labels: map("zone", "attic").into(),
            taints: vec![taint.clone()],
            at_ms: 12,
        })),
        node_backup: Some(Box::new(NodeBackup {
            labels: map("rack", "1").into(),
            annotations: map("note", "loud"),
            taints: vec![taint],
            cordoned: true,
        })),
        last_ask: Some("ask-1".to_owned()),
    }
}

#[test]
fn records_come_back_as_they_were_stored() {
    let full = full_machine();
    assert_eq!(machine(&machine_text(&full)).unwrap(), full);
    let off_by_hand = MachineRecord {
        outage: Some(Outage::SwitchedOff),
        ..full
    };
    assert_eq!(machine(&machine_text(&off_by_hand)).unwrap(), off_by_hand);
    let fresh = MachineRecord::default();
    assert_eq!(machine(&machine_text(&fresh)).unwrap(), fresh);
    let wish = GroupRecord {
        wanted: vec![MachineId::new("nuc1"), MachineId::new("nuc2")],
        sequence: 4,
        last_increase: Some(Increase { delta: 2, at_ms: 1 }),
    };
    assert_eq!(group(&group_text(&wish)).unwrap(), wish);
}

#[test]
fn the_first_form_is_pinned() {
    // Written by the first release. Never edit: stored state of that release must stay readable.
    let stored = r#"{"v":1,"wanted":["nuc1"],"sequence":4,"last_increase":{"delta":1,"at_ms":17}}"#;
    let record = group(stored).unwrap();
    assert_eq!(group_text(&record), stored);
    let stored = r#"{"v":1,"token":{"epoch":1,"seq":2},"operation":{"id":"01A","kind":"wake","token":{"epoch":1,"seq":2},"started_at_ms":5,"by":"minSize","going_down":false},"power":{"state":"off","inferred":true,"since_ms":3}}"#;
    let record = machine(stored).unwrap();
    assert_eq!(machine_text(&record), stored);
}

#[test]
fn unknown_fields_are_skipped_and_newer_forms_refused() {
    let added = r#"{"v":1,"wanted":[],"sequence":1,"colour":"red"}"#;
    assert_eq!(group(added).unwrap().sequence, 1);
    let newer = group(r#"{"v":2,"wish":{}}"#).unwrap_err();
    assert!(matches!(newer, ReadValue::Newer { found: 2 }), "{newer}");
    assert!(matches!(group("{"), Err(ReadValue::Malformed(_))));
}
