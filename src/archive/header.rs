//! Reads tar headers: the 512 bytes before each entry, and the extensions that change them.
//!
//! The `tar` crate is not used for checking, because it is made to get something out of any archive: it hides the
//! header that an extension overrides, passes over keys it does not know and stops at the first block of
//! zeros. What it would list cannot tell what another reader would. This parser takes only what all readers
//! understand alike; that `tar` lists the same for whatever is taken here is tested in [`super::members`].

use std::ops::Range;

use super::path::shown;

/// Bytes of a header, and what content is padded to.
pub(super) const BLOCK_BYTES: usize = 512;

/// One header, or that many bytes of content.
pub(super) type Block = [u8; BLOCK_BYTES];

/// What the header stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// The path of the next entry, too long for a header (GNU `L`): what cargo writes.
    LongPath,
    /// Keys and values about the next entry (POSIX pax `x`).
    Extended,
}

/// A header whose checksum is right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Its own path, whatever an extension before it says.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// Bytes of content that follow, without padding.
    pub(super) size: u64,
}

impl Header {
    /// Reads a header, or says why it is refused.
    pub(super) fn parse(block: &Block) -> Result<Self, String> {
        // The sum takes its own field as spaces.
        let own = 148..156;
        let sum = |bytes: &[u8]| bytes.iter().map(|b| u64::from(*b)).sum::<u64>();
        let actual = sum(block) - sum(&block[own.clone()]) + 8 * u64::from(b' ');
        if octal(&block[own]) != Some(actual) {
            return Err("the checksum of a tar header is wrong".to_owned());
        }
        let path = path(block)?;
        let refuse = |why: &str| Err(format!("{}: {why}", shown(&path)));
        let kind = match block[156] {
            b'0' => Kind::File,
            // The oldest format marks directories by a slash alone, and some readers look for it in the
            // header's own path, even where an extension overrides that.
            0 if !path.ends_with(b"/") => Kind::File,
            0 => return refuse("it is a file called like a directory"),
            b'5' => Kind::Directory,
            b'L' => Kind::LongPath,
            b'x' => Kind::Extended,
            other => {
                let why = format!(
                    "it is {}; only regular files and directories are allowed",
                    name(other)
                );
                return refuse(&why);
            }
        };
        // The mode of an extension header is nobody's mode, and some writers leave it out.
        if matches!(kind, Kind::File | Kind::Directory) {
            match octal(&block[100..108]) {
                Some(mode) if mode & 0o7000 == 0 => {}
                Some(_) => return refuse("it has a setuid, setgid or sticky bit"),
                None => return refuse("its mode is no octal number"),
            }
        }
        if let Some((_, what)) = UNREAD.iter().find(|(at, _)| !numeric(&block[at.clone()])) {
            return refuse(&format!("its {what} is no number"));
        }
        let Some(size) = octal(&block[124..136]) else {
            return refuse("its size is no octal number");
        };
        if kind == Kind::Directory && size != 0 {
            return refuse("it is a directory with content");
        }
        Ok(Self { path, kind, size })
    }
}

/// Numbers that mean nothing here. But where one of them is none, some readers see the end of the archive.
const UNREAD: &[(Range<usize>, &str)] = &[
    (100..108, "mode"),
    (108..116, "owner"),
    (116..124, "group"),
    (136..148, "time"),
    (329..337, "device"),
    (337..345, "device"),
];

/// Whether all readers take a field for a number: blank, octal, or the binary form that large ones have.
fn numeric(field: &[u8]) -> bool {
    let blank = field.iter().all(|b| matches!(b, 0 | b' '));
    blank || field.first() == Some(&0x80) || octal(field).is_some()
}

/// What a type flag that is not allowed stands for.
fn name(flag: u8) -> String {
    let known = match flag {
        b'1' => "a hard link",
        b'2' => "a symbolic link",
        b'3' => "a character device",
        b'4' => "a block device",
        b'6' => "a fifo",
        b'7' => "a contiguous file",
        b'g' => "a global pax header",
        b'K' => "a GNU long link",
        b'S' => "a GNU sparse file",
        _ => return format!("of the unknown type `{}`", flag.escape_ascii()),
    };
    known.to_owned()
}

fn path(block: &Block) -> Result<Vec<u8>, String> {
    let name = until_zero(&block[..100]);
    let more = &block[345..500];
    match &block[257..265] {
        b"ustar\x0000" => {
            let mut path = until_zero(more).to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(name);
            Ok(path)
        }
        // GNU tar keeps times and sparse maps where POSIX keeps the front of a path, and some readers
        // take them for one. Nobody who packs a package writes them.
        b"ustar  \0" if more.iter().all(|b| *b == 0) => Ok(name.to_vec()),
        b"ustar  \0" => Err(format!(
            "{}: it has GNU extensions in its header",
            shown(name)
        )),
        _ => Err(format!(
            "{}: its header is of no known tar format",
            shown(name)
        )),
    }
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// A number as all readers read it: spaces, octal digits, then nothing but spaces and zero bytes.
fn octal(field: &[u8]) -> Option<u64> {
    let start = field.iter().position(|b| *b != b' ')?;
    let field = &field[start..];
    let is_digit = |b: &u8| (b'0'..=b'7').contains(b);
    let end = field.iter().position(|b| !is_digit(b));
    let (digits, rest) = field.split_at(end.unwrap_or(field.len()));
    if digits.is_empty() || rest.iter().any(|b| !matches!(b, 0 | b' ')) {
        return None;
    }
    // A field has at most 12 digits: 36 bits.
    let shift = |number, digit: &u8| number << 3 | u64::from(digit - b'0');
    Some(digits.iter().fold(0, shift))
}

/// What a pax header says of the next entry that we care about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

/// Keys that change neither what an entry is called nor what it holds. All others are refused: among them are those
/// that make a file sparse or a link.
const HARMLESS: &[&[u8]] = &[
    b"atime", b"comment", b"ctime", b"gid", b"gname", b"mtime", b"uid", b"uname",
];

impl Extended {
    /// Reads `<length> <key>=<value>\n` again and again, the length being that of the whole line.
    pub(super) fn parse(mut data: &[u8]) -> Result<Self, String> {
        let mut extended = Self::default();
        let mut keys: Vec<&[u8]> = Vec::new();
        while !data.is_empty() {
            let (key, value, rest) = line(data).ok_or("a pax header is malformed")?;
            let shown = shown(key);
            if keys.contains(&key) {
                return Err(format!("a pax header says {shown} twice"));
            }
            match key {
                b"path" => extended.path = Some(value.to_vec()),
                b"size" => {
                    let size = decimal(value).ok_or("the size in a pax header is no number")?;
                    extended.size = Some(size);
                }
                _ if HARMLESS.contains(&key) => {}
                _ => {
                    return Err(format!(
                        "a pax header has the key {shown}, which is not allowed"
                    ));
                }
            }
            keys.push(key);
            data = rest;
        }
        Ok(extended)
    }
}

fn line(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(&data[..space])?).ok()?;
    if length <= space || length > data.len() {
        return None;
    }
    let (line, rest) = data.split_at(length);
    let text = line[space + 1..].strip_suffix(b"\n")?;
    // Some readers take a line feed or a zero byte within a value for its end.
    if text.iter().any(|b| matches!(b, b'\n' | 0)) {
        return None;
    }
    let equals = text.iter().position(|b| *b == b'=')?;
    Some((&text[..equals], &text[equals + 1..], rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn block(magic: &[u8; 8], flag: u8, change: impl FnOnce(&mut Block)) -> Block {
        let mut block = [0; BLOCK_BYTES];
        block[..5].copy_from_slice(b"a/b.c");
        block[100..108].copy_from_slice(b"0000644\0");
        block[124..136].copy_from_slice(b"00000000017\0");
        block[156] = flag;
        block[257..265].copy_from_slice(magic);
        change(&mut block);
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    const POSIX: &[u8; 8] = b"ustar\x0000";
    const GNU: &[u8; 8] = b"ustar  \0";

    #[test]
    fn both_formats_of_today_are_read() {
        for magic in [POSIX, GNU] {
            let header = Header::parse(&block(magic, b'0', |_| {})).unwrap();
            let path = b"a/b.c".to_vec();
            let kind = Kind::File;
            assert_eq!(
                header,
                Header {
                    path,
                    kind,
                    size: 15
                }
            );
        }
    }

    #[test]
    fn a_posix_prefix_goes_before_the_name() {
        let prefixed = |block: &mut Block| block[345..348].copy_from_slice(b"x/y");
        let header = Header::parse(&block(POSIX, b'0', prefixed)).unwrap();
        assert_eq!(header.path, b"x/y/a/b.c");
        let why = Header::parse(&block(GNU, b'0', prefixed)).unwrap_err();
        assert!(why.contains("GNU extensions"), "{why}");
    }

    #[test]
    fn any_changed_byte_breaks_the_checksum() {
        let good = block(POSIX, b'0', |_| {});
        for at in (0..148).chain(156..BLOCK_BYTES) {
            let mut bad = good;
            bad[at] ^= 1;
            let why = Header::parse(&bad).unwrap_err();
            assert!(why.contains("checksum"), "byte {at}: {why}");
        }
    }

    #[test]
    fn a_number_is_octal_or_nothing() {
        assert_eq!(octal(b"0000644\0"), Some(0o644));
        assert_eq!(octal(b"   17 \0 "), Some(0o17));
        assert_eq!(octal(b"777777777777"), Some((1 << 36) - 1));
        for wrong in [
            &b"        "[..],
            b"\0\0\0\0",
            b"+17\0",
            b"0o17\0",
            b"1_7\0",
            b"18\0",
            b"17\x0017\0",
            b"\x80\0\0\0\0\0\0\x11",
            b"",
        ] {
            assert_eq!(octal(wrong), None, "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn a_pax_header_is_read_to_the_letter() {
        let read = Extended::parse(b"12 path=a/b\n8 size=7\n11 mtime=1\n").unwrap_err();
        assert!(read.contains("malformed"), "{read}");
        let read = Extended::parse(b"12 path=a/b\n9 size=7\n11 mtime=1\n").unwrap();
        let path = Some(b"a/b".to_vec());
        assert_eq!(
            read,
            Extended {
                path,
                size: Some(7)
            }
        );
        for (wrong, why) in [
            (&b"9 size=7\n9 size=8\n"[..], "twice"),
            (b"22 GNU.sparse.major=1\n", "not allowed"),
            (b"17 linkpath=/etc\n", "not allowed"),
            (b"19 hdrcharset=UTF8\n", "not allowed"),
            (b"11 size=-7\n", "no number"),
            (b"12 path=a\nb\n", "malformed"),
            (b"12 path=a\0b\n", "malformed"),
            (b"99 path=a\n", "malformed"),
            (b"0 path=a\n", "malformed"),
            (b"99999999999999999999 path=a\n", "malformed"),
            (b"path=a\n", "malformed"),
            (b"7 path\n", "malformed"),
            (b"\0\0\0\0", "malformed"),
        ] {
            let error = Extended::parse(wrong).unwrap_err();
            assert!(error.contains(why), "{}: {error}", wrong.escape_ascii());
        }
    }
}
