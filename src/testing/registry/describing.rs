//! Changing what describes a release, and how releases are named.

use std::sync::Arc;

use ggen_protocols::hash::ContentHash;
use semver::VersionReq;

use super::{Author, assert_refused, id, metadata, name, texts, with_identity};
use crate::registry::local::OpenOptions;
use crate::registry::{Catalogue, MetadataUpdates, RegistryError};

pub(super) async fn suite(make: &impl AsyncFn(OpenOptions) -> Arc<dyn Catalogue>) {
    what_describes_a_release_is_replaced(&*make(with_identity()).await).await;
    a_deprecation_is_taken_back(&*make(with_identity()).await).await;
    what_is_fixed_or_too_long_is_not_updated(&*make(with_identity()).await).await;
    only_the_owner_describes(&*make(with_identity()).await).await;
    without_a_key_nothing_is_described(&*make(OpenOptions::default()).await).await;
    every_method_understands_every_namespace(&*make(with_identity()).await).await;
}

async fn publish(registry: &dyn Catalogue, releases: &[&str]) {
    for release in releases {
        let content = ContentHash::blake3(*release);
        registry
            .register(&metadata(release), content)
            .await
            .unwrap();
    }
}

async fn what_describes_a_release_is_replaced(registry: &dyn Catalogue) {
    publish(registry, &["a@1.0.0", "a@1.1.0"]).await;
    let (described, other) = (id("a@1.0.0"), id("a@1.1.0"));
    registry.yank(&described, Some("it leaks")).await.unwrap();
    let before = registry.get(&described).await.unwrap();
    let untouched = registry.get(&other).await.unwrap();
    let position = *registry.position().borrow();
    let updates = MetadataUpdates {
        description: Some("new".to_owned()),
        repository: Some("https://a.example/source".parse().unwrap()),
        homepage: Some("https://a.example/".parse().unwrap()),
        documentation: Some("https://a.example/docs".parse().unwrap()),
        keywords: Some(texts(["one", "two"])),
        categories: Some(Vec::new()),
        ..MetadataUpdates::default()
    };
    let update = registry.update_metadata(&described, updates.clone());
    update.await.unwrap();
    let mut expected = before;
    expected.description = "new".to_owned();
    expected.repository = updates.repository.clone();
    expected.homepage = updates.homepage.clone();
    expected.documentation = updates.documentation.clone();
    expected.keywords = texts(["one", "two"]);
    expected.categories = Vec::new();
    assert_eq!(registry.get(&described).await.unwrap(), expected);
    assert_eq!(registry.get(&other).await.unwrap(), untouched);
    assert!(registry.is_yanked(&described).await.unwrap());

    let changes = registry.changes(position, 10).await.unwrap();
    let owner = Author::new(0).owner();
    assert_eq!(changes.len(), 1, "followers are told once");
    assert_eq!(changes[0].package, Some((owner, name("a"))));

    let root = registry.root().await.unwrap();
    for nothing_new in [updates, MetadataUpdates::default()] {
        let update = registry.update_metadata(&described, nothing_new);
        update.await.unwrap();
    }
    assert_eq!(registry.root().await.unwrap(), root, "it says so already");

    let later = MetadataUpdates {
        description: Some("newer".to_owned()),
        ..MetadataUpdates::default()
    };
    registry.update_metadata(&described, later).await.unwrap();
    expected.description = "newer".to_owned();
    assert_eq!(registry.get(&described).await.unwrap(), expected);
    registry.unyank(&described).await.unwrap();
    assert_eq!(registry.get(&described).await.unwrap(), expected);
    let releases = registry.releases(owner, &name("a")).await.unwrap();
    let state = releases[0].state.as_ref().unwrap();
    assert_eq!(state.revision, 4, "yank, two updates, unyank");
    assert_eq!(registry.audit().await.unwrap().findings, [""; 0]);
}

async fn a_deprecation_is_taken_back(registry: &dyn Catalogue) {
    publish(registry, &["a@1.0.0"]).await;
    let a = id("a@1.0.0");
    let deprecate = async |reason: Option<&str>| {
        let updates = MetadataUpdates {
            deprecated: Some(reason.map(str::to_owned)),
            ..MetadataUpdates::default()
        };
        registry.update_metadata(&a, updates).await.unwrap();
        registry.get(&a).await.unwrap().deprecated
    };
    assert_eq!(deprecate(Some("use b")).await.as_deref(), Some("use b"));
    let any = VersionReq::STAR;
    let found = registry.resolve_version("a", &any).await.unwrap();
    assert_eq!(found, Some(a.clone()), "it is no yank");
    assert_eq!(deprecate(None).await, None);
}

async fn what_is_fixed_or_too_long_is_not_updated(registry: &dyn Catalogue) {
    publish(registry, &["a@1.0.0"]).await;
    let root = registry.root().await.unwrap();
    let none = MetadataUpdates::default;
    for (reason, wrong) in [
        (
            "`license` is fixed",
            MetadataUpdates {
                license: Some("MIT".to_owned()),
                description: Some("fine".to_owned()),
                ..none()
            },
        ),
        (
            "`authors` is fixed",
            MetadataUpdates {
                authors: Some(Vec::new()),
                ..none()
            },
        ),
        (
            "`dependencies` is fixed",
            MetadataUpdates {
                dependencies: Some(Default::default()),
                ..none()
            },
        ),
        (
            "description",
            MetadataUpdates {
                description: Some("x".repeat(1001)),
                ..none()
            },
        ),
        (
            "keywords",
            MetadataUpdates {
                keywords: Some(vec!["x".to_owned(); 6]),
                ..none()
            },
        ),
    ] {
        let error = super::refused(registry.update_metadata(&id("a@1.0.0"), wrong).await);
        let RegistryError::Validation(why) = &error else {
            panic!("{error:?}");
        };
        assert!(why.contains(reason), "{why}");
    }
    assert_eq!(registry.root().await.unwrap(), root, "nothing was added");
}

fn described() -> MetadataUpdates {
    MetadataUpdates {
        description: Some("new".to_owned()),
        ..MetadataUpdates::default()
    }
}

async fn only_the_owner_describes(registry: &dyn Catalogue) {
    let records = vec![
        Author::new(9).publish("a@1.0.0", "x"),
        Author::new(9).publish("http@1.0.0", "x"),
        Author::new(8).publish("http@1.0.0", "x"),
    ];
    registry.admit(records).await.unwrap();
    let root = registry.root().await.unwrap();
    let update = async |what: &str| registry.update_metadata(&id(what), described()).await;
    assert_refused!(update("a@1.0.0").await, RegistryError::Unauthorized(_));
    assert_refused!(update("a@9.9.9").await, RegistryError::NotFound(_));
    assert_refused!(update("b@1.0.0").await, RegistryError::NotFound(_));
    assert_refused!(update("http@1.0.0").await, RegistryError::Contested(_));
    assert_eq!(registry.root().await.unwrap(), root);
}

async fn without_a_key_nothing_is_described(registry: &dyn Catalogue) {
    let published = Author::new(1).publish("a@1.0.0", "x");
    registry.admit(vec![published]).await.unwrap();
    assert_refused!(
        registry.update_metadata(&id("a@1.0.0"), described()).await,
        RegistryError::Unauthorized(_)
    );
}

async fn every_method_understands_every_namespace(registry: &dyn Catalogue) {
    publish(registry, &["acme/a@1.0.0"]).await;
    let owner = Author::new(0).owner().to_string();
    for (asked, namespace) in [None, Some("acme"), Some(owner.as_str())]
        .into_iter()
        .enumerate()
    {
        let prefix = namespace.map(|text| format!("{text}/")).unwrap_or_default();
        let spelled = id(&format!("{prefix}A@1.0.0"));
        let named = format!("{prefix}a");
        let got = registry.get(&spelled).await.unwrap();
        assert_eq!(got.id.namespace.as_deref(), namespace);
        let listed = registry.list_versions("a", namespace).await.unwrap();
        assert_eq!(texts(listed), ["1.0.0"], "{named}");
        let best = async || {
            let any = VersionReq::STAR;
            let found = registry.resolve_version(&named, &any).await.unwrap();
            found.map(|id| id.to_string())
        };
        assert_eq!(best().await, Some(format!("{named}@1.0.0")));
        registry.yank(&spelled, None).await.unwrap();
        assert!(registry.is_yanked(&spelled).await.unwrap());
        assert_eq!(best().await, None);
        registry.unyank(&spelled).await.unwrap();
        let updates = MetadataUpdates {
            description: Some(named.clone()),
            ..MetadataUpdates::default()
        };
        registry.update_metadata(&spelled, updates).await.unwrap();
        assert_eq!(registry.get(&spelled).await.unwrap().description, named);
        registry.record_download(&spelled).await.unwrap();
        let stats = registry.get_stats(&spelled).await.unwrap();
        assert_eq!(stats.total_downloads, asked as u64 + 1, "{named}");
    }
    for wrong in ["ns1x", "No Label"] {
        let mut unnamed = id("a@1.0.0");
        unnamed.namespace = Some(wrong.to_owned());
        assert!(registry.get(&unnamed).await.is_err());
        assert!(registry.get_stats(&unnamed).await.is_err());
        assert!(registry.record_download(&unnamed).await.is_err());
    }
}
