//! What can be wrong with the configuration: always one line with file, field, value and what would be right.

use proto_link::{LinkConfigFault, LinkSetting};
use std::io;
use thiserror::Error;

/// Why the agent does not start.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file or one that it names cannot be read.
    #[error("{file}: cannot be read")]
    Unreadable {
        file: String,
        #[source]
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{file}:{line}: {detail}")]
    Syntax {
        file: String,
        line: usize,
        detail: String,
    },
    /// A field that does not exist.
    #[error("{file}: {field} = {value}: is not a field here; known are {known}")]
    UnknownField {
        file: String,
        field: String,
        value: String,
        known: String,
    },
    /// A field that is needed.
    #[error("{file}: {field} is missing: must be {right}")]
    Missing {
        file: String,
        field: String,
        right: String,
    },
    /// A value that does not fit.
    #[error("{file}: {field} = {value}: must be {right}")]
    Wrong {
        file: String,
        field: String,
        value: String,
        right: String,
    },
    /// The state folder cannot be used.
    #[error("{folder}: state_dir must be a folder that the agent can write to")]
    StateDir {
        folder: String,
        #[source]
        source: io::Error,
    },
    /// No link to the broker can be built from the settings.
    #[error("{} in the configuration cannot be used", link_field(.0))]
    Link(#[source] LinkConfigFault),
}

/// The field that such a fault comes from.
fn link_field(fault: &LinkConfigFault) -> &'static str {
    match fault.setting() {
        LinkSetting::Broker => "broker",
        LinkSetting::PasswordFile => "password_file",
        LinkSetting::CaFile => "ca_file",
    }
}
