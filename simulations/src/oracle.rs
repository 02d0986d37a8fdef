//! What must hold, each with its reason. The oracle knows everything that was ever published.

use std::collections::BTreeMap;

use bytes::Bytes;
use ggen_protocols::id::RecordId;
use ggen_protocols::reconcile::Outcome;
use ggen_protocols::reconcile::fingerprint::{Prefix, Root, branch_of};

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A liar's record was believed: signatures were not checked.
    #[error("peer {peer} stored record {record}, which nobody published")]
    Forged {
        /// Who stored it.
        peer: usize,
        /// What.
        record: RecordId,
    },
    /// Faults ended long ago and somebody still lacks something: reconciliation does not converge.
    #[error("peer {peer} knows {known} of {published} records; the first it lacks is {lacks}")]
    Lacks {
        /// Who.
        peer: usize,
        /// How many it knows.
        known: usize,
        /// How many there are.
        published: usize,
        /// One that it lacks.
        lacks: RecordId,
    },
    /// The root that a peer tells is not the root of what it knows.
    #[error("peer {peer} tells another root than its records have")]
    WrongRoot {
        /// Who.
        peer: usize,
    },
    /// An honest peer was taken for a liar and would be left alone for minutes.
    #[error("peer {peer} blames the honest peer {blamed}: {why}")]
    Blamed {
        /// Who.
        peer: usize,
        /// Whom.
        blamed: usize,
        /// For what.
        why: String,
    },
    /// Peers ask without end.
    #[error("{count} questions were asked, more than {max}: they do not come to rest")]
    Storm {
        /// How many.
        count: u64,
        /// The bound.
        max: u64,
    },
}

/// Knows every record that was published.
#[derive(Debug, Default)]
pub struct Oracle {
    published: BTreeMap<RecordId, Bytes>,
}

impl Oracle {
    /// An oracle of a world in which nothing was published.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a record.
    pub fn published(&mut self, id: RecordId, envelope: Bytes) {
        self.published.insert(id, envelope);
    }

    /// How many records there are.
    pub fn everything(&self) -> usize {
        self.published.len()
    }

    /// Checks what a peer stored: byte for byte what was published, signature included.
    ///
    /// # Errors
    /// [`Violation::Forged`].
    pub fn stored(
        &self,
        peer: usize,
        record: RecordId,
        envelope: Option<&Bytes>,
    ) -> Result<(), Violation> {
        if self.published.get(&record) != envelope {
            return Err(Violation::Forged { peer, record });
        }
        Ok(())
    }

    /// # Errors
    /// [`Violation::Lacks`], [`Violation::WrongRoot`].
    pub fn knows_everything(
        &self,
        peer: usize,
        records: &BTreeMap<RecordId, Bytes>,
        told: Root,
    ) -> Result<(), Violation> {
        if let Some(lacks) = self.published.keys().find(|id| !records.contains_key(id)) {
            return Err(Violation::Lacks {
                peer,
                known: records.len(),
                published: self.published.len(),
                lacks: *lacks,
            });
        }
        let ids: Vec<_> = self.published.keys().copied().collect();
        if branch_of(Prefix::ROOT, &ids).root() != told {
            return Err(Violation::WrongRoot { peer });
        }
        Ok(())
    }

    /// # Errors
    /// [`Violation::Blamed`].
    pub fn blames_only_liars(
        &self,
        peer: usize,
        whom: usize,
        honest: usize,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        match outcome {
            Outcome::Lied(lie) if whom < honest => Err(Violation::Blamed {
                peer,
                blamed: whom,
                why: lie.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// [`Violation::Storm`].
    pub fn messages(&self, count: u64, max: u64) -> Result<(), Violation> {
        if count > max {
            return Err(Violation::Storm { count, max });
        }
        Ok(())
    }
}
