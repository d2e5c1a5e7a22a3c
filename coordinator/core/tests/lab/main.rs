//! The core, driven by hand: requests, power, restarts and silence in virtual time.

mod adoption;
mod declare;
mod guards;
mod hands;
mod histories;
mod routine;
mod sizes;
mod steps;
mod stops;
mod wakes;
mod world;
