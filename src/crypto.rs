//! Keys and signatures.

mod ed25519;
mod key;

use std::io;
use std::path::PathBuf;

use ggen_protocols::record::Draft;

pub use ed25519::StrictSignatures;
pub use ggen_protocols::id::PublicKey;
pub use key::PrivateKey;

impl PrivateKey {
    /// Signs a record and returns its envelope.
    pub fn seal(&self, draft: Draft) -> bytes::Bytes {
        let signature = self.sign(&draft.message());
        draft.sealed(signature)
    }
}

/// Why a key or signature was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// There is no such key file.
    #[error("there is no key in {path}: run `market init` to make one")]
    NoKey {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A key file that others may read.
    #[error("{path} may be read by others (mode {mode:o}): run `chmod 600 {path}`", path = path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file that is none.
    #[error("{path} holds no usable key: {why}")]
    BadKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file could not be read or written.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}
