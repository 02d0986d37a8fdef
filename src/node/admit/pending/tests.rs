#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::registry::Author;

#[test]
fn what_waits_is_bounded_by_owner_and_in_all() {
    let mut pending = Pending::new(RECORDS_BYTES_MAX);
    let mut mallory = Author::new(1);
    let owner = |number: u8| OwnerId::from_bytes([number; 32]);
    let note = "x".repeat(250);
    let records: Vec<_> = (0..300)
        .map(|at| {
            mallory.state("a", |state| ggen_protocols::record::State {
                revision: at + 1,
                note: note.clone(),
                ..state
            })
        })
        .collect();
    let size = records[299].envelope().len();
    for record in &records {
        pending.keep(owner(0), record.clone());
        pending.keep(owner(0), record.clone());
    }
    assert_eq!(pending.waiting[&owner(0)].len(), WAITING_PER_OWNER_MAX);
    let of_one = pending.bytes;
    for number in 1..=250 {
        for record in &records {
            pending.keep(owner(number), record.clone());
            assert!(pending.bytes <= RECORDS_BYTES_MAX);
        }
    }
    assert!(pending.bytes > RECORDS_BYTES_MAX - of_one, "it is used");
    assert!(of_one <= WAITING_PER_OWNER_MAX * size);
    assert_eq!(pending.take(owner(0)), [], "the oldest had to go");
    let last = pending.take(owner(250));
    assert_eq!(last.len(), WAITING_PER_OWNER_MAX);
    assert_eq!(pending.take(owner(250)), []);
}
