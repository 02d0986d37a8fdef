//! Makes an archive of a directory: same tree, same bytes.

mod cargo;
mod tree;

use std::io;
use std::path::Path;

use ggen_protocols::metadata::Format;

use super::{ArchiveError, Source};

/// Packs a directory deterministically: same tree, same bytes. Returns the archive and its format. Blocks while
/// it reads the disk.
///
/// A directory with a `Cargo.toml` is packed by `cargo package`, since only cargo knows what its include and exclude lists,
/// ignore files and workspace mean; what it makes depends on the git commit too, if there is one, and has no
/// `Cargo.lock`, for making one needs a registry. A directory with a `pack.toml` is packed as it lies there, without the
/// state of version control (`.git` and its like), `target`, and directories with nothing in them.
///
/// # Errors
/// [`ArchiveError::Pack`] or [`ArchiveError::Manifest`] with the path and what to do; [`ArchiveError::Io`].
pub fn pack_directory(source: &Source) -> Result<(Vec<u8>, Format), ArchiveError> {
    match source {
        Source::CargoDirectory(directory) => Ok((cargo::package(directory)?, Format::Cargo)),
        Source::PackDirectory(directory) => Ok((tree::pack(directory)?, Format::Pack)),
        Source::Crate(file) | Source::Generic(file) => {
            Err(cannot(file, "it is a file, which is published as it is"))
        }
    }
}

fn cannot(path: &Path, why: impl Into<String>) -> ArchiveError {
    ArchiveError::Pack {
        path: path.to_owned(),
        why: why.into(),
    }
}

/// For `map_err` on what the operating system does to `path`.
fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    move |error| cannot(path, error.to_string())
}
