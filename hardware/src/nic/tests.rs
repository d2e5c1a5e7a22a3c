//! Cards in a folder, as tests and demos use them, and the real ones of this machine.

use super::*;

fn card(folder: &Path, name: &str, files: &[(&str, &str)]) {
    let card = folder.join(name);
    fs::create_dir_all(&card).expect("created");
    for (file, text) in files {
        let path = card.join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(path, text).expect("written");
    }
}

/// Three physical cards, one that was made up, and a port without an Ethernet address.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let ethernet = ("address", "52:54:00:00:00:01\n");
    let wakeup = ("device/power/wakeup", "disabled\n");
    card(
        at,
        "eth0",
        &[
            ethernet,
            ("carrier", "1\n"),
            wakeup,
            (SUPPORTED_FILE, "pumbg\n"),
            (ARMED_FILE, "ub\n"),
        ],
    );
    card(
        at,
        "eth1",
        &[
            ethernet,
            ("carrier", "0\n"),
            ("device/x", ""),
            (SUPPORTED_FILE, "g"),
            (ARMED_FILE, "g"),
        ],
    );
    card(at, "eth2", &[ethernet, ("device/x", "")]);
    card(
        at,
        "eth3",
        &[ethernet, ("device/x", ""), (SUPPORTED_FILE, "?")],
    );
    card(at, "veth0", &[ethernet, (SUPPORTED_FILE, "g")]);
    card(
        at,
        "ib0",
        &[("address", "80:00:02:08:fe:80:00:00\n"), ("device/x", "")],
    );
    folder
}

#[test]
fn physical_cards_are_listed_with_their_wake_flag() {
    let folder = folder();
    let nics = Nics::folder(folder.path()).list().expect("listed");
    let told: Vec<_> = nics
        .iter()
        .map(|nic| (nic.name.as_str(), nic.up, &nic.wake))
        .collect();
    let unknown = WakeFlag::Unknown("`?` is no wake mode".to_owned());
    let expected = [
        ("eth0", true, &WakeFlag::Disarmed),
        ("eth1", false, &WakeFlag::Armed),
        ("eth2", false, &WakeFlag::NotSupported),
        ("eth3", false, &unknown),
    ];
    assert_eq!(told, expected);
    assert_eq!(nics[0].mac.to_string(), "52:54:00:00:00:01");
}

#[test]
fn arming_adds_the_magic_packet_and_keeps_the_rest() {
    let folder = folder();
    let nics = Nics::folder(folder.path());
    nics.arm("eth0").expect("armed");
    nics.arm("eth0").expect("armed again");
    let read =
        |file: &str| fs::read_to_string(folder.path().join("eth0").join(file)).expect("readable");
    assert_eq!(read(ARMED_FILE), "ubg");
    assert_eq!(read("device/power/wakeup"), "enabled");
    assert_eq!(nics.list().expect("listed")[0].wake, WakeFlag::Armed);
}

#[test]
fn a_card_that_cannot_be_armed_says_why() {
    let folder = folder();
    let nics = Nics::folder(folder.path());
    for (name, kind) in [
        ("eth2", FaultKind::NotSupported),
        ("eth3", FaultKind::Transient),
        ("veth0", FaultKind::InvalidConfig),
        ("../eth0", FaultKind::InvalidConfig),
    ] {
        assert_eq!(nics.arm(name).expect_err(name).kind, kind, "{name}");
    }
    let fault = Nics::folder("/no/such/folder")
        .list()
        .expect_err("no folder");
    assert_eq!(fault.kind, FaultKind::InvalidConfig);
}

#[test]
fn missing_rights_are_named() {
    let fault = arming_fault("eth0", &io::Error::from_raw_os_error(1));
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(
        fault
            .detail
            .ends_with("it needs the capability CAP_NET_ADMIN"),
        "{fault}"
    );
}

#[test]
fn the_cards_of_this_machine_are_listed_or_there_are_none() {
    for nic in Nics::kernel().list().expect("every Linux has the folder") {
        assert!(Path::new(NETWORK_CARDS).join(&nic.name).exists());
    }
}
