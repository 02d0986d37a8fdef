//! Ten thousand strangers claim a name: whom it means does not change, and they are not read.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::collections::BTreeMap;

use ggen_protocols::id::NetworkId;
use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::record::{Body, Publish, Record, Signed, Verified};
use ggen_protocols::trust::Anchor;
use ggen_protocols::view::{Mode, Why};

use super::*;
use crate::crypto::{PrivateKey, StrictSignatures};
use crate::registry::local::{LocalRegistry, OpenOptions};
use crate::registry::policy::Decision;
use crate::registry::{Catalogue, Choices};

const STRANGERS: u32 = 10_000;

fn key(number: u32) -> PrivateKey {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    PrivateKey::from_seed(seed)
}

fn owner(number: u32) -> OwnerId {
    OwnerId::of_key(NetworkId::main(), key(number).public())
}

fn claim(number: u32) -> Verified<Record> {
    let (key, network) = (key(number), NetworkId::main());
    let mut metadata = PackageMetadata::new("http@1.0.0".parse().unwrap());
    let content = number.to_be_bytes();
    metadata.checksums.blake3 = Some(ggen_protocols::hash::ContentHash::blake3(content));
    metadata.checksums.sha256 = Some(ggen_protocols::hash::ContentHash::sha256(content));
    metadata.checksums.size = Some(4);
    let record = Record {
        owner: Some(OwnerId::of_key(network, key.public())),
        seq: 1,
        previous: None,
        time_ms: 1_700_000_000_000,
        body: Body::Publish(Box::new(Publish::from_metadata(&metadata).unwrap())),
    };
    let draft = record.draft(network, key.public()).unwrap();
    let signed = Signed::from_envelope(key.seal(draft)).unwrap();
    signed.verify(&StrictSignatures, network).unwrap()
}

/// Counts how many claims are looked at.
struct Counting<'a, C>(&'a C, Cell<usize>);

impl<C: Claims> Claims for Counting<'_, C> {
    type Error = C::Error;

    fn has(&self, owner: OwnerId) -> Result<bool, C::Error> {
        self.1.set(self.1.get() + 1);
        self.0.has(owner)
    }

    fn some(&self, limit: usize) -> Result<Vec<OwnerId>, C::Error> {
        let some = self.0.some(limit)?;
        self.1.set(self.1.get() + some.len());
        Ok(some)
    }
}

/// What the name means to somebody, and how many claims were looked at.
fn resolved(claims: &impl Claims<Error = Unread>, local: Local<'_>) -> (View, usize) {
    let counting = Counting(claims, Cell::new(0));
    let view = view::resolve(local, &counting).unwrap();
    (view, counting.1.get())
}

#[tokio::test]
async fn ten_thousand_strangers_change_no_name_and_are_not_read() {
    let home = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        own: vec![owner(1)],
        ..OpenOptions::default()
    };
    let registry = LocalRegistry::open(home.path().join("catalogue.redb"), options);
    let registry = registry.await.unwrap();
    let strangers: Vec<_> = (10..10 + STRANGERS).map(claim).collect();
    registry.admit(strangers).await.unwrap();
    registry
        .admit(vec![claim(1), claim(2), claim(3)])
        .await
        .unwrap();
    let anchor = Anchor {
        weight: 3,
        depth: 1,
    };
    registry
        .decide(Decision::Anchor(owner(2), anchor))
        .await
        .unwrap();

    let found = registry.view(|stored| {
        let name = "http".parse().unwrap();
        let viewer = Viewer::default();
        let claims = NameClaims {
            snapshot: stored,
            viewer: &viewer,
            name: &name,
            label: None,
        };
        let nobody = BTreeMap::new();
        let trusted = viewer.reach(stored)?;
        let own = [owner(1)];
        let stranger = Local {
            pin: None,
            own: &[],
            scores: &nobody,
            mode: Mode::Tofu,
        };
        let pinned = Local {
            pin: Some(owner(3)),
            ..stranger
        };
        let own = Local {
            own: &own,
            ..stranger
        };
        let trusting = Local {
            scores: &trusted.scores,
            ..stranger
        };
        let locals = [pinned, own, trusting, stranger];
        let shown = claimants_of(&claims, &trusted, SHOWN_MAX)?;
        Ok((locals.map(|local| resolved(&claims, local)), shown))
    });
    let (found, shown) = found.await.unwrap();
    assert_eq!(
        found,
        [
            (View::Owner(owner(3), Why::Pin), 1),
            (View::Owner(owner(1), Why::Own), 1),
            (View::Owner(owner(2), Why::Trusted), 1),
            (View::Contested, 2),
        ]
    );
    let looked = limits::CLAIMANTS_MAX as u64;
    assert!(shown.is_more && (looked..=looked + 1).contains(&shown.total));
    assert_eq!(
        (shown.shown.len(), shown.shown[0].owner),
        (SHOWN_MAX, owner(2))
    );

    // The same by the registry itself: its own owner, then a pin.
    let name = "http".parse().unwrap();
    assert_eq!(registry.owner_of(None, &name).await.unwrap(), owner(1));
    registry
        .decide(Decision::PinName(name.clone(), owner(3)))
        .await
        .unwrap();
    assert_eq!(registry.owner_of(None, &name).await.unwrap(), owner(3));
}

#[tokio::test]
async fn an_owner_with_very_many_packages_is_told_of_in_full() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let registry = LocalRegistry::open(&path, OpenOptions::default())
        .await
        .unwrap();
    let mut author = crate::testing::registry::Author::new(9);
    let count = 4096 + 10;
    let records: Vec<_> = (0..count)
        .map(|at| author.publish(&format!("p{at}@1.0.0"), "x"))
        .collect();
    registry.admit(records).await.unwrap();
    let before = *registry.position().borrow();
    let block = Decision::Block(author.owner(), String::new());
    registry.decide(block).await.unwrap();
    let changes = registry.changes(before, 10_000).await.unwrap();
    let told: std::collections::BTreeSet<_> =
        changes.iter().map(|change| &change.package).collect();
    assert_eq!((changes.len(), told.len()), (count, count));
    assert_eq!(registry.audit().await.unwrap().findings, [""; 0]);
}

#[tokio::test]
async fn a_label_that_very_many_bear_is_looked_up_in_bounded_work() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let registry = LocalRegistry::open(&path, OpenOptions::default());
    let registry = registry.await.unwrap();
    let bearer = |number: u32| {
        let mut seed = [0xff; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let mut author = crate::testing::registry::Author::from_seed(seed);
        let founded = author.found("acme", None);
        let owner = founded.namespace().unwrap();
        [founded, author.publish_in(owner, "http@1.0.0", "x")]
    };
    let many = limits::CLAIMANTS_MAX as u32 + 10;
    let claims: Vec<_> = (0..many).flat_map(bearer).collect();
    let owners = claims.iter().map(|claim| claim.namespace().unwrap());
    let last = owners.max().unwrap();
    registry.admit(claims).await.unwrap();

    let http: CanonicalName = "http".parse().unwrap();
    let looked = limits::CLAIMANTS_MAX as u64;
    for (label, total) in [("acme", looked), ("other", 0)] {
        let claimants = registry.claimants(Some(label), &http, 3).await.unwrap();
        assert_eq!((claimants.total, claimants.is_more), (total, true));
        let meant = registry.owner_of(Some(label), &http).await;
        let Err(crate::Error::Registry(RegistryError::Contested(contested))) = meant else {
            panic!("{meant:?}");
        };
        assert_eq!(contested.claimants.total, total);
    }
    // Whom the user relies on is found among any number, and told of first.
    let anchor = Anchor {
        weight: 3,
        depth: 0,
    };
    registry
        .decide(Decision::Anchor(last, anchor))
        .await
        .unwrap();
    let meant = registry.owner_of(Some("acme"), &http).await.unwrap();
    assert_eq!(meant, last);
    let claimants = registry.claimants(Some("acme"), &http, 3).await.unwrap();
    assert_eq!(
        (claimants.total, claimants.shown[0].owner),
        (looked + 1, last)
    );
    assert_eq!(registry.audit().await.unwrap().findings, [""; 0]);
}
