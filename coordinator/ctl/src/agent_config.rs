//! `homelabctl agent config`: the whole agent.toml for one agent, and the files that stand beside it.
//!
//! In: where the broker is, the coordinator's public key, the agent's password. Out: text, or files in a folder.
//! Holds: the TOML holds no secret; the password has a file of its own, which only its owner can read.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::Deserialize;

/// What an agent needs to be heard and to obey.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Access {
    /// Address of the broker.
    pub(crate) broker: String,
    /// The key that commands are signed with, `ed25519:…`.
    pub(crate) coordinator_key: String,
    /// Whether the broker asks for a user and a password.
    #[serde(default)]
    pub(crate) needs_password: bool,
    /// The agent's password, where we know it.
    #[serde(default)]
    pub(crate) password: Option<String>,
    /// The authority that signed the broker's certificate, in PEM, where it is not a public one.
    #[serde(default)]
    pub(crate) ca: Option<String>,
}

/// The files that an agent finds by itself because they stand beside its TOML.
const TOML: &str = "agent.toml";
const PASSWORD: &str = "password";
const CA: &str = "ca.pem";

/// The TOML for the agent of that name, with everything else as comments.
pub(crate) fn text(access: &Access, name: &str) -> String {
    let mut text = format!("# /etc/homelab-agent/{TOML}\n{}", toml(access, name));
    if let Some(password) = &access.password {
        let quoted = password.replace('\'', r"'\''");
        text.push_str(&format!(
            "\n# The broker's password for user {name} stands beside it, in a file of its own:\n\
             #   (umask 077; printf %s '{quoted}' > /etc/homelab-agent/{PASSWORD})\n"
        ));
    } else if access.needs_password {
        text.push_str(&format!(
            "\n# The broker is your own: give it a user {name}, and put the password alone into\n\
             # /etc/homelab-agent/{PASSWORD} (mode 0600).\n"
        ));
    }
    if let Some(ca) = &access.ca {
        text.push_str(&format!(
            "\n# The broker's authority stands beside it in /etc/homelab-agent/{CA}:\n"
        ));
        ca.lines()
            .for_each(|line| text.push_str(&format!("#   {line}\n")));
    }
    text
}

/// Writes the same as files into `folder`, which is made if it is missing.
///
/// # Errors
///
/// There is an agent.toml already (somebody may have completed it), or a file cannot be written.
pub(crate) fn write(access: &Access, name: &str, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if folder.join(TOML).exists() {
        let taken = format!("there is an {TOML} already; move it away, or name another folder");
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, taken));
    }
    if let Some(password) = &access.password {
        replace(&folder.join(PASSWORD), &format!("{password}\n"), 0o600)?;
    }
    if let Some(ca) = &access.ca {
        replace(&folder.join(CA), ca, 0o644)?;
    }
    // Last, so that an attempt that failed halfway can be repeated.
    replace(&folder.join(TOML), &toml(access, name), 0o644)
}

fn toml(access: &Access, name: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    format!(
        "id = {}\nbroker = {}\ncoordinator_key = {}\n",
        quoted(name),
        quoted(&access.broker),
        quoted(&access.coordinator_key)
    )
}

/// A new file takes the place of an old one, so that its mode is right from the first byte on.
fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    match fs::remove_file(&draft) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn access() -> Access {
        Access {
            broker: "mqtt://127.0.0.1:1883".to_owned(),
            coordinator_key: "ed25519:abc".to_owned(),
            ..Access::default()
        }
    }

    #[test]
    fn the_toml_holds_what_the_agent_needs_and_nothing_that_its_broker_does_not_ask_for() {
        let open = "# /etc/homelab-agent/agent.toml\nid = \"nuc1\"\nbroker = \"mqtt://127.0.0.1:1883\"\ncoordinator_key = \"ed25519:abc\"\n";
        assert_eq!(text(&access(), "nuc1"), open);
    }

    #[test]
    fn whatever_stands_beside_it_the_whole_text_is_toml() {
        let mut access = access();
        access.needs_password = true;
        let unknown = text(&access, "nuc1");
        assert!(unknown.contains("give it a user nuc1"), "{unknown}");
        access.password = Some("it's\"x".to_owned());
        access.ca =
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned());
        let known = text(&access, "nuc1");
        assert!(known.contains(r#"printf %s 'it'\''s"x' >"#), "{known}");
        let table: toml::Table = known.parse().unwrap();
        assert_eq!(table.len(), 3);
        assert_eq!(table["coordinator_key"].as_str(), Some("ed25519:abc"));
    }

    #[test]
    fn files_are_written_beside_each_other_and_the_password_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("agent");
        let mut access = access();
        access.password = Some("secret".to_owned());
        access.ca = Some("PEM\n".to_owned());
        write(&access, "nuc1", &folder).unwrap();
        let again = write(&access, "nuc2", &folder).unwrap_err().to_string();
        assert!(again.contains("agent.toml already"), "{again}");
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert!(read("agent.toml").starts_with("id = \"nuc1\"\n"));
        assert_eq!(
            (read("password").as_str(), read("ca.pem").as_str()),
            ("secret\n", "PEM\n")
        );
        let mode = fs::metadata(folder.join("password"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
