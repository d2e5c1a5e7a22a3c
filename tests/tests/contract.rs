//! What the cluster-autoscaler relies on, check by check: the coordinator's program at a real API server, asked over gRPC.
//! Holds: each test is one check and carries its number; it has groups of its own and leaves other groups alone.
//! Not here: how the autoscaler behaves; see `ca_model`.

#[path = "contract/decreases.rs"]
mod decreases;
#[path = "contract/deletions.rs"]
mod deletions;
#[path = "contract/failures.rs"]
mod failures;
#[path = "contract/floor.rs"]
mod floor;
#[path = "contract/hands.rs"]
mod hands;
#[path = "contract/held.rs"]
mod held;
#[path = "contract/identity.rs"]
mod identity;
#[path = "contract/increases.rs"]
mod increases;
#[path = "contract/leaders.rs"]
mod leaders;
#[path = "contract/lists.rs"]
mod lists;
#[path = "contract/lookups.rs"]
mod lookups;
#[path = "contract/lost.rs"]
mod lost;
#[path = "contract/outages.rs"]
mod outages;
#[path = "contract/prices.rs"]
mod prices;
#[path = "contract/reads.rs"]
mod reads;
#[path = "contract/returns.rs"]
mod returns;
#[path = "contract/stops.rs"]
mod stops;
#[path = "contract/templates.rs"]
mod templates;
#[path = "contract/told.rs"]
mod told;
#[path = "contract/transport.rs"]
mod transport;
