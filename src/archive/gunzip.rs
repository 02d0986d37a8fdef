//! Unpacks a gzip stream of one member: hashes what comes in, counts what goes out, keeps neither.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use ggen_protocols::hash::{ContentHash, ContentHasher};

use super::{ArchiveError, Bounds};

/// Bytes read and bytes unpacked at a time: all that an archive makes us hold, beside deflate's own window.
const CHUNK_BYTES: usize = 64 << 10;

/// The unpacked content of a gzip file, a chunk at a time.
pub(super) struct Gunzip<R> {
    decoder: GzDecoder<Compressed<R>>,
    chunk: Box<[u8]>,
    /// What of `chunk` is unpacked and not yet consumed.
    ready: std::ops::Range<usize>,
    unpacked: u64,
    bounds: Bounds,
}

impl<R: Read> Gunzip<R> {
    pub(super) fn open(archive: R, bounds: Bounds) -> Result<Self, ArchiveError> {
        let mut compressed = Compressed::new(archive);
        match compressed.fill_buf()? {
            [] => return Err(refused("it is an empty file")),
            [0x1f, 0x8b, ..] => {}
            _ => return Err(refused("it is no gzip file")),
        }
        Ok(Self {
            decoder: GzDecoder::new(compressed),
            chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
            ready: 0..0,
            unpacked: 0,
            bounds,
        })
    }

    /// The next unpacked bytes; none at the end of the stream, whose checksum is then found right.
    pub(super) fn fill(&mut self) -> Result<&[u8], ArchiveError> {
        if self.ready.is_empty() {
            let unpacked = match self.decoder.read(&mut self.chunk) {
                Ok(unpacked) => unpacked,
                Err(error) => return Err(self.broken(error)),
            };
            self.ready = 0..unpacked;
            self.unpacked += unpacked as u64;
            // Measured against what was read so far: the size of the whole is known only at the end, when it
            // is too late to stop.
            let ratio = self.bounds.unpacked_ratio_max;
            let by_ratio = ratio.saturating_mul(self.decoder.get_ref().read);
            let max = self.bounds.unpacked_bytes_max.max(by_ratio);
            if self.unpacked > max {
                return Err(ArchiveError::Bomb { max });
            }
        }
        Ok(&self.chunk[self.ready.clone()])
    }

    /// Marks the first `count` bytes of what `fill` gave as used.
    pub(super) fn consume(&mut self, count: usize) {
        self.ready.start = self.ready.end.min(self.ready.start + count);
    }

    /// BLAKE3 hash, SHA-256 hash and size of the file, once the stream was read to its end.
    pub(super) fn finish(mut self) -> Result<(ContentHash, ContentHash, u64), ArchiveError> {
        assert!(
            self.fill()?.is_empty(),
            "finish comes after the end of the stream"
        );
        let mut compressed = self.decoder.into_inner();
        match compressed.fill_buf()? {
            [] => Ok(compressed.hasher.finish()),
            [0x1f, 0x8b, ..] => Err(refused("a second gzip member follows the first")),
            _ => Err(refused("bytes follow the end of the gzip stream")),
        }
    }

    /// Tells a reader that failed from a stream that is wrong.
    fn broken(&self, error: io::Error) -> ArchiveError {
        if self.decoder.get_ref().failed {
            return ArchiveError::Io(error);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                refused("the gzip stream is cut off before its end mark")
            }
            _ => ArchiveError::Refused(format!("the gzip stream is broken: {error}")),
        }
    }
}

fn refused(why: &str) -> ArchiveError {
    ArchiveError::Refused(why.to_owned())
}

/// The file as it is read: counted and hashed.
struct Compressed<R> {
    file: R,
    hasher: ContentHasher,
    buffer: Box<[u8]>,
    ready: std::ops::Range<usize>,
    /// Bytes read so far. Always by whole buffers, so that it does not depend on how a reader splits them.
    read: u64,
    /// Whether reading the file failed, whatever the decoder made of it.
    failed: bool,
}

impl<R: Read> Compressed<R> {
    fn new(file: R) -> Self {
        Self {
            file,
            hasher: ContentHasher::new(),
            buffer: vec![0; CHUNK_BYTES].into_boxed_slice(),
            ready: 0..0,
            read: 0,
            failed: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        let mut filled = 0;
        while filled < self.buffer.len() {
            match self.file.read(&mut self.buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
        self.hasher.update(&self.buffer[..filled]);
        self.read += filled as u64;
        self.ready = 0..filled;
        Ok(())
    }
}

impl<R: Read> Read for Compressed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Compressed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.ready.is_empty() {
            self.refill()?;
        }
        Ok(&self.buffer[self.ready.clone()])
    }

    fn consume(&mut self, count: usize) {
        self.ready.start = self.ready.end.min(self.ready.start + count);
    }
}
