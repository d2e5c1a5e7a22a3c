//! Random histories of the whole ring in virtual time. `SEED=n` plays one of them; a failure prints its seed.

use tests::simulation::{self, Broken, Tally};

/// Histories of one run: enough to reach everything that is worth reaching, and over in seconds.
const HISTORIES: u64 = 400;

/// What a run that means anything has reached.
const REACHED: &[&str] = &[
    "a machine woke",
    "a machine shut down",
    "a machine was proven",
    "a wake was ignored by its machine",
    "a stop was carried out",
    "a graceful stop was ignored",
    "power was cut",
    "pods held a stop up",
    "a pod was evicted",
    "a hand moved power",
    "a request was granted",
    "a request was rejected",
    "a coordinator was killed at rest",
    "a coordinator was killed between two actions",
    "two coordinators ran at once",
    "an agent was killed",
    "a stale token was refused",
    "a command was forged",
    "a declaration went and came back",
    "a write landed and nobody was told",
    "BootTimeout",
    "LostPower",
    "MassSilence",
    "StopTimedOut",
];

fn play(seeds: impl Iterator<Item = u64>) -> Result<Tally, Broken> {
    let mut tally = Tally::default();
    for seed in seeds {
        tally.add(&simulation::run(seed)?.tally);
    }
    Ok(tally)
}

#[test]
fn every_history_keeps_every_promise() {
    if let Ok(seed) = std::env::var("SEED") {
        let seed = seed.parse().expect("SEED is a number");
        match play(std::iter::once(seed)) {
            Ok(tally) => println!("{tally}"),
            Err(broken) => panic!("{broken}"),
        }
        return;
    }
    let halves = std::thread::scope(|scope| {
        let odd = scope.spawn(|| play((1..=HISTORIES).step_by(2)));
        let even = scope.spawn(|| play((2..=HISTORIES).step_by(2)));
        [odd.join(), even.join()]
    });
    let mut tally = Tally::default();
    for half in halves {
        match half.expect("the simulation does not panic") {
            Ok(half) => tally.add(&half),
            Err(broken) => panic!("{broken}"),
        }
    }
    for what in REACHED {
        assert!(tally.of(what) > 0, "never reached: {what}\n{tally}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    assert_eq!(simulation::run(7), simulation::run(7));
}
