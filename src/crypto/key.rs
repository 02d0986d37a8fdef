//! Secret keys in memory and in files.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signer, SigningKey};
use ggen_protocols::id::{PeerId, PublicKey};
use rand::TryRng;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::CryptoError;

/// Largest key file, in bytes: a key has under 300, and attributes that others add are small too.
const KEY_FILE_BYTES_MAX: usize = 16 << 10;

/// An Ed25519 secret key; zeroed when dropped, never printed.
#[derive(Clone)]
pub struct PrivateKey(SigningKey);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public())
    }
}

impl PrivateKey {
    /// The key with this seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&Zeroizing::new(seed)))
    }

    /// A new key from the system's randomness.
    ///
    /// # Panics
    /// If the system has no randomness to give; no key could be trusted then.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rand::rngs::SysRng
            .try_fill_bytes(seed.as_mut())
            .expect("a system without randomness can make no key");
        Self(SigningKey::from_bytes(&seed))
    }

    /// The seed, for the transports that need it; zeroed when dropped.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// The peer that uses this key for its transport.
    pub fn peer(&self) -> PeerId {
        PeerId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Reads a key file: PKCS#8 PEM, mode 0600, owned by this user, no link, nothing after the key.
    ///
    /// # Errors
    /// [`CryptoError`] with what is wrong with the file and what to do.
    pub fn load(path: &Path) -> Result<Self, CryptoError> {
        let pem = read_guarded(path)?;
        let bad = |why: String| CryptoError::BadKey {
            path: path.to_owned(),
            why,
        };
        let pem = std::str::from_utf8(&pem).map_err(|_| bad("it is no text".to_owned()))?;
        // A public half that does not belong to the secret one is refused by this, too.
        let key = SigningKey::from_pkcs8_pem(pem).map_err(|error| {
            bad(format!(
                "it is no unencrypted Ed25519 key in PKCS#8 PEM ({error})"
            ))
        })?;
        Ok(Self(key))
    }

    /// Writes a new key file, in a folder made with mode 0700 if it is missing. An existing file is never
    /// overwritten, and never seen half written. Survives a crash when it returns.
    ///
    /// # Errors
    /// [`CryptoError::File`]; its source is of the kind `AlreadyExists` if there is such a file.
    pub fn save_new(&self, path: &Path) -> Result<(), CryptoError> {
        let pem = self
            .0
            .to_pkcs8_pem(LineEnding::LF)
            .expect("a key of fixed size always has a PEM form");
        let dir = folder(path);
        make_folder(dir)?;
        let temporary = temporary(path);
        write_private(&temporary, pem.as_bytes()).map_err(failed("write", &temporary))?;
        // Unlike a rename, a link fails where something is in the way. A crash here leaves a second name of
        // the same file, as private as the first.
        let linked = fs::hard_link(&temporary, path);
        let removed = fs::remove_file(&temporary);
        linked.map_err(failed("create", path))?;
        removed.map_err(failed("remove", &temporary))?;
        sync(dir)
    }

    /// Reads the key file, or makes one if there is none; the flag is true if it was made. Of several callers,
    /// in this process or another, one makes the key and all get that one.
    ///
    /// # Errors
    /// As for [`PrivateKey::load`] and [`PrivateKey::save_new`].
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), CryptoError> {
        match Self::load(path) {
            Err(CryptoError::NoKey { .. }) => {}
            loaded => return Ok((loaded?, false)),
        }
        let key = Self::generate();
        match key.save_new(path) {
            Ok(()) => Ok((key, true)),
            Err(CryptoError::File { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                let key = Self::load(path)?;
                // Whoever made it may not have come to this yet.
                sync(folder(path))?;
                Ok((key, false))
            }
            Err(error) => Err(error),
        }
    }
}

/// Reads a file that nobody else can have read or written, without following a link to it.
fn read_guarded(path: &Path) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let bad = |why: &str| CryptoError::BadKey {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    // Without NONBLOCK, opening a pipe would wait for a writer.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let path = path.to_owned();
            return Err(CryptoError::NoKey { path });
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(bad("it is a symbolic link: put the file itself there"));
        }
        Err(error) => return Err(failed("open", path)(error)),
    };
    // Asked of the open file, so that it cannot be exchanged in between.
    let metadata = file.metadata().map_err(failed("read", path))?;
    if !metadata.is_file() {
        return Err(bad("it is no regular file"));
    }
    let user = rustix::process::geteuid().as_raw();
    guarded(path, metadata.uid(), metadata.mode(), user)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX + 1));
    file.take(KEY_FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    if bytes.len() > KEY_FILE_BYTES_MAX {
        return Err(bad("it is larger than 16 KiB"));
    }
    Ok(bytes)
}

/// Whether a file of `owner` with this mode is `user`'s alone.
fn guarded(path: &Path, owner: u32, mode: u32, user: u32) -> Result<(), CryptoError> {
    let path = path.to_owned();
    if owner != user {
        let why = format!("it belongs to user {owner}, and this is user {user}");
        return Err(CryptoError::BadKey { path, why });
    }
    let mode = mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CryptoError::Exposed { path, mode });
    }
    Ok(())
}

/// Writes a new file that only this user can read, or nothing.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // The first failure is the one to tell.
        drop(fs::remove_file(path));
    }
    written
}

/// A name beside `path` that no other caller takes.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{:016x}.new", rand::random::<u64>()))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Makes a folder with mode 0700, and those above it that are missing, such that they survive a crash.
fn make_folder(dir: &Path) -> Result<(), CryptoError> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = folder(dir);
    if above != dir {
        make_folder(above)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made.map_err(failed("make the folder", dir)),
    }?;
    sync(above)
}

fn sync(dir: &Path) -> Result<(), CryptoError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(failed("write the folder", dir))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CryptoError {
    let path = path.to_owned();
    move |source| CryptoError::File { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_user_or_open_to_others_is_refused() {
        let check = |owner, mode| guarded(Path::new("k"), owner, mode, 1000);
        assert!(check(1000, 0o100_600).is_ok());
        assert!(check(1000, 0o100_400).is_ok());
        let error = check(1001, 0o100_600).expect_err("foreign").to_string();
        assert!(error.contains("belongs to user 1001"), "{error}");
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601] {
            let error = check(1000, 0o100_000 | mode).expect_err("open");
            assert!(matches!(error, CryptoError::Exposed { mode: m, .. } if m == mode));
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let key = PrivateKey::from_seed([0xab; 32]);
        let text = format!("{key:?} {key:#?}");
        assert!(
            !text.contains("abab") && !text.contains("171, 171"),
            "{text}"
        );
        assert!(text.contains(&key.public().to_string()));
    }
}
