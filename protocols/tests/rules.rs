//! What holds of every set of records and of every web of trust, whoever wrote them: the rules' invariants by
//! number. Invariants 8 and 9 are those of `properties.rs`; 15, that no rule reads a clock, needs no test here, for
//! this crate has none (a scan of its source sees to that). 10 and 12 to 14 are a node's.
#![allow(clippy::unwrap_used)]

#[path = "golden/gathering.rs"]
mod gathering;
#[path = "golden/keyed.rs"]
mod keyed;
#[path = "rules/owners.rs"]
mod owners;
#[path = "rules/sybils.rs"]
mod sybils;
#[path = "rules/world.rs"]
mod world;
