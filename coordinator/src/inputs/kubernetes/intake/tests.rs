//! What the engine is told of what the watches tell.

use serde_json::json;

use super::*;

mod anew;
mod rivals;

fn node(name: &str, version: u64, more: serde_json::Value) -> Node {
    let mut object = json!({
        "apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Node",
        "metadata": {"name": name, "namespace": "lab", "uid": format!("uid-{name}"),
            "resourceVersion": version.to_string(), "creationTimestamp": "2026-11-21T10:00:00Z"},
        "spec": {"group": "workers", "power": "AlwaysOn"},
    });
    merge(&mut object, more);
    serde_json::from_value(object).unwrap()
}

fn group(version: u64, more: serde_json::Value) -> Group {
    let mut object = json!({
        "apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Group",
        "metadata": {"name": "workers", "namespace": "lab", "uid": "uid-workers",
            "resourceVersion": version.to_string()},
        "spec": {},
    });
    merge(&mut object, more);
    serde_json::from_value(object).unwrap()
}

fn merge(into: &mut serde_json::Value, more: serde_json::Value) {
    match (into, more) {
        (serde_json::Value::Object(into), serde_json::Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn is_group(group: Group) -> Seen {
    Seen::Group(0, Watched::Is(Box::new(group)))
}

fn is_node(node: Node) -> Seen {
    Seen::Machine(0, Watched::Is(Box::new(node)))
}

fn core_node(name: &str) -> Seen {
    let seen = NodeSeen {
        name: name.into(),
        ..NodeSeen::default()
    };
    Seen::CoreNode(Watched::Is(Box::new(seen)))
}

fn renewed(at: &str) -> Seen {
    Seen::Lease(Renewal {
        node: "nuc1".into(),
        at: Some(at.into()),
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "facts that no watch tells are shown as they are"
)]
fn fact_word(fact: &Fact) -> String {
    match fact {
        Fact::GroupApplied(spec) => format!("group {}", spec.id),
        Fact::GroupRemoved(id) => format!("no group {id}"),
        Fact::MachineApplied(spec) => {
            let reason = spec
                .fault
                .as_deref()
                .and_then(|fault| fault.split(':').next());
            format!("machine {} {}", spec.id, reason.unwrap_or("sound"))
        }
        Fact::MachineRemoved(id) => format!("no machine {id}"),
        Fact::GroupStored { group, record } => {
            format!("stored {group} {}", record.sequence)
        }
        Fact::MachineStored { machine, record } => {
            format!("stored {machine} {}", record.token.seq)
        }
        Fact::AgentStored { agent, key } => format!("key {agent} {key}"),
        Fact::NodeSeen(node) => format!("node {}", node.name),
        Fact::NodeGone { name } => format!("no node {name}"),
        Fact::LocalVolumes(known) => format!("volumes {:?}", known.keys().collect::<Vec<_>>()),
        Fact::LeaseRenewed { name } => format!("renewed {name}"),
        Fact::Leading { epoch } => format!("leading {epoch}"),
        Fact::Loaded => "loaded".into(),
        other => format!("{other:?}"),
    }
}

/// One word for each thing told; of an object that is complained about, what stands about it.
fn words(intake: &Intake, told: &[Told]) -> Vec<String> {
    told.iter()
        .map(|told| match told {
            Told::Fact(fact) => fact_word(fact),
            Told::Ask(Request::Ask { id, ask, .. }) => format!("ask {id} {ask:?}"),
            Told::Ask(other) => format!("{other:?}"),
            Told::Notice(Notice::Complaint(Complaint::Object(kind, key))) => {
                let standing = intake.mirror.complaints().standing(*kind, key);
                let reason = standing.map(|standing| standing.findings[0].reason.clone());
                format!(
                    "complain {} {}",
                    key.1,
                    reason.unwrap_or_else(|| "over".into())
                )
            }
            Told::Notice(Notice::Complaint(Complaint::AskRejected { id, .. })) => {
                format!("rejected {id}")
            }
            Told::Notice(Notice::Undo(undo)) => format!("undo {} {}", undo.node, undo.cordoned),
        })
        .collect()
}

fn take(intake: &mut Intake, seen: Seen) -> Vec<String> {
    let told = intake.take(seen);
    words(intake, &told)
}

/// Lists of one watch, from begin to complete.
fn list(intake: &mut Intake, groups: Vec<Group>, nodes: Vec<Node>) -> Vec<String> {
    let mut told = Vec::new();
    let mut events = vec![Seen::Group(0, Watched::Begin)];
    events.extend(groups.into_iter().map(is_group));
    events.push(Seen::Group(0, Watched::Complete));
    events.push(Seen::Machine(0, Watched::Begin));
    events.extend(nodes.into_iter().map(is_node));
    events.push(Seen::Machine(0, Watched::Complete));
    for event in events {
        told.extend(take(intake, event));
    }
    told
}

fn empty() -> Intake {
    Intake::new(Arc::default(), vec![None])
}

/// Loaded, and this process leads.
fn leading(groups: Vec<Group>, nodes: Vec<Node>) -> Intake {
    let mut intake = loaded(groups, nodes);
    take(&mut intake, Seen::Lead { epoch: 1 });
    intake
}

fn loaded(groups: Vec<Group>, nodes: Vec<Node>) -> Intake {
    let mut intake = empty();
    take(&mut intake, Seen::CoreNode(Watched::Begin));
    take(&mut intake, Seen::CoreNode(Watched::Complete));
    list(&mut intake, groups, nodes);
    assert!(intake.is_loaded());
    intake
}

#[test]
fn nothing_is_told_before_every_list_is_complete_and_loaded_comes_last() {
    let mut intake = empty();
    let stored =
        json!({"status": {"token": {"epoch": 1, "seq": 9}, "agent": {"publicKey": "ed25519:k"}}});
    let wish = json!({"status": {"wanted": {"sequence": 4, "machines": ["nuc1"]}}});
    let told = list(
        &mut intake,
        vec![group(1, wish)],
        vec![node("nuc1", 2, stored)],
    );
    assert!(told.is_empty(), "{told:?}");
    assert!(take(&mut intake, Seen::CoreNode(Watched::Begin)).is_empty());
    assert!(take(&mut intake, core_node("nuc1")).is_empty());
    assert!(take(&mut intake, renewed("a")).is_empty());
    assert_eq!(
        take(&mut intake, Seen::CoreNode(Watched::Complete)),
        [
            "group lab/workers",
            "machine nuc1 sound",
            "stored lab/workers 4",
            "stored nuc1 9",
            "key nuc1 ed25519:k",
            "node nuc1",
            "loaded"
        ]
    );
}

#[test]
fn local_volumes_are_told_with_everything_else_or_once_they_are_known() {
    let mut intake = empty();
    assert!(take(&mut intake, Seen::Volume(Watched::Complete)).is_empty());
    list(&mut intake, vec![], vec![]);
    take(&mut intake, Seen::CoreNode(Watched::Begin));
    let told = take(&mut intake, Seen::CoreNode(Watched::Complete));
    assert_eq!(told, ["volumes []", "loaded"]);

    let mut late = loaded(vec![], vec![]);
    let told = take(&mut late, Seen::Volume(Watched::Complete));
    assert_eq!(told, ["volumes []"], "without the right it never comes");
}

#[test]
fn a_change_of_status_is_told_as_stored_and_not_as_applied() {
    let mut intake = loaded(vec![group(1, json!({}))], vec![node("nuc1", 2, json!({}))]);
    let foreign = json!({"status": {"token": {"epoch": 1, "seq": 5}}});
    assert_eq!(
        take(&mut intake, is_node(node("nuc1", 3, foreign.clone()))),
        ["stored nuc1 5"]
    );
    assert!(take(&mut intake, is_node(node("nuc1", 3, foreign))).is_empty());
    let spec =
        json!({"spec": {"forceOff": "AfterTimeout"}, "status": {"token": {"epoch": 1, "seq": 5}}});
    assert_eq!(
        take(&mut intake, is_node(node("nuc1", 4, spec))),
        ["machine nuc1 sound"]
    );
}

#[test]
fn what_a_new_list_does_not_show_is_gone() {
    let mut intake = loaded(
        vec![group(1, json!({}))],
        vec![node("nuc1", 2, json!({})), node("nuc2", 3, json!({}))],
    );
    take(&mut intake, core_node("nuc1"));
    let told = list(
        &mut intake,
        vec![group(1, json!({}))],
        vec![node("nuc2", 3, json!({}))],
    );
    assert_eq!(told, ["no machine nuc1", "stored nuc1 0"]);
    take(&mut intake, Seen::CoreNode(Watched::Begin));
    assert_eq!(
        take(&mut intake, Seen::CoreNode(Watched::Complete)),
        ["no node nuc1"]
    );
}

#[test]
fn only_a_lease_that_changes_is_a_renewal() {
    let mut intake = loaded(Vec::new(), Vec::new());
    assert!(
        take(&mut intake, renewed("a")).is_empty(),
        "its age is unknown"
    );
    assert!(take(&mut intake, renewed("a")).is_empty());
    assert_eq!(take(&mut intake, renewed("b")), ["renewed nuc1"]);
}

#[test]
fn machines_with_a_faulty_relation_are_told_so_and_cured_with_it() {
    let mac = json!({"spec": {"wakeOnLAN": {"mac": "1c:69:7a:0b:11:02"}}});
    let mut intake = loaded(
        vec![group(1, json!({}))],
        vec![node("nuc1", 2, mac.clone()), node("nuc2", 3, json!({}))],
    );
    assert_eq!(
        take(&mut intake, is_node(node("nuc2", 4, mac))),
        ["machine nuc1 DuplicateMAC", "machine nuc2 DuplicateMAC"]
    );
    assert_eq!(
        take(&mut intake, is_node(node("nuc2", 5, json!({})))),
        ["machine nuc1 sound", "machine nuc2 sound"]
    );
    let gone = Watched::Gone {
        key: ("lab".into(), "workers".into()),
        uid: "uid-workers".into(),
    };
    assert_eq!(
        take(&mut intake, Seen::Group(0, gone)),
        [
            "no group lab/workers",
            "stored lab/workers 0",
            "machine nuc1 UnknownGroup",
            "machine nuc2 UnknownGroup"
        ]
    );
}

/// A Node that [`node`] has made is gone, or one of `rivals`, which are in another namespace.
fn gone(namespace: &str, name: &str) -> Seen {
    let uid = match namespace {
        "lab" => format!("uid-{name}"),
        _ => "other".into(),
    };
    let key = (namespace.to_owned(), name.to_owned());
    Seen::Machine(0, Watched::Gone { key, uid })
}

/// An object whose spec does not decode.
fn undecodable<K>(metadata: kube::core::ObjectMeta) -> Watched<K> {
    let error = "spec.power: unknown variant".to_owned();
    Watched::Unreadable(Box::new(InvalidObject { error, metadata }))
}

fn broken(version: u64) -> Seen {
    Seen::Machine(0, undecodable(node("nuc1", version, json!({})).metadata))
}

#[test]
fn an_object_that_does_not_decode_keeps_its_last_good_declaration() {
    let mut intake = leading(vec![group(1, json!({}))], vec![node("nuc1", 2, json!({}))]);
    assert_eq!(take(&mut intake, broken(3)), ["complain nuc1 Undecodable"]);
    assert!(take(&mut intake, broken(4)).is_empty(), "said once");
    let key = ("lab".to_owned(), "nuc1".to_owned());
    let standing = intake.mirror.complaints().standing(Kind::Machine, &key);
    assert_eq!(standing.unwrap().place.version, 4, "as it was seen last");
    let told = list(
        &mut intake,
        vec![group(1, json!({}))],
        vec![node("nuc1", 5, json!({}))],
    );
    assert_eq!(told, ["complain nuc1 over"]);
}

#[test]
fn who_follows_complains_about_nothing_and_whoever_begins_to_lead_about_what_stands_by_then() {
    let mut intake = loaded(vec![group(1, json!({}))], vec![node("nuc1", 2, json!({}))]);
    assert!(take(&mut intake, broken(3)).is_empty());
    assert!(take(&mut intake, is_node(node("nuc1", 4, json!({})))).is_empty());
    assert_eq!(take(&mut intake, Seen::Lead { epoch: 3 }), ["leading 3"]);

    let mut intake = loaded(vec![group(1, json!({}))], vec![node("nuc1", 2, json!({}))]);
    assert!(take(&mut intake, broken(3)).is_empty());
    assert_eq!(
        take(&mut intake, Seen::Lead { epoch: 3 }),
        ["leading 3", "complain nuc1 Undecodable"]
    );
}

#[test]
fn an_object_that_never_decoded_is_complained_about_anew_when_it_was_made_anew() {
    let mut intake = leading(vec![group(1, json!({}))], Vec::new());
    let complained = ["complain nuc1 Undecodable"];
    assert_eq!(take(&mut intake, broken(3)), complained);
    take(&mut intake, gone("lab", "nuc1"));
    assert_eq!(take(&mut intake, broken(4)), complained);
    // Its end fell into a gap of the watch.
    list(&mut intake, vec![group(1, json!({}))], Vec::new());
    assert_eq!(take(&mut intake, broken(5)), complained);
}

#[test]
fn keys_of_relays_are_told_but_not_in_place_of_a_machines_own() {
    let pinned = json!({"status": {"agent": {"publicKey": "ed25519:own"}}});
    let mut intake = loaded(vec![group(1, json!({}))], vec![node("nuc1", 2, pinned)]);
    let keys = ["nuc1", "pi"].map(|agent| (AgentId::new(agent), "ed25519:map".to_owned()));
    assert_eq!(
        take(&mut intake, Seen::RelayKeys(BTreeMap::from(keys))),
        ["key pi ed25519:map"]
    );
}

#[test]
fn requests_of_people_are_put_once_and_only_by_the_leader() {
    let asks = |id: &str| json!({"status": {"ask": {"id": id, "verb": "Retry", "by": "ann"}}});
    let mut intake = loaded(vec![group(1, json!({}))], vec![node("nuc1", 2, asks("a1"))]);
    assert!(take(&mut intake, is_node(node("nuc1", 3, asks("a1")))).is_empty());
    assert_eq!(
        take(&mut intake, Seen::Lead { epoch: 3 }),
        ["leading 3", "ask a1 Retry"]
    );
    assert!(take(&mut intake, is_node(node("nuc1", 4, asks("a1")))).is_empty());
    assert_eq!(
        take(&mut intake, is_node(node("nuc1", 5, asks("a2")))),
        ["ask a2 Retry"]
    );
    let taken =
        json!({"status": {"ask": {"id": "a3", "verb": "Retry", "by": "ann"}, "lastAskID": "a3"}});
    let told = take(&mut intake, is_node(node("nuc1", 6, taken)));
    assert!(told.iter().all(|word| !word.starts_with("ask")), "{told:?}");
}

#[test]
fn a_machine_that_is_deleted_has_our_marks_undone_first() {
    let mut intake = loaded(vec![group(1, json!({}))], vec![node("nuc1", 2, json!({}))]);
    let deleting = json!({
        "metadata": {"deletionTimestamp": "2026-11-21T11:00:00Z", "finalizers": [FINALIZER]},
        "spec": {"nodeName": "core1"},
        "status": {"nodeBackup": {"at": "2026-11-21T10:00:00Z", "unschedulable": true}},
    });
    assert_eq!(
        take(&mut intake, is_node(node("nuc1", 3, deleting.clone()))),
        ["undo core1 true", "no machine nuc1", "stored nuc1 0"]
    );
    assert!(
        take(&mut intake, is_node(node("nuc1", 4, deleting))).is_empty(),
        "asked once"
    );
}

#[test]
fn a_lock_of_somebody_else_is_a_fault_until_it_stands_unchanged_for_its_timeout() {
    let mut intake = loaded(vec![group(1, json!({}))], vec![node("nuc1", 2, json!({}))]);
    let lock = json!({"metadata": {"annotations": {
        "homelab-autoscaler.dev/operation-lock": "firmware-update",
        "homelab-autoscaler.dev/lock-owner": "ann",
        "homelab-autoscaler.dev/lock-timeout": "60"}}});
    intake.at(1_000);
    assert_eq!(
        take(&mut intake, is_node(node("nuc1", 3, lock.clone()))),
        ["machine nuc1 Locked"]
    );
    assert_eq!(intake.next_end_ms(), Some(61_000));
    assert!(take(&mut intake, is_node(node("nuc1", 4, lock))).is_empty());
    intake.at(60_999);
    assert!(intake.ended().is_empty(), "it counts until then");
    intake.at(61_000);
    let ended = intake.ended();
    assert_eq!(words(&intake, &ended), ["machine nuc1 sound"]);
}
