//! The directory that a node keeps everything in: where what lies, who may use it, its node key and its network.

mod error;
mod files;
mod found;
mod identity;
mod keys;

use std::fmt;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ggen_protocols::id::{IdError, Label, NetworkId, PeerId};

use crate::crypto::PrivateKey;

pub use error::HomeError;
pub use found::{Founded, Founding};
pub use identity::Identity;
pub use keys::Keys;

/// Longest content of the files `lock` and `network`, in bytes.
const NOTE_BYTES_MAX: u64 = 64;

/// Where everything in a home lies. Knowing it takes no lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    dir: PathBuf,
}

/// A home that this process alone uses, until it is dropped.
#[derive(Debug)]
pub struct Home {
    layout: Layout,
    // Held for its lock only; the system releases it when the process ends, however it ends.
    _lock: File,
}

/// What [`Layout::init`] found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// The node's id.
    pub peer: PeerId,
    /// The file of the node's key, if it did not exist before.
    pub made: Option<PathBuf>,
}

/// The name of a swarm; nodes of different ones do not take each other's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkName(Label);

impl NetworkName {
    /// What records are bound to.
    pub fn id(&self) -> NetworkId {
        NetworkId::named(self.0.as_str())
    }
}

impl Default for NetworkName {
    fn default() -> Self {
        Self("main".parse().expect("`main` is of the grammar of labels"))
    }
}

impl FromStr for NetworkName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Layout {
    /// The layout of a home in this directory, which need not exist.
    ///
    /// # Errors
    /// [`HomeError::File`] if a relative path cannot be made absolute.
    pub fn at(dir: &Path) -> Result<Self, HomeError> {
        let dir = std::path::absolute(dir).map_err(file("find", dir))?;
        Ok(Self { dir })
    }

    /// The home of this user on this platform.
    ///
    /// # Errors
    /// [`HomeError::NoPlatformHome`].
    pub fn of_platform() -> Result<Self, HomeError> {
        let dirs = directories::ProjectDirs::from("", "", "ggen-market");
        let dirs = dirs.ok_or(HomeError::NoPlatformHome)?;
        Ok(Self {
            dir: dirs.data_dir().to_path_buf(),
        })
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The database of records.
    pub fn catalogue(&self) -> PathBuf {
        self.dir.join("catalogue.redb")
    }

    /// The directory of the blob store.
    pub fn blobs(&self) -> PathBuf {
        self.dir.join("blobs")
    }

    /// The directory of the search index.
    pub fn index(&self) -> PathBuf {
        self.dir.join("index")
    }

    /// The directory of the keys that sign packages.
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// The key that the node is known by to its peers.
    pub fn node_key_path(&self) -> PathBuf {
        self.dir.join("node.key")
    }

    /// The file that is there if a node on this home has ever met another one.
    pub fn met_note(&self) -> PathBuf {
        self.dir.join("met")
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join("lock")
    }

    fn network_path(&self) -> PathBuf {
        self.dir.join("network")
    }

    /// Whether somebody began to use this directory as a home.
    pub fn is_home(&self) -> bool {
        [self.node_key_path(), self.lock_path()]
            .iter()
            .any(|path| path.exists())
    }

    /// Makes the directory (for this user only), the node's key if it is missing, and notes the network.
    /// Doing it again, or while a node runs, changes nothing.
    ///
    /// # Errors
    /// [`HomeError::OtherNetwork`] if the home belongs to another network than `network`; errors of key files.
    pub fn init(&self, network: Option<&NetworkName>) -> Result<Init, HomeError> {
        self.make_dir(&self.dir)?;
        self.settle_network(network)?;
        let path = self.node_key_path();
        let (node, is_new) = PrivateKey::load_or_create(&path)?;
        Ok(Init {
            peer: node.peer(),
            made: is_new.then_some(path),
        })
    }

    fn settle_network(&self, wanted: Option<&NetworkName>) -> Result<(), HomeError> {
        if self.network_path().exists() {
            let found = self.network()?;
            return match wanted {
                Some(wanted) if *wanted != found => Err(HomeError::OtherNetwork {
                    dir: self.dir.clone(),
                    found,
                    wanted: wanted.clone(),
                }),
                _ => Ok(()),
            };
        }
        let name = wanted.cloned().unwrap_or_default();
        // Renamed into place, so that a crash leaves no half a name.
        let part = self.dir.join(format!("network.{}", std::process::id()));
        fs::write(&part, format!("{name}\n")).map_err(file("write", &part))?;
        fs::rename(&part, self.network_path()).map_err(file("write", &self.network_path()))
    }

    /// The network that this home belongs to.
    ///
    /// # Errors
    /// [`HomeError::BadNetwork`] if the note of it is damaged.
    pub fn network(&self) -> Result<NetworkName, HomeError> {
        let path = self.network_path();
        match read_note(&path) {
            Ok(text) => text
                .trim()
                .parse()
                .map_err(|source| HomeError::BadNetwork { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(NetworkName::default()),
            Err(error) => Err(file("read", &path)(error)),
        }
    }

    /// The node's transport key.
    ///
    /// # Errors
    /// [`HomeError::Key`] says what is wrong with the file.
    pub fn node_key(&self) -> Result<PrivateKey, HomeError> {
        Ok(PrivateKey::load(&self.node_key_path())?)
    }

    /// Makes a directory that only this user may enter; a looser one of this user's becomes so.
    fn make_dir(&self, dir: &Path) -> Result<(), HomeError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(file("make the directory", dir))?;
        let mode = fs::metadata(dir)
            .map_err(file("look at", dir))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            let tight = fs::Permissions::from_mode(0o700);
            fs::set_permissions(dir, tight).map_err(file("close to others", dir))?;
        }
        Ok(())
    }
}

impl Home {
    /// Takes the home for this process: makes the directory where it is missing, and locks it.
    ///
    /// # Errors
    /// [`HomeError::InUse`] with the process that has it; [`HomeError::File`].
    pub fn open(layout: &Layout) -> Result<Self, HomeError> {
        layout.make_dir(&layout.dir)?;
        let path = layout.lock_path();
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let opened = options.mode(0o600).open(&path);
        let mut lock = opened.map_err(file("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = read_note(&path).ok();
                let pid = pid.and_then(|text| text.trim().parse().ok());
                let dir = layout.dir.clone();
                return Err(HomeError::InUse { dir, pid });
            }
            Err(TryLockError::Error(error)) => return Err(file("lock", &path)(error)),
        }
        let noted = note_pid(&mut lock);
        noted.map_err(file("write", &path))?;
        Ok(Self {
            layout: layout.clone(),
            _lock: lock,
        })
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

fn note_pid(lock: &mut File) -> io::Result<()> {
    lock.rewind()?;
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())
}

fn read_note(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn file<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> HomeError + 'a {
    move |source| HomeError::File {
        what,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn layout(dir: &tempfile::TempDir) -> Layout {
        Layout::at(&dir.path().join("home")).unwrap()
    }

    #[test]
    fn a_home_is_for_its_user_only() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&layout(&dir)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(home.layout().dir()), 0o700);
        assert_eq!(mode(&home.layout().lock_path()), 0o600);

        fs::set_permissions(home.layout().dir(), fs::Permissions::from_mode(0o755)).unwrap();
        let layout = home.layout().clone();
        drop(home);
        Home::open(&layout).unwrap();
        assert_eq!(mode(layout.dir()), 0o700);
    }

    #[test]
    fn a_locked_home_names_the_process_that_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        let home = Home::open(&layout).unwrap();
        // A lock belongs to the open file, so that a second opening in the same process meets it too.
        let error = Home::open(&layout).unwrap_err().to_string();
        let pid = format!("(pid {})", std::process::id());
        assert!(error.contains(&pid), "{error}");
        drop(home);
        Home::open(&layout).unwrap();
    }

    #[test]
    fn a_home_keeps_its_network() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        layout.make_dir(layout.dir()).unwrap();
        let test: NetworkName = "test".parse().unwrap();
        layout.settle_network(Some(&test)).unwrap();
        layout.settle_network(None).unwrap();
        assert_eq!(layout.network().unwrap(), test);
        let error = layout.settle_network(Some(&NetworkName::default()));
        assert!(matches!(error, Err(HomeError::OtherNetwork { .. })));
    }

    #[test]
    fn a_damaged_note_of_the_network_is_an_error_and_not_the_main_network() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir);
        layout.make_dir(layout.dir()).unwrap();
        fs::write(layout.network_path(), "No Name\n").unwrap();
        assert!(matches!(
            layout.network(),
            Err(HomeError::BadNetwork { .. })
        ));
    }
}
