//! The autoscaler's contract: which of its checks are proved, by which tests, and whether those pass.
//! In: the sources of the tests. Out: [`Proof`]s for the page in the guide (`page`) and for a run with a table (`run`).
//! Not here: the checks themselves; they are tests, each with its number in its name.

pub mod page;
pub mod run;
pub mod scan;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Checks are numbered from 1 to this.
pub const CHECKS: u8 = 50;

/// What stands around the coordinator's program while a check is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// A real control plane; the test makes single calls.
    Calls,
    /// A real control plane; an autoscaler makes the calls.
    Autoscaler,
}

impl Level {
    /// The test programs, each with a folder of its name.
    pub const ALL: [Self; 2] = [Self::Calls, Self::Autoscaler];

    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Autoscaler => "autoscaler",
        }
    }

    /// The test program, as cargo names it.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Calls => "contract",
            Self::Autoscaler => "cluster",
        }
    }

    /// Whether every test of the program must carry the number of a check.
    const fn is_checks_only(self) -> bool {
        match self {
            Self::Calls => true,
            Self::Autoscaler => false,
        }
    }
}

/// A test that proves a check, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Of the check.
    pub number: u8,
    /// Of the test function.
    pub name: String,
    /// What is proved, a sentence without full stop.
    pub statement: String,
    /// Where it is proved.
    pub level: Level,
    /// The test's file, from the folder of its crate's tests.
    pub file: String,
}

/// Every proof in the sources, in the order of the checks.
///
/// # Errors
/// When a file cannot be read, or a test has a number that no check has, or none where it must have one.
pub fn proofs(workspace: &Workspace) -> Result<Vec<Proof>> {
    let folder = workspace.root().join("tests/tests");
    let mut proofs = Vec::new();
    for level in Level::ALL {
        for file in sources(&folder, level)? {
            let text =
                fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            let shown = file.strip_prefix(&folder).unwrap_or(&file);
            let shown = shown.display().to_string();
            proofs.extend(proofs_in(&text, level, &shown)?);
        }
    }
    proofs.sort_by_key(|proof| proof.number);
    Ok(proofs)
}

/// The files of a test program, in a fixed order.
fn sources(folder: &Path, level: Level) -> Result<Vec<PathBuf>> {
    let root = folder.join(level.program());
    let mut files = vec![root.with_extension("rs")];
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        let inside = fs::read_dir(&folder);
        for entry in inside.with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn proofs_in(text: &str, level: Level, file: &str) -> Result<Vec<Proof>> {
    let mut proofs = Vec::new();
    for test in scan::tests(text) {
        let Some(number) = test.number() else {
            if level.is_checks_only() {
                bail!(
                    "{file}: {} carries no number of a check, as in c07_…",
                    test.name
                );
            }
            continue;
        };
        if number == 0 || number > CHECKS {
            bail!("{file}: {}: the checks are 1 to {CHECKS}", test.name);
        }
        proofs.push(Proof {
            number,
            statement: test.statement(),
            name: test.name,
            level,
            file: file.to_owned(),
        });
    }
    Ok(proofs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = "#[test]\nfn c07_node_is_found() {}\n";

    #[test]
    fn proof_carries_number_statement_level_and_file() {
        let proofs = proofs_in(TEST, Level::Calls, "contract/lookups.rs").unwrap();
        let proof = Proof {
            number: 7,
            name: "c07_node_is_found".to_owned(),
            statement: "Node is found".to_owned(),
            level: Level::Calls,
            file: "contract/lookups.rs".to_owned(),
        };
        assert_eq!(proofs, [proof]);
    }

    #[test]
    fn number_that_no_check_has_is_named() {
        for wrong in ["c00_nothing", "c51_beyond"] {
            let text = TEST.replace("c07_node_is_found", wrong);
            let error = proofs_in(&text, Level::Calls, "lookups.rs").unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn test_without_a_number_is_wrong_only_where_all_are_checks() {
        let text = TEST.replace("c07_", "");
        assert!(proofs_in(&text, Level::Calls, "lookups.rs").is_err());
        assert_eq!(
            proofs_in(&text, Level::Autoscaler, "spares.rs").unwrap(),
            []
        );
    }
}
