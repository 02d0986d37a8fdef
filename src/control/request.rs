//! What can be asked over the control socket, and what is answered.

use ggen_protocols::id::PackageName;
use ggen_protocols::metadata::{KeyText, OwnerIdText};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::explain;
use super::views::{Hits, PackageInfo, ReleaseState};
use crate::Error;
use crate::node::{
    Fetched, NodeError, PeerStatus, Progress, Published, Status, VerifyReport, Wanted,
};

/// A question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// How is the node doing?
    Status,
    /// Whom is it connected to?
    Peers,
    /// Which packages fit these words?
    Search {
        text: String,
        limit: usize,
        offset: usize,
    },
    /// Which versions of this package are there?
    Info {
        namespace: Option<String>,
        name: PackageName,
    },
    /// What is the state of this version?
    State {
        namespace: Option<String>,
        name: PackageName,
        version: Version,
    },
    /// Where does this key continue its feed?
    FeedHead { owner: OwnerIdText, key: KeyText },
    /// Take this envelope and the archive that follows it.
    Publish,
    /// Take this envelope.
    Submit,
    /// Bring this release here, and hand its archive over if `content` is set.
    Fetch { wanted: Wanted, content: bool },
    /// Is everything on disk as it should be?
    Verify,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Status(Box<Status>),
    Peers(Vec<PeerStatus>),
    Hits(Hits),
    Info(Box<PackageInfo>),
    State(Box<ReleaseState>),
    FeedHead { seq: u64, last: Option<String> },
    Published(Published),
    Submitted { record: String },
    Progress(Progress),
    Fetched(Box<Fetched>),
    Verified(VerifyReport),
    Failed(Failure),
}

/// What a node could not do, as it crosses the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What, on what, why; in one line.
    pub message: String,
    /// Whether the record must be signed again because another one of its key came first.
    pub stale: bool,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            message: explain(error),
            stale: matches!(error, Error::Node(NodeError::Stale)),
        }
    }
}
