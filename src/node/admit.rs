//! The one door for records, wherever they come from: cheap checks first, then signatures on all cores, then
//! the catalogue.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ggen_protocols::id::{NetworkId, RecordId};
use ggen_protocols::message::Announcement;
use ggen_protocols::reconcile::{Expected, Lie, Taken};
use ggen_protocols::record::{Record, Refusal, Signed, Treatment, Verified};
use tokio::task::spawn_blocking;

use super::swarm::Judgement;
use crate::Result;
use crate::crypto::StrictSignatures;
use crate::registry::{Admission, Catalogue};

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
    /// It is stored now. Holds its time, in milliseconds since 1970.
    New(u64),
    /// It was known before.
    Known,
    /// It is not stored, for this reason.
    Refused(Refusal),
    /// It is not stored because its owner has as many records as one may have.
    OwnerFull,
}

/// The door into one catalogue.
#[derive(Debug, Clone)]
pub(super) struct Door {
    catalogue: Arc<dyn Catalogue>,
    clock: fn() -> u64,
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
        Self { catalogue, clock }
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
    /// [`Refusal`], also where other nodes would only wait: such a record would reach nobody.
    pub(super) async fn verify(&self, envelope: Bytes) -> Result<Verified<Record>, Refusal> {
        let signed = Signed::from_envelope(envelope)?;
        let network = self.network();
        let verified = verify_all(vec![signed], network).await;
        let record = verified
            .into_iter()
            .next()
            .unwrap_or(Err(Refusal::Signature))?;
        record.authorised()?;
        record.in_time(self.now_ms())?;
        Ok(record)
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
        for outcome in self.admit(records).await? {
            match outcome {
                Outcome::New(_) => taken.new += 1,
                Outcome::Refused(refusal) if refusal.treatment() == Treatment::Reject => {
                    taken.refused += 1;
                }
                Outcome::Refused(refusal) => tracing::debug!(%refusal, "a record has to wait"),
                Outcome::Known | Outcome::OwnerFull => {}
            }
        }
        Ok(Ok(taken))
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
                        Err(refusal) => Gossiped::Judged(judgement(&refusal)),
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
                Err(_) => Gossiped::Judged(Judgement::Reject),
            };
            answers.push(answer);
        }
        for (at, outcome) in places.into_iter().zip(self.admit(records).await?) {
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
        let outcomes = self.admit(records).await?;
        Ok(outcomes
            .first()
            .map_or(Judgement::Ignore, |outcome| self.relay(outcome)))
    }

    /// Whether a message is passed on, by what became of its record.
    fn relay(&self, outcome: &Outcome) -> Judgement {
        match outcome {
            Outcome::New(time_ms) if self.now_ms().saturating_sub(*time_ms) <= RELAY_AGE_MAX_MS => {
                Judgement::Accept
            }
            Outcome::Refused(refusal) => judgement(refusal),
            Outcome::New(_) | Outcome::Known | Outcome::OwnerFull => Judgement::Ignore,
        }
    }

    /// Admits records of the right form; one outcome for each, in order.
    async fn admit(&self, records: Vec<(RecordId, Signed<Record>)>) -> Result<Vec<Outcome>> {
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
                    admitted.push((at, record.content().time_ms));
                    verified.push(record);
                }
                Err(refusal) => outcomes[at] = Outcome::Refused(refusal),
            }
        }
        if verified.is_empty() {
            return Ok(outcomes);
        }
        let answers = self.catalogue.admit(verified).await?;
        for ((at, time_ms), admission) in admitted.into_iter().zip(answers) {
            outcomes[at] = match admission {
                Admission::New => Outcome::New(time_ms),
                Admission::Known => Outcome::Known,
                Admission::Refused(refusal) => Outcome::Refused(refusal),
                Admission::OwnerFull => Outcome::OwnerFull,
            };
        }
        Ok(outcomes)
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
