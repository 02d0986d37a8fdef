//! Whether the home and its keys are for their user alone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ggen_marketplace::assemble::Layout;
use rustix::process::geteuid;

use super::Check;

/// Looks at the home, its node key and the keys that sign.
pub(super) fn files(layout: &Layout) -> Vec<Check> {
    let dir = layout.dir();
    if !layout.is_home() {
        let found = format!("there is none in {}", dir.display());
        return vec![Check::warning("home", found, "market init")];
    }
    let mut checks = vec![guarded("home", dir, 0o700)];
    let mut keys = vec![layout.node_key_path()];
    match fs::read_dir(layout.keys()) {
        Ok(entries) => {
            keys.push(layout.keys());
            let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            // The notes beside the keys hold public halves only.
            keys.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "pem")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => checks.push(unreadable("key files", &layout.keys(), &error)),
    }
    let looked = keys.iter().map(|path| {
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        guarded("key files", path, mode)
    });
    let bad: Vec<_> = looked.filter(|one| one.fix.is_some()).collect();
    if bad.is_empty() {
        let found = format!("{} for you alone", keys.len());
        checks.push(Check::ok("key files", found));
    }
    checks.extend(bad);
    checks
}

fn unreadable(name: &'static str, path: &Path, error: &io::Error) -> Check {
    let found = format!("{} cannot be looked at: {error}", path.display());
    Check::problem(name, found, "run this as the user whom the home belongs to")
}

/// Whether only its user may touch a file or folder; `mode` is what it should have.
fn guarded(name: &'static str, path: &Path, mode: u32) -> Check {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return unreadable(name, path, &error),
    };
    let shown = path.display();
    let user = geteuid().as_raw();
    if metadata.uid() != user {
        let found = format!("{shown} belongs to the user {}", metadata.uid());
        return Check::problem(name, found, format!("chown {user} {shown}"));
    }
    let has = metadata.mode() & 0o777;
    if has & 0o077 != 0 {
        let found = format!("{shown} has the mode {has:o}: others may look into it");
        return Check::problem(name, found, format!("chmod {mode:o} {shown}"));
    }
    Check::ok(name, shown.to_string())
}
