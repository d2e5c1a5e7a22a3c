//! Facts from folders that look like the kernel's.

use super::*;
use proto_mqtt::key::Signer;
use proto_mqtt::{MAX_PAYLOAD_BYTES, Payload};
use std::fs;

/// A folder of cards: name, address, known modes, set modes.
fn cards(cards: &[(&str, &str, &str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, address, supported, armed) in cards {
        let card = folder.path().join(name);
        fs::create_dir_all(card.join("device")).expect("a card");
        for (file, content) in [
            ("address", address),
            ("wake_supported", supported),
            ("wake_armed", armed),
            ("carrier", &"1"),
        ] {
            fs::write(card.join(file), content).expect("a file");
        }
    }
    folder
}

fn paths(nics: &Path) -> Paths {
    Paths {
        boot_id: "/none".into(),
        machine_id: nics.join("machine-id"),
        uptime: "/none".into(),
        nics: nics.to_owned(),
        maintenance: "/none".into(),
    }
}

#[test]
fn arming_sets_what_can_be_set_and_tells_how_it_stands() {
    let folder = cards(&[
        ("eth0", "02:00:00:00:00:01", "pumbg", "d"),
        ("eth1", "02:00:00:00:00:02", "d", "d"),
        ("eth2", "02:00:00:00:00:03", "g", "g"),
    ]);
    let outcome = arm(folder.path()).expect("cards");
    let flags: Vec<(u8, WakeFlag)> = outcome
        .nics
        .iter()
        .map(|nic| (nic.mac.0[5], nic.wol))
        .collect();
    assert_eq!(
        flags,
        [
            (1, WakeFlag::Armed),
            (2, WakeFlag::Unsupported),
            (3, WakeFlag::Armed)
        ]
    );
    assert_eq!(arm(Path::new("/nowhere")), None);
}

#[test]
fn the_inventory_lists_cards_segments_and_abilities() {
    let folder = cards(&[("eth0", "02:00:00:00:00:01", "g", "d")]);
    fs::write(folder.path().join("machine-id"), "abc\n").expect("a file");
    let relay = Relay {
        segments: [
            ("attic".to_owned(), Some("eth0".to_owned())),
            ("default".to_owned(), None),
        ]
        .into(),
        credentials: "/none".into(),
    };
    let key = Signer::from_seed("r1", &[1; 32]).public_key();
    let inventory = inventory(
        &paths(folder.path()),
        Some(&relay),
        &[Verb::PowerOff, Verb::Wake],
        key,
    );
    assert_eq!(inventory.machine.as_str(), "abc");
    let nic = &inventory.nics[0];
    assert_eq!(
        (nic.name.as_str(), nic.wol, nic.up),
        ("eth0", WakeFlag::Unarmed, true)
    );
    let segments: Vec<_> = inventory
        .segments
        .iter()
        .map(|segment| segment.iface.as_str())
        .collect();
    assert_eq!(segments, ["eth0", "any"]);
    let caps: Vec<_> = inventory.caps.iter().map(Text::as_str).collect();
    assert_eq!(caps, ["power.off", "wol"]);
    assert_eq!(inventory.key, key);
}

#[test]
fn the_largest_inventory_fits_into_a_message() {
    let names: Vec<String> = (0..40).map(|index| format!("enp{index}s0f0np0")).collect();
    let all: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "02:00:00:00:00:01", "g", "g"))
        .collect();
    let folder = cards(&all);
    let key = Signer::from_seed("r1", &[1; 32]).public_key();
    let inventory = inventory(&paths(folder.path()), None, Verb::ALL, key);
    assert_eq!(inventory.nics.len(), MAX_NICS);
    assert!(inventory.encode().len() < MAX_PAYLOAD_BYTES);
}

#[test]
fn serial_numbers_leave_only_as_digests() {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, content) in [
        ("sys_vendor", "ACME\n"),
        ("product_serial", "SN-123\n"),
        ("product_uuid", ""),
    ] {
        fs::write(folder.path().join(file), content).expect("a file");
    }
    let hw = hardware(folder.path());
    assert_eq!(hw.vendor.as_str(), "ACME");
    assert_eq!(hw.serial_hash.as_str().len(), 32);
    assert!(!hw.serial_hash.as_str().contains("123"));
    assert!(hw.uuid_hash.is_empty());
    assert_ne!(
        digest("a", "x"),
        digest("b", "x"),
        "digests of different things differ"
    );
}

#[test]
fn the_gateway_is_found_in_the_kernels_tables() {
    let route =
        "Iface\tDestination\tGateway\nwg0\t0000000A\t00000000\neth0\t00000000\t0101A8C0\t0003\n";
    let arp = "IP address  HW type  Flags  HW address  Mask  Device\n192.168.1.1  0x1  0x2  aa:bb:cc:00:00:01  *  eth0\n";
    assert_eq!(gateway(route, arp).as_deref(), Some("aa:bb:cc:00:00:01"));
    assert_eq!(gateway("Iface\n", arp), None);
    assert_eq!(gateway(route, "IP address\n"), None);
    assert_eq!(
        gateway(
            route,
            &arp.replace("aa:bb:cc:00:00:01", "00:00:00:00:00:00")
        ),
        None
    );
}

#[test]
fn the_operating_system_is_named_for_people() {
    assert_eq!(
        os_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"),
        "Debian GNU/Linux 12"
    );
    assert_eq!(os_name(""), "");
}
