//! Many peers in one process: the real decisions of `ggen_protocols` on a virtual clock, with faults and an
//! oracle that knows everything.
//!
//! A run is a function of a [`scenario::Scenario`] and a seed: the same two give the same trace, hash for hash.
//! `cargo run -p ggen-simulations -- --seeds 32` runs every scenario with 32 seeds; what a violation prints
//! begins with the command that replays it.
//!
//! [`world`] keeps time, [`peer`] is one node, [`fault`] is what befalls it, [`oracle`] says what must hold.

pub mod fault;
pub mod oracle;
pub mod peer;
pub mod publisher;
pub mod run;
pub mod scenario;
pub mod world;
