//! The tasks of the process: named, in a span each, and none of them ends unnoticed.
//! In: futures. Out: which one ended first, and how.
//! Holds: a panic in one task is never survived by the others; half a coordinator would be worse than a restart.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument;

/// Any error, with its causes.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The tasks of the process.
#[derive(Default)]
pub(crate) struct Tasks {
    set: JoinSet<Result<(), BoxError>>,
    names: HashMap<Id, &'static str>,
    /// Those that end by themselves after a stop.
    stoppable: usize,
}

/// A task ended although the process goes on.
#[derive(Debug, Error)]
pub(crate) enum TaskFault {
    /// It returned.
    #[error("task {0} ended")]
    Ended(&'static str),
    /// It gave up.
    #[error("task {name} failed")]
    Failed {
        /// Which one.
        name: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// It panicked.
    #[error("task {0} panicked")]
    Panicked(&'static str),
}

/// Whether a task ends after a stop was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It has something to finish; the process waits for it.
    AfterStop,
    /// It is simply dropped with the process.
    Never,
}

impl Tasks {
    /// Starts a task inside a span of its name.
    pub(crate) fn spawn<E: Into<BoxError>>(
        &mut self,
        name: &'static str,
        ends: Ends,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let span = tracing::info_span!("task", name);
        let handle = self
            .set
            .spawn(async move { task.await.map_err(Into::into) }.instrument(span));
        self.names.insert(handle.id(), name);
        match ends {
            Ends::AfterStop => self.stoppable += 1,
            Ends::Never => {}
        }
    }

    /// Starts a task that cannot fail and never ends.
    pub(crate) fn spawn_endless(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn(name, Ends::Never, async move {
            task.await;
            Ok::<(), BoxError>(())
        });
    }

    /// Waits for the first task that ends; for ever if there is none.
    pub(crate) async fn first_end(&mut self) -> TaskFault {
        match self.set.join_next_with_id().await {
            Some(end) => self.named(end),
            None => std::future::pending().await,
        }
    }

    /// After a stop was asked for: waits until every task that ends after it has ended, at most for `within`, and not once
    /// `hurry` tells that somebody will not wait.
    ///
    /// # Errors
    /// A task fails or panics on its way out.
    pub(crate) async fn finish(
        mut self,
        within: Duration,
        hurry: impl Future<Output = &'static str>,
    ) -> Result<(), TaskFault> {
        let finished = async {
            while self.stoppable > 0 {
                match self.first_end().await {
                    TaskFault::Ended(_) => self.stoppable -= 1,
                    fault @ (TaskFault::Failed { .. } | TaskFault::Panicked(_)) => {
                        return Err(fault);
                    }
                }
            }
            Ok(())
        };
        tokio::select! {
            finished = finished => return finished,
            () = tokio::time::sleep(within) => tracing::warn!(
                within_s = within.as_secs(),
                "some tasks did not end in time; leaving without them"
            ),
            signal = hurry => tracing::warn!(signal, "told again to stop; leaving at once"),
        }
        Ok(())
    }

    fn named(&self, end: Result<(Id, Result<(), BoxError>), JoinError>) -> TaskFault {
        let name = |id: Id| self.names.get(&id).copied().unwrap_or("unnamed");
        match end {
            Ok((id, Ok(()))) => TaskFault::Ended(name(id)),
            Ok((id, Err(source))) => TaskFault::Failed {
                name: name(id),
                source,
            },
            Err(fault) => TaskFault::Panicked(name(fault.id())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_one_task_is_told_by_its_name() {
        let mut tasks = Tasks::default();
        tasks.spawn_endless("steady", std::future::pending());
        tasks.spawn_endless("engine", async { panic!("on purpose") });
        assert!(matches!(
            tasks.first_end().await,
            TaskFault::Panicked("engine")
        ));
    }

    #[tokio::test]
    async fn a_task_that_ends_or_fails_is_told_too() {
        let mut tasks = Tasks::default();
        tasks.spawn_endless("watch", async {});
        assert!(matches!(tasks.first_end().await, TaskFault::Ended("watch")));
        tasks.spawn("link", Ends::Never, async { Err("no route") });
        let fault = tasks.first_end().await;
        assert_eq!(fault.to_string(), "task link failed");
        assert_eq!(fault.source().unwrap().to_string(), "no route");
    }

    #[tokio::test]
    async fn a_stop_waits_only_for_tasks_that_have_something_to_finish() {
        let mut tasks = Tasks::default();
        tasks.spawn_endless("engine", std::future::pending());
        tasks.spawn("grpc", Ends::AfterStop, async { Ok::<(), BoxError>(()) });
        tasks
            .finish(Duration::from_secs(60), std::future::pending())
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_after_a_stop_is_left_behind() {
        let mut tasks = Tasks::default();
        tasks.spawn(
            "grpc",
            Ends::AfterStop,
            std::future::pending::<Result<(), BoxError>>(),
        );
        tasks
            .finish(Duration::from_secs(5), std::future::pending())
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_is_not_made_to_wait() {
        let mut tasks = Tasks::default();
        tasks.spawn(
            "grpc",
            Ends::AfterStop,
            std::future::pending::<Result<(), BoxError>>(),
        );
        let before = tokio::time::Instant::now();
        let again = std::future::ready("SIGTERM");
        tasks.finish(Duration::from_secs(5), again).await.unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}
