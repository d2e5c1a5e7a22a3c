//! The agent driven by hand: inputs in, steps out.

mod admission;
mod barrier;
mod fixture;
mod histories;
mod lifecycle;
mod presence;
mod restart;
