//! Founds a namespace: the first identity key of a home, and the recovery key that stands above it.

use std::path::PathBuf;

use ggen_protocols::id::{Label, OwnerId};
use ggen_protocols::owner::{Mark, NamespaceDocument, SCOPE_ALL, commitment};
use ggen_protocols::record::{Body, Record, Signed};
use serde_bytes::ByteArray;

use super::{HomeError, Identity, Keys, Layout, files};
use crate::crash;
use crate::crypto::{CryptoError, Passphrase, PrivateKey};

/// How a namespace begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Founding {
    /// The key is the namespace: nothing is signed for it, and nothing can bring it back.
    Bare,
    /// By a record that commits to a recovery key.
    Recoverable {
        /// What the namespace is called.
        label: Option<Label>,
    },
}

/// A namespace that was founded, now or before.
#[derive(Debug)]
pub struct Founded {
    /// Its root key.
    pub identity: Identity,
    /// The key's file if it did not exist before.
    pub made: Option<PathBuf>,
    /// The recovery key if it was made now. It is kept nowhere: hand it out, then call [`Founded::finish`].
    pub recovery: Option<PrivateKey>,
    layout: Layout,
    // Nobody else founds something here meanwhile.
    _keys: Keys,
}

impl Founded {
    /// Makes the founding valid, once its recovery key was handed out. Nothing signs with a key whose founding
    /// was not finished, and founding it again begins anew with another recovery key. Survives a crash.
    ///
    /// # Errors
    /// [`HomeError::File`].
    pub fn finish(self) -> Result<(), HomeError> {
        if self.recovery.is_none() {
            return Ok(());
        }
        crash::point("init.told");
        let label = &self.identity.label;
        let (from, to) = (
            self.layout.pending_genesis(label),
            self.layout.genesis_path(label),
        );
        files::rename(&from, &to)
    }
}

impl Layout {
    /// Makes the first identity key of the home, locked with `passphrase` if there is one, and founds its
    /// namespace. Changes nothing if there is one already.
    ///
    /// # Errors
    /// [`HomeError::KeysInUse`]; errors of key files, such as [`CryptoError::Locked`] if a key whose founding was
    /// cut off is locked.
    pub fn found(
        &self,
        founding: &Founding,
        passphrase: Option<&Passphrase>,
    ) -> Result<Founded, HomeError> {
        let keys = self.hold_keys()?;
        let label = Identity::first();
        let begun = self.pending_genesis(&label).exists();
        if let (false, Some(identity)) = (begun, self.identity(&label)?) {
            return Ok(self.founded(keys, identity, None, None));
        }
        let path = self.key_path(&label);
        let (key, is_new) = match PrivateKey::open(&path, passphrase) {
            Err(CryptoError::NoKey { .. }) => (PrivateKey::generate(), true),
            opened => (opened?, false),
        };
        let (owner, recovery) = match founding {
            Founding::Bare => (OwnerId::of_key(self.network()?.id(), key.public()), None),
            Founding::Recoverable { label: name } => {
                let recovery = PrivateKey::generate();
                let owner = self.write_genesis(&label, &key, name.as_ref(), &recovery)?;
                (owner, Some(recovery))
            }
        };
        crash::point("init.genesis");
        let identity = Identity {
            label,
            public: key.public(),
            owner,
        };
        // A note without its key is nothing; a key without its note would be taken for a bare one.
        keys.note(&identity)?;
        if is_new {
            keys.save(&path, &key, passphrase)?;
        }
        if recovery.is_none() {
            files::remove(&self.pending_genesis(&identity.label))?;
        }
        crash::point("init.key");
        Ok(self.founded(keys, identity, is_new.then_some(path), recovery))
    }

    /// Whether the first key must be made, or its founding was cut off.
    pub fn is_to_be_founded(&self) -> bool {
        let label = Identity::first();
        !self.key_path(&label).exists() || self.pending_genesis(&label).exists()
    }

    fn founded(
        &self,
        keys: Keys,
        identity: Identity,
        made: Option<PathBuf>,
        recovery: Option<PrivateKey>,
    ) -> Founded {
        Founded {
            identity,
            made,
            recovery,
            layout: self.clone(),
            _keys: keys,
        }
    }

    fn write_genesis(
        &self,
        label: &Label,
        key: &PrivateKey,
        name: Option<&Label>,
        recovery: &PrivateKey,
    ) -> Result<OwnerId, HomeError> {
        let document = NamespaceDocument {
            label: name.map(ToString::to_string).unwrap_or_default(),
            root: key.public(),
            recovery: Some(ByteArray::new(commitment(recovery.public()))),
            publishers: vec![(key.public(), vec![SCOPE_ALL.to_owned()])],
            retired: Vec::new(),
            mark: Mark::Nonce(ByteArray::new(rand::random())),
        };
        let record = Record {
            owner: None,
            seq: 0,
            previous: None,
            time_ms: 0,
            body: Body::Genesis(Box::new(document)),
        };
        let network = self.network()?.id();
        let draft = record
            .draft(network, key.public())
            .map_err(HomeError::Genesis)?;
        let envelope = key.seal(draft);
        let signed = Signed::from_envelope(envelope.clone()).map_err(HomeError::Genesis)?;
        files::put(&self.pending_genesis(label), &envelope)?;
        Ok(OwnerId::of_genesis(signed.id(network)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ggen_protocols::owner::{Documents, Offered, Standing};

    use super::*;
    use crate::crypto::StrictSignatures;

    fn layout(dir: &tempfile::TempDir) -> Layout {
        let layout = Layout::at(&dir.path().join("home")).unwrap();
        layout.init(None).unwrap();
        layout
    }

    fn recoverable() -> Founding {
        Founding::Recoverable {
            label: Some("acme".parse().unwrap()),
        }
    }

    #[test]
    fn the_founding_record_is_the_owner_and_commits_to_the_recovery_key() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let founded = layout.found(&recoverable(), None).unwrap();
        let recovery = founded.recovery.clone().unwrap();
        let owner = founded.identity.owner;
        founded.finish().unwrap();
        let envelope = layout.genesis(&Identity::first()).unwrap().unwrap();
        let network = layout.network().unwrap().id();
        let record = Signed::from_envelope(envelope).unwrap();
        let record = record.verify(&StrictSignatures, network).unwrap();
        let mut documents = Documents::none(network, owner);
        assert_eq!(documents.offer(&record), Offered::New);
        let Standing::Active(_, document) = documents.standing() else {
            panic!("{:?}", documents.standing());
        };
        assert_eq!(document.label, "acme");
        assert!(documents.next(recovery.public()).is_ok());
        let again = layout.found(&recoverable(), None).unwrap();
        assert!(again.made.is_none() && again.recovery.is_none());
        assert_eq!(again.identity.owner, owner);
    }

    #[test]
    fn a_founding_that_was_cut_off_signs_nothing_and_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let first = layout.found(&recoverable(), None).unwrap();
        let (identity, recovery) = (first.identity.clone(), first.recovery.clone().unwrap());
        drop(first);
        let error = layout.open_key(&identity, None).unwrap_err();
        assert!(matches!(error, HomeError::Unfinished { .. }), "{error}");
        let second = layout.found(&recoverable(), None).unwrap();
        assert_eq!(second.identity.public, identity.public);
        assert_ne!(second.identity.owner, identity.owner);
        assert_ne!(second.recovery.clone().unwrap().public(), recovery.public());
        let identity = second.identity.clone();
        second.finish().unwrap();
        layout.open_key(&identity, None).unwrap();
    }

    #[test]
    fn a_cut_off_founding_can_become_a_bare_key() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let first = layout.found(&recoverable(), None).unwrap();
        drop(first);
        let founded = layout.found(&Founding::Bare, None).unwrap();
        let identity = founded.identity.clone();
        founded.finish().unwrap();
        let network = layout.network().unwrap().id();
        assert_eq!(identity.owner, OwnerId::of_key(network, identity.public));
        layout.open_key(&identity, None).unwrap();
        assert!(layout.genesis(&identity.label).unwrap().is_none());
    }

    #[test]
    fn only_one_at_a_time_founds() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let held = layout.hold_keys().unwrap();
        let error = layout.found(&Founding::Bare, None).unwrap_err();
        assert!(matches!(error, HomeError::KeysInUse { .. }), "{error}");
        drop(held);
        layout.found(&Founding::Bare, None).unwrap();
    }
}
