use super::*;
use crate::ca_model::{Options, cluster::TaintSeen};

const G: &str = "default/workers";
/// In the middle of nowhere, so that nothing is accidentally at zero.
const T0: u64 = 1_000_000;

fn provision() -> Duration {
    Options::default().provision_time
}

fn group(target: i32, instances: &[(&str, InstanceState)]) -> GroupSeen {
    let instance = |(id, state): &(&str, InstanceState)| InstanceSeen {
        id: (*id).to_owned(),
        state: *state,
        error: None,
    };
    GroupSeen {
        id: G.into(),
        target,
        instances: instances.iter().map(instance).collect(),
    }
}

fn failed(target: i32, id: &str, code: &str) -> GroupSeen {
    let mut group = group(target, &[(id, InstanceState::Creating)]);
    group.instances[0].error = Some(code.into());
    group
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

fn facts<'a>(now_ms: u64, group: &GroupSeen, nodes: &'a [NodeSeen]) -> Facts<'a> {
    let fact = |node| NodeFact {
        node,
        group: Some(G.to_owned()),
        startup: Options::default().startup_time,
    };
    let groups = vec![group.clone()];
    let missing = unregistered(&groups, nodes).into_iter();
    Facts {
        now_ms,
        groups,
        nodes: nodes.iter().map(fact).collect(),
        missing: missing
            .map(|id| MissingFact {
                id,
                of: Some((G.to_owned(), provision())),
            })
            .collect(),
    }
}

fn update(state: &mut State, now_ms: u64, group: &GroupSeen, nodes: &[NodeSeen]) -> Vec<TimedOut> {
    state.update(facts(now_ms, group, nodes))
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
        (suspended(unready("a")), Class::Suspended),
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
        not_started: ["a".to_owned(), "b".to_owned()].into(),
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
    let groups = [listed];
    assert_eq!(unregistered(&groups, &[node("a")]), ["P/a", "p/b", "p/c"]);
    let broken = [failed(1, "p/b", "BOOT_TIMEOUT")];
    assert_eq!(unregistered(&broken, &[]), Vec::<String>::new());
}

#[test]
fn instance_without_a_node_is_given_up_after_the_provision_time_and_begins_anew_after_an_absence() {
    let mut state = State::default();
    let limit = millis(provision());
    let listed = group(1, &[("p/a", InstanceState::Running)]);
    let gone = group(1, &[]);
    for (at, group, long) in [
        (0, &listed, 0),
        (limit, &listed, 0),
        (limit + 1, &listed, 1),
        (limit + 2, &gone, 0),
        (limit + 3, &listed, 0),
    ] {
        update(&mut state, T0 + at, group, &[]);
        let counted = state.counts.get(G);
        let counted = counted.map_or(0, |counts| counts.long_unregistered);
        assert_eq!(counted, long, "at {at}");
    }
}

#[test]
fn instance_whose_group_or_options_cannot_be_told_counts_nowhere() {
    let mut state = State::default();
    let listed = group(1, &[("p/a", InstanceState::Creating)]);
    let mut facts = facts(T0, &listed, &[]);
    facts.missing[0].of = None;
    state.update(facts);
    assert_eq!(state.counts, BTreeMap::new());
    assert_eq!(state.missing(), [("p/a".to_owned(), T0)].into());
}

#[test]
fn request_ends_as_soon_as_nothing_is_upcoming() {
    let mut state = State::default();
    state.requested(G, 1, (T0, provision()));
    let creating = group(1, &[("p/a", InstanceState::Creating)]);
    update(&mut state, T0, &creating, &[]);
    assert!(state.is_scaling_up(G));
    assert_eq!(state.upcoming(G, T0), 1);
    // A kept Node of a machine that boots is old and unready, so the machine is not upcoming any more.
    update(&mut state, T0 + 1, &creating, &[unready("a")]);
    assert_eq!(state.pending(G), 0);
}

#[test]
fn booting_machine_is_not_upcoming_without_a_request_or_during_a_backoff() {
    let mut state = State::default();
    let creating = group(1, &[("p/a", InstanceState::Creating)]);
    update(&mut state, T0, &creating, &[]);
    assert_eq!(state.reckoned(G), 1);
    assert_eq!(state.upcoming(G, T0), 0);
    state.requested(G, 1, (T0, provision()));
    assert_eq!(state.upcoming(G, T0), 1);
    state.back_off(G, &Options::default(), T0);
    update(&mut state, T0 + 1, &creating, &[]);
    assert_eq!(state.upcoming(G, T0 + 1), 0);
}

#[test]
fn node_that_has_joined_and_is_not_ready_yet_is_replaced_while_it_is_upcoming() {
    let mut state = State::default();
    let young = NodeSeen {
        age: Duration::ZERO,
        ..unready("a")
    };
    let one = group(1, &[("p/a", InstanceState::Running)]);
    update(&mut state, T0, &one, std::slice::from_ref(&young));
    assert_eq!(state.replaced(G, T0), BTreeSet::new());
    state.requested(G, 1, (T0, provision()));
    assert_eq!(state.replaced(G, T0), ["a".to_owned()].into());
}

#[test]
fn fresh_targets_count_at_once_and_an_error_makes_every_group_look_empty() {
    let mut state = State::default();
    update(&mut state, T0, &group(0, &[]), &[]);
    state.requested(G, 1, (T0, provision()));
    assert!(!state.is_scaling_up(G));
    state.recalculate([(G.to_owned(), 1)].into());
    assert!(state.is_scaling_up(G));
    state.recalculate(BTreeMap::new());
    assert!(!state.is_scaling_up(G));
}

#[test]
fn late_request_times_out_with_its_whole_increase_counted_from_the_last_one() {
    let mut state = State::default();
    let limit = millis(provision());
    state.requested(G, 2, (T0, provision()));
    state.requested(G, 1, (T0 + 500, provision()));
    let three = group(3, &[("p/c", InstanceState::Creating)]);
    let joined = [node("a"), node("b")];
    let early = update(&mut state, T0 + 500 + limit, &three, &joined);
    assert_eq!(early, []);
    let late = update(&mut state, T0 + 501 + limit, &three, &joined);
    let expected = TimedOut {
        group: G.into(),
        increase: 3,
    };
    assert_eq!(late, [expected]);
    assert_eq!(state.pending(G), 0);
}

#[test]
fn request_of_a_group_that_is_not_named_is_forgotten() {
    let mut state = State::default();
    state.requested(G, 1, (T0, provision()));
    let nothing = Facts {
        now_ms: T0,
        groups: Vec::new(),
        nodes: Vec::new(),
        missing: Vec::new(),
    };
    assert_eq!(state.update(nothing), []);
    assert_eq!(state.pending(G), 0);
}

#[test]
fn failed_machines_leave_the_request() {
    let mut state = State::default();
    state.requested(G, 3, (T0, provision()));
    state.reduced(G, 1);
    assert_eq!(state.pending(G), 2);
    state.reduced(G, 2);
    assert_eq!(state.pending(G), 0);
}

#[test]
fn creation_error_is_fresh_only_in_the_first_list_that_has_it() {
    let mut state = State::default();
    let broken = failed(1, "p/a", "BOOT_TIMEOUT");
    update(&mut state, T0, &broken, &[]);
    let told = [("BOOT_TIMEOUT".to_owned(), vec!["p/a".to_owned()])];
    assert_eq!(state.fresh_errors(G), told.into());
    update(&mut state, T0 + 1, &broken, &[]);
    assert_eq!(state.fresh_errors(G), BTreeMap::new());
    assert_eq!(state.failed(G), ["p/a"]);
}

#[test]
fn backoff_doubles_up_to_its_limit_and_is_forgotten_after_a_quiet_time() {
    let options = Options::default();
    let mut state = State::default();
    let mut failed = T0;
    for seconds in [3, 6, 6] {
        state.back_off(G, &options, failed);
        let end = failed + seconds * 1_000;
        assert!(state.backs_off(G, end), "{seconds}");
        assert!(!state.backs_off(G, end + 1), "{seconds}");
        failed = end + 1;
    }
    failed += millis(options.backoff_reset);
    update(&mut state, failed, &group(0, &[]), &[]);
    state.back_off(G, &options, failed);
    assert!(!state.backs_off(G, failed + 3_001));
}

#[test]
fn failure_during_a_backoff_begins_it_again_at_the_same_length() {
    let options = Options::default();
    let mut state = State::default();
    state.back_off(G, &options, T0);
    state.back_off(G, &options, T0 + 2_000);
    assert!(state.backs_off(G, T0 + 5_000));
    assert!(!state.backs_off(G, T0 + 5_001));
}

#[test]
fn more_than_three_and_more_than_45_percent_unready_nodes_stop_everything() {
    let options = Options::default();
    let healthy = |off: i32, all: i32| {
        let mut state = State::default();
        state.total.registered = all;
        state.total.unready = off;
        state.cluster_is_healthy(&options)
    };
    assert!(healthy(3, 3));
    assert!(!healthy(4, 8));
    assert!(healthy(4, 9));
    assert!(!healthy(6, 8));
}

#[test]
fn unready_nodes_outside_all_groups_count_for_the_cluster() {
    let mut state = State::default();
    let names = ["a", "b", "c", "d"];
    let nodes: Vec<NodeSeen> = names.into_iter().map(unready).collect();
    let mut facts = facts(T0, &group(0, &[]), &nodes);
    for fact in &mut facts.nodes {
        fact.group = None;
    }
    state.update(facts);
    assert!(!state.cluster_is_healthy(&Options::default()));
    assert_eq!(state.counts, BTreeMap::new());
}

#[test]
fn group_that_lacks_most_of_its_nodes_is_left_out_unless_they_were_just_asked_for() {
    let options = Options::default();
    let mut state = State::default();
    let running = ["p/a", "p/b", "p/c", "p/d"].map(|id| (id, InstanceState::Running));
    let four = group(4, &running);
    update(&mut state, T0, &four, &[]);
    assert!(!state.group_is_healthy(G, &options));
    state.requested(G, 4, (T0, provision()));
    update(&mut state, T0, &four, &[]);
    assert!(state.group_is_healthy(G, &options));
}

#[test]
fn suspended_nodes_count_as_ready_for_the_health_of_their_group() {
    let options = Options::default();
    let mut state = State::default();
    let nodes = ["a", "b", "c", "d"].map(|name| NodeSeen {
        suspended: true,
        ..unready(name)
    });
    update(&mut state, T0, &group(4, &[]), &nodes);
    assert!(state.group_is_healthy(G, &options));
    assert!(state.cluster_is_healthy(&options));
}

#[test]
fn group_with_a_target_but_nothing_behind_it_is_left_out_unless_all_of_it_was_asked_for() {
    let options = Options::default();
    let mut state = State::default();
    update(&mut state, T0, &group(2, &[]), &[]);
    assert!(!state.group_is_healthy(G, &options));
    state.requested(G, 1, (T0, provision()));
    assert!(!state.group_is_healthy(G, &options));
    state.requested(G, 1, (T0, provision()));
    assert!(state.group_is_healthy(G, &options));
    let mut idle = State::default();
    update(&mut idle, T0, &group(0, &[]), &[]);
    assert!(idle.group_is_healthy(G, &options));
    assert!(!idle.group_is_healthy("default/unknown", &options));
}

#[test]
fn wrong_size_is_known_since_it_was_first_seen_like_this() {
    let mut state = State::default();
    let three = group(3, &[("p/a", InstanceState::Running)]);
    let nodes = [node("a")];
    update(&mut state, T0, &three, &nodes);
    update(&mut state, T0 + 5, &three, &nodes);
    let wrong = WrongSize {
        since_ms: T0,
        registered: 1,
        target: 3,
    };
    assert_eq!(state.wrong_size(G), Some(wrong));
    update(&mut state, T0 + 6, &group(4, &[]), &nodes);
    assert_eq!(state.wrong_size(G).unwrap().since_ms, T0 + 6);
    update(&mut state, T0 + 7, &group(1, &[]), &nodes);
    assert_eq!(state.wrong_size(G), None);
    // Without a Node or an instance nothing is known of a group.
    update(&mut state, T0 + 8, &group(3, &[]), &[]);
    assert_eq!(state.wrong_size(G), None);
}
