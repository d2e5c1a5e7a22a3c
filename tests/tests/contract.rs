//! What the cluster-autoscaler relies on, check by check: the coordinator's program at a real API server, asked over gRPC.
//! Holds: each test is one check and carries its number; it has groups of its own and leaves other groups alone.
//! Not here: how the autoscaler behaves; see `ca_model`.

#[path = "contract/deletions.rs"]
mod deletions;
#[path = "contract/floor.rs"]
mod floor;
#[path = "contract/increases.rs"]
mod increases;
#[path = "contract/lists.rs"]
mod lists;
#[path = "contract/lookups.rs"]
mod lookups;
#[path = "contract/outages.rs"]
mod outages;
#[path = "contract/stops.rs"]
mod stops;
#[path = "contract/templates.rs"]
mod templates;
