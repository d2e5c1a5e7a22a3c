//! A lab written as files: all of it read and judged before any of it counts.
//!
//! In: names and texts of files. Out: a [`Lab`], or every [`Finding`] that stands against it.
//! Holds: all or nothing; a finding is one line with file, line, object, field, value and what would be right.
//! Not here: folders and their changes (the coordinator's standalone input), and credentials: they live on the relay, so a
//! Secret is noted and skipped.

use serde_json::Value;

use crate::{
    Group, Node, Object,
    relations::{self, Severity},
    validate,
    yaml::{self, Document},
};

/// A valid lab.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lab {
    /// Its groups, in the order of the files. Every object has a namespace.
    pub groups: Vec<Group>,
    /// Its machines, in the order of the files.
    pub nodes: Vec<Node>,
    /// What works but deserves a look, and documents that were skipped.
    pub warnings: Vec<Finding>,
}

/// One line about a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the file.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
    /// Kind and name of the object, like `Node nuc1`; empty if it has none.
    pub object: String,
    /// What is wrong and what would be right.
    pub text: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            file,
            line,
            object,
            text,
        } = self;
        let separator = if object.is_empty() { "" } else { ": " };
        write!(out, "{file}:{line}: {object}{separator}{text}")
    }
}

/// Reads a lab from files given as (name, text).
///
/// # Errors
///
/// Everything that is wrong with it, file by file, then what is wrong between objects.
pub fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Lab, Vec<Finding>> {
    let mut reader = Reader::default();
    for (file, text) in files {
        match yaml::documents(text) {
            Ok(documents) => documents
                .into_iter()
                .for_each(|document| reader.take(file, document)),
            Err(error) => reader.errors.push(Finding {
                file: file.to_owned(),
                line: error.line,
                object: String::new(),
                text: error.what,
            }),
        }
    }
    reader.finish()
}

/// Where an object was read.
struct Origin {
    file: String,
    /// Without its value, which takes more room than the object: all origins are held until the lab is judged as a whole.
    document: Document,
    object: String,
}

impl Origin {
    fn finding(&self, field: &str, text: String) -> Finding {
        let line = self.document.line_of(field);
        Finding {
            file: self.file.clone(),
            line,
            object: self.object.clone(),
            text,
        }
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    lab: Lab,
    group_origins: Vec<Origin>,
    node_origins: Vec<Origin>,
    errors: Vec<Finding>,
}

impl Reader {
    fn take(&mut self, file: &str, mut document: Document) {
        let value = document.value.take();
        let object = title(&value);
        let origin = Origin {
            file: file.to_owned(),
            document,
            object,
        };
        if value["apiVersion"] == "v1" && value["kind"] == "Secret" {
            let text = "skipped: without Kubernetes, credentials are files of the relay".to_owned();
            self.lab.warnings.push(origin.finding("kind", text));
            return;
        }
        match validate(&value) {
            Ok(Object::Group(group)) => self.take_group(*group, origin),
            Ok(Object::Node(node)) => self.take_node(*node, origin),
            Err(problems) => self.errors.extend(
                problems
                    .into_iter()
                    .map(|problem| origin.finding(&problem.field, problem.text)),
            ),
        }
    }

    fn take_group(&mut self, mut group: Group, origin: Origin) {
        group
            .metadata
            .namespace
            .get_or_insert_with(|| "default".to_owned());
        match self.lab.groups.iter().position(|known| same(known, &group)) {
            Some(known) => self.errors.push(twice(&origin, &self.group_origins[known])),
            None => {
                self.lab.groups.push(group);
                self.group_origins.push(origin);
            }
        }
    }

    fn take_node(&mut self, mut node: Node, origin: Origin) {
        node.metadata
            .namespace
            .get_or_insert_with(|| "default".to_owned());
        match self.lab.nodes.iter().position(|known| same(known, &node)) {
            Some(known) => self.errors.push(twice(&origin, &self.node_origins[known])),
            None => {
                self.lab.nodes.push(node);
                self.node_origins.push(origin);
            }
        }
    }

    fn finish(mut self) -> Result<Lab, Vec<Finding>> {
        // A group that was refused would make its machines look lost.
        let whole = self.errors.is_empty();
        for broken in relations::broken(&self.lab.groups, &self.lab.nodes) {
            let is_it = |node: &Node| {
                node.metadata.namespace.as_ref() == Some(&broken.namespace)
                    && node.metadata.name.as_ref() == Some(&broken.name)
            };
            let Some(origin) = self
                .lab
                .nodes
                .iter()
                .position(is_it)
                .and_then(|index| self.node_origins.get(index))
            else {
                continue;
            };
            let finding =
                origin.finding(broken.field, format!("{}: {}", broken.field, broken.what));
            match broken.relation.severity() {
                Severity::Warning => self.lab.warnings.push(finding),
                Severity::Error if whole || broken.relation != relations::Relation::GroupExists => {
                    self.errors.push(finding)
                }
                Severity::Error => {}
            }
        }
        if self.errors.is_empty() {
            Ok(self.lab)
        } else {
            Err(self.errors)
        }
    }
}

/// `Node nuc1`, as far as the document says it.
fn title(document: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&document["kind"]), text(&document["metadata"]["name"]));
    format!("{kind} {name}").trim().to_owned()
}

/// Whether two objects of one kind have one name.
fn same(one: &impl kube::Resource, other: &impl kube::Resource) -> bool {
    one.meta().namespace == other.meta().namespace && one.meta().name == other.meta().name
}

fn twice(origin: &Origin, first: &Origin) -> Finding {
    let place = format!("{}:{}", first.file, first.document.line);
    origin.finding("metadata.name", format!("metadata.name: Duplicate value: {:?}: it is already declared in {place}; remove or rename one", origin.object))
}

#[cfg(test)]
mod tests;
