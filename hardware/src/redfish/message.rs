//! What a BMC's error answer means.
//! In: a [`Reply`] that is no plain success. Out: a [`Fault`] in one of our kinds, with the BMC's own words.
//! Holds: the words are cut and cleaned, whatever the BMC sends; registries' versions do not matter.

use serde_json::Value;

use crate::fault::{Effect, Fault, FaultKind};

use super::http::{Client, Reply, with_effect};
use super::json;

/// What is kept of a BMC's words.
const MAX_TEXT: usize = 300;
/// What is kept of an answer that is no JSON, such as a proxy's error page.
const MAX_RAW: usize = 512;

/// The standard's error object, as far as it was understandable.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    /// Keys of the messages, without registry and version.
    keys: Vec<String>,
    /// A line for people.
    text: String,
    critical: bool,
    /// Whether there was an `error` object at all.
    present: bool,
}

impl Complaint {
    pub(super) fn read(body: &[u8]) -> Self {
        let Ok(document) = json::object(body) else {
            let raw = String::from_utf8_lossy(&body[..body.len().min(MAX_RAW)]);
            return Self {
                text: tidy(&raw),
                ..Self::default()
            };
        };
        let Some(error) = document.get("error") else {
            return Self::default();
        };
        let mut complaint = Self {
            present: true,
            ..Self::default()
        };
        match error.get("@Message.ExtendedInfo") {
            Some(Value::Array(list)) => list.iter().for_each(|info| complaint.add(info)),
            Some(single @ Value::Object(_)) => complaint.add(single),
            Some(Value::String(text)) => complaint.text = tidy(text),
            Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => {}
        }
        if let Some(code) = word(error, &["code", "Code"]) {
            complaint.keys.push(key_of(code).to_owned());
        }
        if complaint.text.is_empty() {
            let fallback = word(error, &["message", "Message", "code", "Code"]);
            complaint.text = tidy(fallback.unwrap_or("no reason given"));
        }
        complaint
    }

    fn add(&mut self, info: &Value) {
        if let Some(id) = word(info, &["MessageId", "MessageID", "messageId"]) {
            self.keys.push(key_of(id).to_owned());
            if self.text.is_empty() {
                self.text = tidy(id);
            }
        }
        if let Some(text) = word(info, &["Message", "message"]) {
            self.text = tidy(text);
        }
        let severity = word(info, &["MessageSeverity", "Severity"]);
        self.critical |= severity.is_some_and(|severity| severity.eq_ignore_ascii_case("critical"));
    }

    pub(super) fn has(&self, keys: &[&str]) -> bool {
        self.keys.iter().any(|key| keys.contains(&key.as_str()))
    }

    /// Whether a 2xx answer with this body is a success: no complaint at all, or one that reports success, as iLO does.
    pub(super) fn is_success(&self) -> bool {
        !self.present || (!self.critical && self.has(&["Success", "Created", "NoOperation"]))
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn is_about_licence(&self) -> bool {
        self.keys
            .iter()
            .any(|key| key.contains("License") || key.contains("Licence"))
    }
}

/// Sorts an unsuccessful reply; `effect` is what the request may have done.
pub(super) fn fault(client: &Client, reply: &Reply, effect: Effect) -> Fault {
    let complaint = Complaint::read(&reply.body);
    let (kind, effect) = match reply.status {
        401 => (FaultKind::Auth, Effect::None),
        403 if complaint.is_about_licence() => (FaultKind::NotSupported, Effect::None),
        403 => (FaultKind::Auth, Effect::None),
        404 | 410 => (FaultKind::Protocol, Effect::None),
        405 | 501 => (FaultKind::NotSupported, Effect::None),
        408 => (FaultKind::Transient, effect),
        409 | 429 | 503 => (FaultKind::Busy, Effect::None),
        400..=499 => (FaultKind::Protocol, Effect::None),
        500.. => (FaultKind::Transient, effect),
        _ => (FaultKind::Protocol, effect),
    };
    let who = match kind {
        FaultKind::Auth => format!(" refused user `{}`", client.username()),
        FaultKind::InvalidConfig
        | FaultKind::NotSupported
        | FaultKind::TlsTrust
        | FaultKind::IdentityMismatch
        | FaultKind::Denied
        | FaultKind::Unreachable
        | FaultKind::Busy
        | FaultKind::Transient
        | FaultKind::Protocol
        | FaultKind::Timeout
        | FaultKind::Cancelled => " answered".to_owned(),
    };
    let detail = format!(
        "BMC {}{who} {}: {}",
        client.address(),
        reply.status,
        complaint.text()
    );
    let mut fault = with_effect(Fault::new(kind, detail), effect);
    if matches!(reply.status, 429 | 503) {
        fault.retry_after = Some(reply.retry_after);
    }
    fault
}

fn word<'a>(object: &'a Value, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| object.get(name)?.as_str())
}

/// `Base.1.12.X`, `Base.v1_4_0.X` and a bare `X` all mean the key `X`.
fn key_of(id: &str) -> &str {
    id.rsplit('.').next().unwrap_or(id)
}

/// One line, without control characters, not too long.
pub(super) fn tidy(text: &str) -> String {
    let spaced = text.replace(
        |character: char| character.is_control() || character.is_whitespace(),
        " ",
    );
    let words: Vec<&str> = spaced.split(' ').filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_info_is_understood_in_every_shape() {
        for (body, keys, text) in [
            (
                r#"{"error":{"code":"Base.1.0.GeneralError","message":"m","@Message.ExtendedInfo":[{"MessageId":"Base.1.12.Success","Message":"all well"}]}}"#,
                &["Success", "GeneralError"][..],
                "all well",
            ),
            (
                r#"{"error":{"@Message.ExtendedInfo":{"MessageId":"IDRAC.2.1.PSU501","message":"on  \n already"}}}"#,
                &["PSU501"],
                "on already",
            ),
            (
                r#"{"error":{"@Message.ExtendedInfo":"Internal"}}"#,
                &[],
                "Internal",
            ),
            (
                r#"{"error":{"@Message.ExtendedInfo":[{"MessageId":"X"}]}}"#,
                &["X"],
                "X",
            ),
            (r#"{"error":{"code":"A.B"}}"#, &["B"], "A.B"),
            (r#"{"error":{}}"#, &[], "no reason given"),
            (r#"{"error":7}"#, &[], "no reason given"),
            ("<html>\x07 no </html>", &[], "<html> no </html>"),
            ("", &[], ""),
        ] {
            let complaint = Complaint::read(body.as_bytes());
            assert_eq!(complaint.keys, keys, "{body}");
            assert_eq!(complaint.text, text, "{body}");
        }
    }

    #[test]
    fn words_are_cut_and_cleaned() {
        let text = tidy(&format!("a\u{0}b\n{}", "é".repeat(1000)));
        assert!(text.starts_with("a b é") && text.chars().count() == MAX_TEXT + 1);
    }

    #[test]
    fn a_200_is_a_success_unless_it_complains() {
        for (body, success) in [
            ("", true),
            (r#"{"TaskState":"Running"}"#, true),
            (
                r#"{"error":{"@Message.ExtendedInfo":[{"MessageId":"iLO.2.14.Success"}]}}"#,
                true,
            ),
            (
                r#"{"error":{"@Message.ExtendedInfo":{"MessageId":"Base.1.4.NoOperation"}}}"#,
                true,
            ),
            (
                r#"{"error":{"@Message.ExtendedInfo":[{"MessageId":"iLO.2.14.Success"},{"MessageId":"X.Y","Severity":"Critical"}]}}"#,
                false,
            ),
            (r#"{"error":{"@Message.ExtendedInfo":"failed"}}"#, false),
            (r#"{"error":{"code":"Base.1.0.GeneralError"}}"#, false),
        ] {
            assert_eq!(
                Complaint::read(body.as_bytes()).is_success(),
                success,
                "{body}"
            );
        }
    }
}
