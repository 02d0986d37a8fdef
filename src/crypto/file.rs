//! Files that only this user may read or change: how keys and passphrases are read and written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::error::CryptoError;
use super::pem::TEXT_BYTES_MAX;

/// Reads a file that nobody else can have read, written or put there, without following a link to it.
pub(super) fn read_guarded(path: &Path) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
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
    guard_folder(folder(path))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(TEXT_BYTES_MAX + 1));
    file.take(TEXT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    if bytes.len() > TEXT_BYTES_MAX {
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

/// Refuses a folder in which somebody else could put another file in the place of this one.
fn guard_folder(dir: &Path) -> Result<(), CryptoError> {
    let metadata = fs::metadata(dir).map_err(failed("read the folder", dir))?;
    let user = rustix::process::geteuid().as_raw();
    guarded_folder(dir, metadata.uid(), metadata.mode(), user)
}

/// Whether only `user`, and the superuser who may do everything anyway, can write in a folder of `owner`.
fn guarded_folder(dir: &Path, owner: u32, mode: u32, user: u32) -> Result<(), CryptoError> {
    let path = dir.to_owned();
    if owner != user && owner != 0 {
        let why = format!("the folder belongs to user {owner}, and this is user {user}");
        return Err(CryptoError::BadKey { path, why });
    }
    let mode = mode & 0o7777;
    if mode & 0o022 != 0 {
        return Err(CryptoError::OpenFolder { path, mode });
    }
    Ok(())
}

/// Writes a new file that only this user can read, in a folder made with mode 0700 if it is missing. An
/// existing file is never overwritten, and never seen half written. Survives a crash when it returns.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CryptoError> {
    let dir = folder(path);
    make_folder(dir)?;
    guard_folder(dir)?;
    let temporary = temporary(path);
    write_private(&temporary, bytes).map_err(failed("write", &temporary))?;
    // Unlike a rename, a link fails where something is in the way. A crash here leaves a second name of
    // the same file, as private as the first.
    let linked = fs::hard_link(&temporary, path);
    let removed = fs::remove_file(&temporary);
    linked.map_err(failed("create", path))?;
    removed.map_err(failed("remove", &temporary))?;
    sync(dir)
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

pub(super) fn folder(path: &Path) -> &Path {
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

pub(super) fn sync(dir: &Path) -> Result<(), CryptoError> {
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
    fn a_folder_that_others_may_write_in_is_refused() {
        let check = |owner, mode| guarded_folder(Path::new("d"), owner, mode, 1000);
        for (owner, mode) in [(1000, 0o700), (1000, 0o755), (0, 0o755)] {
            assert!(check(owner, 0o040_000 | mode).is_ok(), "{owner} {mode:o}");
        }
        let error = check(1001, 0o040_700).expect_err("foreign").to_string();
        assert!(error.contains("belongs to user 1001"), "{error}");
        for mode in [0o770, 0o707, 0o720, 0o702, 0o1777] {
            let error = check(1000, 0o040_000 | mode).expect_err("open");
            assert!(matches!(error, CryptoError::OpenFolder { mode: m, .. } if m == mode));
        }
    }
}
