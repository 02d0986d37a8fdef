//! Packs a crate with the user's own cargo.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ggen_protocols::limits;

use super::super::{ArchiveError, CARGO_MANIFEST, manifest};
use super::{cannot, unreadable};

/// Longest part of cargo's own words in an error, in bytes.
const STDERR_BYTES_MAX: usize = 2000;

/// Runs `cargo package` without a network; its target directory is a temporary one, so that nothing is left in the
/// user's tree.
pub(super) fn package(directory: &Path) -> Result<Vec<u8>, ArchiveError> {
    let manifest = directory.join(CARGO_MANIFEST);
    let name = name(&manifest)?;
    let target = tempfile::tempdir()?;
    let output = Command::new("cargo")
        .args(["package", "--quiet", "--color", "never"])
        .args(["--offline", "--no-verify", "--allow-dirty", "--no-metadata", "--exclude-lockfile"])
        .arg("--manifest-path")
        .arg(&manifest)
        .args(["--package", &name])
        .arg("--target-dir")
        .arg(target.path())
        // What it says is for people.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => cannot(
                directory,
                "packing a crate needs `cargo`, which is not on the PATH; install it, or publish a .crate file",
            ),
            _ => cannot(directory, format!("cannot run `cargo package`: {error}")),
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let start = said.ceil_char_boundary(said.len().saturating_sub(STDERR_BYTES_MAX));
        let said = said[start..].trim();
        return Err(cannot(directory, format!("`cargo package` failed: {said}")));
    }
    let archive = archive(directory, &target.path().join("package"))?;
    fs::read(&archive).map_err(unreadable(&archive))
}

/// The package that is meant: a workspace may hold more than one.
fn name(manifest: &Path) -> Result<String, ArchiveError> {
    let mut text = String::new();
    let file = File::open(manifest).map_err(unreadable(manifest))?;
    file.take(limits::MANIFEST_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable(manifest))?;
    match manifest::cargo_package_name(&text) {
        Ok(Some(name)) => Ok(name),
        Ok(None) => Err(cannot(
            manifest,
            "it declares no package, only a workspace; name the directory of one of its members",
        )),
        Err(why) => Err(cannot(manifest, why)),
    }
}

/// The one archive that cargo has left in `made`.
fn archive(directory: &Path, made: &Path) -> Result<PathBuf, ArchiveError> {
    let mut archives = Vec::new();
    for entry in fs::read_dir(made).map_err(unreadable(made))? {
        let path = entry.map_err(unreadable(made))?.path();
        if path.extension().is_some_and(|e| e == "crate") {
            archives.push(path);
        }
    }
    match <[PathBuf; 1]>::try_from(archives) {
        Ok([archive]) => Ok(archive),
        Err(archives) => {
            let count = archives.len();
            Err(cannot(
                directory,
                format!("`cargo package` made {count} archives instead of one"),
            ))
        }
    }
}
