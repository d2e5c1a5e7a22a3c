//! The core, driven by hand: requests, power, restarts and silence in virtual time.

mod adoption;
mod declare;
mod hands;
mod histories;
mod sizes;
mod stops;
mod wakes;
mod world;
