//! What a registry with a key of its own writes: releases and their states. Builds, checks and signs records;
//! storing them is left to the caller, in the same transaction.

use ggen_protocols::catalogue::{self, Claim, Contribution, Fact};
use ggen_protocols::hash::{ContentHash, HashAlgorithm};
use ggen_protocols::id::{Label, NetworkId, OwnerId, PackageId, PackageName, RecordId, ReleaseKey};
use ggen_protocols::metadata::{Checksums, PackageMetadata};
use ggen_protocols::owner::{Documents, Standing};
use ggen_protocols::record::{Body, FeedHead, Publish, Record, Refusal, Signed, State, Verified};

use super::shelf::States;
use super::trust::Viewer;
use super::view::{self, Failure, Namespace, Snapshot};
use super::{MetadataUpdates, RegistryError, names};
use crate::crypto::{PrivateKey, StrictSignatures};
use crate::db::Fault;

/// A key that records are signed with, and the owner that it writes as.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    network: NetworkId,
    key: PrivateKey,
    owner: OwnerId,
}

/// What registering a release takes.
#[derive(Debug)]
pub(crate) struct Registration {
    /// The record; nothing if this content is published already.
    pub(crate) record: Option<Verified<Record>>,
    /// A label that is the identity's from now on.
    pub(crate) pin: Option<Label>,
}

impl Identity {
    pub(crate) fn new(network: NetworkId, key: PrivateKey) -> Self {
        let owner = OwnerId::of_key(network, key.public());
        Self {
            network,
            key,
            owner,
        }
    }

    pub(crate) fn owner(&self) -> OwnerId {
        self.owner
    }

    /// The next record of this key's feed.
    fn seal(
        &self,
        snapshot: &impl Snapshot,
        body: Body,
        now_ms: u64,
    ) -> Result<Verified<Record>, Failure> {
        let FeedHead { seq, last } = snapshot.feed(self.owner, self.key.public())?.head;
        let record = Record {
            owner: Some(self.owner),
            seq: seq + 1,
            previous: last,
            time_ms: now_ms,
            body,
        };
        let invalid = |refusal: Refusal| RegistryError::Validation(refusal.to_string());
        let draft = record
            .draft(self.network, self.key.public())
            .map_err(invalid)?;
        let signed = Signed::from_envelope(self.key.seal(draft)).map_err(invalid)?;
        let verified = signed.verify(&StrictSignatures, self.network);
        Ok(verified.map_err(invalid)?)
    }

    /// Where `id` stands, if it is this identity's.
    ///
    /// # Errors
    /// `NotFound`, `Contested`, and `Unauthorized` if it is somebody else's to do `what` with.
    fn own(
        &self,
        snapshot: &impl Snapshot,
        viewer: &Viewer,
        id: &PackageId,
        what: &str,
    ) -> Result<ReleaseKey, Failure> {
        let (key, _) = view::find(snapshot, viewer, id)?;
        if key.owner != self.owner {
            return Err(RegistryError::Unauthorized(format!(
                "{id} is {}'s and this registry signs as {}: only its owner can {what} it",
                key.owner.short(),
                self.owner.short()
            ))
            .into());
        }
        Ok(key)
    }

    /// The label in `namespace` if it is nobody's yet.
    ///
    /// # Errors
    /// `Unauthorized` if the namespace, or the bare name, is somebody else's here.
    fn claim_namespace(
        &self,
        snapshot: &impl Snapshot,
        viewer: &Viewer,
        id: &PackageId,
        name: &PackageName,
    ) -> Result<Option<Label>, Failure> {
        let parsed = Namespace::parse(id.namespace.as_deref())
            .map_err(|error| RegistryError::Validation(error.to_string()))?;
        let foreign = match parsed {
            Namespace::Owner(owner) => Some(owner),
            Namespace::Label(label) => match snapshot.pin(&label)? {
                None => return Ok(Some(label)),
                pinned => pinned,
            },
            Namespace::Bare => match names::owner_of(snapshot, viewer, None, &name.canonical()) {
                Ok(owner) => Some(owner),
                // Nobody has the name, or several do: it is free to be used here.
                Err(Failure::Refused(_)) => None,
                Err(fault) => return Err(fault),
            },
        };
        match foreign.filter(|owner| *owner != self.owner) {
            None => Ok(None),
            Some(other) => Err(RegistryError::Unauthorized(format!(
                "{id} cannot be published here: `{}` is {}'s and this registry signs as {}; publish as {}/{name}",
                id.namespace.as_deref().unwrap_or(&id.name),
                other.short(),
                self.owner.short(),
                self.owner,
            ))
            .into()),
        }
    }
}

/// The refusal of a record that an owner has no room for.
pub(crate) fn full(owner: OwnerId, held: u64) -> RegistryError {
    RegistryError::Validation(format!(
        "{owner} has {held} records, as many as one owner may have; publish under another key"
    ))
}

/// Builds and signs the record that publishes `metadata` with this content.
pub(crate) fn register(
    snapshot: &impl Snapshot,
    identity: &Identity,
    viewer: &Viewer,
    metadata: &PackageMetadata,
    content: ContentHash,
    now_ms: u64,
) -> Result<Registration, Failure> {
    let given = |algorithm| (content.algorithm() == algorithm).then_some(content);
    let mut metadata = metadata.clone();
    metadata.checksums = Checksums {
        blake3: given(HashAlgorithm::BLAKE3),
        sha256: given(HashAlgorithm::SHA256),
        size: None,
    };
    let publish = Publish::from_metadata(&metadata)
        .map_err(|error| RegistryError::Validation(error.to_string()))?;
    let pin = identity.claim_namespace(snapshot, viewer, &metadata.id, &publish.package_name())?;
    let release = publish.key(identity.owner);
    // The record's id does not matter here: what is compared is the content.
    let claim = Claim::of(RecordId::from_bytes([0; 32]), &publish);
    if is_published(snapshot, &release, &claim, metadata.id.namespace.as_deref())? {
        return Ok(Registration { record: None, pin });
    }
    let body = Body::Publish(Box::new(publish));
    let record = identity.seal(snapshot, body, now_ms)?;
    check_own(snapshot, &record, metadata.id.namespace.as_deref())?;
    let record = Some(record);
    Ok(Registration { record, pin })
}

/// Builds and signs the record that sets whether a release is yanked; nothing if it is so already.
pub(crate) fn set_yanked(
    snapshot: &impl Snapshot,
    identity: &Identity,
    viewer: &Viewer,
    id: &PackageId,
    yanked: Option<&str>,
    now_ms: u64,
) -> Result<Option<Verified<Record>>, Failure> {
    let key = identity.own(snapshot, viewer, id, "yank")?;
    let states = States::read(snapshot, key.owner, &key.name)?;
    let known = states.state(&key.name, Some(&key.version));
    let is_yanked = known.as_ref().is_some_and(|known| known.yanked);
    let note = yanked.unwrap_or_default();
    let same_note = note.is_empty() || known.as_ref().is_some_and(|known| known.note == note);
    if is_yanked == yanked.is_some() && same_note {
        if states.yanked(&key.version) && yanked.is_none() {
            let why = "its owner yanked the whole package".to_owned();
            let id = id.to_string();
            return Err(RegistryError::Withheld { id, why }.into());
        }
        return Ok(None);
    }
    let known = known.unwrap_or_else(|| never_set(&key));
    let state = State {
        revision: known.revision + 1,
        yanked: yanked.is_some(),
        note: note.to_owned(),
        ..known
    };
    let record = identity.seal(snapshot, Body::State(state), now_ms)?;
    check_own(snapshot, &record, id.namespace.as_deref())?;
    Ok(Some(record))
}

/// Builds and signs the record that replaces what describes a release; nothing if it says so already.
pub(crate) fn update(
    snapshot: &impl Snapshot,
    identity: &Identity,
    viewer: &Viewer,
    id: &PackageId,
    updates: MetadataUpdates,
    now_ms: u64,
) -> Result<Option<Verified<Record>>, Failure> {
    let key = identity.own(snapshot, viewer, id, "describe")?;
    let states = States::read(snapshot, key.owner, &key.name)?;
    let known = states.state(&key.name, Some(&key.version));
    let Some(state) = updates.next(known.unwrap_or_else(|| never_set(&key)))? else {
        return Ok(None);
    };
    let record = identity.seal(snapshot, Body::State(state), now_ms)?;
    check_own(snapshot, &record, id.namespace.as_deref())?;
    Ok(Some(record))
}

/// The state of a release that nobody ever set.
fn never_set(key: &ReleaseKey) -> State {
    State {
        name: key.name.to_string(),
        version: Some(key.version.to_string()),
        revision: 0,
        yanked: false,
        withdrawn: false,
        note: String::new(),
        info: None,
    }
}

/// Checks a record that was signed for a user of this node. False if it is known, or says nothing new.
///
/// # Errors
/// `Stale` if it does not continue its feed, `Conflict` or `Spelling` if it contradicts what is published.
pub(crate) fn check_own(
    snapshot: &impl Snapshot,
    record: &Verified<Record>,
    namespace: Option<&str>,
) -> Result<bool, Failure> {
    let refused = |refusal: Refusal| RegistryError::Unauthorized(refusal.to_string());
    let added = Contribution::of(record).map_err(refused)?;
    if snapshot.held(&added.id)?.is_some() {
        return Ok(false);
    }
    let mut documents = snapshot.documents(added.owner)?;
    catalogue::belongs(&mut documents, record).map_err(refused)?;
    if is_document(record) {
        // Two documents that continue the same one would freeze the namespace, or kill it.
        return match documents.standing() {
            Standing::Active(id, _) if id == added.id => Ok(true),
            _ => Err(RegistryError::Stale.into()),
        };
    }
    if !catalogue::is_granted(documents.standing(), &added) {
        return Err(RegistryError::Unauthorized(not_granted(&documents, &added)).into());
    }
    if let Fact::Claim(release, claim) = &added.fact
        && is_published(snapshot, release, claim, namespace)?
    {
        return Ok(false);
    }
    if let (Fact::Claim(release, _), Body::Publish(publish)) = (&added.fact, &record.content().body)
    {
        check_spelling(snapshot, release, &publish.name, namespace)?;
    }
    let head = snapshot.feed(added.owner, added.key)?.head;
    if (head.seq + 1, head.last) != (added.seq, added.previous) {
        return Err(RegistryError::Stale.into());
    }
    Ok(true)
}

/// Whether a record says who may write in a namespace.
pub(crate) fn is_document(record: &Verified<Record>) -> bool {
    matches!(record.content().body, Body::Genesis(_) | Body::Acl(_))
}

/// Why the document that holds does not let a record have an effect.
fn not_granted(documents: &Documents, record: &Contribution) -> String {
    let (key, owner) = (record.key, record.owner.short());
    match documents.standing() {
        Standing::Frozen(_) => format!(
            "{owner} is frozen: its root signed two documents that contradict each other; only its recovery key can go on: `market recover`"
        ),
        Standing::Dead(_) => format!(
            "{owner} is dead: its recovery key was used twice; publish under a new namespace: `market init` in a new home"
        ),
        _ => match record.package() {
            Some((_, name)) => format!(
                "key {key} may not publish `{name}` in {owner}: its root can allow it with `market owner add {key} --scope {name}`"
            ),
            None => format!(
                "key {key} may not speak for the whole of {owner}: its root can allow it with `market owner add {key} --all`"
            ),
        },
    }
}

/// Whether exactly this content is published.
///
/// # Errors
/// `Conflict` if another one is.
fn is_published(
    snapshot: &impl Snapshot,
    release: &ReleaseKey,
    claim: &Claim,
    namespace: Option<&str>,
) -> Result<bool, Failure> {
    let Some(slot) = snapshot.slot(release)? else {
        return Ok(false);
    };
    if !slot.is_conflicted() && slot.first().content == claim.content {
        return Ok(true);
    }
    let mut version = release.version.clone();
    version.build = slot.first().build.clone();
    let id = PackageId {
        name: release.name.to_string(),
        version,
        namespace: namespace.map(str::to_owned),
    };
    Err(RegistryError::Conflict { id }.into())
}

/// One package has one spelling: `Foo_Bar` and `foo-bar` are the same one.
fn check_spelling(
    snapshot: &impl Snapshot,
    release: &ReleaseKey,
    name: &str,
    namespace: Option<&str>,
) -> Result<(), Failure> {
    let Some((_, slot)) = snapshot.slots(release.owner, &release.name)?.pop_first() else {
        return Ok(());
    };
    let id = slot.first().record;
    let missing = || {
        Fault::Damaged(format!(
            "a release stands on record {id}, which is not held"
        ))
    };
    let held = snapshot.held(&id)?.ok_or_else(missing)?;
    match &held.record.content().body {
        Body::Publish(published) if published.name != name => {
            let id = PackageId {
                name: name.to_owned(),
                version: release.version.clone(),
                namespace: namespace.map(str::to_owned),
            };
            let published = published.name.clone();
            Err(RegistryError::Spelling { id, published }.into())
        }
        _ => Ok(()),
    }
}
