//! Good files give settings; each bad one gives its one line.

use super::*;

const KEY: &str = "ed25519:iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w";

fn parse(rest: &str) -> Result<Settings, String> {
    let text = format!(
        "id = \"nuc1\"\nbroker = \"mqtts://192.168.1.10:8883\"\ncoordinator_key = \"{KEY}\"\n{rest}"
    );
    parse_text(&text)
}

fn parse_text(text: &str) -> Result<Settings, String> {
    Settings::parse(text, Path::new("/nowhere/agent.toml")).map_err(|error| error.to_string())
}

#[test]
fn two_lines_are_enough() {
    let settings = parse("").expect("a good file");
    assert_eq!(settings.username, "nuc1");
    assert_eq!((settings.password_file, settings.ca_file), (None, None));
    assert_eq!(settings.state_dir, Path::new("/var/lib/homelab-agent"));
    assert_eq!(settings.allow, [Verb::PowerOff, Verb::PowerReboot]);
    assert_eq!(
        (settings.min_uptime, settings.acts_per_hour),
        (Duration::from_secs(180), 6)
    );
    assert_eq!(
        (settings.heartbeat, settings.health),
        (Duration::from_secs(10), Duration::from_secs(60))
    );
    assert!(settings.relay.is_none());
    assert_eq!(settings.host, HostPower::Logind);
    assert_eq!(settings.paths.nics, Path::new("/sys/class/net"));
}

#[test]
fn every_field_is_read() {
    let settings = parse(
        r#"
        username = "power"
        state_dir = "state"
        allow = ["power.off"]
        min_uptime = "3m"
        power_acts_per_hour = 2
        heartbeat = "500ms"
        health = "1h"
        [relay]
        interfaces = { default = "eth0", attic = "eth1" }
        credentials = "/run/secrets"
        [host]
        command = ["/bin/off", "now"]
        reboot_command = ["/bin/again"]
        [paths]
        boot_id = "/a"
        machine_id = "/b"
        nics = "/c"
        maintenance = "/d"
        "#,
    )
    .expect("a good file");
    assert_eq!(settings.username, "power");
    assert_eq!(
        settings.state_dir,
        Path::new("/nowhere/state"),
        "relative to the file"
    );
    assert_eq!(settings.allow, [Verb::PowerOff]);
    assert_eq!(
        (settings.min_uptime, settings.acts_per_hour),
        (Duration::from_secs(180), 2)
    );
    assert_eq!(
        (settings.heartbeat, settings.health),
        (Duration::from_millis(500), Duration::from_secs(3600))
    );
    let relay = settings.relay.expect("a relay");
    assert_eq!(relay.segments["attic"].as_deref(), Some("eth1"));
    assert_eq!(relay.credentials, Path::new("/run/secrets"));
    let (off, reboot) = (
        vec!["/bin/off".to_owned(), "now".to_owned()],
        Some(vec!["/bin/again".to_owned()]),
    );
    assert_eq!(settings.host, HostPower::Command { off, reboot });
    assert_eq!(settings.paths.maintenance, Path::new("/d"));
}

#[test]
fn a_relay_without_interfaces_serves_the_default_segment() {
    let relay = parse("[relay]")
        .expect("a good file")
        .relay
        .expect("a relay");
    assert_eq!(
        relay.segments,
        BTreeMap::from([("default".to_owned(), None)])
    );
    assert_eq!(relay.credentials, Path::new("/nowhere/credentials"));
}

#[test]
fn files_beside_the_toml_are_taken_if_they_exist() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("password"), "secret\n").expect("a file");
    std::fs::write(folder.path().join("ca.pem"), "PEM").expect("a file");
    let file = folder.path().join("agent.toml");
    let text = format!("id = \"nuc1\"\nbroker = \"mqtts://b\"\ncoordinator_key = \"{KEY}\"");
    std::fs::write(&file, text).expect("a file");
    let settings = Settings::read(&file).expect("a good file");
    assert_eq!(
        (settings.password_file, settings.ca_file),
        (
            Some(folder.path().join("password")),
            Some(folder.path().join("ca.pem"))
        )
    );
}

/// A line in the file, and a part of the line that is said about it.
const BAD_FIELDS: &[(&str, &str)] = &[
    (
        "brokr = \"x\"",
        "brokr = \"x\": is not a field here; known are id, broker,",
    ),
    (
        "allow = [\"wol\"]",
        "allow = \"wol\": must be power.off or power.reboot",
    ),
    (
        "allow = \"power.off\"",
        "allow = \"power.off\": must be a list of texts",
    ),
    (
        "min_uptime = 180",
        "min_uptime = 180: must be a whole number with a unit in quotes",
    ),
    (
        "min_uptime = \"3 minutes\"",
        "min_uptime = \"3 minutes\": must be a whole number with a unit",
    ),
    (
        "heartbeat = \"1m\"",
        "heartbeat = 60s: must be between 100ms and 15s",
    ),
    (
        "power_acts_per_hour = -1",
        "power_acts_per_hour = -1: must be a whole number from 0",
    ),
    ("username = 5", "username = 5: must be text in quotes"),
    (
        "password_file = \"none\"",
        "password_file = \"/nowhere/none\": must be a file that the agent can read",
    ),
    ("relay = true", "relay = true: must be a table, as [relay]"),
    (
        "[relay]\ninterface = \"eth0\"",
        "relay.interface = \"eth0\": is not a field here",
    ),
    (
        "[relay]\ninterfaces = \"eth0\"",
        "relay.interfaces = \"eth0\": must be a table of texts",
    ),
    (
        "[relay]\ninterfaces = { default = \"\" }",
        "relay.interfaces = { default = \"\" }: must be a segment's name",
    ),
    (
        "[host]\nmethod = \"acpi\"",
        "host.method = \"acpi\": must be \"logind\" or \"systemctl\"",
    ),
    (
        "[host]\nmethod = \"command\"",
        "host.command is missing: must be the program",
    ),
    (
        "[host]\ncommand = []",
        "host.command = []: must be a program and its arguments",
    ),
    (
        "[paths]\nboot = \"/a\"",
        "paths.boot = \"/a\": is not a field here; known are boot_id",
    ),
];

#[test]
fn each_bad_field_gets_one_line_with_field_value_and_remedy() {
    for (rest, expected) in BAD_FIELDS {
        let line = parse(rest).expect_err(rest);
        assert!(
            line.starts_with("/nowhere/agent.toml: ") && line.contains(expected),
            "{rest} says: {line}"
        );
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn missing_and_broken_essentials_are_named() {
    let cases = [
        ("", "broker is missing: must be the broker's address"),
        (
            "broker = \"http://b\"",
            "broker = \"http://b\": must be the broker's address",
        ),
        (
            "broker = \"mqtt://b\"",
            "coordinator_key is missing: must be 'ed25519:'",
        ),
        (
            "broker = \"mqtt://b\"\ncoordinator_key = \"abc\"",
            "coordinator_key = \"abc\": must be 'ed25519:'",
        ),
        (
            "id = \"Not A Name\"",
            "id = \"Not A Name\": must be 1 to 63 characters",
        ),
    ];
    for (rest, expected) in cases {
        let text = if rest.starts_with("id") {
            rest.to_owned()
        } else {
            format!("id = \"nuc1\"\n{rest}")
        };
        let line = parse_text(&text).expect_err(rest);
        assert!(line.contains(expected), "{rest} says: {line}");
    }
    let line = parse_text("a = 1\nb = = 2\n").expect_err("no TOML");
    assert!(
        line.starts_with("/nowhere/agent.toml:2: ") && !line.contains('\n'),
        "{line}"
    );
}
