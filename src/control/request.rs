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
use crate::registry::RegistryError;
use crate::registry::{Claimants, Decision, KeyIdentity, OwnerTrust, Policy};
use crate::registry::{Evidence, Question, Sight};
use crate::registry::{Fingerprint, Grant, Terms, TokenId};

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
    /// Which documents of this namespace are held?
    Documents { owner: OwnerIdText },
    /// What is this record?
    Record { id: String },
    /// Sign for so many seconds with the key whose seed follows.
    Unlock { seconds: u64 },
    /// Forget this key, or all.
    Lock { key: Option<KeyText> },
    /// Which keys are unlocked?
    Unlocked,
    /// Sign the message that follows.
    Sign,
    /// Ask me once for the signature of this key under a publish record of this owner, when somebody names this id.
    Offer {
        id: String,
        owner: OwnerIdText,
        key: KeyText,
    },
    /// What did this node's user decide?
    Policy,
    /// Write as these owners from now on.
    WriteAs { owners: Vec<OwnerIdText> },
    /// Decide this.
    Decide(Decision),
    /// How far is this owner relied on, and is this name pinned to it?
    Trust {
        owner: OwnerIdText,
        name: Option<PackageName>,
    },
    /// In which namespaces does this key write?
    Identities { key: KeyText },
    /// Who claims this name?
    Claimants {
        namespace: Option<String>,
        name: PackageName,
        limit: usize,
    },
    /// How much of this namespace is here, by the word of its own keys?
    Sights { owner: OwnerIdText },
    /// What did owners sign that contradicts itself?
    Evidence(Question),
    /// Let this token, which is not told, do this.
    AddToken { token: Fingerprint, terms: Terms },
    /// Which tokens are there?
    Tokens,
    /// End this token.
    RevokeToken { id: TokenId },
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
    FeedHead {
        seq: u64,
        last: Option<String>,
    },
    Published(Published),
    Submitted {
        record: String,
    },
    Progress(Progress),
    Fetched(Box<Fetched>),
    Verified(VerifyReport),
    /// So many envelopes follow, parents first.
    Documents {
        count: usize,
    },
    /// Whether its envelope follows.
    Record {
        held: bool,
    },
    Unlocked(Vec<UnlockedKey>),
    /// The signature follows.
    Signed,
    /// The offer stands.
    Offered,
    /// The message to sign follows.
    Asked,
    Policy(Box<Policy>),
    Decided,
    Trust(Box<OwnerTrust>),
    Identities(Vec<KeyIdentity>),
    Claimants(Claimants),
    Evidence(Box<Evidence>),
    Sights(Vec<Sight>),
    Token(Box<Grant>),
    Tokens(Vec<Grant>),
    Failed(Failure),
}

/// A key that a running node signs with for commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlockedKey {
    /// Its public half.
    pub key: KeyText,
    /// For how many seconds more.
    pub seconds: u64,
}

/// What a node could not do, as it crosses the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What, on what, why; in one line.
    pub message: String,
    /// What the user may choose from, line by line.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Whether the record must be signed again because another one of its key came first.
    pub stale: bool,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let text = explain(error);
        let (message, choices) = match error {
            // The only error of several lines, and none of them holds a text of somebody else.
            Error::Registry(RegistryError::Contested(_)) => {
                let mut lines = text.lines().map(ToOwned::to_owned);
                (lines.next().unwrap_or_default(), lines.collect())
            }
            _ => (text, Vec::new()),
        };
        Self {
            message,
            choices,
            stale: matches!(error, Error::Node(NodeError::Stale)),
        }
    }
}
