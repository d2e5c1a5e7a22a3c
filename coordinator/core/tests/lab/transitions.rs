//! Every step of a machine's life against everything that can move it: next phase, reason, actions.
//!
//! In: `transitions.txt`, one line for each pair. `UPDATE=1` writes it anew, to be read before it is kept.
//! Holds: every pair stands in the table exactly once; a new phase, fact or ask does not compile before it has its place.

use std::collections::BTreeMap;
use std::path::Path;

use coordinator_core::{Ask, Fact, PhaseName, PowerRead, ReportState};

use crate::bench::Bench;
use crate::cases::{Input, Start};

fn table() -> String {
    let mut lines = String::new();
    for start in Start::ALL {
        for input in Input::ALL {
            let outcome = Bench::at(start).outcome_of(input);
            lines.push_str(&format!("{start:?} + {input:?} = {outcome}\n"));
        }
    }
    lines
}

fn rows(text: &str) -> BTreeMap<&str, &str> {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let (pair, outcome) = line.split_once(" = ").expect("`start + input = outcome`");
        let before = rows.insert(pair, outcome);
        assert_eq!(before, None, "{pair} stands twice in the table");
    }
    rows
}

#[test]
fn every_transition_is_as_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/transitions.txt");
    let seen = table();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &seen).expect("the table can be written");
    }
    let text = std::fs::read_to_string(&path).expect("the table is there");
    let (seen, wanted) = (rows(&seen), rows(&text));
    for (pair, outcome) in &seen {
        assert_eq!(wanted.get(pair), Some(outcome), "{pair}");
    }
    assert_eq!(wanted.len(), seen.len(), "rows of pairs that do not exist");
}

#[test]
fn each_start_is_in_the_phase_that_it_is_named_for() {
    for start in Start::ALL {
        assert_eq!(Bench::at(start).phase(), phase_of(start), "{start:?}");
    }
    for phase in PhaseName::ALL {
        assert!(Start::ALL.iter().any(|start| phase_of(*start) == phase));
    }
}

fn phase_of(start: Start) -> PhaseName {
    match start {
        Start::Unknown | Start::Silent => PhaseName::Unknown,
        Start::Off => PhaseName::Off,
        Start::Waking => PhaseName::Waking,
        Start::WakeFailed => PhaseName::WakeFailed,
        Start::Running => PhaseName::Running,
        Start::Appearing
        | Start::Fencing
        | Start::Listing
        | Start::ListingAgain
        | Start::Evicting
        | Start::Draining
        | Start::HeldByPods
        | Start::Ordered
        | Start::GoingDown => PhaseName::Stopping,
    }
}

/// The input that stands for a fact. Those that never move one machine's phase by themselves have none.
fn input_of(fact: &Fact) -> Option<Input> {
    match fact {
        Fact::GroupApplied(_) => Some(Input::Pause),
        Fact::MachineApplied(_) => Some(Input::Unmanage),
        Fact::MachineRemoved(_) => Some(Input::DeclareAnew),
        Fact::MachineStored { .. } | Fact::GroupStored { .. } => Some(Input::Restart),
        Fact::Asked { .. } => Some(Input::Increase),
        Fact::Beat(_) | Fact::NodeSeen(_) | Fact::LeaseRenewed { .. } => Some(Input::Heard),
        Fact::Reported(report) => Some(match report.state {
            ReportState::Accepted => Input::Accepted,
            ReportState::Running => Input::Running,
            ReportState::Done => Input::Done,
            ReportState::Failed | ReportState::Aborted => Input::Failed,
            ReportState::Refused => Input::Refused,
            ReportState::Interrupted => Input::Interrupted,
        }),
        Fact::NotSent { .. } => Some(Input::Unheard),
        Fact::NodeGone { .. } => Some(Input::NodeGone),
        Fact::Fenced { .. } => Some(Input::Fenced),
        Fact::PodsListed { .. } => Some(Input::PodsGone),
        Fact::Evicted { .. } => Some(Input::Evicted),
        Fact::GroupRemoved(_) => Some(Input::GroupRemoved),
        Fact::Following => Some(Input::Following),
        Fact::Committed { .. }
        | Fact::CommitLost { .. }
        | Fact::CommitFailed { .. }
        | Fact::Recorded { .. }
        | Fact::RecordFailed { .. }
        | Fact::AgentStored { .. }
        | Fact::AgentState { .. }
        | Fact::AgentInfo(_)
        | Fact::AutoscalerSeen { .. }
        | Fact::Broker { .. }
        | Fact::Cluster { .. }
        | Fact::NodeDone { .. }
        | Fact::LocalVolumes(_)
        | Fact::Loaded
        | Fact::Leading { .. } => None,
    }
}

fn input_of_ask(ask: Ask) -> Input {
    match ask {
        Ask::Power { .. } => Input::AskOn,
        Ask::Release => Input::Release,
        Ask::Retry => Input::Retry,
        Ask::ConfirmOff => Input::ConfirmOff,
        Ask::Prove => Input::Prove,
    }
}

fn input_of_reading(read: PowerRead) -> Input {
    match read {
        PowerRead::On => Input::BmcOn,
        PowerRead::Off => Input::BmcOff,
        PowerRead::Other => Input::BmcOther,
    }
}

#[test]
fn what_stands_for_a_fact_stands_in_the_table() {
    let some = [
        input_of(&Fact::Following),
        Some(input_of_ask(Ask::Retry)),
        Some(input_of_reading(PowerRead::Other)),
    ];
    for input in some {
        assert!(input.is_some_and(|input| Input::ALL.contains(&input)));
    }
}

#[test]
fn no_order_follows_a_pod_list_that_comes_back_during_a_pause() {
    let mut bench = Bench::at(Start::Listing);
    bench.outcome_of(Input::Pause);
    let outcome = bench.outcome_of(Input::PodsGone);
    assert!(outcome.ends_with("[]"), "{outcome}");
}
