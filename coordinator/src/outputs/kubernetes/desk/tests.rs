//! What becomes of jobs that fail.

use std::{collections::BTreeMap, sync::Mutex};

use coordinator_core::{Action, DrainState, EvictionOutcome, GroupId, Lab, Now, PodRef, Policy};
use serde_json::json;

use super::{
    super::fake_api::{
        Reply, count,
        objects::{Objects, holding, touch, undoing},
        refusal, writer,
    },
    *,
};
use crate::{
    documents,
    engine::{self, Core, Handle},
    inputs::kubernetes::FINALIZER,
    mandate::Mandate,
    outputs::Outputs,
};

const OURS: &str = "/apis/homelab-autoscaler.dev/v1alpha1/namespaces/lab/homelabnodes/nuc1";

fn desk(writer: Writer) -> Desk {
    let (handle, _seat) = engine::open(Mandate::standing());
    desk_before(&handle, writer)
}

fn desk_before(handle: &Handle, writer: Writer) -> Desk {
    Desk {
        writer,
        facts: handle.facts.clone(),
        view: handle.view.clone(),
        events: tokio::sync::Mutex::default(),
        described: Described::default(),
        postponed: Postponed::default(),
    }
}

/// A desk whose server holds an object that is being deleted, which somebody else writes at the same moment, so often.
fn contested(mut left: u32) -> (Desk, Objects) {
    let object = json!({"apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Node",
        "metadata": {"namespace": "lab", "name": "nuc1", "uid": "u", "resourceVersion": "2", "finalizers": [FINALIZER]},
        "spec": {"group": "workers", "power": "AlwaysOn"}});
    let meddling =
        move |method: &http::Method, _: &str, shelf: &mut BTreeMap<String, serde_json::Value>| {
            if *method == http::Method::PATCH && left > 0 {
                left -= 1;
                let finalizers = &mut shelf.get_mut(OURS).unwrap()["metadata"]["finalizers"];
                let theirs = json!(format!("theirs/{left}"));
                finalizers.as_array_mut().unwrap().push(theirs);
            }
        };
    let (writer, objects) = holding([(OURS, object)], Box::new(meddling));
    (desk(writer), objects)
}

#[tokio::test(start_paused = true)]
async fn marks_are_taken_back_again_and_again_until_that_is_done() {
    const RACES: u32 = 20;
    let (desk, objects) = contested(RACES);
    let mut tries = 0;
    let mut job = Job::Undo {
        undo: undoing(),
        tries,
    };
    loop {
        run(&desk, job).await;
        assert_eq!(desk.postponed.due().len(), 0, "there is a pause");
        tokio::time::advance(pause(tries)).await;
        let Some(next) = desk.postponed.due().pop() else {
            break;
        };
        tries += 1;
        job = next;
    }
    assert_eq!(tries, RACES);
    let objects = objects.lock().unwrap();
    let left = objects[OURS]["metadata"]["finalizers"].as_array().unwrap();
    assert_eq!(left.len(), RACES as usize, "ours is gone, theirs stay");
    assert!(!left.contains(&json!(FINALIZER)), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_keeps_the_job_and_takes_nothing_back() {
    let (mut desk, objects) = contested(0);
    desk.writer.shared.mandate = Mandate::default();
    let job = Job::Undo {
        undo: undoing(),
        tries: 0,
    };
    run(&desk, job).await;
    tokio::time::advance(AGAIN).await;
    let kept = desk.postponed.due();
    assert!(
        matches!(kept.as_slice(), [Job::Undo { tries: 0, .. }]),
        "{kept:?}"
    );
    let objects = objects.lock().unwrap();
    assert_eq!(objects[OURS]["metadata"]["finalizers"], json!([FINALIZER]));
}

#[test]
fn pauses_grow_to_a_minute_and_stay_there() {
    let seconds = [0, 1, 2, 3, 4, 31, u32::MAX].map(|tries| pause(tries).as_secs());
    assert_eq!(seconds, [5, 10, 20, 40, 60, 60, 60]);
}

const MAP: &str = "/api/v1/namespaces/own/configmaps/homelab-autoscaler-agents";

/// Writes down what it is told.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Fact>>>);

impl Core for Notes {
    fn observe(&mut self, fact: Fact, _now: Now) {
        self.0.lock().unwrap().push(fact);
    }

    fn decide(&mut self, _now: Now) -> Vec<Action> {
        Vec::new()
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn view(&mut self, _now: Now) -> Arc<View> {
        Arc::default()
    }
}

impl Outputs for Notes {
    fn perform(&mut self, _action: Action) {}
}

fn pinning(key: &str, tries: u32) -> Job {
    Job::AgentKey {
        agent: AgentId::new("pi"),
        key: key.to_owned(),
        tries,
    }
}

#[tokio::test]
async fn of_two_keys_the_core_is_told_the_one_that_was_pinned_first() {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"key.pi": "ed25519:first"},
        "metadata": {"namespace": "own", "name": "homelab-autoscaler-agents", "uid": "m", "resourceVersion": "7"}});
    let (writer, objects) = holding([(MAP, map)], Box::new(|_, _, _| {}));
    let (handle, seat) = engine::open(Mandate::standing());
    let desk = desk_before(&handle, writer);
    let notes = Notes::default();
    let engine = tokio::spawn(seat.take(notes.clone(), notes.clone()).run());
    run(&desk, pinning("ed25519:forged", 0)).await;
    assert_eq!(desk.postponed.due().len(), 0);
    drop((desk, handle));
    engine.await.unwrap();
    let told = Fact::AgentStored {
        agent: AgentId::new("pi"),
        key: "ed25519:first".into(),
    };
    assert_eq!(*notes.0.lock().unwrap(), [told]);
    assert_eq!(
        objects.lock().unwrap()[MAP]["data"]["key.pi"],
        "ed25519:first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_is_pinned_again_and_again_until_that_is_done() {
    const REFUSALS: u32 = 40;
    let left = Arc::new(Mutex::new(REFUSALS));
    let (writer, asked) = writer(move |method| {
        let mut left = left.lock().unwrap();
        if *method == http::Method::POST && *left > 0 {
            *left -= 1;
            return refusal(403, "no right to do that");
        }
        if *method == http::Method::POST {
            let made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
            return Reply::With(201, made);
        }
        refusal(404, "there is no such object")
    });
    let desk = desk(writer);
    let mut job = pinning("ed25519:first", 0);
    for tries in 0..REFUSALS {
        run(&desk, job).await;
        assert_eq!(desk.postponed.due().len(), 0, "there is a pause");
        tokio::time::advance(pause(tries)).await;
        job = desk.postponed.due().pop().expect("it is not given up");
    }
    run(&desk, job).await;
    tokio::time::advance(pause(u32::MAX)).await;
    assert_eq!(desk.postponed.due().len(), 0, "it is done");
    assert_eq!(count(&asked, &http::Method::POST), REFUSALS as usize + 1);
}

const ODD: &str = "/apis/homelab-autoscaler.dev/v1alpha1/namespaces/lab/homelabgroups/odd";

/// A desk whose server holds a group, at version 2, that was found wanting at that one.
fn complaining() -> (Desk, Objects) {
    let object = json!({"apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Group", "spec": {"mode": "Telepathy"},
        "metadata": {"namespace": "lab", "name": "odd", "uid": "u", "resourceVersion": "2"}});
    let (writer, objects) = holding([(ODD, object)], Box::new(|_, _, _| {}));
    let place = Place {
        namespace: "lab".into(),
        name: "odd".into(),
        uid: "u".into(),
        version: 2,
        ..Place::default()
    };
    let mirror = &writer.shared.mirror;
    let findings = documents::invalid_spec("spec.mode: unknown variant");
    mirror
        .complaints()
        .found(Kind::Group, place.clone(), &findings);
    mirror.saw_group(&odd(), place, None);
    (desk(writer), objects)
}

fn odd() -> GroupId {
    GroupId::new("lab/odd")
}

fn key() -> (String, String) {
    ("lab".to_owned(), "odd".to_owned())
}

fn look() -> Job {
    Job::Complaint(Complaint::Object(Kind::Group, key()))
}

#[tokio::test]
async fn who_does_not_lead_complains_about_nothing_and_waits_for_nothing() {
    let (mut desk, objects) = complaining();
    desk.writer.shared.mandate = Mandate::default();
    run(&desk, look()).await;
    assert!(objects.lock().unwrap()[ODD]["status"].is_null());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_mended_before_the_complaint_arrives_is_not_complained_about() {
    let (desk, objects) = complaining();
    // A person's write, which the watch tells of a moment later.
    touch(objects.lock().unwrap().get_mut(ODD).unwrap());
    let mended = async {
        tokio::time::sleep(AGAIN / 2).await;
        let complaints = desk.writer.shared.mirror.complaints();
        complaints.over(Kind::Group, &key());
    };
    tokio::join!(run(&desk, look()), mended);
    let objects = objects.lock().unwrap();
    assert!(objects[ODD]["status"].is_null(), "{objects:?}");
    assert_eq!(objects.len(), 1, "no Event");
}

#[tokio::test]
async fn an_object_is_not_described_while_a_complaint_stands_and_anew_once_it_is_over() {
    let (mut desk, objects) = complaining();
    let group = json!({"metadata": {"namespace": "lab", "name": "odd"}, "spec": {}});
    let group = documents::group_spec(&serde_json::from_value(group).unwrap());
    let mut lab = Lab::new(1, Policy::default());
    lab.observe(
        Fact::GroupApplied(group),
        Now {
            boot_ms: 1,
            wall_ms: 1,
        },
    );
    let view = lab.view(Now {
        boot_ms: 1,
        wall_ms: 1,
    });
    desk.view = watch::channel(Arc::clone(&view)).1;
    run(&desk, Job::DescribeGroup(odd())).await;
    assert!(objects.lock().unwrap()[ODD]["status"].is_null());
    run(&desk, look()).await;
    assert!(!objects.lock().unwrap()[ODD]["status"].is_null());

    desk.described.group(&odd(), &view);
    assert!(desk.described.outdated(&view).is_empty());
    let complaints = desk.writer.shared.mirror.complaints();
    complaints.over(Kind::Group, &key());
    run(&desk, look()).await;
    let outdated = desk.described.outdated(&view);
    assert!(
        matches!(outdated.as_slice(), [Job::DescribeGroup(_)]),
        "{outdated:?}"
    );
}

/// Who is shown: machine nuc1, whose drain is so far.
fn draining(drain: Option<DrainState>) -> Arc<View> {
    let machine =
        json!({"metadata": {"namespace": "lab", "name": "nuc1"}, "spec": {"group": "workers"}});
    let machine = serde_json::from_value(machine).unwrap();
    let spec = documents::machine_spec(&machine, documents::Place::Cluster, None);
    let id = spec.id.clone();
    let now = Now {
        boot_ms: 1,
        wall_ms: 1,
    };
    let mut lab = Lab::new(1, Policy::default());
    lab.observe(Fact::MachineApplied(spec), now);
    let mut view = lab.view(now);
    let machines = &mut Arc::make_mut(&mut view).machines;
    Arc::make_mut(machines.get_mut(&id).unwrap()).drain = drain;
    view
}

#[tokio::test]
async fn nobody_is_evicted_whose_machine_is_not_drained_when_its_turn_comes() {
    let web = PodRef {
        namespace: "lab".into(),
        name: "web".into(),
        uid: "u-1".into(),
    };
    for (drain, calls) in [(Some(DrainState::Evicting), 1), (None, 0)] {
        let (writer, asked) = writer(|_| refusal(404, "no such pod"));
        let (handle, seat) = engine::open(Mandate::standing());
        let mut desk = desk_before(&handle, writer);
        let view = draining(drain);
        let machine = view.machines.keys().next().unwrap().clone();
        desk.view = watch::channel(view).1;
        let notes = Notes::default();
        let engine = tokio::spawn(seat.take(notes.clone(), notes.clone()).run());
        let pods = vec![web.clone()];
        run(&desk, Job::OnNode(OnNode::Evict { machine, pods })).await;
        drop((desk, handle));
        engine.await.unwrap();
        assert_eq!(count(&asked, &http::Method::POST), calls, "{drain:?}");
        // The core hears of it in any case.
        let told = notes.0.lock().unwrap();
        let [Fact::Evicted { pods, .. }] = told.as_slice() else {
            panic!("{told:?}");
        };
        let is_open = matches!(pods[0].outcome, EvictionOutcome::Unanswered { .. });
        assert_eq!((&pods[0].pod, is_open), (&web, drain.is_none()));
    }
}
