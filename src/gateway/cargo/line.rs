//! One release as one line of an index: JSON in the form that cargo reads, fields in a fixed order, so that all
//! nodes that know the same records give the same bytes.

use std::collections::{BTreeMap, HashMap};

use chrono::SecondsFormat;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{CanonicalName, OwnerId, PackageName};
use ggen_protocols::metadata::{
    Dependency, DependencyKind, DependencySource, Format, PackageMetadata,
};
use semver::Version;
use serde::Serialize;

use super::DEFAULT_REGISTRY;
use crate::archive::index::{Canonical, Segment};
use crate::registry::{Release, Verdict};

/// Of lines whose features stand in two places: older cargos, which would misread them, pass over such lines.
const FEATURES_IN_TWO: u32 = 2;

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    vers: &'a Version,
    deps: Vec<Needed<'a>>,
    cksum: String,
    features: BTreeMap<&'a str, &'a [String]>,
    yanked: bool,
    links: Option<&'a str>,
    rust_version: Option<&'a str>,
    pubtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    features2: BTreeMap<&'a str, &'a [String]>,
}

#[derive(Serialize)]
struct Needed<'a> {
    /// What the package's own code calls it.
    name: &'a str,
    /// What its registry calls it, if that is another name.
    package: Option<&'a str>,
    req: String,
    features: &'a [String],
    optional: bool,
    default_features: bool,
    target: Option<&'a str>,
    kind: &'static str,
    registry: Option<String>,
}

/// Whether a release stands in an index, and then whether it does so as yanked. What was used here before stays for
/// its users' lock files, unless its archive is wrong.
pub(super) fn yanked(release: &Release) -> Option<bool> {
    let is_crate = release.metadata.format == Format::Cargo;
    if !is_crate || matches!(release.verdict, Verdict::Unsound(_)) {
        return None;
    }
    if release.pinned {
        return Some(release.yanked || release.withdrawn);
    }
    let is_kept_back = release.withdrawn || release.withheld().is_some();
    (!is_kept_back).then_some(release.yanked)
}

/// Writes a release's line and the line feed after it.
pub(super) fn write(
    metadata: &PackageMetadata,
    sha256: &ContentHash,
    yanked: bool,
    registries: &Registries,
    out: &mut Vec<u8>,
) {
    let mut features = BTreeMap::new();
    let mut features2 = BTreeMap::new();
    for (feature, values) in &metadata.features {
        let is_new = |value: &String| value.starts_with("dep:") || value.contains("?/");
        let place = match values.iter().any(is_new) {
            true => &mut features2,
            false => &mut features,
        };
        place.insert(feature.as_str(), values.as_slice());
    }
    let aliases: BTreeMap<_, _> = metadata.dependencies.iter().collect();
    let each = aliases.into_iter().flat_map(|(alias, needed)| {
        let needed = needed.iter();
        needed.map(move |dependency| (alias, dependency))
    });
    let line = Line {
        name: &metadata.id.name,
        vers: &metadata.id.version,
        deps: each
            .map(|(alias, dependency)| Needed::of(alias, dependency, registries))
            .collect(),
        cksum: sha256.to_hex(),
        features,
        yanked,
        links: metadata.links.as_deref(),
        rust_version: metadata.rust_version.as_deref(),
        // Cargo passes over lines whose time has a fraction.
        pubtime: metadata
            .published_at
            .to_rfc3339_opts(SecondsFormat::Secs, true),
        v: (!features2.is_empty()).then_some(FEATURES_IN_TWO),
        features2,
    };
    serde_json::to_writer(&mut *out, &line).expect("texts and lists of texts always serialise");
    out.push(b'\n');
}

impl<'a> Needed<'a> {
    fn of(alias: &'a str, dependency: &'a Dependency, registries: &Registries) -> Self {
        Self {
            name: alias,
            package: (dependency.name != alias).then_some(dependency.name.as_str()),
            req: dependency.requirement.to_string(),
            features: &dependency.features,
            optional: dependency.optional,
            default_features: dependency.default_features,
            target: dependency.target.as_deref(),
            kind: match dependency.kind {
                DependencyKind::Dev => "dev",
                DependencyKind::Build => "build",
                _ => "normal",
            },
            registry: registries.of(dependency),
        }
    }
}

/// How an index names the registries of dependencies.
#[derive(Debug)]
pub(super) struct Registries {
    pub(super) lists: Lists,
    /// The base of the addresses of other indexes.
    pub(super) canonical: Canonical,
    /// The base by which this node answers.
    pub(super) own: String,
}

/// Whose packages an index lists.
#[derive(Debug)]
pub(super) enum Lists {
    /// Those of one owner.
    All(OwnerId),
    /// Those that these names mean, as far as dependencies name them.
    Meant(HashMap<CanonicalName, Option<OwnerId>>),
}

impl Registries {
    /// The registry of a dependency; nothing if it is the index itself.
    fn of(&self, dependency: &Dependency) -> Option<String> {
        let owner = match &dependency.source {
            DependencySource::Owner(owner) => owner.0,
            DependencySource::Url(url) => match self.owner_at(url) {
                Some(owner) => owner,
                None => return Some(url.clone()),
            },
            _ => return Some(DEFAULT_REGISTRY.to_owned()),
        };
        let is_listed = match &self.lists {
            Lists::All(of) => *of == owner,
            Lists::Meant(names) => {
                let name = dependency.name.parse::<PackageName>();
                name.is_ok_and(|name| names.get(&name.canonical()) == Some(&Some(owner)))
            }
        };
        (!is_listed).then(|| self.canonical.index(&Segment::Owner(owner)))
    }

    /// Whose index has this address, if it is one of this node or of all nodes.
    fn owner_at(&self, url: &str) -> Option<OwnerId> {
        let Segment::Owner(owner) = Segment::of_url(url)? else {
            return None;
        };
        let ours = [self.canonical.base(), &self.own];
        let mut ours = ours
            .map(|base| format!("sparse+{base}/cargo/{owner}/"))
            .into_iter();
        ours.any(|index| index == url).then_some(owner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ggen_protocols::id::PackageId;
    use ggen_protocols::metadata::OwnerIdText;
    use serde_json::{Value, json};

    use super::*;

    const OWN: &str = "http://127.0.0.1:9001";

    fn owner(number: u8) -> OwnerId {
        OwnerId::from_bytes([number; 32])
    }

    fn canonical_index(number: u8) -> String {
        Canonical::default().index(&Segment::Owner(owner(number)))
    }

    fn registries(lists: Lists) -> Registries {
        Registries {
            lists,
            canonical: Canonical::default(),
            own: OWN.to_owned(),
        }
    }

    fn metadata() -> PackageMetadata {
        let time = "2026-11-23T10:20:30.987Z".parse().unwrap();
        PackageMetadata {
            published_at: time,
            ..PackageMetadata::new(PackageId::new("Some_name", "1.2.3-rc.1+build.5"))
        }
    }

    fn written(metadata: &PackageMetadata, registries: &Registries) -> String {
        let mut out = Vec::new();
        write(
            metadata,
            &ContentHash::sha256("content"),
            false,
            registries,
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    fn dependency(name: &str, source: DependencySource) -> Dependency {
        Dependency {
            source,
            ..Dependency::new(name, "^1.2".parse().unwrap())
        }
    }

    fn of_owner(number: u8) -> DependencySource {
        DependencySource::Owner(OwnerIdText(owner(number)))
    }

    /// The registry that a dependency on `name` from `source` gets.
    fn registry(source: DependencySource, lists: Lists) -> Value {
        let mut metadata = metadata();
        let needed = vec![dependency("Dep_end", source)];
        metadata.dependencies.insert("Dep_end".to_owned(), needed);
        let line = written(&metadata, &registries(lists));
        serde_json::from_str::<Value>(&line).unwrap()["deps"][0]["registry"].clone()
    }

    #[test]
    fn a_line_has_all_fields_in_one_order() {
        let mut metadata = metadata();
        let needed = Dependency {
            kind: DependencyKind::Build,
            features: vec!["f".to_owned()],
            target: Some("cfg(unix)".to_owned()),
            optional: true,
            default_features: false,
            ..dependency("real", DependencySource::Default)
        };
        metadata
            .dependencies
            .insert("alias".to_owned(), vec![needed]);
        metadata.features = [("f".to_owned(), vec!["alias".to_owned()])].into();
        metadata.links = Some("z".to_owned());
        metadata.rust_version = Some("1.70".to_owned());
        let sha256 = ContentHash::sha256("content").to_hex();
        assert_eq!(
            written(&metadata, &registries(Lists::All(owner(1)))),
            format!(
                r#"{{"name":"Some_name","vers":"1.2.3-rc.1+build.5","deps":[{{"name":"alias","package":"real","req":"^1.2","features":["f"],"optional":true,"default_features":false,"target":"cfg(unix)","kind":"build","registry":"{DEFAULT_REGISTRY}"}}],"cksum":"{sha256}","features":{{"f":["alias"]}},"yanked":false,"links":"z","rust_version":"1.70","pubtime":"2026-11-23T10:20:30Z"}}
"#
            )
        );
    }

    #[test]
    fn a_dependency_is_called_by_its_alias_and_found_by_its_name() {
        let mut metadata = metadata();
        let plain = vec![dependency("plain", DependencySource::Default)];
        metadata.dependencies.insert("plain".to_owned(), plain);
        let twice = [DependencyKind::Normal, DependencyKind::Dev].map(|kind| Dependency {
            kind,
            ..dependency("real", DependencySource::Default)
        });
        metadata.dependencies.insert("as".to_owned(), twice.into());
        let line = written(&metadata, &registries(Lists::All(owner(1))));
        let line: Value = serde_json::from_str(&line).unwrap();
        let told = |at: usize| {
            let one = &line["deps"][at];
            json!([one["name"], one["package"], one["kind"]])
        };
        assert_eq!(told(0), json!(["as", "real", "normal"]));
        assert_eq!(told(1), json!(["as", "real", "dev"]));
        assert_eq!(told(2), json!(["plain", null, "normal"]));
    }

    #[test]
    fn features_in_the_newer_form_stand_apart() {
        let mut metadata = metadata();
        let features = ["a=b", "c=dep:d", "e=d?/f,b", "default="].map(|feature| {
            let (name, values) = feature.split_once('=').unwrap();
            let values = values.split(',').filter(|value| !value.is_empty());
            (name.to_owned(), values.map(str::to_owned).collect())
        });
        metadata.features = features.into();
        let line = written(&metadata, &registries(Lists::All(owner(1))));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["features"], json!({ "a": ["b"], "default": [] }));
        assert_eq!(
            line["features2"],
            json!({ "c": ["dep:d"], "e": ["d?/f", "b"] })
        );
        assert_eq!(line["v"], 2);
    }

    #[test]
    fn the_index_of_an_owner_names_every_other_registry() {
        let all = || Lists::All(owner(1));
        assert_eq!(registry(of_owner(1), all()), Value::Null);
        assert_eq!(registry(of_owner(2), all()), canonical_index(2));
        let default = registry(DependencySource::Default, all());
        assert_eq!(default, DEFAULT_REGISTRY);
        for foreign in [
            "sparse+http://other.example/index/".to_owned(),
            // The address of somebody else's machine, whatever it says.
            format!("sparse+http://other.example/cargo/{}/", owner(1)),
        ] {
            let found = registry(DependencySource::Url(foreign.clone()), all());
            assert_eq!(found, foreign);
        }
    }

    #[test]
    fn an_address_of_this_node_is_that_of_all_nodes() {
        for base in [OWN, Canonical::DEFAULT] {
            for (number, expected) in [(1, Value::Null), (2, canonical_index(2).into())] {
                let url = format!("sparse+{base}/cargo/{}/", owner(number));
                let found = registry(DependencySource::Url(url), Lists::All(owner(1)));
                assert_eq!(found, expected, "{base}");
            }
        }
    }

    #[test]
    fn among_bare_names_only_what_the_name_means_is_the_index_itself() {
        let name = "dep-end".parse::<CanonicalName>().unwrap();
        for (meant, expected) in [
            (Some(owner(1)), Value::Null),
            (Some(owner(2)), canonical_index(1).into()),
            (None, canonical_index(1).into()),
        ] {
            let lists = Lists::Meant([(name.clone(), meant)].into());
            assert_eq!(registry(of_owner(1), lists), expected, "{meant:?}");
        }
        let nobody = Lists::Meant(HashMap::new());
        assert_eq!(registry(of_owner(1), nobody), canonical_index(1));
    }

    #[test]
    fn hostile_text_stays_within_its_line() {
        let hostile = "a\"},\n{\"name\":\"b\u{2028}\u{0}\r\n";
        let mut metadata = metadata();
        let needed = Dependency {
            features: vec![hostile.to_owned()],
            target: Some(hostile.to_owned()),
            ..dependency(hostile, DependencySource::Url(hostile.to_owned()))
        };
        metadata
            .dependencies
            .insert(hostile.to_owned(), vec![needed]);
        metadata.features = [(hostile.to_owned(), vec![hostile.to_owned()])].into();
        metadata.links = Some(hostile.to_owned());
        metadata.rust_version = Some(hostile.to_owned());
        let line = written(&metadata, &registries(Lists::All(owner(1))));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.ends_with("}\n") && !line.contains('\r'));
        let read: Value = serde_json::from_str(&line).unwrap();
        for told in [
            &read["links"],
            &read["rust_version"],
            &read["deps"][0]["name"],
            &read["deps"][0]["target"],
            &read["deps"][0]["registry"],
            &read["deps"][0]["features"][0],
            &read["features"][hostile][0],
        ] {
            assert_eq!(told, hostile);
        }
    }
}
