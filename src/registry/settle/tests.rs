//! Any documents in any order give the rows that follow from the whole namespace, and one costs what it changes.
#![allow(clippy::unwrap_used)]

use ggen_protocols::owner::Mark;
use ggen_protocols::record::{Body, FeedHead, Info, Record, State, Verified};
use ggen_protocols::trust::Level;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::registry::local::{LocalRegistry, OpenOptions};
use crate::registry::write::Written;
use crate::registry::{Admission, Catalogue, precedence};
use crate::testing::memory::MemoryRegistry;
use crate::testing::registry::{Author, after, after_implicit, document, retiring};

/// What happens next in the namespace of one author, in which three write.
#[derive(Debug, Clone)]
enum Step {
    /// One of them says something, once or twice, after its last record or after an earlier one.
    Say { who: usize, what: usize, fork: bool },
    /// Another document: the scope of each, if it has one, and who is retired at which record of whomever.
    Document {
        scopes: [Option<&'static str>; 3],
        retired: Vec<(usize, Index)>,
    },
    /// The root contradicts itself.
    Contradict,
    /// The recovery key speaks.
    Recover { scopes: [Option<&'static str>; 3] },
    /// All that was made is offered but for some of the first releases: a feed may lack those.
    Keep(usize),
    /// All that was made is offered, the last one first.
    Offer,
}

const SCOPES: [Option<&str>; 5] = [None, Some("a"), Some("b"), Some(SCOPE_ALL), Some(SCOPE_ALL)];

fn step() -> impl Strategy<Value = Step> {
    let scopes = || prop::array::uniform3(select(SCOPES.to_vec()));
    let retired = prop::collection::vec((0..3usize, any::<Index>()), 0..3);
    prop_oneof![
        8 => (0..3usize, 0..9usize, prop::bool::weighted(0.2))
            .prop_map(|(who, what, fork)| Step::Say { who, what, fork }),
        5 => (scopes(), retired).prop_map(|(scopes, retired)| Step::Document { scopes, retired }),
        1 => Just(Step::Contradict),
        1 => scopes().prop_map(|scopes| Step::Recover { scopes }),
        3 => (1..4usize).prop_map(Step::Keep),
        5 => Just(Step::Offer),
    ]
}

/// The namespace as its writers know it.
struct World {
    authors: [Author; 3],
    /// Records of all three, without documents.
    said: Vec<Verified<Record>>,
    made: Vec<Verified<Record>>,
    kept: Vec<Verified<Record>>,
    owner: OwnerId,
    /// The number of the key that recovers, and what it continues.
    recovery: u8,
    start: FeedHead,
    last: FeedHead,
}

impl World {
    fn new() -> Self {
        let authors = [1, 2, 3].map(Author::new);
        let founded = authors[0].found("team", Some(&Author::new(100)));
        Self {
            authors,
            said: Vec::new(),
            owner: OwnerId::of_genesis(founded.id()),
            start: after(&founded),
            last: after(&founded),
            made: vec![founded],
            kept: Vec::new(),
            recovery: 100,
        }
    }

    fn document(&self, scopes: [Option<&str>; 3], recovery: u8) -> NamespaceDocument {
        let publishers = self.authors.iter().zip(scopes);
        let publishers: Vec<_> = publishers
            .filter_map(|(a, scope)| Some((a, scope?)))
            .collect();
        NamespaceDocument {
            recovery: Some(Author::new(recovery).commitment()),
            ..document(&self.authors[0], &publishers)
        }
    }

    fn say(&mut self, who: usize, what: usize, fork: bool) {
        let (author, owner) = (&mut self.authors[who], self.owner);
        let head = author.head;
        if fork && let Some(earlier) = self.said.iter().find(|record| record.key() == author.key())
        {
            author.head = after(earlier);
        }
        let state = |name: &str, revision, yanked| State {
            name: name.to_owned(),
            version: None,
            revision,
            yanked,
            withdrawn: false,
            note: String::new(),
            info: None::<Info>,
        };
        let body = match what {
            0 => Body::State(state("a", who as u64 + 1, true)),
            1 => Body::State(state("b", 2, who == 1)),
            2 => Body::Endorse(ggen_protocols::trust::Endorse {
                subject: Author::new(50).owner(),
                revision: who as u64 + 1,
                level: Level::Full.number(),
                depth: 0,
                label: None,
                reason: String::new(),
            }),
            _ => {
                let name = ["a", "b", "c"][what % 3];
                let release = format!("{name}@1.{}.0", what / 6);
                let record = author.publish_in(owner, &release, if fork { "x" } else { "y" });
                self.said.push(record.clone());
                self.made.push(record);
                return;
            }
        };
        let record = author.write_in(owner, body);
        if fork {
            author.head = head;
        }
        self.said.push(record.clone());
        self.made.push(record);
    }

    /// What is offered now.
    fn take(&mut self, step: &Step) -> Vec<Verified<Record>> {
        match step {
            Step::Say { who, what, fork } => self.say(*who, *what, *fork),
            Step::Document { scopes, retired } => {
                let mut next = self.document(*scopes, self.recovery);
                for (who, at) in retired {
                    // Of any of them, so that a feed may end at a record of another.
                    if !self.said.is_empty() {
                        let good = at.get(&self.said).id();
                        next.retired.push((self.authors[*who].key(), good));
                    }
                }
                next.retired.sort();
                next.retired.dedup_by_key(|(key, _)| *key);
                let record = self.authors[0].acl(self.owner, self.last, next);
                self.last = after(&record);
                self.made.push(record);
            }
            Step::Contradict => {
                for reason in ["one", "two"] {
                    let mut next = self.document([None; 3], self.recovery);
                    next.mark = Mark::Reason(reason.to_owned());
                    let record = self.authors[0].acl(self.owner, self.last, next);
                    self.made.push(record);
                }
            }
            Step::Recover { scopes } => {
                let next = self.document(*scopes, self.recovery + 1);
                let recovery = Author::new(self.recovery);
                let record = recovery.acl(self.owner, self.start, next);
                self.recovery += 1;
                (self.start, self.last) = (after(&record), after(&record));
                self.made.push(record);
            }
            Step::Keep(count) => {
                let is_document =
                    |record: &Verified<Record>| precedence(record.content()) < (true, 0);
                let made = std::mem::take(&mut self.made);
                let (documents, mut said): (Vec<_>, Vec<_>) =
                    made.into_iter().partition(is_document);
                self.made = documents;
                self.made.extend(said.split_off(said.len().min(*count)));
                self.kept.append(&mut said);
            }
            Step::Offer => {
                let mut all = std::mem::take(&mut self.made);
                all.append(&mut self.kept);
                all.reverse();
                return all;
            }
        }
        match step {
            Step::Keep(_) => std::mem::take(&mut self.made),
            _ => Vec::new(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_documents_give_what_follows_from_the_whole(
        steps in prop::collection::vec(step(), 10..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("catalogue.redb");
            let options = OpenOptions::default();
            let model = MemoryRegistry::new(options.clone());
            let stored = LocalRegistry::open(&path, options).await.unwrap();
            let mut world = World::new();
            let mut waiting = Vec::new();
            for step in steps.iter().chain([&Step::Offer, &Step::Offer]) {
                // What waits for a document is offered again, as peers do.
                let mut offered = world.take(step);
                if offered.is_empty() {
                    continue;
                }
                offered.append(&mut waiting);
                let expected = model.admit(offered.clone()).await.unwrap();
                let answers = stored.admit(offered.clone()).await.unwrap();
                assert_eq!(answers, expected, "{step:?}");
                let answered = offered.into_iter().zip(answers);
                let refused = |answer: &Admission| matches!(answer, Admission::Refused(_));
                waiting = answered.filter(|(_, a)| refused(a)).map(|(record, _)| record).collect();
                let findings = stored.audit().await.unwrap().findings;
                assert!(findings.is_empty(), "{step:?}: {findings:#?}");
                let changes = stored.changes(0, usize::MAX).await.unwrap();
                assert_eq!(changes, model.changes(0, usize::MAX).await.unwrap(), "{step:?}");
            }
        });
    }
}

/// Every row, by table and key.
type All = BTreeMap<(String, Vec<u8>), Vec<u8>>;

async fn all(registry: &LocalRegistry) -> All {
    let rows = registry.read(|snapshot| {
        let mut all = All::new();
        for rows in tables::ALL {
            for row in snapshot.table(rows)?.iter()? {
                let (at, row) = row?;
                let at = (rows.name().to_owned(), at.value().to_vec());
                all.insert(at, row.value().to_vec());
            }
        }
        Ok(all)
    });
    rows.await.unwrap()
}

/// How many rows are others, by table; without those that every record writes.
fn others(before: &All, after: &All) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (one, other) in [(before, after), (after, before)] {
        for (at, row) in one {
            let is_counted = other.get(at).is_none_or(|_| std::ptr::eq(one, before));
            if other.get(at) != Some(row) && is_counted {
                *counts.entry(at.0.clone()).or_default() += 1;
            }
        }
    }
    for every in [
        "records",
        "ids",
        "tree",
        "documents",
        "owners",
        "turns",
        "about",
    ] {
        counts.remove(every);
    }
    counts
}

/// Makes the records of every release unreadable.
async fn damage(registry: &LocalRegistry) {
    let damaged = registry.change(|transaction| {
        let mut positions = Vec::new();
        for row in transaction
            .table(tables::MEMBERS)?
            .iter()
            .map_err(Fault::from)?
        {
            positions.push(row.map_err(Fault::from)?.1.value().to_vec());
        }
        let mut records = transaction.table(tables::RECORDS)?;
        for at in &positions {
            let nonsense: &[u8] = &[0; 9];
            records
                .insert(at.as_slice(), nonsense)
                .map_err(Fault::from)?;
        }
        let last = stored::last_position(&transaction.table(tables::CHANGES)?)?;
        Ok(Written::at(last, ()))
    });
    damaged.await.unwrap();
}

#[tokio::test]
async fn a_document_costs_what_it_changes() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let registry = LocalRegistry::open(&path, OpenOptions::default())
        .await
        .unwrap();
    let (mut alice, mut bob) = (Author::new(1), Author::new(2));
    let owner = alice.owner();
    let mut last = after_implicit(owner);
    let mut acl = |document| {
        let record = Author::new(1).acl(owner, last, document);
        last = after(&record);
        vec![record]
    };
    let releases = |author: &mut Author, name: &str, count: u32| -> Vec<_> {
        (0..count)
            .map(|n| author.publish_in(owner, &format!("{name}{}@1.{n}.0", n % 50), "x"))
            .collect()
    };
    let of_alice = releases(&mut alice, "a", 5000);
    let good = of_alice.last().unwrap().clone();
    registry.admit(of_alice).await.unwrap();
    let founded = document(&alice, &[(&alice, SCOPE_ALL)]);
    registry.admit(acl(founded)).await.unwrap();
    damage(&registry).await;

    // To name another publisher, to relabel, and to retire a key at its last record, no release is read.
    let both = document(&alice, &[(&alice, SCOPE_ALL), (&bob, SCOPE_ALL)]);
    let labelled = NamespaceDocument {
        label: "acme".to_owned(),
        ..both.clone()
    };
    let retired = retiring(document(&alice, &[(&bob, SCOPE_ALL)]), &[(&alice, &good)]);
    for (document, keys) in [(both.clone(), 1), (labelled, 0), (retired, 0)] {
        let before = all(&registry).await;
        let told = *registry.position().borrow();
        let answers = registry.admit(acl(document)).await.unwrap();
        assert_eq!(answers, [Admission::New]);
        let counts = others(&before, &all(&registry).await);
        let expected = [("changes", 1), ("keys", keys), ("status", 1)];
        let expected = expected.into_iter().filter(|(_, count)| *count > 0);
        let expected: BTreeMap<_, _> = expected.map(|(table, n)| (table.to_owned(), n)).collect();
        assert_eq!(counts, expected);
        assert_eq!(*registry.position().borrow(), told + 1);
    }

    // To drop a key, no release of another is read that is in other packages.
    let of_bob = releases(&mut bob, "b", 20);
    registry.admit(of_bob).await.unwrap();
    let dropped = retiring(document(&alice, &[]), &[(&alice, &good)]);
    let before = all(&registry).await;
    registry.admit(acl(dropped)).await.unwrap();
    let counts = others(&before, &all(&registry).await);
    let expected = [("changes", 21), ("names", 20), ("slots", 20), ("status", 1)];
    assert_eq!(
        counts,
        expected.map(|(table, n)| (table.to_owned(), n)).into()
    );
    // To let it write again, only what it wrote is read.
    let again = retiring(document(&alice, &[(&bob, "b1")]), &[(&alice, &good)]);
    let before = all(&registry).await;
    registry.admit(acl(again)).await.unwrap();
    let counts = others(&before, &all(&registry).await);
    let expected = [("changes", 2), ("names", 1), ("slots", 1), ("status", 1)];
    assert_eq!(
        counts,
        expected.map(|(table, n)| (table.to_owned(), n)).into()
    );
}

#[tokio::test]
async fn what_two_feeds_lack_stays_lacking_for_one() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let options = OpenOptions::default();
    let registry = LocalRegistry::open(&path, options).await.unwrap();
    let (mut alice, bob) = (Author::new(1), Author::new(2));
    let missing = alice.publish("a@1.0.0", "x");
    let both = retiring(
        document(&alice, &[]),
        &[(&alice, &missing), (&bob, &missing)],
    );
    let one = retiring(document(&alice, &[]), &[(&bob, &missing)]);
    let mut last = after_implicit(alice.owner());
    for document in [both, one] {
        let record = alice.acl(alice.owner(), last, document);
        last = after(&record);
        let answers = registry.admit(vec![record]).await.unwrap();
        assert_eq!(answers, [Admission::New]);
        assert_eq!(registry.audit().await.unwrap().findings, [""; 0]);
    }
}
