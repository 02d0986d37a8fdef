//! Which paths an archive may have: such as mean the same on every system, each once.

use std::collections::HashMap;

use ggen_protocols::hash::ContentHash;
use ggen_protocols::limits;
use ggen_protocols::record::misleads;
use unicode_normalization::UnicodeNormalization as _;

/// A path for a message: escaped, so that it cannot pass for something else, and of bounded length.
pub(super) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut start: String = text.chars().take(120).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("`{}`", start.escape_debug())
}

/// A text for a message, in which nothing can pass for something else.
pub(super) fn plain(text: &str) -> String {
    let plain = |c: char| {
        if c.is_control() || misleads(c) {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().take(400).map(plain).collect()
}

/// Checks the path of a file, or of a directory without its last slash; says which rule it breaks.
pub(super) fn check(path: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("{}: {why}", shown(path.as_bytes())));
    if path.len() > limits::ARCHIVE_PATH_BYTES_MAX {
        return refuse("its path is longer than 512 bytes");
    }
    if path.starts_with('/') {
        return refuse("its path is absolute");
    }
    if path.split('/').count() > limits::ARCHIVE_PATH_DEPTH_MAX {
        return refuse("its path is more than 32 levels deep");
    }
    for component in path.split('/') {
        match component {
            "" => return refuse("its path has an empty component"),
            "." | ".." => return refuse("its path has a `.` or `..` component"),
            _ => {}
        }
    }
    for c in path.chars() {
        if c.is_control() || misleads(c) || matches!(c, '\u{61c}' | '\u{2028}' | '\u{2029}') {
            return refuse("its path has a control, invisible or direction-changing character");
        }
        if r#"\<>:"|?*"#.contains(c) {
            return refuse(&format!(
                "its path has the character {c:?}, which some systems refuse"
            ));
        }
    }
    Ok(())
}

/// The paths of one archive so far.
///
/// Kept by hash, so that 20,000 long paths take little memory. A collision could only refuse an archive.
#[derive(Debug)]
pub(super) struct Paths {
    seen: HashMap<ContentHash, Seen>,
    max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    File,
    Directory,
    /// A directory that has no entry of its own, or none yet.
    Implied,
}

impl Paths {
    /// No paths, of at most `max`; directories count, whether they have entries or only files in them.
    pub(super) fn new(max: usize) -> Self {
        let seen = HashMap::new();
        Self { seen, max }
    }

    /// Adds a checked path. Says why if an unpacker on some system would overwrite one entry by another.
    pub(super) fn add(&mut self, path: &str, directory: bool) -> Result<(), String> {
        let refuse = |why: &str| Err(format!("{}: {why}", shown(path.as_bytes())));
        let folded = fold(path);
        for (slash, _) in folded.match_indices('/') {
            let parent = ContentHash::blake3(&folded[..slash]);
            if *self.seen.entry(parent).or_insert(Seen::Implied) == Seen::File {
                return refuse("it lies in what another entry says is a file");
            }
        }
        let new = if directory {
            Seen::Directory
        } else {
            Seen::File
        };
        match self.seen.insert(ContentHash::blake3(&folded), new) {
            None => {}
            Some(Seen::Implied) if directory => {}
            Some(old) if old == new => {
                return refuse("it is a duplicate, at least where case does not count");
            }
            Some(_) => return refuse("it is both a file and a directory"),
        }
        if self.seen.len() > self.max {
            let max = self.max;
            return Err(format!("it has more than {max} entries"));
        }
        Ok(())
    }
}

/// The same text for all paths that some file system takes for one: case and composition do not count.
fn fold(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    let upper = path.nfkc().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).nfkc().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_that_some_system_reads_otherwise_is_refused() {
        for right in [
            "a/b",
            "a-1.0.0/src/über.rs",
            "a/.hidden",
            "a/aux.rs",
            "a/b c",
        ] {
            check(right).unwrap();
        }
        let long = format!("a/{}", "b".repeat(511));
        let deep = "a/".repeat(32) + "b";
        for (wrong, why) in [
            ("", "empty component"),
            ("/etc/passwd", "absolute"),
            ("a//b", "empty component"),
            ("a/./b", "`..`"),
            ("a/../b", "`..`"),
            ("a/b\\c", "some systems"),
            ("c:/b", "some systems"),
            ("a/b\u{7}", "control"),
            ("a/b\u{202e}cod.rs", "control"),
            ("a/b\u{2028}c", "control"),
            (&long, "512 bytes"),
            (&deep, "32 levels"),
        ] {
            let error = check(wrong).unwrap_err();
            assert!(error.contains(why), "{wrong:?}: {error}");
        }
        check(&long[..512]).unwrap();
        check(&deep[2..]).unwrap();
    }

    #[test]
    fn two_paths_that_some_system_takes_for_one_are_refused() {
        for (one, other) in [
            ("a/b", "a/b"),
            ("a/Cargo.toml", "a/cargo.toml"),
            ("a/\u{e9}", "a/e\u{301}"),
            ("a/\u{e9}", "a/\u{c9}"),
            ("a/\u{212a}", "a/k"),
        ] {
            let mut paths = Paths::new(100);
            paths.add(one, false).unwrap();
            let error = paths.add(other, false).unwrap_err();
            assert!(error.contains("duplicate"), "{one} {other}: {error}");
        }
    }

    #[test]
    fn a_file_is_no_directory() {
        let add = |entries: &[(&str, bool)]| {
            let mut paths = Paths::new(100);
            entries
                .iter()
                .try_for_each(|(path, directory)| paths.add(path, *directory))
        };
        add(&[("a/b/c", false), ("a/b", true), ("a", true)]).unwrap();
        for wrong in [
            &[("a/b", false), ("a/b/c", false)][..],
            &[("a/b/c", false), ("A/B", false)],
            &[("a/b", true), ("a/b", false)],
            &[("a/b", false), ("a/b", true)],
            &[("a/b", true), ("a/b", true)],
        ] {
            add(wrong).unwrap_err();
        }
    }

    #[test]
    fn directories_that_are_only_implied_count() {
        let mut paths = Paths::new(4);
        paths.add("a/b/c/d", false).unwrap();
        paths.add("a/b", true).unwrap();
        assert!(paths.add("a/e", false).is_err());
    }

    #[test]
    fn a_shown_path_cannot_pass_for_something_else() {
        assert_eq!(shown(b"a\x1b[2J\n"), r"`a\u{1b}[2J\n`");
        assert_eq!(shown("a\u{202e}b".as_bytes()), r"`a\u{202e}b`");
        assert!(shown(&[b'a'; 500]).len() < 140);
    }
}
