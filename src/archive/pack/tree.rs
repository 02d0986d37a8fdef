//! Packs a directory with a `pack.toml`: what lies there and nothing about whose it is or when it was made.

use std::fs::{self, File, FileType};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use ggen_protocols::limits;
use ggen_protocols::metadata::PackageMetadata;

use super::super::{ArchiveError, PACK_MANIFEST, manifest, path};
use super::{cannot, unreadable};

/// Where version control keeps its state. Files for it, such as `.gitignore`, are content: packs hold templates of
/// projects, and a project has one.
const VERSION_CONTROL: &[&str] = &[".bzr", ".git", ".hg", ".jj", ".pijul", ".svn"];
/// What builds leave at the top of a tree.
const BUILT: &str = "target";

/// Strength of the compression; fixed, as all else that the bytes depend on.
const LEVEL: u32 = 6;
/// The operating system in the gzip header: unknown, on all of them.
const ANY_SYSTEM: u8 = 255;

/// A file to pack.
struct Entry {
    /// Its path in the directory, with `/` between components.
    inside: String,
    path: PathBuf,
}

pub(super) fn pack(directory: &Path) -> Result<Vec<u8>, ArchiveError> {
    let metadata = declared(&directory.join(PACK_MANIFEST))?;
    let top = format!("{}-{}", metadata.id.name, metadata.id.version);
    let mut entries = Vec::new();
    list(directory, "", &mut entries)?;
    // By bytes: the order in which the file system tells them is its own.
    entries.sort_by(|one, other| one.inside.cmp(&other.inside));
    let gzip = GzBuilder::new().mtime(0).operating_system(ANY_SYSTEM);
    let mut tar = tar::Builder::new(gzip.write(Vec::new(), Compression::new(LEVEL)));
    let mut left = limits::UNPACKED_BYTES_MAX;
    for entry in &entries {
        let path = format!("{top}/{}", entry.inside);
        path::check(&path).map_err(|why| cannot(&entry.path, why))?;
        append(&mut tar, &path, &entry.path, &mut left)?;
    }
    Ok(tar.into_inner()?.finish()?)
}

fn declared(manifest: &Path) -> Result<PackageMetadata, ArchiveError> {
    let mut text = String::new();
    let file = File::open(manifest).map_err(unreadable(manifest))?;
    let read = file
        .take(limits::MANIFEST_BYTES_MAX + 1)
        .read_to_string(&mut text);
    if read.map_err(unreadable(manifest))? as u64 > limits::MANIFEST_BYTES_MAX {
        return Err(cannot(manifest, "it is larger than 1 MiB"));
    }
    manifest::pack(&text)
        .map_err(|why| ArchiveError::Manifest(format!("{}: {why}", manifest.display())))
}

/// Adds all files below `directory`, which itself is at `inside`.
fn list(directory: &Path, inside: &str, entries: &mut Vec<Entry>) -> Result<(), ArchiveError> {
    if inside.matches('/').count() > limits::ARCHIVE_PATH_DEPTH_MAX {
        return Err(cannot(directory, "it is more than 32 levels deep"));
    }
    for entry in fs::read_dir(directory).map_err(unreadable(directory))? {
        let entry = entry.map_err(unreadable(directory))?;
        let path = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(cannot(&path, "its name is not UTF-8"));
        };
        let kind = entry.file_type().map_err(unreadable(&path))?;
        if VERSION_CONTROL.contains(&name) || (inside.is_empty() && name == BUILT && kind.is_dir())
        {
            continue;
        }
        if kind.is_dir() {
            list(&path, &format!("{inside}{name}/"), entries)?;
        } else if kind.is_file() {
            let inside = format!("{inside}{name}");
            entries.push(Entry { inside, path });
        } else {
            return Err(cannot(&path, refusal(kind)));
        }
        if entries.len() > limits::ARCHIVE_ENTRIES_MAX {
            let max = limits::ARCHIVE_ENTRIES_MAX;
            return Err(cannot(
                directory,
                format!("there are more than {max} files"),
            ));
        }
    }
    Ok(())
}

fn refusal(kind: FileType) -> &'static str {
    if kind.is_symlink() {
        "it is a symbolic link, which no archive may have; put the file itself there"
    } else {
        "it is neither a file nor a directory"
    }
}

fn append(
    tar: &mut tar::Builder<GzEncoder<Vec<u8>>>,
    inside: &str,
    path: &Path,
    left: &mut u64,
) -> Result<(), ArchiveError> {
    let file = File::open(path).map_err(unreadable(path))?;
    let metadata = file.metadata().map_err(unreadable(path))?;
    let size = metadata.len();
    *left = left
        .checked_sub(size)
        .ok_or_else(|| cannot(path, "with this file the pack is larger than 512 MiB"))?;
    let executable = metadata.permissions().mode() & 0o100 != 0;
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    // Exactly the size that the header says, whatever happens to the file meanwhile.
    let mut content = file.take(size);
    tar.append_data(&mut header, inside, &mut content)
        .map_err(unreadable(path))?;
    let short = content.limit() != 0;
    let more = content
        .into_inner()
        .read(&mut [0])
        .map_err(unreadable(path))?
        != 0;
    if short || more {
        return Err(cannot(path, "it changed while it was read; try again"));
    }
    Ok(())
}
