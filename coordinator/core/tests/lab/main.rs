//! The core, driven by hand: requests, power, restarts and silence in virtual time.

mod adoption;
mod bench;
mod declare;
mod doubt;
mod escalation;
mod failures;
mod guards;
mod hands;
mod histories;
mod identity;
mod outages;
mod promises;
mod proofs;
mod recall;
mod refusals;
mod routine;
mod sizes;
mod speakers;
mod steps;
mod stops;
mod takeover;
mod told;
mod transitions;
mod wakes;
mod withdrawn;
mod world;
