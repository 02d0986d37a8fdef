//! Walks the entries of a `.tar.gz` once, refusing whatever two readers could see differently.

use std::io::Read;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::limits;

use super::gunzip::Gunzip;
use super::header::{BLOCK_BYTES, Block, Extended, Header, Kind};
use super::path::{self, Paths, shown};
use super::{ArchiveError, Bounds};

/// Largest extension header, in bytes: the longest path beside a few times and names, or a path that is too long, to
/// say so.
const EXTENSION_BYTES_MAX: u64 = 4 << 10;

const _: () = assert!(EXTENSION_BYTES_MAX > 2 * limits::ARCHIVE_PATH_BYTES_MAX as u64);

/// A file or directory in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its path, without a slash at the end.
    pub(super) path: String,
    pub(super) directory: bool,
    /// Bytes of content.
    pub(super) size: u64,
}

/// The members of an archive, one by one.
pub(super) struct Members<R> {
    stream: Gunzip<R>,
    paths: Paths,
    /// The directory that all members must lie in: that of the first.
    top: Option<String>,
    /// Bytes of the last member's content that are yet to be read, and of padding after it.
    unread: (u64, u64),
}

/// What is known once an archive was read to its end.
#[derive(Debug)]
pub(super) struct Walked {
    /// The one directory that holds everything.
    pub(super) top: String,
    pub(super) blake3: ContentHash,
    pub(super) sha256: ContentHash,
    pub(super) size: u64,
}

impl<R: Read> Members<R> {
    pub(super) fn open(archive: R, bounds: Bounds) -> Result<Self, ArchiveError> {
        Ok(Self {
            stream: Gunzip::open(archive, bounds)?,
            paths: Paths::new(bounds.entries_max),
            top: None,
            unread: (0, 0),
        })
    }

    /// The next member, passing over what was not read of the last one; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        self.content(&mut |_| {})?;
        let mut long: Option<Vec<u8>> = None;
        let mut extended: Option<Extended> = None;
        loop {
            let extension = long.is_some() || extended.is_some();
            let Some(block) = self.block()? else {
                return refuse("the tar archive ends without an end mark");
            };
            if block == [0; BLOCK_BYTES] {
                if extension {
                    return refuse("the last tar header describes an entry that does not follow");
                }
                self.check_end()?;
                return Ok(None);
            }
            let header = Header::parse(&block).map_err(ArchiveError::Refused)?;
            match header.kind {
                Kind::LongPath | Kind::Extended if extension => {
                    return refuse("two extension headers describe the same entry");
                }
                Kind::LongPath => long = Some(self.long_path(&header)?),
                Kind::Extended => {
                    let data = self.extension(&header)?;
                    let parsed = Extended::parse(&data).map_err(ArchiveError::Refused)?;
                    extended = Some(parsed);
                }
                Kind::File | Kind::Directory => {
                    return self
                        .member(header, long, extended.unwrap_or_default())
                        .map(Some);
                }
            }
        }
    }

    /// Reads the rest of the last member's content.
    pub(super) fn content(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), ArchiveError> {
        let (content, padding) = std::mem::take(&mut self.unread);
        self.take(content, sink)?;
        self.take(padding, &mut |_| {})
    }

    /// What is known of the archive, once there is no next member.
    pub(super) fn finish(self) -> Result<Walked, ArchiveError> {
        let (blake3, sha256, size) = self.stream.finish()?;
        let Some(top) = self.top else {
            return refuse("it has no entries");
        };
        Ok(Walked {
            top,
            blake3,
            sha256,
            size,
        })
    }

    fn member(
        &mut self,
        header: Header,
        long: Option<Vec<u8>>,
        extended: Extended,
    ) -> Result<Member, ArchiveError> {
        let directory = header.kind == Kind::Directory;
        let overridden = long.or(extended.path);
        if let Some(path) = &overridden
            && !same_top(&header.path, path)
        {
            return refuse(format!(
                "{}: an extension header moves it elsewhere",
                shown(path)
            ));
        }
        let path = overridden.unwrap_or(header.path);
        if extended.size.is_some_and(|size| size != header.size) {
            let path = shown(&path);
            return refuse(format!(
                "{path}: its pax size differs from the size in its header"
            ));
        }
        let Ok(path) = String::from_utf8(path) else {
            return refuse("a path is not UTF-8");
        };
        let path = match path.strip_suffix('/') {
            Some(_) if !directory => {
                return refuse(format!(
                    "{}: it is a file called like a directory",
                    shown(path.as_bytes())
                ));
            }
            Some(short) => short.to_owned(),
            None => path,
        };
        path::check(&path).map_err(ArchiveError::Refused)?;
        let (top, inside) = path
            .split_once('/')
            .map_or((&*path, false), |(top, _)| (top, true));
        let expected = self.top.get_or_insert_with(|| top.to_owned());
        if top != expected || !(inside || directory) {
            let expected = shown(expected.as_bytes());
            let why = "it lies outside the one directory that holds the rest,";
            return refuse(format!("{}: {why} {expected}", shown(path.as_bytes())));
        }
        self.paths
            .add(&path, directory)
            .map_err(ArchiveError::Refused)?;
        let size = header.size;
        self.unread = (size, padding(size));
        Ok(Member {
            path,
            directory,
            size,
        })
    }

    fn long_path(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        let mut path = self.extension(header)?;
        // Some readers take the zero at the end for part of the path, and some end it at the first.
        if path.pop() != Some(0) || path.contains(&0) {
            return refuse("a GNU long path does not end with its only zero byte");
        }
        Ok(path)
    }

    /// The content of an extension header, which is kept.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        let (size, max) = (header.size, EXTENSION_BYTES_MAX);
        if size > max {
            return refuse(format!(
                "an extension header has {size} bytes; at most {max} are allowed"
            ));
        }
        let mut data = Vec::new();
        self.unread = (size, padding(size));
        self.content(&mut |bytes| data.extend_from_slice(bytes))?;
        Ok(data)
    }

    /// The first block of zeros was read: another one must follow, and then nothing but zeros.
    fn check_end(&mut self) -> Result<(), ArchiveError> {
        let mut zeros = 0;
        loop {
            let chunk = self.stream.fill()?;
            let count = chunk.len();
            if count == 0 && zeros < BLOCK_BYTES as u64 {
                return refuse("the end mark of the tar archive is cut off");
            }
            if count == 0 {
                return Ok(());
            }
            if chunk.iter().any(|b| *b != 0) {
                return refuse("bytes follow the end mark of the tar archive");
            }
            self.stream.consume(count);
            zeros += count as u64;
        }
    }

    /// The next 512 bytes, or nothing at the end of the stream.
    fn block(&mut self) -> Result<Option<Block>, ArchiveError> {
        if self.stream.fill()?.is_empty() {
            return Ok(None);
        }
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        self.take(BLOCK_BYTES as u64, &mut |bytes| {
            block[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        })?;
        Ok(Some(block))
    }

    fn take(&mut self, mut count: u64, sink: &mut dyn FnMut(&[u8])) -> Result<(), ArchiveError> {
        while count > 0 {
            let chunk = self.stream.fill()?;
            if chunk.is_empty() {
                return refuse("the tar archive is cut off");
            }
            let wanted = usize::try_from(count)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            sink(&chunk[..wanted]);
            self.stream.consume(wanted);
            count -= wanted as u64;
        }
        Ok(())
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, ArchiveError> {
    Err(ArchiveError::Refused(why.into()))
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK_BYTES as u64) - size
}

/// Whether a header's own path begins with the same directory as the path that overrides it. The own path is
/// cut off where the field ends, which may be within that directory's name.
fn same_top(own: &[u8], path: &[u8]) -> bool {
    let top = |path: &'_ [u8]| path.iter().position(|b| *b == b'/');
    let real = top(path).map_or(path, |slash| &path[..slash]);
    match top(own) {
        Some(slash) => &own[..slash] == real,
        None => real.starts_with(own),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::read::GzDecoder;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    /// A member and a hash of its content: what must be equal for all readers.
    type Listed = (Member, ContentHash);

    fn ours(archive: &[u8]) -> Result<Vec<Listed>, ArchiveError> {
        let mut members = Members::open(archive, Bounds::default())?;
        let mut listed = Vec::new();
        while let Some(member) = members.next()? {
            let mut content = Vec::new();
            members.content(&mut |bytes| content.extend_from_slice(bytes))?;
            listed.push((member, ContentHash::blake3(content)));
        }
        members.finish()?;
        Ok(listed)
    }

    fn theirs(archive: &[u8]) -> Vec<Listed> {
        let mut listed = Vec::new();
        for entry in tar::Archive::new(GzDecoder::new(archive))
            .entries()
            .unwrap()
        {
            let mut entry = entry.unwrap();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let member = Member {
                path: path.trim_end_matches('/').to_owned(),
                directory: entry.header().entry_type().is_dir(),
                size: entry.size(),
            };
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            listed.push((member, ContentHash::blake3(content)));
        }
        listed
    }

    fn gzip(tar: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(tar).unwrap();
        encoder.finish().unwrap()
    }

    /// An archive with every construct that is accepted: both header formats, a POSIX prefix, a GNU long path, a
    /// pax header, a directory.
    fn everything() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |mut header: tar::Header, path: &str, content: &[u8]| {
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, content).unwrap();
        };
        add(tar::Header::new_gnu(), "a-1.0.0/Cargo.toml", b"[package]");
        add(tar::Header::new_ustar(), "a-1.0.0/empty", b"");
        add(
            tar::Header::new_gnu(),
            &format!("a-1.0.0/{}", "long/".repeat(20) + "x"),
            &[7; 700],
        );
        add(
            tar::Header::new_ustar(),
            &format!("a-1.0.0/{}/x", "prefix".repeat(16)),
            &[8; 512],
        );
        let mut directory = tar::Header::new_ustar();
        directory.set_entry_type(tar::EntryType::Directory);
        add(directory, "a-1.0.0/docs/", b"");
        let pax = [
            ("path", &b"a-1.0.0/docs/\xc3\xa4.md"[..]),
            ("size", b"3"),
            ("mtime", b"1.5"),
        ];
        tar.append_pax_extensions(pax).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(3);
        header.set_mode(0o755);
        tar.append_data(&mut header, "a-1.0.0/docs/a.md", &b"abc"[..])
            .unwrap();
        tar.into_inner().unwrap()
    }

    #[test]
    fn everything_that_is_accepted_is_listed_alike() {
        let archive = gzip(&everything());
        let listed = ours(&archive).unwrap();
        assert_eq!(listed, theirs(&archive));
        let paths: Vec<&str> = listed
            .iter()
            .map(|(member, _)| member.path.as_str())
            .collect();
        assert_eq!(paths.len(), 6);
        assert_eq!(paths[5], "a-1.0.0/docs/ä.md");
    }

    /// Makes the checksum right of every block that is laid out as a header, so that a change elsewhere in it counts.
    fn mend_checksums(tar: &mut [u8]) {
        for block in tar.chunks_exact_mut(BLOCK_BYTES) {
            if block[257..262] == *b"ustar" {
                block[148..156].fill(b' ');
                let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
    }

    /// Bytes that mean something in a header.
    fn telling_byte() -> impl Strategy<Value = u8> {
        prop_oneof![
            proptest::sample::select(b"\0 /.-=\n\\:01257LxgKS\x80\xff".to_vec()),
            any::<u8>(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_changed_archive_is_listed_otherwise_than_tar_lists_it(
            changes in prop::collection::vec((any::<prop::sample::Index>(), telling_byte()), 1..4),
            cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
        ) {
            let mut tar = everything();
            // Content is a small part of what is read as structure: prefer headers.
            let blocks = tar.len() / BLOCK_BYTES;
            for (index, byte) in &changes {
                let at = index.index(blocks * BLOCK_BYTES);
                tar[at] = *byte;
            }
            if let Some(cut) = cut {
                tar.truncate(cut.index(blocks) * BLOCK_BYTES);
            }
            mend_checksums(&mut tar);
            let archive = gzip(&tar);
            if let Ok(listed) = ours(&archive) {
                prop_assert_eq!(listed, theirs(&archive));
            }
        }

        #[test]
        fn no_changed_file_is_listed_otherwise_than_tar_lists_it(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut archive = gzip(&everything());
            for (index, byte) in &changes {
                let at = index.index(archive.len());
                archive[at] = *byte;
            }
            if let Ok(listed) = ours(&archive) {
                prop_assert_eq!(listed, theirs(&archive));
            }
        }
    }

    #[test]
    fn the_changes_of_the_property_are_often_accepted() {
        // Else the property above would hold for want of accepted archives: flipping padding and content passes.
        let whole = everything();
        let accepted = (0..whole.len()).step_by(37).filter(|at| {
            let mut tar = whole.clone();
            tar[*at] ^= 1;
            mend_checksums(&mut tar);
            ours(&gzip(&tar)).is_ok()
        });
        assert!(accepted.count() * 4 > whole.len() / 37);
    }
}
