//! The identity keys of a home: which there are and whose packages they sign. Telling takes no passphrase.
//!
//! ```text
//! keys/<label>.pem         the key, locked with a passphrase or not
//! keys/<label>.toml        its public half and the namespace that it writes in
//! keys/<label>.genesis     the record that founds the namespace, if the key founded one
//! ```
//! A key without a note is of a home from before there were notes: the key itself is its owner.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use ggen_protocols::id::{IdError, Label, OwnerId, PublicKey};
use ggen_protocols::limits;
use serde::{Deserialize, Serialize};

use super::{HomeError, Layout, file, files};
use crate::crypto::{CryptoError, Passphrase, PrivateKey};

/// Largest note of an identity, in bytes.
const NOTE_BYTES_MAX: usize = 4 << 10;
/// Most identity keys of one home.
const IDENTITIES_MAX: usize = 64;

/// The label of a home's first identity key.
const FIRST: &str = "identity";

/// A key that signs packages, as the home notes it. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What the home calls it.
    pub label: Label,
    /// Its public half.
    pub public: PublicKey,
    /// The namespace that it writes in.
    pub owner: OwnerId,
}

/// The text of a note.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    public: String,
    owner: String,
}

impl Identity {
    /// What a home calls its first key.
    pub fn first() -> Label {
        FIRST
            .parse()
            .expect("`identity` is of the grammar of labels")
    }

    pub(super) fn note(&self) -> String {
        let note = Note {
            public: self.public.to_string(),
            owner: self.owner.to_string(),
        };
        toml::to_string(&note).expect("two texts always have a TOML form")
    }
}

impl Layout {
    /// Where the key with this label lies.
    pub fn key_path(&self, label: &Label) -> PathBuf {
        self.keys().join(format!("{label}.pem"))
    }

    pub(super) fn beside(&self, label: &Label, what: impl fmt::Display) -> PathBuf {
        self.keys().join(format!("{label}.{what}"))
    }

    /// All identity keys, the first one first, the others by label.
    ///
    /// # Errors
    /// [`HomeError::BadNote`] and errors of key files.
    pub fn identities(&self) -> Result<Vec<Identity>, HomeError> {
        let keys = self.keys();
        let entries = match fs::read_dir(&keys) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(file("read", &keys))?,
        };
        let mut labels: Vec<Label> = Vec::new();
        for entry in entries {
            let name = entry.map_err(file("read", &keys))?.file_name();
            let label = name.to_str().and_then(|name| name.strip_suffix(".pem"));
            // Retired keys and keys in the making have a dot in their names.
            let label = label.and_then(|label| label.parse().ok());
            labels.extend(label);
            if labels.len() > IDENTITIES_MAX {
                return Err(HomeError::TooManyKeys {
                    dir: keys,
                    max: IDENTITIES_MAX,
                });
            }
        }
        labels.sort_by_key(|label| (label.as_str() != FIRST, label.clone()));
        let mut identities = Vec::new();
        for label in labels {
            match self.identity(&label) {
                Ok(identity) => identities.extend(identity),
                // Somebody put it there by hand. It is told when it is asked for by its name.
                Err(HomeError::Key(CryptoError::Locked { path })) => {
                    tracing::warn!(?path, "a locked key without a note beside it is left out");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(identities)
    }

    /// The identity key with this label; nothing if there is none. Makes the note of an unlocked key that has
    /// none.
    ///
    /// # Errors
    /// [`HomeError::BadNote`] and errors of key files.
    pub fn identity(&self, label: &Label) -> Result<Option<Identity>, HomeError> {
        let path = self.key_path(label);
        if !path.exists() {
            return Ok(None);
        }
        let note_path = self.beside(label, "toml");
        if let Some(bytes) = files::get(&note_path, NOTE_BYTES_MAX)? {
            let bad = |why: String| HomeError::BadNote {
                path: note_path.clone(),
                why,
            };
            let text = String::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
            let note: Note =
                toml::from_str(&text).map_err(|error| bad(error.message().to_owned()))?;
            let id = |error: IdError| bad(error.to_string());
            return Ok(Some(Identity {
                label: label.clone(),
                public: note.public.parse().map_err(id)?,
                owner: note.owner.parse().map_err(id)?,
            }));
        }
        let public = PrivateKey::open(&path, None)?.public();
        let identity = Identity {
            label: label.clone(),
            public,
            owner: OwnerId::of_key(self.network()?.id(), public),
        };
        files::put(&note_path, identity.note().as_bytes())?;
        Ok(Some(identity))
    }

    /// The namespaces that are written in from here, that of the first key first.
    ///
    /// # Errors
    /// As for [`Layout::identities`].
    pub fn owners(&self) -> Result<Vec<OwnerId>, HomeError> {
        let mut owners = Vec::new();
        for identity in self.identities()? {
            if !owners.contains(&identity.owner) {
                owners.push(identity.owner);
            }
        }
        Ok(owners)
    }

    /// Opens an identity key.
    ///
    /// # Errors
    /// [`HomeError::Key`] with [`CryptoError::Locked`] if it needs a passphrase; [`HomeError::OtherKey`] if it is
    /// not the one of the note; [`HomeError::Unfinished`] if the namespace it is to found was never finished.
    pub fn open_key(
        &self,
        identity: &Identity,
        passphrase: Option<&Passphrase>,
    ) -> Result<PrivateKey, HomeError> {
        if self.pending_genesis(&identity.label).exists() {
            return Err(HomeError::Unfinished {
                dir: self.dir().to_path_buf(),
            });
        }
        let path = self.key_path(&identity.label);
        let key = PrivateKey::open(&path, passphrase)?;
        if key.public() != identity.public {
            let label = identity.label.clone();
            return Err(HomeError::OtherKey { path, label });
        }
        Ok(key)
    }

    /// Whether an identity key needs a passphrase.
    ///
    /// # Errors
    /// Those of key files.
    pub fn is_locked(&self, label: &Label) -> Result<bool, HomeError> {
        Ok(PrivateKey::is_locked(&self.key_path(label))?)
    }

    /// The record that founds the namespace of an identity key, if the key founded one explicitly.
    ///
    /// # Errors
    /// [`HomeError::File`].
    pub fn genesis(&self, label: &Label) -> Result<Option<Bytes>, HomeError> {
        let envelope = files::get(&self.genesis_path(label), limits::ENVELOPE_BYTES_MAX)?;
        Ok(envelope.map(Bytes::from))
    }

    pub(super) fn genesis_path(&self, label: &Label) -> PathBuf {
        self.beside(label, "genesis")
    }

    /// Where the founding record lies until its recovery key was handed out.
    pub(super) fn pending_genesis(&self, label: &Label) -> PathBuf {
        self.beside(label, "genesis.new")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn layout(dir: &tempfile::TempDir) -> Layout {
        let layout = Layout::at(&dir.path().join("home")).unwrap();
        layout.init(None).unwrap();
        layout
    }

    #[test]
    fn a_key_from_before_there_were_notes_is_its_own_owner_and_gets_one() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let key = PrivateKey::from_seed([7; 32]);
        key.save_new(&layout.key_path(&Identity::first())).unwrap();
        let identity = layout.identity(&Identity::first()).unwrap().unwrap();
        assert_eq!(identity.public, key.public());
        let owner = OwnerId::of_key(layout.network().unwrap().id(), key.public());
        assert_eq!(identity.owner, owner);
        let note = layout.beside(&Identity::first(), "toml");
        let mode = fs::metadata(&note).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(layout.identities().unwrap(), [identity]);
    }

    #[test]
    fn a_damaged_note_is_an_error_and_not_another_owner() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let key = PrivateKey::from_seed([7; 32]);
        key.save_new(&layout.key_path(&Identity::first())).unwrap();
        let identity = layout.identity(&Identity::first()).unwrap().unwrap();
        let note = layout.beside(&Identity::first(), "toml");
        for text in ["", "public = 7", &identity.note().replace("ns1", "ns2")] {
            fs::write(&note, text).unwrap();
            let error = layout.identities().unwrap_err();
            assert!(matches!(error, HomeError::BadNote { .. }), "{error}");
        }
    }

    #[test]
    fn a_key_that_is_not_the_noted_one_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let path = layout.key_path(&Identity::first());
        PrivateKey::from_seed([7; 32]).save_new(&path).unwrap();
        let identity = layout.identity(&Identity::first()).unwrap().unwrap();
        layout.open_key(&identity, None).unwrap();
        fs::remove_file(&path).unwrap();
        PrivateKey::from_seed([8; 32]).save_new(&path).unwrap();
        let error = layout.open_key(&identity, None).unwrap_err();
        assert!(matches!(error, HomeError::OtherKey { .. }), "{error}");
    }

    #[test]
    fn the_first_key_comes_first_and_retired_ones_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        for name in ["zeta", "identity", "ci", "identity.retired-1", "ci.next"] {
            let path = layout.keys().join(format!("{name}.pem"));
            PrivateKey::generate().save_new(&path).unwrap();
        }
        let identities = layout.identities().unwrap();
        let labels: Vec<_> = identities.iter().map(|one| one.label.as_str()).collect();
        assert_eq!(labels, ["identity", "ci", "zeta"]);
    }
}
