//! The index's folder: one folder in it for each generation, of which one counts.
//!
//! A generation is called `v<meaning>-<number>`. It counts if its meaning is ours and its last commit says
//! which position of the change feed it stands at: a rebuild that did not end said nothing. Everything here
//! derives from the catalogue, so whatever is damaged, older or newer is deleted and begun anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tantivy::indexer::IndexWriterOptions;
use tantivy::merge_policy::{LogMergePolicy, NoMergePolicy};
use tantivy::store::Compressor;
use tantivy::{
    Index, IndexBuilder, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, TantivyError,
};

use super::SearchError;
use super::schema::{self, Fields};

/// Bytes that the writer gathers before it begins another segment: 8,000 packages take less.
const WRITER_BYTES: usize = 24 << 20;
/// The same for each thread of a rebuild, which has no changes to keep searches fresh with.
const REBUILD_BYTES: usize = 64 << 20;
/// Most threads of a rebuild: more would wait for the disk.
const REBUILD_THREADS_MAX: usize = 8;
/// Segments of like size that are merged into one.
const MERGED_SEGMENTS_MIN: usize = 4;
/// How often a busy lock is tried again.
const LOCK_TRIES: usize = 200;
/// How long between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Bytes of stored packages in one compressed block: a hit unpacks one block.
const BLOCK_BYTES: usize = 2 << 10;
/// Unpacked blocks that are kept for each segment.
const BLOCKS_KEPT: usize = 64;

/// One generation of the index, open.
pub(crate) struct Generation {
    pub(crate) path: PathBuf,
    pub(crate) reader: IndexReader,
    pub(crate) writer: IndexWriter,
    /// The position of the change feed that it stands at.
    pub(crate) position: u64,
}

impl Generation {
    /// Frees the folder. A running merge is waited for: it would go on writing there.
    pub(crate) fn close(self) {
        if let Err(error) = self.writer.wait_merging_threads() {
            tracing::debug!(%error, "a merge of the search index failed");
        }
    }

    /// Makes durable what a rebuild wrote, and goes on as the index that is searched.
    pub(crate) fn settle(mut self) -> tantivy::Result<Self> {
        commit(&mut self.writer, 0)?;
        let index = self.writer.index().clone();
        self.writer.wait_merging_threads()?;
        generation(&self.path, &index, 0, Pace::Steady)
    }

    /// Deletes it.
    pub(crate) fn delete(self) -> Result<(), SearchError> {
        let path = self.path.clone();
        self.close();
        remove(&path)
    }
}

/// Opens the generation that counts, deletes every other; begins one at position 0 if none is left.
pub(crate) fn open(root: &Path, fields: &Fields) -> Result<Generation, SearchError> {
    fs::create_dir_all(root)
        .map_err(|error| failed("create the search index's folder", root, &error))?;
    let mut names = generations(root)?;
    names.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    let mut found = None;
    for (_, path) in &names {
        if found.is_none() {
            found = open_one(path, fields)?;
        }
        if found.as_ref().is_none_or(|found| found.path != *path) {
            tracing::info!(path = %path.display(), "deleting a search index that is damaged or of another version");
            remove(path)?;
        }
    }
    match found {
        Some(generation) => Ok(generation),
        None => {
            let mut generation = begin(root, fields, Pace::Steady)?;
            let done = commit(&mut generation.writer, 0);
            done.map_err(|error| failed("begin a search index in", root, &error))?;
            Ok(generation)
        }
    }
}

/// Begins a generation that does not count before its first [`commit`].
pub(crate) fn begin(root: &Path, fields: &Fields, pace: Pace) -> Result<Generation, SearchError> {
    let number = generations(root)?
        .iter()
        .map(|(number, _)| number + 1)
        .max();
    let path = root.join(format!("v{}-{}", schema::VERSION, number.unwrap_or(1)));
    let settings = IndexSettings {
        docstore_compression: Compressor::Lz4,
        docstore_blocksize: BLOCK_BYTES,
        docstore_compress_dedicated_thread: false,
        ..IndexSettings::default()
    };
    let begun = fs::create_dir(&path)
        .map_err(TantivyError::from)
        .and_then(|()| {
            let builder = IndexBuilder::new().schema(fields.schema.clone());
            let index = builder.settings(settings).create_in_dir(&path)?;
            generation(&path, &index, 0, pace)
        });
    begun.map_err(|error| failed("begin a search index in", &path, &error))
}

/// Makes what was written since the last commit durable, and says which position it stands at.
pub(crate) fn commit(writer: &mut IndexWriter, position: u64) -> tantivy::Result<()> {
    let mut commit = writer.prepare_commit()?;
    commit.set_payload(&position.to_string());
    commit.commit()?;
    Ok(())
}

fn remove(path: &Path) -> Result<(), SearchError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("delete the old search index", path, &error))
        }
        _ => Ok(()),
    }
}

/// Bytes of a generation's files.
pub(crate) fn size(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        match entry?.metadata() {
            Ok(metadata) => bytes += metadata.len(),
            // A merge deletes files at any time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Numbers and paths of all generations, ours or not.
fn generations(root: &Path) -> Result<Vec<(u64, PathBuf)>, SearchError> {
    let read = |error| failed("list the search index's folder", root, &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        let parts = name
            .to_str()
            .and_then(|name| name.strip_prefix('v')?.split_once('-'));
        let numbers = parts.map(|(meaning, number)| (meaning.parse::<u32>(), number.parse()));
        if let Some((Ok(_), Ok(number))) = numbers {
            found.push((number, root.join(&name)));
        }
    }
    Ok(found)
}

/// Opens a generation if it counts and is whole.
fn open_one(path: &Path, fields: &Fields) -> Result<Option<Generation>, SearchError> {
    let ours = format!("v{}-", schema::VERSION);
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if !name.starts_with(&ours) {
        return Ok(None);
    }
    let opened = Index::open_in_dir(path).and_then(|index| {
        let payload = index.load_metas()?.payload;
        let position = payload.and_then(|payload| payload.parse().ok());
        let whole = index.schema() == fields.schema && index.validate_checksum()?.is_empty();
        match position {
            Some(position) if whole => generation(path, &index, position, Pace::Steady).map(Some),
            _ => Ok(None),
        }
    });
    match opened {
        // It is not damaged but in use.
        Err(error @ TantivyError::LockFailure(..)) => {
            Err(failed("open the search index", path, &error))
        }
        Err(error) => {
            tracing::info!(path = %path.display(), %error, "a search index cannot be opened");
            Ok(None)
        }
        Ok(generation) => Ok(generation),
    }
}

/// Makes the writer, which takes the folder's lock. A process that this one is just starting holds every lock
/// of this one until it runs its own program, so that a busy lock is tried again for a moment.
fn locked_writer(index: &Index, options: IndexWriterOptions) -> tantivy::Result<IndexWriter> {
    let mut tries = 0;
    loop {
        match index.writer_with_options(options.clone()) {
            Err(TantivyError::LockFailure(..)) if tries < LOCK_TRIES => {
                tries += 1;
                std::thread::park_timeout(LOCK_PAUSE);
            }
            writer => return writer,
        }
    }
}

/// How a generation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Small changes, beside searches.
    Steady,
    /// Everything at once, with all cores.
    Rebuild,
}

/// How many threads write a rebuild.
pub(crate) fn rebuild_threads() -> usize {
    let cores = std::thread::available_parallelism();
    cores.map_or(1, usize::from).min(REBUILD_THREADS_MAX)
}

fn generation(
    path: &Path,
    index: &Index,
    position: u64,
    pace: Pace,
) -> tantivy::Result<Generation> {
    let options = IndexWriterOptions::builder().num_merge_threads(1);
    let options = match pace {
        Pace::Steady => options
            .memory_budget_per_thread(WRITER_BYTES)
            .num_worker_threads(1),
        Pace::Rebuild => options
            .memory_budget_per_thread(REBUILD_BYTES)
            .num_worker_threads(rebuild_threads()),
    };
    let writer = locked_writer(index, options.build())?;
    if pace == Pace::Rebuild {
        writer.set_merge_policy(Box::new(NoMergePolicy));
    } else {
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(MERGED_SEGMENTS_MIN);
        writer.set_merge_policy(Box::new(policy));
    }
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual);
    let reader = reader.doc_store_cache_num_blocks(BLOCKS_KEPT).try_into()?;
    let path = path.to_owned();
    Ok(Generation {
        path,
        reader,
        writer,
        position,
    })
}

pub(crate) fn failed(what: &str, path: &Path, error: &dyn std::fmt::Display) -> SearchError {
    SearchError::IndexingFailed(format!("cannot {what} {}: {error}", path.display()))
}
