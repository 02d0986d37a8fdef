//! What the [`Reconciler`](super::Reconciler) is told, and what it says.

use bytes::Bytes;

use super::{Expected, Lie};
use crate::Moment;
use crate::id::{PeerId, RecordId};
use crate::message::{PageRequest, Response};
use crate::reconcile::fingerprint::{Branch, Prefix, Root};

/// Names one question, lookup or admission, so that what came of it finds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A peer can be asked now.
    Connected(PeerId),
    /// A peer can be asked no more.
    Disconnected(PeerId),
    /// A peer told its root without having been asked.
    Told {
        /// Which one.
        peer: PeerId,
        /// Its root.
        root: Root,
    },
    /// The own catalogue has this root now.
    Own(Root),
    /// A peer answered a question.
    Answered {
        /// Which one.
        ticket: Ticket,
        /// The answer.
        response: Response,
    },
    /// A lookup in the own catalogue gave this.
    LookedUp {
        /// Which one.
        ticket: Ticket,
        /// What it gave.
        found: Found,
    },
    /// An admission is through.
    Admitted {
        /// Which one.
        ticket: Ticket,
        /// What was taken, or why the answer cannot be honest.
        taken: Result<Taken, Lie>,
        /// The own root after it.
        own: Root,
    },
    /// A question, lookup or admission came to nothing.
    Failed(Ticket),
    /// The time that [`Effect::WakeAt`] asked for has come.
    Tick,
}

/// What a lookup in the own catalogue gave.
#[derive(Debug, Clone)]
pub enum Found {
    /// One branch for each prefix, in order.
    Branches(Vec<Branch>),
    /// For each id, in order, whether it is known.
    Known(Vec<bool>),
}

/// What the catalogue did with records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// So many are new here.
    pub new: usize,
    /// So many are such that every correct node refuses them: no honest peer has them.
    pub refused: usize,
}

/// A question to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What is your root? The caller adds what it tells of itself.
    Hello,
    /// What lies below these prefixes?
    Branches(Vec<Prefix>),
    /// Which envelopes come next?
    Page(PageRequest),
    /// What are the records with these ids?
    Records(Vec<RecordId>),
}

/// A question to the own catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// What lies below these prefixes?
    Branches(Vec<Prefix>),
    /// Which of these ids are known?
    Known(Vec<RecordId>),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask a peer.
    Ask {
        /// Whom.
        peer: PeerId,
        /// Comes back with the answer.
        ticket: Ticket,
        /// What.
        question: Question,
    },
    /// Look into the own catalogue.
    LookUp {
        /// Comes back with the result.
        ticket: Ticket,
        /// What for.
        lookup: Lookup,
    },
    /// Check these envelopes with [`Expected::check`], then offer them to the own catalogue.
    Admit {
        /// Who sent them.
        peer: PeerId,
        /// Comes back with the result.
        ticket: Ticket,
        /// The envelopes.
        envelopes: Vec<Bytes>,
        /// What they must be.
        expected: Expected,
    },
    /// The meeting with a peer is over for now.
    Finished {
        /// Which one.
        peer: PeerId,
        /// How.
        outcome: Outcome,
    },
    /// Send [`Input::Tick`] at this time; a later effect of this kind replaces it.
    WakeAt(Moment),
}

/// How a meeting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Both know the same.
    InSync,
    /// The peer has nothing more for us; it lacks something that we have.
    Ahead,
    /// It did not answer, or is too busy; it is asked again later.
    Failed,
    /// It said what no honest peer says; it is left alone for [`PENALTY`](super::PENALTY).
    Lied(Lie),
}
