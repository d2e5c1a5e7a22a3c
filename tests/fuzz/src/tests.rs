//! Inputs to start from, and those that once made a decoder fail, run through it again.

use std::fs;
use std::path::{Path, PathBuf};

use coordinator::inputs::{autoscaler, kubernetes};
use coordinator::outputs::{self, standalone::fuzz as store};
use coordinator_crds::{GroupStatus, NodeStatus};

use super::*;

fn folder(kind: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(name)
}

fn inputs(kind: &str, name: &str) -> Vec<Vec<u8>> {
    let Ok(files) = fs::read_dir(folder(kind, name)) else {
        return Vec::new();
    };
    files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn every_target_takes_its_inputs_and_all_of_their_beginnings() {
    for (name, run) in TARGETS {
        let seeds = inputs("seeds", name);
        assert!(!seeds.is_empty(), "{name} has no input to start from");
        for seed in seeds {
            for length in 0..=seed.len() {
                run(&seed[..length]);
            }
        }
    }
}

#[test]
fn inputs_that_were_found_are_harmless() {
    for (name, run) in TARGETS {
        for found in inputs("found", name) {
            run(&found);
        }
    }
}

#[test]
fn seeds_are_few_and_small() {
    for (name, _) in TARGETS {
        let seeds = inputs("seeds", name);
        let bytes: usize = seeds.iter().map(Vec::len).sum();
        assert!(seeds.len() <= 16 && bytes <= 16_384, "{name}");
    }
}

/// What a decoder refuses at once leads the fuzzer nowhere.
#[test]
fn seeds_of_what_is_stored_are_read() {
    for seed in inputs("seeds", "agent-journal") {
        assert!(agent::fuzz::journal(&seed).is_some());
    }
    for seed in inputs("seeds", "stored-values") {
        let json = text(&seed[1..]).unwrap();
        let read = match seed[0] {
            b'g' => store::group(json).is_some(),
            _ => store::machine(json).is_some(),
        };
        assert!(read, "{json}");
    }
    for seed in inputs("seeds", "resource-statuses") {
        let read = match seed[0] {
            b'g' => serde_json::from_slice::<GroupStatus>(&seed[1..]).map(drop),
            _ => serde_json::from_slice::<NodeStatus>(&seed[1..]).map(drop),
        };
        read.unwrap();
    }
    let authority = fs::read_to_string(folder("seeds", "certificate-pairs").join("authority"));
    let said = autoscaler::fuzz::pairs(&authority.unwrap(), stored::NOW);
    // It is an authority, so nobody's certificate to serve with or to call with.
    assert!(said.iter().all(|told| !told.contains("Pem")), "{said:?}");
}

/// As above, and what they say counts for something.
#[test]
fn seeds_of_what_a_cluster_and_a_kernel_answer_are_read() {
    for seed in inputs("seeds", "cluster-objects") {
        let json = &seed[1..];
        let read = match seed[0] {
            b'n' => kubernetes::fuzz::node(json).is_some_and(|node| node.ready),
            b'v' => kubernetes::fuzz::volume(json).is_some_and(|pinned| pinned.len() == 1),
            _ => outputs::kubernetes::fuzz::pod(json).is_some(),
        };
        assert!(read, "{:?}", text(json));
    }
    for seed in inputs("seeds", "eviction-replies") {
        let read = outputs::kubernetes::fuzz::eviction(&seed);
        assert!(read.is_some(), "{:?}", text(&seed));
    }
    for seed in inputs("seeds", "autoscaler-flags") {
        let said = homelabctl::fuzz::flags(&seed);
        assert_eq!(said, Some(3), "{:?}", text(&seed));
    }
    // Numbers are in the machine's own order.
    #[cfg(target_endian = "little")]
    for seed in inputs("seeds", "netlink-replies") {
        assert!(hardware::nic::fuzz::reply(&seed) > 0, "{seed:?}");
    }
}
