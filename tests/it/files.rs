//! Files that tests look at: those below a directory, and the packages in cargo's cache.

use std::path::{Path, PathBuf};

/// Files below a directory, sorted; none if there is no such directory.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The `.crate` files that cargo keeps of what it built, by name: whoever built this has hundreds.
pub(crate) fn cached_crates() -> Vec<PathBuf> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let base = directories::BaseDirs::new();
    let cargo_home = cargo_home.or_else(|| Some(base?.home_dir().join(".cargo")));
    let cache = cargo_home.unwrap().join("registry/cache");
    let mut crates = files_below(&cache);
    crates.retain(|path| path.extension().is_some_and(|end| end == "crate"));
    crates.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    crates.dedup_by_key(|path| path.file_name().map(ToOwned::to_owned));
    let count = crates.len();
    assert!(
        count >= 200,
        "only {count} .crate files in {}",
        cache.display()
    );
    crates
}
