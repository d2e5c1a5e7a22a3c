//! House rules about files that no compiler knows.
//! In: the repository's files, without what is built or hidden.
//! Out: one line for each breach, with the file and what would be right.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use crate::workspace::{NO_STD, Workspace};

/// A file longer than this has more than one subject.
const MAX_LINES: usize = 500;
/// `main` wires; what it wires lies elsewhere.
const MAX_MAIN_LINES: usize = 20;
/// Macros that stand for missing or forgotten work; split so that this file passes its own check.
const LEFTOVERS: [&str; 3] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
];
/// Tables of a manifest that hold dependencies.
const DEPENDENCY_TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Looks at every file.
///
/// # Errors
/// The breaches, one line each.
pub fn check(workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file);
        let kind = name.extension().and_then(|extension| extension.to_str());
        if kind == Some("rs") {
            wrong.extend(source(name, &read(file)?));
        } else if name.ends_with("Cargo.toml") {
            wrong.extend(manifest(name, &read(file)?)?);
        }
    }
    for package in workspace.metadata.workspace_packages() {
        if NO_STD.contains(&package.name.as_str()) {
            let lib = package.manifest_path.with_file_name("src").join("lib.rs");
            wrong.extend(no_std(&package.name, &read(lib.as_std_path())?));
        }
    }
    let readme = root.join("README.md");
    if readme.exists() {
        wrong.extend(map(&read(&readme)?, &top_folders(root)?));
    }
    if !wrong.is_empty() {
        bail!("\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

fn source(name: &Path, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = text.lines().count();
    let limit = if name.ends_with("src/main.rs") {
        MAX_MAIN_LINES
    } else {
        MAX_LINES
    };
    if lines > limit {
        wrong.push(format!(
            "{}: {lines} lines; split it, {limit} are allowed",
            name.display()
        ));
    }
    // Unit tests in a file of their own belong to the module above, which says what it is.
    if !text.starts_with("//!") && !name.ends_with("tests.rs") {
        wrong.push(format!(
            "{}: begin with a `//!` comment that says what this file is",
            name.display()
        ));
    }
    for (index, line) in text.lines().enumerate() {
        let leftover = LEFTOVERS.iter().find(|leftover| line.contains(*leftover));
        if let Some(leftover) = leftover {
            wrong.push(format!(
                "{}:{}: {leftover}…) must not stay",
                name.display(),
                index + 1
            ));
        }
    }
    wrong
}

fn manifest(name: &Path, text: &str) -> Result<Vec<String>> {
    let table: Table = text
        .parse()
        .with_context(|| format!("read {}", name.display()))?;
    let workspace = table.get("workspace").and_then(Value::as_table);
    let targets = table.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(Table::values);
    let owners = targets.filter_map(Value::as_table).chain([&table]);
    let mut wrong = Vec::new();
    for (dependency, value) in owners.flat_map(dependencies) {
        if value.get("workspace").and_then(Value::as_bool) != Some(true) {
            wrong.push(format!(
                "{}: {dependency}: write `{dependency}.workspace = true` and the version in the root manifest",
                name.display()
            ));
        }
    }
    for (dependency, value) in workspace.into_iter().flat_map(dependencies) {
        let version = value.get("version").unwrap_or(value).as_str();
        if version.is_some_and(|version| version.contains('*')) {
            wrong.push(format!(
                "{}: {dependency}: name a version instead of `*`",
                name.display()
            ));
        }
    }
    Ok(wrong)
}

fn dependencies(owner: &Table) -> impl Iterator<Item = (&String, &Value)> {
    DEPENDENCY_TABLES
        .iter()
        .filter_map(|name| owner.get(*name)?.as_table())
        .flatten()
}

fn no_std(package: &str, text: &str) -> Option<String> {
    let declared = text.contains("#![no_std]") || text.contains("#![cfg_attr(not(test), no_std)]");
    (!declared).then(|| format!("{package}: src/lib.rs must say `#![no_std]`"))
}

fn map(readme: &str, folders: &[String]) -> Vec<String> {
    folders
        .iter()
        .filter(|folder| {
            !readme.contains(&format!("{folder}/")) && !readme.contains(&format!("`{folder}`"))
        })
        .map(|folder| format!("README.md: the map of the folders does not mention {folder}/"))
        .collect()
}

fn top_folders(root: &Path) -> Result<Vec<String>> {
    let mut folders = Vec::new();
    for path in entries(root)? {
        if path.is_dir()
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            folders.push(name.to_owned());
        }
    }
    folders.sort();
    Ok(folders)
}

/// All files below a folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// What lies in a folder, without hidden entries and what cargo builds.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && name != "target" {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_undocumented_or_unfinished_sources_are_named() {
        let name = Path::new("agent/src/x.rs");
        assert_eq!(source(name, "//! X.\n"), Vec::<String>::new());
        let long = format!("//! X.\n{}", "\n".repeat(MAX_LINES));
        assert_eq!(
            source(name, &long),
            ["agent/src/x.rs: 501 lines; split it, 500 are allowed"]
        );
        assert_eq!(
            source(name, "use std::fs;\n"),
            ["agent/src/x.rs: begin with a `//!` comment that says what this file is"]
        );
        let unit_tests = Path::new("agent/src/x/tests.rs");
        assert_eq!(source(unit_tests, "use super::*;\n"), Vec::<String>::new());
        let unfinished = format!("//! X.\nfn x() {{ {}) }}\n", LEFTOVERS[0]);
        assert_eq!(source(name, &unfinished).len(), 1);
    }

    #[test]
    fn versions_stand_in_the_root_manifest_only() {
        let name = Path::new("agent/Cargo.toml");
        let good =
            "[dependencies]\na.workspace = true\nb = { workspace = true, features = [\"x\"] }\n";
        assert_eq!(manifest(name, good).unwrap(), Vec::<String>::new());
        for bad in [
            "[dependencies]\na = \"1\"\n",
            "[dev-dependencies]\na = { version = \"1\" }\n",
            "[target.'cfg(unix)'.build-dependencies]\na = { path = \"../a\" }\n",
        ] {
            let wrong = manifest(name, bad).unwrap();
            assert_eq!(wrong.len(), 1, "{bad}");
            assert!(
                wrong[0].starts_with("agent/Cargo.toml: a: write"),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn root_manifest_has_no_wildcards() {
        let name = Path::new("Cargo.toml");
        let text = "[workspace.dependencies]\na = \"1\"\nb = { path = \"b\" }\n";
        assert_eq!(manifest(name, text).unwrap(), Vec::<String>::new());
        for bad in ["a = \"*\"", "a = { version = \"1.*\" }"] {
            let text = format!("[workspace.dependencies]\n{bad}\n");
            assert_eq!(manifest(name, &text).unwrap().len(), 1, "{bad}");
        }
    }

    #[test]
    fn readme_mentions_every_folder() {
        let folders = ["agent".to_owned(), "docs".to_owned()];
        let wrong = map("| `agent` | the agent |", &folders);
        assert_eq!(
            wrong,
            ["README.md: the map of the folders does not mention docs/"]
        );
    }

    #[test]
    fn pure_crate_without_the_attribute_is_named() {
        assert_eq!(no_std("x", "//! X.\n#![no_std]\n"), None);
        assert!(no_std("x", "//! X.\n").is_some());
    }
}
