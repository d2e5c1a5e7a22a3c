//! Inputs to start from, and those that once made a decoder fail, run through it again.

use std::fs;
use std::path::{Path, PathBuf};

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
