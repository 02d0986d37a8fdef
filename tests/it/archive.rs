//! Archives as they arrive: what is read of good ones, and when one is what its record says.

use std::fs::{self, File};
use std::io::{self, Read};

use crate::files::cached_crates;
use flate2::Compression;
use flate2::write::GzEncoder;
use ggen_marketplace::archive::{self, ArchiveError, Bounds, Inspected, Source};
use ggen_marketplace::protocols::hash::ContentHash;
use ggen_marketplace::protocols::id::OwnerId;
use ggen_marketplace::protocols::limits;
use ggen_marketplace::protocols::metadata::{
    DependencyKind, DependencySource, Format, PackageMetadata,
};
use ggen_marketplace::protocols::record::{Publish, SourceWire};
use proptest::prelude::*;

/// A tar archive in the making; nothing is checked.
pub(crate) struct Tarball(tar::Builder<Vec<u8>>);

impl Tarball {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// An archive that begins with this manifest.
    pub(crate) fn with(manifest: &str) -> Self {
        Self::new().file("a-1.0.0/Cargo.toml", manifest.as_bytes())
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, content, |_| {})
    }

    /// An entry with a path of at most 100 bytes, whose header is changed before its checksum is made.
    pub(crate) fn entry(
        mut self,
        path: &str,
        content: &[u8],
        change: impl FnOnce(&mut tar::Header),
    ) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    pub(crate) fn gzip(self) -> Vec<u8> {
        gzip(&self.bytes())
    }
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    io::copy(&mut { content }, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

pub(crate) const MANIFEST: &str = "[package]\nname = \"a\"\nversion = \"1.0.0\"\n";

pub(crate) fn inspect(archive: &[u8]) -> Result<Inspected, ArchiveError> {
    archive::inspect(archive, Format::Cargo, Bounds::default())
}

fn declared(manifest: &str) -> Result<PackageMetadata, ArchiveError> {
    Ok(inspect(&Tarball::with(manifest).gzip())?.metadata.unwrap())
}

fn reason<T: std::fmt::Debug>(result: Result<T, ArchiveError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_manifest_says_everything_that_resolving_needs() {
    let metadata = declared(
        r#"
        [package]
        name = "a"
        version = "1.0.0"
        links = "z"
        rust-version = "1.70"
        [features]
        default = ["std"]
        std = ["dep:one", "renamed?/std"]
        [dependencies]
        one = { version = "1.2", optional = true, default-features = false, features = ["x", "y"] }
        renamed = { package = "two", version = ">=2, <3", registry-index = "sparse+https://index.example/" }
        [build-dependencies]
        one = "=1.2.3"
        [target.'cfg(unix)'.dev_dependencies]
        three = "*"
        "#,
    )
    .unwrap();
    assert_eq!(metadata.links.as_deref(), Some("z"));
    assert_eq!(metadata.rust_version.as_deref(), Some("1.70"));
    assert_eq!(metadata.features["std"], ["dep:one", "renamed?/std"]);
    let ones = &metadata.dependencies["one"];
    let normal = ones
        .iter()
        .find(|d| d.kind == DependencyKind::Normal)
        .unwrap();
    assert_eq!(normal.requirement.to_string(), "^1.2");
    assert!(normal.optional && !normal.default_features);
    assert_eq!(normal.features, ["x", "y"]);
    let build = ones
        .iter()
        .find(|d| d.kind == DependencyKind::Build)
        .unwrap();
    assert_eq!(build.requirement.to_string(), "=1.2.3");
    let renamed = &metadata.dependencies["renamed"][0];
    assert_eq!(renamed.name, "two");
    let index = "sparse+https://index.example/".to_owned();
    assert_eq!(renamed.source, DependencySource::Url(index));
    let three = &metadata.dependencies["three"][0];
    assert_eq!(three.kind, DependencyKind::Dev);
    assert_eq!(three.target.as_deref(), Some("cfg(unix)"));
}

#[test]
fn what_only_describes_is_cut_to_what_a_record_can_carry() {
    let long = "ä".repeat(600);
    let manifest = format!(
        r#"
        [package]
        name = "a"
        version = "1.0.0"
        description = "  e\u0301\u202e {long}"
        authors = ["", "\u0007Ada "]
        license = "{long}"
        repository = "git@host.example:a/b"
        homepage = "https://host.example/a b"
        documentation = "javascript:alert(1)"
        keywords = ["one", "two words", "a-word-that-is-too-long", "ünf", "2", "3", "4", "5", "6"]
        categories = ["a::b"]
        "#
    );
    let metadata = declared(&manifest).unwrap();
    assert!(
        metadata.description.starts_with("\u{e9} ää"),
        "{}",
        metadata.description
    );
    // The last character that fits ends at byte 999.
    assert_eq!(metadata.description.len(), 999);
    assert_eq!(metadata.authors, ["Ada"]);
    assert_eq!(metadata.license, "");
    assert_eq!(metadata.repository, None);
    assert_eq!(
        metadata.homepage.unwrap().as_str(),
        "https://host.example/a%20b"
    );
    assert_eq!(metadata.documentation, None);
    assert_eq!(metadata.keywords, ["one", "2", "3", "4", "5"]);
    assert_eq!(metadata.categories, ["a::b"]);
}

#[test]
fn a_manifest_that_resolving_could_not_rely_on_is_refused_with_its_key() {
    let package = |rest: &str| format!("{MANIFEST}{rest}");
    let many: String = (0..501).map(|n| format!("d{n} = \"1\"\n")).collect();
    for (manifest, why) in [
        ("[workspace]".to_owned(), "no [package] table"),
        (
            "[package]\nname = \"a\"".to_owned(),
            "package.version is missing",
        ),
        (
            "[package]\nname = 1".to_owned(),
            "package.name is no string",
        ),
        (MANIFEST.replace("1.0.0", "1.0"), "no version"),
        (MANIFEST.replace("\"a\"", "\"1a\""), "no package name"),
        (
            MANIFEST.replace("\"1.0.0\"", "{ workspace = true }"),
            "package.version is inherited",
        ),
        (
            package("[dependencies]\nb = { workspace = true }"),
            "dependencies.b is inherited",
        ),
        (
            package("[dependencies]\nb = { path = \"../b\" }"),
            "dependencies.b has a path",
        ),
        (
            package("[dependencies]\nb = { version = \"1\", registry = \"r\" }"),
            "`cargo package`",
        ),
        (
            package("[dependencies]\nb = \"one\""),
            "dependencies.b: `one` is no version requirement",
        ),
        (
            package("[dependencies]\nb = 1"),
            "dependencies.b is no table",
        ),
        (
            package("[dependencies]\n\"b c\" = \"1\""),
            "dependency: `b c`",
        ),
        (
            package("[dependencies]\nb = { version = \"1\", registry-index = \"ssh://x/\" }"),
            "dependency registry",
        ),
        (package(&format!("[dependencies]\n{many}")), "501 of them"),
        (
            package("[features]\nf = [1]"),
            "features.f is no list of strings",
        ),
        (package("publish = false"), "does not want it published"),
        (package("publish = []"), "does not want it published"),
        (package("x = "), "line 4"),
        (package("\"\\u001b\" = 1\n\"\\u001b\" = 1"), "line 5"),
        (
            package("[dependencies]\nb = \"1\\u001b\""),
            "dependencies.b",
        ),
    ] {
        let error = reason(declared(&manifest));
        assert!(error.contains(why), "{manifest}\n{error}");
        assert!(error.contains("Cargo.toml"), "{error}");
        assert!(!error.contains(char::is_control), "{error:?}");
    }
}

#[test]
fn the_directory_in_the_archive_is_the_name_and_the_version() {
    for (manifest, declared) in [
        (MANIFEST.replace("\"a\"", "\"b\""), "`b-1.0.0`"),
        (MANIFEST.replace("1.0.0", "1.0.1"), "`a-1.0.1`"),
    ] {
        let error = reason(inspect(&Tarball::with(&manifest).gzip()));
        assert!(
            error.contains(declared) && error.contains("`a-1.0.0`"),
            "{error}"
        );
    }
}

#[test]
fn a_pack_is_read_as_a_crate_is() {
    let manifest = r#"
        [pack]
        name = "templates"
        version = "0.2.0"
        description = "Some templates"
        keywords = ["web"]
        [dependencies]
        base = "^1"
        [template.page]
        engine = "tera"
        "#;
    let archive = Tarball::new()
        .file("templates-0.2.0/pack.toml", manifest.as_bytes())
        .gzip();
    let inspected = archive::inspect(&archive[..], Format::Pack, Bounds::default()).unwrap();
    let metadata = inspected.metadata.unwrap();
    assert_eq!(metadata.format, Format::Pack);
    assert_eq!(metadata.id.to_string(), "templates@0.2.0");
    assert_eq!(metadata.description, "Some templates");
    assert_eq!(
        metadata.dependencies["base"][0].requirement.to_string(),
        "^1"
    );
    let error = reason(inspect(&archive));
    assert!(error.contains("Cargo.toml: there is none"), "{error}");
}

#[test]
fn a_generic_archive_is_only_hashed() {
    let content = b"neither gzip nor anything else".repeat(10_000);
    let inspected = archive::inspect(&content[..], Format::Generic, Bounds::default()).unwrap();
    assert!(inspected.metadata.is_none());
    assert_eq!(inspected.blake3, ContentHash::blake3(&content));
    assert_eq!(inspected.sha256, ContentHash::sha256(&content));
    assert_eq!(inspected.size, content.len() as u64);
}

#[test]
fn hashes_are_those_of_the_file_however_it_is_read() {
    /// Gives one byte at a time.
    struct Dripping<'a>(&'a [u8]);
    impl Read for Dripping<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let some = into.len().min(1);
            self.0.read(&mut into[..some])
        }
    }
    let archive = Tarball::with(MANIFEST).gzip();
    let inspected = archive::inspect(Dripping(&archive), Format::Cargo, Bounds::default()).unwrap();
    assert_eq!(inspected.blake3, ContentHash::blake3(&archive));
    assert_eq!(inspected.sha256, ContentHash::sha256(&archive));
    assert_eq!(inspected.size, archive.len() as u64);
    assert_eq!(inspected.metadata, inspect(&archive).unwrap().metadata);
}

#[test]
fn a_reader_that_fails_is_no_fault_of_the_archive() {
    struct Failing<'a>(&'a [u8]);
    impl Read for Failing<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the disk is gone",
                )),
                count => Ok(count),
            }
        }
    }
    let archive = Tarball::with(MANIFEST).gzip();
    for at in [0, 5, archive.len() / 2, archive.len()] {
        let reader = Failing(&archive[..at]);
        let error = archive::inspect(reader, Format::Cargo, Bounds::default()).unwrap_err();
        assert!(matches!(error, ArchiveError::Io(_)), "at {at}: {error}");
    }
}

/// An archive and the record that publishes it.
fn released() -> (Vec<u8>, Publish) {
    let manifest = format!(
        "{MANIFEST}description = \"d\"\nlicense = \"MIT\"\n[dependencies]\nb = \"1\"\nc = \"2\"\n[features]\nf = []\n"
    );
    let archive = Tarball::with(&manifest).gzip();
    let metadata = inspect(&archive).unwrap().metadata.unwrap();
    let publish = Publish::from_metadata(&metadata).unwrap();
    (archive, publish)
}

fn differs(archive: &[u8], publish: &Publish) -> &'static str {
    match archive::matches(archive, publish, Bounds::default()) {
        Err(ArchiveError::Differs { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_archive_matches_the_record_made_from_it_and_no_other() {
    let (archive, publish) = released();
    archive::matches(&archive[..], &publish, Bounds::default()).unwrap();
    type Change = fn(&mut Publish);
    let changes: [(&str, Change); 11] = [
        ("BLAKE3", |p| p.blake3 = Some([1; 32].into())),
        ("SHA-256", |p| p.sha256 = Some([1; 32].into())),
        ("size", |p| p.size = Some(1)),
        ("name", |p| p.name = "A".to_owned()),
        ("version", |p| p.version = "1.0.0+b".to_owned()),
        ("description", |p| p.description.push('.')),
        ("license", |p| p.license.clear()),
        ("native library", |p| p.native = Some("z".to_owned())),
        ("features", |p| p.features.clear()),
        ("dependencies", |p| drop(p.dependencies.pop())),
        ("dependencies", |p| p.dependencies[0].optional = true),
    ];
    for (field, change) in changes {
        let mut other = publish.clone();
        change(&mut other);
        assert_eq!(differs(&archive, &other), field);
    }
}

#[test]
fn what_a_record_leaves_open_is_not_compared() {
    let (archive, mut publish) = released();
    publish.sha256 = None;
    publish.size = None;
    publish.provenance = Some([1; 32].into());
    archive::matches(&archive[..], &publish, Bounds::default()).unwrap();
}

#[test]
fn a_record_may_bind_a_default_dependency_to_an_owner_and_to_nothing_else() {
    let (archive, publish) = released();
    let with = |source: SourceWire| {
        let mut bound = publish.clone();
        bound.dependencies[1].source = source;
        bound
    };
    let owner = SourceWire::Owner(OwnerId::from_bytes([1; 32]));
    archive::matches(&archive[..], &with(owner.clone()), Bounds::default()).unwrap();
    let url = SourceWire::Url("https://index.example/".to_owned());
    assert_eq!(differs(&archive, &with(url)), "dependencies");
    // Both bound and unbound would be two dependencies where the manifest has one.
    let mut twice = publish.clone();
    let mut more = twice.dependencies[1].clone();
    more.source = owner;
    twice.dependencies.push(more);
    assert_eq!(differs(&archive, &twice), "dependencies");
}

#[test]
fn a_generic_record_is_compared_by_hash_and_size_alone() {
    let (_, mut publish) = released();
    publish.format = 2;
    publish.blake3 = Some((*ContentHash::blake3(b"x").as_bytes()).into());
    publish.sha256 = None;
    publish.size = Some(1);
    archive::matches(&b"x"[..], &publish, Bounds::default()).unwrap();
    assert_eq!(differs(b"y", &publish), "BLAKE3");
}

#[test]
fn a_path_is_recognised_by_what_it_is() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    for directory in ["cargo", "pack", "both", "neither"] {
        fs::create_dir(at(directory)).unwrap();
    }
    for file in [
        "cargo/Cargo.toml",
        "pack/pack.toml",
        "both/Cargo.toml",
        "both/pack.toml",
        "x.crate",
        "x.zip",
    ] {
        File::create(at(file)).unwrap();
    }
    let recognised = |name: &str| archive::recognise(&at(name)).unwrap();
    assert_eq!(recognised("cargo"), Source::CargoDirectory(at("cargo")));
    assert_eq!(recognised("pack"), Source::PackDirectory(at("pack")));
    assert_eq!(recognised("x.crate"), Source::Crate(at("x.crate")));
    assert_eq!(recognised("x.zip"), Source::Generic(at("x.zip")));
    for (name, why) in [
        ("both", "both a Cargo.toml and a pack.toml"),
        ("neither", "neither a Cargo.toml nor a pack.toml"),
        ("nothing", "expected a .crate file"),
    ] {
        let error = reason(archive::recognise(&at(name)));
        assert!(error.contains(why) && error.contains(name), "{error}");
    }
}

#[test]
fn every_crate_that_we_are_built_from_is_accepted_and_can_be_published() {
    for path in cached_crates() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let read = || File::open(&path).unwrap();
        let inspected = archive::inspect(read(), Format::Cargo, Bounds::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let metadata = inspected.metadata.unwrap();
        assert_eq!(
            format!("{}-{}", metadata.id.name, metadata.id.version),
            name
        );
        let publish = Publish::from_metadata(&metadata).unwrap_or_else(|e| panic!("{name}: {e}"));
        archive::matches(read(), &publish, Bounds::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// A manifest in which every describing value is any text at all.
fn describing() -> impl Strategy<Value = String> {
    let text = || "\\PC{0,300}|[\\u{0}-\\u{1f}e\\u{301}\\u{202e}\\u{1100}\\u{1161} a]{0,1200}";
    (text(), text(), text(), text()).prop_map(|(one, two, three, four)| {
        let mut package = toml::Table::new();
        package.insert("name".into(), "a".into());
        package.insert("version".into(), "1.0.0".into());
        package.insert("description".into(), one.clone().into());
        package.insert("license".into(), two.clone().into());
        package.insert("authors".into(), vec![three.clone(), four.clone()].into());
        package.insert("keywords".into(), vec![one, two.clone()].into());
        package.insert(
            "categories".into(),
            vec![three.clone(), four.clone()].into(),
        );
        package.insert(
            "homepage".into(),
            format!("https://host.example/{two}").into(),
        );
        package.insert("repository".into(), format!("https://{three}/").into());
        package.insert("documentation".into(), four.into());
        toml::to_string(&toml::Table::from_iter([(
            "package".to_owned(),
            package.into(),
        )]))
        .unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_describing_text_keeps_a_crate_from_being_published(manifest in describing()) {
        prop_assume!(manifest.len() as u64 <= limits::MANIFEST_BYTES_MAX);
        let archive = Tarball::with(&manifest).gzip();
        let metadata = inspect(&archive).unwrap().metadata.unwrap();
        let publish = Publish::from_metadata(&metadata).unwrap();
        archive::matches(&archive[..], &publish, Bounds::default()).unwrap();
    }
}
