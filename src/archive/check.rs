//! Checks one archive from its first byte to its last, and reads its manifest on the way.

use std::io::{self, Read};

use ggen_protocols::hash::ContentHasher;
use ggen_protocols::limits;
use ggen_protocols::metadata::{Checksums, Format, PackageMetadata};
use ggen_protocols::record::Publish;

use super::members::{Members, Walked};
use super::path::plain;
use super::{ArchiveError, Bounds, CARGO_MANIFEST, Inspected, PACK_MANIFEST, manifest};

/// What cargo writes into a directory that it has unpacked wholly: an archive with one could pass off a part
/// of itself as the whole.
const UNPACKED_MARKER: &str = ".cargo-ok";

pub(super) fn inspect(
    archive: impl Read,
    format: Format,
    bounds: Bounds,
) -> Result<Inspected, ArchiveError> {
    match format {
        Format::Cargo => inspect_tar(archive, format, CARGO_MANIFEST, manifest::cargo, bounds),
        Format::Pack => inspect_tar(archive, format, PACK_MANIFEST, manifest::pack, bounds),
        // Also formats yet to come: what we cannot read is opaque.
        _ => hash(archive),
    }
}

/// Reads an archive that is never unpacked.
fn hash(mut archive: impl Read) -> Result<Inspected, ArchiveError> {
    let mut hasher = ContentHasher::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match archive.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (blake3, sha256, size) = hasher.finish();
    Ok(Inspected {
        metadata: None,
        blake3,
        sha256,
        size,
    })
}

fn inspect_tar(
    archive: impl Read,
    format: Format,
    manifest_name: &str,
    read: fn(&str) -> Result<PackageMetadata, String>,
    bounds: Bounds,
) -> Result<Inspected, ArchiveError> {
    let (walked, manifest) = walk(archive, manifest_name, bounds)?;
    let Walked {
        top,
        blake3,
        sha256,
        size,
    } = walked;
    // A reason may quote the manifest.
    let refuse = |why: String| ArchiveError::Manifest(format!("{manifest_name}: {}", plain(&why)));
    let Some(manifest) = manifest else {
        return Err(refuse(format!("there is none in the directory `{top}`")));
    };
    let text = std::str::from_utf8(&manifest).map_err(|_| refuse("it is not UTF-8".to_owned()))?;
    let mut metadata = read(text).map_err(refuse)?;
    let declared = format!("{}-{}", metadata.id.name, metadata.id.version);
    if declared != top {
        return Err(refuse(format!(
            "it declares `{declared}`, but the directory in the archive is `{top}`"
        )));
    }
    metadata.format = format;
    metadata.checksums = Checksums {
        blake3: Some(blake3),
        sha256: Some(sha256),
        size: Some(size),
    };
    // What no record can carry is found here, and not only when somebody signs it.
    Publish::from_metadata(&metadata).map_err(|error| refuse(error.to_string()))?;
    Ok(Inspected {
        metadata: Some(metadata),
        blake3,
        sha256,
        size,
    })
}

/// Reads all members; gives the manifest's bytes if there is one at the top.
fn walk(
    archive: impl Read,
    manifest_name: &str,
    bounds: Bounds,
) -> Result<(Walked, Option<Vec<u8>>), ArchiveError> {
    let mut members = Members::open(archive, bounds)?;
    let mut manifest = None;
    while let Some(member) = members.next()? {
        let Some((_, inside)) = member.path.split_once('/') else {
            continue;
        };
        if inside.eq_ignore_ascii_case(UNPACKED_MARKER) {
            let why = format!("`{UNPACKED_MARKER}` is a name that cargo reserves for itself");
            return Err(ArchiveError::Refused(why));
        }
        if inside != manifest_name || member.directory {
            continue;
        }
        if member.size > limits::MANIFEST_BYTES_MAX {
            let (size, max) = (member.size, limits::MANIFEST_BYTES_MAX);
            let why = format!("{manifest_name}: it has {size} bytes; at most {max} are allowed");
            return Err(ArchiveError::Manifest(why));
        }
        let mut text = Vec::new();
        members.content(&mut |bytes| text.extend_from_slice(bytes))?;
        manifest = Some(text);
    }
    Ok((members.finish()?, manifest))
}
