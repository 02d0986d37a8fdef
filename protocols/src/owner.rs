//! Namespaces and who may write in them: today the implicit founding document of a bare key.

use serde_bytes::ByteArray;
use serde_tuple::{Deserialize_tuple, Serialize_tuple};

use crate::cbor;
use crate::id::{NetworkId, OwnerId, PublicKey, RecordId};
use crate::record;

/// The number of the record kind that founds a namespace.
pub const KIND_GENESIS: u64 = 1;

/// A namespace's document: who its root is and which keys may publish what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct NamespaceDocument {
    /// What its owner calls it; empty for a bare key.
    pub label: String,
    /// The key that may change the document.
    pub root: PublicKey,
    /// What the recovery key hashes to, if there is one.
    pub recovery: Option<ByteArray<32>>,
    /// Keys that may publish, each with the names it may publish (`*`: all), sorted.
    pub publishers: Vec<(PublicKey, Vec<String>)>,
    /// Keys that published once, each with its last good record, sorted.
    pub retired: Vec<(PublicKey, RecordId)>,
    /// Makes equal documents different namespaces; zero for a bare key.
    pub nonce: ByteArray<16>,
}

impl NamespaceDocument {
    /// What a key that never founded a namespace is taken to have said: it alone may publish everything.
    pub fn implicit(key: PublicKey) -> Self {
        Self {
            label: String::new(),
            root: key,
            recovery: None,
            publishers: vec![(key, vec!["*".to_owned()])],
            retired: Vec::new(),
            nonce: ByteArray::new([0; 16]),
        }
    }
}

impl OwnerId {
    /// The owner that a bare key is: the id of its implicit founding record, which is never sent.
    pub fn of_key(network: NetworkId, key: PublicKey) -> Self {
        let no_owner: Option<OwnerId> = None;
        let no_previous: Option<RecordId> = None;
        let document = NamespaceDocument::implicit(key);
        let payload = cbor::encode(&(KIND_GENESIS, no_owner, 0u64, no_previous, 0u64, document));
        Self::from_bytes(*record::id(network, key, &payload).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_one_key_in_one_network() {
        let key = PublicKey::from_bytes([1; 32]);
        let other = PublicKey::from_bytes([2; 32]);
        let id = OwnerId::of_key(NetworkId::main(), key);
        assert_eq!(id, OwnerId::of_key(NetworkId::main(), key));
        assert_ne!(id, OwnerId::of_key(NetworkId::main(), other));
        assert_ne!(id, OwnerId::of_key(NetworkId::named("test"), key));
    }
}
