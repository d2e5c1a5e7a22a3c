//! The words of `/readyz`.
//! Holds: the first lines decide readiness; what follows is the truth about everything else.

use std::fmt::Write as _;

use coordinator_core::View;

/// One line.
pub(super) fn brief(waiting: Option<&str>) -> String {
    match waiting {
        None => "ready\n".to_owned(),
        Some(what) => format!("not ready: waiting for {what}\n"),
    }
}

/// One line for each part, `[+]` where it is as it should be.
pub(super) fn verbose(view: &View, waiting: Option<&str>, in_cluster: bool) -> String {
    let serving = match waiting {
        None => "leading, loaded".to_owned(),
        Some(what) => format!("waiting for {what}"),
    };
    let connected = |up: bool| if up { "connected" } else { "not connected" }.to_owned();
    let cluster = in_cluster.then(|| ("cluster", view.cluster_up, connected(view.cluster_up)));
    let parts = [
        Some(("serving", waiting.is_none(), serving)),
        Some(("broker", view.broker_up, connected(view.broker_up))),
        cluster,
        Some(agents(view)),
        Some(groups(view)),
        Some(machines(view)),
    ];
    let mut text = String::new();
    for (name, good, words) in parts.into_iter().flatten() {
        let sign = if good { '+' } else { '-' };
        // Writing into a string does not fail.
        let _ = writeln!(text, "[{sign}] {name}: {words}");
    }
    text.push_str(&brief(waiting));
    text
}

/// A part's name, whether it is as it should be, and how it is in words.
type Part = (&'static str, bool, String);

/// A machine that sleeps has a silent agent; only a lab without any live one cannot act.
fn agents(view: &View) -> Part {
    let all = view.agents.len();
    let silent: Vec<_> = view
        .agents
        .iter()
        .filter(|(_, agent)| !agent.live)
        .map(|(id, _)| id.as_str())
        .collect();
    let live = all - silent.len();
    let of = if silent.is_empty() {
        String::new()
    } else {
        format!(" (silent: {})", silent.join(", "))
    };
    let words = format!("{live} of {all} live{of}");
    ("agents", live > 0 || all == 0, words)
}

fn groups(view: &View) -> Part {
    let all = view.groups.len();
    let frozen: Vec<_> = view
        .groups
        .values()
        .filter(|group| group.frozen)
        .map(|group| group.id.as_str())
        .collect();
    let words = if frozen.is_empty() {
        format!("{all}, none frozen")
    } else {
        format!("{all}, frozen after a mass silence: {}", frozen.join(", "))
    };
    ("groups", frozen.is_empty(), words)
}

fn machines(view: &View) -> Part {
    let all = view.machines.len();
    let faulty: Vec<_> = view
        .machines
        .values()
        .filter(|machine| machine.fault.is_some())
        .map(|machine| machine.id.as_str())
        .collect();
    let words = if faulty.is_empty() {
        format!("{all}, all declarations sound")
    } else {
        format!("{all}, with faulty declarations: {}", faulty.join(", "))
    };
    ("machines", faulty.is_empty(), words)
}
