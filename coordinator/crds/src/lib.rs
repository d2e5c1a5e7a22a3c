//! The custom resources Group and Node, and the validation that both modes share.
//!
//! In: Rust types here, YAML documents of a lab. Out: the CRDs of `deploy/crds`, validated objects, problems in one line each.
//! Holds: a document is refused without Kubernetes in the words of the API server, because both judge by the same schema and rules.
//! Not here: what a machine does next (coordinator-core), and reading folders or watching the API server (coordinator).

mod bounds;
pub mod condition;
mod definitions;
pub mod duration;
pub mod energy;
pub mod group;
pub mod group_status;
pub mod lab;
pub mod node;
pub mod node_status;
pub mod quantity;
pub mod relations;
mod rules;
pub mod threshold;
pub mod time;
pub mod validation;
pub mod yaml;

pub use condition::{Condition, ConditionStatus};
pub use definitions::{crds, generated_files};
pub use energy::Energy;
pub use group::{Group, GroupSpec};
pub use group_status::GroupStatus;
pub use node::{Node, NodeSpec};
pub use node_status::NodeStatus;
pub use quantity::Quantity;
pub use threshold::Threshold;
pub use time::Time;
pub use validation::{Object, Problem, validate};

/// API group of both kinds.
pub const API_GROUP: &str = "homelab-autoscaler.dev";
/// The only version served.
pub const VERSION: &str = "v1alpha1";
/// What a document's `apiVersion` says.
pub const API_VERSION: &str = "homelab-autoscaler.dev/v1alpha1";
