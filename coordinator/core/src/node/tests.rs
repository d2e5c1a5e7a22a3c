//! Nodes as they are seen, and what is made of them: changes, what is kept, what is learned.

use super::*;

fn taint(key: &str) -> Taint {
    Taint {
        key: key.into(),
        value: String::new(),
        effect: "NoSchedule".into(),
    }
}

fn node() -> NodeSeen {
    NodeSeen {
        name: "n".into(),
        uid: "u".into(),
        provider_id: "homelab://d/n".into(),
        labels: BTreeMap::from([
            (GROUP_LABEL.into(), "g".into()),
            ("disk".into(), "ssd".into()),
        ])
        .into(),
        ..NodeSeen::default()
    }
}

fn wanted<'a>(
    labels: &'a BTreeMap<String, String>,
    backup: Option<&'a NodeBackup>,
    returning: bool,
) -> Wanted<'a> {
    Wanted {
        provider_id: "homelab://d/n",
        group: "g",
        labels,
        backup,
        cordoned: backup.is_some_and(|b| b.cordoned),
        returning,
        mark: Mark::Open,
    }
}

#[test]
fn a_node_that_is_right_is_left_alone() {
    assert_eq!(
        change(&node(), &wanted(&BTreeMap::new(), None, false)),
        None
    );
}

#[test]
fn a_persons_cordon_and_the_autoscalers_taint_on_a_running_node_are_left_alone() {
    let mut seen = node();
    seen.unschedulable = true;
    seen.taints = std::vec![taint("ToBeDeletedByClusterAutoscaler"), taint("mine")];
    assert_eq!(change(&seen, &wanted(&BTreeMap::new(), None, false)), None);
}

#[test]
fn a_returning_node_gets_back_what_people_put_on_it_and_loses_stale_taints() {
    let mut before = node();
    before.taints = std::vec![
        taint("mine"),
        taint(POWER_OFF_TAINT),
        taint("node.kubernetes.io/unreachable")
    ];
    before.annotations = BTreeMap::from([("note".into(), "do not move".into())]);
    let kept = backup(&before, true);
    assert_eq!(kept.taints, [taint("mine")]);
    let mut fresh = node();
    fresh.provider_id = String::new();
    Arc::make_mut(&mut fresh.labels).remove("disk");
    fresh.taints = std::vec![
        taint("ToBeDeletedByClusterAutoscaler"),
        taint(STARTUP_TAINT)
    ];
    let none = BTreeMap::new();
    let patch = change(&fresh, &wanted(&none, Some(&kept), true)).expect("a change");
    assert_eq!(patch.provider_id.as_deref(), Some("homelab://d/n"));
    assert_eq!(patch.labels.get("disk").map(String::as_str), Some("ssd"));
    assert_eq!(
        patch.annotations.get("note").map(String::as_str),
        Some("do not move")
    );
    assert_eq!(
        patch.unschedulable,
        Some(true),
        "the person's cordon comes back"
    );
    let to = patch.taints.expect("taints change").to;
    assert_eq!(
        to,
        [taint(STARTUP_TAINT), taint("mine")],
        "the startup taint goes last"
    );
}

#[test]
fn the_startup_taint_goes_once_everything_else_is_right() {
    let mut seen = node();
    seen.taints = std::vec![taint(STARTUP_TAINT)];
    let patch = change(&seen, &wanted(&BTreeMap::new(), None, false)).expect("a change");
    assert_eq!(patch.taints.expect("taints change").to, []);
}

#[test]
fn our_taint_without_an_order_is_taken_back_with_the_cordon_that_came_with_it() {
    let mut seen = node();
    seen.taints = std::vec![taint(POWER_OFF_TAINT)];
    seen.unschedulable = true;
    let patch = change(&seen, &wanted(&BTreeMap::new(), None, false)).expect("a change");
    assert_eq!(patch.unschedulable, Some(false));
    assert_eq!(patch.taints.expect("taints change").to, []);
}

#[test]
fn a_persons_cordon_outlives_the_fence_and_the_mark_that_remembers_it_goes() {
    let mut seen = node();
    seen.taints = std::vec![taint(POWER_OFF_TAINT)];
    seen.unschedulable = true;
    seen.annotations = BTreeMap::from([(CORDONED_BY_PERSON.into(), "true".into())]);
    assert!(keeps_cordon(&seen) && is_fenced(&seen));
    assert_eq!(backup(&seen, true).annotations, BTreeMap::new());
    let none = BTreeMap::new();
    let mut kept = wanted(&none, None, false);
    kept.cordoned = true;
    let patch = change(&seen, &kept).expect("a change");
    assert_eq!(patch.unschedulable, None, "it stays as it is");
    assert_eq!(patch.remove_annotations, [CORDONED_BY_PERSON]);
}

#[test]
fn protection_is_announced_and_only_our_own_announcement_is_taken_back() {
    let none = BTreeMap::new();
    let mut protected = wanted(&none, None, false);
    protected.mark = Mark::Due("LastRelay");
    let patch = change(&node(), &protected).expect("a change");
    assert_eq!(
        patch
            .annotations
            .get(SCALE_DOWN_DISABLED)
            .map(String::as_str),
        Some("true")
    );
    let mut seen = node();
    seen.annotations = patch.annotations;
    let patch = change(&seen, &wanted(&none, None, false)).expect("a change");
    assert_eq!(patch.remove_annotations.len(), 2);
    let mut by_person = node();
    by_person
        .annotations
        .insert(SCALE_DOWN_DISABLED.into(), "true".into());
    for mark in [Mark::Due(LOCAL_VOLUME), Mark::NotDue, Mark::Open] {
        let wanted = Wanted {
            mark,
            ..wanted(&none, None, false)
        };
        assert_eq!(change(&by_person, &wanted), None, "{mark:?}");
    }
}

#[test]
fn a_mark_for_local_volumes_stays_until_somebody_has_looked_and_names_its_reason() {
    let none = BTreeMap::new();
    let wanted = |mark| Wanted {
        mark,
        ..wanted(&none, None, false)
    };
    let mut seen = node();
    seen.annotations = change(&seen, &wanted(Mark::Due(LOCAL_VOLUME)))
        .expect("a change")
        .annotations;
    assert_eq!(change(&seen, &wanted(Mark::Due(LOCAL_VOLUME))), None);
    assert_eq!(change(&seen, &wanted(Mark::Open)), None);
    let gone = change(&seen, &wanted(Mark::NotDue)).expect("a change");
    assert_eq!(gone.remove_annotations.len(), 2);
    let other = change(&seen, &wanted(Mark::Due("LastRelay"))).expect("a change");
    let reason = (SCALE_DOWN_DISABLED_BY.into(), "LastRelay".into());
    assert_eq!(other.annotations, BTreeMap::from([reason]));
}

/// A Node with the taints of everybody who puts any on Nodes.
fn tainted() -> NodeSeen {
    let keys = [
        POWER_OFF_TAINT,
        "ToBeDeletedByClusterAutoscaler",
        "DeletionCandidateOfClusterAutoscaler",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/unschedulable",
        "node.cloudprovider.kubernetes.io/uninitialized",
        "node.cloudprovider.kubernetes.io/shutdown",
        STARTUP_TAINT,
        "startup-taint.cluster-autoscaler.kubernetes.io/somebody-elses",
        "dedicated",
        "node-role.kubernetes.io/storage",
        "homelab-autoscaler.dev/power-offer",
    ];
    let mut seen = node();
    seen.taints = keys.map(taint).to_vec();
    seen
}

#[test]
fn only_taints_that_stay_are_learned_and_kept() {
    let stay = [
        taint("dedicated"),
        taint("node-role.kubernetes.io/storage"),
        taint("homelab-autoscaler.dev/power-offer"),
    ];
    assert_eq!(learn(&tainted(), 17).taints, stay);
    assert_eq!(backup(&tainted(), false).taints, stay);
}

#[test]
fn a_taint_that_stays_is_learned_with_its_value_and_effect() {
    let mut seen = node();
    seen.taints = ["NoSchedule", "NoExecute"]
        .map(|effect| Taint {
            value: "batch".into(),
            effect: effect.into(),
            ..taint("dedicated")
        })
        .to_vec();
    assert_eq!(learn(&seen, 17).taints, seen.taints);
}

#[test]
fn everything_that_a_node_has_and_every_label_is_learned_with_the_time() {
    let mut seen = node();
    seen.capacity = BTreeMap::from([
        ("cpu".into(), "4".into()),
        ("hugepages-2Mi".into(), "1Gi".into()),
        ("nvidia.com/gpu".into(), "1".into()),
    ])
    .into();
    seen.allocatable = BTreeMap::from([("cpu".into(), "3900m".into())]).into();
    let learned = learn(&seen, 17);
    assert_eq!(learned.capacity, seen.capacity);
    assert_eq!(learned.allocatable, seen.allocatable);
    assert_eq!(learned.labels, seen.labels);
    assert_eq!(learned.at_ms, 17);
}

#[test]
fn what_a_node_brings_as_before_is_held_once() {
    let known = learn(&node(), 17);
    let mut seen = node();
    seen.capacity = BTreeMap::from([("cpu".into(), "4".into())]).into();
    share(&mut seen, &known);
    assert!(Arc::ptr_eq(&seen.labels, &known.labels));
    assert_eq!(seen.capacity["cpu"], "4");
    assert_ne!(seen.capacity, known.capacity);
}
