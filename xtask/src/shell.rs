//! Running other programs, and saying how to repeat what failed.

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail};

/// Lines of a quiet program's output that are shown when it fails.
const TAIL_LINES: usize = 30;

/// Runs a command on our terminal; it must succeed.
///
/// # Errors
/// With the command line to repeat it.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    succeeded(command, status, "")
}

/// Runs a command whose output matters only if it fails; answers its standard output.
///
/// # Errors
/// With the command line to repeat it and the end of what it said.
pub fn run_quietly(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    succeeded(
        command,
        output.status,
        &tail(&String::from_utf8_lossy(&said)),
    )?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command can be run and succeeds; its output is thrown away.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The first program of this name on the PATH, or where an administrator's programs are.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The command as a person would type it.
pub fn line(command: &Command) -> String {
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)))
        .map(|(name, value)| format!("{}={}", name.display(), quoted(&value.to_string_lossy())));
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or_else(|| command.get_program());
    let words = std::iter::once(program)
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()));
    set.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '*', '$', '&', ';']) {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}

fn succeeded(command: &Command, status: ExitStatus, said: &str) -> Result<()> {
    if !status.success() {
        bail!("`{}` failed ({status}){said}", line(command));
    }
    Ok(())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let end = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    end.iter().map(|line| format!("\n  {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_can_be_pasted() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.env("RUSTDOCFLAGS", "-D warnings").args(["doc", ""]);
        assert_eq!(line(&command), "RUSTDOCFLAGS='-D warnings' cargo doc ''");
    }

    #[test]
    fn failure_shows_the_end_of_the_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "seq 100; exit 3"]);
        let error = run_quietly(&mut command).unwrap_err().to_string();
        assert!(error.starts_with("`sh -c 'seq 100; exit 3'` failed (exit status: 3)"));
        assert!(
            error.ends_with("\n  100") && !error.contains("\n  70\n"),
            "{error}"
        );
    }
}
