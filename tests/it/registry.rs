//! The catalogue: its contract on every implementation, and the stored one against the model.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ggen_marketplace::protocols::hash::ContentHash;
use ggen_marketplace::protocols::id::{NetworkId, PackageId};
use ggen_marketplace::protocols::metadata::PackageMetadata;
use ggen_marketplace::protocols::reconcile::fingerprint::Prefix;
use ggen_marketplace::protocols::record::{Body, Record, Verified};
use ggen_marketplace::protocols::trust::{Anchor, Level};
use ggen_marketplace::protocols::view::Mode;
use ggen_marketplace::registry::evidence::Question;
use ggen_marketplace::registry::local::{LocalRegistry, OpenOptions};
use ggen_marketplace::registry::policy::Decision;
use ggen_marketplace::registry::tokens::{Token, Tokens};
use ggen_marketplace::registry::{
    Admission, Catalogue, Choices, MetadataUpdates, Registry, Verdict,
};
use ggen_marketplace::testing::memory::MemoryRegistry;
use ggen_marketplace::testing::registry::{Author, policy, suite, tokens, with_identity, world};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

#[tokio::test]
async fn the_stored_catalogue_keeps_its_contract() {
    let home = tempfile::tempdir().unwrap();
    let made = std::sync::atomic::AtomicUsize::new(0);
    suite(async |options: OpenOptions| {
        let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = home.path().join(format!("{number}.redb"));
        Arc::new(LocalRegistry::open(path, options).await.unwrap()) as Arc<dyn Catalogue>
    })
    .await;
}

#[tokio::test]
async fn the_model_keeps_its_contract() {
    suite(async |options: OpenOptions| {
        Arc::new(MemoryRegistry::new(options)) as Arc<dyn Catalogue>
    })
    .await;
}

#[tokio::test]
async fn decisions_keep_their_contract_in_the_stored_catalogue() {
    let home = tempfile::tempdir().unwrap();
    let made = std::sync::atomic::AtomicUsize::new(0);
    policy::suite(async |options: OpenOptions| {
        let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = home.path().join(format!("{number}.redb"));
        let registry = Arc::new(LocalRegistry::open(path, options).await.unwrap());
        (
            registry.clone() as Arc<dyn Catalogue>,
            registry as Arc<dyn Choices>,
        )
    })
    .await;
}

#[tokio::test]
async fn decisions_keep_their_contract_in_the_model() {
    policy::suite(async |options: OpenOptions| {
        let registry = Arc::new(MemoryRegistry::new(options));
        (
            registry.clone() as Arc<dyn Catalogue>,
            registry as Arc<dyn Choices>,
        )
    })
    .await;
}

#[tokio::test]
async fn tokens_keep_their_contract_in_the_stored_catalogue_and_in_the_model() {
    let home = tempfile::tempdir().unwrap();
    let made = std::sync::atomic::AtomicUsize::new(0);
    tokens::suite(async |options: OpenOptions| {
        let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = home.path().join(format!("{number}.redb"));
        Arc::new(LocalRegistry::open(path, options).await.unwrap()) as Arc<dyn Tokens>
    })
    .await;
    tokens::suite(async |options: OpenOptions| {
        Arc::new(MemoryRegistry::new(options)) as Arc<dyn Tokens>
    })
    .await;
}

#[tokio::test]
async fn tokens_outlive_the_process_and_only_their_digest_is_on_disk() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let token = Token::random();
    let registry = LocalRegistry::open(&path, OpenOptions::default()).await;
    let registry = registry.unwrap();
    let (print, terms) = (token.fingerprint(), tokens::terms());
    let made = registry.add_token(&print, &terms).await.unwrap();
    drop(registry);
    let bytes = std::fs::read(&path).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    let id = made.id.as_str();
    assert!(holds(id.as_bytes()));
    let (_, secret) = token.reveal().split_once(id).unwrap();
    assert!(!holds(secret.as_bytes()));
    let registry = LocalRegistry::open(&path, OpenOptions::default()).await;
    let found = registry.unwrap().find_token(&print).await.unwrap();
    assert_eq!(found.unwrap().created, made.created);
}

/// What both catalogues are asked to do.
#[derive(Debug, Clone)]
enum Step {
    Admit(Vec<Index>),
    AdmitOwn(Index),
    Register(PackageId, u8),
    Yank(PackageId),
    Unyank(PackageId),
    Judge(Index, Verdict),
    Decide(Decision),
    Use(&'static str, Index),
    Update(PackageId, Box<MetadataUpdates>),
    Download(PackageId),
    /// It becomes this day, counted from 1970.
    Day(u64),
    /// The process ends in order.
    Reopen,
    /// The process ends at once: what was not written is gone.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ids = || {
        let ids = [
            "a@1.0.0",
            "A@1.1.0",
            "acme/b@1.0.0",
            "b@1.0.0+x",
            "c-d@0.1.0",
        ];
        select(ids.to_vec()).prop_map(|id| id.parse::<PackageId>().unwrap())
    };
    let verdicts = vec![
        Verdict::Unchecked,
        Verdict::Sound,
        Verdict::Unsound("wrong".to_owned()),
    ];
    let step = prop_oneof![
        6 => vec(any::<Index>(), 0..20).prop_map(Step::Admit),
        1 => any::<Index>().prop_map(Step::AdmitOwn),
        2 => (ids(), 0..2u8).prop_map(|(id, content)| Step::Register(id, content)),
        2 => ids().prop_map(Step::Yank),
        1 => ids().prop_map(Step::Unyank),
        1 => (any::<Index>(), select(verdicts)).prop_map(|(at, verdict)| Step::Judge(at, verdict)),
        3 => select(decisions()).prop_map(Step::Decide),
        2 => (select(vec!["", "acme", "ns1"]), any::<Index>()).prop_map(|(how, at)| Step::Use(how, at)),
        2 => (ids(), select(updates())).prop_map(|(id, updates)| Step::Update(id, Box::new(updates))),
        3 => ids().prop_map(Step::Download),
        1 => select(vec![0, 20_000, 20_007, 20_400, 9_999_999]).prop_map(Step::Day),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    vec(step, 1..20)
}

fn updates() -> Vec<MetadataUpdates> {
    let none = MetadataUpdates::default;
    vec![
        none(),
        MetadataUpdates {
            description: Some("new".to_owned()),
            ..none()
        },
        MetadataUpdates {
            deprecated: Some(Some("use b".to_owned())),
            keywords: Some(vec!["word".to_owned()]),
            ..none()
        },
        MetadataUpdates {
            deprecated: Some(None),
            ..none()
        },
        MetadataUpdates {
            license: Some("MIT".to_owned()),
            ..none()
        },
    ]
}

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
}

fn decisions() -> Vec<Decision> {
    let [me, bob, carol] = [0, 1, 2].map(|number| Author::new(number).owner());
    let full = Anchor {
        weight: 3,
        depth: 1,
    };
    let why = || "why".to_owned();
    vec![
        Decision::Mode(Mode::Strict),
        Decision::Mode(Mode::Tofu),
        Decision::PinName("a".parse().unwrap(), carol),
        Decision::UnpinName("a".parse().unwrap()),
        Decision::PinLabel("acme".parse().unwrap(), bob),
        Decision::UnpinLabel("acme".parse().unwrap()),
        Decision::Anchor(bob, full),
        Decision::NoAnchor(bob),
        Decision::Anchor(me, full),
        Decision::Block(carol, why()),
        Decision::Unblock(carol),
        Decision::Block(me, why()),
        Decision::BlockKey(Author::new(1).key(), why()),
        Decision::UnblockKey(Author::new(1).key()),
        Decision::All(vec![Decision::NoAnchor(bob), Decision::Block(me, why())]),
    ]
}

/// Records of three authors, one of whom is the registry's identity: conflicts, forks, yanks, an intrusion.
fn pool() -> Vec<Verified<Record>> {
    let mut records = Vec::new();
    for number in 0..3 {
        let mut author = Author::new(number);
        let start = author.head;
        for (release, content) in [
            ("a@1.0.0", "1"),
            ("a@1.0.0", "2"),
            ("A@1.1.0", "1"),
            ("b@1.0.0-rc.1", "1"),
            ("b@1.0.0", "1"),
            ("c_d@0.1.0+x", "1"),
        ] {
            records.push(author.publish(release, content));
        }
        records.push(author.yank("a@1.0.0", 1, true));
        records.push(author.yank("a@1.1.0", 2, true));
        records.push(author.yank("a@1.1.0", 3, false));
        records.push(author.yank("b", 1, true));
        for subject in 0..3 {
            records.push(author.endorse(
                Author::new(subject).owner(),
                Level::of(u64::from((number + 2 * subject) % 4)).unwrap(),
            ));
        }
        author.head = start;
        records.push(author.publish("e@1.0.0", "1"));
        let body = records[0].content().body.clone();
        records.push(author.write_in(Author::new(7).owner(), body));
    }
    records.extend(world().1);
    records
}

async fn take(
    (catalogue, choices): (&dyn Catalogue, &dyn Choices),
    pool: &[Verified<Record>],
    step: &Step,
) -> String {
    match step {
        Step::Admit(places) => {
            let records = places.iter().map(|at| at.get(pool).clone()).collect();
            format!("{:?}", catalogue.admit(records).await)
        }
        Step::AdmitOwn(at) => format!("{:?}", catalogue.admit_own(at.get(pool).clone()).await),
        Step::Register(id, content) => {
            let content = ContentHash::blake3([*content]);
            let metadata = PackageMetadata::new(id.clone());
            format!("{:?}", catalogue.register(&metadata, content).await)
        }
        Step::Yank(id) => format!("{:?}", catalogue.yank(id, Some("why")).await),
        Step::Unyank(id) => format!("{:?}", catalogue.unyank(id).await),
        Step::Judge(at, verdict) => {
            let id = at.get(pool).id();
            format!("{:?}", catalogue.judge(id, verdict.clone()).await)
        }
        Step::Decide(decision) => format!("{:?}", choices.decide(decision.clone()).await),
        Step::Use(how, at) => {
            let record = at.get(pool);
            let Body::Publish(publish) = &record.content().body else {
                return String::new();
            };
            let release = publish.key(record.content().owner.unwrap());
            let text = release.owner.to_string();
            let namespace = match *how {
                "" => None,
                "ns1" => Some(text.as_str()),
                label => Some(label),
            };
            format!("{:?}", choices.used(namespace, &release, record.id()).await)
        }
        Step::Update(id, updates) => {
            format!(
                "{:?}",
                catalogue.update_metadata(id, (**updates).clone()).await
            )
        }
        Step::Download(id) => format!("{:?}", catalogue.record_download(id).await),
        Step::Day(_) | Step::Reopen | Step::Crash => String::new(),
    }
}

/// Everything that can be asked of a catalogue.
async fn picture(catalogue: &dyn Catalogue, choices: &dyn Choices) -> Vec<String> {
    let mut picture = vec![
        format!("{:?}", catalogue.root().await),
        format!("{:?}", catalogue.branches(vec![Prefix::ROOT]).await),
        format!("{:?}", catalogue.totals().await),
        format!("{:?}", catalogue.changes(0, 1000).await),
        format!("{:?}", *catalogue.position().borrow()),
        format!(
            "{:?}",
            catalogue
                .list_by_author("alice <ALICE@example.org>", 9, 1)
                .await
        ),
        format!("{:?}", choices.policy().await),
    ];
    for number in 0..3 {
        let author = Author::new(number);
        let head = catalogue.feed_head(author.owner(), author.key()).await;
        let forked = catalogue.forked(author.owner()).await;
        picture.push(format!("{head:?} {forked:?}"));
        let trust = choices.trust(author.owner(), None).await;
        let identities = choices.identities(author.key()).await;
        let question = Question {
            owner: Some(author.owner()),
            ..Question::default()
        };
        let evidence = choices.evidence(question).await;
        picture.push(format!("{trust:?} {identities:?} {evidence:?}"));
    }
    for owner in world().0 {
        let documents = catalogue.documents(owner).await.map(|found| found.len());
        let forked = catalogue.forked(owner).await;
        picture.push(format!("{documents:?} {forked:?}"));
    }
    for (owner, name) in catalogue.packages(None, 100).await.unwrap() {
        let text = owner.to_string();
        let any = "*".parse().unwrap();
        picture.push(format!("{:?}", catalogue.releases(owner, &name).await));
        picture.push(format!("{:?}", catalogue.owners_of(&name).await));
        picture.push(format!("{:?}", choices.claimants(None, &name, 2).await));
        picture.push(format!("{:?}", catalogue.owner_of(None, &name).await));
        picture.push(format!(
            "{:?}",
            catalogue.owner_of(Some("acme"), &name).await
        ));
        let listed = catalogue.list_versions(name.as_str(), Some(&text)).await;
        for version in listed.iter().flatten() {
            let id = PackageId {
                name: name.to_string(),
                version: version.clone(),
                namespace: Some(text.clone()),
            };
            picture.push(format!("{:?}", catalogue.get(&id).await));
            picture.push(format!("{:?}", catalogue.is_yanked(&id).await));
            picture.push(format!("{:?}", catalogue.get_stats(&id).await));
        }
        picture.push(format!("{:?}", catalogue.downloads(owner, &name).await));
        picture.push(format!("{listed:?}"));
        let resolved = catalogue
            .resolve_version(&format!("{owner}/{name}"), &any)
            .await;
        picture.push(format!("{resolved:?}"));
    }
    picture
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_stored_catalogue_answers_as_the_model(
        steps in steps(),
        pool_bytes_max in select(vec![u64::MAX, 60_000, 20_000, 9_000]),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        NOW_MS.set(1_700_000_000_123);
        runtime.block_on(async {
            let pool = pool();
            let options = OpenOptions {
                owner_records_max: 7,
                pool_bytes_max,
                clock: || NOW_MS.get(),
                ..with_identity()
            };
            let home = tempfile::tempdir().unwrap();
            let mut path = home.path().join("catalogue.redb");
            let model = MemoryRegistry::new(options.clone());
            let mut stored = LocalRegistry::open(&path, options.clone()).await.unwrap();
            for (number, step) in steps.iter().enumerate() {
                match step {
                    Step::Day(day) => NOW_MS.set(day * 24 * 60 * 60 * 1000 + 1),
                    Step::Reopen => {
                        drop(stored);
                        stored = LocalRegistry::open(&path, options.clone()).await.unwrap();
                    }
                    Step::Crash => {
                        let left = home.path().join(format!("{number}.redb"));
                        std::fs::copy(&path, &left).unwrap();
                        path = left;
                        stored = LocalRegistry::open(&path, options.clone()).await.unwrap();
                    }
                    _ => {}
                }
                let expected = take((&model, &model), &pool, step).await;
                let taken = take((&stored, &stored), &pool, step).await;
                assert_eq!(taken, expected, "{step:?}");
                let stored = picture(&stored, &stored).await;
                let model = picture(&model, &model).await;
                assert_eq!(stored.len(), model.len(), "{step:?}");
                for (stored, model) in stored.iter().zip(&model) {
                    assert_eq!(stored, model, "{step:?}");
                }
            }
            let findings = stored.audit().await.unwrap().findings;
            assert!(findings.is_empty(), "{findings:#?}");
        });
    }
}

#[tokio::test]
async fn a_catalogue_stays_in_its_network() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    drop(
        LocalRegistry::open(&path, OpenOptions::default())
            .await
            .unwrap(),
    );
    let other = OpenOptions {
        network: NetworkId::named("other"),
        ..OpenOptions::default()
    };
    let error = LocalRegistry::open(&path, other).await.unwrap_err();
    assert!(error.to_string().contains("another network"), "{error}");
}

#[tokio::test]
async fn a_catalogue_in_use_says_so() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let _first = LocalRegistry::open(&path, OpenOptions::default())
        .await
        .unwrap();
    let error = LocalRegistry::open(&path, OpenOptions::default())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("used by another running node"),
        "{error}"
    );
}

#[tokio::test]
async fn what_was_declined_is_taken_once_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalogue.redb");
    let mut alice = Author::new(1);
    let records: Vec<_> = (0..4)
        .map(|n| alice.publish(&format!("a@1.{n}.0"), "x"))
        .collect();
    let mut root = None;
    for (room, answer) in [(1, Admission::OwnerFull), (4, Admission::New)] {
        let options = OpenOptions {
            owner_records_max: room,
            ..OpenOptions::default()
        };
        let catalogue = LocalRegistry::open(&path, options).await.unwrap();
        let answers = catalogue.admit(records.clone()).await.unwrap();
        assert_eq!(answers[1..], vec![answer; 3]);
        let now = catalogue.root().await.unwrap();
        assert_eq!(*root.get_or_insert(now), now, "the same ids are known");
        assert_eq!(catalogue.totals().await.unwrap().records, room);
        assert_eq!(catalogue.audit().await.unwrap().findings, [""; 0]);
    }
}

/// Where the process that is to be killed keeps its home.
const HOME: &str = "MARKET_TEST_HOME";
/// How long that process waits to be killed.
const DEADLINE: Duration = Duration::from_secs(60);
/// What that process publishes, one release after the other.
const RELEASES: u64 = 6;

/// Also what the next test runs in another process and kills.
#[tokio::test]
async fn releases_are_registered_one_by_one() {
    let temporary = tempfile::tempdir().unwrap();
    let home = std::env::var_os(HOME).map_or(temporary.path().to_owned(), PathBuf::from);
    let path = home.join("catalogue.redb");
    let registry = LocalRegistry::open(path, with_identity()).await.unwrap();
    for n in 0..RELEASES {
        let id = PackageId::new("a", &format!("1.{n}.0"));
        let content = ContentHash::blake3(n.to_be_bytes());
        let metadata = PackageMetadata::new(id);
        registry.register(&metadata, content).await.unwrap();
        std::fs::write(home.join("acknowledged"), (n + 1).to_string()).unwrap();
    }
    assert_eq!(registry.totals().await.unwrap().records, RELEASES);
}

#[tokio::test]
async fn a_kill_around_a_commit_loses_nothing_acknowledged() {
    for (point, unacknowledged) in [("registry.before-commit", 0), ("registry.after-commit", 1)] {
        // The first commit makes the tables.
        for count in 2..=RELEASES + 1 {
            let home = tempfile::tempdir().unwrap();
            let at = format!("{point}:{count}");
            kill_at(&at, "releases_are_registered_one_by_one", home.path());
            let acknowledged = std::fs::read_to_string(home.path().join("acknowledged"));
            let acknowledged = acknowledged.map_or(0, |text| text.parse().unwrap());
            assert_eq!(acknowledged, count - 2);

            let path = home.path().join("catalogue.redb");
            let registry = LocalRegistry::open(path, with_identity()).await.unwrap();
            let records = registry.totals().await.unwrap().records;
            assert_eq!(records, acknowledged + unacknowledged, "{point}:{count}");
            assert_eq!(registry.audit().await.unwrap().findings, [""; 0]);
        }
    }
}

/// Runs a test of this file in another process, which ends at this point.
fn kill_at(point: &str, test: &str, home: &Path) {
    let killed = Command::new(std::env::current_exe().unwrap())
        .args([&format!("registry::{test}"), "--exact"])
        .env(HOME, home)
        .env("MARKET_CRASH_AT", point)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!killed.success(), "{point} was never reached");
}

async fn downloads(home: &Path) -> u64 {
    let registry = LocalRegistry::open(home.join("catalogue.redb"), with_identity()).await;
    let id = PackageId::new("a", "1.0.0");
    let stats = registry.unwrap().get_stats(&id).await;
    stats.unwrap().total_downloads
}

/// Also what the next test runs in another process and kills.
#[tokio::test]
async fn downloads_are_written_when_it_ends_in_order() {
    let temporary = tempfile::tempdir().unwrap();
    let killed = std::env::var_os(HOME).map(PathBuf::from);
    let home = killed.as_deref().unwrap_or(temporary.path());
    let registry = LocalRegistry::open(home.join("catalogue.redb"), with_identity()).await;
    let registry = registry.unwrap();
    let id = PackageId::new("a", "1.0.0");
    let metadata = PackageMetadata::new(id.clone());
    let content = ContentHash::blake3("x");
    registry.register(&metadata, content).await.unwrap();
    registry.record_download(&id).await.unwrap();
    if killed.is_some() {
        // The end comes from elsewhere; if it does not, the other test says so.
        let wait = std::future::pending::<()>();
        tokio::time::timeout(DEADLINE, wait)
            .await
            .unwrap_or_default();
    }
    drop(registry);
    assert_eq!(downloads(home).await, 1);
}

#[tokio::test]
async fn downloads_are_written_in_time_whether_asked_for_or_not() {
    for (point, written) in [("registry.before-commit", 0), ("registry.after-commit", 1)] {
        let home = tempfile::tempdir().unwrap();
        // The first commit makes the tables, the second has the release.
        let point = format!("{point}:3");
        let test = "downloads_are_written_when_it_ends_in_order";
        kill_at(&point, test, home.path());
        assert_eq!(downloads(home.path()).await, written, "{point}");
    }
}
