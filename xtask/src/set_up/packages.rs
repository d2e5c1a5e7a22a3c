//! Programs of the distribution: mosquitto, Python's venv, network namespaces.
//! Holds: nothing is installed that is there; without apt-get or rights the line says what to install by hand.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::shell;

/// How apt-get may be run here.
enum Rights {
    Root,
    Sudo,
    None,
}

/// Installs what is missing.
///
/// # Errors
/// When it cannot be installed.
pub fn ensure() -> Result<()> {
    let rights = rights();
    let missing = missing(&rights);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if shell::find("apt-get").is_none() {
        bail!(
            "set-up: packages: this is no Debian or Ubuntu; install by hand what they call {list}"
        );
    }
    let mut update = match rights {
        Rights::Root => Command::new("apt-get"),
        Rights::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            sudo
        }
        Rights::None => {
            bail!(
                "set-up: packages: neither root nor sudo without a password; run: sudo apt-get install {list}"
            )
        }
    };
    let mut install = Command::new(update.get_program());
    install
        .args(update.get_args())
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&missing);
    eprintln!("set-up: packages: installing {list} with apt-get");
    shell::run_quietly(update.arg("update")).context("set-up: packages")?;
    shell::run_quietly(&mut install).context("set-up: packages")?;
    Ok(())
}

/// The packages whose programs are not there.
fn missing(rights: &Rights) -> Vec<&'static str> {
    let mut packages = Vec::new();
    let mut need = |present: bool, package: &'static str| {
        if !present {
            packages.push(package);
        }
    };
    need(shell::find("mosquitto").is_some(), "mosquitto");
    need(shell::find("mosquitto_pub").is_some(), "mosquitto-clients");
    need(shell::find("python3").is_some(), "python3");
    // Debian splits what a virtual environment needs from Python itself.
    let mut python = Command::new("python3");
    python.args(["-c", "import venv, ensurepip"]);
    need(shell::succeeds(&mut python), "python3-venv");
    // Network namespaces are used by root only; everybody else gets loopback broadcasts.
    let namespaces = match rights {
        Rights::Root => shell::find("ip").is_some(),
        Rights::Sudo | Rights::None => true,
    };
    need(namespaces, "iproute2");
    packages
}

fn rights() -> Rights {
    let user = shell::run_quietly(Command::new("id").arg("-u"));
    if user.is_ok_and(|user| user.trim() == "0") {
        return Rights::Root;
    }
    let sudo = Path::new("/usr/bin/sudo");
    if sudo.exists() && shell::succeeds(Command::new(sudo).args(["-n", "true"])) {
        Rights::Sudo
    } else {
        Rights::None
    }
}
