//! The core, driven by hand: requests, power, restarts and silence in virtual time.

mod adoption;
mod declare;
mod escalation;
mod guards;
mod hands;
mod histories;
mod outages;
mod promises;
mod refusals;
mod routine;
mod sizes;
mod speakers;
mod steps;
mod stops;
mod told;
mod wakes;
mod world;
