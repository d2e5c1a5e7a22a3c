//! What a connection is made with and what may be renewed while the link lives: password and authorities.
//! In: [`LinkOptions`]. Out: the content of the files that they name.
//! Holds: read before each connection, so a renewed file counts from the next one on; never shown.

use std::fs;
use std::path::Path;

use crate::fault::LinkConfigFault;
use crate::options::LinkOptions;
use crate::tls::{TlsSettings, settings};

/// What the files say now.
pub(crate) struct Access {
    pub(crate) password: Option<String>,
    /// `None` = the broker is reached without TLS.
    pub(crate) tls: Option<TlsSettings>,
}

impl Access {
    pub(crate) fn read(options: &LinkOptions) -> Result<Self, LinkConfigFault> {
        let password = options.password_file.as_deref().map(password).transpose()?;
        let tls = options
            .url
            .is_tls()
            .then(|| settings(options))
            .transpose()?;
        Ok(Self { password, tls })
    }
}

/// The first line: editors end it with a newline that is no part of the password.
fn password(path: &Path) -> Result<String, LinkConfigFault> {
    let text = fs::read_to_string(path).map_err(|source| LinkConfigFault::PasswordFile {
        path: path.to_owned(),
        source,
    })?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        Some(_) | None => Err(LinkConfigFault::EmptyPassword(path.to_owned())),
    }
}
