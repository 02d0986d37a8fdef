//! Records that come in any order, gathered into a namespace as a node does it.

use ggen_protocols::catalogue::Namespace;
use ggen_protocols::hash::ContentHash;
use ggen_protocols::record::{Record, Refusal, Verified};

/// Offers the records until none moves any more: those whose key no document names yet are offered again.
pub(crate) fn gather(namespace: &mut Namespace, records: &[Verified<Record>]) {
    let mut waiting: Vec<_> = records.iter().collect();
    loop {
        let before = waiting.len();
        waiting.retain(|record| {
            let refusal = namespace.admit(record).err();
            matches!(refusal, Some(Refusal::Unauthorised { .. }))
        });
        if waiting.len() == before {
            return;
        }
    }
}

/// The records in an order that only the seed knows.
pub(crate) fn shuffled(records: &[Verified<Record>], seed: u64) -> Vec<Verified<Record>> {
    let mut all = records.to_vec();
    all.sort_by_cached_key(|record| {
        let place = [record.id().as_bytes(), &seed.to_be_bytes()[..]].concat();
        *ContentHash::blake3(place).as_bytes()
    });
    all
}
