//! Shows packages that are copies of each other once.

use std::collections::HashMap;

use super::rank::Facts;

/// Which hits are shown, and how many copies of other owners stand behind each; copies are shown once.
pub(crate) fn without_copies(
    hits: impl Iterator<Item = Facts>,
    offset: usize,
    limit: usize,
) -> Vec<(usize, u32)> {
    let mut shown: Vec<(usize, u32)> = Vec::new();
    let mut known: HashMap<u64, (u64, usize)> = HashMap::new();
    for (at, facts) in hits.enumerate() {
        match known.get(&facts.copied) {
            Some((owner, first)) if *owner != facts.owner => shown[*first].1 += 1,
            _ => {
                if facts.copied != 0 {
                    known
                        .entry(facts.copied)
                        .or_insert((facts.owner, shown.len()));
                }
                shown.push((at, 0));
            }
        }
    }
    shown.into_iter().skip(offset).take(limit).collect()
}
