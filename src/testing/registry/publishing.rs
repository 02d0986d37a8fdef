//! Registering, yanking, and what a registry's own user may not do.

use std::sync::Arc;

use chrono::DateTime;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::RecordId;
use ggen_protocols::metadata::{Checksums, Proof};
use ggen_protocols::record::FeedHead;

use super::{Author, assert_refused, id, metadata, name, texts, with_identity};
use crate::registry::local::OpenOptions;
use crate::registry::{Admission, Catalogue, RegistryError, Standing};

pub(super) async fn suite(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>) {
    what_was_registered_is_got_back(&*make(with_identity()).await).await;
    a_label_that_nobody_has_becomes_the_registrys_own(&*make(with_identity()).await).await;
    a_version_is_never_replaced(&*make(with_identity()).await).await;
    nothing_is_published_in_the_name_of_others(&*make(with_identity()).await).await;
    what_no_record_can_carry_is_not_registered(&*make(with_identity()).await).await;
    a_registry_without_a_key_signs_nothing(&*make(OpenOptions::default()).await).await;
    a_yank_hides_until_it_is_taken_back(&*make(with_identity()).await).await;
    a_yank_passes_every_revision_seen(&*make(with_identity()).await).await;
    only_the_owner_yanks(&*make(with_identity()).await).await;
    records_of_a_user_continue_their_feed(&*make(OpenOptions::default()).await).await;
    a_full_namespace_takes_no_more(make).await;
    registrations_at_once_make_one_feed(make(with_identity()).await).await;
}

async fn what_was_registered_is_got_back(registry: &dyn Catalogue) {
    let mut declared = metadata("Web_Framework@1.0.0+build");
    declared.signature.proof = Proof::Metadata(b"made up".as_slice().into());
    declared.published_at = DateTime::UNIX_EPOCH;
    declared.checksums.size = Some(5);
    let content = ContentHash::sha256("content");
    let returned = registry.register(&declared, content).await.unwrap();
    assert_eq!(returned, declared.id);

    let got = registry.get(&id("web-framework@1.0.0")).await.unwrap();
    assert_eq!(got.id, declared.id);
    assert_eq!(
        (got.description, got.authors),
        (declared.description, declared.authors)
    );
    let only_given = Checksums {
        sha256: Some(content),
        ..Checksums::default()
    };
    assert_eq!(got.checksums, only_given);
    assert_eq!(got.signature.key.0, Author::new(0).key());
    let Proof::Record(envelope) = got.signature.proof else {
        panic!("the proof is the record");
    };
    let change = &registry.changes(0, 10).await.unwrap()[0];
    let held = registry.envelopes(vec![change.record]).await.unwrap();
    assert_eq!(held, [Some(envelope)]);
    assert!(got.published_at > DateTime::UNIX_EPOCH);
    assert_eq!(registry.audit().await.unwrap().findings, [""; 0]);
}

async fn a_label_that_nobody_has_becomes_the_registrys_own(registry: &dyn Catalogue) {
    let acme = metadata("acme/http@1.0.0");
    let content = ContentHash::blake3("content");
    let returned = registry.register(&acme, content).await.unwrap();
    assert_eq!(returned.to_string(), "acme/http@1.0.0");
    let me = Author::new(0).owner();
    let owner = registry.owner_of(Some("acme"), &name("http")).await;
    assert_eq!(owner.unwrap(), me);
    for spelled in ["acme/http@1.0.0", "http@1.0.0", &format!("{me}/http@1.0.0")] {
        let got = registry.get(&id(spelled)).await.unwrap();
        assert_eq!(got.id, id(spelled));
    }
    assert_refused!(
        registry.get(&id("other/http@1.0.0")).await,
        RegistryError::NotFound(_)
    );
}

async fn a_version_is_never_replaced(registry: &dyn Catalogue) {
    let content = ContentHash::blake3("content");
    let first = metadata("a-b@1.0.0");
    registry.register(&first, content).await.unwrap();
    let root = registry.root().await.unwrap();
    assert_eq!(registry.register(&first, content).await.unwrap(), first.id);
    let other = ContentHash::blake3("other");
    assert_refused!(
        registry.register(&first, other).await,
        RegistryError::Conflict { .. }
    );
    let mut reworded = first.clone();
    reworded.description.push('!');
    assert_refused!(
        registry.register(&reworded, content).await,
        RegistryError::Conflict { .. }
    );
    assert_refused!(
        registry.register(&metadata("a-b@1.0.0+x"), content).await,
        RegistryError::Conflict { .. }
    );
    assert_refused!(
        registry.register(&metadata("A_b@1.1.0"), content).await,
        RegistryError::Spelling { .. }
    );
    assert_eq!(registry.root().await.unwrap(), root, "nothing was added");
}

async fn nothing_is_published_in_the_name_of_others(registry: &dyn Catalogue) {
    let mut stranger = Author::new(9);
    let theirs = stranger.publish("http@1.0.0", "theirs");
    registry.admit(vec![theirs]).await.unwrap();
    let content = ContentHash::blake3("content");
    let explicit = format!("{}/new@1.0.0", stranger.owner());
    for taken in ["http@2.0.0", &explicit] {
        assert_refused!(
            registry.register(&metadata(taken), content).await,
            RegistryError::Unauthorized(_)
        );
    }
    let me = Author::new(0).owner();
    let mine = metadata(&format!("{me}/http@2.0.0"));
    registry.register(&mine, content).await.unwrap();
    let bare = registry.owner_of(None, &name("http")).await.unwrap();
    assert_eq!(bare, me, "a bare name means the own one first");
    let bare = metadata("http@2.1.0");
    registry.register(&bare, content).await.unwrap();
}

async fn what_no_record_can_carry_is_not_registered(registry: &dyn Catalogue) {
    let content = ContentHash::blake3("content");
    let mut wordy = metadata("a@1.0.0");
    wordy.description = "x".repeat(1001);
    let mut nameless = metadata("a@1.0.0");
    nameless.id.name = "no name".to_owned();
    let labelled = |label: &str| {
        let mut metadata = metadata("a@1.0.0");
        metadata.id.namespace = Some(label.to_owned());
        metadata
    };
    for wrong in [wordy, nameless, labelled("Acme"), labelled("ns1x")] {
        assert_refused!(
            registry.register(&wrong, content).await,
            RegistryError::Validation(_)
        );
    }
    assert_eq!(registry.totals().await.unwrap().records, 0);
}

async fn a_registry_without_a_key_signs_nothing(registry: &dyn Catalogue) {
    let content = ContentHash::blake3("content");
    assert_refused!(
        registry.register(&metadata("a@1.0.0"), content).await,
        RegistryError::Unauthorized(_)
    );
    let published = Author::new(1).publish("a@1.0.0", "x");
    registry.admit(vec![published]).await.unwrap();
    assert_refused!(
        registry.yank(&id("a@1.0.0"), None).await,
        RegistryError::Unauthorized(_)
    );
    assert_refused!(
        registry.unyank(&id("a@1.0.0")).await,
        RegistryError::Unauthorized(_)
    );
}

async fn a_yank_hides_until_it_is_taken_back(registry: &dyn Catalogue) {
    for version in ["a@1.0.0", "a@1.1.0"] {
        let content = ContentHash::blake3(version);
        registry
            .register(&metadata(version), content)
            .await
            .unwrap();
    }
    let any = "*".parse().unwrap();
    let best = async || {
        let best = registry.resolve_version("a", &any).await.unwrap();
        best.map(|id| id.version.to_string())
    };
    let newest = id("a@1.1.0");
    assert!(!registry.is_yanked(&newest).await.unwrap());
    assert_eq!(best().await.as_deref(), Some("1.1.0"));

    registry.yank(&newest, Some("it leaks")).await.unwrap();
    assert!(registry.is_yanked(&newest).await.unwrap());
    assert_eq!(best().await.as_deref(), Some("1.0.0"));
    assert!(
        registry.get(&newest).await.is_ok(),
        "its exact id still works"
    );
    let owner = Author::new(0).owner();
    let releases = registry.releases(owner, &name("a")).await.unwrap();
    let last = releases.last().unwrap();
    assert_eq!((last.yanked, last.note.as_str()), (true, "it leaks"));
    assert!(!last.is_offered());
    let state = last.state.as_ref().unwrap();
    assert_eq!((state.revision, state.yanked), (1, true));
    assert_eq!(releases[0].state, None, "it was never set");
    let records = registry.totals().await.unwrap().records;
    registry.yank(&newest, None).await.unwrap();
    assert_eq!(
        registry.totals().await.unwrap().records,
        records,
        "it says nothing new"
    );

    registry.yank(&id("a@1.0.0"), None).await.unwrap();
    assert_eq!(best().await, None);
    let versions = registry.list_versions("a", None).await.unwrap();
    assert_eq!(texts(versions), ["1.0.0", "1.1.0"]);
    registry.unyank(&newest).await.unwrap();
    assert!(!registry.is_yanked(&newest).await.unwrap());
    assert_eq!(best().await.as_deref(), Some("1.1.0"));
    assert_refused!(
        registry.yank(&id("a@9.9.9"), None).await,
        RegistryError::NotFound(_)
    );
    assert_refused!(
        registry.is_yanked(&id("b@1.0.0")).await,
        RegistryError::NotFound(_)
    );
}

async fn a_yank_passes_every_revision_seen(registry: &dyn Catalogue) {
    // The same key on another device took a yank back for the 41st time.
    let mut elsewhere = Author::new(0);
    let records = vec![
        elsewhere.publish("a@1.0.0", "x"),
        elsewhere.yank("a@1.0.0", 41, false),
    ];
    registry.admit(records).await.unwrap();
    registry.yank(&id("a@1.0.0"), None).await.unwrap();
    assert!(registry.is_yanked(&id("a@1.0.0")).await.unwrap());
    let head = registry
        .feed_head(elsewhere.owner(), elsewhere.key())
        .await
        .unwrap();
    assert_eq!(head.seq, 3, "it continues the feed");
    assert!(registry.forked(elsewhere.owner()).await.unwrap().is_empty());
}

async fn only_the_owner_yanks(registry: &dyn Catalogue) {
    let theirs = Author::new(9).publish("a@1.0.0", "x");
    registry.admit(vec![theirs]).await.unwrap();
    assert_refused!(
        registry.yank(&id("a@1.0.0"), None).await,
        RegistryError::Unauthorized(_)
    );
    assert!(!registry.is_yanked(&id("a@1.0.0")).await.unwrap());
}

async fn records_of_a_user_continue_their_feed(registry: &dyn Catalogue) {
    let mut user = Author::new(5);
    let start = user.head;
    let first = user.publish("a@1.0.0", "x");
    let added = registry.admit_own(first.clone()).await.unwrap();
    assert_eq!(added, Admission::New);
    assert_eq!(registry.admit_own(first).await.unwrap(), Admission::Known);

    let mut late = Author {
        head: start,
        ..user.clone()
    };
    assert_refused!(
        registry.admit_own(late.publish("b@1.0.0", "x")).await,
        RegistryError::Stale
    );
    late.head = FeedHead {
        last: Some(RecordId::from_bytes([7; 32])),
        ..user.head
    };
    assert_refused!(
        registry.admit_own(late.publish("b@1.0.0", "x")).await,
        RegistryError::Stale
    );
    late.head = start;
    late.time_ms += 1;
    let same = late.publish("a@1.0.0", "x");
    assert_eq!(
        registry.admit_own(same).await.unwrap(),
        Admission::Known,
        "the same content is published already"
    );
    let other = user.clone().publish("a@1.0.0", "other");
    assert_refused!(
        registry.admit_own(other).await,
        RegistryError::Conflict { .. }
    );
    let spelled = user.clone().publish("A@1.1.0", "x");
    assert_refused!(
        registry.admit_own(spelled).await,
        RegistryError::Spelling { .. }
    );
    let stranger = Author::new(6).owner();
    let publish = user.clone().publish("c@1.0.0", "x").content().body.clone();
    let intruding = user.clone().write_in(stranger, publish);
    assert_refused!(
        registry.admit_own(intruding).await,
        RegistryError::Unauthorized(_)
    );
    let next = user.publish("a@1.1.0", "x");
    assert_eq!(registry.admit_own(next).await.unwrap(), Admission::New);
    let releases = registry.releases(user.owner(), &name("a")).await.unwrap();
    assert_eq!(releases.len(), 2);
    assert!(
        releases
            .iter()
            .all(|release| release.standing == Standing::Published)
    );
}

async fn a_full_namespace_takes_no_more(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>) {
    let registry = make(OpenOptions {
        owner_records_max: 1,
        ..with_identity()
    })
    .await;
    let content = ContentHash::blake3("x");
    registry
        .register(&metadata("a@1.0.0"), content)
        .await
        .unwrap();
    let root = registry.root().await.unwrap();
    assert_refused!(
        registry.register(&metadata("a@1.1.0"), content).await,
        RegistryError::Validation(_)
    );
    assert_eq!(registry.root().await.unwrap(), root);
}

async fn registrations_at_once_make_one_feed(registry: Arc<dyn Catalogue>) {
    let register = |n: u32| {
        let registry = registry.clone();
        async move {
            let metadata = metadata(&format!("a@1.{n}.0"));
            let content = ContentHash::blake3(n.to_be_bytes());
            registry.register(&metadata, content).await.unwrap();
        }
    };
    futures::future::join_all((0..20).map(register)).await;
    let me = Author::new(0);
    let head = registry.feed_head(me.owner(), me.key()).await.unwrap();
    assert_eq!(head.seq, 20);
    assert!(registry.forked(me.owner()).await.unwrap().is_empty());
}
