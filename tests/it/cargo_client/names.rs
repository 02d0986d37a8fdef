//! Bare names: what cargo's user is told of one that means nobody, and how it comes to mean somebody.

use super::{CargoHome, Pair, library};

#[test]
fn cargos_user_is_told_of_a_contested_name_and_can_decide() {
    let pair = Pair::new();
    let published = library(&pair.publisher, "http", "1.0.0", "", "");
    pair.publish(&[&published]);
    let http = pair.on_reader.told("http");
    let cargo = CargoHome::knowing("here", "_", http);
    let needs = "http = { version = \"1\", registry = \"here\" }\n";
    let project = cargo.project("app", needs, "fn main() {}");
    cargo.run(&project, &["generate-lockfile"]);

    // A second owner, known to the reader only by its records.
    let other = crate::place::Place::new();
    let on_other = crate::place::Up::start(&other, &["--bootstrap", pair.on_reader.told("addr")]);
    other.json(&["publish", &library(&other, "http", "1.1.0", "", "")]);
    crate::place::eventually(
        || pair.reader.json(&["status"]),
        |status| status["packages"] == 2,
    );
    let theirs = other.json(&["status"])["owner"]
        .as_str()
        .unwrap()
        .to_owned();
    let fresh = CargoHome::knowing("here", "_", http);
    let project = fresh.project("app", needs, "fn main() {}");
    let said = fresh.refused(&project, &["generate-lockfile"]);
    assert!(
        said.contains("`http` is claimed by 2 owners here and none is trusted"),
        "{said}"
    );
    for owner in [&pair.owner, &theirs] {
        assert!(said.contains(&format!("market use http {owner}")), "{said}");
    }

    pair.reader.json(&["use", "http", &theirs]);
    fresh.run(&project, &["generate-lockfile"]);
    let lock = std::fs::read_to_string(project.join("Cargo.lock")).unwrap();
    assert!(lock.contains("version = \"1.1.0\""), "{lock}");
    drop(on_other);
}
