//! Binds dependencies to owners when a release is signed, so that nobody who takes a name later can slip in.
//!
//! A manifest names the registry of a dependency by the address of an index. Where that is an index of a node, the
//! record names the owner instead: the one in the address, or the one that `_` or a label means to the publisher.

use std::collections::{BTreeMap, BTreeSet};

use ggen_protocols::id::{CanonicalName, OwnerId, PackageName};
use ggen_protocols::record::{Publish, PublishDependency, SourceWire};

use super::index::Segment;

/// A package whose owner the publisher's node must tell: what stands before its name, and the name.
pub type Unbound = (Segment, PackageName);

/// The packages that [`bind`] needs owners of: dependencies from an index of a node that names no owner.
pub fn unbound(publish: &Publish) -> BTreeSet<Unbound> {
    publish.dependencies.iter().filter_map(asked).collect()
}

/// Binds every dependency from an index of a node: to the owner in its address, or to the one that `owners` tells.
/// What `owners` does not tell stays as it is.
pub fn bind(publish: &mut Publish, owners: &BTreeMap<Unbound, OwnerId>) {
    rewrite(publish, |dependency| match index_of(dependency) {
        Some(Segment::Owner(owner)) => Some(owner),
        Some(_) => owners.get(&asked(dependency)?).copied(),
        None => None,
    });
}

/// Binds dependencies from the default registry that have one of these `names` to `owner`; returns which, as the
/// manifest spells them.
pub fn adopt(
    publish: &mut Publish,
    names: &BTreeSet<CanonicalName>,
    owner: OwnerId,
) -> BTreeSet<String> {
    let mut adopted = BTreeSet::new();
    rewrite(publish, |dependency| {
        let name: PackageName = dependency.name.parse().ok()?;
        let is_default = dependency.source == SourceWire::Default(());
        (is_default && names.contains(&name.canonical())).then(|| {
            adopted.insert(dependency.name.clone());
            owner
        })
    });
    adopted
}

/// Whether a record may say `recorded` where the manifest says `declared`.
pub(super) fn is_bound(declared: &SourceWire, recorded: &SourceWire) -> bool {
    let SourceWire::Owner(owner) = recorded else {
        return declared == recorded;
    };
    match declared {
        SourceWire::Default(()) => true,
        SourceWire::Owner(declared) => declared == owner,
        SourceWire::Url(url) => match Segment::of_url(url) {
            Some(Segment::Owner(declared)) => declared == *owner,
            // What these meant to the publisher, nobody else can know.
            Some(Segment::View | Segment::Label(_)) => true,
            None => false,
        },
    }
}

fn rewrite(publish: &mut Publish, mut owner: impl FnMut(&PublishDependency) -> Option<OwnerId>) {
    for dependency in &mut publish.dependencies {
        if let Some(owner) = owner(dependency) {
            dependency.source = SourceWire::Owner(owner);
        }
    }
    // As records have them.
    publish.dependencies.sort();
    publish.dependencies.dedup();
}

fn asked(dependency: &PublishDependency) -> Option<Unbound> {
    let segment = index_of(dependency).filter(|segment| !matches!(segment, Segment::Owner(_)))?;
    Some((segment, dependency.name.parse().ok()?))
}

fn index_of(dependency: &PublishDependency) -> Option<Segment> {
    match &dependency.source {
        SourceWire::Url(url) => Segment::of_url(url),
        SourceWire::Default(()) | SourceWire::Owner(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ggen_protocols::hash::ContentHash;
    use ggen_protocols::id::PackageId;
    use ggen_protocols::metadata::{Dependency, DependencySource, PackageMetadata};
    use semver::VersionReq;

    use super::*;

    fn owner(number: u8) -> OwnerId {
        OwnerId::from_bytes([number; 32])
    }

    fn url(segment: &str) -> DependencySource {
        DependencySource::Url(format!("sparse+http://127.0.0.1:7878/cargo/{segment}/"))
    }

    fn publish(dependencies: &[(&str, DependencySource)]) -> Publish {
        let id = PackageId::new("app", "1.0.0");
        let mut metadata = PackageMetadata::new(id);
        for (name, source) in dependencies {
            let dependency = Dependency {
                source: source.clone(),
                ..Dependency::new(*name, VersionReq::STAR)
            };
            let all = metadata.dependencies.entry((*name).to_owned()).or_default();
            all.push(dependency);
        }
        metadata.checksums.sha256 = Some(ContentHash::sha256("archive"));
        Publish::from_metadata(&metadata).unwrap()
    }

    fn sources(publish: &Publish) -> Vec<(&str, SourceWire)> {
        let sources = publish.dependencies.iter();
        sources
            .map(|one| (one.name.as_str(), one.source.clone()))
            .collect()
    }

    #[test]
    fn an_index_of_a_node_becomes_its_owner_and_nothing_else_changes() {
        let foreign = "sparse+https://example.org/index/";
        let mut publish = publish(&[
            ("bare", url("_")),
            ("foreign", DependencySource::Url(foreign.to_owned())),
            ("labelled", url("acme")),
            ("named", url(&owner(1).to_string())),
            ("usual", DependencySource::Default),
        ]);
        let asked: Vec<_> = unbound(&publish).into_iter().collect();
        let acme = Segment::Label("acme".parse().unwrap());
        let questions = [
            (Segment::View, "bare".parse().unwrap()),
            (acme, "labelled".parse().unwrap()),
        ];
        assert_eq!(asked, questions);
        let owners = questions.into_iter().zip([owner(2), owner(3)]).collect();
        bind(&mut publish, &owners);
        let bound = |number| SourceWire::Owner(owner(number));
        let expected = [
            ("bare", bound(2)),
            ("foreign", SourceWire::Url(foreign.to_owned())),
            ("labelled", bound(3)),
            ("named", bound(1)),
            ("usual", SourceWire::Default(())),
        ];
        assert_eq!(sources(&publish), expected);
        assert!(unbound(&publish).is_empty());
    }

    #[test]
    fn two_ways_to_name_one_dependency_become_one() {
        let mut publish = publish(&[("a", url("_")), ("a", url(&owner(1).to_string()))]);
        let question = unbound(&publish).into_iter().next().unwrap();
        bind(&mut publish, &BTreeMap::from([(question, owner(1))]));
        assert_eq!(sources(&publish), [("a", SourceWire::Owner(owner(1)))]);
    }

    #[test]
    fn only_default_dependencies_of_the_batch_are_adopted() {
        let mut publish = publish(&[
            ("Near_By", DependencySource::Default),
            ("far", DependencySource::Default),
            ("near-by2", url("_")),
        ]);
        let batch = ["near-by", "near-by2"].map(|name| name.parse::<PackageName>().unwrap());
        let batch = batch.iter().map(PackageName::canonical).collect();
        let adopted = adopt(&mut publish, &batch, owner(1));
        assert_eq!(adopted, BTreeSet::from(["Near_By".to_owned()]));
        let [first, rest @ ..] = &sources(&publish)[..] else {
            panic!("no dependencies");
        };
        assert_eq!(*first, ("Near_By", SourceWire::Owner(owner(1))));
        assert!(
            !rest
                .iter()
                .any(|(_, source)| matches!(source, SourceWire::Owner(_)))
        );
    }
}
