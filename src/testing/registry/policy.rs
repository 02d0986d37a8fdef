//! The contract of `Choices`: what names mean, whose word counts, and what stays of what was used.

use std::sync::Arc;

use ggen_protocols::id::{OwnerId, RecordId, ReleaseKey};
use ggen_protocols::owner::{Mark, NamespaceDocument};
use ggen_protocols::record::{Body, Record, State, Verified};
use ggen_protocols::trust::{Anchor, FULL, Level, PARTIAL};
use ggen_protocols::view::Mode;

use super::{Author, assert_refused, id, name, refused, texts, with_identity};
use crate::registry::evidence::{Evidence, Kind, Question};
use crate::registry::local::OpenOptions;
use crate::registry::policy::{Decision, OwnerStatus};
use crate::registry::{Catalogue, Choices, RegistryError, Release, Standing};

/// One registry, by both of its traits.
type Both = (Arc<dyn Catalogue>, Arc<dyn Choices>);

/// Checks every promise on registries that `make` opens, empty and with these options.
///
/// # Panics
/// If a promise is broken.
pub async fn suite(make: impl AsyncFn(OpenOptions) -> Both) {
    a_name_means_pin_own_trusted_or_sole_claimant(&make(with_identity()).await).await;
    a_label_means_its_pin_or_who_bears_it(&make(OpenOptions::default()).await).await;
    what_is_decided_is_counted(&make(with_identity()).await).await;
    only_use_and_decisions_pin(&make(OpenOptions::default()).await).await;
    no_pin_comes_of_an_owner_id(&make(OpenOptions::default()).await).await;
    decisions_are_made_as_a_whole(&make(with_identity()).await).await;
    trust_comes_over_anchors(&make(OpenOptions::default()).await).await;
    a_veto_hides_what_was_not_used(&make(OpenOptions::default()).await).await;
    a_blocked_key_hides_what_it_signed(&make(OpenOptions::default()).await).await;
    a_conflict_leaves_users_their_content(&make(OpenOptions::default()).await).await;
    a_frozen_owner_leaves_users_their_content(&make(OpenOptions::default()).await).await;
    what_is_taken_back_is_no_claim(&make(OpenOptions::default()).await).await;
    what_contradicts_itself_is_evidence(&make(OpenOptions::default()).await).await;
}

const ANCHOR: Anchor = Anchor {
    weight: FULL,
    depth: 1,
};

async fn meaning(catalogue: &dyn Catalogue, text: &str) -> Option<OwnerId> {
    match catalogue.owner_of(None, &name(text)).await {
        Ok(owner) => Some(owner),
        error => {
            assert_refused!(error, RegistryError::Contested(_));
            None
        }
    }
}

async fn release(catalogue: &dyn Catalogue, record: &Verified<Record>) -> Option<Release> {
    let key = key(record);
    let releases = catalogue.releases(key.owner, &key.name).await.unwrap();
    releases.into_iter().find(|release| release.key == key)
}

fn key(record: &Verified<Record>) -> ReleaseKey {
    let Body::Publish(publish) = &record.content().body else {
        panic!("publishes nothing");
    };
    publish.key(record.content().owner.unwrap())
}

fn document(author: &Author) -> NamespaceDocument {
    NamespaceDocument {
        mark: Mark::Reason(String::new()),
        ..NamespaceDocument::implicit(author.key())
    }
}

/// Signs a document that continues `parent`, or the founding of the author's bare key.
fn continued(
    author: &Author,
    parent: Option<&Verified<Record>>,
    document: NamespaceDocument,
) -> Verified<Record> {
    let mut author = author.clone();
    let founding = RecordId::from_bytes(*author.owner().as_bytes());
    author.head.seq = parent.map_or(0, |record| record.content().seq);
    author.head.last = Some(parent.map_or(founding, Verified::id));
    author.time_ms = 0;
    author.write(Body::Acl(Box::new(document)))
}

async fn a_name_means_pin_own_trusted_or_sole_claimant((catalogue, choices): &Both) {
    let (mut me, mut alice, mut bob) = (Author::new(0), Author::new(1), Author::new(2));
    let records = vec![
        alice.publish("http@1.0.0", "a"),
        alice.publish("x@1.0.0", "a"),
    ];
    catalogue.admit(records).await.unwrap();
    assert_eq!(meaning(&**catalogue, "http").await, Some(alice.owner()));
    choices.decide(Decision::Mode(Mode::Strict)).await.unwrap();
    let error = catalogue.owner_of(None, &name("http")).await.unwrap_err();
    assert!(
        error.to_string().contains("claimed by one owner"),
        "{error}"
    );
    choices.decide(Decision::Mode(Mode::Tofu)).await.unwrap();

    let records = vec![bob.publish("HTTP@1.0.0", "b")];
    catalogue.admit(records).await.unwrap();
    let error = refused(catalogue.owner_of(None, &name("http")).await).to_string();
    assert!(
        error.starts_with("`http` is claimed by 2 owners here and none is trusted\n"),
        "{error}"
    );
    for (at, owner) in [alice.owner(), bob.owner()].iter().enumerate() {
        let line = error
            .lines()
            .find(|line| line.ends_with(&format!("market use http {owner}")));
        assert!(
            line.is_some_and(|line| line.contains(&owner.short())),
            "{at}: {error}"
        );
    }
    choices
        .decide(Decision::Anchor(bob.owner(), ANCHOR))
        .await
        .unwrap();
    assert_eq!(meaning(&**catalogue, "http").await, Some(bob.owner()));
    choices
        .decide(Decision::Anchor(alice.owner(), ANCHOR))
        .await
        .unwrap();
    let error = refused(catalogue.owner_of(None, &name("http")).await).to_string();
    assert!(error.contains("2 of them are trusted"), "{error}");
    catalogue
        .admit(vec![me.publish("http@1.0.0", "me")])
        .await
        .unwrap();
    assert_eq!(meaning(&**catalogue, "http").await, Some(me.owner()));
    let pin = |owner| Decision::PinName(name("http"), owner);
    choices.decide(pin(alice.owner())).await.unwrap();
    assert_eq!(meaning(&**catalogue, "http").await, Some(alice.owner()));

    // A pin that publishes nothing means nobody, and no other.
    let carol = Author::new(3).owner();
    choices.decide(pin(carol)).await.unwrap();
    let error = refused(catalogue.owner_of(None, &name("http")).await);
    assert!(matches!(&error, RegistryError::NotFound(_)), "{error:?}");
    assert!(
        error.to_string().contains("market use --remove http"),
        "{error}"
    );
    choices
        .decide(Decision::UnpinName(name("http")))
        .await
        .unwrap();
    assert_eq!(meaning(&**catalogue, "http").await, Some(me.owner()));
    let bobs = bob.owner().to_string();
    let exact = catalogue.owner_of(Some(&bobs), &name("http")).await;
    assert_eq!(exact.unwrap(), bob.owner());
}

async fn a_label_means_its_pin_or_who_bears_it((catalogue, choices): &Both) {
    let (mut alice, mut bob, mut carol) = (Author::new(1), Author::new(2), Author::new(3));
    let labelled = |author: &Author| {
        let label = "acme".to_owned();
        let document = document(author);
        continued(author, None, NamespaceDocument { label, ..document })
    };
    let mut records = vec![labelled(&alice)];
    for author in [&mut alice, &mut bob, &mut carol] {
        records.push(author.publish("http@1.0.0", "x"));
    }
    catalogue.admit(records).await.unwrap();
    let acme = async || catalogue.owner_of(Some("acme"), &name("http")).await;
    assert_eq!(acme().await.unwrap(), alice.owner());
    let other = catalogue.owner_of(Some("other"), &name("http")).await;
    assert_refused!(other, RegistryError::NotFound(_));

    catalogue.admit(vec![labelled(&bob)]).await.unwrap();
    let error = refused(acme().await).to_string();
    let command = format!("market use acme/http {}", bob.owner());
    assert!(
        error.contains("2 owners") && error.contains(&command),
        "{error}"
    );
    let label = || "acme".parse().unwrap();
    let pin = Decision::PinLabel(label(), carol.owner());
    choices.decide(pin).await.unwrap();
    assert_eq!(acme().await.unwrap(), carol.owner());
    choices.decide(Decision::UnpinLabel(label())).await.unwrap();
    choices
        .decide(Decision::Anchor(bob.owner(), ANCHOR))
        .await
        .unwrap();
    assert_eq!(acme().await.unwrap(), bob.owner());
}

async fn what_is_decided_is_counted((catalogue, choices): &Both) {
    let mut alice = Author::new(1);
    let record = alice.publish("http@1.0.0", "a");
    let mut last = choices.decisions().count();
    catalogue.admit(vec![record.clone()]).await.unwrap();
    assert_eq!(
        choices.decisions().count(),
        last,
        "a record decides nothing"
    );
    let mut is_other = |what: &str| {
        let now = choices.decisions().count();
        assert_ne!(now, last, "{what}");
        last = now;
    };
    let release = key(&record);
    for namespace in [
        Some(alice.owner().to_string()),
        Some("acme".to_owned()),
        None,
    ] {
        let used = choices.used(namespace.as_deref(), &release, record.id());
        used.await.unwrap();
        is_other("a use that pins");
    }
    choices.decide(Decision::Mode(Mode::Strict)).await.unwrap();
    is_other("a decision");
    choices.write_as(vec![alice.owner()]).await.unwrap();
    is_other("another owner to write as");
}

async fn only_use_and_decisions_pin((catalogue, choices): &Both) {
    let (mut alice, mut bob) = (Author::new(1), Author::new(2));
    let record = alice.publish("http@1.0.0", "a");
    catalogue.admit(vec![record.clone()]).await.unwrap();
    assert!(!release(&**catalogue, &record).await.unwrap().pinned);
    assert_eq!(choices.policy().await.unwrap(), Default::default());
    choices
        .used(None, &key(&record), record.id())
        .await
        .unwrap();
    catalogue
        .admit(vec![bob.publish("http@1.0.0", "b")])
        .await
        .unwrap();
    assert_eq!(meaning(&**catalogue, "http").await, Some(alice.owner()));
    assert!(release(&**catalogue, &record).await.unwrap().pinned);
    assert!(
        choices
            .trust(alice.owner(), Some(&name("http")))
            .await
            .unwrap()
            .pinned
    );
    let later = bob.publish("http@2.0.0", "b");
    choices.used(None, &key(&later), later.id()).await.unwrap();
    assert_eq!(
        meaning(&**catalogue, "http").await,
        Some(alice.owner()),
        "a pin stays"
    );
}

async fn no_pin_comes_of_an_owner_id((catalogue, choices): &Both) {
    let mut alice = Author::new(1);
    let record = alice.publish("http@1.0.0", "a");
    catalogue.admit(vec![record.clone()]).await.unwrap();
    let owner = alice.owner().to_string();
    for (namespace, names, labels) in [(owner.as_str(), 0, 0), ("acme", 0, 1)] {
        let release = key(&record);
        let used = choices.used(Some(namespace), &release, record.id()).await;
        used.unwrap();
        let policy = choices.policy().await.unwrap();
        assert_eq!((policy.names.len(), policy.labels.len()), (names, labels));
    }
    assert!(release(&**catalogue, &record).await.unwrap().pinned);
}

async fn decisions_are_made_as_a_whole((_, choices): &Both) {
    let me = Author::new(0).owner();
    let pin = Decision::PinName(name("a"), me);
    let wrong = [
        Decision::Block(me, String::new()),
        Decision::Anchor(me, ANCHOR),
        Decision::Anchor(
            Author::new(1).owner(),
            Anchor {
                weight: 2,
                depth: 1,
            },
        ),
        Decision::Anchor(
            Author::new(1).owner(),
            Anchor {
                weight: 3,
                depth: 4,
            },
        ),
        Decision::Block(Author::new(1).owner(), "x".repeat(257)),
        Decision::All(
            (0..=64)
                .map(|at| Decision::Anchor(OwnerId::from_bytes([at; 32]), ANCHOR))
                .collect(),
        ),
    ];
    for wrong in wrong {
        let both = Decision::All(vec![pin.clone(), wrong.clone()]);
        assert_refused!(choices.decide(both).await, RegistryError::Validation(_));
        assert_eq!(
            choices.policy().await.unwrap(),
            Default::default(),
            "{wrong:?}"
        );
    }
    choices.decide(Decision::All(vec![pin])).await.unwrap();
    assert_eq!(choices.policy().await.unwrap().names.len(), 1);
}

async fn trust_comes_over_anchors((catalogue, choices): &Both) {
    let (mut alice, mut bob, mut carol) = (Author::new(1), Author::new(2), Author::new(3));
    let records = vec![
        alice.endorse(bob.owner(), Level::Full),
        bob.endorse(carol.owner(), Level::Partial),
        carol.publish("x@1.0.0", "x"),
    ];
    catalogue.admit(records).await.unwrap();
    let score = async |author: &Author| choices.trust(author.owner(), None).await.unwrap();
    assert_eq!(score(&bob).await.score, 0, "nobody relies on alice");
    let anchor = |weight, depth| Decision::Anchor(alice.owner(), Anchor { weight, depth });
    for (weight, depth, scores) in [
        (FULL, 1, [3, 3, 0]),
        (FULL, 2, [3, 3, 1]),
        (PARTIAL, 2, [1, 1, 1]),
    ] {
        choices.decide(anchor(weight, depth)).await.unwrap();
        let found = [score(&alice).await, score(&bob).await, score(&carol).await];
        assert_eq!(found.map(|trust| trust.score), scores, "{weight} {depth}");
    }
    let trust = score(&carol).await;
    let way = vec![alice.owner(), bob.owner(), carol.owner()];
    assert_eq!(trust.paths[0].owners, way);
    assert_eq!(trust.endorsed_by[0].issuer, bob.owner());
    assert_eq!(trust.badge(), "partly trusted");
    let claimants = choices.claimants(None, &name("x"), 5).await.unwrap();
    assert_eq!(claimants.shown[0].vouched_by, [bob.owner().short()]);
    // Another word of bob changes what is known already.
    let word = bob.endorse(carol.owner(), Level::None);
    catalogue.admit(vec![word]).await.unwrap();
    assert_eq!(score(&carol).await.score, 0);
    choices
        .decide(Decision::NoAnchor(alice.owner()))
        .await
        .unwrap();
    assert_eq!(score(&alice).await.score, 0);
}

async fn a_veto_hides_what_was_not_used((catalogue, choices): &Both) {
    let (mut alice, mut bob) = (Author::new(1), Author::new(2));
    let (used, other) = (bob.publish("x@1.0.0", "1"), bob.publish("x@1.1.0", "2"));
    let y = bob.publish("y@1.0.0", "y");
    catalogue
        .admit(vec![used.clone(), other.clone(), y])
        .await
        .unwrap();
    choices.used(None, &key(&used), used.id()).await.unwrap();
    choices
        .decide(Decision::Anchor(alice.owner(), ANCHOR))
        .await
        .unwrap();
    let before = *catalogue.position().borrow();
    let distrust = alice.endorse(bob.owner(), Level::Distrust);
    catalogue.admit(vec![distrust]).await.unwrap();
    let changes = catalogue.changes(before + 1, 10).await.unwrap();
    let told = changes.into_iter().filter_map(|change| change.package);
    assert_eq!(
        told.collect::<Vec<_>>(),
        [(bob.owner(), name("x")), (bob.owner(), name("y"))]
    );

    let any = "*".parse().unwrap();
    assert_eq!(catalogue.resolve_version("x", &any).await.unwrap(), None);
    let mine = release(&**catalogue, &used).await.unwrap();
    assert!(mine.pinned && mine.yanked && !mine.is_offered());
    let why = mine.withheld().unwrap();
    assert!(
        why.contains(&alice.owner().to_string()) && why.contains("the reason"),
        "{why}"
    );
    let theirs = release(&**catalogue, &other).await.unwrap();
    assert!(matches!(theirs.standing, Standing::Withheld(_)) && !theirs.pinned);
    assert_eq!(
        texts(catalogue.list_versions("x", None).await.unwrap()),
        ["1.0.0"]
    );
    catalogue.get(&id("x@1.0.0")).await.unwrap();
    assert!(catalogue.is_yanked(&id("x@1.0.0")).await.unwrap());
    assert_refused!(
        catalogue.get(&id("x@1.1.0")).await,
        RegistryError::Withheld { .. }
    );
    assert_refused!(
        catalogue.owner_of(None, &name("y")).await,
        RegistryError::Withheld { .. }
    );
    let trust = choices.trust(bob.owner(), None).await.unwrap();
    assert_eq!(
        (trust.vetoed_by, trust.badge()),
        (Some(alice.owner()), "distrusted")
    );

    // Who relies on bob all the same is not kept from it.
    choices
        .decide(Decision::Anchor(bob.owner(), ANCHOR))
        .await
        .unwrap();
    assert!(release(&**catalogue, &other).await.unwrap().is_offered());
    choices
        .decide(Decision::NoAnchor(bob.owner()))
        .await
        .unwrap();
    choices
        .decide(Decision::NoAnchor(alice.owner()))
        .await
        .unwrap();
    let before = *catalogue.position().borrow();
    let block = Decision::Block(bob.owner(), "malware".to_owned());
    choices.decide(block).await.unwrap();
    assert_eq!(catalogue.changes(before, 10).await.unwrap().len(), 2);
    let why = release(&**catalogue, &other)
        .await
        .unwrap()
        .withheld()
        .unwrap();
    assert!(
        why.contains("malware") && why.contains("market trust unblock"),
        "{why}"
    );
    choices
        .decide(Decision::Unblock(bob.owner()))
        .await
        .unwrap();
    assert!(release(&**catalogue, &other).await.unwrap().is_offered());
}

async fn a_blocked_key_hides_what_it_signed((catalogue, choices): &Both) {
    let mut alice = Author::new(1);
    let record = alice.publish("x@1.0.0", "1");
    catalogue.admit(vec![record.clone()]).await.unwrap();
    let before = *catalogue.position().borrow();
    let block = Decision::BlockKey(alice.key(), "stolen".to_owned());
    choices.decide(block).await.unwrap();
    assert_eq!(catalogue.changes(before, 10).await.unwrap().len(), 1);
    let why = release(&**catalogue, &record)
        .await
        .unwrap()
        .withheld()
        .unwrap();
    assert!(
        why.contains("stolen") && why.contains(&alice.key().to_string()),
        "{why}"
    );
    let any = "*".parse().unwrap();
    assert_eq!(catalogue.resolve_version("x", &any).await.unwrap(), None);
    choices
        .decide(Decision::UnblockKey(alice.key()))
        .await
        .unwrap();
    assert!(release(&**catalogue, &record).await.unwrap().is_offered());
}

async fn a_conflict_leaves_users_their_content((catalogue, choices): &Both) {
    let mut alice = Author::new(1);
    let (one, other) = (alice.publish("x@1.0.0", "1"), alice.publish("x@1.0.0", "2"));
    let (smaller, larger) = if one.id() < other.id() {
        (one, other)
    } else {
        (other, one)
    };
    catalogue.admit(vec![larger.clone()]).await.unwrap();
    choices
        .used(None, &key(&larger), larger.id())
        .await
        .unwrap();
    catalogue.admit(vec![smaller]).await.unwrap();
    let release = release(&**catalogue, &larger).await.unwrap();
    assert!(matches!(release.standing, Standing::Conflicted(_)));
    assert!(release.pinned && !release.is_offered());
    assert_eq!(
        release.record,
        larger.id(),
        "the content that was used, not the first one"
    );
    let got = catalogue.get(&id("x@1.0.0")).await.unwrap();
    assert_eq!(got.checksums.blake3, release.metadata.checksums.blake3);
}

async fn a_frozen_owner_leaves_users_their_content((catalogue, choices): &Both) {
    let mut alice = Author::new(1);
    let (used, other) = (alice.publish("x@1.0.0", "1"), alice.publish("x@1.1.0", "2"));
    catalogue.admit(vec![used.clone(), other]).await.unwrap();
    choices.used(None, &key(&used), used.id()).await.unwrap();
    let reasons = ["one", "two"].map(|reason| {
        let mark = Mark::Reason(reason.to_owned());
        continued(
            &alice,
            None,
            NamespaceDocument {
                mark,
                ..document(&alice)
            },
        )
    });
    catalogue.admit(reasons.to_vec()).await.unwrap();
    let trust = choices.trust(alice.owner(), None).await.unwrap();
    assert_eq!(trust.status, OwnerStatus::Frozen);
    assert_eq!(meaning(&**catalogue, "x").await, Some(alice.owner()));
    let mine = release(&**catalogue, &used).await.unwrap();
    assert!(mine.pinned && mine.yanked && !mine.is_offered());
    assert!(mine.withheld().unwrap().contains("recovery key"));
    catalogue.get(&id("x@1.0.0")).await.unwrap();
    let error = refused(catalogue.get(&id("x@1.1.0")).await);
    assert!(
        matches!(&error, RegistryError::Withheld { why, .. } if why.contains("frozen")),
        "{error}"
    );
    let packages = catalogue.packages(None, 10).await.unwrap();
    assert_eq!(packages, [(alice.owner(), name("x"))]);
}

async fn what_is_taken_back_is_no_claim((catalogue, choices): &Both) {
    let (mut alice, mut bob) = (Author::new(1), Author::new(2));
    let withdrawn = |state| State {
        withdrawn: true,
        ..state
    };
    let records = vec![
        alice.publish("x@1.0.0", "1"),
        alice.publish("x@1.1.0", "1"),
        bob.publish("x@1.0.0", "1"),
        bob.publish("x@1.1.0", "1"),
        bob.state("x@1.0.0", withdrawn),
    ];
    catalogue.admit(records).await.unwrap();
    assert_eq!(meaning(&**catalogue, "x").await, None);
    assert_eq!(
        choices.claimants(None, &name("x"), 1).await.unwrap().total,
        2
    );
    let last = bob.state("x@1.1.0", withdrawn);
    catalogue.admit(vec![last]).await.unwrap();
    assert_eq!(meaning(&**catalogue, "x").await, Some(alice.owner()));
}

async fn what_contradicts_itself_is_evidence((catalogue, choices): &Both) {
    let (mut alice, bob) = (Author::new(1), Author::new(2));
    let start = alice.head;
    let records = [alice.publish("x@1.0.0", "1"), alice.publish("x@1.0.0", "2")];
    alice.head = start;
    let fork = alice.publish("y@1.0.0", "1");
    let reasons = ["one", "two"].map(|reason| {
        let mark = Mark::Reason(reason.to_owned());
        continued(
            &bob,
            None,
            NamespaceDocument {
                mark,
                ..document(&bob)
            },
        )
    });
    let all = [records.to_vec(), vec![fork], reasons.to_vec()].concat();
    catalogue.admit(all).await.unwrap();
    let asked = async |owner: Option<OwnerId>| {
        let question = Question {
            owner,
            ..Question::default()
        };
        let evidence = choices.evidence(question).await.unwrap();
        evidence.check().unwrap();
        evidence
    };
    let kinds = |found: &Evidence| found.items.iter().map(|item| item.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&asked(None).await), [Kind::Frozen, Kind::Conflict]);
    let evidence = asked(Some(alice.owner())).await;
    assert_eq!(kinds(&evidence), [Kind::Forked, Kind::Conflict]);
    assert_eq!(evidence.items[1].release.as_deref(), Some("x@1.0.0"));

    // What is changed in it proves nothing any more.
    let mut other_kind = evidence.clone();
    other_kind.items[1].kind = Kind::Frozen;
    let mut twice = evidence.clone();
    twice.items[1].records[1] = twice.items[1].records[0].clone();
    let mut elsewhere = evidence.clone();
    elsewhere.items[1].release = Some("x@2.0.0".to_owned());
    let mut of_another = evidence.clone();
    of_another.items[0].owner = bob.owner();
    let mut forged = evidence;
    let digits = &mut forged.items[1].records[0].envelope;
    let last = digits.pop().unwrap();
    digits.push(if last == '0' { '1' } else { '0' });
    for wrong in [other_kind, twice, elsewhere, of_another, forged] {
        wrong.check().unwrap_err();
    }
}
