//! What systemd wants to know and can tell; without systemd all of it does nothing.

use std::process::Stdio;
use std::time::Duration;

/// Longer than `systemctl` ever takes for this, shorter than anybody waits for a stop.
const ANSWER: Duration = Duration::from_secs(1);

/// Tells that the agent serves; the broker may still be away.
pub(crate) fn ready() {
    notify(&[sd_notify::NotifyState::Ready]);
}

/// Tells that the main loop is alive.
pub(crate) fn alive() {
    notify(&[sd_notify::NotifyState::Watchdog]);
}

/// Tells that the agent ends.
pub(crate) fn stopping() {
    notify(&[sd_notify::NotifyState::Stopping]);
}

/// How often [`alive`] must be called: twice as often as systemd looks.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    let mut usec = 0;
    let wanted = sd_notify::watchdog_enabled(false, &mut usec);
    (wanted && usec > 0).then(|| Duration::from_micros(usec / 2))
}

/// Whether the whole host is on its way down.
pub(crate) async fn host_is_stopping() -> bool {
    let answer = tokio::process::Command::new("systemctl")
        .arg("is-system-running")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(Ok(output)) => output.stdout.trim_ascii() == b"stopping",
        Ok(Err(_)) | Err(_) => false,
    }
}

fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::debug!(%error, "systemd not notified");
    }
}
