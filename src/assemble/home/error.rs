//! Why a home cannot be used.

use std::io;
use std::path::PathBuf;

use ggen_protocols::id::{IdError, Label};
use ggen_protocols::record::Refusal;

use super::NetworkName;
use crate::crypto::CryptoError;

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The platform names no data directory for this user.
    #[error("this system names no data directory for you: give one with --home DIR")]
    NoPlatformHome,
    /// Another process has it.
    #[error(
        "home {} is used by another running node ({}): use its commands, or another --home",
        dir.display(), pid_text(*pid)
    )]
    InUse {
        /// The home.
        dir: PathBuf,
        /// Which process, if it could be read.
        pid: Option<u32>,
    },
    /// It belongs to another network.
    #[error(
        "home {} belongs to network `{found}`, not `{wanted}`: use another --home for that",
        dir.display()
    )]
    OtherNetwork {
        /// The home.
        dir: PathBuf,
        /// The network that it belongs to.
        found: NetworkName,
        /// The one that was asked for.
        wanted: NetworkName,
    },
    /// The note of its network is damaged.
    #[error("{} does not name a network: write the name into it", path.display())]
    BadNetwork {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: IdError,
    },
    /// Another command changes its keys.
    #[error("another command is changing the keys in {}: try again when it has ended", dir.display())]
    KeysInUse {
        /// The directory of keys.
        dir: PathBuf,
    },
    /// There is a key with this label.
    #[error("there is a key `{label}` already: take another --label")]
    LabelTaken {
        /// The label.
        label: Label,
    },
    /// More keys than a home may have.
    #[error("{} holds more than {max} keys: move some elsewhere", dir.display())]
    TooManyKeys {
        /// The directory of keys.
        dir: PathBuf,
        /// How many there may be.
        max: usize,
    },
    /// The note beside a key is damaged.
    #[error("{} does not say whose packages the key signs: {why}", path.display())]
    BadNote {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key is another one than its note says.
    #[error(
        "{} is another key than the note beside it says: if a rotation was cut off, run `market key rotate --label {label}` again",
        path.display()
    )]
    OtherKey {
        /// Which file.
        path: PathBuf,
        /// What the home calls it.
        label: Label,
    },
    /// The founding of its namespace was cut off before the recovery key was handed out.
    #[error("the identity in {} was never finished: run `market init` again", dir.display())]
    Unfinished {
        /// The home.
        dir: PathBuf,
    },
    /// The record that founds a namespace could not be made.
    #[error("no record can found this namespace")]
    Genesis(#[source] Refusal),
    /// A key file.
    #[error(transparent)]
    Key(#[from] CryptoError),
    /// A file or directory in it.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}"))
}
