//! Steps that many tests take first, or look with last.

use coordinator_core::{Answer, Fact, MachineId, PhaseName};

use crate::declare::increase;
use crate::world::World;

/// Where a machine is in its life.
pub(crate) fn phase(world: &mut World, name: &str) -> PhaseName {
    let now = world.now();
    world.lab.view(now).machines[&MachineId::new(name)].phase
}

/// A lab in which `count` machines were asked for and have come.
pub(crate) fn running(specs: Vec<Fact>, count: i32) -> World {
    let mut world = World::new(specs);
    world.run_for(60_000);
    assert_eq!(world.call(increase(count, 0)), Answer::Done);
    world.run_for(120_000);
    world
}
