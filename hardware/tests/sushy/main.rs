//! The Redfish driver against a BMC that somebody else wrote: sushy-tools.

mod emulator;

use std::time::{Duration, Instant};

use emulator::{Emulator, Setup, uuid};
use hardware::redfish::{BmcOptions, Bmcs, Credentials, Fingerprint, Machine, Trust};
use hardware::{Applied, FaultKind, Power, PowerSwitch, Sensor, Step};

fn credentials(password: &str) -> Credentials {
    Credentials::new("admin", password, ["127.0.0.1"]).expect("usable")
}

fn options(emulator: &Emulator) -> BmcOptions {
    let address = emulator.url().parse().expect("an address");
    BmcOptions::new(address, Some(credentials("pass:w0rd")))
}

fn machine(emulator: &Emulator, system: &str) -> Machine {
    let bmc = Bmcs::new().open(options(emulator)).expect("usable");
    bmc.machine(Some(system.to_owned()))
}

async fn power(machine: &Machine) -> Power {
    machine.observe().await.expect("readable").power
}

async fn until(machine: &Machine, wanted: Power) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while power(machine).await != wanted {
        assert!(Instant::now() < deadline, "never {wanted:?}");
    }
}

fn is_sent(applied: &Applied) -> bool {
    matches!(applied, Applied::Sent { .. })
}

#[tokio::test]
async fn a_machine_goes_on_and_off_by_every_step_and_only_when_needed() {
    let Some(emulator) = Emulator::start(&Setup::default()) else {
        return;
    };
    let machine = machine(&emulator, "node-1");
    assert_eq!(power(&machine).await, Power::Off);
    for (step, reached) in [
        (Step::On, Power::On),
        (Step::ShutdownGraceful, Power::Off),
        (Step::On, Power::On),
        (Step::OffHard, Power::Off),
    ] {
        assert!(is_sent(&machine.apply(step).await.expect("accepted")));
        until(&machine, reached).await;
        assert_eq!(machine.apply(step).await, Ok(Applied::NoChange));
    }
}

#[tokio::test]
async fn a_bmc_that_acts_late_is_never_believed_early() {
    let setup = Setup {
        delay_s: 2,
        ..Setup::default()
    };
    let Some(emulator) = Emulator::start(&setup) else {
        return;
    };
    let machine = machine(&emulator, "node-1");
    assert!(is_sent(&machine.apply(Step::On).await.expect("accepted")));
    // It says Off for a while, so a hard off finds nothing to do, and then it goes on all the same.
    machine
        .apply(Step::OffHard)
        .await
        .expect("accepted or nothing to do");
    until(&machine, Power::On).await;
    assert!(is_sent(
        &machine.apply(Step::OffHard).await.expect("accepted")
    ));
    until(&machine, Power::Off).await;
}

#[tokio::test]
async fn each_of_three_systems_is_found_by_name_uuid_and_path_and_none_is_guessed() {
    let Some(emulator) = Emulator::start(&Setup::default()) else {
        return;
    };
    let bmc = Bmcs::new().open(options(&emulator)).expect("usable");
    let fault = bmc
        .machine(None)
        .apply(Step::On)
        .await
        .expect_err("which one?");
    assert_eq!(fault.kind, FaultKind::InvalidConfig);
    assert!(
        (1..=3).all(|number| fault.detail.contains(&uuid(number))),
        "{fault}"
    );

    for wanted in [
        "node-1".to_owned(),
        uuid(2).to_uppercase(),
        format!("/redfish/v1/Systems/{}", uuid(3)),
    ] {
        machine(&emulator, &wanted)
            .apply(Step::On)
            .await
            .expect("accepted");
    }
    for number in 1..=3 {
        until(&machine(&emulator, &uuid(number)), Power::On).await;
    }
    let fault = machine(&emulator, &uuid(9))
        .observe()
        .await
        .expect_err("not there");
    assert_eq!(fault.kind, FaultKind::IdentityMismatch);
}

#[tokio::test]
async fn two_machines_behind_one_bmc_are_switched_at_once() {
    let Some(emulator) = Emulator::start(&Setup::default()) else {
        return;
    };
    let bmc = Bmcs::new().open(options(&emulator)).expect("usable");
    let (one, two) = (
        bmc.machine(Some("node-1".to_owned())),
        bmc.machine(Some("node-2".to_owned())),
    );
    let (first, second) = tokio::join!(one.apply(Step::On), two.apply(Step::On));
    assert!(is_sent(&first.expect("accepted")) && is_sent(&second.expect("accepted")));
    until(&one, Power::On).await;
    until(&two, Power::On).await;
}

#[tokio::test]
async fn the_right_password_is_accepted_and_a_wrong_one_told() {
    let setup = Setup {
        auth: true,
        ..Setup::default()
    };
    let Some(emulator) = Emulator::start(&setup) else {
        return;
    };
    assert_eq!(power(&machine(&emulator, "node-1")).await, Power::Off);
    let mut wrong = options(&emulator);
    wrong.credentials = Some(credentials("wrong"));
    let bmc = Bmcs::new().open(wrong).expect("usable");
    let fault = bmc
        .machine(Some("node-1".to_owned()))
        .observe()
        .await
        .expect_err("refused");
    assert_eq!(fault.kind, FaultKind::Auth);
}

#[tokio::test]
async fn tls_is_trusted_by_authority_or_fingerprint_and_by_nothing_else() {
    let authority = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = params.self_signed(&authority).expect("a certificate").pem();
    let issuer = rcgen::Issuer::new(params, authority);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .and_then(|params| params.signed_by(&key, &issuer))
        .expect("a certificate");
    let setup = Setup {
        auth: true,
        tls: Some((certificate.pem(), key.serialize_pem())),
        ..Setup::default()
    };
    let Some(emulator) = Emulator::start(&setup) else {
        return;
    };

    let with = |trust| {
        let mut options = options(&emulator);
        options.trust = trust;
        let bmc = Bmcs::new().open(options).expect("usable");
        bmc.machine(Some("node-1".to_owned()))
    };
    assert_eq!(
        power(&with(Trust::Ca(ca_pem.into_bytes()))).await,
        Power::Off
    );
    let seen = Fingerprint::of(certificate.der());
    assert_eq!(
        power(&with(Trust::Fingerprint(vec![seen]))).await,
        Power::Off
    );
    let other = Fingerprint::of(b"another");
    let fault = with(Trust::Fingerprint(vec![other]))
        .observe()
        .await
        .expect_err("not trusted");
    assert_eq!(fault.kind, FaultKind::TlsTrust);
    assert!(fault.detail.contains(&seen.to_string()), "{fault}");
}
