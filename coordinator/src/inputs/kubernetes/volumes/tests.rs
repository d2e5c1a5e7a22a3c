//! Which volumes count, and what is told of them.

use serde_json::{Value, json};

use super::*;

fn on(hosts: &[&str]) -> Value {
    json!({"matchExpressions": [{"key": HOSTNAME_LABEL, "operator": "In", "values": hosts}]})
}

fn volume(name: &str, phase: &str, terms: Value) -> PersistentVolume {
    let object = json!({
        "metadata": {"name": name},
        "spec": {"local": {"path": "/mnt"}, "claimRef": {"namespace": "lab", "name": name},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}},
        "status": {"phase": phase},
    });
    serde_json::from_value(object).unwrap()
}

fn host(volume: PersistentVolume) -> Option<String> {
    volume_seen(volume).pinned.map(|pinned| pinned.host)
}

#[test]
fn a_volume_is_pinned_where_every_way_to_it_names_one_and_the_same_host() {
    let zone = json!({"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["cellar"]}]});
    let mut narrow = on(&["nuc1"]);
    narrow["matchExpressions"]
        .as_array_mut()
        .unwrap()
        .insert(0, zone["matchExpressions"][0].clone());
    let mut not_there = on(&["nuc1"]);
    not_there["matchExpressions"][0]["operator"] = "NotIn".into();
    for (terms, expected) in [
        (json!([on(&["nuc1"])]), Some("nuc1")),
        (json!([narrow]), Some("nuc1")),
        (json!([on(&["nuc1"]), on(&["nuc1"])]), Some("nuc1")),
        (json!([on(&["nuc1"]), on(&["nuc2"])]), None),
        (json!([on(&["nuc1"]), zone]), None),
        (json!([on(&["nuc1", "nuc2"])]), None),
        (json!([not_there]), None),
        (json!([zone]), None),
        (json!([]), None),
    ] {
        let found = host(volume("data", "Bound", terms.clone()));
        assert_eq!(found.as_deref(), expected, "{terms}");
    }
}

#[test]
fn only_a_bound_volume_counts_whoever_has_made_it() {
    for phase in ["Pending", "Available", "Released", "Failed"] {
        let found = host(volume("data", phase, json!([on(&["nuc1"])])));
        assert_eq!(found, None, "{phase}");
    }
    for source in [
        json!({"hostPath": {"path": "/srv"}}),
        json!({"csi": {"driver": "local.csi.example", "volumeHandle": "x"}}),
    ] {
        let mut made =
            serde_json::to_value(volume("data", "Bound", json!([on(&["nuc1"])]))).unwrap();
        let spec = made["spec"].as_object_mut().unwrap();
        spec.remove("local");
        spec.extend(source.as_object().unwrap().clone());
        let made = serde_json::from_value(made).unwrap();
        assert_eq!(host(made).as_deref(), Some("nuc1"), "{source}");
    }
    let mut network = volume("data", "Bound", json!([]));
    network.spec.as_mut().unwrap().node_affinity = None;
    assert_eq!(host(network), None);
}

fn is(name: &str, hosts: &[&str]) -> Watched<VolumeSeen> {
    let seen = volume_seen(volume(name, "Bound", json!([on(hosts)])));
    Watched::Is(Box::new(seen))
}

fn gone(name: &str) -> Watched<VolumeSeen> {
    Watched::Gone {
        key: (String::new(), name.into()),
        uid: String::new(),
    }
}

fn told(volumes: &mut Volumes, watched: Watched<VolumeSeen>) -> Option<Vec<(String, usize)>> {
    let known = volumes.take(watched)?;
    let counts = known.iter();
    Some(
        counts
            .map(|(host, claims)| (host.clone(), claims.len()))
            .collect(),
    )
}

fn at(counts: &[(&str, usize)]) -> Option<Vec<(String, usize)>> {
    let counts = counts.iter();
    Some(
        counts
            .map(|(host, claims)| ((*host).to_owned(), *claims))
            .collect(),
    )
}

#[test]
fn nothing_is_told_before_the_first_list_is_whole_and_then_only_news() {
    let mut volumes = Volumes::default();
    assert_eq!(told(&mut volumes, Watched::Begin), None);
    assert_eq!(told(&mut volumes, is("a", &["nuc1"])), None);
    assert_eq!(volumes.known(), None);
    assert_eq!(told(&mut volumes, Watched::Complete), at(&[("nuc1", 1)]));
    assert_eq!(told(&mut volumes, is("a", &["nuc1"])), None, "an echo");
    assert_eq!(told(&mut volumes, is("b", &["nuc1"])), at(&[("nuc1", 2)]));
    assert_eq!(told(&mut volumes, is("far", &["x", "y"])), None);
    assert_eq!(told(&mut volumes, gone("a")), at(&[("nuc1", 1)]));
    assert_eq!(told(&mut volumes, gone("far")), None);
}

#[test]
fn no_volume_at_all_is_told_once_and_a_list_that_starts_over_forgets_what_is_gone() {
    let mut volumes = Volumes::default();
    told(&mut volumes, Watched::Begin);
    assert_eq!(told(&mut volumes, Watched::Complete), at(&[]));
    told(&mut volumes, is("a", &["nuc1"]));
    told(&mut volumes, is("b", &["nuc2"]));
    assert_eq!(told(&mut volumes, Watched::Begin), None);
    assert_eq!(told(&mut volumes, is("b", &["nuc2"])), None);
    assert_eq!(told(&mut volumes, Watched::Complete), at(&[("nuc2", 1)]));
    told(&mut volumes, Watched::Begin);
    told(&mut volumes, is("b", &["nuc2"]));
    assert_eq!(told(&mut volumes, Watched::Complete), None, "no news");
}
