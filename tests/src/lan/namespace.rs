//! One network namespace with a name.
//! In: a word. Out: `ip` inside of it.
//! Holds: the name begins with the process that made it, so what a killed process left behind is known and removed.

use std::{
    fs,
    path::Path,
    process::{self, Command},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, ensure};

/// Where iproute2 keeps names of namespaces.
const NAMES: &str = "/run/netns";
/// Every name of ours begins so, and goes on with the process id, a number and a word.
const PREFIX: &str = "homelab-test-";

#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one with nothing in it but a loopback card that is down.
    pub(super) fn new(word: &str) -> Result<Arc<Self>> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        // Before the first of this process: a name with our own process id is then a leftover too.
        static SWEPT: LazyLock<()> = LazyLock::new(|| sweep(process::id()));
        LazyLock::force(&SWEPT);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{word}", process::id());
        ip(&["netns", "add", &name])?;
        Ok(Arc::new(Self { name }))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in this namespace and returns what it prints.
    pub(super) fn ip(&self, arguments: &[&str]) -> Result<String> {
        ip(&[&["-netns", &self.name], arguments].concat())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            tracing::error!(name = self.name, %error, "a network namespace stays behind");
        }
    }
}

/// Removes the namespaces of processes that are gone, and of an earlier one with the process id `me`.
fn sweep(me: u32) {
    let Ok(names) = fs::read_dir(NAMES) else {
        // iproute2 makes the folder with the first namespace.
        return;
    };
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for name in names.filter(|name| is_leftover(name, me)) {
        let _another_test_was_faster = remove(&name);
    }
}

fn is_leftover(name: &str, me: u32) -> bool {
    let owner = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
    owner.is_some_and(|owner| owner == me || !Path::new(&format!("/proc/{owner}")).exists())
}

fn remove(name: &str) -> Result<()> {
    ip(&["netns", "delete", name]).map(drop)
}

fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.context("run ip: install Debian's package iproute2")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8(output.stdout).context("read what ip prints")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lan::may_run;

    fn exists(name: &str) -> bool {
        Path::new(NAMES).join(name).exists()
    }

    fn dead_process() -> u32 {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn only_names_of_ours_with_a_dead_owner_are_leftovers() {
        let dead = dead_process();
        let me = process::id();
        for (name, leftover) in [
            (format!("{PREFIX}{dead}-0-relay"), true),
            (format!("{PREFIX}{me}-7-relay"), true),
            (format!("{PREFIX}1-0-relay"), false),
            (format!("{PREFIX}nobody-0-relay"), false),
            (format!("cni-{dead}"), false),
        ] {
            assert_eq!(is_leftover(&name, me), leftover, "{name}");
        }
    }

    #[test]
    fn namespace_is_gone_after_a_panic() {
        if !may_run("namespace_is_gone_after_a_panic") {
            return;
        }
        let (tell, told) = std::sync::mpsc::channel();
        let panicked = std::thread::spawn(move || {
            let namespace = Namespace::new("panic").unwrap();
            tell.send((namespace.name.clone(), exists(&namespace.name)))
                .unwrap();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        let (name, was_there) = told.recv().unwrap();
        assert!(was_there && !exists(&name), "{name}");
    }

    #[test]
    fn namespace_of_a_dead_process_is_swept() {
        if !may_run("namespace_of_a_dead_process_is_swept") {
            return;
        }
        let name = format!("{PREFIX}{}-0-left", dead_process());
        ip(&["netns", "add", &name]).unwrap();
        let living = Namespace::new("living").unwrap();
        // Nobody's id: this process has namespaces by now, and they must stay.
        sweep(0);
        assert!(!exists(&name) && exists(living.name()));
    }

    #[test]
    fn what_ip_complains_of_is_told() {
        if !may_run("what_ip_complains_of_is_told") {
            return;
        }
        let namespace = Namespace::new("wrong").unwrap();
        let error = namespace.ip(&["link", "set", "nope0", "up"]).unwrap_err();
        assert!(error.to_string().contains("nope0"), "{error}");
    }
}
