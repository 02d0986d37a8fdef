//! Whom a name means does not depend on who came first: two nodes that learn of claims in opposite order answer
//! alike, and ten thousand strangers change nothing.

use std::process::Output;
use std::sync::Arc;

use ggen_marketplace::protocols::id::{CanonicalName, OwnerId};
use ggen_marketplace::protocols::limits::CLAIMANTS_MAX;
use ggen_marketplace::protocols::record::{Record, Verified};
use ggen_marketplace::protocols::trust::Anchor;
use ggen_marketplace::registry::local::{LocalRegistry, OpenOptions};
use ggen_marketplace::registry::policy::Decision;
use ggen_marketplace::registry::{Admission, Catalogue, Choices, RegistryError};
use ggen_marketplace::testing::registry::Author;
use serde_json::{Value, json};

use crate::place::{Place, Up, eventually, said};

/// Two homes that claim the label `acme` and the name `http`, and two users of whom each met another one first.
struct Met {
    users: [Place; 2],
    nodes: Vec<Up>,
    owners: [String; 2],
}

impl Met {
    fn new() -> Self {
        let users = [Place::new(), Place::new()];
        let mut owners = Vec::new();
        for (number, user) in users.iter().enumerate() {
            let on_user = Up::start(user, &[]);
            let owner = Place::empty();
            let made = owner.json(&["init", "--label", "acme", "--plain"]);
            let _on_owner = Up::start(&owner, &["--bootstrap", on_user.told("addr")]);
            let code = format!("// {number}");
            owner.json(&["publish", &owner.package("http", "1.0.0", &code)]);
            let sole = format!("only-{number}");
            owner.json(&["publish", &owner.package(&sole, "1.0.0", &code)]);
            eventually(|| user.json(&["status"]), |status| status["packages"] == 2);
            // The only one that it knows: on each node another.
            assert_eq!(user.json(&["info", "http"])["owner"], made["owner"]);
            // By its id, which pins no name.
            let id = made["owner"].as_str().unwrap();
            user.json(&["fetch", &format!("{id}/http")]);
            owners.push(id.to_owned());
        }
        let met = Self {
            nodes: Self::meet(&users),
            users,
            owners: owners.try_into().unwrap(),
        };
        for user in &met.users {
            eventually(|| user.json(&["status"]), |status| status["packages"] == 4);
        }
        met
    }

    fn meet(users: &[Place; 2]) -> Vec<Up> {
        let first = Up::start(&users[0], &[]);
        let second = Up::start(&users[1], &["--bootstrap", first.told("addr")]);
        vec![first, second]
    }

    fn restart(&mut self) {
        for node in std::mem::take(&mut self.nodes) {
            assert_eq!(node.stop(), Some(0));
        }
        self.nodes = Self::meet(&self.users);
    }

    /// What both users are told, which must be the same.
    fn alike(&self, args: &[&str]) -> Output {
        let [first, second] = self.users.each_ref().map(|user| user.run(args));
        assert_eq!(first, second, "{args:?}");
        first
    }

    /// What both users are told by all commands that take a name which means nobody.
    fn contested(&self, wanted: &str) -> String {
        let answer = self.alike(&["info", wanted]);
        assert_eq!(answer.status.code(), Some(1), "{}", said(&answer));
        assert!(answer.stdout.is_empty());
        for command in ["fetch", "use"] {
            assert_eq!(self.alike(&[command, wanted]), answer, "{command}");
        }
        said(&answer)
    }

    /// As answers order them.
    fn owners_by_id(&self) -> [String; 2] {
        let mut owners = self.owners.clone();
        owners.sort_by_key(|owner| owner.parse::<OwnerId>().unwrap());
        owners
    }

    fn owner_of(&self, user: usize, wanted: &str) -> Value {
        self.users[user].json(&["info", wanted])["owner"].clone()
    }
}

/// The commands that a refusal names, ready to be run.
fn choices(said: &str) -> Vec<Vec<&str>> {
    let lines = said.lines();
    let commands = lines.filter_map(|line| line.split_once("  market ").map(|(_, rest)| rest));
    commands
        .map(|command| command.split_whitespace().collect())
        .collect()
}

#[test]
fn claims_that_came_in_opposite_order_are_told_alike_and_decided_by_each_user() {
    let mut met = Met::new();
    let contested = met.contested("http");
    let choices = choices(&contested);
    let mut lines = contested.lines();
    assert_eq!(
        lines.next().unwrap(),
        "error: `http` is claimed by 2 owners here and none is trusted"
    );
    let owners = met.owners_by_id();
    for ((line, owner), choice) in lines.zip(&owners).zip(&choices) {
        assert!(
            line.starts_with("  acme") && line.contains("  1 version  "),
            "{line}"
        );
        assert_eq!(choice, &["use", "http", owner]);
    }
    assert_eq!((contested.lines().count(), choices.len()), (3, 2));

    // Each command decides, and here only.
    for choice in &choices {
        let done = met.users[0].run(choice);
        assert_eq!(done.status.code(), Some(0), "{}", said(&done));
        assert_eq!(met.owner_of(0, "http"), choice[2]);
        assert_eq!(met.users[0].json(&["fetch", "http"])["owner"], choice[2]);
        assert_eq!(said(&met.users[1].run(&["info", "http"])), contested);
    }
    let means = met.users[0].run(&["use", "http"]);
    let means = String::from_utf8(means.stdout).unwrap();
    assert_eq!(means, format!("`http` means {} here (pinned)\n", owners[1]));
    met.restart();
    assert_eq!(met.owner_of(0, "http"), json!(owners[1]));
    assert_eq!(said(&met.users[1].run(&["info", "http"])), contested);

    // A file makes both equal.
    let file = met.users[0].path("market-pins.toml");
    let file = file.to_str().unwrap();
    met.users[0].json(&["use", "--export", file]);
    met.users[1].json(&["use", "--import", file]);
    for args in [
        &["use", "http"][..],
        &["use", "--list"],
        &["use", "--export", "-"],
    ] {
        assert_eq!(met.alike(args).status.code(), Some(0), "{args:?}");
    }
    met.restart();
    for user in [0, 1] {
        assert_eq!(met.owner_of(user, "http"), json!(owners[1]));
        met.users[user].json(&["use", "--remove", "http"]);
    }
    assert_eq!(met.contested("http"), contested);
}

#[test]
fn a_label_that_two_owners_claim_means_nobody_until_the_user_says_whom() {
    let met = Met::new();
    let contested = met.contested("acme/http");
    assert!(
        contested.starts_with("error: `acme/http` is claimed by 2 owners here"),
        "{contested}"
    );
    let choices = choices(&contested);
    let owners = met.owners_by_id();
    let expected = owners.each_ref().map(|owner| ["use", "acme/http", owner]);
    assert_eq!(choices, expected);
    // The id always works.
    let whole = format!("{}/http", owners[1]);
    assert_eq!(met.owner_of(1, &whole), json!(owners[1]));

    met.users[0].json(&choices[0]);
    assert_eq!(met.owner_of(0, "acme/http"), json!(owners[0]));
    assert_eq!(said(&met.users[1].run(&["info", "acme/http"])), contested);
    // The label means its owner for every name, and says nothing of the name alone.
    let sole = met.owners.iter().position(|owner| *owner != owners[0]);
    let error = met.users[0].refused(1, &["info", &format!("acme/only-{}", sole.unwrap())]);
    assert!(
        error.contains("market use --remove acme/only-"),
        "it is the other's: {error}"
    );
    met.users[0].refused_with_choices(&["info", "http"]);
}

#[test]
fn strict_users_are_told_alike_of_a_sole_claimant() {
    let met = Met::new();
    for (number, owner) in met.owners.iter().enumerate() {
        let sole = format!("only-{number}");
        for user in [0, 1] {
            assert_eq!(met.owner_of(user, &sole), json!(owner));
        }
    }
    for user in &met.users {
        user.json(&["use", "--strict"]);
    }
    for (number, owner) in met.owners.iter().enumerate() {
        let sole = format!("only-{number}");
        let contested = met.contested(&sole);
        assert!(contested.contains("one owner here"), "{contested}");
        assert_eq!(choices(&contested), [["use", &sole, owner]]);
    }
    let sole = choices(&met.contested("only-0")).concat().join(" ");
    met.users[1].json(&sole.split(' ').collect::<Vec<_>>());
    assert_eq!(met.owner_of(1, "only-0"), json!(met.owners[0]));
    met.users[0].refused_with_choices(&["info", "only-0"]);
    met.users[0].json(&["use", "--tofu"]);
    assert_eq!(met.owner_of(0, "only-0"), json!(met.owners[0]));
}

const STRANGERS: usize = 10_000;
/// Strangers that come at once.
const BATCH: usize = 1000;

/// Somebody who claims a name, by number.
fn claim(number: usize, name: &str) -> Verified<Record> {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let release = format!("{name}@1.0.0");
    Author::from_seed(seed).publish(&release, &number.to_string())
}

/// All strangers, signed on two threads.
fn strangers(name: &str) -> Vec<Verified<Record>> {
    let half = |from: usize| {
        (from..STRANGERS)
            .step_by(2)
            .map(|number| claim(number, name))
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| half(0).collect::<Vec<_>>());
        let mut all: Vec<_> = half(1).collect();
        all.extend(first.join().unwrap());
        all
    })
}

#[tokio::test]
async fn ten_thousand_strangers_displace_no_pinned_own_or_trusted_owner() {
    let home = tempfile::tempdir().unwrap();
    let authors: [Author; 3] = [1, 2, 3].map(Author::new);
    let [pinned, own, trusted] = authors.each_ref().map(Author::owner);
    let http: CanonicalName = "http".parse().unwrap();
    let anchor = Anchor {
        weight: 3,
        depth: 1,
    };
    // A catalogue for each way in which an owner is known to the user, and one whose user knows nobody.
    let decided = [
        (vec![], Some(Decision::PinName(http.clone(), pinned))),
        (vec![own], None),
        (vec![], Some(Decision::Anchor(trusted, anchor))),
        (vec![], None),
    ];
    let mut catalogues = Vec::new();
    for (number, (own, decision)) in decided.into_iter().enumerate() {
        let path = home.path().join(format!("{number}.redb"));
        let options = OpenOptions {
            own,
            ..OpenOptions::default()
        };
        let catalogue = Arc::new(LocalRegistry::open(path, options).await.unwrap());
        if let Some(decision) = decision {
            catalogue.decide(decision).await.unwrap();
        }
        catalogues.push(catalogue);
    }
    let known: Vec<_> = authors
        .into_iter()
        .map(|mut author| author.publish("http@1.0.0", "known"))
        .collect();
    let (stranger, user) = (catalogues.pop().unwrap(), catalogues);
    for catalogue in &user {
        catalogue.admit(known.clone()).await.unwrap();
    }
    let strangers = strangers("http");
    for batch in strangers.chunks(BATCH) {
        for catalogue in user.iter().chain([&stranger]) {
            for admission in catalogue.admit(batch.to_vec()).await.unwrap() {
                assert_eq!(admission, Admission::New);
            }
        }
        for (catalogue, owner) in user.iter().zip([pinned, own, trusted]) {
            assert_eq!(catalogue.owner_of(None, &http).await.unwrap(), owner);
        }
    }
    for catalogue in &user {
        let all = catalogue.owners_of(&http).await.unwrap();
        assert_eq!(all.len(), STRANGERS + 3);
    }

    let error = stranger.owner_of(None, &http).await.unwrap_err();
    let ggen_marketplace::Error::Registry(RegistryError::Contested(contested)) = error else {
        panic!("{error}");
    };
    assert_eq!(contested.claimants.total, CLAIMANTS_MAX as u64);
    assert!(contested.claimants.is_more);
    let mut owners: Vec<_> = strangers
        .iter()
        .map(|record| record.content().owner.unwrap())
        .collect();
    owners.sort();
    let shown = contested.claimants.shown.iter().map(|one| one.owner);
    assert!(shown.eq(owners.into_iter().take(5)));
    let text = contested.to_string();
    assert!(
        text.starts_with("`http` is claimed by 1024 or more owners here and none is trusted\n")
            && text.ends_with("\n  and at least 1019 more: `ns1…/http` always works"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 7);
}
