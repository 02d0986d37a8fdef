//! What one user's own cargo does at a node, and what another's finds of it at a second one, with a `CARGO_HOME` of
//! its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Publisher;
use super::tokens::{ALL, with_tokens};
use crate::cargo_client::{CargoHome, index, told};
use crate::place::{Place, Up, ended, eventually};

/// A publisher, and somebody else with another node.
struct Apart {
    publisher: Publisher,
    reader: Place,
    on_reader: Up,
    cargo: CargoHome,
}

impl Apart {
    fn new(publisher: Publisher) -> Self {
        Self::with(publisher, Place::new(), &[])
    }

    /// One whose reader has this home, and whose cargo is set up with these arguments besides.
    fn with(publisher: Publisher, reader: Place, args: &[&str]) -> Self {
        let on_reader = Up::start(&reader, &["--bootstrap", publisher.up.told("addr")]);
        let apart = Self {
            publisher,
            reader,
            on_reader,
            cargo: CargoHome::new(),
        };
        let owner = apart.publisher.owner();
        apart.configure(&apart.cargo, &[&[&*owner, "--name", "own"], args].concat());
        apart
    }

    /// Sets a cargo up to read from the reader's node, as the command says.
    fn configure(&self, cargo: &CargoHome, args: &[&str]) {
        let file = cargo.path("cargo-home/config.toml");
        let write = format!("--write={}", file.display());
        let done = self
            .reader
            .json(&[&["cargo-config", &write], args].concat());
        assert_eq!(done["changed"], true, "{done}");
    }

    /// Another cargo at the reader's node, which has seen nothing yet.
    fn fresh(&self) -> CargoHome {
        let cargo = CargoHome::new();
        self.configure(&cargo, &[&self.publisher.owner(), "--name", "own"]);
        cargo
    }

    /// Waits until both know the same.
    fn meet(&self) {
        let root = |place: &Place| place.json(&["status"])["root"].clone();
        let roots = || [root(&self.publisher.place), root(&self.reader)];
        eventually(roots, |[theirs, ours]| theirs == ours);
    }
}

fn member(root: &Path, name: &str, version: &str, more: &str, file: &str, code: &str) {
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\nlicense = \"MIT\"\n\
         description = \"A member of the tests\"\n{more}"
    );
    let dir = root.join(name);
    fs::create_dir_all(dir.join("src")).unwrap();
    fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    fs::write(dir.join(file), code).unwrap();
}

/// A workspace whose members use all that a manifest can say of what others need to know.
fn workspace(root: &Path) {
    fs::create_dir_all(root).unwrap();
    let members = "[workspace]\nresolver = \"2\"\nmembers = [\"leaf\", \"helper\", \"kind\", \"top\", \"tell\"]\n";
    fs::write(root.join("Cargo.toml"), members).unwrap();
    let own = |name: &str, version: &str| {
        format!("path = \"../{name}\", version = \"{version}\", registry = \"own\"")
    };
    let said = |name: &str, word: &str| {
        format!(
            "pub fn {name}() -> &'static str {{ if cfg!(feature = \"{word}\") {{ \"{name}+{word}\" }} else {{ \"{name}\" }} }}"
        )
    };
    let extra = "[features]\nextra = []\n";
    member(
        root,
        "leaf",
        "1.2.0",
        extra,
        "src/lib.rs",
        &said("leaf", "extra"),
    );
    let helper = said("helper", "extra");
    member(root, "helper", "0.3.1", extra, "src/lib.rs", &helper);
    let kind = said("kind", "none");
    member(
        root,
        "kind",
        "1.0.0+build.5",
        "[features]\nnone = []\n",
        "src/lib.rs",
        &kind,
    );
    let needs = format!(
        "links = \"top_native\"\nrust-version = \"1.70\"\nbuild = \"build.rs\"\n\
         [dependencies]\nalias = {{ package = \"leaf\", {} }}\nhelper = {{ optional = true, {} }}\n\
         [build-dependencies]\nkind = {{ {} }}\n\
         [features]\ndefault = []\nfull = [\"dep:helper\", \"alias/extra\"]\nweak = [\"helper?/extra\"]\n",
        own("leaf", "1"),
        own("helper", "0.3"),
        own("kind", "1")
    );
    let code = "pub fn told() -> String {\n    let mut all = vec![alias::leaf(), env!(\"BUILT_WITH\")];\n    \
                #[cfg(feature = \"full\")]\n    all.push(helper::helper());\n    all.join(\" \")\n}";
    member(root, "top", "2.0.0-rc.1", &needs, "src/lib.rs", code);
    let build = "fn main() { println!(\"cargo:rustc-env=BUILT_WITH=by-{}\", kind::kind()); }";
    fs::write(root.join("top/build.rs"), build).unwrap();
    let needs = format!(
        "[dependencies]\ntop = {{ features = [\"full\", \"weak\"], {} }}\n",
        own("top", "2.0.0-rc.1")
    );
    member(root, "tell", "0.1.0", &needs, "src/main.rs", MAIN);
}

const MAIN: &str = "fn main() { println!(\"{}\", top::told()); }";
const SAYS: &str = "leaf+extra by-kind helper+extra\n";

#[test]
fn what_cargo_publishes_at_one_node_every_command_of_cargo_uses_at_another() {
    let apart = Apart::new(Publisher::signing());
    let (publisher, cargo) = (&apart.publisher, &apart.cargo);
    let root = publisher.place.path("workspace");
    workspace(&root);
    publisher.publish(&root, &["--workspace", "--dry-run"]);
    assert_eq!(publisher.place.json(&["status"])["records"], 0);
    publisher.publish(&root, &["--workspace", "--no-verify"]);
    apart.meet();
    assert_eq!(apart.reader.json(&["status"])["versions"], 5);

    // A lock file of the publisher's cargo means the same here.
    let needs =
        "top = { version = \"2.0.0-rc.1\", registry = \"own\", features = [\"full\", \"weak\"] }\n";
    let made = publisher.cargo.project("app", needs, MAIN);
    publisher.cargo.run(&made, &["generate-lockfile"]);
    let lock = fs::read_to_string(made.join("Cargo.lock")).unwrap();
    let source = format!("source = \"{}\"", index(&publisher.owner()));
    assert_eq!(lock.matches(&source).count(), 4, "{lock}");
    let used = cargo.project("app", needs, MAIN);
    fs::write(used.join("Cargo.lock"), &lock).unwrap();
    cargo.run(&used, &["fetch", "--locked"]);
    let run = ["run", "--locked", "--offline", "--quiet"];
    assert_eq!(cargo.run(&used, &run), SAYS);
    assert_eq!(fs::read_to_string(used.join("Cargo.lock")).unwrap(), lock);

    let project = cargo.project("added", "", MAIN);
    let found = eventually(
        || cargo.run(&project, &["search", "--registry", "own-local", "leaf"]),
        |found| found.contains("leaf = "),
    );
    assert!(found.contains("leaf = \"1.2.0\""), "{found}");
    assert!(found.contains("# A member of the tests"), "{found}");
    for (package, parts) in [
        (
            "top@2.0.0-rc.1",
            &["version: 2.0.0-rc.1", "rust-version: 1.70", "dep:helper"][..],
        ),
        (
            "kind",
            &[
                "version: 1.0.0+build.5",
                "license: MIT",
                "A member of the tests",
            ],
        ),
    ] {
        let info = cargo.run(&project, &["info", "--registry", "own", package]);
        for part in parts {
            assert!(info.contains(part), "{part}: {info}");
        }
    }
    let add = [
        "add",
        "--registry",
        "own",
        "top@2.0.0-rc.1",
        "--features",
        "full,weak",
    ];
    cargo.run(&project, &add);
    cargo.run(&project, &["build", "--quiet"]);
    let vendor = ["vendor", "--locked", "--respect-source-config"];
    let configuration = cargo.run(&project, &vendor);

    let installed = cargo.path("installed");
    let to = installed.to_str().unwrap();
    let install = [
        "install",
        "--quiet",
        "--registry",
        "own",
        "--root",
        to,
        "tell",
    ];
    cargo.run(&project, &install);
    let told = ended(Command::new(installed.join("bin/tell")));
    assert_eq!(told.stdout, SAYS.as_bytes());

    // What was vendored builds when the node is gone.
    let Apart {
        on_reader, cargo, ..
    } = apart;
    assert_eq!(on_reader.stop(), Some(0));
    fs::create_dir(project.join(".cargo")).unwrap();
    fs::write(project.join(".cargo/config.toml"), configuration).unwrap();
    assert_eq!(cargo.run(&project, &["run", "--locked", "--quiet"]), SAYS);
}

#[test]
fn a_yank_of_cargo_at_one_node_counts_at_another_and_lock_files_go_on() {
    let apart = Apart::new(Publisher::signing());
    let publisher = &apart.publisher;
    for version in ["1.0.0", "1.1.0"] {
        let code = format!("pub const V: &str = \"{version}\";");
        let dir = publisher.library("parser", version, "", &code);
        publisher.publish(&dir, &["--no-verify"]);
    }
    apart.meet();
    let needs = "parser = { version = \"1\", registry = \"own\" }\n";
    let main = "fn main() { println!(\"{}\", parser::V); }";
    let project = apart.cargo.project("app", needs, main);
    apart.cargo.run(&project, &["generate-lockfile"]);
    let lock = fs::read_to_string(project.join("Cargo.lock")).unwrap();
    assert!(lock.contains("version = \"1.1.0\""), "{lock}");

    let here = publisher.place.path("parser-1.0.0");
    let yank = |args: &[&str]| {
        let fixed = ["yank", "parser@1.1.0", "--registry", "own-local"];
        publisher.cargo.run(&here, &[&fixed, args].concat());
        apart.meet();
    };
    for (args, chosen) in [(&[][..], "1.0.0"), (&["--undo"], "1.1.0")] {
        yank(args);
        let cargo = apart.fresh();
        let locked = cargo.project("locked", needs, main);
        fs::write(
            locked.join("Cargo.lock"),
            lock.replace("\"app\"", "\"locked\""),
        )
        .unwrap();
        let run = ["run", "--locked", "--quiet"];
        assert_eq!(cargo.run(&locked, &run), "1.1.0\n");
        let new = cargo.project("new", needs, main);
        assert_eq!(cargo.run(&new, &["run", "--quiet"]), format!("{chosen}\n"));
    }
    // Somebody else's it is to yank only for whoever has the key.
    let args = [
        "yank",
        "parser@1.0.0",
        "--registry",
        "own-local",
        "--token",
        "none",
    ];
    let said = apart.cargo.refused(&here, &args);
    assert!(said.contains("is no token"), "{said}");
}

#[test]
fn an_owner_that_cargo_adds_publishes_with_cargo_at_another_node_until_cargo_removes_it() {
    let publisher = with_tokens();
    publisher.log_in(&publisher.token(ALL));
    publisher.unlock();
    let dir = publisher.library("parser", "1.0.0", "", "");
    publisher.publish(&dir, &["--no-verify"]);

    let delegate = Place::empty();
    let (root, owner) = (publisher.place.json(&["key", "list"]), publisher.owner());
    let root = root[0]["public"].as_str().unwrap().to_owned();
    let made = delegate.json(&["key", "new", "--owner", &owner, "--plain"]);
    let key = made["public"].as_str().unwrap().to_owned();
    let apart = Apart::with(publisher, delegate, &["--credential-provider"]);
    let publisher = &apart.publisher;

    let owners = |cargo: &CargoHome, args: &[&str]| {
        let fixed = ["owner", "--registry", "own-local"];
        cargo.run(&dir, &[&fixed[..], args, &["parser"]].concat())
    };
    let publishes = |version: &str| {
        let dir = apart.reader.path(&format!("theirs-{version}"));
        fs::create_dir_all(&dir).unwrap();
        member(&dir, "parser", version, "", "src/lib.rs", "");
        let args = ["publish", "--registry", "own-local", "--no-verify"];
        ended(apart.cargo.cargo(&dir.join("parser"), &args))
    };
    apart.meet();
    let alone = format!("{root} (root)\n");
    assert_eq!(owners(&apart.cargo, &["--list"]), alone);
    let early = publishes("1.1.0");
    assert!(!early.status.success());
    let said = told(&early);
    assert!(said.contains("403 Forbidden"), "{said}");
    let advice = format!("`market owner add {key} --scope NAME`");
    assert!(said.contains(&advice), "{said}");

    owners(&publisher.cargo, &["--add", &key]);
    apart.meet();
    let both = format!("{root} (root)\n{key} (publishes parser)\n");
    for cargo in [&apart.cargo, &publisher.cargo] {
        assert_eq!(owners(cargo, &["--list"]), both);
    }
    let done = publishes("1.1.0");
    assert!(done.status.success(), "{}", told(&done));
    apart.meet();
    let needs = "parser = { version = \"1.1\", registry = \"own\" }\n";
    let project = publisher.cargo.project("app", needs, "fn main() {}");
    publisher.cargo.run(&project, &["fetch"]);

    owners(&publisher.cargo, &["--remove", &key]);
    apart.meet();
    for cargo in [&apart.cargo, &publisher.cargo] {
        assert_eq!(owners(cargo, &["--list"]), alone);
    }
    let late = publishes("1.2.0");
    assert!(!late.status.success());
    assert!(told(&late).contains("403 Forbidden"), "{}", told(&late));
    // What it published stays.
    let fresh = apart.fresh();
    let project = fresh.project("app", needs, "fn main() {}");
    fresh.run(&project, &["fetch"]);
}

#[test]
fn a_name_in_other_letters_is_the_same_package_at_every_node() {
    let apart = Apart::new(Publisher::signing());
    let publisher = &apart.publisher;
    let dir = publisher.library("My-Parser", "1.0.0", "", "pub const V: u32 = 1;");
    publisher.publish(&dir, &["--no-verify"]);
    for other in ["my-parser", "MY_PARSER", "My_Parser"] {
        let said = publisher.refused(&publisher.library(other, "1.1.0", "", ""));
        let why = format!("`{other}` is published as `My-Parser`");
        assert!(said.contains(&why), "{said}");
    }
    apart.meet();
    // However it is spelled when it is added, the right spelling is written down.
    for other in ["My_Parser", "my-parser", "MY_PARSER"] {
        let main = "fn main() { assert_eq!(My_Parser::V, 1); }";
        let project = apart.cargo.project(&format!("app-{other}"), "", main);
        let add = ["add", "--registry", "own", other];
        apart.cargo.run(&project, &add);
        apart.cargo.run(&project, &["run", "--quiet"]);
        let lock = fs::read_to_string(project.join("Cargo.lock")).unwrap();
        assert!(lock.contains("name = \"My-Parser\""), "{lock}");
        let needs = format!("{other} = {{ version = \"1\", registry = \"own\" }}\n");
        let project = apart.cargo.project("wrong", &needs, "fn main() {}");
        let said = apart.cargo.refused(&project, &["fetch"]);
        assert!(said.contains("perhaps you meant:      My-Parser"), "{said}");
    }

    // Somebody else has one in other letters: here it is the own one that is meant, elsewhere nobody's.
    let theirs = apart.reader.package("my-parser", "3.0.0", "");
    assert_eq!(apart.reader.json(&["publish", &theirs])["published"], 1);
    apart.meet();
    for (http, name, version) in [
        (publisher.up.told("http"), "My-Parser", "1.0.0"),
        (apart.on_reader.told("http"), "my-parser", "3.0.0"),
    ] {
        let bare = CargoHome::knowing("bare", "_", http);
        let needs = format!("{name} = {{ version = \"*\", registry = \"bare\" }}\n");
        let project = bare.project("app", &needs, "fn main() {}");
        bare.run(&project, &["fetch"]);
        let lock = fs::read_to_string(project.join("Cargo.lock")).unwrap();
        let locked = format!("name = \"{name}\"\nversion = \"{version}\"");
        assert!(lock.contains(&locked), "{lock}");
    }
    let third = Place::new();
    let on_third = Up::start(&third, &["--bootstrap", apart.on_reader.told("addr")]);
    eventually(|| third.json(&["status"]), |status| status["packages"] == 2);
    let bare = CargoHome::knowing("bare", "_", on_third.told("http"));
    for name in ["My-Parser", "my-parser"] {
        let needs = format!("{name} = {{ version = \"*\", registry = \"bare\" }}\n");
        let project = bare.project("app", &needs, "fn main() {}");
        let said = bare.refused(&project, &["fetch"]);
        assert!(said.contains("is claimed by 2 owners here"), "{said}");
        assert!(
            said.contains(&format!("market use my-parser {}", publisher.owner())),
            "{said}"
        );
    }
}
