//! Builds, signs and hands in the records that HTTP clients ask for. The keys are elsewhere: in the node's keyring,
//! or with a process of the user that signs one release.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::{Body as AxumBody, to_bytes};
use axum::http::StatusCode;
use bytes::Bytes;
use ggen_protocols::id::{CanonicalName, OwnerId, PackageName, PublicKey, RecordId};
use ggen_protocols::metadata::Format;
use ggen_protocols::owner::{Documents, Mark, NamespaceDocument};
use ggen_protocols::record::{Body, Draft, Publish, Record, Signed, SourceWire, State, Verified};
use semver::Version;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use url::Url;

use super::error::Problem;
use super::{Gateway, UPLOAD_BYTES_MAX};
use crate::Error;
use crate::archive::bind::{bind, unbound};
use crate::archive::index::{Canonical, Segment};
use crate::archive::{self, Bounds, Inspected};
use crate::crypto::StrictSignatures;
use crate::node::{NodeError, Published};
use crate::registry::{Release, Standing};

/// How often a record is signed again because another one of the same key came first.
const ATTEMPTS_MAX: usize = 3;

/// Whose records are written, and what signs them.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    gateway: &'a Gateway,
    owner: OwnerId,
    key: PublicKey,
    pen: Pen,
}

#[derive(Debug)]
enum Pen {
    /// The key is in the node's keyring, if it is unlocked.
    Keyring,
    /// A process waits for one message.
    Offer(String),
}

impl<'a> Writer<'a> {
    /// Writes as `owner` with an unlocked key.
    pub(super) fn unlocked(gateway: &'a Gateway, owner: OwnerId, key: PublicKey) -> Self {
        Self {
            gateway,
            owner,
            key,
            pen: Pen::Keyring,
        }
    }

    /// Writes one publish record with the key behind an offer.
    pub(super) fn offered(gateway: &'a Gateway, id: String) -> Result<Self, Problem> {
        let Some((owner, key)) = gateway.keys.offers().of(&id) else {
            let why = "what was to sign this release is gone, or has signed already: publish again";
            return Err(forbidden(why));
        };
        Ok(Self {
            gateway,
            owner,
            key,
            pen: Pen::Offer(id),
        })
    }

    /// Whose records these are.
    pub(super) fn owner(&self) -> OwnerId {
        self.owner
    }

    /// Publishes a release whose archive was inspected.
    pub(super) async fn publish(
        &self,
        publish: Publish,
        archive: Bytes,
    ) -> Result<Published, Problem> {
        let body = Body::Publish(Box::new(publish));
        let mut attempt = 1;
        loop {
            let envelope = self.seal(&body).await?;
            let mut reader = Cursor::new(archive.clone());
            match self.gateway.node.publish(envelope, &mut reader).await {
                Err(Error::Node(NodeError::Stale)) if self.signs_again(attempt) => attempt += 1,
                done => return Ok(done?),
            }
        }
    }

    /// Sets the state of a package or of one of its versions.
    pub(super) async fn set_state(&self, state: State) -> Result<RecordId, Problem> {
        let body = Body::State(state);
        let mut attempt = 1;
        loop {
            let envelope = self.seal(&body).await?;
            match self.gateway.node.submit(envelope).await {
                Err(Error::Node(NodeError::Stale)) if self.signs_again(attempt) => attempt += 1,
                done => return Ok(done?),
            }
        }
    }

    /// Replaces the document of the namespace; the key must be its root.
    pub(super) async fn set_document(
        &self,
        documents: &Documents,
        mut document: NamespaceDocument,
    ) -> Result<RecordId, Problem> {
        document.mark = Mark::Reason(String::new());
        let record = documents.continued(self.key, document);
        let envelope = self.sealed(record.map_err(forbidden)?).await?;
        Ok(self.gateway.node.submit(envelope).await?)
    }

    fn signs_again(&self, attempt: usize) -> bool {
        matches!(self.pen, Pen::Keyring) && attempt < ATTEMPTS_MAX
    }

    async fn seal(&self, body: &Body) -> Result<Bytes, Problem> {
        let head = self.gateway.node.feed_head(self.owner, self.key).await?;
        let record = Record {
            owner: Some(self.owner),
            seq: head.seq + 1,
            previous: head.last,
            time_ms: now_ms(),
            body: body.clone(),
        };
        self.sealed(record).await
    }

    async fn sealed(&self, record: Record) -> Result<Bytes, Problem> {
        let keys = &self.gateway.keys;
        let network = self.gateway.node.catalogue().network();
        let draft: Draft = record
            .draft(network, self.key)
            .map_err(|refusal| bad(refusal.to_string()))?;
        let message = draft.message();
        let signature = match &self.pen {
            Pen::Keyring => keys.sign(network, &message, Instant::now()),
            Pen::Offer(id) => keys.offers().sign(id, message).await,
        };
        let signature = signature.map_err(|failure| forbidden(failure.message))?;
        Ok(draft.sealed(signature))
    }
}

/// The namespace that a signed record is written in, by its own word.
pub(super) fn signed_for(gateway: &Gateway, envelope: &Bytes) -> Result<OwnerId, Problem> {
    let record = verified(gateway, envelope)?;
    let owner = record.namespace();
    owner.map_err(|refusal| forbidden(refusal.to_string()))
}

fn verified(gateway: &Gateway, envelope: &Bytes) -> Result<Verified<Record>, Problem> {
    let network = gateway.node.catalogue().network();
    let checked = Signed::from_envelope(envelope.clone())
        .and_then(|signed| signed.verify(&StrictSignatures, network));
    checked.map_err(|refusal| forbidden(refusal.to_string()))
}

/// Takes a state record that somebody else signed, if it says of this release whether it is yanked.
pub(super) async fn submit_yank(
    gateway: &Gateway,
    envelope: Bytes,
    package: (OwnerId, &CanonicalName),
    version: &Version,
    yanked: bool,
) -> Result<(), Problem> {
    let record = verified(gateway, &envelope)?;
    let (owner, name) = package;
    let content = record.content();
    let fits = match &content.body {
        Body::State(state) => {
            let (of, at) = state.key();
            let same_version = at.is_some_and(|at| at.cmp_precedence(version).is_eq());
            of == *name && same_version && state.yanked == yanked && content.owner == Some(owner)
        }
        _ => false,
    };
    if !fits {
        return Err(forbidden(
            "the signed record that came as the token is for something else than what was asked",
        ));
    }
    gateway.node.submit(envelope).await?;
    Ok(())
}

/// Reads a body, which the guard keeps from being too large.
pub(super) async fn read(body: AxumBody) -> Result<Bytes, Problem> {
    let read = to_bytes(body, UPLOAD_BYTES_MAX as usize).await;
    read.map_err(|error| bad(format!("the body broke off: {error}")))
}

/// Reads and checks an archive.
pub(super) async fn inspect(archive: Bytes, format: Format) -> Result<Inspected, Problem> {
    let inspecting =
        spawn_blocking(move || archive::inspect(Cursor::new(archive), format, Bounds::default()));
    match inspecting.await {
        Ok(inspected) => inspected.map_err(|error| bad(error.to_string())),
        Err(error) => {
            tracing::error!(%error, "checking an archive was cut off");
            let why = "the node could not check the archive";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why))
        }
    }
}

/// Binds the dependencies of a release to owners, as names mean them here.
pub(super) async fn bind_dependencies(
    gateway: &Gateway,
    publish: &mut Publish,
) -> Result<(), Problem> {
    refuse_own_address(gateway, publish)?;
    let mut owners = BTreeMap::new();
    for wanted in unbound(publish) {
        let (segment, name) = &wanted;
        let (namespace, canonical) = (segment.namespace(), name.canonical());
        let catalogue = gateway.node.catalogue();
        let owner = catalogue.owner_of(namespace.as_deref(), &canonical);
        owners.insert(wanted, owner.await?);
    }
    bind(publish, &owners);
    Ok(())
}

/// The address that a manifest names is read wherever the package is installed: it must be the one that all nodes
/// use, not where this one happens to listen.
fn refuse_own_address(gateway: &Gateway, publish: &Publish) -> Result<(), Problem> {
    for dependency in &publish.dependencies {
        let SourceWire::Url(url) = &dependency.source else {
            continue;
        };
        let Some(segment) = Segment::of_url(url) else {
            continue;
        };
        let usual = gateway.canonical.index(&segment);
        if *url != usual && is_here(gateway, url) {
            return Err(bad(format!(
                "`{}` is to come from {url}, which only this machine can reach: give the dependency the registry \
                 with the index {usual}; `market cargo-config` tells what it is called",
                dependency.name
            )));
        }
    }
    Ok(())
}

/// Whether an address of an index leads to this node.
fn is_here(gateway: &Gateway, url: &str) -> bool {
    let Some(Ok(url)) = url.strip_prefix("sparse+").map(Url::parse) else {
        return false;
    };
    let names = ["127.0.0.1", "localhost", "[::1]"];
    url.port_or_known_default() == Some(gateway.address.port())
        && url.host_str().is_some_and(|host| names.contains(&host))
}

/// Refuses a release that is there, or whose name is there in another spelling.
pub(super) async fn refuse_collision(
    gateway: &Gateway,
    owner: OwnerId,
    name: &PackageName,
    version: &Version,
) -> Result<Vec<Release>, Problem> {
    let releases = releases(gateway, owner, &name.canonical()).await?;
    let conflict = |why: String| Err(Problem::new(StatusCode::CONFLICT, why));
    for release in &releases {
        let there = &release.metadata.id;
        if release.standing != Standing::Published {
            continue;
        }
        if there.name != name.as_str() {
            return conflict(format!(
                "`{name}` is published as `{}`: one package has one spelling; keep that one",
                there.name
            ));
        }
        if there.version.cmp_precedence(version).is_eq() {
            return conflict(format!(
                "{name}@{} is published already: a version is never replaced; publish a new one",
                there.version
            ));
        }
    }
    Ok(releases)
}

/// All releases of a package.
pub(super) async fn releases(
    gateway: &Gateway,
    owner: OwnerId,
    name: &CanonicalName,
) -> Result<Vec<Release>, Problem> {
    Ok(gateway.node.catalogue().releases(owner, name).await?)
}

/// The address by which this node answers, as bases of indexes are written.
pub(super) fn own_base(gateway: &Gateway) -> Option<Canonical> {
    format!("http://{}", gateway.address).parse().ok()
}

/// The documents of a namespace. Those of a bare key, which nobody sends, are known if it is one of `keys`.
pub(super) async fn documents(
    gateway: &Gateway,
    owner: OwnerId,
    keys: impl IntoIterator<Item = PublicKey>,
) -> Result<Documents, Problem> {
    let network = gateway.node.catalogue().network();
    let mut documents = Documents::none(network, owner);
    for key in keys {
        documents.admit(key);
    }
    for envelope in gateway.node.documents(owner).await? {
        let record = Signed::from_envelope(envelope)
            .and_then(|signed| signed.trust_stored(network))
            .map_err(|refusal| Problem::from(Error::from(NodeError::from(refusal))))?;
        documents.offer(&record);
    }
    Ok(documents)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_millis());
    u64::try_from(now).unwrap_or(u64::MAX)
}

pub(super) fn forbidden(why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, why)
}

pub(super) fn bad(why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, why)
}
