//! The verifier and its trust in memory: the contracts, and what others say of a key.

use std::sync::Arc;

use ggen_marketplace::crypto::{
    CryptoVerifier, Ed25519CryptoVerifier, Identity, MemoryTrust, PrivateKey, PublicKey,
    TrustLevel, TrustPath, TrustStore,
};
use ggen_marketplace::registry::Catalogue;
use ggen_marketplace::registry::local::{LocalRegistry, OpenOptions};
use ggen_marketplace::testing;
use ggen_protocols::id::{NetworkId, OwnerId};
use ggen_protocols::trust::{Anchor, Level};

fn key(seed: u8) -> PublicKey {
    PrivateKey::from_seed([seed; 32]).public()
}

fn owner(seed: u8) -> OwnerId {
    OwnerId::of_key(NetworkId::main(), key(seed))
}

fn memory() -> Arc<MemoryTrust> {
    Arc::new(MemoryTrust::new(NetworkId::main()))
}

#[tokio::test]
async fn the_verifier_keeps_its_contract() {
    testing::crypto::suite(|| Arc::new(Ed25519CryptoVerifier::new())).await;
}

#[tokio::test]
async fn trust_in_memory_keeps_its_contract() {
    testing::crypto::trust_store_suite(&*memory()).await;
}

#[tokio::test]
async fn trust_in_a_catalogue_keeps_its_contract() {
    let home = tempfile::tempdir().unwrap();
    let open = || LocalRegistry::open(home.path().join("c.redb"), OpenOptions::default());
    let registry = open().await.unwrap();
    testing::crypto::trust_store_suite(&registry).await;
    drop(registry);
    let again = open().await.unwrap();
    let reason = again.revocation(&key(1)).await.unwrap();
    assert_eq!(reason.as_deref(), Some("stolen"), "it is persisted");
}

#[tokio::test]
async fn a_verifier_on_a_catalogue_spells_out_the_paths() {
    let home = tempfile::tempdir().unwrap();
    let registry = LocalRegistry::open(home.path().join("c.redb"), OpenOptions::default()).await;
    let registry = Arc::new(registry.unwrap());
    let [mut alice, mut bob, carol] = [1, 2, 3].map(testing::registry::Author::new);
    let vouching = vec![
        alice.endorse(bob.owner(), Level::Full),
        bob.endorse(carol.owner(), Level::Partial),
    ];
    registry.admit(vouching).await.unwrap();
    let verifier = Ed25519CryptoVerifier::with_trust(registry.clone());
    let deep = Anchor {
        weight: 3,
        depth: 2,
    };
    registry
        .set_anchor(alice.owner(), Some(deep))
        .await
        .unwrap();
    let trust = verifier.verify_trust(&carol.key()).await.unwrap();
    assert_eq!((trust.score, trust.is_trusted), (1, false));
    let path = TrustPath {
        anchor: alice.owner(),
        through: vec![bob.owner()],
        weight: 1,
    };
    assert_eq!(trust.paths, [path]);
    verifier.revoke_key(&bob.key(), "stolen").await.unwrap();
    let trust = verifier.verify_trust(&carol.key()).await.unwrap();
    assert_eq!((trust.score, trust.paths), (0, Vec::new()));
    assert!(verifier.is_revoked(&bob.key()).await.unwrap());
}

#[tokio::test]
async fn a_record_of_another_network_proves_nothing() {
    let verifier = Ed25519CryptoVerifier::new();
    let record = testing::registry::Author::new(1).publish("http@1.0.0", "x");
    let ggen_protocols::record::Body::Publish(publish) = &record.content().body else {
        panic!("it publishes");
    };
    let metadata = publish.to_metadata(None, &record);
    let signature = metadata.signature.clone();
    assert!(
        verifier
            .verify_signature(&metadata, &signature)
            .await
            .unwrap()
            .is_valid
    );
    let elsewhere = verifier.in_network(NetworkId::named("test"));
    let result = elsewhere
        .verify_signature(&metadata, &signature)
        .await
        .unwrap();
    assert!(!result.is_valid && result.reason.unwrap().contains("signature"));
}

#[tokio::test]
async fn trust_goes_by_those_who_vouch() {
    let trust = memory();
    let verifier = Ed25519CryptoVerifier::with_trust(trust.clone());
    verifier
        .add_trusted_key(&key(1), TrustLevel::Full)
        .await
        .unwrap();
    trust.endorse(owner(1), owner(2), Level::Full, 0);
    let result = verifier.verify_trust(&key(2)).await.unwrap();
    assert_eq!((result.is_trusted, result.level), (true, TrustLevel::Full));
    let path = TrustPath {
        anchor: owner(1),
        through: vec![],
        weight: 3,
    };
    assert_eq!(result.paths, [path]);

    trust.endorse(owner(1), owner(3), Level::Partial, 0);
    let result = verifier.verify_trust(&key(3)).await.unwrap();
    assert_eq!((result.score, result.level), (1, TrustLevel::Marginal));

    verifier
        .add_trusted_key(&key(1), TrustLevel::Ultimate)
        .await
        .unwrap();
    trust.endorse(owner(1), owner(2), Level::Full, 1);
    trust.endorse(owner(2), owner(4), Level::Full, 0);
    let result = verifier.verify_trust(&key(4)).await.unwrap();
    let path = TrustPath {
        anchor: owner(1),
        through: vec![owner(2)],
        weight: 3,
    };
    assert_eq!(result.paths, [path]);

    trust.endorse(owner(1), owner(4), Level::Distrust, 0);
    let result = verifier.verify_trust(&key(4)).await.unwrap();
    assert_eq!((result.score, result.level), (0, TrustLevel::Distrusted));
    assert_eq!(result.vetoed_by, Some(owner(1)));
    assert_eq!(result.blocked, None);
}

#[tokio::test]
async fn the_namespace_is_trusted_and_not_its_key() {
    let trust = memory();
    let verifier = Ed25519CryptoVerifier::with_trust(trust.clone());
    let team = OwnerId::from_bytes([9; 32]);
    trust.list(
        key(1),
        Identity {
            owner: team,
            is_root: true,
        },
    );
    trust.list(
        key(2),
        Identity {
            owner: team,
            is_root: false,
        },
    );
    verifier
        .add_trusted_key(&key(1), TrustLevel::Full)
        .await
        .unwrap();
    for seed in [1, 2] {
        let result = verifier.verify_trust(&key(seed)).await.unwrap();
        assert!(result.is_trusted, "{result:?}");
        assert_eq!(
            result.identities,
            [team, owner(seed)],
            "the trusted one comes first"
        );
    }
    assert_eq!(trust.trust(owner(1)).await.unwrap().score, 0);
    // Naming a publisher does not name the team that lists it.
    let other = memory();
    let verifier = Ed25519CryptoVerifier::with_trust(other.clone());
    other.list(
        key(2),
        Identity {
            owner: team,
            is_root: false,
        },
    );
    verifier
        .add_trusted_key(&key(2), TrustLevel::Full)
        .await
        .unwrap();
    assert_eq!(other.trust(team).await.unwrap().score, 0);
    assert_eq!(other.trust(owner(2)).await.unwrap().score, 3);
}

#[tokio::test]
async fn who_lists_a_key_cannot_harm_it() {
    let trust = memory();
    let verifier = Ed25519CryptoVerifier::with_trust(trust.clone());
    verifier
        .add_trusted_key(&key(1), TrustLevel::Full)
        .await
        .unwrap();
    trust.list(
        key(1),
        Identity {
            owner: owner(2),
            is_root: false,
        },
    );
    trust.block(owner(2), "spam").await.unwrap();
    let result = verifier.verify_trust(&key(1)).await.unwrap();
    assert!(result.is_trusted, "{result:?}");
    // Where nothing speaks for the key, the block is told.
    trust.set_anchor(owner(1), None::<Anchor>).await.unwrap();
    trust.block(owner(1), "spam too").await.unwrap();
    let result = verifier.verify_trust(&key(1)).await.unwrap();
    assert_eq!(result.level, TrustLevel::Distrusted);
    assert_eq!(result.blocked.as_deref(), Some("spam too"));
}
