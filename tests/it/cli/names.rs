//! Whom names mean: `market use`, contested names, pins that come of use.

use std::fs;

use serde_json::{Value, json};

use crate::place::{Place, Up, eventually, said};

/// Two nodes that both publish `http`, and a third that knows both.
pub(super) struct Three {
    pub(super) alice: Place,
    pub(super) bob: Place,
    pub(super) user: Place,
    pub(super) nodes: Vec<Up>,
    pub(super) owners: [String; 2],
}

impl Three {
    pub(super) fn new() -> Self {
        let (alice, bob, user) = (Place::new(), Place::new(), Place::new());
        let on_user = Up::start(&user, &[]);
        let address = on_user.told("addr").to_owned();
        let mut nodes = vec![on_user];
        let owners = [(&alice, "// alice"), (&bob, "// bob")].map(|(place, code)| {
            nodes.push(Up::start(place, &["--bootstrap", &address]));
            let published = place.json(&["publish", &place.package("http", "1.0.0", code)]);
            published["packages"][0]["owner"]
                .as_str()
                .unwrap()
                .to_owned()
        });
        eventually(
            || user.json(&["search", "http"]),
            |found| found["total"] == 2,
        );
        Self {
            alice,
            bob,
            user,
            nodes,
            owners,
        }
    }
}

#[test]
fn a_contested_name_says_who_claims_it_and_which_command_decides() {
    let three = Three::new();
    let user = &three.user;
    for command in ["info", "fetch"] {
        let output = user.run(&[command, "http"]);
        assert_eq!(output.status.code(), Some(1));
        let said = said(&output);
        let mut lines = said.lines();
        let first = "error: `http` is claimed by 2 owners here and none is trusted";
        assert_eq!(lines.next(), Some(first), "{said}");
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), 2);
        for owner in &three.owners {
            let decide = format!("market use http {owner}");
            let line = lines.iter().find(|line| line.ends_with(&decide)).unwrap();
            assert!(
                line.contains("(none)") && line.contains("1 version  "),
                "{line}"
            );
        }
    }
    // The command that it names is the one that helps.
    let [alice, bob] = &three.owners;
    user.json(&["use", "http", bob]);
    let info = user.json(&["info", "http"]);
    assert_eq!(
        (&info["owner"], &info["badge"]),
        (&json!(bob), &json!("pinned"))
    );
    let other = user.json(&["info", &format!("{alice}/http")]);
    assert_eq!(
        (&other["owner"], &other["badge"]),
        (&json!(alice), &json!("unverified"))
    );
    let fetched = user.json(&["fetch", "http"]);
    assert_eq!(&fetched["owner"], bob);
    user.json(&["use", "--remove", "http"]);
    user.refused_with_choices(&["info", "http"]);
    let error = user.refused(1, &["use", "--remove", "http"]);
    assert!(error.contains("not pinned"), "{error}");
    drop(three.nodes);
}

#[test]
fn what_is_used_keeps_its_owner_when_others_claim_the_name() {
    let place = Place::new();
    let published = place.json(&["publish", &place.package("parser", "1.0.0", "// 1")]);
    let owner = &published["packages"][0]["owner"];
    assert_eq!(place.json(&["use", "--list"])["names"], json!({}));
    place.json(&["fetch", "parser"]);
    assert_eq!(
        place.json(&["use", "--list"])["names"],
        json!({ "parser": owner })
    );
    assert_eq!(place.json(&["info", "parser"])["badge"], "own");
    let info = place.json(&["info", "parser"]);
    assert_eq!(info["versions"][0]["pinned"], true);
}

#[test]
fn pins_go_from_one_home_to_another_by_a_file() {
    let (one, other) = (Place::new(), Place::new());
    for place in [&one, &other] {
        place.json(&["init"]);
    }
    let owner = |place: &Place| {
        place.json(&["status"])["owner"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (mine, theirs) = (owner(&one), owner(&other));
    one.json(&["use", "http", &mine]);
    one.json(&["use", "acme/http", &theirs]);
    let file = one.path("market-pins.toml");
    let path = file.to_str().unwrap();
    one.json(&["use", "--export", path]);
    let text = fs::read_to_string(&file).unwrap();
    let printed = one.run(&["use", "--export", "-"]);
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), text);
    assert!(text.contains(&format!("http = \"{mine}\"")), "{text}");

    assert_eq!(other.json(&["use", "--import", path])["changed"], 2);
    assert_eq!(other.json(&["use", "--import", path])["changed"], 0);
    let listed = other.json(&["use", "--list"]);
    assert_eq!(listed["labels"], json!({ "acme": theirs }));
    other.json(&["use", "http", &theirs]);
    let error = other.refused(1, &["use", "--import", path]);
    assert!(error.contains("--replace"), "{error}");
    assert_eq!(other.json(&["use", "--list"])["names"]["http"], theirs);
    other.json(&["use", "--import", path, "--replace"]);
    assert_eq!(other.json(&["use", "--list"])["names"]["http"], mine);

    fs::write(
        &file,
        text.replace("network = \"main\"", "network = \"test\""),
    )
    .unwrap();
    let error = other.refused(1, &["use", "--import", path]);
    assert!(error.contains("network `test`"), "{error}");
    fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
    let error = other.refused(1, &["use", "--import", path]);
    assert!(error.contains("1 MiB"), "{error}");
}

#[test]
fn strict_mode_takes_no_sole_claimant() {
    let three = Three::new();
    let (user, [alice, _]) = (&three.user, &three.owners);
    let package = three.alice.package("only", "1.0.0", "// 1");
    three.alice.json(&["publish", &package]);
    eventually(
        || user.json(&["search", "only"]),
        |found| found["total"] == 1,
    );
    assert_eq!(&user.json(&["info", "only"])["owner"], alice);
    assert_eq!(user.json(&["use", "--strict"])["mode"], "strict");
    let said = user.refused_with_choices(&["info", "only"]);
    assert!(
        said.contains("one owner") && said.contains(&format!("market use only {alice}")),
        "{said}"
    );
    user.json(&["use", "--tofu"]);
    assert_eq!(&user.json(&["info", "only"])["owner"], alice);
    assert_eq!(
        three.bob.json(&["info", "only"])["badge"],
        Value::from("unverified")
    );
}

#[test]
fn wrong_names_and_owners_are_wrong_use() {
    let place = Place::new();
    place.json(&["init"]);
    let owner = place.json(&["status"])["owner"]
        .as_str()
        .unwrap()
        .to_owned();
    for (args, why) in [
        (vec!["use", "http", "ns1x"], "owner id"),
        (vec!["use", "a b", &owner], "only letters"),
        (vec!["use", "ACME/http", &owner], "lower-case"),
    ] {
        let error = place.refused(2, &args);
        assert!(error.contains(why), "{args:?}: {error}");
    }
}
