//! Wrong use gets one clear line and the right exit code.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::place::{Place, Up, ended, one_error, said};

#[test]
fn what_is_no_package_is_said_to_be_none() {
    let place = Place::new();
    let empty = place.path("empty");
    fs::create_dir(&empty).unwrap();
    let missing = place.path("missing");
    for path in [&empty, &missing] {
        let output = place.run(&["publish", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let error = one_error(&output);
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn names_and_versions_out_of_grammar_are_wrong_use() {
    let place = Place::new();
    place.json(&["init"]);
    for (args, why) in [
        (&["info", "no name"][..], "only letters"),
        (&["info", "Acme/x"], "lower-case letter"),
        (&["fetch", "1x"], "start with a letter"),
        (&["yank", "x@1"], "version"),
        (&["yank", "x"], "name@version"),
        (
            &["publish", "x", "--name", "a b", "--version", "1.0.0"],
            "only letters",
        ),
        (
            &["publish", "x", "--name", "ab", "--version", "1.0"],
            "version",
        ),
        (&["up", "--http", "nowhere"], "nowhere"),
        (&["up", "--mirror-limit", "1GB"], "500MiB"),
        (&["up", "--network", "Main"], "lower-case letter"),
    ] {
        let error = place.refused(2, args);
        assert!(error.contains(why), "{args:?}: {error}");
    }
}

#[test]
fn an_unknown_package_is_not_in_the_catalogue() {
    let place = Place::new();
    place.json(&["init"]);
    for args in [
        &["info", "nobody"][..],
        &["fetch", "nobody"],
        &["yank", "nobody@1.0.0"],
    ] {
        let error = place.refused(1, args);
        assert!(
            error.contains("nobody") && error.contains("catalogue"),
            "{error}"
        );
    }
}

#[test]
fn a_home_belongs_to_one_running_node() {
    let place = Place::new();
    let up = Up::start(&place, &[]);
    let error = place.refused(1, &["up", "--http", "127.0.0.1:0", "--no-mdns"]);
    let pid = format!("(pid {})", up.child.id());
    assert!(
        error.contains("used by another running node") && error.contains(&pid),
        "{error}"
    );
    assert_eq!(place.json(&["status"])["peer"], up.told("peer"));
}

#[test]
fn a_home_of_a_killed_node_is_free() {
    let place = Place::new();
    let mut up = Up::start(&place, &[]);
    let peer = up.told("peer").to_owned();
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    assert!(place.path("home/control.sock").exists());
    assert_eq!(place.json(&["status"])["records"], 0);
    assert_eq!(Up::start(&place, &[]).told("peer"), peer);
}

#[test]
fn a_port_in_use_is_named_with_the_way_out() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = place.refused(1, &["up", "--no-mdns", "--http", &address]);
    assert!(
        error.contains(&address) && error.contains("--http 127.0.0.1:0"),
        "{error}"
    );

    let listen = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let args = [
        "up",
        "--no-mdns",
        "--http",
        "127.0.0.1:0",
        "--listen",
        &listen,
    ];
    let error = place.refused(1, &args);
    assert!(error.contains(&listen), "{error}");
}

#[test]
fn http_is_not_offered_to_other_machines() {
    let place = Place::new();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let error = place.refused(2, &["up", "--no-mdns", "--http", address]);
        assert!(error.contains("use --http 127.0.0.1:"), "{error}");
    }
}

#[test]
fn a_wrong_multiaddress_is_wrong_use() {
    let place = Place::new();
    for flag in ["--listen", "--bootstrap"] {
        let args = [
            "up",
            "--no-mdns",
            "--http",
            "127.0.0.1:0",
            flag,
            "127.0.0.1:80",
        ];
        let error = place.refused(2, &args);
        assert!(error.contains("127.0.0.1:80"), "{error}");
    }
}

#[test]
fn an_unreachable_bootstrap_is_a_warning_and_the_node_runs() {
    let place = Place::new();
    // Nobody listens there: the listener is gone before anybody connects.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    let mut up = Up::start(&place, &["--bootstrap", &address]);
    up.says(&["WARN", &address]);
    assert_eq!(place.json(&["status"])["peers"], 0);
}

#[test]
fn key_files_that_others_may_read_or_nobody_can_are_refused() {
    let place = Place::new();
    place.json(&["init"]);
    let up = ["up", "--no-mdns", "--http", "127.0.0.1:0"];
    let package = place.package("parser", "1.0.0", "// 1");
    for (file, args) in [
        ("home/node.key", &up[..]),
        ("home/keys/identity.pem", &["publish", &package]),
    ] {
        let path = place.path(file);
        let shown = path.to_str().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = place.refused(1, args);
        let remedy = format!("chmod 600 {shown}");
        assert!(error.contains(&remedy), "{error}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let good = fs::read(&path).unwrap();
        fs::write(&path, "no key").unwrap();
        let error = place.refused(1, args);
        assert!(
            error.contains(shown) && error.contains("no usable key"),
            "{error}"
        );
        fs::write(&path, good).unwrap();
    }
}

#[test]
fn a_home_that_cannot_be_made_is_named() {
    let place = Place::empty();
    // A file stands in the way: unlike permissions, that stops the administrator too.
    fs::write(place.path("home"), "").unwrap();
    let home = place.path("home");
    for command in ["init", "up"] {
        let error = place.refused(1, &[command]);
        assert!(error.contains(home.to_str().unwrap()), "{error}");
    }
}

#[test]
fn commands_that_look_do_not_make_a_home() {
    let place = Place::empty();
    for args in [
        &["search", "x"][..],
        &["status"],
        &["verify"],
        &["peers"],
        &["info", "x"],
    ] {
        let error = place.refused(1, args);
        assert!(error.contains("market init"), "{error}");
    }
    assert!(!place.path("home").exists());
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let place = Place::new();
    place.json(&["publish", &place.package("small", "1.0.0", "// 1")]);
    let noise = "//!".to_owned() + &noise(8 << 20);
    let package = place.package("large", "1.0.0", &noise);
    // A bound on the size of files is met where the disk would be full: the write fails.
    let mut limited = Command::new("sh");
    let script = "ulimit -f 4096; trap '' XFSZ; exec \"$@\"";
    let market = place.market(&["publish", &package]);
    limited
        .args(["-c", script, "sh"])
        .arg(market.get_program())
        .args(market.get_args());
    limited.env_remove("MARKET_HOME");
    let output = ended(limited);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        one_error(&output).contains("space") || one_error(&output).contains("large"),
        "{}",
        said(&output)
    );

    assert_eq!(place.json(&["search", "large"])["total"], 0);
    assert_eq!(place.json(&["verify"])["findings"], serde_json::json!([]));
    assert_eq!(place.json(&["publish", &package])["published"], 1);
}

/// Text that does not compress well.
fn noise(length: usize) -> String {
    let mut state = 7u64;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        char::from(b' ' + 1 + (state >> 33) as u8 % 94)
    };
    std::iter::repeat_with(&mut next)
        .filter(|c| *c != '\\')
        .take(length)
        .collect()
}
