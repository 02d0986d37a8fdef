//! Where the control socket of a home lies, and who may speak over it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ggen_protocols::hash::ContentHash;
use tokio::net::{UnixListener, UnixStream};

/// The socket in a home.
const NAME: &str = "control.sock";
/// Says where the socket is, in a home whose own path is too long for one.
const NOTE: &str = "control.path";
/// Longest path of a socket, in bytes, on every system that we run on (Linux has 108, macOS 104).
const PATH_BYTES_MAX: usize = 100;

/// A socket to listen on, removed again when this is dropped.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Left behind, it costs the next start one failed connection.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

/// Listens on the socket of this home. A socket that nobody answers on is replaced.
///
/// # Errors
/// `AddrInUse` if somebody answers there; what the file system says.
pub(super) async fn bind(home: &Path) -> io::Result<Bound> {
    let path = path_to_bind(home)?;
    let listener = match UnixListener::bind(&path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if UnixStream::connect(&path).await.is_ok() {
                return Err(error);
            }
            fs::remove_file(&path)?;
            UnixListener::bind(&path)?
        }
        bound => bound?,
    };
    // Its directory is closed to others from before it was bound.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(Bound { listener, path })
}

/// Connects to the node that runs on this home.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` if none does; `PermissionDenied` if somebody else answers.
pub(super) async fn connect(home: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path_to_connect(home)?).await?;
    if !is_ours(&stream) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(stream)
}

/// Whether the other side is a process of this user.
pub(super) fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= PATH_BYTES_MAX
}

fn path_to_connect(home: &Path) -> io::Result<PathBuf> {
    let path = home.join(NAME);
    if fits(&path) {
        return Ok(path);
    }
    let noted = fs::read(home.join(NOTE))?;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(&noted)))
}

fn path_to_bind(home: &Path) -> io::Result<PathBuf> {
    let path = home.join(NAME);
    if fits(&path) {
        return Ok(path);
    }
    let dirs = directories::BaseDirs::new();
    let runtime = dirs.as_ref().and_then(|dirs| dirs.runtime_dir());
    // Without a runtime directory, one of our own where everybody may write: `private` checks whose it is.
    let dir = match runtime {
        Some(dir) => dir.join("ggen-market"),
        None => {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("ggen-market-{user}"))
        }
    };
    private(&dir)?;
    let digits = ContentHash::blake3(home.as_os_str().as_bytes()).to_hex();
    let path = dir.join(format!("{}.sock", &digits[..16]));
    if !fits(&path) {
        let why = format!("{} is too long for a socket's path", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, why));
    }
    fs::write(home.join(NOTE), path.as_os_str().as_bytes())?;
    Ok(path)
}

/// Makes a directory for this user only, or checks that it is one.
fn private(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(dir)?;
    let own = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != own || found.mode() & 0o077 != 0 {
        let why = format!("{} is not a directory for you only", dir.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn meets(home: &Path) {
        let bound = bind(home).await.unwrap();
        let mode = fs::metadata(&bound.path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (accepted, connected) =
            futures::future::join(bound.listener.accept(), connect(home)).await;
        assert!(is_ours(&accepted.unwrap().0));
        connected.unwrap();
    }

    #[tokio::test]
    async fn a_client_finds_the_socket_of_a_home() {
        let dir = tempfile::tempdir().unwrap();
        meets(dir.path()).await;
    }

    #[tokio::test]
    async fn a_client_finds_the_socket_of_a_home_whose_path_is_too_long_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("long".repeat(40));
        fs::create_dir(&home).unwrap();
        meets(&home).await;
        assert!(!home.join(NAME).exists());
    }

    #[tokio::test]
    async fn a_socket_that_nobody_answers_on_is_replaced_and_an_answered_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        // What a killed process leaves: a socket file without a listener.
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(NAME)).unwrap());
        let kind = connect(dir.path()).await.unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::ConnectionRefused);
        let _bound = bind(dir.path()).await.unwrap();
        let kind = bind(dir.path()).await.unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::AddrInUse);
        connect(dir.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_socket_is_gone_after_use() {
        let dir = tempfile::tempdir().unwrap();
        drop(bind(dir.path()).await.unwrap());
        let kind = connect(dir.path()).await.unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::NotFound);
    }
}
