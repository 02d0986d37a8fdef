//! Key files: what is taken, what is refused with which words, and who wins a race.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use ggen_marketplace::crypto::{CryptoError, Passphrase, PrivateKey};
use tempfile::TempDir;

use super::SEED;

fn home() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("keys/me.pem");
    (home, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| name(entry.unwrap())).collect()
}

/// What is said of a private file with these bytes.
fn said(bytes: impl AsRef<[u8]>) -> String {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("me.pem");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    match PrivateKey::load(&path) {
        Ok(key) => format!("key {}", key.public()),
        Err(error) => error.to_string(),
    }
}

fn pem(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ed25519-dalek");
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn a_saved_key_is_private_and_loads_again() {
    let (_home, path) = home();
    let key = PrivateKey::from_seed(SEED);
    key.save_new(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(names(path.parent().unwrap()), ["me.pem"]);
    let loaded = PrivateKey::load(&path).unwrap();
    assert_eq!(loaded.public(), key.public());
    assert_eq!(loaded.sign(b"x"), key.sign(b"x"));
    assert_eq!(*loaded.seed(), SEED);
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let (_home, path) = home();
    PrivateKey::from_seed(SEED).save_new(&path).unwrap();
    let before = fs::read(&path).unwrap();
    let error = PrivateKey::generate().save_new(&path).unwrap_err();
    let CryptoError::File { source, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(names(path.parent().unwrap()), ["me.pem"]);
}

#[test]
fn a_missing_key_is_made_once() {
    let (_home, path) = home();
    assert!(matches!(
        PrivateKey::load(&path),
        Err(CryptoError::NoKey { .. })
    ));
    let (made, new) = PrivateKey::load_or_create(&path).unwrap();
    assert!(new);
    let (again, new) = PrivateKey::load_or_create(&path).unwrap();
    assert!(!new);
    assert_eq!(again.public(), made.public());
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_command_that_mends_it() {
    let (_home, path) = home();
    PrivateKey::from_seed(SEED).save_new(&path).unwrap();
    for mode in [0o640, 0o604, 0o660, 0o644] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = PrivateKey::load_or_create(&path).unwrap_err().to_string();
        let command = format!("chmod 600 {}", path.display());
        assert!(
            error.contains(&command) && error.contains(&format!("{mode:o}")),
            "{error}"
        );
    }
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    assert!(PrivateKey::load(&path).is_ok());
}

#[test]
fn what_is_no_private_file_is_refused() {
    let (_home, path) = home();
    PrivateKey::from_seed(SEED).save_new(&path).unwrap();
    let folder = path.parent().unwrap();
    let link = folder.join("link.pem");
    symlink(&path, &link).unwrap();
    let dangling = folder.join("dangling.pem");
    symlink(folder.join("nowhere"), &dangling).unwrap();
    let socket = folder.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, why) in [
        (&link, "symbolic link"),
        (&dangling, "symbolic link"),
        (&folder.to_owned(), "no regular file"),
        (&socket, "cannot open"),
        (&path.join("below"), "cannot open"),
    ] {
        let error = PrivateKey::load_or_create(path).unwrap_err().to_string();
        assert!(error.contains(why), "{}: {error}", path.display());
    }
    assert!(!folder.join("nowhere").exists());
}

#[test]
fn a_file_of_another_user_is_refused() {
    let (_home, path) = home();
    PrivateKey::from_seed(SEED).save_new(&path).unwrap();
    // Only root can give a file away; to anybody else, the system's own files are foreign.
    let path = if rustix::process::geteuid().is_root() {
        chown(&path, Some(1), None).unwrap();
        path
    } else {
        PathBuf::from("/etc/passwd")
    };
    for error in [
        PrivateKey::load(&path).unwrap_err(),
        PrivateKey::load_or_create(&path).unwrap_err(),
        PrivateKey::is_locked(&path).unwrap_err(),
        Passphrase::read_file(&path).unwrap_err(),
    ] {
        assert!(error.to_string().contains("belongs to user"), "{error}");
    }
}

#[test]
fn a_locked_key_opens_with_its_passphrase_only() {
    let (_home, path) = home();
    let key = PrivateKey::from_seed(SEED);
    let passphrase: Passphrase = "correct horse".parse().unwrap();
    key.save_new_locked(&path, &passphrase).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert!(PrivateKey::is_locked(&path).unwrap());
    let opened = PrivateKey::open(&path, Some(&passphrase)).unwrap();
    assert_eq!(*opened.seed(), SEED);
    for error in [
        PrivateKey::load(&path).unwrap_err(),
        PrivateKey::load_or_create(&path).unwrap_err(),
    ] {
        assert!(matches!(&error, CryptoError::Locked { path: Some(p) } if *p == path));
        let said = error.to_string();
        assert!(
            said.contains("passphrase") && said.contains("me.pem"),
            "{said}"
        );
    }
    let error = PrivateKey::open(&path, Some(&"x".parse().unwrap())).unwrap_err();
    assert!(matches!(&error, CryptoError::WrongPassphrase { path: Some(p) } if *p == path));
    let error = key.save_new_locked(&path, &passphrase).unwrap_err();
    assert!(matches!(error, CryptoError::File { .. }), "{error:?}");
}

#[test]
fn a_plain_key_opens_with_any_passphrase_at_hand() {
    let (_home, path) = home();
    PrivateKey::from_seed(SEED).save_new(&path).unwrap();
    assert!(!PrivateKey::is_locked(&path).unwrap());
    let opened = PrivateKey::open(&path, Some(&"x".parse().unwrap())).unwrap();
    assert_eq!(*opened.seed(), SEED);
}

#[test]
fn a_folder_of_keys_that_others_may_write_in_is_refused() {
    let (_home, path) = home();
    PrivateKey::from_seed(SEED).save_new(&path).unwrap();
    let folder = path.parent().unwrap();
    for mode in [0o770, 0o702, 0o1777] {
        fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
        let other = folder.join("other.pem");
        for error in [
            PrivateKey::load(&path).unwrap_err(),
            PrivateKey::generate().save_new(&other).unwrap_err(),
        ] {
            assert!(
                matches!(&error, CryptoError::OpenFolder { .. }),
                "{error:?}"
            );
            let command = format!("chmod 700 {}", folder.display());
            assert!(error.to_string().contains(&command), "{error}");
        }
        assert_eq!(names(folder), ["me.pem"]);
    }
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    assert!(PrivateKey::load(&path).is_ok());
}

#[test]
fn a_passphrase_is_read_from_a_private_file() {
    let (_home, key) = home();
    PrivateKey::from_seed(SEED)
        .save_new_locked(&key, &"a b".parse().unwrap())
        .unwrap();
    let path = key.with_file_name("passphrase");
    let read = |content: &[u8], mode| {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Passphrase::read_file(&path)
    };
    for content in ["a b", "a b\n", "a b\r\n"] {
        let passphrase = read(content.as_bytes(), 0o600).unwrap();
        assert!(
            PrivateKey::open(&key, Some(&passphrase)).is_ok(),
            "{content:?}"
        );
    }
    for content in [&b""[..], b"\n", b"a b\n\n", b"a\nb\n", b"\xff"] {
        let error = read(content, 0o600).unwrap_err();
        assert!(
            matches!(error, CryptoError::BadPassphrase { .. }),
            "{error:?}"
        );
    }
    assert!(matches!(
        read(b"a b", 0o644),
        Err(CryptoError::Exposed { .. })
    ));
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        Passphrase::read_file(&path),
        Err(CryptoError::NoPassphrase { .. })
    ));
    let real = path.with_file_name("real");
    fs::write(&real, "a b").unwrap();
    symlink(&real, &path).unwrap();
    let error = Passphrase::read_file(&path).unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
}

#[test]
fn published_key_files_are_read() {
    let key = "key 19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
    assert_eq!(said(pem("pkcs8-v1.pem")), key);
    assert_eq!(said(pem("pkcs8-v2.pem")), key);
}

#[test]
fn a_file_that_holds_no_usable_key_is_refused_with_the_reason() {
    let good = pem("pkcs8-v2.pem");
    let body = |pem: &str| pem.lines().nth(1).unwrap().to_owned();
    // The last byte of the public half is in the last group of four characters.
    let mismatched = good.replace("ZuE=", "ZuI=");
    assert_ne!(mismatched, good);
    // The last arc of the algorithm is 110, X25519, instead of 112.
    let other_algorithm = pem("pkcs8-v1.pem").replace("BQYDK2Vw", "BQYDK2Vu");
    assert_ne!(other_algorithm, pem("pkcs8-v1.pem"));
    let short = good.replace(&body(&good), &body(&good)[..60]);
    let cases: [(&str, Vec<u8>); 9] = [
        ("empty", Vec::new()),
        ("no text", vec![0xff, 0xfe]),
        ("no PEM", b"secret".to_vec()),
        ("mismatched halves", mismatched.into_bytes()),
        ("another algorithm", other_algorithm.into_bytes()),
        ("cut short", short.into_bytes()),
        (
            "a second key after it",
            [good.as_bytes(), good.as_bytes()].concat(),
        ),
        ("bytes after it", [good.as_bytes(), b"x"].concat()),
        (
            "another label",
            good.replace("PRIVATE", "PUBLIC").into_bytes(),
        ),
    ];
    for (what, bytes) in cases {
        let error = said(&bytes);
        assert!(error.contains("holds no usable key"), "{what}: {error}");
        assert!(!error.contains(&body(&good)[..20]), "{what}: {error}");
    }
    assert!(said(vec![b'x'; 20_000]).contains("larger than 16 KiB"));
}

#[test]
fn racing_threads_end_with_one_key() {
    for _ in 0..20 {
        let (_home, path) = home();
        let barrier = Barrier::new(4);
        let results: Vec<_> = thread::scope(|scope| {
            let race = || {
                barrier.wait();
                let (key, new) = PrivateKey::load_or_create(&path).unwrap();
                (key.public(), new)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(
            results.iter().all(|(key, _)| *key == results[0].0),
            "{results:?}"
        );
        assert_eq!(
            results.iter().filter(|(_, new)| *new).count(),
            1,
            "{results:?}"
        );
        assert_eq!(names(path.parent().unwrap()), ["me.pem"]);
    }
}

/// This test starts itself again as the processes that race.
#[test]
fn racing_processes_end_with_one_key() {
    const HOME: &str = "TEST_RACING_HOME";
    const TEST: &str = "crypto::files_of_keys::racing_processes_end_with_one_key";
    if let Some(home) = std::env::var_os(HOME).map(PathBuf::from) {
        let (key, new) = PrivateKey::load_or_create(&home.join("keys/me.pem")).unwrap();
        let result = format!("{} {new}", key.public());
        fs::write(home.join(format!("result-{}", std::process::id())), result).unwrap();
        return;
    }
    let (home, path) = home();
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", TEST]).env(HOME, home.path());
        command.spawn().unwrap()
    };
    let children: Vec<_> = (0..3).map(|_| start()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let results: Vec<_> = names(home.path())
        .into_iter()
        .filter(|name| name.starts_with("result-"))
        .map(|name| fs::read_to_string(home.path().join(name)).unwrap())
        .collect();
    let key = PrivateKey::load(&path).unwrap().public().to_string();
    assert_eq!(results.len(), 3);
    assert!(
        results.iter().all(|result| result.starts_with(&key)),
        "{results:?}"
    );
    assert_eq!(
        results
            .iter()
            .filter(|result| result.ends_with("true"))
            .count(),
        1
    );
}
