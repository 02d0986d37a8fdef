//! Finds the README in an archive that was taken: what its manifest names, or `README.md`.

use std::io::Read;

use ggen_protocols::limits;
use ggen_protocols::metadata::Format;

use super::members::Members;
use super::{ArchiveError, Bounds, CARGO_MANIFEST, PACK_MANIFEST, manifest};

/// What a README is called where the manifest does not say.
const USUAL: &str = "README.md";

/// How far a README is looked for: an archive may unpack to much more, and people wait for this.
const BOUNDS: Bounds = Bounds {
    unpacked_bytes_max: 64 << 20,
    unpacked_ratio_max: 0,
    entries_max: limits::ARCHIVE_ENTRIES_MAX,
};

/// The path of the README in the package's directory; nothing if the package has none.
pub(super) fn path(archive: impl Read, format: Format) -> Result<Option<String>, ArchiveError> {
    let (name, table) = match format {
        Format::Cargo => (CARGO_MANIFEST, "package"),
        Format::Pack => (PACK_MANIFEST, "pack"),
        _ => return Ok(None),
    };
    let manifest = file(archive, name, limits::MANIFEST_BYTES_MAX)?;
    let text = manifest.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    Ok(match manifest::readme(&text, table) {
        Some(manifest::Readme::File(path)) => Some(path),
        Some(manifest::Readme::None) => None,
        None => Some(USUAL.to_owned()),
    })
}

/// The first `bytes_max` bytes of a file in the package's directory; nothing if there is no such file.
pub(super) fn file(
    archive: impl Read,
    path: &str,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, ArchiveError> {
    let path = path.trim_start_matches("./");
    let mut members = Members::open(archive, BOUNDS)?;
    loop {
        let member = match members.next() {
            Ok(Some(member)) => member,
            // What lies so deep that it is not reached is not found.
            Ok(None) | Err(ArchiveError::Bomb { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let inside = member.path.split_once('/').map(|(_, inside)| inside);
        if member.directory || inside != Some(path) {
            continue;
        }
        let max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let mut content = Vec::new();
        let read = members.content(&mut |bytes| {
            let room = max - content.len();
            content.extend_from_slice(&bytes[..room.min(bytes.len())]);
        });
        return match read {
            Ok(()) | Err(ArchiveError::Bomb { .. }) => Ok(Some(content)),
            Err(error) => Err(error),
        };
    }
}
