//! What is said of a version after it is published, with the real command.

use crate::place::{Place, said};

#[test]
fn a_version_is_described_anew_and_stays_what_it_is() {
    let place = Place::new();
    place.json(&["publish", &place.package("parser", "1.0.0", "// 1")]);
    let update = |text: &str| {
        let args = ["update", "parser@1.0.0", "--description", text];
        place.json(&args)
    };
    assert!(update("Parses everything")["record"].is_string());
    assert!(update("Parses everything")["record"].is_null());
    let words = ["update", "parser@1.0.0", "--keyword", "a", "--keyword", "b"];
    place.json(&words);
    let info = place.json(&["info", "parser"]);
    assert_eq!(info["description"], "Parses everything");
    assert_eq!(info["keywords"], serde_json::json!(["a", "b"]));
    let found = place.json(&["search", "everything"]);
    assert_eq!(found["total"], 1, "searches follow");

    let error = place.refused(2, &["update", "parser@1.0.0"]);
    assert!(error.contains("market update --help"), "{error}");
    let error = place.refused(1, &["update", "parser@2.0.0", "--description", "x"]);
    assert!(error.contains("parser@2.0.0"), "{error}");
    let long = "x".repeat(1001);
    let error = place.refused(1, &["update", "parser@1.0.0", "--description", &long]);
    assert!(error.contains("description"), "{error}");
}

#[test]
fn a_version_is_deprecated_until_that_is_taken_back() {
    let place = Place::new();
    place.json(&["publish", &place.package("parser", "1.0.0", "// 1")]);
    let deprecate = ["deprecate", "parser@1.0.0", "--reason", "use lexer"];
    assert!(place.json(&deprecate)["record"].is_string());
    let again = said_by(&place, &deprecate);
    assert!(again.contains("is deprecated already"), "{again}");
    assert_eq!(
        place.json(&["search", "parser"])["total"],
        1,
        "it is no yank"
    );
    let undo = ["deprecate", "parser@1.0.0", "--undo"];
    assert!(place.json(&undo)["record"].is_string());
    assert!(place.json(&undo)["record"].is_null());
}

#[test]
fn versions_are_listed_highest_first() {
    let place = Place::new();
    for version in ["1.9.0", "1.10.0"] {
        place.json(&["publish", &place.package("parser", version, "// 1")]);
    }
    place.json(&["yank", "parser@1.10.0"]);
    let listed = place.json(&["versions", "parser"]);
    assert_eq!(listed[0]["version"], "1.10.0");
    assert_eq!(listed[0]["yanked"], true);
    assert_eq!(listed[1]["version"], "1.9.0");
    let told = said_by(&place, &["versions", "parser"]);
    assert!(told.contains("1.10.0") && told.contains("yanked"), "{told}");
}

fn said_by(place: &Place, args: &[&str]) -> String {
    let output = place.run(args);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}
