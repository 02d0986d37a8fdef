//! Offers: processes of the user that hold a key and wait to sign one publish record each, for a release that they
//! were asked for. Whoever knows the id of an offer may have that one record signed; the key never comes here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{NetworkId, OwnerId, PublicKey};
use ggen_protocols::record::{Body, Draft};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::request::Failure;
use crate::registry::{is_random, random_text};

/// How long an offer stands.
pub const OFFER_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// Most offers that stand at a time: each keeps one of the connections that commands use.
pub(super) const OFFERS_MAX: usize = 8;
/// How long a process may take to sign, its key being open.
const SIGN_TIME_MAX: Duration = Duration::from_secs(5);

/// The release that an offer is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// Its name, as it is spelled.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 hash of its archive, in hexadecimal.
    pub sha256: String,
}

impl Promise {
    /// The record to sign, if the message is the publish record of this release in the namespace of `owner`, and
    /// of `key`.
    ///
    /// # Errors
    /// Says what the message is instead.
    pub fn check(
        &self,
        network: NetworkId,
        owner: OwnerId,
        key: PublicKey,
        message: &[u8],
    ) -> Result<Draft, Failure> {
        let other = |what: &str| refuse(format!("this offer signs no record of another {what}"));
        let no_record = |error| refuse(format!("nothing but records is signed: {error}"));
        let draft = Draft::of_message(network, message).map_err(no_record)?;
        let record = draft.record().map_err(no_record)?;
        let Body::Publish(publish) = &record.body else {
            return Err(other("kind"));
        };
        let sha256 = publish.checksums().sha256.map(|hash| hash.to_hex());
        let expected = [
            ("key", draft.key() == key),
            ("namespace", record.owner == Some(owner)),
            ("package", publish.name == self.name),
            ("version", publish.version == self.version),
            ("archive", sha256.as_ref() == Some(&self.sha256)),
        ];
        match expected.into_iter().find(|(_, is_so)| !is_so) {
            Some((what, _)) => Err(other(what)),
            None => Ok(draft),
        }
    }
}

/// An id for an offer that nobody can guess.
pub fn offer_id() -> String {
    random_text().to_string()
}

/// The offers that stand at a node. Cheap to clone; every clone has the same ones.
#[derive(Debug, Clone)]
pub struct Offers {
    standing: Arc<Mutex<BTreeMap<ContentHash, Standing>>>,
    time_max: Duration,
}

impl Default for Offers {
    fn default() -> Self {
        Self::for_time(OFFER_TIME_MAX)
    }
}

#[derive(Debug)]
struct Standing {
    owner: OwnerId,
    key: PublicKey,
    ask: oneshot::Sender<Asked>,
}

/// A message that the process behind an offer is asked to sign.
pub(super) struct Asked {
    pub(super) message: Vec<u8>,
    pub(super) reply: oneshot::Sender<Result<[u8; 64], Failure>>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({} bytes)", self.message.len())
    }
}

impl Offers {
    /// Offers that each stand for so long.
    fn for_time(time_max: Duration) -> Self {
        Self {
            standing: Arc::default(),
            time_max,
        }
    }

    /// Whose key an offer signs with, and in which namespace; nothing if there is no such offer any more.
    pub fn of(&self, id: &str) -> Option<(OwnerId, PublicKey)> {
        let standing = self.standing();
        let one = standing.get(&hidden(id))?;
        let stands = !one.ask.is_closed();
        stands.then_some((one.owner, one.key))
    }

    /// Waits until an offer is asked for; nothing if its time was over before.
    pub(super) async fn asked(&self, asked: oneshot::Receiver<Asked>) -> Option<Asked> {
        timeout(self.time_max, asked).await.ok()?.ok()
    }

    /// Has one message signed; the offer is over then, whatever comes of it.
    ///
    /// # Errors
    /// There is no such offer, or the process behind it refuses or is gone.
    pub async fn sign(&self, id: &str, message: Vec<u8>) -> Result<[u8; 64], Failure> {
        let gone = || {
            refuse(
                "what was to sign this release is gone, or has signed already: publish again"
                    .to_owned(),
            )
        };
        let one = self.standing().remove(&hidden(id)).ok_or_else(gone)?;
        let (reply, signed) = oneshot::channel();
        one.ask.send(Asked { message, reply }).map_err(|_| gone())?;
        match timeout(SIGN_TIME_MAX, signed).await {
            Ok(Ok(signed)) => signed,
            _ => Err(gone()),
        }
    }

    /// Takes an offer; what it is asked for comes once at most.
    pub(super) fn add(
        &self,
        id: &str,
        owner: OwnerId,
        key: PublicKey,
    ) -> Result<oneshot::Receiver<Asked>, Failure> {
        if !is_random(id) {
            return Err(refuse(
                "an offer's id is 32 random letters and digits".to_owned(),
            ));
        }
        let mut standing = self.standing();
        // Of processes that ended, nobody waits for the question.
        standing.retain(|_, one| !one.ask.is_closed());
        if standing.len() >= OFFERS_MAX {
            return Err(refuse(format!(
                "{OFFERS_MAX} processes wait to sign a release already: let them end first"
            )));
        }
        let (ask, asked) = oneshot::channel();
        standing.insert(hidden(id), Standing { owner, key, ask });
        Ok(asked)
    }

    /// Ends all offers.
    pub(super) fn close(&self) {
        self.standing().clear();
    }

    fn standing(&self) -> MutexGuard<'_, BTreeMap<ContentHash, Standing>> {
        self.standing
            .lock()
            .expect("no holder of this lock can panic")
    }
}

/// What an id is looked up by: how long that takes tells nothing of the ids that there are.
fn hidden(id: &str) -> ContentHash {
    ContentHash::sha256(id)
}

fn refuse(message: String) -> Failure {
    Failure {
        message,
        stale: false,
        choices: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ggen_protocols::id::PackageId;
    use ggen_protocols::metadata::{Checksums, PackageMetadata};
    use ggen_protocols::record::{Publish, Record};

    use super::*;
    use crate::crypto::PrivateKey;

    const ID: &str = "abcdefghijklmnopqrstuvwxyz012345";

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_seed([seed; 32])
    }

    fn owner() -> OwnerId {
        OwnerId::of_key(NetworkId::main(), key(7).public())
    }

    fn message(name: &str, version: &str, content: &str, signer: u8, owner: OwnerId) -> Vec<u8> {
        let mut metadata = PackageMetadata::new(PackageId::new(name, version));
        metadata.checksums = Checksums {
            sha256: Some(ContentHash::sha256(content)),
            ..Checksums::default()
        };
        let record = Record {
            owner: Some(owner),
            seq: 1,
            previous: None,
            time_ms: 1,
            body: Body::Publish(Box::new(Publish::from_metadata(&metadata).unwrap())),
        };
        let draft = record.draft(NetworkId::main(), key(signer).public());
        draft.unwrap().message()
    }

    #[test]
    fn a_promise_covers_its_release_and_nothing_else() {
        let promise = Promise {
            name: "parser".to_owned(),
            version: "1.0.0".to_owned(),
            sha256: ContentHash::sha256("content").to_hex(),
        };
        let (network, owner) = (NetworkId::main(), owner());
        let check = |message: &[u8]| promise.check(network, owner, key(7).public(), message);
        let good = message("parser", "1.0.0", "content", 7, owner);
        assert_eq!(check(&good).unwrap().message(), good);
        let elsewhere = OwnerId::from_bytes([1; 32]);
        for (bad, why) in [
            (message("other", "1.0.0", "content", 7, owner), "package"),
            (message("Parser", "1.0.0", "content", 7, owner), "package"),
            (message("parser", "1.0.1", "content", 7, owner), "version"),
            (message("parser", "1.0.0", "other", 7, owner), "archive"),
            (message("parser", "1.0.0", "content", 8, owner), "key"),
            (
                message("parser", "1.0.0", "content", 7, elsewhere),
                "namespace",
            ),
            (b"anything".to_vec(), "nothing but records"),
        ] {
            let error = check(&bad).unwrap_err().message;
            assert!(error.contains(why), "{why}: {error}");
        }
        let other = NetworkId::named("other");
        let foreign = promise.check(other, owner, key(7).public(), &good);
        assert!(foreign.is_err());
    }

    #[test]
    fn ids_are_letters_and_digits_that_differ() {
        let ids = [offer_id(), offer_id()];
        assert_ne!(ids[0], ids[1]);
        for id in ids {
            Offers::default()
                .add(&id, owner(), key(7).public())
                .unwrap();
        }
    }

    #[tokio::test]
    async fn an_offer_is_asked_once() {
        let offers = Offers::default();
        let asked = offers.add(ID, owner(), key(7).public()).unwrap();
        assert_eq!(offers.of(ID), Some((owner(), key(7).public())));
        let process = tokio::spawn(async move {
            let asked = asked.await.unwrap();
            assert_eq!(asked.message, b"this");
            asked.reply.send(Ok([9; 64])).unwrap();
        });
        let signature = offers.sign(ID, b"this".to_vec()).await.unwrap();
        assert_eq!(signature, [9; 64]);
        process.await.unwrap();
        assert_eq!(offers.of(ID), None);
        let again = offers.sign(ID, b"this".to_vec()).await.unwrap_err();
        assert!(again.message.contains("publish again"), "{again}");
    }

    #[tokio::test]
    async fn an_offer_ends_after_its_time() {
        assert_eq!(Offers::default().time_max, OFFER_TIME_MAX);
        assert_eq!(OFFER_TIME_MAX, Duration::from_secs(600));
        let offers = Offers::for_time(Duration::from_millis(1));
        let asked = offers.add(ID, owner(), key(7).public()).unwrap();
        assert!(offers.of(ID).is_some());
        assert!(offers.asked(asked).await.is_none());
        assert_eq!(offers.of(ID), None);
        let late = offers.sign(ID, b"this".to_vec()).await.unwrap_err();
        assert!(late.message.contains("publish again"), "{late}");
        // It takes no place any more.
        let next: Vec<_> = (0..OFFERS_MAX)
            .map(|number| offers.add(&format!("{number:032}"), owner(), key(7).public()))
            .collect();
        assert!(next.iter().all(Result::is_ok), "{next:?}");
    }

    #[tokio::test]
    async fn offers_have_a_bound_and_those_that_ended_do_not_count() {
        let offers = Offers::default();
        let id = |number: usize| format!("{number:032}");
        let add = |number| offers.add(&id(number), owner(), key(7).public());
        let mut waiting: Vec<_> = (0..OFFERS_MAX).map(|n| add(n).unwrap()).collect();
        add(OFFERS_MAX).unwrap_err();
        waiting.pop();
        waiting.push(add(OFFERS_MAX).unwrap());
        for bad in ["", "short", &"x".repeat(33), &"!".repeat(32)] {
            offers.add(bad, owner(), key(7).public()).unwrap_err();
        }
        offers.close();
        for asked in waiting {
            asked.await.unwrap_err();
        }
    }
}
