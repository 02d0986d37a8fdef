//! Lets commands talk to a node: to a running one over a socket in its home, to one in the same process directly.
//!
//! Both ways carry the same frames to the same function, so that a command gives the same answers
//! whether a node runs or not. One connection carries one request:
//!
//! ```text
//! frame    = tag: u8, length: u32 little-endian, payload
//! request  = message (JSON), then for `publish` and `submit` one chunk: the envelope,
//!            for `unlock` one chunk: the seed, for `sign` one chunk: the message to sign,
//!            then for `publish` the archive in chunks, then end
//! reply    = any number of progress messages, then one message;
//!            after a fetch with content the archive in chunks, then end or a failure;
//!            after `documents` and `record` one chunk for each envelope;
//!            after `offer` at any later time another message and the message to sign in one chunk, and then
//!            from the client one chunk, the signature, or a failure
//! ```

mod answer;
mod client;
mod frame;
mod keyring;
mod offer;
mod request;
mod server;
mod socket;
mod views;

use std::error::Error;

pub(crate) use answer::tell_trust;
pub use client::{Client, ControlError, Offered};
pub use keyring::{Keyring, UNLOCK_TIME_MAX};
pub use offer::{OFFER_TIME_MAX, Offers, Promise, offer_id};
pub use request::{Failure, UnlockedKey};
pub use server::{Server, ServerError, Web};
pub use views::{Hit, Hits, PackageInfo, ReleaseState, VersionInfo};

/// What went wrong and why, in one line: the error and its causes. A cause that the line already ends in,
/// because its error quotes it, is not said twice.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write /x")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("the disk said: {0}")]
    struct Inner(#[source] io::Error);

    #[test]
    fn an_explanation_names_every_cause_once() {
        let error = Outer(Inner(io::Error::other("full")));
        assert_eq!(explain(&error), "cannot write /x: the disk said: full");
    }
}
