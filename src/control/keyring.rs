//! Unlocked identity keys of a running node: it signs records with them for commands of its user, for a while.
//!
//! A key goes in and never comes out: commands get signatures. It is zeroed when its time is over, when it is
//! locked, and when the node stops.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ggen_protocols::id::{NetworkId, PublicKey};
use ggen_protocols::metadata::KeyText;
use ggen_protocols::record::Draft;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::offer::Offers;
use super::request::{Failure, UnlockedKey};
use crate::crypto::PrivateKey;

/// Longest time that a key stays unlocked.
pub const UNLOCK_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// Most keys that are unlocked at a time; one home has no more.
const KEYS_MAX: usize = 64;

/// The keys of a node that are unlocked now. Cheap to clone; every clone is the same ring.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    held: Arc<Mutex<BTreeMap<PublicKey, Held>>>,
    offers: Offers,
}

#[derive(Debug)]
struct Held {
    key: PrivateKey,
    until: Instant,
    expiry: AbortHandle,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

impl Keyring {
    /// Holds a key for so long, however long it would have been held before.
    ///
    /// # Errors
    /// A time of zero or above [`UNLOCK_TIME_MAX`]; more than 64 keys.
    pub(super) fn unlock(&self, key: PrivateKey, time: Duration) -> Result<(), Failure> {
        if time.is_zero() || time > UNLOCK_TIME_MAX {
            return Err(refuse(
                "a key is unlocked for at least 1 second and at most 15 minutes",
            ));
        }
        let public = key.public();
        let until = Instant::now() + time;
        let mut held = self.held();
        if held.len() >= KEYS_MAX && !held.contains_key(&public) {
            return Err(refuse("64 keys are unlocked: run `market key lock` first"));
        }
        let ring = self.clone();
        let expiry = tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            ring.held().remove(&public);
        });
        let expiry = expiry.abort_handle();
        held.insert(public, Held { key, until, expiry });
        Ok(())
    }

    /// Forgets a key, or all; returns which.
    pub(super) fn lock(&self, key: Option<PublicKey>) -> Vec<UnlockedKey> {
        let locked = self.unlocked();
        match key {
            Some(key) => {
                self.held().remove(&key);
                locked.into_iter().filter(|one| one.key.0 == key).collect()
            }
            None => {
                self.held().clear();
                locked
            }
        }
    }

    /// Processes that hold a key themselves, and sign one record each.
    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Which keys are held, and for how long.
    pub fn unlocked(&self) -> Vec<UnlockedKey> {
        let now = Instant::now();
        let held = self.held();
        let left = held.iter().map(|(public, held)| UnlockedKey {
            key: KeyText(*public),
            seconds: held.until.saturating_duration_since(now).as_secs(),
        });
        left.collect()
    }

    /// Signs a record of this network, and nothing else.
    ///
    /// # Errors
    /// What is no such record; a key that is not unlocked.
    pub fn sign(
        &self,
        network: NetworkId,
        message: &[u8],
        now: Instant,
    ) -> Result<[u8; 64], Failure> {
        let draft = Draft::of_message(network, message);
        let draft =
            draft.map_err(|error| refuse(&format!("nothing but records is signed: {error}")))?;
        let held = self.held();
        match held.get(&draft.key()) {
            Some(held) if held.until > now => Ok(held.key.sign(message)),
            _ => Err(refuse(&format!(
                "key {} is locked: run `market key unlock`",
                draft.key()
            ))),
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<PublicKey, Held>> {
        self.held.lock().expect("no holder of this lock can panic")
    }
}

fn refuse(why: &str) -> Failure {
    Failure {
        message: why.to_owned(),
        stale: false,
        choices: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ggen_protocols::id::OwnerId;
    use ggen_protocols::record::{Body, CheckSignature, Record, State};

    use super::*;
    use crate::crypto::StrictSignatures;

    fn key() -> PrivateKey {
        PrivateKey::from_seed([7; 32])
    }

    fn message(network: NetworkId) -> Vec<u8> {
        let state = State {
            name: "parser".to_owned(),
            version: None,
            revision: 1,
            yanked: true,
            withdrawn: false,
            note: String::new(),
            info: None,
        };
        let record = Record {
            owner: Some(OwnerId::of_key(network, key().public())),
            seq: 1,
            previous: None,
            time_ms: 1,
            body: Body::State(state),
        };
        record.draft(network, key().public()).unwrap().message()
    }

    #[tokio::test]
    async fn a_key_signs_until_its_time_is_over() {
        let (ring, network) = (Keyring::default(), NetworkId::main());
        let (message, now) = (message(network), Instant::now());
        let error = ring.sign(network, &message, now).unwrap_err();
        assert!(error.message.contains("locked"), "{error}");
        ring.unlock(key(), Duration::from_secs(60)).unwrap();
        let signature = ring.sign(network, &message, now).unwrap();
        assert!(StrictSignatures.check(&key().public(), &message, &signature));
        ring.sign(
            network,
            &message,
            now + Duration::from_secs(60) - Duration::from_millis(1),
        )
        .unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        let error = ring.sign(network, &message, later).unwrap_err();
        assert!(error.message.contains("market key unlock"), "{error}");
    }

    #[tokio::test]
    async fn a_key_whose_time_is_over_is_forgotten_and_an_earlier_end_does_not_count() {
        let ring = Keyring::default();
        let other = PrivateKey::from_seed([8; 32]);
        ring.unlock(key(), Duration::from_millis(10)).unwrap();
        ring.unlock(other.clone(), Duration::from_millis(10))
            .unwrap();
        ring.unlock(other.clone(), UNLOCK_TIME_MAX).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while ring.held().len() > 1 && Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
        assert_eq!(ring.held().keys().collect::<Vec<_>>(), [&other.public()]);
    }

    #[tokio::test]
    async fn a_locked_key_is_gone_and_others_stay() {
        let ring = Keyring::default();
        let other = PrivateKey::from_seed([8; 32]);
        ring.unlock(key(), UNLOCK_TIME_MAX).unwrap();
        ring.unlock(other.clone(), UNLOCK_TIME_MAX).unwrap();
        assert_eq!(ring.lock(Some(key().public())).len(), 1);
        assert_eq!(ring.unlocked()[0].key.0, other.public());
        assert_eq!(ring.lock(None).len(), 1);
        assert!(ring.held().is_empty());
    }

    #[tokio::test]
    async fn nothing_but_records_of_this_network_is_signed() {
        let (ring, network) = (Keyring::default(), NetworkId::main());
        ring.unlock(key(), UNLOCK_TIME_MAX).unwrap();
        let good = message(network);
        let foreign = message(NetworkId::named("other"));
        for bad in [
            &b"sign this"[..],
            &foreign,
            &good[..good.len() - 1],
            &good[1..],
        ] {
            let error = ring.sign(network, bad, Instant::now()).unwrap_err().message;
            assert!(error.contains("nothing but records"), "{error}");
        }
    }

    #[tokio::test]
    async fn no_key_is_unlocked_for_longer_than_the_limit_or_not_at_all() {
        let ring = Keyring::default();
        for time in [Duration::ZERO, UNLOCK_TIME_MAX + Duration::from_secs(1)] {
            ring.unlock(key(), time).unwrap_err();
        }
    }
}
