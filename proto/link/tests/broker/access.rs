//! Passwords and authorities: refused ones are told, renewed ones count from the next attempt on.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proto_link::{Delivery, Message, Subscription};
use tempfile::TempDir;

use crate::mosquitto::Mosquitto;
use crate::{down, message, options, start, up};

#[tokio::test]
async fn a_wrong_password_is_told_as_such_and_a_renewed_one_connects_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users");
    std::fs::write(&users, "").expect("written");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", &users.to_string_lossy(), "nuc1", "right"])
        .status()
        .expect("mosquitto_passwd comes with mosquitto");
    assert!(made.success());
    let lines = format!("allow_anonymous false\npassword_file {}", users.display());
    let broker = Mosquitto::start_in(folder, &lines);

    let secrets = tempfile::tempdir().expect("a folder");
    let password = secrets.path().join("password");
    std::fs::write(&password, "wrong\n").expect("written");
    let mut options = options(&broker, "nuc1");
    options.username = Some("nuc1".to_owned());
    options.password_file = Some(password.clone());
    let (_link, mut events) = start(options);
    let fault = down(&mut events).await;
    assert_eq!(fault.reason(), "login");
    assert!(fault.to_string().contains("refused user `nuc1`"), "{fault}");

    std::fs::remove_file(&password).expect("it was there");
    let fault = down(&mut events).await;
    assert_eq!(fault.reason(), "files");
    let expected = format!(
        "cannot read the broker's password from {}: ",
        password.display()
    );
    assert!(fault.to_string().starts_with(&expected), "{fault}");

    std::fs::write(&password, "right\n").expect("written");
    up(&mut events).await;
}

/// An authority and a certificate of 127.0.0.1 signed by it, written to files for mosquitto.
fn tls_broker() -> (Mosquitto, String) {
    tls_broker_from(2020)
}

/// The same with a certificate that begins with this year.
fn tls_broker_from(year: i32) -> (Mosquitto, String) {
    let (authority, issuer) = authority("home authority");
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .and_then(|mut params| {
            params.not_before = rcgen::date_time_ymd(year, 1, 1);
            params.signed_by(&key, &issuer)
        })
        .expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("cert.pem"), certificate.pem()).expect("written");
    std::fs::write(at("key.pem"), key.serialize_pem()).expect("written");
    let lines = format!(
        "allow_anonymous true\ncertfile {}\nkeyfile {}",
        at("cert.pem").display(),
        at("key.pem").display()
    );
    (Mosquitto::start_in(folder, &lines), authority)
}

fn authority(name: &str) -> (String, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).expect("a certificate").pem();
    (pem, rcgen::Issuer::new(params, key))
}

/// A file with this text, in a folder that must be kept.
fn written(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, text).expect("written");
    (folder, file)
}

/// Private folders of this process that exist now.
fn private_folders() -> Vec<String> {
    let own = format!("homelab-link-{}-", std::process::id());
    std::fs::read_dir(std::env::temp_dir())
        .expect("the temporary folder")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(&own))
        .collect()
}

#[tokio::test]
async fn tls_with_the_right_authority_carries_messages_and_leaves_no_socket_behind() {
    let (mut broker, authority) = tls_broker();
    let mut own = options(&broker, "s");
    let (_folder, file) = written(&authority);
    own.ca_file = Some(file);
    own.subscriptions = vec![Subscription::live("t")];
    let (link, mut events) = start(own);
    up(&mut events).await;
    assert_eq!(
        link.publish(Message::once("t", vec![7; 4000])).await,
        Delivery::Delivered
    );
    assert_eq!(message(&mut events).await.1, vec![7; 4000]);
    // Other tests of this process connect now and then, each with a folder for an instant.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !private_folders().is_empty() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?}",
            private_folders()
        );
        tokio::task::yield_now().await;
    }

    broker.kill();
    down(&mut events).await;
    broker.restart();
    up(&mut events).await;
    link.close().await;
}

#[tokio::test]
async fn tls_with_another_authority_is_refused_until_the_file_is_renewed() {
    let (broker, right) = tls_broker();
    let mut own = options(&broker, "s");
    let (_folder, file) = written(&authority("another authority").0);
    own.ca_file = Some(file.clone());
    let (_link, mut events) = start(own);
    let fault = down(&mut events).await;
    assert_eq!(fault.reason(), "tls");
    assert!(fault.to_string().contains("UnknownIssuer"), "{fault}");

    std::fs::write(&file, "half a certificate").expect("written");
    let fault = down(&mut events).await;
    assert_eq!(fault.reason(), "files");
    assert!(fault.to_string().contains("BEGIN CERTIFICATE"), "{fault}");

    std::fs::write(&file, right).expect("written");
    up(&mut events).await;
}

/// As seen by a host whose clock has fallen back: the broker's certificate begins in its future.
#[tokio::test]
async fn a_clock_that_fell_back_hinders_only_a_host_that_never_saw_the_broker() {
    let (broker, authority) = tls_broker_from(2100);
    let mut own = options(&broker, "s");
    let (folder, file) = written(&authority);
    own.ca_file = Some(file);
    let clock = folder.path().join("clock");
    own.clock_file = Some(clock.clone());
    let (_link, mut events) = start(own);
    let fault = down(&mut events).await;
    assert_eq!(fault.reason(), "tls");
    assert!(fault.to_string().contains("not valid yet"), "{fault}");

    let noted = SystemTime::UNIX_EPOCH + Duration::from_secs(131 * 31_556_952);
    let written = File::create(&clock).and_then(|file| file.set_modified(noted));
    written.expect("written");
    up(&mut events).await;
}

#[tokio::test]
async fn the_time_of_a_good_certificate_is_noted() {
    let (broker, authority) = tls_broker();
    let mut own = options(&broker, "s");
    let (folder, file) = written(&authority);
    own.ca_file = Some(file);
    let clock = folder.path().join("clock");
    own.clock_file = Some(clock.clone());
    begin_in_1970(&clock);
    let began = SystemTime::now();
    let (_link, mut events) = start(own);
    up(&mut events).await;
    // What is noted are whole seconds.
    let earliest = began - Duration::from_secs(1);
    assert!((earliest..=SystemTime::now()).contains(&noted(&clock)));
}

#[tokio::test]
async fn the_time_is_noted_again_while_a_connection_lasts() {
    let (broker, authority) = tls_broker();
    let mut own = options(&broker, "s");
    let (folder, file) = written(&authority);
    own.ca_file = Some(file);
    let clock = folder.path().join("clock");
    own.clock_file = Some(clock.clone());
    let (_link, mut events) = start(own);
    up(&mut events).await;
    begin_in_1970(&clock);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3_601)).await;
    tokio::time::resume();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while noted(&clock) == SystemTime::UNIX_EPOCH {
        assert!(tokio::time::Instant::now() < deadline, "not noted");
        tokio::task::yield_now().await;
    }
    assert!(events.try_recv().is_err(), "it is the same connection");
}

/// As if nothing had been noted since then.
fn begin_in_1970(clock: &Path) {
    let file = File::create(clock).and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH));
    file.expect("written");
}

fn noted(clock: &Path) -> SystemTime {
    let noted = std::fs::metadata(clock).and_then(|file| file.modified());
    noted.expect("a time")
}
