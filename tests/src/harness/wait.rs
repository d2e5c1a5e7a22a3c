//! Waiting for a condition with a deadline, in place of sleeping.
//! In: an async check that answers `Ok` with the result, or `Err` with what it saw instead.
//! Out: the result, or an error with what was waited for, what was last seen, and the end of every running child's log.
//! Holds: a child that died ends the wait at once; a check that hangs cannot outlive the deadline.

use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

use super::process::{Exited, log_tails};

/// Pause between two checks: short against what tests wait for, long against what a check costs.
const PAUSE: Duration = Duration::from_millis(50);

/// Repeats `check` until it answers `Ok`.
///
/// # Errors
/// When `limit` has passed, or a check failed because a child of the harness has exited.
pub async fn until<T>(
    limit: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut last_seen = anyhow!("nothing: the first check did not come back");
    loop {
        match timeout_at(deadline, check()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(seen)) if seen.is::<Exited>() => return Err(failure(what, "gave up", &seen)),
            Ok(Err(seen)) => last_seen = seen,
            Err(_elapsed) => break,
        }
        if Instant::now() + PAUSE >= deadline {
            break;
        }
        sleep(PAUSE).await;
    }
    Err(failure(what, &format!("not within {limit:?}"), &last_seen))
}

fn failure(what: &str, how: &str, last_seen: &Error) -> Error {
    let reason = format!("waited for {what}: {how}; last seen: {last_seen:#}");
    // Said twice: the logs between are long, and whoever reads only one end must find the reason.
    anyhow!("{reason}{}\n--- {reason}", log_tails())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[tokio::test]
    async fn result_of_the_first_success_is_returned() {
        let mut tries = 0;
        let found = until(Duration::from_secs(10), "the third try", async || {
            tries += 1;
            if tries < 3 {
                bail!("try {tries}");
            }
            Ok(tries)
        })
        .await
        .unwrap();
        assert_eq!(found, 3);
    }

    #[tokio::test]
    async fn failure_names_the_aim_and_what_was_last_seen() {
        let error = until(Duration::from_millis(10), "the moon", async || {
            Result::<()>::Err(anyhow!("clouds"))
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(
            error.starts_with("waited for the moon: not within 10ms; last seen: clouds"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn hanging_check_ends_at_the_deadline() {
        let error = until(Duration::from_millis(10), "an answer", async || {
            std::future::pending::<Result<()>>().await
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("the first check did not come back"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn dead_child_ends_the_wait_at_once() {
        let error = until(Duration::from_secs(3600), "a port", async || {
            Result::<()>::Err(
                Exited {
                    name: "etcd".into(),
                    status: "exit status: 1".into(),
                }
                .into(),
            )
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("gave up; last seen: etcd has exited"),
            "{error}"
        );
    }
}
