//! Fingerprints of ranges of the sorted catalogue: a Merkle tree over the nibbles of record ids.
//!
//! A subtree of at most 32 ids is a bucket: BLAKE3 over its sorted ids. A fuller one is BLAKE3 over the
//! counts and hashes of its sixteen children. The tree is a function of the set alone, and an attacker who
//! wants two different sets to look equal needs a collision of BLAKE3.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use serde_tuple::{Deserialize_tuple, Serialize_tuple};

use crate::cbor;
use crate::hash;
use crate::id::RecordId;
use crate::limits;

/// How many children an inner node has: one for each nibble.
pub const FAN: usize = 16;

const BUCKET_CONTEXT: &str = "ggen-market 2026 catalogue bucket";
const INNER_CONTEXT: &str = "ggen-market 2026 catalogue node";

/// Count and hash of a subtree; of the whole tree, this is what two peers compare first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Root {
    /// How many ids the subtree holds.
    pub count: u64,
    /// Its hash.
    pub hash: ByteArray<32>,
}

impl Default for Root {
    fn default() -> Self {
        Self::of_bucket(&[])
    }
}

impl Root {
    /// The hash as 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hash::hex(self.hash.as_slice())
    }

    /// A bucket of these ids, which must be sorted.
    pub fn of_bucket(ids: &[RecordId]) -> Self {
        let parts: Vec<&[u8]> = ids.iter().map(|id| id.as_bytes().as_slice()).collect();
        Self {
            count: ids.len() as u64,
            hash: ByteArray::new(hash::derive(BUCKET_CONTEXT, &parts)),
        }
    }

    /// An inner node with these children.
    pub fn of_children(children: &[Root; FAN]) -> Self {
        let mut bytes = Vec::with_capacity(FAN * 40);
        for child in children {
            bytes.extend(child.count.to_be_bytes());
            bytes.extend(child.hash.as_slice());
        }
        Self {
            // Counts come from peers: a sum past the largest integer is a lie, not a panic.
            count: children
                .iter()
                .fold(0, |sum: u64, child| sum.saturating_add(child.count)),
            hash: ByteArray::new(hash::derive(INNER_CONTEXT, &[&bytes])),
        }
    }
}

/// The first nibbles of a record id: a place in the tree.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "(u64, ByteArray<32>)", into = "(u64, ByteArray<32>)")]
pub struct Prefix {
    /// How many nibbles count; the others are zero in `bits`.
    depth: u8,
    bits: [u8; 32],
}

impl Prefix {
    /// The whole tree.
    pub const ROOT: Self = Self {
        depth: 0,
        bits: [0; 32],
    };

    /// The first `depth` nibbles of `id`; at most 64.
    pub fn of(id: &RecordId, depth: usize) -> Self {
        let mut bits = *id.as_bytes();
        for (at, byte) in bits.iter_mut().enumerate() {
            *byte &= match depth.saturating_sub(2 * at) {
                0 => 0x00,
                1 => 0xf0,
                _ => 0xff,
            };
        }
        let depth = depth.min(limits::TREE_DEPTH_MAX) as u8;
        Self { depth, bits }
    }

    /// How many nibbles it fixes.
    pub fn depth(&self) -> usize {
        self.depth.into()
    }

    /// The child for `nibble`, or nothing where ids have no further nibbles.
    pub fn child(&self, nibble: usize) -> Option<Self> {
        if self.depth() >= limits::TREE_DEPTH_MAX || nibble >= FAN {
            return None;
        }
        let mut bits = self.bits;
        let shift = if self.depth.is_multiple_of(2) { 4 } else { 0 };
        bits[self.depth() / 2] |= (nibble as u8) << shift;
        let depth = self.depth + 1;
        Some(Self { depth, bits })
    }

    /// The smallest id below it.
    pub fn first(&self) -> RecordId {
        RecordId::from_bytes(self.bits)
    }

    /// The largest id below it.
    pub fn last(&self) -> RecordId {
        let mut bits = self.bits;
        for (at, byte) in bits.iter_mut().enumerate() {
            *byte |= match self.depth().saturating_sub(2 * at) {
                0 => 0xff,
                1 => 0x0f,
                _ => 0x00,
            };
        }
        RecordId::from_bytes(bits)
    }

    /// Whether `id` lies below it.
    pub fn contains(&self, id: &RecordId) -> bool {
        Self::of(id, self.depth()) == *self
    }

    /// The nibble of `id` that decides between this prefix's children.
    pub fn nibble_of(&self, id: &RecordId) -> usize {
        let byte = id.as_bytes()[(self.depth() / 2).min(31)];
        usize::from(if self.depth.is_multiple_of(2) {
            byte >> 4
        } else {
            byte & 0x0f
        })
    }
}

impl TryFrom<(u64, ByteArray<32>)> for Prefix {
    type Error = String;

    fn try_from((depth, bits): (u64, ByteArray<32>)) -> Result<Self, String> {
        let id = RecordId::from_bytes(bits.into_array());
        let depth = usize::try_from(depth).unwrap_or(usize::MAX);
        if depth > limits::TREE_DEPTH_MAX {
            return Err("a prefix has at most 64 nibbles".to_owned());
        }
        let prefix = Self::of(&id, depth);
        if prefix.bits != *id.as_bytes() {
            return Err("the nibbles after a prefix are zero".to_owned());
        }
        Ok(prefix)
    }
}

impl From<Prefix> for (u64, ByteArray<32>) {
    fn from(prefix: Prefix) -> Self {
        (prefix.depth.into(), ByteArray::new(prefix.bits))
    }
}

/// What lies below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Branch {
    /// At most 32 ids, sorted.
    Bucket(Vec<RecordId>),
    /// Sixteen subtrees; boxed, for buckets are far more common.
    Inner(Box<[Root; FAN]>),
}
cbor::numbered!(Branch { 1 => Bucket(Vec<RecordId>), 2 => Inner(Box<[Root; FAN]>) });

impl Branch {
    /// Count and hash of the subtree that this is.
    pub fn root(&self) -> Root {
        match self {
            Self::Bucket(ids) => Root::of_bucket(ids),
            Self::Inner(children) => Root::of_children(children),
        }
    }
}

/// The branch below `prefix` of the tree over `ids`, which must be sorted and all lie below it.
pub fn branch_of(prefix: Prefix, ids: &[RecordId]) -> Branch {
    if ids.len() <= limits::BUCKET_IDS_MAX || prefix.depth() >= limits::TREE_DEPTH_MAX {
        return Branch::Bucket(ids.to_vec());
    }
    let children = std::array::from_fn(|nibble| {
        let from = ids.partition_point(|id| prefix.nibble_of(id) < nibble);
        let to = ids.partition_point(|id| prefix.nibble_of(id) <= nibble);
        match prefix.child(nibble) {
            Some(child) => branch_of(child, &ids[from..to]).root(),
            None => Root::default(),
        }
    });
    Branch::Inner(Box::new(children))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ids(count: u64) -> Vec<RecordId> {
        let mut ids: Vec<_> = (0..count)
            .map(|n| RecordId::from_bytes(hash::derive("test ids", &[&n.to_be_bytes()])))
            .collect();
        ids.sort();
        ids
    }

    #[test]
    fn one_id_more_is_another_root() {
        for count in [0, 1, 32, 33, 600] {
            let all = ids(count + 1);
            let whole = branch_of(Prefix::ROOT, &all).root();
            assert_eq!(whole.count, count + 1);
            for at in [0, count as usize / 2, count as usize] {
                let mut fewer = all.clone();
                fewer.remove(at);
                assert_ne!(branch_of(Prefix::ROOT, &fewer).root(), whole);
            }
        }
    }

    #[test]
    fn a_full_bucket_splits_by_its_next_nibble() {
        assert!(matches!(
            branch_of(Prefix::ROOT, &ids(32)),
            Branch::Bucket(_)
        ));
        let Branch::Inner(children) = branch_of(Prefix::ROOT, &ids(33)) else {
            panic!("33 ids fill more than one bucket");
        };
        assert_eq!(children.iter().map(|child| child.count).sum::<u64>(), 33);
    }

    #[test]
    fn prefixes_bound_their_ids() {
        let id = RecordId::from_bytes([0xab; 32]);
        for depth in [0, 1, 2, 3, 63, 64] {
            let prefix = Prefix::of(&id, depth);
            assert!(prefix.contains(&id));
            assert!(prefix.first() <= id && id <= prefix.last());
            let child = prefix.child(prefix.nibble_of(&id));
            assert_eq!(child, (depth < 64).then(|| Prefix::of(&id, depth + 1)));
            let bytes = cbor::encode(&prefix);
            assert_eq!(cbor::decode::<Prefix>(&bytes, 100).unwrap(), prefix);
        }
        assert!(!Prefix::of(&id, 1).contains(&RecordId::from_bytes([0xbb; 32])));
    }
}
