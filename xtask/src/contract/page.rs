//! The page of the guide with all checks of the contract.
//! Holds: every check has exactly one row, also one that no test proves.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use super::{CHECKS, Level, Proof, proofs};
use crate::workspace::Workspace;

/// What stands above the rows.
const HEAD: &str = "\
# What the cluster-autoscaler relies on

<!-- Written by `cargo xtask codegen` from the names of the tests; edits are lost. -->

A cluster-autoscaler expects of a provider what clouds do, and tells nobody: its source and its behaviour do. These are the
checks that we made of that. Each is proved by tests that carry its number (`c15_…`), against the coordinator's own program at a real
Kubernetes control plane, with hollow machines behind a real MQTT broker. All are part of `cargo xtask test`, so a build in which one
fails is red. `cargo xtask test contract` runs them alone and prints this table with what it saw; `cargo xtask test contract c15` runs those of one check.

- `calls`: the test itself makes single calls over gRPC.
- `autoscaler`: a cluster-autoscaler makes them. It is the real one where `CLUSTER_AUTOSCALER_BIN` names its program, otherwise our
  model of it.

| check | what is proved | level | passes | tests in `tests/tests/` |
|---|---|---|---|---|
";

/// Writes the page.
///
/// # Errors
/// When the tests cannot be read or the page cannot be written.
pub fn write(workspace: &Workspace) -> Result<()> {
    let file = file(workspace);
    fs::write(&file, page(&proofs(workspace)?)).with_context(|| format!("write {}", file.display()))
}

/// Compares the page with what would be written.
///
/// # Errors
/// When it differs.
pub fn compare(workspace: &Workspace) -> Result<()> {
    let file = file(workspace);
    let stands = fs::read_to_string(&file).unwrap_or_default();
    if stands != page(&proofs(workspace)?) {
        bail!(
            "not up to date: {}; run `cargo xtask codegen`",
            file.display()
        );
    }
    Ok(())
}

fn file(workspace: &Workspace) -> PathBuf {
    workspace.root().join("docs/src/contract.md")
}

fn page(proofs: &[Proof]) -> String {
    let mut page = HEAD.to_owned();
    for number in 1..=CHECKS {
        let of_check: Vec<&Proof> = proofs.iter().filter(|one| one.number == number).collect();
        let row = if of_check.is_empty() {
            "open: no test proves it yet | | no |".to_owned()
        } else {
            let statements = distinct(&of_check, |proof| proof.statement.replace('|', "\\|"));
            let levels = distinct(&of_check, |proof| proof.level.word().to_owned());
            let files = distinct(&of_check, |proof| format!("`{}`", proof.file));
            let [levels, files] = [levels, files].map(|words| words.join(", "));
            let passes = passes(&of_check);
            format!(
                "{} | {levels} | {passes} | {files}",
                statements.join(".<br>")
            )
        };
        // Writing into a string does not fail.
        let _ = writeln!(page, "| {number} | {row} |");
    }
    page
}

/// In which builds a check has to pass.
fn passes(proofs: &[&Proof]) -> &'static str {
    if proofs.iter().any(|proof| proof.level == Level::Autoscaler) {
        "each build, by the model"
    } else {
        "each build"
    }
}

/// What they say, each once and in their order.
fn distinct(proofs: &[&Proof], says: impl Fn(&Proof) -> String) -> Vec<String> {
    let mut said = Vec::new();
    for words in proofs.iter().map(|proof| says(proof)) {
        if !said.contains(&words) {
            said.push(words);
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(number: u8, statement: &str, file: &str) -> Proof {
        Proof {
            number,
            name: String::new(),
            statement: statement.to_owned(),
            level: Level::Calls,
            file: file.to_owned(),
        }
    }

    #[test]
    fn every_check_has_one_row_and_those_without_a_test_are_open() {
        let page = page(&[proof(2, "One", "a.rs"), proof(2, "Two", "a.rs")]);
        let rows: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| "))
            .skip(1)
            .collect();
        assert_eq!(rows.len(), usize::from(CHECKS));
        assert_eq!(rows[0], "| 1 | open: no test proves it yet | | no | |");
        assert_eq!(rows[1], "| 2 | One.<br>Two | calls | each build | `a.rs` |");
        for (row, number) in rows.iter().zip(1..) {
            assert!(row.starts_with(&format!("| {number} | ")), "{row}");
        }
    }
}
