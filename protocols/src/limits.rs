//! Every bound on the wire: constant, unit, reason. Relations between them are asserted here.

use std::time::Duration;

/// Longest package name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest namespace label, in bytes.
pub const LABEL_BYTES_MAX: usize = 32;
/// Longest version, in bytes, build metadata included.
pub const VERSION_BYTES_MAX: usize = 150;
/// Longest version requirement, in bytes: a few comparators with full versions.
pub const REQUIREMENT_BYTES_MAX: usize = 512;
/// Longest description, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 1000;
/// Most authors of one release; the longest has `AUTHOR_BYTES_MAX` bytes.
pub const AUTHORS_MAX: usize = 64;
/// Longest author (name or address), in bytes.
pub const AUTHOR_BYTES_MAX: usize = 256;
/// Most keywords of one release.
pub const KEYWORDS_MAX: usize = 5;
/// Longest keyword, in bytes.
pub const KEYWORD_BYTES_MAX: usize = 20;
/// Most categories of one release.
pub const CATEGORIES_MAX: usize = 5;
/// Longest category slug, in bytes.
pub const CATEGORY_BYTES_MAX: usize = 64;
/// Most dependencies of one release.
pub const DEPENDENCIES_MAX: usize = 500;
/// Most features of one release: real crates reach 1,675.
pub const FEATURES_MAX: usize = 4096;
/// Most values of one feature.
pub const FEATURE_VALUES_MAX: usize = 4096;
/// Longest feature name or value, in bytes: `package?/feature` of two names and two marks.
pub const FEATURE_BYTES_MAX: usize = 2 * NAME_BYTES_MAX + 64;
/// Longest platform expression (`cfg(...)`) of a dependency, in bytes.
pub const TARGET_BYTES_MAX: usize = 1024;
/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 512;
/// Longest licence expression, in bytes.
pub const LICENSE_BYTES_MAX: usize = 256;
/// Longest note or reason, in bytes.
pub const NOTE_BYTES_MAX: usize = 256;
/// Largest unsigned integer on the wire: what JSON readers keep exactly.
pub const UINT_MAX: u64 = (1 << 53) - 1;
/// Largest revision of a state register.
pub const REVISION_MAX: u64 = (1 << 32) - 1;
/// Most items of any array on the wire: so a list costs little before its own limit is looked at.
pub const ARRAY_ITEMS_MAX: usize = 4096;
/// Deepest nesting of arrays on the wire: what is sent today has five levels.
pub const ARRAY_DEPTH_MAX: usize = 16;

/// Largest envelope, in bytes: 500 dependencies and 4,096 features fit.
pub const ENVELOPE_BYTES_MAX: usize = 256 << 10;
/// Largest payload inside an envelope, in bytes; the rest is key, signature and framing.
pub const PAYLOAD_BYTES_MAX: usize = ENVELOPE_BYTES_MAX - 128;
/// Largest payload of a kind that this version does not know, in bytes.
pub const OPAQUE_PAYLOAD_BYTES_MAX: usize = 4 << 10;
/// Envelopes above this many bytes are gossiped as id and size, and pulled.
pub const GOSSIP_ENVELOPE_BYTES_MAX: usize = 32 << 10;
/// Largest gossip message, in bytes.
pub const GOSSIP_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Largest request between two peers, in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Largest response between two peers, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 2 << 20;
/// Envelopes in one answer, in bytes: at least one always fits.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Envelopes in one answer.
pub const ANSWER_RECORDS_MAX: usize = 512;
/// Record ids in one request.
pub const REQUEST_IDS_MAX: usize = 512;
/// Tree nodes asked for in one request.
pub const REQUEST_BRANCHES_MAX: usize = 256;
/// Blob hashes in one question "do you hold these?".
pub const REQUEST_HOLDS_MAX: usize = 1024;
/// Record ids in one bucket of the catalogue tree; a fuller one is split by its next 4 bits.
pub const BUCKET_IDS_MAX: usize = 32;
/// Depth of the catalogue tree, in nibbles of a record id.
pub const TREE_DEPTH_MAX: usize = 64;
/// Addresses a peer may tell of itself.
pub const ADDRESSES_MAX: usize = 16;
/// Longest address in text, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 128;
/// Longest software name and version a peer may tell, in bytes.
pub const AGENT_BYTES_MAX: usize = 64;

/// How far ahead of the own clock a record's time may be.
pub const TIME_AHEAD_MAX: Duration = Duration::from_secs(600);
/// Records held of one owner.
pub const RECORDS_PER_OWNER_MAX: u64 = 100_000;
/// Largest package that a node admits unless configured otherwise, in bytes.
pub const PACKAGE_BYTES_MAX: u64 = 500 << 20;

/// Most an archive may unpack to, in bytes, or `UNPACKED_RATIO_MAX` times its size if that is more.
pub const UNPACKED_BYTES_MAX: u64 = 512 << 20;
/// How many times its own size an archive may unpack to.
pub const UNPACKED_RATIO_MAX: u64 = 20;
/// Entries of one archive.
pub const ARCHIVE_ENTRIES_MAX: usize = 20_000;
/// Longest path in an archive, in bytes.
pub const ARCHIVE_PATH_BYTES_MAX: usize = 512;
/// Deepest path in an archive, in components.
pub const ARCHIVE_PATH_DEPTH_MAX: usize = 32;
/// Largest manifest (`Cargo.toml`, `pack.toml`) in an archive, in bytes.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 20;

const _: () = assert!(GOSSIP_ENVELOPE_BYTES_MAX + 64 <= GOSSIP_MESSAGE_BYTES_MAX);
const _: () = assert!(ENVELOPE_BYTES_MAX <= ANSWER_BYTES_MAX);
const _: () = assert!(ANSWER_BYTES_MAX + ANSWER_RECORDS_MAX * 8 <= RESPONSE_BYTES_MAX);
const _: () = assert!(REQUEST_IDS_MAX * 34 + 64 <= REQUEST_BYTES_MAX);
const _: () = assert!(REQUEST_HOLDS_MAX * 34 + 64 <= REQUEST_BYTES_MAX);
const _: () = assert!(REQUEST_BRANCHES_MAX * 68 + 64 <= REQUEST_BYTES_MAX);
// A bucket of full ids is the largest answer to one branch.
const _: () = assert!(REQUEST_BRANCHES_MAX * (BUCKET_IDS_MAX * 34 + 16) <= RESPONSE_BYTES_MAX);
const _: () = assert!(FEATURES_MAX <= ARRAY_ITEMS_MAX && FEATURE_VALUES_MAX <= ARRAY_ITEMS_MAX);
const _: () = assert!(DEPENDENCIES_MAX <= ARRAY_ITEMS_MAX && AUTHORS_MAX <= ARRAY_ITEMS_MAX);
const _: () = assert!(REQUEST_IDS_MAX <= ARRAY_ITEMS_MAX && REQUEST_HOLDS_MAX <= ARRAY_ITEMS_MAX);
const _: () = assert!(ANSWER_RECORDS_MAX <= ARRAY_ITEMS_MAX && ADDRESSES_MAX <= ARRAY_ITEMS_MAX);
const _: () = assert!(REQUEST_BRANCHES_MAX <= ARRAY_ITEMS_MAX && BUCKET_IDS_MAX <= ARRAY_ITEMS_MAX);
