//! Breaks the rules one by one (`mutants/list.rs`) in a copy of this package, and sees that the tests of the rules
//! notice each time.
//!
//! `cargo test -p ggen-protocols --test mutants [-- WORD]`: those whose name contains the word, or all. The copy
//! lies in a folder of the target directory and is built there, again and again with the same dependencies.
//!
//! These are mutants that somebody thought of. Those that a tool thinks of, by `.ci/mutants.toml`, take more than half
//! an hour and are a step of `.ci/long`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Instant;

#[path = "mutants/list.rs"]
mod list;

use list::{MUTANTS, Mutant};

/// Cases of each property for each mutant. What takes more to be seen is not seen well enough.
const CASES: &str = "64";

fn main() -> ExitCode {
    // A lister of tests, such as `cargo test -- --list`, means none of these.
    let word = env::args().skip(1).find(|word| !word.starts_with('-'));
    let chosen = |mutant: &&Mutant| word.as_ref().is_none_or(|word| mutant.name.contains(word));
    let chosen: Vec<_> = MUTANTS.iter().filter(chosen).collect();
    let start = Instant::now();
    let copy = Copy::new();
    let untouched = copy.test();
    assert!(
        untouched.status.success(),
        "the rules as they are fail their tests:\n{}",
        text(&untouched)
    );
    println!(
        "{:4} s  as it is, everything passes",
        start.elapsed().as_secs()
    );
    let mut survivors = 0;
    for mutant in &chosen {
        let verdict = copy.verdict(mutant);
        let (rule, name, seconds) = (mutant.rule, mutant.name, start.elapsed().as_secs());
        match verdict {
            Ok(tests) => println!("{seconds:4} s  {rule:5}  {name}: {}", tests.join(", ")),
            Err(what) => {
                survivors += 1;
                println!("{seconds:4} s  {rule:5}  {name}: NOT NOTICED, {what}");
            }
        }
    }
    let seconds = start.elapsed().as_secs();
    println!(
        "{} mutants, {survivors} not noticed, {seconds} s",
        chosen.len()
    );
    if survivors == 0 && !chosen.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// The copy of the package, in a workspace of its own.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        let copy = folder.join("protocols");
        if copy.exists() {
            fs::remove_dir_all(&copy).unwrap();
        }
        copied(package, &copy);
        // Of the workspace only what this package takes from it, without what makes tests fast and builds slow.
        let whole = package.parent().unwrap();
        let manifest = fs::read_to_string(whole.join("Cargo.toml")).unwrap();
        let mut workspace = String::new();
        for part in manifest.split("\n[") {
            let part = part.strip_prefix('[').unwrap_or(part);
            if part.starts_with("workspace.") {
                workspace += &format!("[{part}\n");
            }
        }
        workspace += "[workspace]\nmembers = [\"protocols\"]\nresolver = \"2\"\n";
        workspace += "[profile.dev]\ndebug = false\nincremental = true\n";
        workspace += "[profile.dev.package.\"*\"]\nopt-level = 3\n";
        fs::write(folder.join("Cargo.toml"), workspace).unwrap();
        fs::copy(whole.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        Self { folder }
    }

    /// Runs the tests of the rules.
    fn test(&self) -> Output {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Command::new(cargo)
            .current_dir(&self.folder)
            .args(["test", "--offline", "--no-fail-fast", "--lib"])
            .args(["--test", "worlds", "--test", "rules"])
            .args(["--", "--skip", "reconcile", "--skip", "fetch"])
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env("PROPTEST_CASES", CASES)
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
            .env("PROPTEST_RNG_SEED", "7")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .env("RUST_BACKTRACE", "0")
            .env("RUSTFLAGS", "--cap-lints=allow")
            .output()
            .unwrap()
    }

    /// The tests that notice this mutant, or why there are none.
    fn verdict(&self, mutant: &Mutant) -> Result<Vec<String>, String> {
        let path = self.folder.join("protocols/src").join(mutant.file);
        let source = fs::read_to_string(&path).unwrap();
        let count = source.matches(mutant.from).count();
        if count != 1 {
            return Err(format!("its text stands {count} times in {}", mutant.file));
        }
        fs::write(&path, source.replacen(mutant.from, mutant.to, 1)).unwrap();
        let output = self.test();
        fs::write(&path, source).unwrap();
        let text = text(&output);
        let failed = text.lines().filter_map(|line| {
            let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
            Some(name.to_owned())
        });
        let failed: Vec<_> = failed.collect();
        match (output.status.success(), failed.is_empty()) {
            (true, _) => Err("all tests pass".to_owned()),
            (false, true) => Err(format!("it does not compile:\n{text}")),
            (false, false) => Ok(failed),
        }
    }
}

/// Copies a folder, but not what was built in it.
fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            if entry.file_name() != "target" {
                copied(&from, &to);
            }
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}
