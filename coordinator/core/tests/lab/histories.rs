//! The same calls give the same history. Random histories are played by the crate `tests`, with real agents.

use crate::declare::{delete, increase, lab};
use crate::world::World;

#[test]
fn the_same_calls_give_the_same_history() {
    let run = || {
        let mut world = World::new(lab(3));
        world.call(increase(2, 0));
        world.run_for(300_000);
        world.restart();
        world.call(delete(&["m1"]));
        world.run_for(300_000);
        (world.effects, world.store_machines)
    };
    assert_eq!(run(), run());
}
