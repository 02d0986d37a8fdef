//! Changes the identity keys of a home, one process at a time. What replaces a key is on disk before the world
//! hears of it, and what is replaced is kept.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ggen_protocols::id::{Label, OwnerId};
use ggen_protocols::limits;

use super::{HomeError, Identity, Layout, file, files};
use crate::crash;
use crate::crypto::{CryptoError, Passphrase, PrivateKey};

/// Most replaced keys that are kept of one label.
const RETIRED_MAX: usize = 1000;

/// The right to change the identity keys of a home, until it is dropped.
#[derive(Debug)]
pub struct Keys {
    layout: Layout,
    // Held for its lock only.
    _lock: File,
}

impl Layout {
    /// Takes the right to change identity keys.
    ///
    /// # Errors
    /// [`HomeError::KeysInUse`] if another command has it.
    pub fn hold_keys(&self) -> Result<Keys, HomeError> {
        self.make_dir(&self.keys())?;
        let path = self.keys().join("lock");
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let lock = options
            .mode(0o600)
            .open(&path)
            .map_err(file("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Keys {
                layout: self.clone(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(HomeError::KeysInUse { dir: self.keys() }),
            Err(TryLockError::Error(error)) => Err(file("lock", &path)(error)),
        }
    }
}

impl Keys {
    /// Adds an identity key, locked with `passphrase` if there is one.
    ///
    /// # Errors
    /// [`HomeError::LabelTaken`]; errors of key files.
    pub fn add(
        &self,
        label: &Label,
        owner: OwnerId,
        key: &PrivateKey,
        passphrase: Option<&Passphrase>,
    ) -> Result<Identity, HomeError> {
        let path = self.layout.key_path(label);
        if path.exists() {
            return Err(HomeError::LabelTaken {
                label: label.clone(),
            });
        }
        let identity = Identity {
            label: label.clone(),
            public: key.public(),
            owner,
        };
        // A note without its key is nothing; a key without its note would be taken for a bare one.
        self.note(&identity)?;
        self.save(&path, key, passphrase)?;
        Ok(identity)
    }

    /// Notes whose packages a key signs.
    ///
    /// # Errors
    /// [`HomeError::File`].
    pub fn note(&self, identity: &Identity) -> Result<(), HomeError> {
        let path = self.layout.beside(&identity.label, "toml");
        files::put(&path, identity.note().as_bytes())
    }

    pub(super) fn save(
        &self,
        path: &Path,
        key: &PrivateKey,
        passphrase: Option<&Passphrase>,
    ) -> Result<(), HomeError> {
        match passphrase {
            Some(passphrase) => key.save_new_locked(path, passphrase)?,
            None => key.save_new(path)?,
        }
        Ok(())
    }

    /// The key that is to replace the one with this label, if somebody began to replace it; else a new one, kept
    /// from now on.
    ///
    /// # Errors
    /// Errors of key files, such as [`CryptoError::WrongPassphrase`].
    pub fn successor(
        &self,
        label: &Label,
        passphrase: Option<&Passphrase>,
    ) -> Result<PrivateKey, HomeError> {
        let path = self.successor_path(label);
        match PrivateKey::open(&path, passphrase) {
            Err(CryptoError::NoKey { .. }) => {
                let key = PrivateKey::generate();
                self.save(&path, &key, passphrase)?;
                crash::point("keys.successor");
                Ok(key)
            }
            opened => Ok(opened?),
        }
    }

    /// Whether somebody began to replace the key with this label.
    pub fn has_successor(&self, label: &Label) -> bool {
        self.successor_path(label).exists()
    }

    /// Puts a successor that nobody knows of aside, if there is one.
    ///
    /// # Errors
    /// [`HomeError::File`].
    pub fn discard_successor(&self, label: &Label) -> Result<(), HomeError> {
        if !self.has_successor(label) {
            return Ok(());
        }
        let path = self.successor_path(label);
        self.retire(label, &path)?;
        files::remove(&path)
    }

    fn successor_path(&self, label: &Label) -> PathBuf {
        self.layout.beside(label, "next.pem")
    }

    /// Puts the successor in the place of the key, which is kept as `<label>.retired-<n>.pem`, or under the label
    /// `aside` with its note. Returns where the old one is kept, if there was one. Cut off by a crash, it can be
    /// done again.
    ///
    /// # Errors
    /// [`HomeError::File`], [`HomeError::LabelTaken`].
    pub fn replace(
        &self,
        new: &Identity,
        old: Option<&Identity>,
        aside: Option<&Label>,
    ) -> Result<Option<PathBuf>, HomeError> {
        crash::point("keys.told");
        let path = self.layout.key_path(&new.label);
        let kept = match (old, aside) {
            (None, _) => {
                // A note without its key is nothing; a key without its note would be taken for a bare one.
                self.note(new)?;
                None
            }
            (Some(old), Some(label)) => {
                let kept = self.layout.key_path(label);
                if !same_file(&kept, &path)? {
                    if kept.exists() {
                        let label = label.clone();
                        return Err(HomeError::LabelTaken { label });
                    }
                    self.note(&Identity {
                        label: label.clone(),
                        ..old.clone()
                    })?;
                    self.keep(&path, &kept).map_err(file("keep", &kept))?;
                    files::sync_folder(&kept)?;
                }
                Some(kept)
            }
            (Some(_), None) => Some(self.retire(&new.label, &path)?),
        };
        crash::point("keys.kept");
        files::rename(&self.successor_path(&new.label), &path)?;
        crash::point("keys.replaced");
        self.note(new)?;
        Ok(kept)
    }

    /// Gives a key a second name that no other has, and returns it.
    fn retire(&self, label: &Label, path: &Path) -> Result<PathBuf, HomeError> {
        for count in 1..=RETIRED_MAX {
            let kept = self
                .layout
                .beside(label, format_args!("retired-{count}.pem"));
            if same_file(&kept, path)? {
                return Ok(kept);
            }
            match self.keep(path, &kept) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => {
                    done.map_err(file("keep", &kept))?;
                    files::sync_folder(&kept)?;
                    return Ok(kept);
                }
            }
        }
        Err(HomeError::TooManyKeys {
            dir: self.layout.keys(),
            max: RETIRED_MAX,
        })
    }

    fn keep(&self, path: &Path, kept: &Path) -> io::Result<()> {
        // Unlike a rename, a link fails where something is in the way, and leaves the key in its place until the
        // successor takes it.
        fs::hard_link(path, kept)
    }

    /// The recovery record that was made for this label and not yet taken by a node; see [`Keys::promise`].
    ///
    /// # Errors
    /// [`HomeError::File`].
    pub fn promised(&self, label: &Label) -> Result<Option<Bytes>, HomeError> {
        let path = self.layout.beside(label, "recovery");
        let envelope = files::get(&path, limits::ENVELOPE_BYTES_MAX)?;
        Ok(envelope.map(Bytes::from))
    }

    /// Keeps a recovery record until a node has taken it. A recovery key signs one record ever: to sign another
    /// one would kill the namespace.
    ///
    /// # Errors
    /// [`HomeError::File`].
    pub fn promise(&self, label: &Label, envelope: &Bytes) -> Result<(), HomeError> {
        files::put(&self.layout.beside(label, "recovery"), envelope)
    }

    /// Forgets the recovery record, which a node has taken.
    ///
    /// # Errors
    /// [`HomeError::File`].
    pub fn kept_promise(&self, label: &Label) -> Result<(), HomeError> {
        files::remove(&self.layout.beside(label, "recovery"))
    }
}

/// Whether both names are of one file.
fn same_file(a: &Path, b: &Path) -> Result<bool, HomeError> {
    let look = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file("look at", path)(error)),
    };
    let (a, b) = (look(a)?, look(b)?);
    Ok(a.is_some() && a == b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn layout(dir: &tempfile::TempDir) -> Layout {
        let layout = Layout::at(&dir.path().join("home")).unwrap();
        layout.init(None).unwrap();
        layout
    }

    fn owner() -> OwnerId {
        OwnerId::from_bytes([1; 32])
    }

    fn label(text: &str) -> Label {
        text.parse().unwrap()
    }

    fn held(path: &Path) -> String {
        let key = PrivateKey::open(path, None).unwrap();
        key.public().to_string()
    }

    /// A home with one key, and its successor.
    fn two(layout: &Layout) -> (Keys, Identity, Identity) {
        let keys = layout.hold_keys().unwrap();
        let key = PrivateKey::from_seed([7; 32]);
        let old = keys.add(&label("ci"), owner(), &key, None).unwrap();
        let successor = keys.successor(&old.label, None).unwrap();
        let new = Identity {
            public: successor.public(),
            ..old.clone()
        };
        (keys, old, new)
    }

    #[test]
    fn a_label_is_of_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let (keys, old, _) = two(&layout);
        let other = PrivateKey::from_seed([8; 32]);
        let error = keys.add(&old.label, owner(), &other, None).unwrap_err();
        assert!(matches!(error, HomeError::LabelTaken { .. }), "{error}");
        assert_eq!(layout.identities().unwrap(), [old]);
    }

    #[test]
    fn a_successor_is_the_same_until_it_takes_its_place_and_every_old_key_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let (keys, old, new) = two(&layout);
        assert_eq!(
            keys.successor(&old.label, None).unwrap().public(),
            new.public
        );
        let first = keys.replace(&new, Some(&old), None).unwrap().unwrap();
        assert_eq!(held(&first), old.public.to_string());
        assert_eq!(layout.identities().unwrap(), std::slice::from_ref(&new));
        assert!(!keys.has_successor(&old.label));

        let third = keys.successor(&old.label, None).unwrap();
        let third = Identity {
            public: third.public(),
            ..old.clone()
        };
        let second = keys.replace(&third, Some(&new), None).unwrap().unwrap();
        assert_eq!(
            (held(&first), held(&second)),
            (old.public.to_string(), new.public.to_string())
        );
    }

    #[test]
    fn an_old_key_is_put_aside_under_a_label_only_if_that_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let (keys, old, new) = two(&layout);
        let other = PrivateKey::from_seed([8; 32]);
        keys.add(&label("taken"), owner(), &other, None).unwrap();
        let error = keys
            .replace(&new, Some(&old), Some(&label("taken")))
            .unwrap_err();
        assert!(matches!(error, HomeError::LabelTaken { .. }), "{error}");
        // Nothing was lost by the attempt.
        let found = layout.identity(&label("taken")).unwrap().unwrap();
        assert_eq!(found.public, other.public());
        keys.replace(&new, Some(&old), Some(&label("root")))
            .unwrap();
        let aside = layout.identity(&label("root")).unwrap().unwrap();
        assert_eq!((aside.public, aside.owner), (old.public, owner()));
    }

    #[test]
    fn a_promise_is_kept_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let (keys, old, _) = two(&layout);
        assert!(keys.promised(&old.label).unwrap().is_none());
        let envelope = Bytes::from_static(b"a record");
        keys.promise(&old.label, &envelope).unwrap();
        assert_eq!(keys.promised(&old.label).unwrap(), Some(envelope));
        keys.kept_promise(&old.label).unwrap();
        keys.kept_promise(&old.label).unwrap();
        assert!(keys.promised(&old.label).unwrap().is_none());
    }
}
