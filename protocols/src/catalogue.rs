//! What a set of records means: slots, registers, conflicts and forks. Merge is union.
//!
//! Every part is a semilattice: [`Slot`], [`Register`] and [`Feed`] have a `merge` that does not care about
//! order, repetition or grouping. A node stores the parts as rows and merges one record at a time;
//! [`Meaning`] derives them from a whole set, and so says what the rows must be.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use semver::{BuildMetadata, Version};

use crate::cbor;
use crate::hash;
use crate::id::{CanonicalName, OwnerId, PublicKey, RecordId, ReleaseKey};
use crate::metadata::PackageMetadata;
use crate::record::{Change, FeedHead, Info, Publish, Record, Refusal, State, Verified};

/// Contents that one slot remembers, those with the smallest record ids. Two already make a conflict; the
/// bound keeps a slot's row small, however often its owner contradicts itself.
pub const CLAIMS_MAX: usize = 16;

const CONTENT_CONTEXT: &str = "ggen-market 2026 release content";

/// One content that records claim for a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The record that claims it; of several with this content, the smallest id.
    pub record: RecordId,
    /// Identifies the content: a hash of the publish body.
    pub content: [u8; 32],
    /// The build metadata of the version, which is content and not identity.
    pub build: BuildMetadata,
}

impl Claim {
    /// The claim that the record with this id makes.
    pub fn of(record: RecordId, publish: &Publish) -> Self {
        // The grammar of versions was checked when the body was made.
        let build = Version::parse(&publish.version).map(|version| version.build);
        Self {
            record,
            content: hash::derive(CONTENT_CONTEXT, &[&cbor::encode(publish)]),
            build: build.unwrap_or_default(),
        }
    }
}

/// Everything that was claimed for one release. One content is a publication, more are a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    first: Claim,
    /// Ascending by record, each content once, at most `CLAIMS_MAX - 1`.
    others: Vec<Claim>,
}

impl From<Claim> for Slot {
    fn from(first: Claim) -> Self {
        Self {
            first,
            others: Vec::new(),
        }
    }
}

impl Slot {
    /// The claim with the smallest record id.
    pub fn first(&self) -> &Claim {
        &self.first
    }

    /// All remembered claims, ascending by record id.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Whether two contents were claimed.
    pub fn is_conflicted(&self) -> bool {
        !self.others.is_empty()
    }

    /// Adds a claim and says whether that changed anything.
    pub fn merge(&mut self, claim: Claim) -> bool {
        let known = self.claims().find(|known| known.content == claim.content);
        if known.is_some_and(|known| known.record <= claim.record) {
            return false;
        }
        let mut claims: Vec<_> = self
            .claims()
            .filter(|known| known.content != claim.content)
            .cloned()
            .collect();
        let at = claims.partition_point(|known| known.record < claim.record);
        claims.insert(at, claim);
        claims.truncate(CLAIMS_MAX);
        let others = claims.split_off(1);
        let changed = others != self.others || claims[0] != self.first;
        self.others = others;
        self.first = claims.swap_remove(0);
        changed
    }
}

/// The state that an owner gave to a release or to a package: the largest by revision, then by the safer
/// value, then by record id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Its revision.
    pub revision: u64,
    /// Whether the owner took it back altogether.
    pub withdrawn: bool,
    /// Whether new resolutions pass over it.
    pub yanked: bool,
    /// The record that says so.
    pub record: RecordId,
    /// Why.
    pub note: String,
    /// What replaces published metadata.
    pub info: Option<Info>,
}

impl Register {
    /// The value that the record with this id gives.
    pub fn of(record: RecordId, state: &State) -> Self {
        Self {
            revision: state.revision,
            withdrawn: state.withdrawn,
            yanked: state.yanked,
            record,
            note: state.note.clone(),
            info: state.info.clone(),
        }
    }

    /// Takes the other value if it is the larger one, and says whether that changed anything.
    pub fn merge(&mut self, other: Self) -> bool {
        // A yank wins a tie: hiding a good release for a while is the smaller harm.
        let rank = |r: &Self| (r.revision, r.withdrawn, r.yanked, r.record);
        let changed = rank(&other) > rank(self);
        if changed {
            *self = other;
        }
        changed
    }
}

/// Names a register: a release's, or without a version a package's.
pub type RegisterKey = (OwnerId, CanonicalName, Option<Version>);

/// What one key wrote in one namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feed {
    /// Its last record: the one with the largest place, of several there the one with the largest id.
    pub head: FeedHead,
    /// Whether two of its records follow the same one: a restored backup, or two devices. Not an offence.
    pub forked: bool,
}

impl Feed {
    /// Takes in another part of the same feed.
    pub fn merge(&mut self, other: Self) {
        let rank = |head: &FeedHead| (head.seq, head.last);
        if rank(&other.head) > rank(&self.head) {
            self.head = other.head;
        }
        self.forked |= other.forked;
    }
}

/// What one record says of packages.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A release has this content.
    Claim(ReleaseKey, Claim),
    /// A register has this value.
    Register(RegisterKey, Register),
    /// Nothing that this version understands.
    Nothing,
}

/// What one record adds to the meaning of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// The record.
    pub id: RecordId,
    /// The namespace it speaks of.
    pub owner: OwnerId,
    /// Who signed it.
    pub key: PublicKey,
    /// Its place in the feed of its key.
    pub seq: u64,
    /// The record before it in that feed.
    pub previous: Option<RecordId>,
    /// What it says.
    pub fact: Fact,
}

impl Contribution {
    /// What `record` adds.
    ///
    /// # Errors
    /// [`Refusal::Unauthorised`] if its key may not write in its namespace.
    pub fn of(record: &Verified<Record>) -> Result<Self, Refusal> {
        let owner = record.authorised()?;
        let fact = match record.change(owner) {
            Change::Claim(key, publish) => Fact::Claim(key, Claim::of(record.id(), publish)),
            Change::Register(owner, name, release, state) => Fact::Register(
                (owner, name, release.map(|key| key.version)),
                Register::of(record.id(), state),
            ),
            Change::Nothing => Fact::Nothing,
        };
        Ok(Self {
            id: record.id(),
            owner,
            key: record.key(),
            seq: record.content().seq,
            previous: record.content().previous,
            fact,
        })
    }

    /// The feed that consists of this record.
    pub fn feed(&self) -> Feed {
        let head = FeedHead {
            seq: self.seq,
            last: Some(self.id),
        };
        Feed {
            head,
            forked: false,
        }
    }

    /// The package that it speaks of, if it speaks of one.
    pub fn package(&self) -> Option<(OwnerId, &CanonicalName)> {
        match &self.fact {
            Fact::Claim(key, _) => Some((key.owner, &key.name)),
            Fact::Register((owner, name, _), _) => Some((*owner, name)),
            Fact::Nothing => None,
        }
    }
}

/// What follows a record in a feed: the namespace, the key, and the record (nothing: the feed's start).
pub type SuccessorKey = (OwnerId, PublicKey, Option<RecordId>);

/// Everything that follows from a set of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meaning {
    /// The records and their owners.
    pub records: BTreeMap<RecordId, OwnerId>,
    /// Releases.
    pub slots: BTreeMap<ReleaseKey, Slot>,
    /// States of releases and packages.
    pub registers: BTreeMap<RegisterKey, Register>,
    /// Feeds.
    pub feeds: BTreeMap<(OwnerId, PublicKey), Feed>,
    /// For each place in a feed the record that continues it; of several, the smallest.
    pub successors: BTreeMap<SuccessorKey, RecordId>,
}

impl Meaning {
    /// Adds one record.
    pub fn add(&mut self, record: Contribution) {
        let Contribution { id, owner, key, .. } = record;
        self.records.insert(id, owner);
        let forked = self.succeed((owner, key, record.previous), id);
        let mut feed = record.feed();
        feed.forked = forked;
        self.feeds.entry((owner, key)).or_default().merge(feed);
        match record.fact {
            Fact::Claim(key, claim) => self.claim(key, claim),
            Fact::Register(key, register) => self.set(key, register),
            Fact::Nothing => {}
        }
    }

    /// Adds everything that follows from another set: the meaning of the union.
    pub fn merge(&mut self, other: Self) {
        self.records.extend(other.records);
        for (key, slot) in other.slots {
            for claim in slot.claims() {
                self.claim(key.clone(), claim.clone());
            }
        }
        for (key, register) in other.registers {
            self.set(key, register);
        }
        for (key, feed) in other.feeds {
            self.feeds.entry(key).or_default().merge(feed);
        }
        for (key, id) in other.successors {
            if self.succeed(key, id) {
                self.feeds.entry((key.0, key.1)).or_default().forked = true;
            }
        }
    }

    fn claim(&mut self, key: ReleaseKey, claim: Claim) {
        match self.slots.entry(key) {
            Entry::Occupied(slot) => {
                slot.into_mut().merge(claim);
            }
            Entry::Vacant(none) => {
                none.insert(claim.into());
            }
        }
    }

    fn set(&mut self, key: RegisterKey, value: Register) {
        match self.registers.entry(key) {
            Entry::Occupied(register) => {
                register.into_mut().merge(value);
            }
            Entry::Vacant(none) => {
                none.insert(value);
            }
        }
    }

    /// Notes that `id` continues a feed at a place; true if another record does so too.
    fn succeed(&mut self, place: SuccessorKey, id: RecordId) -> bool {
        let known = self.successors.entry(place).or_insert(id);
        let forked = *known != id;
        *known = id.min(*known);
        forked
    }
}

impl Info {
    /// Replaces in `metadata` what this states; what is absent here stays.
    pub fn apply(&self, metadata: &mut PackageMetadata) {
        let url = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        if let Some(description) = &self.description {
            metadata.description.clone_from(description);
        }
        metadata.repository = url(&self.links.repository).or(metadata.repository.take());
        metadata.homepage = url(&self.links.homepage).or(metadata.homepage.take());
        metadata.documentation = url(&self.links.documentation).or(metadata.documentation.take());
        if let Some(keywords) = &self.keywords {
            metadata.keywords.clone_from(keywords);
        }
        if let Some(categories) = &self.categories {
            metadata.categories.clone_from(categories);
        }
        if let Some(reason) = &self.deprecated {
            metadata.deprecated = Some(reason.clone());
        }
    }
}

#[cfg(test)]
mod tests;
