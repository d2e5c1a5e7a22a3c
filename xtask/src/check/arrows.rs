//! Who may depend on whom.
//! In: the dependency graph as cargo resolved it.
//! Holds: each crate of the workspace has a row in the table `RULES`; an arrow that is not in it is an error.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, PackageId};

use crate::workspace::Workspace;

/// What one crate may depend on.
struct Rule {
    name: &'static str,
    /// Crates of this workspace that it may name in its manifest.
    may: &'static [&'static str],
    /// Crates of others that may not be reached, however many steps away.
    never: &'static [&'static str],
}

/// Worlds that a pure crate must not know.
const WORLDS: &[&str] = &["tokio", "kube", "tonic", "k8s-openapi", "rumqttc"];
/// The cluster's side, which an agent must work without.
const CLUSTER: &[&str] = &["kube", "k8s-openapi", "tonic"];

const RULES: [Rule; 13] = [
    rule("proto-autoscaler", &[], &[]),
    rule("proto-mqtt", &[], WORLDS),
    rule("proto-link", &[], CLUSTER),
    rule("hardware", &[], CLUSTER),
    rule("agent-core", &["proto-mqtt"], WORLDS),
    rule(
        "agent",
        &["agent-core", "hardware", "proto-link", "proto-mqtt"],
        CLUSTER,
    ),
    rule(
        "coordinator-core",
        &[],
        &["tokio", "kube", "tonic", "k8s-openapi", "rumqttc", "serde"],
    ),
    rule("coordinator-crds", &[], &[]),
    rule(
        "coordinator",
        &[
            "coordinator-core",
            "coordinator-crds",
            "proto-autoscaler",
            "proto-link",
            "proto-mqtt",
        ],
        &[],
    ),
    rule("homelabctl", &["coordinator-crds", "proto-mqtt"], &[]),
    rule(
        "tests",
        &[
            "agent",
            "agent-core",
            "coordinator",
            "coordinator-core",
            "coordinator-crds",
            "hardware",
            "homelabctl",
            "proto-autoscaler",
            "proto-link",
            "proto-mqtt",
        ],
        &[],
    ),
    rule(
        "fuzz",
        &[
            "agent",
            "coordinator",
            "coordinator-core",
            "coordinator-crds",
            "hardware",
            "homelabctl",
            "proto-autoscaler",
            "proto-link",
            "proto-mqtt",
        ],
        &[],
    ),
    rule("xtask", &[], &[]),
];

const fn rule(
    name: &'static str,
    may: &'static [&'static str],
    never: &'static [&'static str],
) -> Rule {
    Rule { name, may, never }
}

/// Compares the graph with the rules.
///
/// # Errors
/// One line for each arrow that is not allowed.
pub fn check(workspace: &Workspace) -> Result<()> {
    let graph = Graph::of(&workspace.metadata)?;
    let wrong = violations(&graph, &RULES);
    if !wrong.is_empty() {
        bail!("\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

/// Names only, so that the rules can be tested without cargo.
#[derive(Default)]
struct Graph {
    /// Crates of the workspace, with those of the workspace that they name for any purpose.
    ours: BTreeMap<String, BTreeSet<String>>,
    /// Everything that ends up in the program of a crate of the workspace.
    reached: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn of(metadata: &Metadata) -> Result<Self> {
        let members = metadata.workspace_packages();
        let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
        let mut graph = Self::default();
        for member in &members {
            let named = member
                .dependencies
                .iter()
                .map(|dependency| dependency.name.as_str())
                // A crate that names itself only switches on features for its own tests.
                .filter(|name| names.contains(name) && *name != member.name.as_str())
                .map(str::to_owned)
                .collect();
            graph.ours.insert(member.name.to_string(), named);
            let reached = reached(metadata, &member.id)?;
            graph.reached.insert(member.name.to_string(), reached);
        }
        Ok(graph)
    }
}

/// The names of all packages that `start` links, at any distance; not those of its build scripts and tests.
fn reached(metadata: &Metadata, start: &PackageId) -> Result<BTreeSet<String>> {
    let nodes: BTreeMap<_, _> = metadata
        .resolve
        .as_ref()
        .context("cargo metadata has no resolved graph")?
        .nodes
        .iter()
        .map(|node| (&node.id, node))
        .collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        let node = nodes.get(id).context("a package is not in the graph")?;
        let linked = node.deps.iter().filter(|dependency| {
            dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal)
        });
        open.extend(
            linked
                .map(|dependency| &dependency.pkg)
                .filter(|id| seen.insert(*id)),
        );
    }
    Ok(seen
        .into_iter()
        .map(|id| metadata[id].name.to_string())
        .collect())
}

fn violations(graph: &Graph, rules: &[Rule]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, named) in &graph.ours {
        let Some(rule) = rules.iter().find(|rule| rule.name == name) else {
            wrong.push(format!(
                "{name} has no row in the table of arrows: add it to xtask/src/check/arrows.rs"
            ));
            continue;
        };
        let forbidden = named
            .iter()
            .filter(|other| !rule.may.contains(&other.as_str()));
        wrong.extend(forbidden.map(|other| {
            format!(
                "{name} must not depend on {other}; of this workspace it may use: {}",
                list(rule.may)
            )
        }));
        let reached = graph.reached.get(name).into_iter().flatten();
        let reached = reached.filter(|other| rule.never.contains(&other.as_str()));
        wrong.extend(reached.map(|other| {
            format!(
                "{name} must not reach {other}: see `cargo tree -p {name} -i {other} -e normal`"
            )
        }));
    }
    wrong
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(name: &str, named: &[&str], reached: &[&str]) -> Graph {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Graph {
            ours: [(name.to_owned(), set(named))].into(),
            reached: [(name.to_owned(), set(reached))].into(),
        }
    }

    #[test]
    fn allowed_arrows_pass() {
        let graph = graph(
            "agent",
            &["agent-core", "hardware"],
            &["tokio", "proto-mqtt"],
        );
        assert_eq!(violations(&graph, &RULES), Vec::<String>::new());
    }

    #[test]
    fn forbidden_arrows_are_named_with_both_ends() {
        let cases = [
            (
                "coordinator-core",
                "proto-mqtt",
                "coordinator-core must not depend on proto-mqtt",
            ),
            (
                "agent",
                "coordinator-core",
                "agent must not depend on coordinator-core",
            ),
            (
                "coordinator",
                "agent-core",
                "coordinator must not depend on agent-core",
            ),
            (
                "hardware",
                "proto-mqtt",
                "hardware must not depend on proto-mqtt",
            ),
            ("xtask", "tests", "xtask must not depend on tests"),
        ];
        for (from, to, expected) in cases {
            let wrong = violations(&graph(from, &[to], &[]), &RULES);
            assert_eq!(wrong.len(), 1);
            assert!(wrong[0].starts_with(expected), "{wrong:?}");
        }
    }

    #[test]
    fn forbidden_worlds_are_found_at_any_distance() {
        for (from, world) in [
            ("coordinator-core", "serde"),
            ("agent-core", "tokio"),
            ("agent", "kube"),
        ] {
            let wrong = violations(&graph(from, &[], &["x", world]), &RULES);
            assert_eq!(wrong.len(), 1);
            assert!(
                wrong[0].contains(&format!("must not reach {world}")),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn crate_without_a_row_is_an_error() {
        let wrong = violations(&graph("newcomer", &[], &[]), &RULES);
        assert!(wrong[0].starts_with("newcomer has no row"), "{wrong:?}");
    }

    #[test]
    fn graph_of_this_workspace_follows_links_through_other_crates() {
        let workspace = Workspace::load().unwrap();
        let graph = Graph::of(&workspace.metadata).unwrap();
        assert!(graph.reached["xtask"].contains("serde_json"));
        assert!(graph.ours["agent"].contains("agent-core"));
    }
}
