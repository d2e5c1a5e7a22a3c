//! A real folder, changed under the eyes of a follower whose facts are collected.

use std::fs;

use coordinator_core::{Action, GroupId, Joins, MachineId, Now, View};

use super::*;
use crate::engine::{self, Core, Handle};

const GROUP: &str = "{apiVersion: homelab-autoscaler.dev/v1alpha1, kind: Group, metadata: {name: workers}, spec: {}}\n";

fn node(name: &str, mac: &str) -> String {
    format!(
        "apiVersion: homelab-autoscaler.dev/v1alpha1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {{group: workers, wakeOnLAN: {{mac: \"{mac}\"}}}}\n"
    )
}

/// A core that only remembers the facts.
struct Collector(tokio::sync::mpsc::UnboundedSender<Fact>);

impl Core for Collector {
    fn observe(&mut self, fact: Fact, _: Now) {
        self.0.send(fact).unwrap();
    }
    fn decide(&mut self, _: Now) -> Vec<Action> {
        Vec::new()
    }
    fn deadline(&self) -> Option<u64> {
        None
    }
    fn view(&mut self, _: Now) -> Arc<View> {
        Arc::default()
    }
}

struct NoOutputs;

impl crate::outputs::Outputs for NoOutputs {
    fn perform(&mut self, _: Action) {}
}

fn engine() -> (Handle, tokio::sync::mpsc::UnboundedReceiver<Fact>) {
    let (sender, facts) = tokio::sync::mpsc::unbounded_channel();
    let (handle, seat) = engine::open(crate::mandate::Mandate::standing());
    tokio::spawn(seat.take(Collector(sender), NoOutputs).run());
    (handle, facts)
}

async fn next(facts: &mut tokio::sync::mpsc::UnboundedReceiver<Fact>) -> Fact {
    let fact = time::timeout(Duration::from_secs(20), facts.recv()).await;
    fact.expect("a fact in time").expect("the engine runs")
}

#[test]
fn a_lab_is_told_as_facts_and_its_machines_join_by_agent() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("lab.yaml"),
        format!("{GROUP}---\n{}", node("nuc1", "1c:69:7a:0b:11:02")),
    )
    .unwrap();
    let lab = LabFolder::open(dir.path()).unwrap();
    let facts = lab.facts();
    assert_eq!(facts.len(), 2);
    assert!(
        matches!(&facts[0], Fact::GroupApplied(group) if group.id == GroupId::new("default/workers"))
    );
    let Fact::MachineApplied(machine) = &facts[1] else {
        panic!("{facts:?}")
    };
    assert_eq!(machine.joins, Joins::Agent);
    assert_eq!(
        machine.wake_on_lan.as_ref().unwrap().mac,
        "1c:69:7a:0b:11:02"
    );
}

#[test]
fn a_faulty_lab_is_refused_at_start_with_a_line_for_each_problem() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("a.yaml"),
        format!("{GROUP}---\n{}", node("nuc1", "1c:69:7a:0b:11:0g")),
    )
    .unwrap();
    fs::write(
        dir.path().join("b.yaml"),
        node("nuc2", "1c:69:7a:0b:11:03").replace("group:", "grupo:"),
    )
    .unwrap();
    let refused = LabFolder::open(dir.path()).unwrap_err().to_string();
    assert!(refused.lines().count() >= 2, "{refused}");
    assert!(
        refused.contains("a.yaml:") && refused.contains("spec.wakeOnLAN.mac"),
        "{refused}"
    );
    assert!(
        refused.contains("b.yaml:") && refused.contains("grupo"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_faulty_lab_changes_nothing_and_is_complained_about_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lab.yaml");
    let (nuc1, nuc2) = (
        node("nuc1", "1c:69:7a:0b:11:02"),
        node("nuc2", "1c:69:7a:0b:11:03"),
    );
    fs::write(&file, format!("{GROUP}---\n{nuc1}")).unwrap();
    let mut lab = LabFolder::open(dir.path()).unwrap();

    // Two machines with one address: nothing of this lab counts, not even the good part.
    let twin = node("nuc3", "1c-69-7A-0B-11-02");
    fs::write(&file, format!("{GROUP}---\n{nuc1}---\n{nuc2}---\n{twin}")).unwrap();
    assert_eq!(lab.reload(None).await, []);
    let said = lab.said.clone();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].contains("lab.yaml:") && said[0].contains("spec.wakeOnLAN.mac"),
        "{said:?}"
    );
    assert_eq!(lab.declared.borrow().nodes.len(), 1);

    fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(lab.reload(None).await, []);
    assert!(lab.said[0].contains("cannot be read"), "{:?}", lab.said);

    fs::create_dir(dir.path()).unwrap();
    fs::write(&file, format!("{GROUP}---\n{nuc1}---\n{nuc2}")).unwrap();
    let facts = lab.reload(None).await;
    assert!(
        matches!(&facts[..], [Fact::MachineApplied(machine)] if machine.id == MachineId::new("nuc2")),
        "{facts:?}"
    );
    assert_eq!(lab.said, Vec::<String>::new());
}

#[tokio::test]
async fn a_changed_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lab.yaml");
    let nuc1 = node("nuc1", "1c:69:7a:0b:11:02");
    fs::write(&file, format!("{GROUP}---\n{nuc1}")).unwrap();
    let lab = LabFolder::open(dir.path()).unwrap();
    let mut declared = lab.declared();
    let (engine, mut facts) = engine();
    let follower = tokio::spawn(lab.follow(engine.facts.clone()));
    fs::write(&file, GROUP).unwrap();
    assert_eq!(
        next(&mut facts).await,
        Fact::MachineRemoved(MachineId::new("nuc1"))
    );
    declared.wait_for(|lab| lab.nodes.is_empty()).await.unwrap();
    follower.abort();
}

#[test]
fn only_what_changed_is_told() {
    let parse = |texts: &[&str]| {
        let lab = lab::read(texts.iter().map(|text| ("lab.yaml", *text))).unwrap();
        Declared::new(lab.groups, lab.nodes)
    };
    let (nuc1, nuc2) = (
        node("nuc1", "1c:69:7a:0b:11:02"),
        node("nuc2", "1c:69:7a:0b:11:03"),
    );
    let old = parse(&[GROUP, &nuc1, &nuc2]);
    assert_eq!(old.facts_since(&old), []);
    let moved = nuc2.replace("spec: {", "spec: {power: AlwaysOn, ");
    let facts = parse(&[GROUP, &nuc1, &moved]).facts_since(&old);
    assert!(
        matches!(&facts[..], [Fact::MachineApplied(machine)] if machine.id == MachineId::new("nuc2")),
        "{facts:?}"
    );
    let gone = Declared::default().facts_since(&old);
    assert_eq!(
        gone,
        [
            Fact::MachineRemoved(MachineId::new("nuc1")),
            Fact::MachineRemoved(MachineId::new("nuc2")),
            Fact::GroupRemoved(GroupId::new("default/workers")),
        ]
    );
}
