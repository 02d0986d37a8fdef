//! `market publish` binds dependencies too, and `market cargo-config` keeps what is in the file.

use std::fs;

use serde_json::{Value, json};

use crate::cargo_client::library;
use crate::place::{Place, Up, said};

fn source(place: &Place, name: &str, alias: &str) -> Value {
    let info = place.json(&["info", name]);
    info["versions"][0]["dependencies"][alias][0]["source"].clone()
}

#[test]
fn default_dependencies_are_adopted_only_within_a_batch_and_only_when_asked_to() {
    let place = Place::new();
    let needs = "[dependencies]\nlower = \"1\"\nelsewhere = \"1\"\n";
    let upper = library(&place, "upper", "1.0.0", needs, "");
    let lower = library(&place, "lower", "1.0.0", "", "");
    let report = place.json(&["publish", &lower, &upper, "--adopt-dependencies"]);
    assert_eq!(report["published"], 2, "{report}");
    assert_eq!(report["packages"][0]["adopted"], json!([]));
    assert_eq!(report["packages"][1]["adopted"], json!(["lower"]));
    let owner = report["packages"][0]["owner"].as_str().unwrap();
    assert_eq!(source(&place, "upper", "lower"), json!({ "owner": owner }));
    assert_eq!(source(&place, "upper", "elsewhere"), "default");

    let next = library(&place, "upper", "1.1.0", needs, "");
    let report = place.json(&["publish", &next]);
    assert_eq!(report["published"], 1, "{report}");
    assert_eq!(source(&place, "upper", "lower"), "default");
}

#[test]
fn a_release_that_is_out_keeps_what_it_was_bound_to_in_whatever_batch_it_comes_again() {
    let place = Place::new();
    let lower = library(&place, "lower", "1.0.0", "", "");
    let needs = "[dependencies]\nlower = \"1\"\nlatecomer = \"1\"\n";
    let upper = library(&place, "upper", "1.0.0", needs, "");
    place.json(&["publish", &lower, &upper, "--adopt-dependencies"]);

    let late = library(&place, "latecomer", "1.0.0", "", "");
    let all = ["publish", &late, &lower, &upper, "--adopt-dependencies"];
    let report = place.json(&all);
    let counts =
        |report: &Value| ["published", "unchanged", "failed"].map(|key| report[key].clone());
    assert_eq!(counts(&report), [1, 2, 0].map(Value::from), "{report}");
    assert_eq!(report["packages"][2]["adopted"], json!(["lower"]));
    assert_eq!(report["packages"][2]["left"], json!(["latecomer"]));
    assert_eq!(source(&place, "upper", "latecomer"), "default");

    // Alone, and without the wish.
    let report = place.json(&["publish", &upper]);
    assert_eq!(counts(&report), [0, 1, 0].map(Value::from), "{report}");
    // What has other bytes is no release that is out.
    library(&place, "upper", "1.0.0", needs, "//! Other bytes.");
    let said = place.refused(1, &["publish", &upper]);
    assert!(said.contains("other content"), "{said}");
}

#[test]
fn a_configuration_is_added_to_and_nothing_of_it_is_lost() {
    let place = Place::new();
    let file = place.path("config.toml");
    let write = format!("--write={}", file.display());
    let without = place.refused(1, &["cargo-config", &write]);
    assert!(without.contains("market up"), "{without}");
    let up = Up::start(&place, &[]);
    let before = "# mine\n[registries.acme]\nindex = \"sparse+http://other.example/\"\n";
    fs::write(&file, before).unwrap();
    let args = ["cargo-config", &write, "--name", "acme"];
    let refused = place.refused(1, &args);
    assert!(refused.contains("--force"), "{refused}");
    assert_eq!(fs::read_to_string(&file).unwrap(), before);

    let done = place.json(&["cargo-config", &write, "--name", "own"]);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(before), "{text}");
    assert!(text.contains(up.told("http")), "{text}");
    assert_eq!(done["registries"][0]["local"], "own-local");
    let again = place.json(&["cargo-config", &write, "--name", "own"]);
    assert_eq!(again["changed"], false);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    place.json(&[&args[..], &["--force"]].concat());
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("other.example"), "{text}");

    // To standard output without --write, with a remark where a proxy would be in the way.
    let mut command = place.market(&["cargo-config"]);
    command.env("http_proxy", "http://proxy.example/");
    command.env_remove("no_proxy").env_remove("NO_PROXY");
    let output = crate::place::ended(command);
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(printed.contains("replace-with"), "{printed}");
    assert!(said(&output).contains("no_proxy"), "{}", said(&output));
}
