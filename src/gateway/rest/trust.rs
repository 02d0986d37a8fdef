//! What this node's user decided, and how far owners are relied on here.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use ggen_protocols::id::{CanonicalName, OwnerId, PackageName};
use ggen_protocols::metadata::OwnerIdText;
use ggen_protocols::owner::{Documents, NamespaceDocument, Standing};
use ggen_protocols::record::Signed;
use ggen_protocols::trust::{Anchor, Level};
use ggen_protocols::view::Mode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::{Asked, At, LIMIT_MAX, OwnerPath, missing};
use crate::Error;
use crate::gateway::Gateway;
use crate::gateway::error::{Body, Problem};
use crate::node::Node;
use crate::registry::{OwnerStatus, OwnerTrust, Policy};

/// What this node's user decided.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Decisions {
    /// What a name means that one unknown owner alone claims: `tofu`, that owner; `strict`, nobody.
    mode: &'static str,
    /// Whom names mean.
    names: BTreeMap<String, String>,
    /// Whom labels mean.
    labels: BTreeMap<String, String>,
    /// Owners that the user relies on.
    anchors: Vec<Relied>,
    /// Owners that the user blocked, and why.
    blocked: BTreeMap<String, String>,
    /// Keys that the user blocked, and why.
    blocked_keys: BTreeMap<String, String>,
}

/// An owner that the user relies on.
#[derive(Debug, Serialize, ToSchema)]
struct Relied {
    /// Whom.
    owner: String,
    /// How far.
    anchor: Reliance,
}

/// How far the user relies on an owner.
#[derive(Debug, Serialize, ToSchema)]
struct Reliance {
    /// 3 in full, 1 in part.
    weight: u8,
    /// How many introductions away its word still counts, 0 to 3.
    depth: u8,
}

impl From<Anchor> for Reliance {
    fn from(anchor: Anchor) -> Self {
        Self {
            weight: anchor.weight,
            depth: anchor.depth,
        }
    }
}

impl From<Policy> for Decisions {
    fn from(policy: Policy) -> Self {
        fn texts<K: ToString, V: ToString>(map: BTreeMap<K, V>) -> BTreeMap<String, String> {
            let map = map.into_iter();
            map.map(|(key, value)| (key.to_string(), value.to_string()))
                .collect()
        }
        fn owners<K: ToString>(map: BTreeMap<K, OwnerIdText>) -> BTreeMap<String, String> {
            let map = map.into_iter();
            map.map(|(key, owner)| (key.to_string(), owner.0.to_string()))
                .collect()
        }
        let anchors = policy.anchors.into_iter();
        Self {
            mode: match policy.mode {
                Mode::Tofu => "tofu",
                Mode::Strict => "strict",
            },
            names: owners(policy.names),
            labels: owners(policy.labels),
            anchors: anchors
                .map(|(owner, anchor)| Relied {
                    owner: owner.to_string(),
                    anchor: anchor.into(),
                })
                .collect(),
            blocked: texts(policy.blocked),
            blocked_keys: texts(policy.blocked_keys),
        }
    }
}

/// What this node's user decided. Known to this node only.
#[utoipa::path(get, path = "/api/v1/trust", tag = "trust", responses(
    (status = 200, description = "Pins, anchors and blocks", body = Decisions),
))]
pub(super) async fn policy(State(gateway): State<Gateway>) -> Result<Json<Decisions>, Problem> {
    Ok(Json(gateway.node.choices()?.policy().await?.into()))
}

/// For which of its packages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OfName {
    /// A name: whether that is pinned to the owner counts too.
    name: Option<String>,
}

/// How far an owner is relied on here, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Trust {
    /// Whom this is about.
    owner: String,
    /// What its document calls it.
    label: Option<String>,
    /// How its documents stand: `active`, `frozen`, `dead` or `unknown`.
    #[schema(value_type = String)]
    status: OwnerStatus,
    /// `own`, `pinned`, `trusted`, `partly trusted`, `unverified`, `distrusted` or `blocked`.
    badge: &'static str,
    /// Whether this node writes as it.
    own: bool,
    /// Whether the name that was asked for is pinned to it.
    pinned: bool,
    /// 0 to 3; 3 is trusted.
    score: u8,
    /// How the user relies on it, if so.
    anchor: Option<Reliance>,
    /// The best way from each anchor to it.
    paths: Vec<Way>,
    /// Why the user blocked it, if so.
    blocked: Option<String>,
    /// The anchor whose distrust takes all trust from it, if one does.
    vetoed_by: Option<String>,
    /// What owners that count here say of it.
    endorsed_by: Vec<Word>,
    /// What owners named in this are called by their documents.
    labels: BTreeMap<String, String>,
}

/// How trust comes from one anchor.
#[derive(Debug, Serialize, ToSchema)]
struct Way {
    /// What it adds: the least weight on it.
    weight: u8,
    /// From the anchor to the owner, both included.
    owners: Vec<String>,
}

/// What one owner says of another.
#[derive(Debug, Serialize, ToSchema)]
struct Word {
    /// Who says so.
    issuer: String,
    /// `full`, `partial`, `none` or `distrust`.
    level: &'static str,
    /// How many further introductions it allows.
    depth: u8,
    /// What it calls the owner.
    label: Option<String>,
    /// Why.
    reason: String,
}

impl From<OwnerTrust> for Trust {
    fn from(trust: OwnerTrust) -> Self {
        let badge = trust.badge();
        let paths = trust.paths.into_iter().map(|path| Way {
            weight: path.weight,
            owners: path.owners.iter().map(ToString::to_string).collect(),
        });
        let endorsed_by = trust.endorsed_by.into_iter().map(|word| Word {
            issuer: word.issuer.to_string(),
            level: match word.level {
                Level::Full => "full",
                Level::Partial => "partial",
                Level::None => "none",
                Level::Distrust => "distrust",
            },
            depth: word.depth,
            label: word.label,
            reason: word.reason,
        });
        let labels = trust.labels.into_iter();
        Self {
            owner: trust.owner.to_string(),
            label: trust.label,
            status: trust.status,
            badge,
            own: trust.own,
            pinned: trust.pinned,
            score: trust.score,
            anchor: trust.anchor.map(Reliance::from),
            paths: paths.collect(),
            blocked: trust.blocked,
            vetoed_by: trust.vetoed_by.map(|owner| owner.to_string()),
            endorsed_by: endorsed_by.collect(),
            labels: labels.map(|(id, label)| (id.to_string(), label)).collect(),
        }
    }
}

/// How far an owner is relied on here. An owner that nobody has heard of is `unknown`.
#[utoipa::path(get, path = "/api/v1/trust/{owner}", tag = "trust", params(OwnerPath, OfName), responses(
    (status = 200, description = "Score, ways and badge", body = Trust),
    (status = 400, description = "This is no owner id or no name", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn trust(
    State(gateway): State<Gateway>,
    At(path): At<OwnerPath>,
    Asked(of): Asked<OfName>,
) -> Result<Json<Trust>, Problem> {
    let owner = path.parse()?;
    let name = of.name.as_deref().map(str::parse::<PackageName>);
    let name: Option<CanonicalName> = name
        .transpose()
        .map_err(Error::Id)?
        .map(|name| name.canonical());
    let trust = gateway.node.choices()?.trust(owner, name.as_ref()).await?;
    Ok(Json(trust.into()))
}

/// Who may publish in a namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Owner {
    /// Whose namespace.
    owner: String,
    /// What its document calls it.
    label: Option<String>,
    /// How its documents stand: `active`, `frozen` or `dead`.
    #[schema(value_type = String)]
    status: OwnerStatus,
    /// `own`, `pinned`, `trusted`, `partly trusted`, `unverified`, `distrusted` or `blocked`.
    badge: &'static str,
    /// How many documents of it are held; a bare key has none.
    documents: usize,
    /// The document that holds, or that contradicts itself; nothing for a bare key.
    document: Option<String>,
    /// The key that signs its documents; nothing for a bare key.
    root: Option<String>,
    /// Whether a recovery key was named.
    recoverable: bool,
    /// Further keys that may publish.
    publishers: Vec<Publisher>,
    /// Keys that once could publish.
    retired: Vec<Retired>,
    /// Keys that continued their feeds twice: restored backups, or two devices.
    forked: Vec<String>,
    /// Its packages, in the form that names are compared in; at most the first 100. `/api/v1/packages` goes on with
    /// the `cursor` that is made of the owner, a slash and the last of them.
    packages: Vec<String>,
}

/// A key that may publish.
#[derive(Debug, Serialize, ToSchema)]
struct Publisher {
    /// Its public half.
    key: String,
    /// Names that it may publish; `*` for all.
    scopes: Vec<String>,
}

/// A key that once could publish.
#[derive(Debug, Serialize, ToSchema)]
struct Retired {
    /// Its public half.
    key: String,
    /// Its last good record.
    last: String,
}

impl Owner {
    fn take(&mut self, document: &NamespaceDocument) {
        self.root = Some(document.root.to_string());
        self.recoverable = document.recovery.is_some();
        let publishers = document.publishers.iter();
        let publishers = publishers.map(|(key, scopes)| Publisher {
            key: key.to_string(),
            scopes: scopes.clone(),
        });
        self.publishers = publishers.collect();
        let retired = document.retired.iter().map(|(key, last)| Retired {
            key: key.to_string(),
            last: last.to_string(),
        });
        self.retired = retired.collect();
    }
}

/// Who may publish in a namespace, by the documents that are known here.
#[utoipa::path(get, path = "/api/v1/owners/{owner}", tag = "trust", params(OwnerPath), responses(
    (status = 200, description = "The namespace's keys", body = Owner),
    (status = 400, description = "This is no owner id", body = Body, content_type = "application/problem+json"),
    (status = 404, description = "Nothing is known of it here", body = Body, content_type = "application/problem+json"),
))]
pub(super) async fn owner(
    State(gateway): State<Gateway>,
    At(path): At<OwnerPath>,
) -> Result<Json<Owner>, Problem> {
    let node = &gateway.node;
    let owner = path.parse()?;
    let network = node.catalogue().network();
    let trust = node.choices()?.trust(owner, None).await?;
    let envelopes = node.documents(owner).await?;
    let packages = packages(node, owner).await?;
    // A bare key has no documents, and is known by what it published.
    if envelopes.is_empty() && packages.is_empty() && !trust.own {
        return Err(missing(owner));
    }
    let mut documents = Documents::none(network, owner);
    for envelope in &envelopes {
        let signed = Signed::from_envelope(envelope.clone());
        // They were verified when they were admitted.
        if let Ok(record) = signed.and_then(|signed| signed.trust_stored(network)) {
            documents.offer(&record);
        }
    }
    let forked = node.catalogue().forked(owner).await?;
    let mut told = Owner {
        owner: owner.to_string(),
        badge: trust.badge(),
        label: trust.label,
        status: trust.status,
        documents: envelopes.len(),
        document: None,
        root: None,
        recoverable: false,
        publishers: Vec::new(),
        retired: Vec::new(),
        forked: forked.iter().map(ToString::to_string).collect(),
        packages,
    };
    let at = match documents.standing() {
        Standing::Unknown => return Ok(Json(told)),
        Standing::Active(id, _) | Standing::Frozen(id) | Standing::Dead(id) => id,
    };
    told.document = Some(at.to_string());
    if let Some(document) = documents.get(&at) {
        told.take(document);
    }
    Ok(Json(told))
}

/// The names of the first packages of an owner.
async fn packages(node: &Node, owner: OwnerId) -> Result<Vec<String>, Problem> {
    let catalogue = node.catalogue();
    // No name comes before it.
    let first: CanonicalName = "a".parse().map_err(Error::Id)?;
    let mut names = Vec::new();
    if !catalogue.releases(owner, &first).await?.is_empty() {
        names.push(first.to_string());
    }
    let after = Some((owner, first));
    let others = catalogue.packages(after, LIMIT_MAX - names.len()).await?;
    let others = others.into_iter().take_while(|(whose, _)| *whose == owner);
    names.extend(others.map(|(_, name)| name.to_string()));
    Ok(names)
}
