//! The words of `/readyz`.
//! Holds: the first lines decide readiness; what follows is the truth about everything else.

use std::fmt::Write as _;

use coordinator_core::View;

/// One line.
pub(super) fn brief(view: &View) -> String {
    if view.serving {
        "ready\n".to_owned()
    } else {
        format!("not ready: waiting for {}\n", view.waiting_for)
    }
}

/// One line for each part, `[+]` where it is as it should be.
pub(super) fn verbose(view: &View, in_cluster: bool) -> String {
    let mut text = String::new();
    let mut line = |good: bool, part: &str, words: String| {
        let sign = if good { '+' } else { '-' };
        // Writing into a string does not fail.
        let _ = writeln!(text, "[{sign}] {part}: {words}");
    };
    let connected = |up: bool| if up { "connected" } else { "not connected" }.to_owned();
    let serving = if view.serving {
        "leading, loaded".to_owned()
    } else {
        format!("waiting for {}", view.waiting_for)
    };
    line(view.serving, "serving", serving);
    line(view.broker_up, "broker", connected(view.broker_up));
    if in_cluster {
        line(view.cluster_up, "cluster", connected(view.cluster_up));
    }

    let silent: Vec<_> = view
        .agents
        .iter()
        .filter(|(_, agent)| !agent.live)
        .map(|(id, _)| id.as_str())
        .collect();
    let live = view.agents.len() - silent.len();
    let of = if silent.is_empty() {
        String::new()
    } else {
        format!(" (silent: {})", silent.join(", "))
    };
    // A machine that sleeps has a silent agent; only a lab without any live one cannot act.
    line(
        live > 0 || view.agents.is_empty(),
        "agents",
        format!("{live} of {} live{of}", view.agents.len()),
    );

    let frozen: Vec<_> = view
        .groups
        .values()
        .filter(|group| group.frozen)
        .map(|group| group.id.as_str())
        .collect();
    let groups = if frozen.is_empty() {
        format!("{}, none frozen", view.groups.len())
    } else {
        format!(
            "{}, frozen after a mass silence: {}",
            view.groups.len(),
            frozen.join(", ")
        )
    };
    line(frozen.is_empty(), "groups", groups);

    let faulty: Vec<_> = view
        .machines
        .values()
        .filter(|machine| machine.fault.is_some())
        .map(|machine| machine.id.as_str())
        .collect();
    let machines = if faulty.is_empty() {
        format!("{}, all declarations sound", view.machines.len())
    } else {
        format!(
            "{}, with faulty declarations: {}",
            view.machines.len(),
            faulty.join(", ")
        )
    };
    line(faulty.is_empty(), "machines", machines);
    text.push_str(&brief(view));
    text
}
