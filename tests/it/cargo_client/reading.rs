//! What a manifest says reaches cargo on another node, and builds there.

use std::fs;

use super::{CargoHome, Pair, index, library};

/// Libraries with everything that a manifest can say of what others need to know.
fn publish_everything(pair: &Pair) {
    let acme = format!("registry-index = \"{}\"", index(&pair.owner));
    let place = &pair.publisher;
    let leaf = library(
        place,
        "leaf",
        "1.0.0",
        "[features]\nextra = []\n",
        "pub fn leaf() -> &'static str { if cfg!(feature = \"extra\") { \"leaf+extra\" } else { \"leaf\" } }",
    );
    let helper = library(
        place,
        "helper",
        "0.3.1",
        "[features]\nmore = []\n",
        "pub fn help() -> &'static str { if cfg!(feature = \"more\") { \"helper+more\" } else { \"helper\" } }",
    );
    let builder = library(
        place,
        "builder",
        "1.0.0",
        "",
        "pub fn kind() -> &'static str { \"builder\" }",
    );
    let absent = library(
        place,
        "absent",
        "1.0.0",
        "",
        "compile_error!(\"not for this platform\");",
    );
    let top = library(
        place,
        "top",
        "1.0.0",
        &format!(
            "links = \"top_native\"\nrust-version = \"1.70\"\nbuild = \"build.rs\"\n\
             [dependencies]\n\
             alias = {{ package = \"leaf\", version = \"1\", {acme} }}\n\
             helper = {{ version = \"0.3\", optional = true, {acme} }}\n\
             [build-dependencies]\nbuilder = {{ version = \"1\", {acme} }}\n\
             [dev-dependencies]\nabsent = {{ version = \"1\", {acme} }}\n\
             [target.'cfg(windows)'.dependencies]\nabsent = {{ version = \"1\", {acme} }}\n\
             [features]\ndefault = []\nfull = [\"dep:helper\", \"alias/extra\"]\nweak = [\"helper?/more\"]\n"
        ),
        "pub fn told() -> String {\n    let mut all = vec![alias::leaf().to_string(), env!(\"BUILT_WITH\").to_string()];\n    \
         #[cfg(feature = \"full\")]\n    all.push(helper::help().to_string());\n    all.join(\" \")\n}",
    );
    let build = "fn main() { println!(\"cargo:rustc-env=BUILT_WITH=by-{}\", builder::kind()); }";
    fs::write(format!("{top}/build.rs"), build).unwrap();
    pair.publish(&[&leaf, &helper, &builder, &absent, &top]);
}

const MAIN: &str = "fn main() { println!(\"{}\", top::told()); }";

#[test]
fn what_a_manifest_says_builds_elsewhere_and_a_lock_file_means_the_same_on_every_node() {
    let pair = Pair::new();
    publish_everything(&pair);
    // Made with the publisher's node.
    let theirs = CargoHome::knowing("acme", &pair.owner, pair.on_publisher.told("http"));
    let needs = "top = { version = \"1\", registry = \"acme\", features = [\"full\", \"weak\"] }\n";
    let made = theirs.project("app", needs, MAIN);
    theirs.run(&made, &["generate-lockfile"]);
    let lock = fs::read_to_string(made.join("Cargo.lock")).unwrap();
    let address = format!("source = \"{}\"", index(&pair.owner));
    assert_eq!(lock.matches(&address).count(), 5, "{lock}");

    let ours = pair.cargo();
    let used = ours.project("app", needs, MAIN);
    fs::write(used.join("Cargo.lock"), &lock).unwrap();
    let told = ours.run(&used, &["run", "--locked", "--quiet"]);
    assert_eq!(told, "leaf+extra by-builder helper+more\n");
    assert_eq!(fs::read_to_string(used.join("Cargo.lock")).unwrap(), lock);
    // Without the features, what only they turn on is not there.
    let plain = ours.project(
        "plain",
        "top = { version = \"1\", registry = \"acme\" }\n",
        MAIN,
    );
    assert_eq!(ours.run(&plain, &["run", "--quiet"]), "leaf by-builder\n");

    // What it says besides.
    let metadata = ours.run(&plain, &["metadata", "--format-version", "1", "--locked"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let top = packages
        .iter()
        .find(|package| package["name"] == "top")
        .unwrap();
    assert_eq!(top["links"], "top_native");
    assert_eq!(top["rust_version"], "1.70");
    let source = top["source"].as_str().unwrap().to_owned();
    assert_eq!(source, index(&pair.owner));
}

#[test]
fn two_packages_that_link_one_library_are_told_apart_before_anything_is_fetched() {
    let pair = Pair::new();
    let build = "build = \"build.rs\"\nlinks = \"same\"\n";
    let mut paths = Vec::new();
    for name in ["first", "second"] {
        let path = library(&pair.publisher, name, "1.0.0", build, "");
        fs::write(format!("{path}/build.rs"), "fn main() {}").unwrap();
        paths.push(path);
    }
    pair.publish(&[&paths[0], &paths[1]]);
    let cargo = pair.cargo();
    let needs = "first = { version = \"1\", registry = \"acme\" }\nsecond = { version = \"1\", registry = \"acme\" }\n";
    let project = cargo.project("app", needs, "fn main() {}");
    let said = cargo.refused(&project, &["generate-lockfile"]);
    assert!(
        said.contains("links to the native library `same`"),
        "{said}"
    );
}

#[test]
fn versions_and_spellings_are_what_was_published() {
    let pair = Pair::new();
    let place = &pair.publisher;
    let told = |version: &str| format!("pub fn told() -> &'static str {{ \"{version}\" }}");
    let mut paths = Vec::new();
    // The fix of an old version comes last.
    for version in [
        "1.10.0",
        "2.0.0-rc.1",
        "2.0.0-rc.2",
        "1.9.0",
        "0.1.0+build.5",
    ] {
        paths.push(library(place, "Under_score", version, "", &told(version)));
    }
    paths.push(library(place, "da-sh", "1.0.0", "", &told("dash")));
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    pair.publish(&paths);

    let cargo = pair.cargo();
    for (requirement, expected) in [
        ("1", "1.10.0"),
        ("~1.9", "1.9.0"),
        (">=1, <2", "1.10.0"),
        ("2.0.0-rc.1", "2.0.0-rc.2"),
        ("=2.0.0-rc.1", "2.0.0-rc.1"),
        ("0.1.0", "0.1.0+build.5"),
    ] {
        let needs =
            format!("Under_score = {{ version = \"{requirement}\", registry = \"acme\" }}\n");
        let project = cargo.project("app", &needs, "fn main() {}");
        cargo.run(&project, &["generate-lockfile"]);
        let lock = fs::read_to_string(project.join("Cargo.lock")).unwrap();
        let locked = format!("name = \"Under_score\"\nversion = \"{expected}\"");
        assert!(lock.contains(&locked), "{requirement}: {lock}");
        cargo.run(&project, &["fetch", "--locked"]);
        fs::remove_file(project.join("Cargo.lock")).unwrap();
    }
    let project = cargo.project(
        "pre",
        "Under_score = { version = \"2\", registry = \"acme\" }\n",
        "fn main() {}",
    );
    let said = cargo.refused(&project, &["generate-lockfile"]);
    assert!(
        said.contains("2.0.0-rc.2"),
        "a pre-release is not taken unasked: {said}"
    );

    // The other spelling is found, and the right one is written down.
    let project = cargo.project("spelled", "", "fn main() {}");
    cargo.run(&project, &["add", "--registry", "acme", "da_sh"]);
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    assert!(
        manifest.contains("da-sh = { version = \"1.0.0\", registry = \"acme\" }"),
        "{manifest}"
    );
    let wrong = cargo.project(
        "wrong",
        "da_sh = { version = \"1\", registry = \"acme\" }\n",
        "fn main() {}",
    );
    let said = cargo.refused(&wrong, &["generate-lockfile"]);
    assert!(
        said.contains("da-sh") || said.contains("no matching package"),
        "{said}"
    );
}

#[test]
fn a_yanked_version_builds_under_a_lock_file_and_is_chosen_by_nobody_else() {
    let pair = Pair::new();
    let place = &pair.publisher;
    let one = library(place, "demo", "1.0.0", "", "pub const V: u32 = 0;");
    let two = library(place, "demo", "1.1.0", "", "pub const V: u32 = 1;");
    pair.publish(&[&one, &two]);
    let needs = "demo = { version = \"1\", registry = \"acme\" }\n";
    let main = "fn main() { println!(\"{}\", demo::V); }";
    let before = pair.cargo();
    let project = before.project("app", needs, main);
    before.run(&project, &["generate-lockfile"]);
    let lock = fs::read_to_string(project.join("Cargo.lock")).unwrap();
    assert!(lock.contains("version = \"1.1.0\""), "{lock}");

    pair.publisher
        .json(&["yank", "demo@1.1.0", "--reason", "broken"]);
    pair.meet();
    let after = pair.cargo();
    let project = after.project("app", needs, main);
    fs::write(project.join("Cargo.lock"), &lock).unwrap();
    assert_eq!(after.run(&project, &["run", "--locked", "--quiet"]), "1\n");
    // The same cargo as before sees it too, though it has the older index.
    for cargo in [&after, &before] {
        let fresh = cargo.project("fresh", needs, main);
        cargo.run(&fresh, &["generate-lockfile"]);
        let lock = fs::read_to_string(fresh.join("Cargo.lock")).unwrap();
        assert!(lock.contains("version = \"1.0.0\""), "{lock}");
    }
}

#[test]
fn a_workspace_takes_packages_of_two_owners_that_need_each_other() {
    let pair = Pair::new();
    let leaf = library(
        &pair.publisher,
        "leaf",
        "1.0.0",
        "",
        "pub fn leaf() -> u32 { 7 }",
    );
    pair.publish(&[&leaf]);
    // The reader publishes as well, and needs what it read.
    let theirs = format!(
        "[dependencies]\nleaf = {{ version = \"1\", registry-index = \"{}\" }}\n",
        index(&pair.owner)
    );
    let top = library(
        &pair.reader,
        "top",
        "1.0.0",
        &theirs,
        "pub fn top() -> u32 { leaf::leaf() * 6 }",
    );
    pair.reader.json(&["publish", &top]);
    let reader = pair.reader.json(&["status"])["owner"]
        .as_str()
        .unwrap()
        .to_owned();
    pair.meet();

    let cargo = pair.cargo();
    cargo.know("other", &reader, pair.on_publisher.told("http"));
    let root = cargo.path("workspace");
    for (member, needs) in [
        ("one", "top = { version = \"1\", registry = \"other\" }\n"),
        (
            "two",
            "leaf = { version = \"1\", registry = \"acme\" }\none = { path = \"../one\" }\n",
        ),
    ] {
        let manifest = format!(
            "[package]\nname = \"{member}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n{needs}"
        );
        let code = "pub fn main() {}";
        super::write(&root.join(member), &manifest, "src/lib.rs", code);
    }
    fs::write(
        root.join("Cargo.toml"),
        "[workspace]\nmembers = [\"one\", \"two\"]\nresolver = \"2\"\n",
    )
    .unwrap();
    cargo.run(&root, &["build", "--workspace", "--quiet"]);
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    assert_eq!(lock.matches("name = \"leaf\"").count(), 1, "{lock}");
    for owner in [&pair.owner, &reader] {
        let address = format!("source = \"{}\"", index(owner));
        assert_eq!(lock.matches(&address).count(), 1, "{lock}");
    }
}
