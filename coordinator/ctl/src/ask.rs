//! A person's request: what is asked for, by whom, until when, under which id.
//!
//! Holds: each request has its own id, so the coordinator takes it once, however often it is sent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use coordinator_crds::{
    node_status::{Ask, AskVerb},
    time,
};

use crate::{args::Power, fault::CtlFault};

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The machine and the request that `power` means.
pub(crate) fn power(power: Power) -> Result<(String, Ask), CtlFault> {
    let (node, verb, hold) = match power {
        Power::On(hold) => (hold.node, AskVerb::PowerOn, hold.hold),
        Power::Off(hold) => (hold.node, AskVerb::PowerOff, hold.hold),
        Power::Retry { node } => (node, AskVerb::Retry, None),
        Power::ConfirmOff { node } => (node, AskVerb::ConfirmOff, None),
        Power::Release { node } => (node, AskVerb::Release, None),
    };
    Ok((node, new(verb, hold)?))
}

/// A new request.
pub(crate) fn new(verb: AskVerb, hold: Option<Duration>) -> Result<Ask, CtlFault> {
    let id = getrandom::u64()
        .map_err(|_| CtlFault::Refused("the system gives no random numbers".to_owned()))?;
    let until = hold.map(|hold| {
        let ms = i64::try_from(hold.as_millis()).unwrap_or(i64::MAX);
        time::from_unix_ms(now_ms().saturating_add(ms))
    });
    Ok(Ask {
        id: format!("ctl-{id:016x}"),
        verb,
        until,
        by: by(std::env::var("USER").ok().as_deref()),
    })
}

fn by(user: Option<&str>) -> String {
    match user.filter(|user| !user.is_empty()) {
        Some(user) => format!("user {}", user.chars().take(64).collect::<String>()),
        None => format!("user id {}", rustix::process::getuid().as_raw()),
    }
}

/// What was asked for, as a sentence's beginning.
pub(crate) fn words(ask: &Ask, node: &str) -> String {
    let until = ask
        .until
        .as_ref()
        .map(|until| format!(" until {}", until.0.strftime("%Y-%m-%d %H:%M UTC")))
        .unwrap_or_default();
    match ask.verb {
        AskVerb::PowerOn => format!("{node} is to run{until}"),
        AskVerb::PowerOff => format!("{node} is to be off{until}"),
        AskVerb::Retry => format!("{node} is tried again"),
        AskVerb::ConfirmOff => format!("{node} counts as off"),
        AskVerb::Prove => format!("{node} is stopped once and woken once"),
        AskVerb::Release => format!("{node} is its group's again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_an_id_of_its_own_and_an_end_where_one_was_given() {
        let hold = Some(Duration::from_secs(7200));
        let one = new(AskVerb::PowerOn, hold).unwrap();
        let other = new(AskVerb::PowerOn, hold).unwrap();
        assert_ne!(one.id, other.id);
        let end = time::unix_ms(one.until.as_ref().unwrap());
        assert!(end > now_ms() + 7_100_000 && end < now_ms() + 7_300_000);
        assert!(new(AskVerb::Retry, None).unwrap().until.is_none());
    }

    #[test]
    fn the_person_is_named() {
        assert_eq!(by(Some("ann")), "user ann");
        assert!(by(None).starts_with("user id "));
        assert!(by(Some(&"x".repeat(999))).len() < 100);
    }
}
