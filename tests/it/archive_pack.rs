//! Directories become archives: the same tree gives the same bytes, and nothing is packed that should not be.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use flate2::read::GzDecoder;
use ggen_marketplace::archive::{self, Bounds, Source};
use ggen_marketplace::protocols::hash::ContentHash;
use ggen_marketplace::protocols::metadata::Format;
use tempfile::TempDir;

const PACK: (&str, &str) = (
    "pack.toml",
    "[pack]\nname = \"templates\"\nversion = \"1.0.0\"\ndescription = \"Some\"\n[other]\nkey = 1\n",
);

fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn pack(root: &Path) -> Vec<u8> {
    let source = archive::recognise(root).unwrap();
    archive::pack_directory(&source).unwrap().0
}

fn refusal(root: &Path) -> String {
    let source = archive::recognise(root).unwrap();
    archive::pack_directory(&source).unwrap_err().to_string()
}

/// Paths and modes of what an archive holds.
fn listed(archive: &[u8]) -> Vec<(String, u32)> {
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    let entry = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        (path, entry.header().mode().unwrap())
    };
    tar.entries().unwrap().map(entry).collect()
}

fn paths(archive: &[u8]) -> Vec<String> {
    listed(archive).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let files = [PACK, ("b/two.txt", "2"), ("a/one.sh", "1"), (&*long, "3")];
    let one = tree(&files);
    let mut backwards = files;
    backwards.reverse();
    let other = tree(&backwards);
    for root in [&one, &other] {
        let script = root.path().join("a/one.sh");
        fs::set_permissions(script, Permissions::from_mode(0o700)).unwrap();
    }
    // Only whether the owner may run it counts.
    let mode = Permissions::from_mode(0o4757);
    fs::set_permissions(other.path().join("a/one.sh"), mode).unwrap();
    fs::set_permissions(
        other.path().join("b/two.txt"),
        Permissions::from_mode(0o606),
    )
    .unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::open(other.path().join("pack.toml"))
        .unwrap()
        .set_modified(then)
        .unwrap();
    fs::create_dir(other.path().join("empty")).unwrap();
    let archive = pack(one.path());
    assert_eq!(archive, pack(other.path()));
    // A changed hash here means that every pack of today would be another release tomorrow.
    assert_eq!(
        ContentHash::blake3(&archive).to_hex(),
        "87bdd935a785321aa25dbbbc088bcd130088fe02e812e951f9e95188a4dbe293"
    );
    let expected = [
        ("templates-1.0.0/a/one.sh".to_owned(), 0o755),
        ("templates-1.0.0/b/two.txt".to_owned(), 0o644),
        (format!("templates-1.0.0/{long}"), 0o644),
        ("templates-1.0.0/pack.toml".to_owned(), 0o644),
    ];
    assert_eq!(listed(&archive), expected);
    let inspected = archive::inspect(&archive[..], Format::Pack, Bounds::default()).unwrap();
    assert_eq!(
        inspected.metadata.unwrap().id.to_string(),
        "templates@1.0.0"
    );
}

#[test]
fn what_version_control_and_builds_leave_is_not_packed() {
    let root = tree(&[
        PACK,
        (".git/config", ""),
        ("sub/.git", "gitdir: elsewhere"),
        ("sub/.hg/store", ""),
        ("target/debug/x", ""),
        ("sub/target/y", ""),
        (".gitignore", ""),
    ]);
    let packed = [
        "templates-1.0.0/.gitignore",
        "templates-1.0.0/pack.toml",
        "templates-1.0.0/sub/target/y",
    ];
    assert_eq!(paths(&pack(root.path())), packed);
}

#[test]
fn what_no_archive_may_have_is_an_error_that_names_it() {
    let root = tree(&[PACK, ("a/x", "")]);
    symlink("x", root.path().join("a/link")).unwrap();
    let error = refusal(root.path());
    assert!(
        error.contains("a/link") && error.contains("symbolic link"),
        "{error}"
    );
    let root = tree(&[PACK, ("a/b:c", "")]);
    let error = refusal(root.path());
    assert!(error.contains("a/b:c") && error.contains("':'"), "{error}");
    let root = tree(&[("pack.toml", "[pack]\nname = \"x\"\n")]);
    let error = refusal(root.path());
    assert!(
        error.contains("pack.toml") && error.contains("pack.version is missing"),
        "{error}"
    );
}

const MEMBER: &str = r#"
[package]
name = "member"
version.workspace = true
edition = "2021"
include = ["src", "data/*.txt"]
[dependencies]
other = { path = "../other", version = "1" }
elsewhere.workspace = true
"#;

const WORKSPACE: &str = r#"
[workspace]
members = ["member", "other"]
resolver = "2"
[workspace.package]
version = "1.2.3"
[workspace.dependencies]
elsewhere = "0.3"
"#;

fn workspace() -> TempDir {
    tree(&[
        ("Cargo.toml", WORKSPACE),
        ("member/Cargo.toml", MEMBER),
        ("member/src/lib.rs", ""),
        ("member/secret.txt", ""),
        ("member/data/a.txt", ""),
        (
            "other/Cargo.toml",
            "[package]\nname = \"other\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
        ),
        ("other/src/lib.rs", ""),
    ])
}

#[test]
fn a_crate_is_packed_as_cargo_packs_it_without_a_network() {
    let one = workspace();
    let other = workspace();
    let archive = pack(&one.path().join("member"));
    assert_eq!(archive, pack(&other.path().join("member")));
    let packed = ["Cargo.toml", "Cargo.toml.orig", "data/a.txt", "src/lib.rs"];
    let mut found = paths(&archive);
    found.sort();
    assert_eq!(found, packed.map(|path| format!("member-1.2.3/{path}")));
    let inspected = archive::inspect(&archive[..], Format::Cargo, Bounds::default()).unwrap();
    let metadata = inspected.metadata.unwrap();
    assert_eq!(metadata.id.to_string(), "member@1.2.3");
    assert_eq!(
        metadata.dependencies["elsewhere"][0]
            .requirement
            .to_string(),
        "^0.3"
    );
    assert_eq!(
        metadata.dependencies["other"][0].requirement.to_string(),
        "^1"
    );
    assert!(!one.path().join("target").exists());
}

#[test]
fn a_crate_that_nobody_else_could_build_is_refused_in_cargos_words() {
    let root = workspace();
    let error = refusal(root.path());
    assert!(error.contains("one of its members"), "{error}");
    let manifest = root.path().join("member/Cargo.toml");
    fs::write(&manifest, MEMBER.replace(", version = \"1\"", "")).unwrap();
    let error = refusal(&root.path().join("member"));
    assert!(error.contains("must have a version"), "{error}");
    fs::write(
        &manifest,
        "[package]\nname = \"member\"\n[dependencies]\nb = {",
    )
    .unwrap();
    let error = refusal(&root.path().join("member"));
    assert!(
        error.contains("Cargo.toml") && error.contains("line 4"),
        "{error}"
    );
}

#[test]
fn a_file_is_not_packed() {
    let root = tree(&[("x.crate", "")]);
    let source = Source::Crate(root.path().join("x.crate"));
    let error = archive::pack_directory(&source).unwrap_err().to_string();
    assert!(error.contains("published as it is"), "{error}");
}

/// The README of a tree, as a node would read it from the archive.
fn readme(files: &[(&str, &str)]) -> Option<String> {
    let archive = pack(tree(files).path());
    let path = archive::readme_path(&archive[..], Format::Pack).unwrap()?;
    let text = archive::file(&archive[..], &path, 8).unwrap()?;
    Some(String::from_utf8(text).unwrap())
}

#[test]
fn a_readme_is_what_the_manifest_names_or_the_usual_file() {
    let manifest = |line: &str| format!("{}{line}\n", PACK.1.split("[other]").next().unwrap());
    fn files(manifest: &str) -> [(&str, &str); 4] {
        [
            ("pack.toml", manifest),
            ("README.md", "usual"),
            ("docs/a.md", "named"),
            ("docs/README.md", "deeper"),
        ]
    }
    assert_eq!(readme(&files(PACK.1)).as_deref(), Some("usual"));
    for named in ["readme = \"docs/a.md\"", "readme = \"./docs/a.md\""] {
        let manifest = manifest(named);
        assert_eq!(readme(&files(&manifest)).as_deref(), Some("named"));
    }
    assert_eq!(readme(&files(&manifest("readme = false"))), None);
    assert_eq!(readme(&files(&manifest("readme = \"gone.md\""))), None);
    assert_eq!(readme(&[PACK]), None);
    let long = readme(&[PACK, ("README.md", "longer than eight")]);
    assert_eq!(long.as_deref(), Some("longer t"), "it is cut");
}

#[test]
fn a_generic_archive_has_no_readme() {
    let path = archive::readme_path(&b"anything"[..], Format::Generic);
    assert_eq!(path.unwrap(), None);
}
