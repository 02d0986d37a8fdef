//! Small files of a home that must survive a crash whole: written beside their place, then put there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{HomeError, file};

/// Writes a file for this user only, in the place of an older one if there is one. Survives a crash when it
/// returns.
pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.{:016x}.part", rand::random::<u64>()));
    let written = write(&part, bytes).and_then(|()| fs::rename(&part, path));
    if let Err(error) = written {
        // The first failure is the one to tell.
        drop(fs::remove_file(&part));
        return Err(file("write", path)(error));
    }
    sync_folder(path)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a file of at most `bytes_max` bytes; nothing if there is none.
pub(super) fn get(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, HomeError> {
    let opened = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(file("read", path))?,
    };
    let mut bytes = Vec::new();
    let mut bounded = opened.take(bytes_max as u64 + 1);
    bounded
        .read_to_end(&mut bytes)
        .map_err(file("read", path))?;
    if bytes.len() > bytes_max {
        let why = format!("it is larger than {bytes_max} bytes");
        return Err(file("read", path)(io::Error::new(
            io::ErrorKind::InvalidData,
            why,
        )));
    }
    Ok(Some(bytes))
}

/// Gives a file another name, in the place of what has that name. Survives a crash when it returns.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), HomeError> {
    fs::rename(from, to).map_err(file("rename", from))?;
    sync_folder(to)
}

/// Removes a file if there is one. Survives a crash when it returns.
pub(super) fn remove(path: &Path) -> Result<(), HomeError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed.map_err(file("remove", path))?;
            sync_folder(path)
        }
    }
}

/// Makes what names a folder gives survive a crash.
pub(super) fn sync_folder(path: &Path) -> Result<(), HomeError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(file("write the folder", folder))
}
