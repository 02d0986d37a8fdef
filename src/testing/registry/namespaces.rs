//! Who may write in a namespace, and what follows when that changes.

use std::sync::Arc;

use ggen_protocols::id::OwnerId;
use ggen_protocols::owner::{NamespaceDocument, SCOPE_ALL};
use ggen_protocols::record::{FeedHead, Record, Refusal, Verified};
use ggen_protocols::trust::Level;

use super::{
    Author, after, after_implicit, assert_refused, document, name, refused, retiring, texts,
};
use crate::registry::local::OpenOptions;
use crate::registry::{Admission, Catalogue, RegistryError, Release};

pub(super) async fn suite(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>) {
    let empty = async || make(OpenOptions::default()).await;
    a_delegate_publishes_once_the_document_is_here(&*empty().await).await;
    documents_of_one_call_are_taken_first(&*empty().await).await;
    a_namespace_is_founded_once(&*empty().await).await;
    later_records_of_a_retired_key_change_nothing(&*empty().await).await;
    dropping_a_key_takes_its_releases_away(&*empty().await).await;
    frozen_hides_everything_until_recovery(&*empty().await).await;
    a_used_recovery_key_kills(&*empty().await).await;
    a_fork_with_a_good_record_of_a_narrowed_key_is_seen(&*empty().await).await;
    own_documents_do_not_contradict(&*empty().await).await;
    a_full_owner_can_change_its_documents(make).await;
    what_a_retired_key_wrote_takes_no_room(make).await;
    any_order_and_grouping_gives_the_same(make).await;
}

/// A namespace that one author founded and another recovers.
struct Team {
    root: Author,
    recovery: Author,
    owner: OwnerId,
    founded: Verified<Record>,
    /// The document that holds.
    last: FeedHead,
}

impl Team {
    fn new(root: u8, recovery: u8) -> Self {
        let (root, recovery) = (Author::new(root), Author::new(recovery));
        let founded = root.found("team", Some(&recovery));
        Self {
            owner: OwnerId::of_genesis(founded.id()),
            last: after(&founded),
            root,
            recovery,
            founded,
        }
    }

    /// A document with these publishers.
    fn document(&self, publishers: &[(&Author, &str)]) -> NamespaceDocument {
        NamespaceDocument {
            recovery: Some(self.recovery.commitment()),
            ..document(&self.root, publishers)
        }
    }

    /// Signs the next document of the root.
    fn acl(&mut self, document: NamespaceDocument) -> Verified<Record> {
        let record = self.root.acl(self.owner, self.last, document);
        self.last = after(&record);
        record
    }
}

async fn admit(catalogue: &dyn Catalogue, records: &[&Verified<Record>]) -> Vec<Admission> {
    let records = records.iter().map(|record| (*record).clone()).collect();
    catalogue.admit(records).await.unwrap()
}

async fn admit_new(catalogue: &dyn Catalogue, records: &[&Verified<Record>]) {
    for (at, admission) in admit(catalogue, records).await.into_iter().enumerate() {
        assert_eq!(admission, Admission::New, "record {at}");
    }
}

/// The versions of a package, with what is not offered in brackets.
async fn versions(catalogue: &dyn Catalogue, owner: OwnerId, package: &str) -> Vec<String> {
    let releases = catalogue.releases(owner, &name(package)).await.unwrap();
    let shown = releases.iter().map(|release| match release.is_offered() {
        true => release.key.version.to_string(),
        false => format!("({})", release.key.version),
    });
    shown.collect()
}

async fn is_sound(catalogue: &dyn Catalogue) {
    assert_eq!(catalogue.audit().await.unwrap().findings, [""; 0]);
}

async fn a_delegate_publishes_once_the_document_is_here(catalogue: &dyn Catalogue) {
    let (mut team, mut bob) = (Team::new(1, 9), Author::new(2));
    let record = bob.publish_in(team.owner, "a@1.0.0", "a");
    let unauthorised = Admission::Refused(Refusal::Unauthorised {
        key: bob.key(),
        owner: team.owner,
    });
    admit_new(catalogue, &[&team.founded]).await;
    let root = catalogue.root().await.unwrap();
    let acl = team.acl(team.document(&[(&bob, "a")]));
    assert_eq!(admit(catalogue, &[&record]).await, [unauthorised]);
    assert_eq!(catalogue.known(vec![record.id()]).await.unwrap(), [false]);
    assert_eq!(catalogue.root().await.unwrap(), root);
    admit_new(catalogue, &[&acl, &record]).await;
    assert_eq!(versions(catalogue, team.owner, "a").await, ["1.0.0"]);
    assert_eq!(catalogue.root().await.unwrap().count, 3);
    let documents = catalogue.documents(team.owner).await.unwrap();
    assert_eq!(
        documents,
        [team.founded.envelope().clone(), acl.envelope().clone()]
    );
    // What the document does not grant is held, and has no effect.
    let outside = bob.publish_in(team.owner, "b@1.0.0", "b");
    admit_new(catalogue, &[&outside]).await;
    assert_eq!(versions(catalogue, team.owner, "b").await, [""; 0]);
    // A document that follows one that is not here waits.
    let _missing = team.acl(team.document(&[]));
    let waiting = team.acl(team.document(&[(&bob, "b")]));
    let answers = admit(catalogue, &[&waiting]).await;
    assert!(
        matches!(
            answers[..],
            [Admission::Refused(Refusal::Unauthorised { .. })]
        ),
        "{answers:?}"
    );
    is_sound(catalogue).await;
}

async fn documents_of_one_call_are_taken_first(catalogue: &dyn Catalogue) {
    let (mut team, mut bob) = (Team::new(1, 9), Author::new(2));
    let record = bob.publish_in(team.owner, "a@1.0.0", "a");
    let acls = [
        team.acl(team.document(&[])),
        team.acl(team.document(&[(&bob, SCOPE_ALL)])),
    ];
    admit_new(catalogue, &[&record, &acls[1], &acls[0], &team.founded]).await;
    assert_eq!(versions(catalogue, team.owner, "a").await, ["1.0.0"]);
    is_sound(catalogue).await;
}

async fn a_namespace_is_founded_once(catalogue: &dyn Catalogue) {
    let team = Team::new(1, 9);
    let other = team.root.found("other", Some(&team.recovery));
    let answers = admit(catalogue, &[&team.founded, &team.founded, &other]).await;
    assert_eq!(answers, [Admission::New, Admission::Known, Admission::New]);
    assert_eq!(admit(catalogue, &[&team.founded]).await, [Admission::Known]);
    // The same key founded two namespaces, and has its own one besides.
    let mut alice = Author::new(1);
    let mut records = Vec::new();
    for owner in [team.owner, OwnerId::of_genesis(other.id()), alice.owner()] {
        alice.head = FeedHead::default();
        records.push(alice.publish_in(owner, "a@1.0.0", "a"));
    }
    admit_new(catalogue, &records.iter().collect::<Vec<_>>()).await;
    assert_eq!(catalogue.owners_of(&name("a")).await.unwrap().len(), 3);
    assert_eq!(catalogue.documents(alice.owner()).await.unwrap().len(), 0);
    is_sound(catalogue).await;
}

async fn later_records_of_a_retired_key_change_nothing(catalogue: &dyn Catalogue) {
    let (mut team, mut bob) = (Team::new(1, 9), Author::new(2));
    let granted = team.acl(team.document(&[(&bob, SCOPE_ALL)]));
    let good: Vec<_> = ["a@1.0.0", "a@1.1.0", "a@1.2.0"]
        .map(|release| bob.publish_in(team.owner, release, release))
        .to_vec();
    let retired = retiring(team.document(&[]), &[(&bob, &good[2])]);
    let retired = team.acl(retired);
    admit_new(catalogue, &[&team.founded, &granted, &retired, &good[2]]).await;
    // The feed is filled from its end: each is effective as soon as all after it are here.
    admit_new(catalogue, &[&good[0]]).await;
    assert_eq!(versions(catalogue, team.owner, "a").await, ["1.2.0"]);
    admit_new(catalogue, &[&good[1]]).await;
    let all = ["1.0.0", "1.1.0", "1.2.0"];
    assert_eq!(versions(catalogue, team.owner, "a").await, all);
    let told = *catalogue.position().borrow();
    for time_ms in [1, 1_700_000_000_000, 1_800_000_000_000] {
        bob.time_ms = time_ms;
        let later = bob.publish_in(team.owner, &format!("a@2.{time_ms}.0"), "x");
        let mut forking = bob.clone();
        forking.head = FeedHead::default();
        let earlier = forking.publish_in(team.owner, "a@1.0.0", &time_ms.to_string());
        admit_new(catalogue, &[&later, &earlier]).await;
    }
    assert_eq!(versions(catalogue, team.owner, "a").await, all);
    assert_eq!(catalogue.forked(team.owner).await.unwrap(), []);
    assert_eq!(
        *catalogue.position().borrow(),
        told + 6,
        "each record, and nothing else"
    );
    is_sound(catalogue).await;
}

async fn dropping_a_key_takes_its_releases_away(catalogue: &dyn Catalogue) {
    let (mut team, mut bob) = (Team::new(1, 9), Author::new(2));
    let mut alice = team.root.clone();
    let both = team.document(&[(&alice, SCOPE_ALL), (&bob, SCOPE_ALL)]);
    let granted = team.acl(both);
    let only_alice = team.document(&[(&alice, SCOPE_ALL)]);
    let dropped = team.acl(only_alice);
    let records = [
        alice.publish_in(team.owner, "a@1.0.0", "a"),
        bob.publish_in(team.owner, "a@1.1.0", "b"),
        bob.publish_in(team.owner, "b@1.0.0", "b"),
        bob.publish_in(team.owner, "c@1.0.0", "c"),
    ];
    admit_new(catalogue, &[&team.founded, &granted]).await;
    admit_new(catalogue, &records.iter().collect::<Vec<_>>()).await;
    let before = *catalogue.position().borrow();
    let packages = async || {
        let packages = catalogue.packages(None, 10).await.unwrap();
        texts(packages.into_iter().map(|(_, name)| name))
    };
    assert_eq!(packages().await, ["a", "b", "c"]);
    admit_new(catalogue, &[&dropped]).await;
    assert_eq!(packages().await, ["a"]);
    assert_eq!(versions(catalogue, team.owner, "a").await, ["1.0.0"]);
    assert_eq!(catalogue.owners_of(&name("b")).await.unwrap(), []);
    assert_eq!(catalogue.totals().await.unwrap().versions, 1);
    let told = catalogue.changes(before, 10).await.unwrap();
    assert!(told.iter().all(|change| change.record == dropped.id()));
    let told = told
        .into_iter()
        .map(|change| change.package.map(|(_, name)| name.to_string()));
    let all = [None, Some("a"), Some("b"), Some("c")].map(|name| name.map(str::to_owned));
    assert_eq!(told.collect::<Vec<_>>(), all);
    is_sound(catalogue).await;
}

async fn frozen_hides_everything_until_recovery(catalogue: &dyn Catalogue) {
    let (mut team, mut bob) = (Team::new(1, 9), Author::new(2));
    let granted = team.acl(team.document(&[(&bob, SCOPE_ALL)]));
    let release = bob.publish_in(team.owner, "a@1.0.0", "a");
    admit_new(catalogue, &[&team.founded, &granted, &release]).await;
    let (one, other) = (team.document(&[]), team.document(&[(&bob, "b")]));
    let fork = [one, other].map(|document| team.root.acl(team.owner, team.last, document));
    admit_new(catalogue, &[&fork[0], &fork[1]]).await;
    assert_eq!(versions(catalogue, team.owner, "a").await, [""; 0]);
    assert_eq!(catalogue.packages(None, 10).await.unwrap(), []);
    let next = bob.publish_in(team.owner, "a@1.1.0", "a");
    let text = refused(catalogue.admit_own(next).await).to_string();
    assert!(text.contains("frozen"), "{text}");
    is_sound(catalogue).await;
    // The recovery key goes on from the beginning, with another root and another recovery key.
    let (erin, next) = (Author::new(5), Author::new(8));
    let document = NamespaceDocument {
        recovery: Some(next.commitment()),
        ..document(&erin, &[(&bob, "a")])
    };
    let recovered = team
        .recovery
        .acl(team.owner, after(&team.founded), document);
    let before = *catalogue.position().borrow();
    admit_new(catalogue, &[&recovered]).await;
    assert_eq!(versions(catalogue, team.owner, "a").await, ["1.0.0"]);
    let told = catalogue.changes(before, 10).await.unwrap();
    assert_eq!(told[1].package, Some((team.owner, name("a"))));
    is_sound(catalogue).await;
}

async fn a_used_recovery_key_kills(catalogue: &dyn Catalogue) {
    let team = Team::new(1, 9);
    let mut alice = team.root.clone();
    let release = alice.publish_in(team.owner, "a@1.0.0", "a");
    admit_new(catalogue, &[&team.founded, &release]).await;
    for number in [5, 6] {
        let document = NamespaceDocument {
            recovery: Some(Author::new(number + 2).commitment()),
            ..document(&Author::new(number), &[(&alice, SCOPE_ALL)])
        };
        let record = team
            .recovery
            .acl(team.owner, after(&team.founded), document);
        admit_new(catalogue, &[&record]).await;
    }
    assert_eq!(versions(catalogue, team.owner, "a").await, [""; 0]);
    let next = alice.publish_in(team.owner, "a@1.1.0", "a");
    let text = refused(catalogue.admit_own(next).await).to_string();
    assert!(text.contains("dead"), "{text}");
    is_sound(catalogue).await;
}

async fn a_fork_with_a_good_record_of_a_narrowed_key_is_seen(catalogue: &dyn Catalogue) {
    let (mut team, mut bob) = (Team::new(1, 9), Author::new(2));
    let granted = team.acl(team.document(&[(&bob, SCOPE_ALL)]));
    let start = bob.head;
    let old = bob.publish_in(team.owner, "old@1.0.0", "a");
    let narrowed = retiring(team.document(&[(&bob, "new")]), &[(&bob, &old)]);
    let narrowed = team.acl(narrowed);
    bob.head = start;
    let new = bob.publish_in(team.owner, "new@1.0.0", "a");
    admit_new(catalogue, &[&team.founded, &granted, &old, &narrowed]).await;
    assert_eq!(catalogue.forked(team.owner).await.unwrap(), []);
    admit_new(catalogue, &[&new]).await;
    assert_eq!(catalogue.forked(team.owner).await.unwrap(), [bob.key()]);
    assert_eq!(versions(catalogue, team.owner, "old").await, ["1.0.0"]);
    assert_eq!(versions(catalogue, team.owner, "new").await, ["1.0.0"]);
    is_sound(catalogue).await;
}

async fn own_documents_do_not_contradict(catalogue: &dyn Catalogue) {
    let mut alice = Author::new(1);
    let mut bob = Author::new(2);
    let owner = alice.owner();
    let start = after_implicit(owner);
    let first = alice.acl(
        owner,
        start,
        document(&alice, &[(&bob, "a"), (&alice, SCOPE_ALL)]),
    );
    assert_eq!(
        catalogue.admit_own(first.clone()).await.unwrap(),
        Admission::New
    );
    assert_eq!(catalogue.admit_own(first).await.unwrap(), Admission::Known);
    let fork = alice.acl(owner, start, document(&alice, &[]));
    assert_refused!(catalogue.admit_own(fork).await, RegistryError::Stale);
    let granted = bob.publish_in(owner, "a@1.0.0", "a");
    assert_eq!(catalogue.admit_own(granted).await.unwrap(), Admission::New);
    let outside = bob.publish_in(owner, "b@1.0.0", "b");
    let text = refused(catalogue.admit_own(outside).await).to_string();
    let command = format!("market owner add {} --scope b", bob.key());
    assert!(text.contains(&command), "{text}");
    let foreign = Author::new(3).publish_in(owner, "a@1.1.0", "a");
    assert_refused!(
        catalogue.admit_own(foreign).await,
        RegistryError::Unauthorized(_)
    );
    let own = alice.publish("b@1.0.0", "b");
    assert_eq!(catalogue.admit_own(own).await.unwrap(), Admission::New);
    is_sound(catalogue).await;
}

async fn a_full_owner_can_change_its_documents(
    make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>,
) {
    let options = OpenOptions {
        owner_records_max: 1,
        ..OpenOptions::default()
    };
    let catalogue = make(options).await;
    let (mut team, mut bob) = (Team::new(1, 9), Author::new(2));
    let granted = team.acl(team.document(&[(&bob, SCOPE_ALL)]));
    let releases = ["a@1.0.0", "a@1.1.0"].map(|release| bob.publish_in(team.owner, release, "a"));
    let answers = admit(
        &*catalogue,
        &[&team.founded, &granted, &releases[0], &releases[1]],
    )
    .await;
    assert_eq!(answers[2..], [Admission::New, Admission::OwnerFull]);
    let dropped = team.acl(team.document(&[]));
    admit_new(&*catalogue, &[&dropped]).await;
    assert_eq!(versions(&*catalogue, team.owner, "a").await, [""; 0]);
    is_sound(&*catalogue).await;
}

async fn what_a_retired_key_wrote_takes_no_room(
    make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>,
) {
    let options = OpenOptions {
        owner_records_max: 3,
        ..OpenOptions::default()
    };
    let catalogue = make(options).await;
    let (mut team, mut bob) = (Team::new(1, 9), Author::new(2));
    let mut alice = team.root.clone();
    let granted = team.acl(team.document(&[(&alice, SCOPE_ALL), (&bob, SCOPE_ALL)]));
    let of_bob: Vec<_> = (0..6)
        .map(|n| bob.publish_in(team.owner, &format!("b@1.{n}.0"), "b"))
        .collect();
    let of_alice: Vec<_> = (0..3)
        .map(|n| alice.publish_in(team.owner, &format!("a@1.{n}.0"), "a"))
        .collect();
    admit_new(&*catalogue, &[&team.founded, &granted]).await;
    admit_new(&*catalogue, &of_bob[..3].iter().collect::<Vec<_>>()).await;
    assert_eq!(
        admit(&*catalogue, &[&of_alice[0]]).await,
        [Admission::OwnerFull]
    );
    is_sound(&*catalogue).await;
    let retired = team.document(&[(&alice, SCOPE_ALL)]);
    let retired = team.acl(retiring(retired, &[(&bob, &of_bob[0])]));
    admit_new(&*catalogue, &[&retired]).await;
    // One record of the retired key is good, and two take no room of the others any more.
    admit_new(&*catalogue, &[&of_alice[0], &of_alice[1]]).await;
    assert_eq!(
        admit(&*catalogue, &[&of_alice[2]]).await,
        [Admission::OwnerFull]
    );
    // Nor has that key more room than there is for what has no effect.
    admit_new(&*catalogue, &[&of_bob[3]]).await;
    assert_eq!(
        admit(&*catalogue, &[&of_bob[4]]).await,
        [Admission::OwnerFull]
    );
    assert_eq!(
        versions(&*catalogue, team.owner, "a").await,
        ["1.0.0", "1.1.0"]
    );
    assert_eq!(versions(&*catalogue, team.owner, "b").await, ["1.0.0"]);
    is_sound(&*catalogue).await;
}

/// Records of a namespace with all that can happen to one, and of another that dies, in an order in which all are
/// taken: delegation, narrowing, retirement, forks, a frozen root, recovery and a used recovery key.
pub fn world() -> (Vec<OwnerId>, Vec<Verified<Record>>) {
    let mut team = Team::new(1, 9);
    let (mut alice, mut bob, mut carol) = (team.root.clone(), Author::new(2), Author::new(3));
    let owner = team.owner;
    let mut records = vec![team.founded.clone()];
    let all = [(&alice, SCOPE_ALL), (&bob, SCOPE_ALL), (&carol, SCOPE_ALL)];
    records.push(team.acl(team.document(&all)));
    let old: Vec<_> = ["b@1.0.0", "c@1.0.0", "b@1.1.0", "b@1.2.0"]
        .map(|release| bob.publish_in(owner, release, release))
        .to_vec();
    records.extend(old.clone());
    let start = carol.head;
    let good = carol.publish_in(owner, "a@1.0.0", "1");
    records.push(good.clone());
    records.push(carol.publish_in(owner, "a@1.1.0", "1"));
    carol.head = start;
    records.push(carol.publish_in(owner, "a@1.0.0", "2"));
    let last = alice.publish_in(owner, "a@1.2.0", "1");
    records.push(last.clone());
    let narrowed = team.document(&[(&alice, SCOPE_ALL), (&bob, "b"), (&carol, SCOPE_ALL)]);
    records.push(team.acl(retiring(narrowed, &[(&bob, &old[2])])));
    let mut forking = bob.clone();
    forking.head = after(&old[0]);
    records.push(forking.publish_in(owner, "b@9.0.0", "x"));
    records.push(bob.publish_in(owner, "b@1.3.0", "x"));
    records.push(bob.publish_in(owner, "c@1.1.0", "x"));
    for publishers in [&[(&carol, "a")][..], &[(&bob, "b")]] {
        let document = team.document(publishers);
        records.push(team.root.acl(owner, team.last, document));
    }
    let mut erin = Author::new(5);
    let recovered = NamespaceDocument {
        recovery: Some(Author::new(8).commitment()),
        ..document(&erin, &[(&erin, SCOPE_ALL), (&bob, "b")])
    };
    let recovered = retiring(
        recovered,
        &[(&alice, &last), (&bob, &old[3]), (&carol, &good)],
    );
    records.push(team.recovery.acl(owner, after(&team.founded), recovered));
    records.push(erin.publish_in(owner, "d@1.0.0", "d"));

    let dying = Team::new(6, 7);
    let mut frank = dying.root.clone();
    records.push(dying.founded.clone());
    records.push(frank.publish_in(dying.owner, "a@1.0.0", "f"));
    for root in [5, 4] {
        let document = NamespaceDocument {
            recovery: Some(Author::new(root).commitment()),
            ..document(&Author::new(root), &[(&frank, SCOPE_ALL)])
        };
        records.push(
            dying
                .recovery
                .acl(dying.owner, after(&dying.founded), document),
        );
    }
    let mut grace = Author::new(10);
    for (subject, revision, level) in [
        (owner, 1, Level::Full),
        (owner, 1, Level::Partial),
        (dying.owner, 2, Level::None),
    ] {
        records.push(grace.endorse_with(subject, revision, level));
    }
    (vec![owner, dying.owner, grace.owner()], records)
}

/// What a catalogue says of these owners, but for when it heard of it.
async fn picture(catalogue: &dyn Catalogue, owners: &[OwnerId]) -> Vec<String> {
    let mut picture = vec![format!("{:?}", catalogue.root().await.unwrap())];
    for owner in owners {
        picture.push(format!("{:?}", catalogue.documents(*owner).await.unwrap()));
        picture.push(format!("{:?}", catalogue.forked(*owner).await.unwrap()));
    }
    for (owner, name) in catalogue.packages(None, 100).await.unwrap() {
        let releases = catalogue.releases(owner, &name).await.unwrap().into_iter();
        let timeless = releases.map(|release| Release {
            first_seen: chrono::DateTime::UNIX_EPOCH,
            ..release
        });
        picture.push(format!("{:?}", timeless.collect::<Vec<_>>()));
    }
    picture
}

async fn any_order_and_grouping_gives_the_same(
    make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>,
) {
    let (owners, records) = world();
    let whole = make(OpenOptions::default()).await;
    for admission in whole.admit(records.clone()).await.unwrap() {
        assert_eq!(admission, Admission::New);
    }
    is_sound(&*whole).await;
    let expected = picture(&*whole, &owners).await;
    assert_eq!(
        whole.forked(owners[0]).await.unwrap(),
        [Author::new(2).key()]
    );
    let packages = whole.packages(None, 100).await.unwrap();
    assert_eq!(
        texts(packages.into_iter().map(|(_, name)| name)),
        ["a", "b", "c", "d"]
    );
    for (seed, group) in [
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 7),
        (5, 100),
        (6, 1),
        (7, 2),
    ] {
        let mut order: Vec<_> = (0..records.len()).collect();
        // Any permutation does; these differ much.
        order.sort_by_key(|at| (at * 7919 + seed * 104_729) % 1009);
        if seed == 0 {
            order = (0..records.len()).rev().collect();
        }
        let catalogue = make(OpenOptions::default()).await;
        // What cannot be taken yet is offered again, as peers do.
        for _ in 0..records.len() {
            for group in order.chunks(group) {
                let group = group.iter().map(|at| records[*at].clone()).collect();
                catalogue.admit(group).await.unwrap();
            }
            if catalogue.root().await.unwrap() == whole.root().await.unwrap() {
                break;
            }
        }
        is_sound(&*catalogue).await;
        assert_eq!(
            picture(&*catalogue, &owners).await,
            expected,
            "order {seed}"
        );
    }
}
