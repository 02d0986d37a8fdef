//! Archives that somebody made to do harm: each is refused, with the reason, at a bounded cost.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use ggen_marketplace::archive::{self, ArchiveError, Bounds};
use ggen_marketplace::protocols::metadata::Format;

use crate::archive::{MANIFEST, Tarball, gzip, inspect};

#[derive(serde::Deserialize)]
struct Expected {
    expect: String,
    why: String,
}

/// What the reason must say for each file of the corpus that is to be refused.
pub(crate) const REASONS: &[(&str, &str)] = &[
    ("absolute", "absolute"),
    ("bidi_name", "direction-changing"),
    ("bomb_ratio", "unpacks to more than 33554432 bytes"),
    ("cargo_ok_file", "`.cargo-ok`"),
    ("control_char", "control"),
    ("dup_file", "duplicate"),
    ("empty", "empty file"),
    ("fifo", "a fifo"),
    ("hardlink", "a hard link"),
    ("long_path", "512 bytes"),
    ("many_entries", "more than 20000 entries"),
    ("no_manifest", "Cargo.toml: there is none"),
    ("not_gzip", "no gzip file"),
    ("outside_prefix", "outside the one directory"),
    ("pax_size_mismatch", "pax size differs"),
    ("symlink_abs", "a symbolic link"),
    ("symlink_rel", "a symbolic link"),
    (
        "trailing_garbage",
        "bytes follow the end of the gzip stream",
    ),
    ("traversal", "`..` component"),
    ("truncated_gzip", "cut off"),
    (
        "wrong_name_in_manifest",
        "but the directory in the archive is",
    ),
];

#[test]
fn each_archive_of_the_corpus_is_taken_or_refused_as_its_manifest_says() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/archives");
    let manifest = fs::read(corpus.join("manifest.json")).unwrap();
    let expected: BTreeMap<String, Expected> = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(expected.len(), 23);
    let reasons = BTreeMap::from_iter(REASONS.iter().copied());
    for (file, Expected { expect, why }) in expected {
        let archive = fs::read(corpus.join(&file)).unwrap();
        let bounds = match &*file {
            "bomb_ratio.crate" => Bounds {
                unpacked_bytes_max: 32 << 20,
                ..Bounds::default()
            },
            _ => Bounds::default(),
        };
        let result = archive::inspect(&archive[..], Format::Cargo, bounds);
        match &*expect {
            "accept" => drop(result.unwrap_or_else(|error| panic!("{file}: {error}"))),
            "reject" => {
                let error = result.expect_err(&file).to_string();
                let reason = reasons[file.strip_suffix(".crate").unwrap()];
                assert!(error.contains(reason), "{file} ({why}): {error}");
            }
            other => panic!("{file}: {other}"),
        }
    }
}

fn refused(archive: &[u8]) -> String {
    match inspect(archive).unwrap_err() {
        error @ (ArchiveError::Refused(_)
        | ArchiveError::Manifest(_)
        | ArchiveError::Bomb { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn flagged(flag: u8) -> Vec<u8> {
    let entry = |header: &mut tar::Header| header.as_mut_bytes()[156] = flag;
    Tarball::with(MANIFEST)
        .entry("a-1.0.0/x", b"", entry)
        .gzip()
}

/// An extension header with this flag and content, then a file.
fn extended(flag: u8, content: &[u8], path: &str) -> Vec<u8> {
    let set = |header: &mut tar::Header| header.as_mut_bytes()[156] = flag;
    let tarball = Tarball::with(MANIFEST).entry("a-1.0.0/ext", content, set);
    tarball.file(path, b"abc").gzip()
}

fn pax(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (key, value) in pairs {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        lines.extend(format!("{length} {key}={value}\n").bytes());
    }
    lines
}

#[test]
fn only_files_and_directories_without_special_bits_are_taken() {
    for (flag, why) in [
        (b'1', "a hard link"),
        (b'2', "a symbolic link"),
        (b'3', "a character device"),
        (b'4', "a block device"),
        (b'6', "a fifo"),
        (b'7', "a contiguous file"),
        (b'S', "a GNU sparse file"),
        (b'g', "a global pax header"),
        (b'K', "a GNU long link"),
        (b'M', "unknown type `M`"),
        (0xff, r"unknown type `\xff`"),
    ] {
        let error = refused(&flagged(flag));
        assert!(
            error.contains(why) && error.contains("`a-1.0.0/x`"),
            "{error}"
        );
    }
    for mode in [0o4755, 0o2755, 0o1777] {
        let set = |header: &mut tar::Header| header.set_mode(mode);
        let error = refused(&Tarball::with(MANIFEST).entry("a-1.0.0/x", b"", set).gzip());
        assert!(error.contains("setuid"), "{error}");
    }
}

#[test]
fn no_path_means_another_thing_to_another_system() {
    let long = format!("a-1.0.0/{}\0", "x".repeat(505));
    let deep = "a-1.0.0/".to_owned() + &"d/".repeat(32) + "x\0";
    for (archive, why) in [
        (
            Tarball::with(MANIFEST).file("a-1.0.0/b\\c", b"").gzip(),
            "'\\\\'",
        ),
        (
            Tarball::with(MANIFEST).file("a-1.0.0/c:d", b"").gzip(),
            "':'",
        ),
        (
            Tarball::with(MANIFEST).file("a-1.0.0/d|e", b"").gzip(),
            "'|'",
        ),
        (
            Tarball::with(MANIFEST).file("a-1.0.0/./x", b"").gzip(),
            "`..`",
        ),
        (
            Tarball::with(MANIFEST).file("a-1.0.0//x", b"").gzip(),
            "empty component",
        ),
        (
            Tarball::with(MANIFEST).file("a-1.0.0/x/", b"").gzip(),
            "called like a directory",
        ),
        (
            Tarball::with(MANIFEST).file("a-1.0.0", b"").gzip(),
            "outside the one directory",
        ),
        (
            Tarball::with(MANIFEST).file("a-1.0.1/x", b"").gzip(),
            "outside the one directory",
        ),
        (
            Tarball::with(MANIFEST)
                .file("a-1.0.0/CARGO.toml", b"")
                .gzip(),
            "duplicate",
        ),
        (
            Tarball::with(MANIFEST)
                .file("a-1.0.0/Cargo.toml", b"")
                .gzip(),
            "duplicate",
        ),
        (
            Tarball::with(MANIFEST)
                .file("a-1.0.0/Cargo.toml/x", b"")
                .gzip(),
            "says is a file",
        ),
        (
            Tarball::with(MANIFEST)
                .file("a-1.0.0/.Cargo-OK", b"")
                .gzip(),
            "`.cargo-ok`",
        ),
        (extended(b'L', long.as_bytes(), "a-1.0.0/x"), "512 bytes"),
        (extended(b'L', deep.as_bytes(), "a-1.0.0/x"), "32 levels"),
    ] {
        let error = refused(&archive);
        assert!(error.contains(why), "{why}: {error}");
    }
    let not_utf8 = |header: &mut tar::Header| header.as_mut_bytes()[8] = 0xff;
    let error = refused(
        &Tarball::with(MANIFEST)
            .entry("a-1.0.0/x", b"", not_utf8)
            .gzip(),
    );
    assert!(error.contains("not UTF-8"), "{error}");
}

#[test]
fn a_device_name_of_some_system_is_a_path_like_any_other() {
    // Published crates have files called so; only names of packages are kept from it.
    inspect(
        &Tarball::with(MANIFEST)
            .file("a-1.0.0/src/aux.rs", b"")
            .gzip(),
    )
    .unwrap();
}

#[test]
fn no_extension_header_shows_one_reader_what_another_does_not_see() {
    let path = "a-1.0.0/x";
    for (archive, why) in [
        (
            extended(b'x', &pax(&[("path", "b-1.0.0/x")]), path),
            "moves it elsewhere",
        ),
        (
            extended(b'x', &pax(&[("path", "a-1.0.0/../x")]), path),
            "`..`",
        ),
        (
            extended(b'x', &pax(&[("path", "")]), path),
            "moves it elsewhere",
        ),
        (
            extended(b'x', &pax(&[("size", "512")]), path),
            "pax size differs",
        ),
        (
            extended(b'x', &pax(&[("size", "3"), ("size", "512")]), path),
            "twice",
        ),
        (
            extended(b'x', &pax(&[("GNU.sparse.realsize", "9")]), path),
            "`GNU.sparse.realsize`",
        ),
        (
            extended(b'x', &pax(&[("linkpath", "/etc")]), path),
            "`linkpath`",
        ),
        (extended(b'x', b"5 path=a-1.0.0/y\n", path), "malformed"),
        (
            extended(b'x', &pax(&[("comment", &"c".repeat(5000))]), path),
            "at most 4096",
        ),
        (extended(b'L', b"b-1.0.0/x\0", path), "moves it elsewhere"),
        (extended(b'L', b"a-1.0.0/x", path), "only zero byte"),
        (extended(b'L', b"a-1.0.0/x\0y\0", path), "only zero byte"),
        (extended(b'L', &[b'x'; 5000], path), "at most 4096"),
    ] {
        let error = refused(&archive);
        assert!(error.contains(why), "{why}: {error}");
    }
    inspect(&extended(
        b'x',
        &pax(&[("size", "3"), ("mtime", "1.5")]),
        path,
    ))
    .unwrap();
    inspect(&extended(b'L', b"a-1.0.0/a/longer/path\0", path)).unwrap();
    let set = |flag: u8| move |header: &mut tar::Header| header.as_mut_bytes()[156] = flag;
    let both = Tarball::with(MANIFEST)
        .entry("e", &pax(&[("path", "a-1.0.0/one")]), set(b'x'))
        .entry("e", b"a-1.0.0/two\0", set(b'L'))
        .file(path, b"");
    assert!(refused(&both.gzip()).contains("two extension headers"));
    let alone = Tarball::with(MANIFEST).entry("e", b"a-1.0.0/two\0", set(b'L'));
    assert!(refused(&alone.gzip()).contains("does not follow"));
}

#[test]
fn nothing_hides_behind_the_end() {
    let tar = Tarball::with(MANIFEST).bytes();
    let archive = gzip(&tar);
    let content = tar.len() - 1024;
    let joined = |more: &[u8]| [&archive[..], more].concat();
    for (archive, why) in [
        (joined(&archive), "second gzip member"),
        (joined(&gzip(b"")), "second gzip member"),
        (joined(b"\0"), "bytes follow the end of the gzip stream"),
        (
            gzip(&[&tar[..], b"x"].concat()),
            "bytes follow the end mark",
        ),
        (
            gzip(&[&tar[..], &tar[..]].concat()),
            "bytes follow the end mark",
        ),
        (
            gzip(&[&tar[..content + 512], &tar[..]].concat()),
            "bytes follow the end mark",
        ),
        (gzip(&tar[..content]), "without an end mark"),
        (
            gzip(&tar[..content + 512]),
            "end mark of the tar archive is cut off",
        ),
        (gzip(&tar[..content - 1]), "cut off"),
        (gzip(&tar[..700]), "cut off"),
        (gzip(b""), "without an end mark"),
        (gzip(&[0; 1024]), "no entries"),
        (archive[..archive.len() - 1].to_vec(), "cut off"),
    ] {
        let error = refused(&archive);
        assert!(error.contains(why), "{why}: {error}");
    }
    inspect(&gzip(&[&tar[..], &[0; 9000]].concat())).unwrap();
    for at in [archive.len() - 1, archive.len() - 8, archive.len() / 2] {
        let mut changed = archive.clone();
        changed[at] ^= 0x10;
        refused(&changed);
    }
}

#[test]
fn a_header_must_be_whole_and_right() {
    let wrong_sum = || {
        let mut tar = Tarball::with(MANIFEST).bytes();
        tar[0] = b'b';
        gzip(&tar)
    };
    let field = |at: std::ops::Range<usize>, bytes: &'static [u8]| {
        let set = move |header: &mut tar::Header| {
            header.as_mut_bytes()[at].copy_from_slice(bytes);
        };
        Tarball::with(MANIFEST).entry("a-1.0.0/x", b"", set).gzip()
    };
    for (archive, why) in [
        (wrong_sum(), "checksum"),
        (field(257..265, b"        "), "no known tar format"),
        (field(257..265, b"ustar\x0001"), "no known tar format"),
        (
            field(124..136, b"\x80\0\0\0\0\0\0\0\0\0\0\x01"),
            "size is no octal",
        ),
        (field(124..136, b"77777777777\0"), "cut off"),
        (field(100..108, b"rwxr-xr-"), "mode is no octal"),
        (field(108..116, b"somebody"), "owner is no number"),
        (field(136..148, b"a day in May"), "time is no number"),
    ] {
        let error = refused(&archive);
        assert!(error.contains(why), "{why}: {error}");
    }
    let old_directory = |header: &mut tar::Header| {
        header.as_mut_bytes()[8..10].copy_from_slice(b"x/");
        header.as_mut_bytes()[156] = 0;
    };
    let archive = Tarball::with(MANIFEST)
        .entry("a-1.0.0/x", b"", old_directory)
        .gzip();
    assert!(refused(&archive).contains("called like a directory"));
    let heavy_directory = |header: &mut tar::Header| header.as_mut_bytes()[156] = b'5';
    let error = refused(
        &Tarball::with(MANIFEST)
            .entry("a-1.0.0/x", b"x", heavy_directory)
            .gzip(),
    );
    assert!(error.contains("directory with content"), "{error}");
    let sparse_map = |header: &mut tar::Header| {
        header.as_mut_bytes()[257..265].copy_from_slice(b"ustar  \0");
        header.as_mut_bytes()[386] = b'1';
    };
    let error = refused(
        &Tarball::with(MANIFEST)
            .entry("a-1.0.0/x", b"", sparse_map)
            .gzip(),
    );
    assert!(error.contains("GNU extensions"), "{error}");
}

#[test]
fn a_manifest_is_a_file_of_bounded_size_at_the_top() {
    let elsewhere = |path: &str| Tarball::new().file(path, MANIFEST.as_bytes()).gzip();
    for path in ["a-1.0.0/cargo.toml", "a-1.0.0/src/Cargo.toml"] {
        assert!(
            refused(&elsewhere(path)).contains("there is none"),
            "{path}"
        );
    }
    let directory = |header: &mut tar::Header| header.as_mut_bytes()[156] = b'5';
    let archive = Tarball::new()
        .entry("a-1.0.0/Cargo.toml", b"", directory)
        .gzip();
    assert!(refused(&archive).contains("there is none"));
    let just = format!("{MANIFEST}#{}", "x".repeat((1 << 20) - MANIFEST.len() - 1));
    inspect(&Tarball::with(&just).gzip()).unwrap();
    let error = refused(&Tarball::with(&(just + "x")).gzip());
    assert!(error.contains("1048577 bytes"), "{error}");
    let not_utf8 = Tarball::new().file("a-1.0.0/Cargo.toml", b"\xff").gzip();
    assert!(refused(&not_utf8).contains("not UTF-8"));
}

#[test]
fn entries_and_unpacked_bytes_are_bounded() {
    let files = |count: usize| {
        let mut tarball = Tarball::with(MANIFEST);
        for n in 0..count {
            tarball = tarball.file(&format!("a-1.0.0/{n}"), b"");
        }
        tarball.gzip()
    };
    let bounds = Bounds {
        unpacked_bytes_max: 4 << 20,
        unpacked_ratio_max: 3,
        entries_max: 10,
    };
    let inspect = |archive: &[u8]| archive::inspect(archive, Format::Cargo, bounds);
    // The directory counts and the manifest.
    inspect(&files(8)).unwrap();
    assert!(
        inspect(&files(9))
            .unwrap_err()
            .to_string()
            .contains("more than 10 entries")
    );
    let zeros = |size: usize| {
        Tarball::with(MANIFEST)
            .file("a-1.0.0/x", &vec![0; size])
            .gzip()
    };
    inspect(&zeros(3 << 20)).unwrap();
    let max = 4 << 20;
    let error = inspect(&zeros(5 << 20)).unwrap_err();
    assert!(
        matches!(error, ArchiveError::Bomb { max: m } if m == max),
        "{error}"
    );
    // What hardly compresses may be larger: here three times the file's own size is more than 4 MiB.
    let noise: Vec<u8> = (0u64..(5 << 20) / 8)
        .flat_map(|n| {
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
                .to_le_bytes()
        })
        .collect();
    let archive = Tarball::with(MANIFEST).file("a-1.0.0/x", &noise).gzip();
    assert!(archive.len() > 2 << 20, "{}", archive.len());
    inspect(&archive).unwrap();
}

/// Peak resident memory of this process, in KiB.
#[cfg(target_os = "linux")]
fn peak_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs in a process of its own, where no other test uses memory.
#[cfg(target_os = "linux")]
#[test]
fn a_bomb_costs_bounded_memory() {
    const CHILD: &str = "MARKET_TEST_BOMB_CHILD";
    const ROOM_KIB: u64 = 8 << 10;
    if std::env::var_os(CHILD).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "archive_hostile::a_bomb_costs_bounded_memory"])
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let bomb = |path: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).unwrap();
        header.set_mode(0o644);
        header.set_size(64 << 20);
        header.set_cksum();
        let level = flate2::Compression::best();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
        let tar = &header.as_bytes()[..];
        std::io::copy(&mut tar.chain(std::io::repeat(0).take(64 << 20)), &mut gzip).unwrap();
        gzip.finish().unwrap()
    };
    let bounds = Bounds {
        unpacked_bytes_max: 32 << 20,
        ..Bounds::default()
    };
    for path in ["a-1.0.0/x", "a-1.0.0/Cargo.toml"] {
        let archive = bomb(path);
        assert!(archive.len() < 128 << 10);
        // Once before measuring, so that the code itself is in memory.
        let low = Bounds {
            unpacked_bytes_max: 4 << 20,
            unpacked_ratio_max: 1,
            ..Bounds::default()
        };
        archive::inspect(&archive[..], Format::Cargo, low).unwrap_err();
        let before = peak_memory_kib();
        archive::inspect(&archive[..], Format::Cargo, bounds).unwrap_err();
        let grown = peak_memory_kib() - before;
        assert!(grown < ROOM_KIB, "{path}: {grown} KiB");
    }
}
