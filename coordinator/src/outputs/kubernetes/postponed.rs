//! Jobs that were tried in vain and are tried again until they are done.
//!
//! In: jobs, each with a pause. Out: those whose pause is over.
//! Holds: a job that waits here takes no place among those at work.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::backlog::Job;

/// Jobs and when their pauses are over.
#[derive(Default)]
pub(super) struct Postponed(Mutex<Vec<(Instant, Job)>>);

impl Postponed {
    fn waiting(&self) -> MutexGuard<'_, Vec<(Instant, Job)>> {
        // A panic elsewhere cannot leave the list half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a job for so long.
    pub(super) fn add(&self, job: Job, pause: Duration) {
        self.waiting().push((Instant::now() + pause, job));
    }

    /// Gives out the jobs whose pause is over.
    pub(super) fn due(&self) -> Vec<Job> {
        let now = Instant::now();
        let mut waiting = self.waiting();
        let due = waiting.extract_if(.., |(at, _)| *at <= now);
        due.map(|(_, job)| job).collect()
    }
}
