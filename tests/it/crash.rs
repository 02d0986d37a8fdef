//! `kill -9` at every step of the write path and at chosen moments: what was acknowledged is there afterwards,
//! nothing half-done is seen or left over, and the nodes end equal.
#![allow(clippy::print_stdout)] // What a long run came to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::files::files_below;
use crate::place::{Place, Up, eventually, said};

/// Kills in the gate; `MARKET_TEST_KILLS` asks for more.
const KILLS: usize = 36;
/// How long a node may take to come to the crash point after everything was published.
const AT_POINT: Duration = Duration::from_millis(1500);
/// Packages that each kill interrupts the publishing of.
const BATCH: usize = 4;

/// Every crash point in the source that publishing and fetching can pass, in the order of their names. Those of
/// changing keys have tests of their own, in `cli/keys.rs` and `cli/owners.rs`, and those of a full pool in `flood_crash.rs`.
fn crash_points() -> BTreeSet<String> {
    let sources = files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let mut points = BTreeSet::new();
    for source in sources {
        let text = fs::read_to_string(&source).unwrap();
        for (at, call) in text.match_indices("crash::point(\"") {
            let name = &text[at + call.len()..];
            let name = &name[..name.find('"').unwrap()];
            let is_other = ["init.", "keys.", "pool."]
                .iter()
                .any(|of| name.starts_with(of));
            if !is_other {
                points.insert(name.to_owned());
            }
        }
    }
    assert!(points.len() >= 8, "only {points:?}");
    points
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let set = std::env::var(variable);
    set.map_or(otherwise, |text| text.parse().unwrap())
}

/// Two nodes whose homes and ports last through all kills.
struct Pair {
    publisher: Place,
    mirror: Place,
    publisher_listen: String,
    mirror_listen: String,
    /// `name@version` and BLAKE3 of everything that was acknowledged.
    acknowledged: BTreeMap<String, String>,
    made: usize,
}

impl Pair {
    fn new() -> Self {
        let (publisher, mirror) = (Place::new(), Place::new());
        // One start each finds ports that stay the same afterwards.
        let listen = |place: &Place| {
            let node = Up::start(place, &[]);
            let (address, _) = node.told("addr").split_once("/p2p/").unwrap();
            let address = address.to_owned();
            node.stop();
            address
        };
        Self {
            publisher_listen: listen(&publisher),
            mirror_listen: listen(&mirror),
            publisher,
            mirror,
            acknowledged: BTreeMap::new(),
            made: 0,
        }
    }

    fn start_publisher(&self, crash: Option<&str>) -> Up {
        let arguments = [
            "--listen",
            &self.publisher_listen,
            "--bootstrap",
            &self.mirror_listen,
        ];
        Up::start_crashing(&self.publisher, &arguments, crash)
    }

    fn start_mirror(&self, crash: Option<&str>) -> Up {
        let arguments = [
            "--listen",
            &self.mirror_listen,
            "--bootstrap",
            &self.publisher_listen,
            "--mirror",
            "all",
        ];
        Up::start_crashing(&self.mirror, &arguments, crash)
    }

    /// New packages: small ones that live inside the blob database and larger ones that are files.
    fn make_packages(&mut self, random: &mut StdRng) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for _ in 0..BATCH {
            self.made += 1;
            let dir = self.publisher.path(&format!("pack{}", self.made));
            fs::create_dir_all(&dir).unwrap();
            let manifest = format!(
                "[pack]\nname = \"pack{}\"\nversion = \"1.0.0\"\ndescription = \"d\"\n",
                self.made
            );
            fs::write(dir.join("pack.toml"), manifest).unwrap();
            let size = [100, 5_000, 60_000, 400_000][random.random_range(0..4)];
            let mut content = vec![0; size];
            random.fill(&mut content[..]);
            fs::write(dir.join("content"), content).unwrap();
            paths.push(dir);
        }
        paths
    }

    /// Publishes and notes what was acknowledged, whether or not the node lived through it.
    fn publish(&mut self, paths: &[PathBuf]) -> bool {
        let mut arguments = vec!["publish", "--json"];
        arguments.extend(paths.iter().map(|path| path.to_str().unwrap()));
        let output = self.publisher.run(&arguments);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let packages = answer["packages"].as_array().into_iter().flatten();
        for package in packages.filter(|package| package["error"].is_null()) {
            let name = package["package"].as_str().unwrap().to_owned();
            self.acknowledged
                .insert(name, package["blake3"].as_str().unwrap().to_owned());
        }
        output.status.success()
    }

    /// Everything acknowledged is on this node, whole, and nothing is wrong or left over.
    fn check(&self, home: &Place, node: Up, who: &str, seed: u64) {
        for (package, blake3) in &self.acknowledged {
            let (name, version) = package.split_once('@').unwrap();
            let info = home.json(&["info", name]);
            let versions = info["versions"].as_array().unwrap();
            let found = versions.iter().find(|one| one["version"] == version);
            let found = found.unwrap_or_else(|| panic!("seed {seed}: {who} lost {package}"));
            assert_eq!(
                found["blake3"],
                blake3.as_str(),
                "seed {seed}: {who}, {package}"
            );
        }
        let report = home.json(&["verify"]);
        assert_eq!(
            report["findings"],
            Value::Array(Vec::new()),
            "seed {seed}: {who}"
        );
        assert!(
            report["blobs"].as_u64().unwrap() >= self.acknowledged.len() as u64,
            "seed {seed}: {who}"
        );
        node.stop();
        let hashes: BTreeSet<&str> = self
            .acknowledged
            .values()
            .map(|hash| hash.strip_prefix("blake3:").unwrap())
            .collect();
        for file in files_below(&home.path("home/blobs")) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let stem = name.split('.').next().unwrap();
            let belongs = stem.len() != 64 || hashes.contains(stem);
            let temporary = file.parent().unwrap().ends_with("temp");
            assert!(
                belongs && !temporary,
                "seed {seed}: {who} left {} behind",
                file.display()
            );
        }
    }
}

/// Where and whom to kill: first at every crash point on either side, then at moments.
enum Kill {
    At {
        point: String,
        passage: u64,
        mirror: bool,
    },
    After {
        millis: u64,
        mirror: bool,
    },
}

fn plan(random: &mut StdRng, kills: usize) -> Vec<Kill> {
    let mut plan = Vec::new();
    for point in crash_points() {
        for mirror in [false, true] {
            let passage = random.random_range(1..=3);
            plan.push(Kill::At {
                point: point.clone(),
                passage,
                mirror,
            });
        }
    }
    while plan.len() < kills {
        let millis = random.random_range(0..400);
        plan.push(Kill::After {
            millis,
            mirror: random.random(),
        });
    }
    plan
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_left_over_wherever_a_node_is_killed() {
    let seed = number("MARKET_TEST_SEED", 1);
    let kills = number("MARKET_TEST_KILLS", KILLS as u64) as usize;
    let random = &mut StdRng::seed_from_u64(seed);
    let mut pair = Pair::new();
    let mut died_at_points = 0;
    for kill in plan(random, kills) {
        let packages = pair.make_packages(random);
        let (at, on_mirror) = match &kill {
            Kill::At {
                point,
                passage,
                mirror,
            } => (Some(format!("{point}:{passage}")), *mirror),
            Kill::After { mirror, .. } => (None, *mirror),
        };
        let publisher = pair.start_publisher(at.as_deref().filter(|_| !on_mirror));
        let mirror = pair.start_mirror(at.as_deref().filter(|_| on_mirror));
        let (mut victim, other) = if on_mirror {
            (mirror, publisher)
        } else {
            (publisher, mirror)
        };
        match kill {
            Kill::At { .. } => {
                pair.publish(&packages);
                // A point that this side does not pass is no failure here: see the count below.
                died_at_points += u64::from(victim.ends_within(AT_POINT));
                victim.kill();
            }
            Kill::After { millis, .. } => {
                let mut publish = pair.publisher.market(&["publish"]);
                let publish = publish
                    .args(&packages)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                let mut running = publish.spawn().unwrap();
                let died = victim.ends_within(Duration::from_millis(millis));
                assert!(!died, "seed {seed}: died by itself");
                victim.kill();
                running.wait().unwrap();
            }
        }
        other.kill();

        let publisher = pair.start_publisher(None);
        let mirror = pair.start_mirror(None);
        assert!(
            pair.publish(&packages),
            "seed {seed}: publishing again after the crash failed"
        );
        let wanted = pair.publisher.json(&["status"]);
        let same = |now: &Value| {
            let fields = ["root", "records", "versions", "blobs", "blob_bytes"];
            fields.iter().all(|field| now[*field] == wanted[*field])
        };
        eventually(|| pair.mirror.json(&["status"]), same);
        pair.check(&pair.publisher, publisher, "the publisher", seed);
        pair.check(&pair.mirror, mirror, "the mirror", seed);
    }
    let points = crash_points().len() as u64;
    assert!(
        died_at_points >= points,
        "only {died_at_points} of {points} points were reached on either side"
    );
    println!(
        "{} packages through {kills} kills, {died_at_points} of them at crash points",
        pair.made
    );
}

#[test]
fn every_step_of_the_write_path_can_be_crashed_at() {
    for point in crash_points() {
        let place = Place::new();
        let dir = place.path("pack");
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            dir.join("pack.toml"),
            "[pack]\nname = \"p\"\nversion = \"1.0.0\"\ndescription = \"d\"\n",
        )
        .unwrap();
        let mut command = place.market(&["publish", dir.to_str().unwrap()]);
        let output = command
            .env("MARKET_CRASH_AT", format!("{point}:1"))
            .output()
            .unwrap();
        let publishes = output.status.success();
        let fetch_only = point.starts_with("fetch.") || point.starts_with("mirror.");
        assert_eq!(publishes, fetch_only, "{point}: {}", said(&output));
    }
}
