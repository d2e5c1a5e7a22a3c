//! Files that change while the service runs: which are taken, and what is said.

use std::fs;
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::inputs::autoscaler::tests::authority::{Authority, files};

fn open(folder: &TempDir, authority: &Authority) -> Files {
    let pair = authority.sign("localhost");
    let files = files(folder, &authority.cert, &pair);
    Files::open(files, Metrics::unregistered()).unwrap()
}

fn current(files: &Files) -> Arc<ServerConfig> {
    files.config().borrow().clone().unwrap()
}

/// What is logged meanwhile, one line for each event.
fn logged(work: impl FnOnce()) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || Sink(Arc::clone(&sink)))
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn unchanged_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let mut opened = open(&folder, &authority);
    let before = current(&opened);
    assert!(!opened.look());
    assert!(Arc::ptr_eq(&before, &current(&opened)));
}

#[test]
fn files_that_do_not_fit_together_are_refused_once_and_taken_when_they_do() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let mut opened = open(&folder, &authority);
    let before = current(&opened);
    let next = authority.sign("localhost");
    fs::write(&opened.files.cert, &next.cert).unwrap();
    let said = logged(|| assert!(!opened.look() && !opened.look() && !opened.look()));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("--grpc-cert and --grpc-key"), "{said:?}");
    assert!(Arc::ptr_eq(&before, &current(&opened)));
    fs::write(&opened.files.key, next.key.serialize_pem()).unwrap();
    assert!(opened.look());
    assert!(!Arc::ptr_eq(&before, &current(&opened)));
}

#[test]
fn a_missing_file_is_told_once_for_each_time_that_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let mut opened = open(&folder, &authority);
    let whole = fs::read(&opened.files.client_ca).unwrap();
    for _twice in 0..2 {
        fs::remove_file(&opened.files.client_ca).unwrap();
        let said = logged(|| assert!(!opened.look() && !opened.look()));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("--grpc-client-ca: cannot read"),
            "{said:?}"
        );
        fs::write(&opened.files.client_ca, &whole).unwrap();
        assert!(logged(|| assert!(!opened.look())).is_empty());
    }
}

#[test]
fn each_unusable_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let good = files(&folder, &authority.cert, &authority.sign("localhost"));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (file, content, flag) in [
        (&good.cert, "", "--grpc-cert"),
        (&good.cert, garbage, "--grpc-cert"),
        (&good.key, "no key", "--grpc-key"),
        (&good.client_ca, "", "--grpc-client-ca"),
        (&good.client_ca, garbage, "--grpc-client-ca"),
    ] {
        let whole = fs::read(file).unwrap();
        fs::write(file, content).unwrap();
        let fault = Files::open(good.clone(), Metrics::unregistered())
            .err()
            .unwrap();
        assert!(fault.to_string().starts_with(flag), "{fault}");
        fs::write(file, whole).unwrap();
    }
    Files::open(good, Metrics::unregistered()).unwrap();
}

#[test]
fn certificates_that_have_ended_are_told_by_their_flag() {
    let folder = tempfile::tempdir().unwrap();
    let (ended, current) = (Authority::until(2001), Authority::new());
    let pair = current.sign_until("localhost", 2001);
    let opened = files(&folder, &ended.cert, &pair);
    let opened = Files::open(opened, Metrics::unregistered()).unwrap();
    let said = logged(|| opened.remind());
    assert_eq!(said.len(), 2, "{said:?}");
    for (line, flag) in said.iter().zip(["--grpc-cert", "--grpc-client-ca"]) {
        assert!(line.contains("ERROR") && line.contains(flag), "{line}");
    }
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

#[test]
fn certificates_that_end_within_fourteen_days_are_told_by_their_flag_and_the_days_left() {
    let folder = tempfile::tempdir().unwrap();
    // An hour more, so that the test may take its time.
    let (soon, later) = (13 * DAY + DAY / 24, 15 * DAY);
    for (server, authority, told) in [
        (soon, later, &["--grpc-cert"][..]),
        (later, soon, &["--grpc-client-ca"]),
        (soon, soon, &["--grpc-cert", "--grpc-client-ca"]),
        (later, later, &[]),
    ] {
        let authority = Authority::lasting(authority);
        let pair = authority.sign_lasting("localhost", server);
        let opened = files(&folder, &authority.cert, &pair);
        let opened = Files::open(opened, Metrics::unregistered()).unwrap();
        let said = logged(|| opened.remind());
        assert_eq!(said.len(), told.len(), "{said:?}");
        for (line, flag) in said.iter().zip(told) {
            assert!(line.contains("WARN") && line.contains("days=13"), "{line}");
            assert!(line.contains(&format!("from=\"{flag}\"")), "{line}");
        }
    }
}

#[test]
fn whoever_serves_with_a_certificate_that_ends_soon_is_told_at_the_start_and_once_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let pair = authority.sign_lasting("localhost", 13 * DAY);
    let opened = files(&folder, &authority.cert, &pair);
    let opened = Files::open(opened, Metrics::unregistered()).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let said = logged(|| {
        runtime.block_on(async {
            let followed = tokio::time::timeout(DAY + DAY / 2, opened.follow());
            followed.await.unwrap_err();
        });
    });
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|line| line.contains("WARN")), "{said:?}");
}

#[test]
fn an_ended_authority_beside_a_current_one_is_no_reason_to_worry() {
    let folder = tempfile::tempdir().unwrap();
    let (ended, current) = (Authority::until(2001), Authority::new());
    let both = format!("{}{}", ended.cert, current.cert);
    let opened = files(&folder, &both, &current.sign("localhost"));
    let opened = Files::open(opened, Metrics::unregistered()).unwrap();
    assert!(logged(|| opened.remind()).is_empty());
}

#[test]
fn a_key_that_lost_its_newlines_is_refused_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let good = files(&folder, &authority.cert, &authority.sign("localhost"));
    let whole = fs::read_to_string(&good.key).unwrap();
    let secret = whole.lines().nth(1).unwrap()[..8].to_owned();
    let decimal = secret.as_bytes().iter().map(u8::to_string);
    let decimal = decimal.collect::<Vec<_>>().join(", ");
    for newline in ["", "\\n"] {
        fs::write(&good.key, whole.replace('\n', newline)).unwrap();
        let fault = Files::open(good.clone(), Metrics::unregistered())
            .err()
            .unwrap();
        let told = format!("{} {fault:?}", text(&fault));
        assert!(told.starts_with("--grpc-key"), "{told}");
        assert!(!told.contains(&secret), "{told}");
        assert!(!told.contains(&decimal), "{told}");
    }
}

#[test]
fn issued_certificates_are_told_of_each_time_and_only_once_there_are_any() {
    let authority = Authority::until(2001);
    let pair = authority.sign_until("localhost", 2001);
    let server = crate::certificates::Pair {
        cert: pair.cert,
        key: pair.key.serialize_pem(),
    };
    let tls = Issued::new(Metrics::unregistered());
    assert!(logged(|| tls.remind()).is_empty() && !tls.is_served());
    tls.serve_with(&server, &authority.cert).unwrap();
    for _twice in 0..2 {
        let said = logged(|| tls.remind());
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said.iter().all(|line| line.contains("ERROR")), "{said:?}");
    }
}
