//! Why a key, passphrase or signature was refused.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a key, passphrase or signature was refused. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// There is no such key file.
    #[error("there is no key in {path}: run `market init` to make one")]
    NoKey {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is no such file with a passphrase.
    #[error("there is no passphrase in {path}")]
    NoPassphrase {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A key file that others may read.
    #[error("{path} may be read by others (mode {mode:o}): run `chmod 600 {path}`", path = path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A folder of keys that others may write in, and so put another key there.
    #[error("others may write in {path} (mode {mode:o}): run `chmod 700 {path}`", path = path.display())]
    OpenFolder {
        /// Which folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file that is none.
    #[error("{path} holds no usable key: {why}")]
    BadKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A text that is no key, or none that signs records.
    #[error("no usable key: {why}")]
    Unusable {
        /// What is wrong with it.
        why: String,
    },
    /// The key is locked, and no passphrase was given.
    #[error("the key{} is locked: give its passphrase", place(path))]
    Locked {
        /// Which file, if it came from one.
        path: Option<PathBuf>,
    },
    /// The passphrase is not the one that the key was locked with, or the key is damaged.
    #[error("the passphrase does not open the key{}", place(path))]
    WrongPassphrase {
        /// Which file, if it came from one.
        path: Option<PathBuf>,
    },
    /// A passphrase that cannot be one.
    #[error("no usable passphrase: {why}")]
    BadPassphrase {
        /// What is wrong with it.
        why: &'static str,
    },
    /// A reason that nobody could read.
    #[error("a reason has 1 to {max} bytes of printable text", max = ggen_protocols::limits::NOTE_BYTES_MAX)]
    BadReason,
    /// There is no room for a further anchor.
    #[error("there are {max} anchors already: take trust back from one first", max = ggen_protocols::limits::ANCHORS_MAX)]
    TooManyAnchors,
    /// The file could not be read or written.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl CryptoError {
    pub(super) fn unusable(why: impl Into<String>) -> Self {
        Self::Unusable { why: why.into() }
    }

    /// The same about a text that was read from this file.
    pub(super) fn in_file(self, path: &std::path::Path) -> Self {
        let path = path.to_owned();
        match self {
            Self::Unusable { why } => Self::BadKey { path, why },
            Self::Locked { .. } => Self::Locked { path: Some(path) },
            Self::WrongPassphrase { .. } => Self::WrongPassphrase { path: Some(path) },
            error => error,
        }
    }
}

/// ` in <path>`, or nothing.
fn place(path: &Option<PathBuf>) -> impl fmt::Display {
    let place = path.as_ref().map(|path| format!(" in {}", path.display()));
    place.unwrap_or_default()
}
