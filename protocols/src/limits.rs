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
/// Keys that may publish in one namespace.
pub const PUBLISHERS_MAX: usize = 64;
/// Names that one key may be limited to.
pub const SCOPES_MAX: usize = 32;
/// Retired keys of one namespace, each counted once for each of its last good records.
pub const RETIRED_MAX: usize = 256;
/// Documents of the root in one epoch of a namespace, which lasts from its founding or a recovery to the next
/// recovery: that many in a row at the most, and that many are held whatever they say. Beyond them those are held
/// that decide which document holds, at most two for each place in the row.
pub const DOCUMENTS_PER_EPOCH_MAX: usize = 1024;
/// How often a namespace is recovered at the most.
pub const RECOVERIES_MAX: usize = 1024;
/// Endorsements of one issuer that count: those of the smallest subjects.
pub const ENDORSEMENTS_PER_ISSUER_MAX: usize = 1000;
/// Owners whom one node's user may name as anchors.
pub const ANCHORS_MAX: usize = 64;
/// Hops from an anchor that trust goes at the most.
pub const TRUST_HOPS_MAX: u8 = 3;
/// Endorsements that one computation of trust looks at: what lies further from the anchors is left out.
pub const TRUST_EDGES_MAX: usize = 100_000;
/// Feeds that one head record tells of: every publisher and as many retired keys.
pub const HEAD_FEEDS_MAX: usize = PUBLISHERS_MAX + RETIRED_MAX;
/// Claimants of one name that a lookup looks at, those that are vetoed not counted: who could be one of more than
/// these is contested, as a name of two is.
pub const CLAIMANTS_MAX: usize = 1024;
/// How long a head record says anything, after its own time.
pub const HEAD_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Gossiped messages that a peer may send at once, and per second from then on. Peers of the own machine and of
/// private networks are not bounded, here and below: what is beyond comes by reconciliation.
pub const PEER_MESSAGES_BURST: u64 = 500;
/// See [`PEER_MESSAGES_BURST`].
pub const PEER_MESSAGES_PER_SECOND: f64 = 50.0;
/// Questions that a peer may ask at once: those of a first reconciliation of a million records.
pub const PEER_QUESTIONS_BURST: u64 = 2000;
/// Questions that it may ask per second from then on.
pub const PEER_QUESTIONS_PER_SECOND: f64 = 10.0;
/// Bytes of answers that a peer may have at once.
pub const PEER_BYTES_BURST: u64 = 1 << 30;
/// Bytes of answers per second from then on: 8 MiB a minute.
pub const PEER_BYTES_PER_SECOND: f64 = (8 << 20) as f64 / 60.0;
/// Gossiped records of one owner, unless it is known to this node's user, that are taken at once. What is beyond
/// comes by reconciliation.
pub const OWNER_RECORDS_BURST: u64 = 5000;
/// Gossiped records of one owner per second from then on: 60 an hour.
pub const OWNER_RECORDS_PER_SECOND: f64 = 60.0 / 3600.0;
/// Owners whose rate is kept: those who wrote most recently.
pub const OWNER_RATES_MAX: usize = 65_536;
/// Effective records held of one owner.
pub const RECORDS_PER_OWNER_MAX: u64 = 100_000;
/// Records held of one owner besides, which have no effect: what a key wrote that its document does not grant, be it
/// dropped, stolen or not yet connected to its last good record. They have room of their own, so that no such key
/// fills that of the owner; less of it, because they only serve other nodes and documents yet to come.
pub const INERT_PER_OWNER_MAX: u64 = 20_000;
/// Ids of declined records that a node remembers, so that nobody is asked for them again; they are part of its tree.
pub const DECLINED_MAX: u64 = 1 << 20;
/// What the records of all strangers together take on a node unless configured otherwise, in bytes.
pub const POOL_BYTES_MAX: u64 = 1 << 30;
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

// The largest document: each publisher with its scopes, each retired key with its record.
const _: () = assert!(
    PUBLISHERS_MAX * (36 + SCOPES_MAX * (NAME_BYTES_MAX + 2)) + RETIRED_MAX * 70 + 512
        <= PAYLOAD_BYTES_MAX
);
const _: () = assert!(HEAD_FEEDS_MAX * 80 + 128 <= GOSSIP_ENVELOPE_BYTES_MAX);
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
