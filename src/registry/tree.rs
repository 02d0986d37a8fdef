//! The catalogue tree of `ggen_protocols::reconcile::fingerprint`, kept up to date as ids are added and removed.
//!
//! Only inner nodes have rows: the sixteen children's counts and hashes. Buckets are read from the sorted
//! table of ids. Adding or removing a batch of ids touches each path from the root once, whatever the batch's size.

use std::collections::BTreeMap;

use ggen_protocols::id::RecordId;
use ggen_protocols::limits;
use ggen_protocols::reconcile::fingerprint::{Branch, FAN, Prefix, Root, branch_of};
use redb::{ReadableTable, ReadableTableMetadata, Table};

use super::stored::Source;
use super::tables::{IDS, Row, TREE, read_id};
use crate::db::Fault;

/// Bytes of one child in a row: count and hash.
const CHILD_BYTES: usize = 8 + 32;

/// The key of the row of an inner node: depth, then only the bytes that hold nibbles of the prefix.
pub(super) fn key(prefix: Prefix) -> Vec<u8> {
    let depth = prefix.depth();
    let bits = prefix.first();
    // At most 64.
    [&[depth as u8], &bits.as_bytes()[..depth.div_ceil(2)]].concat()
}

/// The row of an inner node.
pub(super) fn row(children: &[Root; FAN]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FAN * CHILD_BYTES);
    for child in children {
        bytes.extend(child.count.to_be_bytes());
        bytes.extend(child.hash.as_slice());
    }
    bytes
}

fn read_row(row: &[u8]) -> Option<[Root; FAN]> {
    let mut children = [Root {
        count: 0,
        hash: [0; 32].into(),
    }; FAN];
    if row.len() != FAN * CHILD_BYTES {
        return None;
    }
    for (child, bytes) in children.iter_mut().zip(row.chunks_exact(CHILD_BYTES)) {
        let (count, hash) = bytes.split_first_chunk()?;
        child.count = u64::from_be_bytes(*count);
        child.hash = <[u8; 32]>::try_from(hash).ok()?.into();
    }
    Some(children)
}

fn children(
    tree: &impl ReadableTable<Row, Row>,
    prefix: Prefix,
) -> Result<Option<Box<[Root; FAN]>>, Fault> {
    let found = tree.get(key(prefix).as_slice())?;
    let Some(found) = found else { return Ok(None) };
    let children = read_row(found.value());
    let damaged = || Fault::Damaged(format!("`tree`, the row of {prefix:?}"));
    Ok(Some(Box::new(children.ok_or_else(damaged)?)))
}

/// All ids below a prefix, ascending.
fn bucket(ids: &impl ReadableTable<Row, Row>, prefix: Prefix) -> Result<Vec<RecordId>, Fault> {
    let (first, last) = (prefix.first(), prefix.last());
    let range = first.as_bytes().as_slice()..=last.as_bytes().as_slice();
    let rows = ids.range::<&[u8]>(range)?;
    rows.map(|row| read_id(row?.0.value())).collect()
}

/// What lies below a prefix.
pub(super) fn branch(source: &impl Source, prefix: Prefix) -> Result<Branch, Fault> {
    match children(&source.table(TREE)?, prefix)? {
        Some(children) => Ok(Branch::Inner(children)),
        None => Ok(Branch::Bucket(bucket(&source.table(IDS)?, prefix)?)),
    }
}

/// Takes in ids that were just added to the table of ids; they must be sorted, and none of them old.
pub(super) fn add(
    ids: &Table<'_, Row, Row>,
    tree: &mut Table<'_, Row, Row>,
    added: &[RecordId],
) -> Result<(), Fault> {
    if added.is_empty() {
        return Ok(());
    }
    let before = ids.len()? - added.len() as u64;
    update(ids, tree, Prefix::ROOT, before, added).map(drop)
}

/// Brings the subtree below `prefix`, which held `before` ids, up to date with the ids added there.
fn update(
    ids: &Table<'_, Row, Row>,
    tree: &mut Table<'_, Row, Row>,
    prefix: Prefix,
    before: u64,
    added: &[RecordId],
) -> Result<Root, Fault> {
    if before <= limits::BUCKET_IDS_MAX as u64 {
        return build(tree, prefix, &bucket(ids, prefix)?);
    }
    let known = children(tree, prefix)?;
    let missing = || Fault::Damaged(format!("`tree`, there is no row of {prefix:?}"));
    let mut children = known.ok_or_else(missing)?;
    for (child, at, group) in groups(prefix, added) {
        children[at] = update(ids, tree, child, children[at].count, group)?;
    }
    tree.insert(key(prefix).as_slice(), row(&children).as_slice())?;
    Ok(Root::of_children(&children))
}

/// Takes out ids that were just removed from the table of ids; they must be sorted, and all have been there.
pub(super) fn remove(
    ids: &Table<'_, Row, Row>,
    tree: &mut Table<'_, Row, Row>,
    removed: &[RecordId],
) -> Result<(), Fault> {
    if removed.is_empty() {
        return Ok(());
    }
    let before = ids.len()? + removed.len() as u64;
    shrink(ids, tree, Prefix::ROOT, before, removed).map(drop)
}

/// Brings the subtree below `prefix`, which held `before` ids, up to date with the ids removed there.
fn shrink(
    ids: &Table<'_, Row, Row>,
    tree: &mut Table<'_, Row, Row>,
    prefix: Prefix,
    before: u64,
    removed: &[RecordId],
) -> Result<Root, Fault> {
    if before <= limits::BUCKET_IDS_MAX as u64 {
        return Ok(Root::of_bucket(&bucket(ids, prefix)?));
    }
    let known = children(tree, prefix)?;
    let missing = || Fault::Damaged(format!("`tree`, there is no row of {prefix:?}"));
    let mut children = known.ok_or_else(missing)?;
    for (child, at, group) in groups(prefix, removed) {
        children[at] = shrink(ids, tree, child, children[at].count, group)?;
    }
    let left: u64 = children.iter().map(|child| child.count).sum();
    if left <= limits::BUCKET_IDS_MAX as u64 {
        // So few are left that no child is an inner node any more either.
        tree.remove(key(prefix).as_slice())?;
        return Ok(Root::of_bucket(&bucket(ids, prefix)?));
    }
    tree.insert(key(prefix).as_slice(), row(&children).as_slice())?;
    Ok(Root::of_children(&children))
}

/// Writes the inner nodes of the tree over `ids`, all of which lie below `prefix`.
fn build(tree: &mut Table<'_, Row, Row>, prefix: Prefix, ids: &[RecordId]) -> Result<Root, Fault> {
    if ids.len() <= limits::BUCKET_IDS_MAX || prefix.depth() >= limits::TREE_DEPTH_MAX {
        return Ok(Root::of_bucket(ids));
    }
    let mut children = Box::new([Root::default(); FAN]);
    for (child, at, group) in groups(prefix, ids) {
        children[at] = build(tree, child, group)?;
    }
    tree.insert(key(prefix).as_slice(), row(&children).as_slice())?;
    Ok(Root::of_children(&children))
}

/// The rows of all inner nodes of the tree over `ids`, which must be sorted; computed from its definition.
pub(super) fn rows_over(ids: &[RecordId]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    let mut open = vec![(Prefix::ROOT, ids)];
    while let Some((prefix, ids)) = open.pop() {
        if let Branch::Inner(children) = branch_of(prefix, ids) {
            rows.insert(key(prefix), row(&children));
            open.extend(groups(prefix, ids).map(|(child, _, group)| (child, group)));
        }
    }
    rows
}

/// Sorted ids below `prefix` by the child that they belong to: the child's prefix, its place, its ids.
fn groups(prefix: Prefix, ids: &[RecordId]) -> impl Iterator<Item = (Prefix, usize, &[RecordId])> {
    ids.chunk_by(move |a, b| prefix.nibble_of(a) == prefix.nibble_of(b))
        .filter_map(move |group| {
            let at = prefix.nibble_of(group.first()?);
            Some((prefix.child(at)?, at, group))
        })
}
