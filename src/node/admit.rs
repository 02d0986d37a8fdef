//! The one door for records, wherever they come from: cheap checks first, then signatures on all cores, then
//! the catalogue.

mod owners;
mod pending;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ggen_protocols::catalogue;
use ggen_protocols::id::{NetworkId, OwnerId, RecordId};
use ggen_protocols::message::Announcement;
use ggen_protocols::owner::Documents;
use ggen_protocols::reconcile::{Expected, Lie, Taken};
use ggen_protocols::record::{Body, Record, Refusal, Signed, Treatment, Verified};
use owners::OwnerRates;
use pending::{HEADS_BYTES_MAX, Pending, RECORDS_BYTES_MAX};
use tokio::task::spawn_blocking;

use super::observe::{Admitted, Meters, Origin};
use super::swarm::Judgement;
use crate::Result;
use crate::crypto::StrictSignatures;
use crate::registry::{Admission, Catalogue, Witnessed};

/// Records older than this are not passed on by gossip, in milliseconds: replaying old ones is no way to make
/// the network busy. Reconciliation brings them to whoever lacks them.
const RELAY_AGE_MAX_MS: u64 = 24 * 3600 * 1000;
/// Fewest records that are worth a core of their own: below, handing them over costs more than it saves.
const CHUNK_MIN: usize = 16;

/// Milliseconds since 1970 by the system's clock.
pub(super) fn system_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is stored now. Holds how old it is, in milliseconds: documents, which carry no time, are always new.
    New(u64),
    /// It was known before.
    Known,
    /// It is not stored, for this reason.
    Refused(Refusal),
    /// It is not stored because its owner has no room here.
    Declined,
    /// It is not stored because its owner gossips too much; reconciliation brings it.
    Deferred,
}

/// The door into one catalogue.
#[derive(Debug, Clone)]
pub(super) struct Door {
    catalogue: Arc<dyn Catalogue>,
    clock: fn() -> u64,
    pending: Arc<Mutex<Pending>>,
    /// Heads that wait, as records do in `pending`.
    pending_heads: Arc<Mutex<Pending>>,
    rates: Arc<Mutex<OwnerRates>>,
    meters: Arc<Meters>,
}

/// A gossiped message after the checks that need no other peer.
#[derive(Debug)]
pub(super) enum Gossiped {
    /// What becomes of it.
    Judged(Judgement),
    /// It announces a large record, which is to be asked of whoever passed it on.
    Large(RecordId),
}

impl Door {
    pub(super) fn new(catalogue: Arc<dyn Catalogue>, clock: fn() -> u64) -> Self {
        Self {
            catalogue,
            clock,
            pending: Arc::new(Mutex::new(Pending::new(RECORDS_BYTES_MAX))),
            pending_heads: Arc::new(Mutex::new(Pending::new(HEADS_BYTES_MAX))),
            rates: Arc::default(),
            meters: Arc::default(),
        }
    }

    /// Counts here what comes of records.
    pub(super) fn counting(mut self, meters: Arc<Meters>) -> Self {
        self.meters = meters;
        self
    }

    pub(super) fn network(&self) -> NetworkId {
        self.catalogue.network()
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// Reads and verifies one record that was signed for a user of this node.
    ///
    /// # Errors
    /// Those of the catalogue. The inner error is [`Refusal`], also where other nodes would only wait: such a
    /// record would reach nobody.
    pub(super) async fn verify(
        &self,
        envelope: Bytes,
    ) -> Result<Result<Verified<Record>, Refusal>> {
        let network = self.network();
        let read = async {
            let signed = Signed::from_envelope(envelope)?;
            let verified = verify_all(vec![signed], network).await.into_iter().next();
            let record = verified.unwrap_or(Err(Refusal::Signature))?;
            record.in_time(self.now_ms())?;
            Ok(record)
        };
        let record: Verified<Record> = match read.await {
            Ok(record) => record,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if is_head(&record) {
            return Ok(Ok(record));
        }
        let owner = match record.namespace() {
            Ok(owner) => owner,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut documents = Documents::none(network, owner);
        for envelope in self.catalogue.documents(owner).await? {
            let held = Signed::from_envelope(envelope).and_then(|held| held.trust_stored(network));
            if let Ok(held) = held {
                documents.offer(&held);
            }
        }
        Ok(catalogue::belongs(&mut documents, &record).map(|()| record))
    }

    /// Takes the records of a reconciliation.
    ///
    /// # Errors
    /// Those of the catalogue. The inner error is for an answer that no honest peer gives.
    pub(super) async fn reconciled(
        &self,
        envelopes: Vec<Bytes>,
        expected: Expected,
    ) -> Result<Result<Taken, Lie>> {
        let records = match expected.check(self.network(), envelopes) {
            Ok(records) => records,
            Err(lie) => return Ok(Err(lie)),
        };
        let mut taken = Taken::default();
        for outcome in self.admit(records, Origin::Reconcile).await? {
            match outcome {
                Outcome::New(_) => taken.new += 1,
                Outcome::Refused(refusal) if refusal.treatment() == Treatment::Reject => {
                    taken.refused += 1;
                }
                Outcome::Refused(refusal) => tracing::debug!(%refusal, "a record has to wait"),
                Outcome::Known | Outcome::Declined | Outcome::Deferred => {}
            }
        }
        Ok(Ok(taken))
    }

    /// Takes head records that a peer was asked for; anything else among them is passed over.
    ///
    /// # Errors
    /// Those of the catalogue.
    pub(super) async fn heads(&self, envelopes: Vec<Bytes>) -> Result<()> {
        let network = self.network();
        let read = envelopes
            .into_iter()
            .filter_map(|envelope| Signed::from_envelope(envelope).ok());
        let now_ms = self.now_ms();
        for record in verify_all(read.collect(), network)
            .await
            .into_iter()
            .flatten()
        {
            if is_head(&record) && record.in_time(now_ms).is_ok() {
                self.witness(record, now_ms).await?;
            }
        }
        Ok(())
    }

    /// Takes gossiped messages; one answer for each, in order.
    ///
    /// # Errors
    /// Those of the catalogue.
    pub(super) async fn gossiped(&self, messages: &[Vec<u8>]) -> Result<Vec<Gossiped>> {
        let network = self.network();
        let mut answers = Vec::with_capacity(messages.len());
        let mut records = Vec::new();
        let mut places = Vec::new();
        for (at, message) in messages.iter().enumerate() {
            let answer = match Announcement::decode(message) {
                Ok(Announcement::Record(envelope)) => {
                    match Signed::from_envelope(envelope.into_vec().into()) {
                        Ok(record) => {
                            places.push(at);
                            records.push((record.id(network), record));
                            Gossiped::Judged(Judgement::Ignore)
                        }
                        Err(refusal) => {
                            self.meters.admitted(Origin::Gossip, Admitted::Refused);
                            Gossiped::Judged(judgement(&refusal))
                        }
                    }
                }
                Ok(Announcement::Large((id, _))) => {
                    let known = self.catalogue.known(vec![id]).await?;
                    match known.first() {
                        Some(false) => Gossiped::Large(id),
                        _ => Gossiped::Judged(Judgement::Ignore),
                    }
                }
                Ok(_) => Gossiped::Judged(Judgement::Ignore),
                Err(_) => {
                    self.meters.admitted(Origin::Gossip, Admitted::Refused);
                    Gossiped::Judged(Judgement::Reject)
                }
            };
            answers.push(answer);
        }
        for (at, outcome) in places
            .into_iter()
            .zip(self.admit(records, Origin::Gossip).await?)
        {
            answers[at] = Gossiped::Judged(self.relay(&outcome));
        }
        Ok(answers)
    }

    /// Takes a large record that a peer announced and then sent; `None` if it sent nothing.
    ///
    /// # Errors
    /// Those of the catalogue.
    pub(super) async fn pulled(&self, id: RecordId, envelope: Option<Bytes>) -> Result<Judgement> {
        let Some(envelope) = envelope else {
            return Ok(Judgement::Ignore);
        };
        let expected = Expected::Exactly(vec![id]);
        let Ok(records) = expected.check(self.network(), vec![envelope]) else {
            return Ok(Judgement::Reject);
        };
        let outcomes = self.admit(records, Origin::Gossip).await?;
        Ok(outcomes
            .first()
            .map_or(Judgement::Ignore, |outcome| self.relay(outcome)))
    }

    /// Whether a message is passed on, by what became of its record.
    fn relay(&self, outcome: &Outcome) -> Judgement {
        match outcome {
            Outcome::New(age_ms) if *age_ms <= RELAY_AGE_MAX_MS => Judgement::Accept,
            Outcome::Refused(refusal) => judgement(refusal),
            Outcome::New(_) | Outcome::Known | Outcome::Declined | Outcome::Deferred => {
                Judgement::Ignore
            }
        }
    }

    /// Admits records of the right form and counts them; one outcome for each, in order.
    async fn admit(
        &self,
        records: Vec<(RecordId, Signed<Record>)>,
        origin: Origin,
    ) -> Result<Vec<Outcome>> {
        let count = records.len();
        let outcomes = self.decide(records, origin).await;
        match &outcomes {
            Ok(outcomes) => {
                for outcome in outcomes {
                    self.meters.admitted(origin, outcome.into());
                }
            }
            Err(_) => (0..count).for_each(|_| self.meters.admitted(origin, Admitted::Failed)),
        }
        outcomes
    }

    async fn decide(
        &self,
        records: Vec<(RecordId, Signed<Record>)>,
        origin: Origin,
    ) -> Result<Vec<Outcome>> {
        let ids: Vec<_> = records.iter().map(|(id, _)| *id).collect();
        let known = self.catalogue.known(ids).await?;
        let mut outcomes = vec![Outcome::Known; records.len()];
        let (mut places, mut unknown) = (Vec::new(), Vec::new());
        // An id does not cover the signature: of two copies in one batch, one may be forged.
        for (at, ((_, record), known)) in records.into_iter().zip(known).enumerate() {
            if !known {
                places.push(at);
                unknown.push(record);
            }
        }
        let now_ms = self.now_ms();
        let (mut admitted, mut verified) = (Vec::new(), Vec::new());
        let checked = verify_all(unknown, self.network()).await;
        for (at, checked) in places.into_iter().zip(checked) {
            let in_time = checked.and_then(|record| record.in_time(now_ms).map(|()| record));
            match in_time {
                Ok(record) => {
                    admitted.push(at);
                    verified.push(record);
                }
                Err(refusal) => outcomes[at] = Outcome::Refused(refusal),
            }
        }
        let (mut places, mut members) = (Vec::new(), Vec::new());
        for (at, record) in admitted.into_iter().zip(verified) {
            if is_head(&record) {
                outcomes[at] = self.witness(record, now_ms).await?;
            } else if origin == Origin::Gossip && !self.may_write(&record) {
                outcomes[at] = Outcome::Deferred;
            } else {
                places.push(at);
                members.push(record);
            }
        }
        if members.is_empty() {
            return Ok(outcomes);
        }
        let stored = self.store(members, now_ms, origin).await?;
        for (at, outcome) in places.into_iter().zip(stored) {
            outcomes[at] = outcome;
        }
        Ok(outcomes)
    }

    /// Whether its owner keeps to the rate of those whom this node does not know.
    fn may_write(&self, record: &Verified<Record>) -> bool {
        record.namespace().is_ok_and(|owner| {
            // Whoever panicked with it left it whole: it is changed in single steps.
            let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
            self.catalogue.own().contains(&owner) || rates.may_write(owner)
        })
    }

    /// Takes a head record, which is no part of the set. One whose signer no document names yet is kept, and taken
    /// as soon as a document of its namespace is.
    async fn witness(&self, head: Verified<Record>, now_ms: u64) -> Result<Outcome> {
        let age_ms = now_ms.saturating_sub(head.content().time_ms);
        Ok(match self.catalogue.witness(head.clone()).await? {
            Witnessed::Newer => Outcome::New(age_ms),
            Witnessed::Older => Outcome::Known,
            Witnessed::Early => {
                let key = head.key();
                let Body::Head(said) = &head.content().body else {
                    return Ok(Outcome::Refused(Refusal::NoNamespace));
                };
                let owner = said.subject;
                locked(&self.pending_heads).keep(owner, head);
                Outcome::Refused(Refusal::Unauthorised { key, owner })
            }
            Witnessed::Stranger => Outcome::Refused(Refusal::NoNamespace),
        })
    }

    /// Hands verified records to the catalogue; one outcome for each, in order. Those whose signer no document
    /// names yet are kept, and offered again as soon as a document of their namespace is taken.
    async fn store(
        &self,
        records: Vec<Verified<Record>>,
        now_ms: u64,
        origin: Origin,
    ) -> Result<Vec<Outcome>> {
        let mut answers = Vec::with_capacity(records.len());
        let mut waiting = VecDeque::from([records]);
        while let Some(records) = waiting.pop_front() {
            let offered: Vec<_> = records.iter().map(Offered::of).collect();
            let admissions = self.catalogue.admit(records).await?;
            let mut founded = BTreeSet::new();
            for (record, admission) in offered.into_iter().zip(admissions) {
                if admission == Admission::New && record.is_document {
                    founded.extend(record.owner);
                } else if admission == Admission::New {
                    self.meters.arrived(origin, record.age_ms(now_ms));
                }
                answers.push(match admission {
                    Admission::New => Outcome::New(record.age_ms(now_ms)),
                    Admission::Known => Outcome::Known,
                    Admission::Refused(refusal) => {
                        self.keep_waiting(record, &refusal);
                        Outcome::Refused(refusal)
                    }
                    Admission::OwnerFull | Admission::Evicted => Outcome::Declined,
                });
            }
            for owner in founded {
                let records = locked(&self.pending).take(owner);
                waiting.extend((!records.is_empty()).then_some(records));
                let heads = locked(&self.pending_heads).take(owner);
                for head in heads {
                    self.witness(head, now_ms).await?;
                }
            }
        }
        Ok(answers)
    }

    fn keep_waiting(&self, record: Offered, refusal: &Refusal) {
        let Refusal::Unauthorised { owner, .. } = refusal else {
            return;
        };
        // It was verified before it was offered.
        let signed = Signed::from_envelope(record.envelope);
        if let Ok(record) = signed.and_then(|signed| signed.trust_stored(self.network())) {
            locked(&self.pending).keep(*owner, record);
        }
    }
}

fn locked(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    // Whoever panicked with it left it whole: it is changed in single steps.
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a record says what its signer saw last.
pub(super) fn is_head(record: &Verified<Record>) -> bool {
    matches!(record.content().body, Body::Head(_))
}

/// What is remembered of a record while the catalogue has it.
struct Offered {
    envelope: Bytes,
    owner: Option<OwnerId>,
    is_document: bool,
    time_ms: u64,
}

impl Offered {
    fn of(record: &Verified<Record>) -> Self {
        Self {
            envelope: record.envelope().clone(),
            owner: record.namespace().ok(),
            is_document: matches!(record.content().body, Body::Genesis(_) | Body::Acl(_)),
            time_ms: record.content().time_ms,
        }
    }

    fn age_ms(&self, now_ms: u64) -> u64 {
        match self.is_document {
            true => 0,
            false => now_ms.saturating_sub(self.time_ms),
        }
    }
}

fn judgement(refusal: &Refusal) -> Judgement {
    match refusal.treatment() {
        Treatment::Reject => Judgement::Reject,
        Treatment::Ignore => Judgement::Ignore,
    }
}

/// Checks signatures on all cores; one result for each record, in order.
async fn verify_all(
    mut records: Vec<Signed<Record>>,
    network: NetworkId,
) -> Vec<Result<Verified<Record>, Refusal>> {
    let count = records.len();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let chunk = count.div_ceil(cores).max(CHUNK_MIN);
    let mut checks = Vec::new();
    while !records.is_empty() {
        let rest = records.split_off(chunk.min(records.len()));
        let batch = std::mem::replace(&mut records, rest);
        checks.push(spawn_blocking(move || {
            let verify = |record: Signed<Record>| record.verify(&StrictSignatures, network);
            batch.into_iter().map(verify).collect::<Vec<_>>()
        }));
    }
    let mut verified = Vec::with_capacity(count);
    for check in checks {
        match check.await {
            Ok(results) => verified.extend(results),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => break,
            },
        }
    }
    verified
}
