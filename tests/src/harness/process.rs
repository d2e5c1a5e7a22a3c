//! A child process of a test: its own process group, its output in a file.
//! Holds: the whole group is killed when the value is dropped, also after a panic; where `setpriv` exists the child also dies with a
//! test process that was killed itself.
//! Not here: what is started and how one sees that it is ready; see the files named after the services.

use std::{
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{wait, workdir::WorkDir};

/// Lines of a log that a failed wait shows: the cause is nearly always in the last few.
const TAIL_LINES: usize = 15;

/// A check found that a child is no longer running.
#[derive(Debug, thiserror::Error)]
#[error("{name} has exited with {status}")]
pub struct Exited {
    /// The child's name as given to [`Process::start`].
    pub name: String,
    /// How it ended.
    pub status: String,
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// The group has had its SIGKILL; its number may belong to somebody else by now.
    killed: bool,
}

impl Process {
    /// Starts `command` in the folder `work`, standard output and error appended to `<name>.log` there. The environment is that
    /// of this process with what `command` sets and removes.
    ///
    /// # Errors
    /// When the program is missing or the log cannot be written.
    pub fn start(work: &WorkDir, name: &str, command: &Command) -> Result<Self> {
        let program = Path::new(command.get_program());
        if program.parent() != Some(Path::new("")) && !program.exists() {
            bail!("start {name}: there is no {}", program.display());
        }
        let log = work.file(&format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let mut wrapped = tied_to_this_process(command);
        wrapped
            .current_dir(command.get_current_dir().unwrap_or_else(|| work.path()))
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share the log")?)
            .stderr(output)
            .process_group(0);
        let child = spawn_in_lasting_thread(wrapped)
            .with_context(|| format!("start {name}: run {}", program.display()))?;
        live_logs().push((child.id(), log.clone()));
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            killed: false,
        })
    }

    /// The process id, which is also the id of its process group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds everything the child has written.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Fails with [`Exited`] if the child has ended; the first line of every check on a child.
    ///
    /// # Errors
    /// [`Exited`], which ends a [`wait::until`] at once.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait().context("look after a child")? {
            None => Ok(()),
            Some(status) => Err(self.exited(status).into()),
        }
    }

    /// Sends one signal to the child alone.
    ///
    /// # Errors
    /// When the child is gone.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.check_alive()?;
        kill_process(self.pid()?, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Asks the child to stop by SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it is still there after `limit`.
    pub async fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended(limit).await
    }

    /// Waits for the child to end by itself.
    ///
    /// # Errors
    /// When it is still there after `limit`.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::until(limit, &what, async || match self.child.try_wait()? {
            Some(status) => Ok(status),
            None => bail!("still running"),
        })
        .await
    }

    /// `kill -9` of the whole group; returns when the child is gone.
    pub fn kill(&mut self) {
        if std::mem::replace(&mut self.killed, true) {
            return;
        }
        // The group stays addressable while the child is unreaped, and an empty group refuses the signal: both are fine.
        if let Ok(pid) = self.pid() {
            let _gone_already = kill_process_group(pid, Signal::KILL);
        }
        let _reaped_already = self.child.wait();
    }

    pub(super) fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("a child has a positive process id")
    }

    fn exited(&self, status: ExitStatus) -> Exited {
        let status = match status.signal() {
            Some(signal) => format!("signal {signal}"),
            None => status.to_string(),
        };
        Exited {
            name: self.name.clone(),
            status,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        live_logs().retain(|(id, _)| *id != self.id());
    }
}

/// The last lines of the log of every running child of this test process.
#[must_use]
pub fn log_tails() -> String {
    let mut text = String::new();
    for (_, log) in live_logs().iter() {
        let content = std::fs::read(log).unwrap_or_default();
        let content = String::from_utf8_lossy(&content);
        let lines: Vec<&str> = content.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        text.push_str(&format!("\n--- {}\n", log.display()));
        text.push_str(&tail.join("\n"));
    }
    text
}

/// Process id and log of every child that has not been dropped, for [`log_tails`].
fn live_logs() -> MutexGuard<'static, Vec<(u32, PathBuf)>> {
    static LOGS: Mutex<Vec<(u32, PathBuf)>> = Mutex::new(Vec::new());
    LOGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same command, run by `setpriv` so that the kernel kills it when we die without cleaning up.
fn tied_to_this_process(command: &Command) -> Command {
    static SETPRIV: LazyLock<bool> = LazyLock::new(|| {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    let mut wrapped = if *SETPRIV {
        let mut setpriv = Command::new("setpriv");
        setpriv
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program());
        setpriv
    } else {
        Command::new(command.get_program())
    };
    wrapped.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

/// One request to the thread that starts all children, with the way back.
type Request = (Command, mpsc::SyncSender<std::io::Result<Child>>);

/// Starts a child from a thread that lives as long as the process: the kernel's death signal follows the starting *thread*, and
/// threads of tests and of runtimes end earlier than what they started.
fn spawn_in_lasting_thread(command: Command) -> Result<Child> {
    static STARTER: LazyLock<Mutex<mpsc::Sender<Request>>> = LazyLock::new(|| {
        let (requests, inbox) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _asker_gone = answer.send(command.spawn());
            }
        });
        Mutex::new(requests)
    });
    let (answer, outcome) = mpsc::sync_channel(1);
    STARTER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .context("reach the thread that starts children")?;
    outcome
        .recv()
        .context("hear from the thread that starts children")?
        .map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    async fn line(path: &Path) -> String {
        wait::until(LIMIT, "a line in the log", async || {
            let text = std::fs::read_to_string(path)?;
            match text.split_once('\n') {
                Some((line, _)) => Ok(line.to_owned()),
                None => bail!("{text:?}"),
            }
        })
        .await
        .unwrap()
    }

    async fn gone(pid: i32) {
        let pid = Pid::from_raw(pid).unwrap();
        wait::until(LIMIT, "a grandchild's end", async || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // A killed orphan may stay as a zombie where nobody reaps, as in a container.
            match stat.rsplit(')').next().map(str::trim_start) {
                None | Some("") => Ok(()),
                Some(state) if state.starts_with('Z') => Ok(()),
                Some(_) => bail!("{stat}"),
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn dropping_kills_the_whole_group() {
        let work = WorkDir::new("group").unwrap();
        let child = Process::start(&work, "sh", &shell("sleep 1000 & echo $!; wait")).unwrap();
        let grandchild: i32 = line(child.log()).await.parse().unwrap();
        drop(child);
        gone(grandchild).await;
    }

    /// Plays its own victim: run a second time with the variable set, it starts a child and waits to be killed.
    #[tokio::test]
    async fn child_dies_with_a_killed_test() {
        const VICTIM: &str = "HOMELAB_TEST_VICTIM";
        let work = WorkDir::new("victim").unwrap();
        if let Some(file) = std::env::var_os(VICTIM) {
            let child = Process::start(&work, "sleep", &shell("exec sleep 1000")).unwrap();
            std::fs::write(file, format!("{}\n", child.id())).unwrap();
            return std::future::pending().await;
        }
        let file = work.file("pid");
        let mut me = Command::new(std::env::current_exe().unwrap());
        me.args(["child_dies_with_a_killed_test", "--nocapture"])
            .env("TMPDIR", work.path())
            .env(VICTIM, &file);
        let mut victim = Process::start(&work, "victim", &me).unwrap();
        let grandchild: i32 = line(&file).await.parse().unwrap();
        victim.signal(Signal::KILL).unwrap();
        gone(grandchild).await;
    }

    #[tokio::test]
    async fn failed_wait_shows_the_log_of_a_child_that_was_started_again() {
        let work = WorkDir::new("again").unwrap();
        let start = |script| Process::start(&work, "again", &shell(script)).unwrap();
        let mut child = start("echo first; exec sleep 1000");
        line(child.log()).await;
        child.kill();
        child = start("echo second; exec sleep 1000");
        wait::until(LIMIT, "both lines", async || {
            let log = std::fs::read_to_string(child.log())?;
            anyhow::ensure!(log == "first\nsecond\n", "{log}");
            Ok(())
        })
        .await
        .unwrap();
        let tails = log_tails();
        let expected = format!("--- {}\nfirst\nsecond", child.log().display());
        assert!(tails.contains(&expected), "{tails}");
    }

    #[tokio::test]
    async fn stop_asks_politely_and_reports_the_exit_code() {
        let work = WorkDir::new("stop").unwrap();
        let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
        let mut child = Process::start(&work, "sh", &shell(script)).unwrap();
        assert_eq!(line(child.log()).await, "ready");
        let status = child.stop(LIMIT).await.unwrap();
        assert_eq!(status.code(), Some(7));
    }

    #[tokio::test]
    async fn ended_child_is_reported_with_its_name() {
        let work = WorkDir::new("ended").unwrap();
        let mut child = Process::start(&work, "short", &shell("exit 3")).unwrap();
        child.ended(LIMIT).await.unwrap();
        let error = child.check_alive().unwrap_err();
        assert_eq!(error.to_string(), "short has exited with exit status: 3");
    }

    #[test]
    fn missing_program_is_named() {
        let work = WorkDir::new("missing").unwrap();
        let error = Process::start(&work, "ghost", &Command::new("/no/such/program")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "start ghost: there is no /no/such/program"
        );
    }
}
