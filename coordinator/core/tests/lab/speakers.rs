//! Who may speak about what: a result counts only from whoever was told, and strangers take no room.

use coordinator_core::{
    AgentId, Answer, Beat, Command, Fact, MachineId, PhaseName, PowerRead, Repeat, Report,
    ReportState, Verb,
};

use crate::declare::{bmc, delete, group, lab};
use crate::steps::{phase, running};
use crate::world::World;

/// A trusted result of another agent than the one that was told.
fn foreign(command: &Command, state: ReportState, read: Option<PowerRead>) -> Fact {
    Fact::Reported(Report {
        agent: AgentId::new("m2"),
        command: command.id.clone(),
        state,
        code: String::new(),
        message: String::new(),
        repeat: Repeat::MayHelp,
        read,
        trusted: true,
    })
}

fn last_sent(world: &World, is_it: impl Fn(&Command) -> bool) -> Command {
    let sent = world.commands.iter().rev().find(|c| is_it(c));
    sent.expect("it was sent").clone()
}

#[test]
fn only_the_machine_itself_can_say_that_it_goes_down() {
    for restarts in [false, true] {
        let mut world = running(lab(2), 2);
        world.drop_reports = true;
        world.sims.get_mut("m1").expect("m1").ignores_stop = true;
        assert_eq!(world.call(delete(&["m1"])), Answer::Done);
        world.run_for(3_000);
        let order = last_sent(&world, |c| c.verb == Verb::PowerOff);
        world.sims.get_mut("m1").expect("m1").mute = true;
        if restarts {
            world.restart();
        }
        world.tell(foreign(&order, ReportState::Running, None));
        world.run_for(240_000);
        assert_eq!(
            phase(&mut world, "m1"),
            PhaseName::Stopping,
            "restarts: {restarts}"
        );
        let record = &world.store_machines[&MachineId::new("m1")];
        assert!(!record.operation.as_ref().expect("a stop").going_down);
    }
}

#[test]
fn only_the_relay_that_was_asked_can_say_what_a_bmc_said() {
    let mut world = running(vec![group(), Fact::MachineApplied(bmc("r1"))], 1);
    world.drop_reports = true;
    world.sims.get_mut("r1").expect("r1").mute = true;
    for _ in 0..10 {
        world.run_for(30_000);
        let asked = last_sent(&world, |c| matches!(c.verb, Verb::RedfishStatus(_)));
        world.tell(foreign(&asked, ReportState::Done, Some(PowerRead::Off)));
    }
    world.run_for(30_000);
    assert_eq!(phase(&mut world, "r1"), PhaseName::Unknown);
}

#[test]
fn heartbeats_of_strangers_take_a_bounded_room_and_push_nobody_out() {
    let mut world = running(lab(2), 2);
    for i in 0..5_000 {
        let name = format!("stranger-{i}");
        world.tell(Fact::Beat(Beat {
            agent: AgentId::new(&name),
            boot_id: "b".into(),
            instance: "i".into(),
            challenge: "c".into(),
            up_ms: 1,
        }));
    }
    let now = world.now();
    let agents = world.lab.view(now).agents.clone();
    assert!(agents.len() <= 300, "{} agents", agents.len());
    for known in ["m1", "m2", "pi"] {
        assert!(agents[&AgentId::new(known)].live, "{known}");
    }
    assert!(
        agents.contains_key(&AgentId::new("stranger-4999")),
        "the one heard last stays"
    );
}
