//! A run of the contract's checks, with a table at its end.
//! In: parts of the names of tests. Out: whatever the tests print, as they print it, then one row for each of them.
//! Holds: a check without a test, and a test that was not run, are told and fail the run.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{CHECKS, Level, Proof, proofs};
use crate::{set_up, shell, workspace::Workspace};

/// Names a real cluster-autoscaler for the tests.
const REAL: &str = "CLUSTER_AUTOSCALER_BIN";

/// Sets up and builds what the checks need, runs those whose names contain one of `filters`, or all of them.
///
/// # Errors
/// When something cannot be set up or built, a check fails or was not run, or none has such a name.
pub fn run(workspace: &Workspace, filters: &[OsString]) -> Result<()> {
    let all = proofs(workspace)?;
    let chosen: Vec<&Proof> = all
        .iter()
        .filter(|proof| is_chosen(proof, filters))
        .collect();
    if chosen.is_empty() {
        bail!("no check has such a name; all are in docs/src/contract.md");
    }
    let mut programs = Vec::new();
    for level in Level::ALL {
        if chosen.iter().any(|proof| proof.level == level) {
            programs.extend(["--test", level.program()]);
        }
    }
    let tools = set_up::tools(workspace, || {
        shell::run(&mut workspace.cargo(["build", "--workspace", "--bins"]))?;
        let mut build = workspace.cargo(["test", "--no-run", "--quiet"]);
        shell::run(build.args(&programs))
    })?;
    let mut tests = workspace.cargo(["test", "--no-fail-fast"]);
    tests.args(&programs).arg("--").envs(tools);
    tests.args(chosen.iter().map(|proof| &proof.name));
    let results = results_of(&mut tests)?;
    let missing = if filters.is_empty() {
        without_test(&all)
    } else {
        Vec::new()
    };
    println!("\n{}", table(&chosen, &results, &missing));
    let failed = chosen
        .iter()
        .filter(|proof| results.get(&proof.name).map(String::as_str) != Some("ok"));
    let failed = failed.count();
    if failed + missing.len() > 0 {
        bail!(
            "{failed} of {} tests did not pass, {} checks have none",
            chosen.len(),
            missing.len()
        );
    }
    Ok(())
}

fn is_chosen(proof: &Proof, filters: &[OsString]) -> bool {
    let names = |filter: &OsString| proof.name.contains(&*filter.to_string_lossy());
    filters.is_empty() || filters.iter().any(names)
}

fn without_test(proofs: &[Proof]) -> Vec<u8> {
    let has_test = |number: &u8| proofs.iter().any(|proof| proof.number == *number);
    (1..=CHECKS).filter(|number| !has_test(number)).collect()
}

/// Runs the tests, shows what they print, and answers how each of them ended.
fn results_of(tests: &mut Command) -> Result<BTreeMap<String, String>> {
    let mut results = BTreeMap::new();
    let mut child = tests
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", shell::line(tests)))?;
    let printed = child.stdout.take().context("its output is ours")?;
    for line in BufReader::new(printed).lines() {
        let line = line.context("read what the tests print")?;
        println!("{line}");
        if let Some((name, result)) = result_in(&line) {
            results.insert(name.to_owned(), result.to_owned());
        }
    }
    // How it ended says no more than the results: one that is missing counts as failed.
    child.wait().context("wait for the tests")?;
    Ok(results)
}

/// A line such as `test lists::c03_refresh ... ok`.
fn result_in(line: &str) -> Option<(&str, &str)> {
    let (path, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let name = path.rsplit("::").next().unwrap_or(path);
    Some((name, result.trim()))
}

fn table(proofs: &[&Proof], results: &BTreeMap<String, String>, missing: &[u8]) -> String {
    let by_model = env::var_os(REAL).is_none();
    let mut rows: Vec<(u8, String)> = missing
        .iter()
        .map(|number| {
            (
                *number,
                format!("{number:>5}  {:<10}  {:<14}", "", "NO TEST"),
            )
        })
        .collect();
    for proof in proofs {
        let result = match results.get(&proof.name).map(String::as_str) {
            Some("ok") if by_model && proof.level == Level::Autoscaler => "passes (model)",
            Some("ok") => "passes",
            Some(_) => "FAILS",
            None => "NOT RUN",
        };
        let (number, level) = (proof.number, proof.level.word());
        let row = format!(
            "{number:>5}  {level:<10}  {result:<14}  {}",
            proof.statement
        );
        rows.push((number, row));
    }
    rows.sort_by_key(|(number, _)| *number);
    let head = format!(
        "{:>5}  {:<10}  {:<14}  what is proved",
        "check", "level", "result"
    );
    let rows = std::iter::once(head).chain(rows.into_iter().map(|(_, row)| row));
    rows.map(|row| row.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(number: u8, name: &str) -> Proof {
        Proof {
            number,
            name: name.to_owned(),
            statement: "It holds".to_owned(),
            level: Level::Calls,
            file: String::new(),
        }
    }

    #[test]
    fn results_are_read_from_what_test_programs_print() {
        let line = "test lists::c03_refresh ... ok";
        assert_eq!(result_in(line), Some(("c03_refresh", "ok")));
        let line = "test c48_one_pod ... FAILED";
        assert_eq!(result_in(line), Some(("c48_one_pod", "FAILED")));
        for other in [
            "test lists::c03_refresh has been running for over 60 seconds",
            "test result: ok. 3 passed; 0 failed",
            "running 3 tests",
        ] {
            assert_eq!(result_in(other), None, "{other}");
        }
    }

    #[test]
    fn table_tells_what_passes_what_fails_what_was_not_run_and_what_has_no_test() {
        let proofs = [proof(1, "c01_a"), proof(2, "c02_b"), proof(4, "c04_c")];
        let results = [("c01_a", "ok"), ("c02_b", "FAILED")];
        let results = results.map(|(name, result)| (name.to_owned(), result.to_owned()));
        let table = table(&proofs.iter().collect::<Vec<_>>(), &results.into(), &[3]);
        let words: Vec<Vec<&str>> = table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect())
            .collect();
        let expected: [&[&str]; 4] = [
            &["1", "calls", "passes", "It", "holds"],
            &["2", "calls", "FAILS", "It", "holds"],
            &["3", "NO", "TEST"],
            &["4", "calls", "NOT", "RUN", "It", "holds"],
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn checks_without_a_test_are_found() {
        let all_but_one: Vec<Proof> = (1..CHECKS).map(|number| proof(number, "")).collect();
        assert_eq!(without_test(&all_but_one), [CHECKS]);
    }

    #[test]
    fn filters_choose_by_parts_of_names() {
        let check = proof(7, "c07_node_is_found");
        assert!(is_chosen(&check, &[]));
        assert!(is_chosen(&check, &["c99".into(), "c07".into()]));
        assert!(!is_chosen(&check, &["c08".into()]));
    }
}
