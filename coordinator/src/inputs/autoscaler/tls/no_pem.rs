//! Why a text is not PEM, in words that hold nothing of the text: it may be a key.

use rustls::pki_types::pem;
use thiserror::Error;

/// The kind of the fault; what is wrong is never quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NoPem(&'static str);

impl From<pem::Error> for NoPem {
    fn from(fault: pem::Error) -> Self {
        Self(match fault {
            pem::Error::MissingSectionEnd { .. } => "its last line is missing",
            pem::Error::IllegalSectionStart { .. } => {
                "its first line is not a line of its own, as when newlines were lost"
            }
            pem::Error::Base64Decode(_) => "it is not base64",
            pem::Error::NoItemsFound => "there is none",
            pem::Error::Io(_) | pem::Error::SectionTooLarge => "it cannot be read",
            // The enum of that crate is open.
            _ => "it is not PEM",
        })
    }
}
