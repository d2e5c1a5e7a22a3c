//! `--timing key=value`: one table of every time limit and bound of [`Policy`].
//! Holds: a field that is added to `Policy` must be named here, or this file does not compile.

use coordinator_core::Policy;
use coordinator_crds::duration;

use super::ArgsFault;

enum Slot<'a> {
    Milliseconds(&'a mut u64),
    Count(&'a mut u32),
}

fn slots(policy: &mut Policy) -> Vec<(&'static str, Slot<'_>)> {
    use Slot::{Count, Milliseconds as Ms};
    let Policy {
        agent_silent_ms,
        lease_silent_ms,
        challenge_fresh_ms,
        ping_wait_ms,
        accept_ms,
        send_tries,
        wake_stagger_ms,
        wake_repeat_ms,
        wakes_per_relay,
        unanswered_ms,
        relay_wait_ms,
        boot_margin_ms,
        boots_to_learn,
        bmc_poll_ms,
        off_reads_apart_ms,
        settle_ms,
        pods_retry_ms,
        drain_blocked_ms,
        duplicate_ms,
        quarantine_ms,
        quarantine_max_ms,
        grace_ms,
        silence_window_ms,
        power_cut_hold_ms,
        power_cut_stagger_ms,
        store_retry_ms,
        // These are facts about the lab, with flags of their own or none.
        autoscaler: _,
        own_node: _,
        broker_node: _,
        provider_scheme: _,
    } = policy;
    vec![
        ("agent_silent", Ms(agent_silent_ms)),
        ("lease_silent", Ms(lease_silent_ms)),
        ("challenge_fresh", Ms(challenge_fresh_ms)),
        ("ping_wait", Ms(ping_wait_ms)),
        ("accept", Ms(accept_ms)),
        ("send_tries", Count(send_tries)),
        ("wake_stagger", Ms(wake_stagger_ms)),
        ("wake_repeat", Ms(wake_repeat_ms)),
        ("wakes_per_relay", Count(wakes_per_relay)),
        ("unanswered", Ms(unanswered_ms)),
        ("relay_wait", Ms(relay_wait_ms)),
        ("boot_margin", Ms(boot_margin_ms)),
        ("boots_to_learn", Count(boots_to_learn)),
        ("bmc_poll", Ms(bmc_poll_ms)),
        ("off_reads_apart", Ms(off_reads_apart_ms)),
        ("settle", Ms(settle_ms)),
        ("pods_retry", Ms(pods_retry_ms)),
        ("drain_blocked", Ms(drain_blocked_ms)),
        ("duplicate", Ms(duplicate_ms)),
        ("quarantine", Ms(quarantine_ms)),
        ("quarantine_max", Ms(quarantine_max_ms)),
        ("grace", Ms(grace_ms)),
        ("silence_window", Ms(silence_window_ms)),
        ("power_cut_hold", Ms(power_cut_hold_ms)),
        ("power_cut_stagger", Ms(power_cut_stagger_ms)),
        ("store_retry", Ms(store_retry_ms)),
    ]
}

/// The default policy with these changes. A key may also be written with dashes or with `_ms` at its end.
pub(super) fn policy(changes: &[String]) -> Result<Policy, ArgsFault> {
    let mut policy = Policy::default();
    for change in changes {
        let (key, value) = change
            .split_once('=')
            .ok_or_else(|| ArgsFault::TimingForm(change.clone()))?;
        apply(&mut policy, key.trim(), value.trim())?;
    }
    Ok(policy)
}

fn apply(policy: &mut Policy, key: &str, value: &str) -> Result<(), ArgsFault> {
    let plain = key.replace('-', "_");
    let name = plain.strip_suffix("_ms").unwrap_or(&plain);
    let wrong = |want: String| ArgsFault::TimingValue {
        key: name.to_owned(),
        value: value.to_owned(),
        want,
    };
    let mut slots = slots(policy);
    let Some((_, slot)) = slots.iter_mut().find(|(slot, _)| *slot == name) else {
        let names: Vec<_> = slots.iter().map(|(name, _)| *name).collect();
        return Err(ArgsFault::TimingKey {
            key: key.to_owned(),
            known: names.join(", "),
        });
    };
    match slot {
        Slot::Milliseconds(ms) => {
            let time = duration::parse(value).map_err(|fault| wrong(fault.to_string()))?;
            **ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        }
        Slot::Count(count) => {
            **count = value
                .parse()
                .ok()
                .filter(|number| (1..=100).contains(number))
                .ok_or_else(|| wrong("it is a number from 1 to 100".to_owned()))?;
        }
    }
    Ok(())
}
