//! What the log shows of what happens.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use coordinator_core::{GroupId, MachineId};

use super::*;

struct Nowhere;

impl Outputs for Nowhere {
    fn perform(&mut self, _action: Action) {}
}

/// Lines written so far.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged meanwhile, without times.
pub(crate) fn logged(work: impl FnOnce()) -> String {
    let lines = Lines::default();
    let target = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || target.clone())
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_event_is_a_line_with_its_values_as_fields() {
    let mut routes = Routes {
        commands: Box::new(Nowhere),
        mode: Box::new(Nowhere),
    };
    let machine = Subject::Machine(MachineId::new("nuc1"));
    let group = Subject::Group(GroupId::new("lab/workers"));
    for (about, op, severity, line) in [
        (
            machine,
            Some("01JD"),
            Severity::Warning,
            r#"WARN coordinator::outputs: lab event kind="Node" name="nuc1" reason="WakeUnanswered" op="01JD" detail="90 s after""#,
        ),
        (
            group,
            None,
            Severity::Normal,
            r#"INFO coordinator::outputs: lab event kind="Group" name="lab/workers" reason="WakeUnanswered" detail="90 s after""#,
        ),
    ] {
        let event = Event {
            about,
            severity,
            reason: "WakeUnanswered",
            message: "90 s after".into(),
            operation: op.map(Into::into),
        };
        let shown = logged(|| routes.perform(Action::Event(event)));
        assert_eq!(shown.trim(), line);
    }
}
