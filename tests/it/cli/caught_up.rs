//! Changing who may publish on a node that has not caught up with others: refused, waited for, or done all the same.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;

use ggen_marketplace::assemble::Layout;
use ggen_marketplace::crypto::PrivateKey;
use serde_json::Value;

use super::keys::plain;
use crate::place::{Place, Up, eventually, said};

/// One namespace on two machines.
fn twins() -> (Place, Place) {
    let (laptop, _) = plain();
    let desk = Place::empty();
    let layout = Layout::at(&desk.path("home")).unwrap();
    layout.init(None).unwrap();
    DirBuilder::new().mode(0o700).create(layout.keys()).unwrap();
    for entry in fs::read_dir(laptop.path("home/keys")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), layout.keys().join(entry.file_name())).unwrap();
    }
    (laptop, desk)
}

fn some_key() -> String {
    PrivateKey::generate().public().to_string()
}

fn caught_up(place: &Place) -> Value {
    place.json(&["status"])["caught_up"].clone()
}

fn is_complete(caught_up: &Value) -> bool {
    caught_up["complete"] == true
}

#[test]
fn who_may_publish_is_not_changed_until_the_node_has_caught_up() {
    let (laptop, desk) = twins();
    let hub = Place::empty();
    let on_hub = Up::start(&hub, &[]);
    let address = on_hub.told("addr").to_owned();
    let _on_laptop = Up::start(&laptop, &["--bootstrap", &address]);
    let on_desk = Up::start(&desk, &["--bootstrap", &address]);
    eventually(|| caught_up(&desk), is_complete);
    assert_eq!(on_desk.stop(), Some(0));

    // It waits for a node that was started just now.
    laptop.json(&["owner", "add", &some_key(), "--all"]);
    eventually(|| hub.json(&["status"]), |status| status["records"] == 2);
    assert_eq!(on_hub.stop(), Some(0));

    let _on_desk = Up::start(&desk, &["--bootstrap", &address]);
    let seen = caught_up(&desk);
    assert_eq!(
        seen,
        serde_json::json!({"complete": false, "known": 1, "reconciled": 0})
    );
    let second = some_key();
    let args = ["owner", "add", &second, "--all"];
    let error = desk.refused(1, &args);
    for part in ["0 of 1", "--even-if-behind", "market recover"] {
        assert!(error.contains(part), "{error}");
    }

    let listen = address.split("/p2p/").next().unwrap();
    let _on_hub = Up::start(&hub, &["--listen", listen]);
    // Refused once more if it was asked before the other change came.
    eventually(|| desk.run(&args), |output| output.status.success());
    let document = eventually(
        || laptop.json(&["owner", "list"]),
        |document| document["publishers"].as_array().unwrap().len() == 3,
    );
    assert_eq!(document["status"], "active");
}

#[test]
fn who_may_publish_is_changed_all_the_same_if_the_user_says_so() {
    let (laptop, desk) = twins();
    let shown = laptop.run(&["status"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("yes: no other node is configured"),
        "{shown}"
    );
    // Nobody was ever met, so there is nobody to ask.
    laptop.json(&["owner", "add", &some_key(), "--all"]);

    let on_laptop = Up::start(&laptop, &[]);
    let address = on_laptop.told("addr").to_owned();
    let on_desk = Up::start(&desk, &["--bootstrap", &address]);
    for place in [&laptop, &desk] {
        eventually(|| caught_up(place), is_complete);
    }
    assert_eq!(on_desk.stop(), Some(0));
    eventually(|| caught_up(&laptop), |seen| !is_complete(seen));
    let on_one = ["owner", "add", &some_key(), "--all", "--even-if-behind"];
    laptop.json(&on_one);

    // No node runs that could ask.
    let on_other = ["owner", "add", &some_key(), "--all", "--even-if-behind"];
    let error = desk.refused(1, &on_other[..4]);
    assert!(error.contains("market up"), "{error}");
    desk.json(&on_other);

    let _on_desk = Up::start(&desk, &["--bootstrap", &address]);
    for place in [&laptop, &desk] {
        eventually(
            || place.json(&["owner", "list"]),
            |document| document["status"] == "frozen",
        );
        let output = place.run(&["owner", "add", &some_key(), "--all"]);
        assert_eq!(output.status.code(), Some(1));
        let said = said(&output);
        assert!(said.contains("only `market recover`"), "{said}");
    }
}
