//! Package archives: what one holds, whether it may be taken, and how a directory becomes one.
//!
//! An archive is checked at publication and again on every node that it reaches, before anybody may use it:
//! the publisher's own check is nobody else's protection. Nothing is ever unpacked to disk here.

pub mod bind;
mod check;
mod compare;
mod gunzip;
mod header;
pub mod index;
mod manifest;
mod members;
mod pack;
mod path;
mod readme;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ggen_protocols::hash::ContentHash;
use ggen_protocols::limits;
use ggen_protocols::metadata::{Format, PackageMetadata};
use ggen_protocols::record::Publish;

pub use pack::pack_directory;

/// The manifest of a crate, in the directory that holds all of it.
const CARGO_MANIFEST: &str = "Cargo.toml";
/// The manifest of a ggen pack, in the directory that holds all of it.
const PACK_MANIFEST: &str = "pack.toml";

/// Bounds on what unpacking an archive may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes that it may unpack to, or `unpacked_ratio_max` times its size if that is more.
    pub unpacked_bytes_max: u64,
    /// See `unpacked_bytes_max`.
    pub unpacked_ratio_max: u64,
    /// Entries that it may have.
    pub entries_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            unpacked_bytes_max: limits::UNPACKED_BYTES_MAX,
            unpacked_ratio_max: limits::UNPACKED_RATIO_MAX,
            entries_max: limits::ARCHIVE_ENTRIES_MAX,
        }
    }
}

/// What reading an archive to its end gave.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// What its manifest declares; hashes and size are those of the archive. `None` for a generic archive,
    /// which declares nothing.
    pub metadata: Option<PackageMetadata>,
    /// BLAKE3 hash of the archive.
    pub blake3: ContentHash,
    /// SHA-256 hash of the archive.
    pub sha256: ContentHash,
    /// Its length in bytes.
    pub size: u64,
}

/// Reads an archive of `format` once, to its end, and checks it (structure, paths, kinds, sizes, manifest).
/// Takes bounded memory, whatever the archive claims.
///
/// # Errors
/// [`ArchiveError`] with the rule that it breaks.
pub fn inspect(
    archive: impl Read,
    format: Format,
    bounds: Bounds,
) -> Result<Inspected, ArchiveError> {
    check::inspect(archive, format, bounds)
}

/// Checks an archive against the record that publishes it: hashes, size, name, version and everything else
/// that the manifest declares.
///
/// # Errors
/// [`ArchiveError`] with the rule that it breaks, or the field that differs.
pub fn matches(
    archive: impl Read,
    publish: &Publish,
    bounds: Bounds,
) -> Result<Inspected, ArchiveError> {
    compare::matches(archive, publish, bounds)
}

/// Where the README of a package stands in its directory, as its manifest says; `README.md` if that says nothing.
/// Nothing if the package says that it has none, or is generic. For archives that were checked before.
///
/// # Errors
/// [`ArchiveError`] if it cannot be read.
pub fn readme_path(archive: impl Read, format: Format) -> Result<Option<String>, ArchiveError> {
    readme::path(archive, format)
}

/// The first `bytes_max` bytes of one file in the package's directory; nothing if it is not within the first 64 MiB
/// that the archive unpacks to. For archives that were checked before.
///
/// # Errors
/// [`ArchiveError`] if it cannot be read.
pub fn file(
    archive: impl Read,
    path: &str,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, ArchiveError> {
    readme::file(archive, path, bytes_max)
}

/// What a path on disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A `.crate` file.
    Crate(PathBuf),
    /// A directory with `Cargo.toml`.
    CargoDirectory(PathBuf),
    /// A directory with `pack.toml`.
    PackDirectory(PathBuf),
    /// Any other file.
    Generic(PathBuf),
}

/// Looks what can be published at `path`. A directory with both manifests is refused: it is for its owner to
/// say which of the two packages is meant.
///
/// # Errors
/// [`ArchiveError::NoPackage`] says what a package would have looked like.
pub fn recognise(path: &Path) -> Result<Source, ArchiveError> {
    let refuse = |why: &str| {
        Err(ArchiveError::NoPackage {
            path: path.to_owned(),
            why: why.to_owned(),
        })
    };
    let kind = match std::fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return refuse(
                "nothing is there; expected a .crate file, a directory with a Cargo.toml or a pack.toml, or any \
                 other file to publish as it is",
            );
        }
        Err(error) => return refuse(&format!("it cannot be read: {error}")),
    };
    if kind.is_file() {
        let is_crate = path.extension().is_some_and(|e| e == "crate");
        let source = if is_crate {
            Source::Crate
        } else {
            Source::Generic
        };
        return Ok(source(path.to_owned()));
    }
    if !kind.is_dir() {
        return refuse("it is neither a file nor a directory");
    }
    let holds = |manifest: &str| path.join(manifest).is_file();
    match (holds(CARGO_MANIFEST), holds(PACK_MANIFEST)) {
        (true, false) => Ok(Source::CargoDirectory(path.to_owned())),
        (false, true) => Ok(Source::PackDirectory(path.to_owned())),
        (true, true) => refuse(
            "the directory has both a Cargo.toml and a pack.toml; move one away, or run `cargo package` and publish \
             the .crate file that it makes",
        ),
        (false, false) => refuse("the directory has neither a Cargo.toml nor a pack.toml"),
    }
}

/// Why an archive was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Nothing that could be published.
    #[error("{path} is no package: {why}")]
    NoPackage {
        /// Where.
        path: PathBuf,
        /// What was missing.
        why: String,
    },
    /// No archive can be made of it.
    #[error("cannot pack {path}: {why}")]
    Pack {
        /// Which directory, or what in it.
        path: PathBuf,
        /// What stood in the way.
        why: String,
    },
    /// It breaks a rule of structure.
    #[error("the archive is refused: {0}")]
    Refused(String),
    /// It unpacks to more than it may.
    #[error("the archive is refused: it unpacks to more than {max} bytes")]
    Bomb {
        /// The limit in bytes.
        max: u64,
    },
    /// Its manifest is missing or cannot be read.
    #[error("the manifest is refused: {0}")]
    Manifest(String),
    /// It is not what the record says.
    #[error(
        "the archive is not what its record says: {field} is {found}, the record says {recorded}"
    )]
    Differs {
        /// Which field.
        field: &'static str,
        /// In the archive.
        found: String,
        /// In the record.
        recorded: String,
    },
    /// It could not be read or written.
    #[error("cannot read or write the archive: {0}")]
    Io(#[from] io::Error),
}
