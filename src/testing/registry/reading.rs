//! Names, versions, authors: what a catalogue answers about packages of many owners.

use std::sync::Arc;

use ggen_protocols::metadata::PackageMetadata;
use ggen_protocols::record::{Info, State};

use super::{Author, assert_refused, id, metadata, name, texts, with_identity};
use crate::registry::local::OpenOptions;
use crate::registry::{Catalogue, RegistryError, Standing, Verdict};

pub(super) async fn suite(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>) {
    versions_ascend_and_names_compare_canonically(&*make(OpenOptions::default()).await).await;
    resolution_passes_over_what_is_not_offered(&*make(OpenOptions::default()).await).await;
    two_contents_are_withheld(&*make(OpenOptions::default()).await).await;
    a_bare_name_of_several_owners_is_contested(make).await;
    packages_are_listed_in_pages(&*make(OpenOptions::default()).await).await;
    packages_are_listed_by_author(&*make(OpenOptions::default()).await).await;
    an_owner_edits_what_was_published(&*make(OpenOptions::default()).await).await;
    a_yanked_package_is_yanked_in_all_versions(&*make(with_identity()).await).await;
}

async fn versions_ascend_and_names_compare_canonically(registry: &dyn Catalogue) {
    let mut alice = Author::new(1);
    let versions = ["1.10.0", "1.9.0", "2.0.0-rc.1", "1.9.1+linux", "0.1.0"];
    let records = versions.map(|version| alice.publish(&format!("Foo_Bar@{version}"), version));
    registry.admit(records.to_vec()).await.unwrap();
    for spelled in ["foo-bar", "FOO_bar"] {
        let listed = registry.list_versions(spelled, None).await.unwrap();
        let ascending = ["0.1.0", "1.9.0", "1.9.1+linux", "1.10.0", "2.0.0-rc.1"];
        assert_eq!(texts(listed), ascending);
    }
    let owner = alice.owner().to_string();
    let by_owner = registry.list_versions("foo-bar", Some(&owner)).await;
    assert_eq!(by_owner.unwrap().len(), 5);
    assert_eq!(registry.list_versions("other", None).await.unwrap(), []);
    let got = registry.get(&id("foo-bar@1.9.1+other")).await.unwrap();
    assert_eq!(got.id.to_string(), "Foo_Bar@1.9.1+linux");
    assert_refused!(
        registry.get(&id("foo-bar@3.0.0")).await,
        RegistryError::NotFound(_)
    );
    assert!(registry.list_versions("no name", None).await.is_err());
}

async fn resolution_passes_over_what_is_not_offered(registry: &dyn Catalogue) {
    let mut alice = Author::new(1);
    let unsound = alice.publish("a@1.5.0", "not what it says");
    let records = vec![
        alice.publish("a@1.0.0", "1.0.0"),
        alice.publish("a@1.1.0+x", "1.1.0"),
        alice.publish("a@1.2.0", "yanked"),
        alice.yank("a@1.2.0", 1, true),
        alice.publish("a@1.3.0", "withdrawn"),
        alice.state("a@1.3.0", |state| State {
            withdrawn: true,
            ..state
        }),
        alice.publish("a@1.4.0", "one content"),
        alice.publish("a@1.4.0", "another content"),
        unsound.clone(),
        alice.publish("a@2.0.0-rc.1", "2.0.0-rc.1"),
    ];
    registry.admit(records).await.unwrap();
    let wrong = Verdict::Unsound("its manifest names another package".to_owned());
    registry.judge(unsound.id(), wrong).await.unwrap();
    let owned = format!("{}/a", alice.owner());
    for (what, requirement, best) in [
        ("a", "*", Some("a@1.1.0+x".to_owned())),
        ("a", "^1", Some("a@1.1.0+x".to_owned())),
        ("a", "=1.0.0", Some("a@1.0.0".to_owned())),
        ("a", "=1.2.0", None),
        ("a", "^2", None),
        ("a", "^2.0.0-rc.0", Some("a@2.0.0-rc.1".to_owned())),
        (&owned, "<1.1", Some(format!("{owned}@1.0.0"))),
        ("b", "*", None),
        ("acme/a", "*", None),
    ] {
        let requirement = requirement.parse().unwrap();
        let found = registry.resolve_version(what, &requirement).await.unwrap();
        assert_eq!(found.map(|id| id.to_string()), best, "{what} {requirement}");
    }
    let releases = registry.releases(alice.owner(), &name("a")).await.unwrap();
    let offered = releases.iter().filter(|release| release.is_offered());
    let offered = texts(offered.map(|release| &release.key.version));
    assert_eq!(offered, ["1.0.0", "1.1.0", "2.0.0-rc.1"]);
}

async fn two_contents_are_withheld(registry: &dyn Catalogue) {
    let mut alice = Author::new(1);
    let mut records = [
        alice.publish("Foo@1.0.0", "one"),
        alice.publish("foo@1.0.0", "one"),
        alice.publish("foo@1.0.0+x", "one"),
    ];
    registry.admit(records.to_vec()).await.unwrap();
    records.sort_by_key(|record| record.id());
    let releases = registry
        .releases(alice.owner(), &name("foo"))
        .await
        .unwrap();
    let ids: Vec<_> = records.iter().map(|record| record.id()).collect();
    assert_eq!(releases.len(), 1);
    assert_eq!(releases[0].record, ids[0]);
    assert_eq!(releases[0].standing, Standing::Conflicted(ids));
    let exact = registry.get(&id("foo@1.0.0")).await;
    assert_refused!(exact, RegistryError::Withheld { .. });
    assert_eq!(registry.list_versions("foo", None).await.unwrap(), []);
    assert_eq!(registry.totals().await.unwrap().versions, 1);

    let mut bob = Author::new(2);
    let again = [
        bob.publish("b@1.0.0", "same"),
        bob.publish("b@1.0.0", "same"),
    ];
    registry.admit(again.to_vec()).await.unwrap();
    let releases = registry.releases(bob.owner(), &name("b")).await.unwrap();
    assert_eq!(releases[0].standing, Standing::Published);
    let first = again.iter().map(|record| record.id()).min().unwrap();
    assert_eq!(releases[0].record, first);
}

async fn a_bare_name_of_several_owners_is_contested(
    make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>,
) {
    let (mut alice, mut bob) = (Author::new(1), Author::new(2));
    let mut owners = vec![alice.owner(), bob.owner()];
    owners.sort();
    let records = vec![
        alice.publish("http@1.0.0", "a"),
        bob.publish("http@2.0.0", "b"),
    ];
    let neutral = make(OpenOptions::default()).await;
    neutral.admit(records.clone()).await.unwrap();
    assert_eq!(neutral.owners_of(&name("HTTP")).await.unwrap(), owners);
    let any = "*".parse().unwrap();
    for answer in [
        neutral.owner_of(None, &name("http")).await.map(drop),
        neutral.get(&id("http@1.0.0")).await.map(drop),
        neutral.list_versions("http", None).await.map(drop),
        neutral.resolve_version("http", &any).await.map(drop),
    ] {
        let error = super::refused(answer);
        let RegistryError::Contested(contested) = &error else {
            panic!("{error:?}");
        };
        let shown = contested.claimants.shown.iter();
        assert_eq!(shown.map(|one| one.owner).collect::<Vec<_>>(), owners);
        let command = format!("market use http {}", bob.owner());
        assert!(error.to_string().contains(&command), "{error}");
    }
    let text = bob.owner().to_string();
    let by_id = neutral.owner_of(Some(&text), &name("http")).await.unwrap();
    assert_eq!(by_id, bob.owner());
    let absent = neutral.owner_of(Some(&text), &name("other")).await;
    assert_refused!(absent, RegistryError::NotFound(_));
    let absent = neutral.owner_of(None, &name("other")).await;
    assert_refused!(absent, RegistryError::NotFound(_));
    assert!(neutral.owner_of(Some("ns1x"), &name("http")).await.is_err());

    let bobs = make(OpenOptions {
        own: vec![bob.owner()],
        ..OpenOptions::default()
    })
    .await;
    bobs.admit(records).await.unwrap();
    assert_eq!(bobs.own(), [bob.owner()]);
    assert_eq!(
        bobs.owner_of(None, &name("http")).await.unwrap(),
        bob.owner()
    );
}

async fn packages_are_listed_in_pages(registry: &dyn Catalogue) {
    let mut expected = Vec::new();
    for number in 1..=3 {
        let mut author = Author::new(number);
        for package in ["a", "a-b", "b"] {
            let record = author.publish(&format!("{package}@1.0.0"), package);
            registry.admit(vec![record]).await.unwrap();
            expected.push((author.owner(), name(package)));
        }
    }
    expected.sort();
    let mut listed = Vec::new();
    loop {
        let page = registry.packages(listed.last().cloned(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert_eq!(listed, expected);
    let totals = registry.totals().await.unwrap();
    assert_eq!(
        (totals.records, totals.packages, totals.versions),
        (9, 9, 9)
    );
}

async fn packages_are_listed_by_author(registry: &dyn Catalogue) {
    let by = |release: &str, authors: &[&str]| PackageMetadata {
        authors: texts(authors),
        ..metadata(release)
    };
    let (mut alice, mut bob) = (Author::new(1), Author::new(2));
    let mut records = Vec::new();
    for (release, authors) in [
        ("a@1.0.0", &["ÄNNE", "Carl"][..]),
        ("a@1.1.0", &["Änne"]),
        ("a@2.0.0-pre", &["Nobody"]),
        ("b@1.0.0", &["änne"]),
        ("c@1.0.0", &["Änne"]),
        ("c@1.1.0", &["Carl"]),
        ("d@1.0.0", &["Änne"]),
    ] {
        records.push(alice.publish_metadata(by(release, authors), release));
    }
    records.push(alice.yank("d@1.0.0", 1, true));
    records.push(bob.publish_metadata(by("z@1.0.0", &["änne"]), "z"));
    registry.admit(records).await.unwrap();
    let mut expected = [
        (alice.owner(), "a@1.1.0"),
        (alice.owner(), "b@1.0.0"),
        (bob.owner(), "z@1.0.0"),
    ];
    expected.sort();
    let expected: Vec<_> = expected.map(|(owner, id)| format!("{owner}/{id}")).to_vec();
    let listed = async |limit, offset| {
        let listed = registry.list_by_author("äNNE", limit, offset).await;
        texts(listed.unwrap().into_iter().map(|package| package.id))
    };
    assert_eq!(listed(10, 0).await, expected);
    assert_eq!(listed(1, 1).await, expected[1..2]);
    assert_eq!(listed(10, 3).await, [""; 0]);
    assert_eq!(listed(0, 0).await, [""; 0]);
}

async fn an_owner_edits_what_was_published(registry: &dyn Catalogue) {
    let mut alice = Author::new(1);
    let edit = |description: Option<&str>, deprecated: Option<&str>| Info {
        description: description.map(str::to_owned),
        deprecated: deprecated.map(str::to_owned),
        ..Info::default()
    };
    let records = vec![
        alice.publish("a@1.0.0", "1"),
        alice.publish("a@1.1.0", "2"),
        alice.state("a", |state| State {
            info: Some(edit(Some("of the package"), Some("use b"))),
            ..state
        }),
        alice.state("a@1.1.0", |state| State {
            info: Some(edit(Some("of the release"), None)),
            ..state
        }),
    ];
    registry.admit(records).await.unwrap();
    for (release, description) in [("a@1.0.0", "of the package"), ("a@1.1.0", "of the release")] {
        let got = registry.get(&id(release)).await.unwrap();
        assert_eq!(got.description, description);
        assert_eq!(got.deprecated.as_deref(), Some("use b"));
    }
}

async fn a_yanked_package_is_yanked_in_all_versions(registry: &dyn Catalogue) {
    let mut me = Author::new(0);
    let records = vec![me.publish("a@1.0.0", "1"), me.yank("a", 1, true)];
    registry.admit(records).await.unwrap();
    assert!(registry.is_yanked(&id("a@1.0.0")).await.unwrap());
    assert_refused!(
        registry.unyank(&id("a@1.0.0")).await,
        RegistryError::Withheld { .. }
    );
}
