//! Everything that is tested from outside, in one binary, so that the heavy crates are linked once.
#![allow(clippy::unwrap_used)]
// A test that runs itself again in another process tells that one so by the environment; long runs ask for more by it.
#![allow(clippy::disallowed_methods)]

mod archive;
mod archive_hostile;
mod archive_pack;
mod arrival;
mod canary;
mod cargo_client;
mod cargo_publish;
mod cli;
mod crash;
mod crypto;
mod files;
mod flood;
mod flood_crash;
mod gateway;
mod guides;
mod metrics;
mod names;
mod place;
mod registry;
mod resolve;
mod rest;
mod search;
mod served;
mod store;
mod swarm;
mod transfer;
mod web;

mod node;
