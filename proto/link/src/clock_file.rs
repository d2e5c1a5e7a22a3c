//! The time at which a broker's certificate was good last, as the time of change of an empty file.
//! Holds: written at most once a day, so that it wears no flash; a time that lies in the future is put right.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Certificates are renewed weeks before they end, and a day is little beside that.
const AGE: Duration = Duration::from_secs(24 * 3600);

/// Where the time is kept.
#[derive(Clone, Debug)]
pub(crate) struct ClockFile(PathBuf);

impl ClockFile {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// What was noted, if anything was.
    pub(crate) fn read(&self) -> Option<SystemTime> {
        std::fs::metadata(&self.0)
            .and_then(|file| file.modified())
            .ok()
    }

    /// A certificate was accepted at this time.
    pub(crate) fn note(&self, now: SystemTime) {
        let age = self.read().map(|noted| now.duration_since(noted));
        if matches!(age, Some(Ok(age)) if age < AGE) {
            return;
        }
        if let Err(fault) = self.write(now) {
            tracing::debug!(path = %self.0.display(), %fault, "time not noted");
        }
    }

    fn write(&self, now: SystemTime) -> io::Result<()> {
        let mut options = File::options();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.0)?;
        file.set_modified(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_noted_once_a_day_and_one_in_the_future_is_put_right() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = ClockFile::at(folder.path().join("clock"));
        assert_eq!(file.read(), None);
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let hour = Duration::from_secs(3600);
        for (now, noted) in [
            (start, start),
            (start + 23 * hour, start),
            (start + 24 * hour, start + 24 * hour),
            (start, start),
        ] {
            file.note(now);
            assert_eq!(file.read(), Some(noted));
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_fault() {
        let file = ClockFile::at("/nonexistent/clock".into());
        file.note(SystemTime::UNIX_EPOCH);
        assert_eq!(file.read(), None);
    }
}
