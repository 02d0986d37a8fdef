//! Keys as text: what OpenSSL and OpenSSH wrote is read, what is no key of ours is refused with the reason.

use std::fs;
use std::path::Path;

use ggen_marketplace::crypto::pem::{self, Form};
use ggen_marketplace::crypto::{CryptoError, Key, Passphrase, PrivateKey, PublicKey};
use proptest::prelude::prop_assert;
use proptest::proptest;

use super::SEED;

/// The public half of the keys that OpenSSL made, as `openssl pkey -text` prints it.
const OPENSSL: &str = "17d923ae7af3a628209e3d12543246ce517551319fdfd663e8723cb8789edb6c";
/// The public half of the keys that `ssh-keygen` made: the last 32 bytes of its public line.
const OPENSSH: &str = "400046ecc1fe91df6c51fe63f19947067beec10052a85038eaf6675d14b3d731";

fn text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keys");
    fs::read_to_string(folder.join(name)).unwrap()
}

fn passphrase() -> Passphrase {
    "correct horse".parse().unwrap()
}

fn open(text: &str) -> Result<Key, CryptoError> {
    pem::import(text, Some(&passphrase()))
}

/// Kind and public half.
fn shown(key: Key) -> String {
    match key {
        Key::Private(key) => format!("private {}", key.public()),
        Key::Public(key) => format!("public {key}"),
    }
}

/// Why the text is refused, with the right passphrase at hand.
fn refusal(text: &str) -> String {
    match open(text) {
        Err(error @ CryptoError::Unusable { .. }) => error.to_string(),
        other => panic!("{other:?} of {text}"),
    }
}

#[test]
fn what_the_tools_wrote_is_read() {
    for (name, public, locked) in [
        ("openssl-v1.pem", OPENSSL, false),
        ("openssl-scrypt.pem", OPENSSL, true),
        ("openssl-pbkdf2.pem", OPENSSL, true),
        ("openssl-pbkdf2-sha512-aes128.pem", OPENSSL, true),
        ("openssl-pbkdf2-aes192.pem", OPENSSL, true),
        ("openssh-plain.pem", OPENSSH, false),
        ("openssh-aes256-ctr.pem", OPENSSH, true),
        ("openssh-aes256-gcm.pem", OPENSSH, true),
        ("openssh-chacha20-poly1305.pem", OPENSSH, true),
        ("openssh-aes128-cbc.pem", OPENSSH, true),
    ] {
        let text = text(name);
        assert_eq!(
            shown(open(&text).unwrap()),
            format!("private {public}"),
            "{name}"
        );
        assert_eq!(pem::is_locked(&text).unwrap(), locked, "{name}");
        let without = pem::import(&text, None);
        if locked {
            assert!(
                matches!(without, Err(CryptoError::Locked { path: None })),
                "{name}"
            );
            let wrong = pem::import(&text, Some(&"correct hors".parse().unwrap()));
            assert!(
                matches!(wrong, Err(CryptoError::WrongPassphrase { path: None })),
                "{name}: {wrong:?}"
            );
        } else {
            assert_eq!(
                shown(without.unwrap()),
                format!("private {public}"),
                "{name}"
            );
        }
    }
    for (name, public) in [
        ("openssl-spki.pem", OPENSSL),
        ("openssh-public.txt", OPENSSH),
    ] {
        let key = pem::import(&text(name), None).unwrap();
        assert_eq!(shown(key), format!("public {public}"), "{name}");
        assert!(!pem::is_locked(&text(name)).unwrap());
    }
}

#[test]
fn line_ends_and_blank_lines_around_do_not_matter() {
    for name in [
        "openssl-v1.pem",
        "openssl-spki.pem",
        "openssh-plain.pem",
        "openssh-public.txt",
    ] {
        let text = text(name);
        let expected = shown(open(&text).unwrap());
        assert_eq!(
            shown(open(&text.replace('\n', "\r\n")).unwrap()),
            expected,
            "{name}"
        );
        assert_eq!(
            shown(open(&format!("\n \t\r\n{text}\n\n")).unwrap()),
            expected,
            "{name}"
        );
        assert_eq!(shown(open(text.trim_end()).unwrap()), expected, "{name}");
    }
}

#[test]
fn keys_of_other_kinds_are_refused_by_their_name() {
    for (name, why) in [
        (
            "refused-rsa.pem",
            "an RSA key: only Ed25519 keys sign records",
        ),
        ("refused-rsa-spki.pem", "an RSA key"),
        ("refused-rsa-old.pem", "an RSA key"),
        ("refused-ec.pem", "an ECDSA curve"),
        ("refused-ec-old.pem", "an ECDSA curve"),
        ("refused-x25519.pem", "X25519 key, which cannot sign"),
        ("refused-ed448.pem", "an Ed448 key"),
        ("refused-ed448-spki.pem", "an Ed448 key"),
        (
            "refused-certificate.pem",
            "a certificate: give the key itself",
        ),
        ("refused-openssh-rsa.pem", "an RSA key"),
        ("refused-openssh-rsa.txt", "an RSA key"),
        (
            "refused-openssh-ecdsa.pem",
            "only Ed25519 keys sign records",
        ),
        ("refused-openssh-ecdsa.txt", "an ECDSA curve"),
        (
            "refused-openssh-certificate.txt",
            "a certificate: give the key itself",
        ),
    ] {
        let refusal = refusal(&text(name));
        assert!(refusal.contains(why), "{name}: {refusal}");
    }
}

#[test]
fn locks_that_are_weak_or_too_dear_are_refused() {
    for (name, why) in [
        ("refused-pbkdf2-sha1.pem", "SHA-1"),
        ("refused-des3.pem", "not known here"),
        ("refused-pbes1.pem", "locked"),
        ("refused-pbkdf2-rounds.pem", "more memory or time"),
        ("refused-scrypt-memory.pem", "more memory or time"),
        ("refused-scrypt-work.pem", "more memory or time"),
        ("refused-openssh-rounds.pem", "more time"),
    ] {
        let refusal = refusal(&text(name));
        assert!(refusal.contains(why), "{name}: {refusal}");
    }
}

#[test]
fn halves_that_do_not_belong_together_are_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ed25519-dalek");
    let second = fs::read_to_string(folder.join("pkcs8-v2.pem")).unwrap();
    for text in [
        second.replace("ZuE=", "ZuI="),
        text("refused-openssh-mismatch-all.pem"),
        text("refused-openssh-mismatch-outer.pem"),
    ] {
        let refusal = refusal(&text);
        assert!(refusal.contains("does not belong"), "{refusal}");
    }
}

/// An SPKI text of these 32 bytes, whether or not they are a key.
fn spki(bytes: [u8; 32]) -> String {
    let key = Key::Public(PublicKey::from_bytes(bytes));
    pem::export(&key, Form::Spki, None).unwrap().to_string()
}

#[test]
fn weak_and_unusual_public_keys_are_refused() {
    let mut zero = [0; 32];
    assert!(refusal(&spki(zero)).contains("weak"));
    zero[0] = 1;
    assert!(refusal(&spki(zero)).contains("weak"));
    // y = 2 is of no point; y = p + 3 is one's other spelling, that of y = 3.
    let mut none = [0; 32];
    none[0] = 2;
    assert!(refusal(&spki(none)).contains("no point"));
    let mut unusual = [0xff; 32];
    (unusual[0], unusual[31]) = (0xed + 3, 0x7f);
    assert!(refusal(&spki(unusual)).contains("unusual"));
    let line = pem::export(&PublicKey::from_bytes(zero).into(), Form::OpenSsh, None).unwrap();
    assert!(refusal(&line).contains("weak"));
}

#[test]
fn what_is_not_exactly_one_key_is_refused() {
    let one = text("openssl-v1.pem");
    let line = text("openssh-public.txt");
    let body = one.lines().nth(1).unwrap();
    for (text, why) in [
        (String::new(), "neither PEM"),
        ("secret".to_owned(), "neither PEM"),
        (format!("{one}{one}"), "more than one block"),
        (
            format!("{one}{}", text("openssl-spki.pem")),
            "more than one block",
        ),
        (format!("{one}x"), "something follows"),
        (format!("x{one}"), "neither PEM"),
        (one.replace("-----END", "----END"), "last line"),
        (one.replace("END PRIVATE", "END PUBLIC"), "last line"),
        (one.replace("PRIVATE", "SECRET"), "no kind of key"),
        (one.replace("PRIVATE", "PUBLIC"), "no public key"),
        (one.replace(body, &body[..40]), "damaged"),
        (one.replace("BCIEII", "BCIEHI"), "has 32 bytes"),
        (one.replace(body, &format!("{body}AAAA")), "damaged"),
        (format!("{line}{line}"), "more than one line"),
        (line.replace("AAAAC3", "AAAAC4"), "damaged"),
        (format!("no-pty {line}"), "neither PEM"),
        ("x".repeat(20_000), "larger than 16 KiB"),
        (format!("{one}{}", " ".repeat(20_000)), "larger than 16 KiB"),
    ] {
        let refusal = refusal(&text);
        assert!(refusal.contains(why), "{why}: {refusal}");
        assert!(!refusal.contains(&body[..20]), "{refusal}");
    }
}

#[test]
fn what_is_written_reads_as_the_same_key() {
    let key = PrivateKey::from_seed(SEED);
    let private = Key::from(key.clone());
    let public = Key::from(key.public());
    for (form, first) in [
        (Form::Pkcs8, "-----BEGIN PRIVATE KEY-----"),
        (Form::OpenSsh, "-----BEGIN OPENSSH PRIVATE KEY-----"),
    ] {
        let text = pem::export(&private, form, None).unwrap();
        assert_eq!(text.lines().next(), Some(first));
        let Key::Private(read) = pem::import(&text, None).unwrap() else {
            panic!("{form:?} is private");
        };
        assert_eq!(*read.seed(), SEED);
        let locked = pem::export(&private, form, Some(&passphrase())).unwrap();
        assert!(pem::is_locked(&locked).unwrap());
        assert_eq!(shown(open(&locked).unwrap()), shown(private.clone()));
        let wrong = pem::import(&locked, Some(&"x".parse().unwrap()));
        assert!(
            matches!(wrong, Err(CryptoError::WrongPassphrase { .. })),
            "{wrong:?}"
        );
        let again = pem::export(&private, form, Some(&passphrase())).unwrap();
        assert_ne!(locked, again, "salt and IV are new each time");
    }
    for (form, first) in [
        (Form::Spki, "-----BEGIN PUBLIC KEY-----"),
        (Form::OpenSsh, "ssh-ed25519 "),
    ] {
        let text = pem::export(&public, form, None).unwrap();
        assert!(text.starts_with(first), "{}", *text);
        assert_eq!(
            shown(pem::import(&text, None).unwrap()),
            shown(public.clone())
        );
        assert!(pem::export(&public, form, Some(&passphrase())).is_err());
    }
    assert!(pem::export(&private, Form::Spki, None).is_err());
    assert!(pem::export(&public, Form::Pkcs8, None).is_err());
}

#[test]
fn a_passphrase_is_one_line_and_not_printed() {
    assert_eq!(format!("{:?}", passphrase()), "Passphrase(…)");
    for wrong in [
        String::new(),
        "a\nb".to_owned(),
        "a\0".to_owned(),
        "a".repeat(1024),
    ] {
        let error = wrong.parse::<Passphrase>().unwrap_err();
        assert!(
            matches!(error, CryptoError::BadPassphrase { .. }),
            "{error:?}"
        );
    }
    assert!("a".repeat(1023).parse::<Passphrase>().is_ok());
}

proptest! {
    /// Refused or read, but never a panic, and never another key out of a text that the wrong bytes got into.
    #[test]
    fn a_changed_text_is_refused_or_the_same_key(
        which in 0usize..4,
        at in 0usize..400,
        new in proptest::char::range(' ', '~'),
    ) {
        let names = ["openssl-spki.pem", "openssh-plain.pem", "openssh-public.txt", "openssl-scrypt.pem"];
        let original = text(names[which]);
        let mut changed: Vec<char> = original.chars().collect();
        let at = at % changed.len();
        changed[at] = new;
        let changed: String = changed.into_iter().collect();
        if let Ok(Key::Private(key)) = pem::import(&changed, None) {
            prop_assert!(key.public().to_string() == OPENSSH, "{changed}");
        }
    }
}
