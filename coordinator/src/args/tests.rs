//! What is accepted, and in which words everything else is refused.

use super::*;

fn settings(flags: &[&str]) -> Result<Settings, String> {
    let all = ["homelab-coordinator", "run"].iter().chain(flags);
    let cli = Cli::try_parse_from(all).map_err(|fault| fault.to_string())?;
    cli.settings().map_err(|fault| fault.to_string())
}

#[test]
fn a_lab_alone_is_enough_and_everything_stays_on_loopback() {
    let settings = settings(&["--lab", "lab", "--state", "/tmp/state"]).unwrap();
    let Mode::Standalone(standalone) = settings.mode else {
        panic!("standalone")
    };
    assert_eq!(
        standalone.socket,
        PathBuf::from("/tmp/state/coordinator.sock")
    );
    assert_eq!(settings.grpc.address.to_string(), "127.0.0.1:50051");
    assert_eq!(settings.admin.to_string(), "127.0.0.1:8080");
    let BrokerSettings::Embedded { address } = settings.broker else {
        panic!("embedded")
    };
    assert_eq!(address.to_string(), "127.0.0.1:1883");
    assert_eq!(settings.policy, Policy::default());
}

#[test]
fn in_a_cluster_the_broker_must_be_named_and_one_leader_is_chosen() {
    let settings = settings(&[
        "--broker",
        "mqtts://coordinator@broker",
        "--namespace",
        "a,b",
    ])
    .unwrap();
    let Mode::Kubernetes(kubernetes) = settings.mode else {
        panic!("kubernetes")
    };
    assert_eq!(kubernetes.namespaces, ["a", "b"]);
    let seconds = [
        kubernetes.election.lease,
        kubernetes.election.renew,
        kubernetes.election.retry,
    ]
    .map(|time| time.as_secs());
    assert!(kubernetes.election.enabled);
    assert_eq!(seconds, [15, 10, 2]);
    let BrokerSettings::External { url, user, .. } = settings.broker else {
        panic!("external")
    };
    assert_eq!(
        (url.to_string().as_str(), user.as_deref()),
        ("mqtts://broker:8883", Some("coordinator"))
    );
}

#[test]
fn election_can_be_switched_off_with_a_value() {
    let settings = settings(&["--broker", "mqtt://b", "--leader-elect=false"]).unwrap();
    let Mode::Kubernetes(kubernetes) = settings.mode else {
        panic!("kubernetes")
    };
    assert!(!kubernetes.election.enabled);
}

#[test]
fn timings_change_the_policy_in_any_of_their_spellings() {
    let flags = [
        "--lab",
        "l",
        "--timing",
        "wake_repeat=2s,grace=500ms",
        "--timing",
        "off-reads-apart=1s",
        "--timing",
        "agent_silent_ms=4s",
        "--timing",
        "send_tries=5",
    ];
    let policy = settings(&flags).unwrap().policy;
    assert_eq!(
        (
            policy.wake_repeat_ms,
            policy.grace_ms,
            policy.off_reads_apart_ms,
            policy.agent_silent_ms,
            policy.send_tries
        ),
        (2_000, 500, 1_000, 4_000, 5)
    );
    assert_eq!(policy.accept_ms, Policy::default().accept_ms);
}

#[test]
fn the_nodes_of_coordinator_and_broker_become_part_of_the_policy() {
    let flags = [
        "--lab",
        "l",
        "--node-name",
        "cp1",
        "--broker-node-name",
        "nas",
    ];
    let policy = settings(&flags).unwrap().policy;
    assert_eq!(policy.own_node.as_deref(), Some("cp1"));
    assert_eq!(policy.broker_node.as_deref(), Some("nas"));
    let named_by_its_address = ["--lab", "l", "--broker", "mqtt://ann@nas:1883"];
    let policy = settings(&named_by_its_address).unwrap().policy;
    assert_eq!(policy.broker_node.as_deref(), Some("nas"));
}

#[test]
fn plain_text_beyond_loopback_needs_a_word_or_certificates() {
    let lab = ["--lab", "l", "--grpc-address", "0.0.0.0:50051"];
    let refused = settings(&lab).unwrap_err();
    assert!(refused.contains("--grpc-insecure"), "{refused}");
    let security = |flags: &[&str]| settings(flags).unwrap().grpc.security;
    let open = security(&[&lab[..], &["--grpc-insecure"]].concat());
    assert_eq!(open, GrpcSecurity::PlainText);
    let tls = [
        "--grpc-cert",
        "c",
        "--grpc-key",
        "k",
        "--grpc-client-ca",
        "ca",
    ];
    let files = security(&[&lab[..], &tls].concat());
    assert!(matches!(files, GrpcSecurity::Files(_)), "{files:?}");
    let issued = [
        "--broker",
        "mqtt://b",
        "--grpc-address",
        "0.0.0.0:50051",
        "--grpc-issue-certs",
        "--grpc-cert-name",
        "scaler.lan,192.168.1.10",
    ];
    let names = ["scaler.lan", "192.168.1.10"].map(|name| ServerName::try_from(name).unwrap());
    let names = names.to_vec();
    assert_eq!(security(&issued), GrpcSecurity::Issued { names });
}

/// A command line, and words that its refusal must hold.
const REFUSED: [(&str, &[&str]); 25] = [
    (
        "--lab l --timing wake_repat=2s",
        &["--timing", "wake_repat", "wake_repeat"],
    ),
    ("--lab l --timing wake_repeat", &["--timing", "key=value"]),
    (
        "--lab l --timing wake_repeat=2",
        &["wake_repeat=2", "10m, 90s"],
    ),
    (
        "--lab l --timing send_tries=0",
        &["send_tries=0", "1 to 100"],
    ),
    ("--lab l --log coordinator=loud", &["--log", "loud"]),
    (
        "--lab l --broker http://b",
        &["--broker", "http://b", "mqtts://"],
    ),
    ("--lab l --broker mqtt://u:p@b", &["--broker-password-file"]),
    (
        "--lab l --broker mqtt://b --embedded-broker 127.0.0.1:0",
        &["--embedded-broker", "exclude"],
    ),
    (
        "--lab l --broker-ca-file ca",
        &["--broker-ca-file", "--broker"],
    ),
    ("--lab l --kubeconfig k", &["--lab", "--kubeconfig"]),
    ("--lab l --namespace n", &["--lab", "--namespace"]),
    ("--lab l --grpc-cert c", &["--grpc-cert", "--grpc-key"]),
    ("--lab l --grpc-key c", &["--grpc-key", "--grpc-cert"]),
    (
        "--lab l --grpc-client-ca c",
        &["--grpc-client-ca", "--grpc-cert"],
    ),
    (
        "--lab l --grpc-issue-certs",
        &["--grpc-issue-certs and --lab exclude"],
    ),
    (
        "--broker mqtt://b --grpc-issue-certs --grpc-insecure",
        &["--grpc-issue-certs and --grpc-insecure exclude"],
    ),
    (
        "--broker mqtt://b --grpc-issue-certs --grpc-cert c --grpc-key k --grpc-client-ca a",
        &["--grpc-issue-certs and --grpc-cert exclude"],
    ),
    (
        "--broker mqtt://b --grpc-cert-name scaler.lan",
        &["--grpc-cert-name needs --grpc-issue-certs"],
    ),
    (
        "--broker mqtt://b --grpc-issue-certs --grpc-cert-name *.lan",
        &["--grpc-cert-name", "`*.lan`"],
    ),
    (
        "--broker mqtt://b --grpc-issue-certs --grpc-cert-name scaler.lan.",
        &["--grpc-cert-name", "`scaler.lan.`"],
    ),
    ("--broker mqtt://b --state s", &["--state", "--lab"]),
    ("--broker mqtt://b --socket s", &["--socket", "--lab"]),
    (
        "--broker mqtt://b --leader-elect-lease-duration 5s",
        &["--leader-elect", "renew deadline"],
    ),
    (
        "--broker mqtt://b --leader-elect-retry-period often",
        &["--leader-elect-retry-period", "often"],
    ),
    ("", &["--broker is missing"]),
];

#[test]
fn every_wrong_flag_is_refused_in_one_line_that_names_it() {
    for (line, words) in REFUSED {
        let flags: Vec<_> = line.split_whitespace().collect();
        let refused = settings(&flags).expect_err(line);
        assert_eq!(refused.lines().count(), 1, "{refused}");
        for word in words {
            assert!(refused.contains(word), "`{word}` is not in: {refused}");
        }
    }
}

#[test]
fn the_state_folder_follows_systemd_then_the_user() {
    let env = |pairs: &'static [(&str, &str)]| {
        move |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        }
    };
    let systemd = flags::default_state(env(&[
        ("STATE_DIRECTORY", "/var/lib/x"),
        ("HOME", "/home/ann"),
    ]));
    assert_eq!(systemd, Some("/var/lib/x".into()));
    let user = flags::default_state(env(&[("HOME", "/home/ann"), ("XDG_STATE_HOME", "")]));
    let expected = if rustix::process::geteuid().is_root() {
        "/var/lib/homelab-coordinator"
    } else {
        "/home/ann/.local/state/homelab-coordinator"
    };
    assert_eq!(user, Some(expected.into()));
}
