//! Whom a node relies on: `market trust` and `market evidence`.

use std::fs;

use ggen_marketplace::protocols::id::OwnerId;
use serde_json::json;

use super::names::Three;
use crate::place::{Place, Up, eventually, said};

#[test]
fn an_anchor_decides_a_contested_name_and_taking_it_back_says_what_changes() {
    let three = Three::new();
    let (user, [alice, bob]) = (&three.user, &three.owners);
    let added = user.json(&["trust", "add", alice, "--depth", "2"]);
    assert!(added["names"].to_string().contains(alice), "{added}");
    assert_eq!(&user.json(&["info", "http"])["owner"], alice);
    assert_eq!(user.json(&["info", "http"])["badge"], "trusted");
    assert_eq!(
        user.json(&["trust", "list"])["anchors"][alice],
        json!({ "weight": 3, "depth": 2 })
    );

    // Alice's word reaches the user: two are trusted now, and a partial one would not do.
    let label = ["--label", "bobby", "--reason", "we met"];
    let endorse = ["trust", "endorse", bob, "--level", "partial"];
    three.alice.json(&[&endorse[..], &label].concat());
    let show = || user.json(&["trust", "show", bob]);
    let shown = eventually(show, |shown| shown[0]["score"] == 1);
    assert_eq!(shown[0]["paths"][0]["owners"], json!([alice, bob]));
    assert_eq!(shown[0]["endorsed_by"][0]["label"], "bobby");
    let text = String::from_utf8(user.run(&["trust", "show", bob]).stdout).unwrap();
    assert!(
        text.contains("1 of 3 over  you → ns1") && text.contains("we met"),
        "{text}"
    );
    assert_eq!(&user.json(&["info", "bobby/http"])["owner"], bob);
    three
        .alice
        .json(&["trust", "endorse", bob, "--level", "full"]);
    eventually(show, |shown| {
        shown[0]["score"] == 3 && shown[0]["endorsed_by"][0]["revision"] == 2
    });
    let said = user.refused_with_choices(&["info", "http"]);
    assert!(said.contains("2 of them are trusted"), "{said}");

    let revoked = user.json(&["trust", "revoke", alice, "--reason", "enough"]);
    assert_eq!(show()[0]["score"], 0);
    assert_eq!(revoked["subject"], json!(alice));
    let error = user.refused(1, &["trust", "revoke", alice]);
    assert!(error.contains("does not rely"), "{error}");
    drop(three.bob);
}

#[test]
fn distrust_of_an_anchor_hides_packages_and_leaves_users_theirs() {
    let three = Three::new();
    let (user, [alice, bob]) = (&three.user, &three.owners);
    let used = format!("{bob}/http@1.0.0");
    user.json(&["fetch", &used]);
    user.json(&["trust", "add", alice]);
    three.alice.json(&[
        "trust", "endorse", bob, "--level", "distrust", "--reason", "malware",
    ]);
    eventually(
        || user.json(&["search", "http"]),
        |found| found["total"] == 1,
    );
    let output = user.run(&["fetch", &used]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let warned = said(&output);
    assert!(
        warned.contains("warning") && warned.contains("malware") && warned.contains(alice),
        "{warned}"
    );
    let error = user.refused(1, &["fetch", &format!("{bob}/http")]);
    assert!(
        error.contains("withheld") && error.contains("market trust add"),
        "{error}"
    );
    assert_eq!(
        user.json(&["info", &format!("{bob}/http")])["badge"],
        "distrusted"
    );

    user.json(&["trust", "revoke", alice]);
    eventually(
        || user.json(&["search", "http"]),
        |found| found["total"] == 2,
    );
    let key = three.bob.json(&["info", &format!("{bob}/http")]);
    assert_eq!(key["badge"], "own");
}

#[test]
fn a_block_hides_packages_until_it_is_taken_back() {
    let three = Three::new();
    let (user, [alice, bob]) = (&three.user, &three.owners);
    let blocked = user.json(&["trust", "block", bob, "--reason", "no thanks"]);
    assert!(
        blocked["names"].to_string().contains(alice),
        "the name is the other's: {blocked}"
    );
    eventually(
        || user.json(&["search", "http"]),
        |found| found["total"] == 1,
    );
    let error = user.refused(1, &["fetch", &format!("{bob}/http@1.0.0")]);
    assert!(
        error.contains("no thanks") && error.contains("market trust unblock"),
        "{error}"
    );
    assert_eq!(user.json(&["trust", "list"])["blocked"][bob], "no thanks");
    user.json(&["trust", "unblock", bob]);
    eventually(
        || user.json(&["search", "http"]),
        |found| found["total"] == 2,
    );
    let own = user.json(&["status"])["owner"].clone();
    if let Some(own) = own.as_str() {
        let error = user.refused(1, &["trust", "block", own]);
        assert!(error.contains("own"), "{error}");
    }
}

/// One key in two homes: each published another content of `http@1.0.0` before they met, and the user of the
/// first one fetched it.
fn conflicted() -> ([Place; 2], [Up; 2]) {
    let (one, other) = (Place::new(), Place::new());
    one.json(&["init"]);
    other.json(&["init"]);
    for file in ["home/keys/identity.pem", "home/keys/identity.toml"] {
        fs::copy(one.path(file), other.path(file)).unwrap();
    }
    for (place, code) in [(&one, "// one"), (&other, "// other")] {
        place.json(&["publish", &place.package("http", "1.0.0", code)]);
    }
    one.json(&["fetch", "http"]);
    let on_one = Up::start(&one, &[]);
    let on_other = Up::start(&other, &["--bootstrap", on_one.told("addr")]);
    ([one, other], [on_one, on_other])
}

#[test]
fn evidence_of_a_conflict_is_checked_without_a_node() {
    let ([one, other], _nodes) = conflicted();
    let evidence = eventually(
        || one.json(&["evidence", "http@1.0.0"]),
        |evidence| {
            evidence["items"]
                .as_array()
                .is_some_and(|items| items.len() == 1)
        },
    );
    assert_eq!(evidence["items"][0]["kind"], "conflict");
    let file = one.path("proof.json");
    fs::write(&file, evidence.to_string()).unwrap();
    let stranger = Place::empty();
    let check = ["evidence", "--check", file.to_str().unwrap()];
    let output = stranger.run(&check);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!stranger.path("home").exists(), "no home is needed");
    let mut forged = evidence.clone();
    forged["items"][0]["records"][1] = forged["items"][0]["records"][0].clone();
    fs::write(&file, forged.to_string()).unwrap();
    let error = stranger.refused(1, &check);
    assert!(error.contains("proves nothing"), "{error}");

    // Who used one content keeps it; nobody new gets either.
    let mine = one.run(&["fetch", "http@1.0.0"]);
    assert_eq!(mine.status.code(), Some(0), "{}", said(&mine));
    assert!(
        said(&mine).contains("2 different contents"),
        "{}",
        said(&mine)
    );
    let error = other.refused(1, &["fetch", "http@1.0.0"]);
    assert!(error.contains("market evidence"), "{error}");
}

#[test]
fn a_version_with_two_contents_is_withheld_on_every_node_from_all_who_did_not_use_it() {
    let ([one, other], [on_one, _on_other]) = conflicted();
    // Whether the other content is there by now or not.
    let user = one.run(&["fetch", "http@1.0.0", "--output", "-"]);
    assert_eq!(user.status.code(), Some(0), "{}", said(&user));
    let user = user.stdout;
    let known = Place::new();
    let on_known = Up::start(&known, &["--bootstrap", on_one.told("addr")]);
    // The last one never met who signed.
    let late = Place::empty();
    late.json(&["init", "--no-recovery", "--plain"]);
    let _on_late = Up::start(&late, &["--bootstrap", on_known.told("addr")]);
    for place in [&one, &other, &known, &late] {
        eventually(|| place.json(&["status"]), |status| status["records"] == 2);
        eventually(
            || place.json(&["search", "http"]),
            |found| found["total"] == 0,
        );
        let info = place.run(&["info", "http", "--json"]);
        assert_eq!(info.status.code(), Some(0), "{}", said(&info));
        let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
        assert_eq!(info["versions"][0]["conflicted"], true, "{info}");
    }
    for place in [&other, &known, &late] {
        for wanted in ["http", "http@1.0.0"] {
            let error = place.refused(1, &["fetch", wanted]);
            assert!(
                error.contains("withheld") && error.contains("2 different contents"),
                "{error}"
            );
        }
    }
    let used = one.run(&["fetch", "http@1.0.0", "--output", "-"]);
    assert_eq!(used.status.code(), Some(0), "{}", said(&used));
    assert!(said(&used).starts_with("warning: "), "{}", said(&used));
    assert_eq!(used.stdout, user);
    one.refused(1, &["fetch", "http@^1"]);
}

#[test]
fn a_path_of_trust_is_spelled_and_taking_it_back_names_what_no_longer_resolves() {
    let relay = Place::new();
    let on_relay = Up::start(&relay, &[]);
    let labels = ["acme", "bobby", "carol", "dave", "eve"];
    let homes = labels.map(|label| {
        let place = Place::empty();
        let made = place.json(&["init", "--label", label, "--plain"]);
        let owner = made["owner"].as_str().unwrap().to_owned();
        (place, owner)
    });
    let [acme, bobby, carol, dave, _] = homes.each_ref().map(|(_, owner)| owner.as_str());
    for ((issuer, _), subject, depth) in [
        (&homes[0], bobby, "2"),
        (&homes[1], carol, "1"),
        (&homes[2], dave, "0"),
    ] {
        let say = [
            "trust", "endorse", subject, "--level", "full", "--depth", depth,
        ];
        issuer.json(&say);
    }
    // Two names that the last one of the path and a stranger claim, and one that is only its own.
    for (number, names) in [(3, &["http", "tool", "only"][..]), (4, &["http", "tool"])] {
        let place = &homes[number].0;
        for name in names {
            let code = format!("// {number}");
            place.json(&["publish", &place.package(name, "1.0.0", &code)]);
        }
    }
    for (number, (place, _)) in homes.iter().enumerate() {
        let held = [2, 4, 6, 10, 13][number];
        let up = Up::start(place, &["--bootstrap", on_relay.told("addr")]);
        eventually(
            || relay.json(&["status"]),
            |status| status["records"] == held,
        );
        assert_eq!(up.stop(), Some(0));
    }

    let user = Place::new();
    let _on_user = Up::start(&user, &["--bootstrap", on_relay.told("addr")]);
    eventually(|| user.json(&["search", ""]), |found| found["total"] == 5);
    let resolves = |name: &str| user.run(&["info", name]).status.code() == Some(0);
    assert!(!resolves("http") && !resolves("tool") && resolves("only"));
    user.json(&["trust", "add", acme, "--depth", "3"]);
    let shown = user.run(&["trust", "show", dave]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let called: Vec<_> = [acme, bobby, carol, dave]
        .iter()
        .zip(labels)
        .map(|(owner, label)| {
            let id = owner.parse::<OwnerId>().unwrap();
            format!("{label} ({})", id.short())
        })
        .collect();
    let path = format!("\n  3 of 3 over  you → {}\n", called.join(" → "));
    assert!(shown.contains(&path), "{shown}");
    assert!(resolves("http") && resolves("tool") && resolves("only"));
    for name in ["http", "tool"] {
        assert_eq!(user.json(&["info", name])["owner"], json!(dave));
    }

    let revoked = user.run(&["trust", "revoke", acme, "--reason", "enough"]);
    let revoked = String::from_utf8(revoked.stdout).unwrap();
    let named: Vec<_> = revoked
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .collect();
    assert_eq!(named.len(), 2, "{revoked}");
    for (line, name) in named.iter().zip(["http", "tool"]) {
        let gone = format!("`{name}` does not resolve any more: ");
        assert!(line.starts_with(&gone), "{revoked}");
    }
    assert!(!resolves("http") && !resolves("tool") && resolves("only"));
}
