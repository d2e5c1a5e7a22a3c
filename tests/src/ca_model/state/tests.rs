use super::*;
use crate::ca_model::cluster::TaintSeen;

const G: &str = "default/workers";
/// In the middle of nowhere, so that nothing is accidentally at zero.
const T0: u64 = 1_000_000;

fn fresh() -> State {
    State::new(Options::default().startup_time)
}

fn ms(duration: Duration) -> u64 {
    millis(duration)
}

fn group(target: i32, instances: &[(&str, InstanceState)]) -> GroupSeen {
    let instance = |(id, state): &(&str, InstanceState)| InstanceSeen {
        id: (*id).to_owned(),
        state: *state,
        error: None,
    };
    GroupSeen {
        id: G.into(),
        min: 0,
        max: 10,
        target,
        instances: instances.iter().map(instance).collect(),
        options: Options::default().of_group(None),
    }
}

fn node(name: &str) -> NodeSeen {
    NodeSeen {
        name: name.into(),
        provider_id: format!("p/{name}"),
        ready: true,
        age: Duration::from_secs(3_600),
        ..NodeSeen::default()
    }
}

fn unready(name: &str) -> NodeSeen {
    NodeSeen {
        ready: false,
        ..node(name)
    }
}

fn all_in_group(nodes: &[NodeSeen]) -> BTreeMap<String, String> {
    let pair = |node: &NodeSeen| (node.name.clone(), G.to_owned());
    nodes.iter().map(pair).collect()
}

fn update(state: &mut State, now_ms: u64, group: &GroupSeen, nodes: &[NodeSeen]) -> Picture {
    let groups = std::slice::from_ref(group);
    state.update(now_ms, groups, nodes, &all_in_group(nodes))
}

#[test]
fn classes_have_their_order() {
    let startup = Duration::from_secs(30);
    let tainted = |node: NodeSeen| NodeSeen {
        taints: vec![TaintSeen {
            key: TO_BE_DELETED.into(),
            ..TaintSeen::default()
        }],
        ..node
    };
    let suspended = |node: NodeSeen| NodeSeen {
        suspended: true,
        ..node
    };
    let young = NodeSeen {
        age: Duration::from_secs(29),
        ..unready("a")
    };
    let cases = [
        (tainted(suspended(node("a"))), Class::Deleted),
        (suspended(node("a")), Class::Suspended),
        (node("a"), Class::Ready),
        (young, Class::NotStarted),
        (unready("a"), Class::Unready),
    ];
    for (node, class) in cases {
        assert_eq!(classify(&node, startup), class, "{node:?}");
    }
}

#[test]
fn upcoming_leaves_out_neither_not_started_nor_deleted_nor_unregistered() {
    let counts = Counts {
        registered: 6,
        ready: 1,
        unready: 1,
        suspended: 1,
        not_started: 2,
        deleted: 1,
        unregistered: 1,
        long_unregistered: 1,
    };
    assert_eq!(counts.upcoming(10), 6);
}

#[test]
fn instance_matches_its_node_by_the_exact_provider_id() {
    let listed = group(
        4,
        &[
            ("p/a", InstanceState::Running),
            ("P/a", InstanceState::Running),
            ("p/b", InstanceState::Creating),
            ("p/c", InstanceState::None),
            ("p/d", InstanceState::Deleting),
        ],
    );
    assert_eq!(unregistered(&listed, &[node("a")]), ["P/a", "p/b", "p/c"]);
    let mut failed = group(1, &[("p/b", InstanceState::Creating)]);
    failed.instances[0].error = Some("BOOT_TIMEOUT".into());
    assert!(unregistered(&failed, &[]).is_empty());
}

#[test]
fn instance_without_a_node_is_given_up_after_the_provision_time() {
    let mut state = fresh();
    let limit = ms(Options::default().provision_time);
    let listed = group(1, &[("p/a", InstanceState::Running)]);
    let gone = group(1, &[]);
    for (at, group, long) in [
        (0, &listed, false),
        (limit - 1, &listed, false),
        (limit, &listed, true),
        // The clock starts anew when the id was away.
        (limit + 1, &gone, false),
        (limit + 2, &listed, false),
    ] {
        let picture = update(&mut state, T0 + at, group, &[]);
        assert_eq!(!picture.long_unregistered.is_empty(), long, "at {at}");
    }
}

#[test]
fn request_ends_as_soon_as_nothing_is_upcoming() {
    let mut state = fresh();
    state.requested(G, 1, T0);
    let creating = group(1, &[("p/a", InstanceState::Creating)]);
    let picture = update(&mut state, T0, &creating, &[]);
    assert!(state.is_scaling_up(&picture, &creating));
    assert_eq!(state.upcoming(&picture, &creating, T0), 1);
    // A kept Node of a machine that boots is old and unready, so the machine is not upcoming any more.
    update(&mut state, T0 + 1, &creating, &[unready("a")]);
    assert_eq!(state.pending(G), 0);
}

#[test]
fn booting_machine_is_not_upcoming_without_a_request() {
    let mut state = fresh();
    let creating = group(1, &[("p/a", InstanceState::Creating)]);
    let picture = update(&mut state, T0, &creating, &[]);
    assert_eq!(picture.counts[G].upcoming(1), 1);
    assert_eq!(state.upcoming(&picture, &creating, T0), 0);
    state.requested(G, 1, T0);
    state.back_off(G, &Options::default(), T0);
    let picture = update(&mut state, T0 + 1, &creating, &[]);
    assert_eq!(state.upcoming(&picture, &creating, T0 + 1), 0);
}

#[test]
fn late_request_times_out_with_its_whole_increase_counted_from_the_last_one() {
    let mut state = fresh();
    let limit = ms(Options::default().provision_time);
    state.requested(G, 2, T0);
    state.requested(G, 1, T0 + 500);
    let three = group(3, &[("p/c", InstanceState::Creating)]);
    let joined = [node("a"), node("b")];
    let early = update(&mut state, T0 + limit, &three, &joined);
    assert_eq!(early.timed_out, []);
    let late = update(&mut state, T0 + 500 + limit, &three, &joined);
    let expected = TimedOut {
        group: G.into(),
        increase: 3,
    };
    assert_eq!(late.timed_out, [expected]);
    assert_eq!(state.pending(G), 0);
}

#[test]
fn request_of_a_group_that_is_not_named_is_forgotten() {
    let mut state = fresh();
    state.requested(G, 1, T0);
    state.update(T0, &[], &[], &BTreeMap::new());
    assert_eq!(state.pending(G), 0);
}

#[test]
fn failed_machines_leave_the_request() {
    let mut state = fresh();
    state.requested(G, 3, T0);
    state.reduced(G, 1);
    assert_eq!(state.pending(G), 2);
    state.reduced(G, 2);
    assert_eq!(state.pending(G), 0);
}

#[test]
fn backoff_doubles_up_to_its_limit_and_is_forgotten_after_a_quiet_time() {
    let options = Options::default();
    let mut state = fresh();
    let mut failed = T0;
    for seconds in [3, 6, 6] {
        state.back_off(G, &options, failed);
        let end = failed + seconds * 1_000;
        // One more failure in between changes nothing.
        state.back_off(G, &options, failed + 1);
        assert!(state.backs_off(G, end - 1), "{seconds}");
        assert!(!state.backs_off(G, end), "{seconds}");
        failed = end;
    }
    failed += ms(options.backoff_reset);
    state.back_off(G, &options, failed);
    assert!(!state.backs_off(G, failed + 3_000));
}

#[test]
fn more_than_three_and_more_than_45_percent_unready_nodes_stop_everything() {
    let options = Options::default();
    let healthy = |off: i32, all: i32| {
        let picture = Picture {
            total: Counts {
                registered: all,
                unready: off,
                ..Counts::default()
            },
            ..Picture::default()
        };
        State::cluster_is_healthy(&picture, &options)
    };
    assert!(healthy(3, 3));
    assert!(!healthy(4, 8));
    assert!(healthy(4, 9));
    assert!(!healthy(6, 8));
}

#[test]
fn unready_nodes_outside_all_groups_count_for_the_cluster() {
    let mut state = fresh();
    let names = ["a", "b", "c", "d"];
    let nodes: Vec<NodeSeen> = names.into_iter().map(unready).collect();
    let picture = state.update(T0, &[group(0, &[])], &nodes, &BTreeMap::new());
    assert!(!State::cluster_is_healthy(&picture, &Options::default()));
    assert_eq!(picture.counts[G], Counts::default());
}

#[test]
fn group_that_lacks_most_of_its_nodes_is_left_out() {
    let options = Options::default();
    let mut state = fresh();
    let running = ["p/a", "p/b", "p/c", "p/d"].map(|id| (id, InstanceState::Running));
    let four = group(4, &running);
    let picture = update(&mut state, T0, &four, &[]);
    assert!(!state.group_is_healthy(&picture, &four, &options));
    state.requested(G, 4, T0);
    let picture = update(&mut state, T0, &four, &[]);
    assert!(state.group_is_healthy(&picture, &four, &options));
}

#[test]
fn group_with_a_target_but_nothing_behind_it_is_left_out() {
    let options = Options::default();
    let mut state = fresh();
    let empty = group(1, &[]);
    let picture = update(&mut state, T0, &empty, &[]);
    assert!(!state.group_is_healthy(&picture, &empty, &options));
    let idle = group(0, &[]);
    let picture = update(&mut state, T0, &idle, &[]);
    assert!(state.group_is_healthy(&picture, &idle, &options));
}

#[test]
fn target_without_instances_is_put_right_after_the_provision_time() {
    let mut state = fresh();
    let limit = ms(Options::default().provision_time);
    let three = group(3, &[("p/a", InstanceState::Running)]);
    let nodes = [node("a")];
    assert_eq!(update(&mut state, T0, &three, &nodes).wrong_sizes, []);
    let picture = update(&mut state, T0 + limit, &three, &nodes);
    assert_eq!(picture.wrong_sizes, [(G.to_owned(), -2)]);
    let right = group(1, &[("p/a", InstanceState::Running)]);
    let picture = update(&mut state, T0 + limit + 1, &right, &nodes);
    assert_eq!(picture.wrong_sizes, []);
}
