//! What is issued, who takes it, and when it is due.

use super::*;

/// 2026-11-22, in the forenoon.
const NOW: i64 = 1_795_340_000;

fn authority() -> Authority {
    Authority::load(&Authority::make(NOW).unwrap(), NOW).unwrap()
}

fn names() -> Vec<ServerName<'static>> {
    let added = ["127.0.0.1", "scaler.lan"].map(|name| ServerName::try_from(name).unwrap());
    server_names("power", &added).unwrap()
}

fn name(name: &str) -> [ServerName<'static>; 1] {
    [ServerName::try_from(name.to_owned()).unwrap()]
}

fn later(days: i64) -> i64 {
    midnight(NOW) + days * DAY
}

#[test]
fn the_server_is_taken_under_each_of_its_names_and_under_no_other() {
    let (authority, names) = (authority(), names());
    let server = authority.issue(Role::Server(&names), NOW).unwrap();
    for good in [
        "homelab-coordinator",
        "homelab-coordinator.power",
        "homelab-coordinator.power.svc",
        "homelab-coordinator.power.svc.cluster.local",
        "127.0.0.1",
        "scaler.lan",
    ] {
        let worth = authority.judge(&server, Role::Server(&name(good)), NOW);
        assert_eq!(worth.unwrap(), Worth::Good, "{good}");
    }
    for other in ["homelab-coordinator.other.svc", "localhost", "127.0.0.2"] {
        let worth = authority.judge(&server, Role::Server(&name(other)), NOW);
        let ends = later(365);
        assert_eq!(worth.unwrap(), Worth::Due { ends }, "{other}");
    }
}

#[test]
fn a_certificate_is_good_for_one_purpose_and_for_one_authority() {
    let (ours, theirs, names) = (authority(), authority(), names());
    let server = ours.issue(Role::Server(&names), NOW).unwrap();
    let client = ours.issue(Role::Client, NOW).unwrap();
    assert_eq!(ours.judge(&client, Role::Client, NOW).unwrap(), Worth::Good);
    for (judge, pair, role) in [
        (&ours, &server, Role::Client),
        (&ours, &client, Role::Server(&names)),
        (&theirs, &server, Role::Server(&names)),
        (&theirs, &client, Role::Client),
    ] {
        let verdict = judge.judge(pair, role, NOW);
        assert!(
            matches!(verdict, Err(CertificateFault::Foreign(_))),
            "{verdict:?}"
        );
    }
}

#[test]
fn each_certificate_is_due_well_before_its_end_and_an_ended_one_is_ours_still() {
    let (authority, names) = (authority(), names());
    for (role, lasts, renewed) in [
        (Role::Server(&names), 365, 90),
        (Role::Client, 10 * 365, 365),
    ] {
        let pair = authority.issue(role, NOW).unwrap();
        let ends = later(lasts);
        for (now, worth) in [
            (NOW, Worth::Good),
            (ends - renewed * DAY, Worth::Good),
            (ends - renewed * DAY + 1, Worth::Due { ends }),
            (ends + 30 * DAY, Worth::Due { ends }),
        ] {
            let seen = authority.judge(&pair, role, now).unwrap();
            assert_eq!(seen, worth, "{role:?} at {}", date(now));
        }
    }
}

#[test]
fn nothing_outlives_the_authority_and_nothing_is_renewed_that_would_last_no_longer() {
    let authority = authority();
    let last_days = later(AUTHORITY_DAYS - 10);
    let pair = authority.issue(Role::Client, last_days).unwrap();
    let (chain, _) = parse(&pair).unwrap();
    let (_, ends) = certificate_term(&chain[0]).unwrap();
    assert_eq!(ends, later(AUTHORITY_DAYS));
    let worth = authority.judge(&pair, Role::Client, last_days).unwrap();
    assert_eq!(worth, Worth::Good);
}

#[test]
fn an_authority_that_has_ended_or_is_damaged_is_told_so() {
    let whole = Authority::make(NOW).unwrap();
    let ended = Authority::load(&whole, later(AUTHORITY_DAYS))
        .err()
        .unwrap();
    assert!(matches!(ended, CertificateFault::Ended), "{ended}");
    let other = Authority::make(NOW).unwrap();
    let mixed = Pair {
        cert: whole.cert.clone(),
        key: other.key,
    };
    let fault = Authority::load(&mixed, NOW).err().unwrap();
    assert!(matches!(fault, CertificateFault::Foreign(_)), "{fault}");
    for (cert, key) in [
        (String::new(), whole.key.clone()),
        ("no PEM".to_owned(), whole.key.clone()),
        (whole.cert.repeat(2), whole.key.clone()),
        (whole.cert.clone(), whole.cert.clone()),
        (whole.cert.clone(), String::new()),
    ] {
        assert!(Authority::load(&Pair { cert, key }, NOW).is_err());
    }
}

#[test]
fn a_certificate_with_the_key_of_another_is_told_so() {
    let authority = authority();
    let (one, other) = (
        authority.issue(Role::Client, NOW).unwrap(),
        authority.issue(Role::Client, NOW).unwrap(),
    );
    assert_ne!(one.key, other.key, "each has a key of its own");
    let mixed = Pair {
        cert: one.cert,
        key: other.key,
    };
    let fault = authority.judge(&mixed, Role::Client, NOW).unwrap_err();
    assert!(matches!(fault, CertificateFault::Apart(_)), "{fault}");
}

#[test]
fn a_clock_without_a_usable_date_makes_nothing() {
    for now in [0, -1, i64::MIN, i64::MAX, 250_000_000_000] {
        let made = Authority::make(now);
        assert!(matches!(made, Err(CertificateFault::Clock)), "{now}");
    }
}

#[test]
fn no_text_shows_a_key() {
    let pair = Authority::make(NOW).unwrap();
    assert_eq!(format!("{pair:?}"), "Pair { .. }");
}

#[test]
fn no_fault_shows_anything_of_a_damaged_key() {
    let whole = Authority::make(NOW).unwrap();
    let secret = whole.key.lines().nth(1).unwrap().to_owned();
    let decimal = secret.as_bytes()[..8].iter().map(u8::to_string);
    let decimal = decimal.collect::<Vec<_>>().join(", ");
    for key in [
        whole.key.replace('\n', ""),
        whole.key.replace('\n', " "),
        whole.key.replace('\n', "\\n"),
        whole.key.replace("-----END", "END"),
        whole.key.replacen("MIG", "M!G", 1),
    ] {
        let cert = whole.cert.clone();
        let fault = Authority::load(&Pair { cert, key }, NOW).err().unwrap();
        let told = format!("{} {fault:?}", crate::chain(&fault));
        assert!(told.contains("private key"), "{told}");
        assert!(!told.contains(&secret[..8]), "{told}");
        assert!(!told.contains(&decimal), "{told}");
    }
}

#[test]
fn what_is_not_valid_yet_is_due_and_such_an_authority_is_told() {
    let authority = authority();
    let ahead = authority.issue(Role::Client, NOW + 5 * DAY).unwrap();
    let worth = authority.judge(&ahead, Role::Client, NOW).unwrap();
    assert!(matches!(worth, Worth::Due { .. }), "{worth:?}");
    let made = Authority::make(NOW + 5 * DAY).unwrap();
    let fault = Authority::load(&made, NOW).err().unwrap();
    assert!(matches!(fault, CertificateFault::Early), "{fault}");
}

#[test]
fn an_authority_knows_its_certificate_however_the_text_is_wrapped() {
    let authority = authority();
    let ours = authority.cert().to_owned();
    assert!(authority.is_in(&ours));
    assert!(authority.is_in(&ours.replace('\n', "\r\n")));
    assert!(authority.is_in(&format!("A remark.\n{ours}\n\n")));
    let other = Authority::make(NOW).unwrap().cert;
    for not in [other.clone(), format!("{ours}{other}"), String::new()] {
        assert!(!authority.is_in(&not));
    }
}
