//! What a look at one thing found: how it stands, or what is wrong with it.

/// One line for people.
pub(crate) type Finding = Result<String, Complaint>;

/// What is wrong, and whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// The configuration, or a file or folder that it names, has to be changed.
    Wrong(String),
    /// The configuration may be right; something beside it is not, at this moment.
    NotNow(String),
}
