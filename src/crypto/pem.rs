//! Keys as text: PKCS#8 and SPKI in PEM, and the forms of OpenSSH. Text in, key out; no files.
//!
//! | text | private | public | locked |
//! |---|---|---|---|
//! | `PRIVATE KEY` (PKCS#8 v1, v2) | yes | | |
//! | `ENCRYPTED PRIVATE KEY` (PBES2) | yes | | scrypt or PBKDF2, AES-CBC |
//! | `PUBLIC KEY` (SPKI) | | yes | |
//! | `OPENSSH PRIVATE KEY` | yes | | bcrypt, any cipher of OpenSSH but 3DES |
//! | `ssh-ed25519 AAAA… comment` | | yes | |

mod asn1;
mod locked;
mod openssh;

use pkcs8::SecretDocument;
use pkcs8::der::pem::LineEnding;
use zeroize::Zeroizing;

use super::error::CryptoError;
use super::passphrase::Passphrase;
use super::{Key, PublicKey};

/// Largest text that is looked at, in bytes: a key has under 500, and comments that others add are small too.
pub const TEXT_BYTES_MAX: usize = 16 << 10;

/// Which text [`export`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// A private key in PKCS#8: what OpenSSL reads.
    Pkcs8,
    /// A public key in SPKI: what OpenSSL reads.
    Spki,
    /// A private or public key as `ssh-keygen` writes it.
    OpenSsh,
}

/// Reads one key. `passphrase` opens a locked one and is not looked at for others.
///
/// # Errors
/// [`CryptoError::Locked`] without a passphrase that is needed, [`CryptoError::WrongPassphrase`], and
/// [`CryptoError::Unusable`] with the reason; none of them tells a byte of the key.
pub fn import(text: &str, passphrase: Option<&Passphrase>) -> Result<Key, CryptoError> {
    let text = bounded(text)?;
    if !text.starts_with("-----BEGIN ") {
        return Ok(Key::Public(openssh::public(text)?));
    }
    match label(text)? {
        "PRIVATE KEY" => Ok(Key::Private(asn1::private(document(text)?.as_bytes())?)),
        "PUBLIC KEY" => Ok(Key::Public(asn1::public(document(text)?.as_bytes())?)),
        "ENCRYPTED PRIVATE KEY" => {
            let opened = locked::open(document(text)?.as_bytes(), passphrase)?;
            Ok(Key::Private(asn1::private(&opened)?))
        }
        "OPENSSH PRIVATE KEY" => Ok(Key::Private(openssh::private(text, passphrase)?)),
        label => Err(foreign(label)),
    }
}

/// Whether the text is a private key that needs a passphrase.
///
/// # Errors
/// [`CryptoError::Unusable`] if it is no text of a key.
pub fn is_locked(text: &str) -> Result<bool, CryptoError> {
    let text = bounded(text)?;
    if !text.starts_with("-----BEGIN ") {
        return Ok(false);
    }
    match label(text)? {
        "ENCRYPTED PRIVATE KEY" => Ok(true),
        "OPENSSH PRIVATE KEY" => openssh::is_locked(text),
        _ => Ok(false),
    }
}

/// Writes a key. A private key is locked with the passphrase if there is one; [`Form::Pkcs8`] takes about
/// 16 MiB and a third of a second for that.
///
/// PKCS#8 is of version 1, without the public half: OpenSSL 3.0 reads no other.
///
/// # Errors
/// [`CryptoError::Unusable`] if this form does not fit the key, or a public key should be locked.
pub fn export(
    key: &Key,
    form: Form,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<String>, CryptoError> {
    match (key, form, passphrase) {
        (Key::Private(key), Form::Pkcs8, None) => armoured(&asn1::of_private(key), "PRIVATE KEY"),
        (Key::Private(key), Form::Pkcs8, Some(passphrase)) => {
            let locked = locked::close(asn1::of_private(key).as_bytes(), passphrase)?;
            armoured(&locked, "ENCRYPTED PRIVATE KEY")
        }
        (Key::Private(key), Form::OpenSsh, passphrase) => openssh::of_private(key, passphrase),
        (Key::Public(_), _, Some(_)) => Err(CryptoError::unusable(
            "a public key is no secret: leave the passphrase away",
        )),
        (Key::Public(key), Form::Spki, None) => armoured(&asn1::of_public(key), "PUBLIC KEY"),
        (Key::Public(key), Form::OpenSsh, None) => openssh::of_public(key),
        (Key::Private(_), Form::Spki, _) => Err(CryptoError::unusable(
            "SPKI holds public keys: write the private key as PKCS#8, or its public half",
        )),
        (Key::Public(_), Form::Pkcs8, _) => Err(CryptoError::unusable(
            "PKCS#8 holds private keys: write a public key as SPKI",
        )),
    }
}

/// A public key that is fit to check signatures with.
fn public_key(bytes: &[u8]) -> Result<PublicKey, CryptoError> {
    let bytes = bytes.try_into();
    let bytes = bytes.map_err(|_| CryptoError::unusable("a public key has 32 bytes"))?;
    super::ed25519::checked(PublicKey::from_bytes(bytes)).map_err(CryptoError::unusable)
}

/// Says that `what` is a key of another kind.
fn other_kind(what: &str) -> CryptoError {
    CryptoError::unusable(format!("it is {what}: only Ed25519 keys sign records"))
}

fn bounded(text: &str) -> Result<&str, CryptoError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(CryptoError::unusable("it is larger than 16 KiB"));
    }
    Ok(text.trim_matches([' ', '\t', '\r', '\n']))
}

/// The label of a text that is one block and nothing else.
fn label(text: &str) -> Result<&str, CryptoError> {
    let no_pem = || CryptoError::unusable("it is no PEM: its first line is damaged");
    let rest = text.strip_prefix("-----BEGIN ").ok_or_else(no_pem)?;
    let (label, rest) = rest.split_once("-----").ok_or_else(no_pem)?;
    if rest.contains("-----BEGIN ") {
        let why = "it holds more than one block: keep one key in one text";
        return Err(CryptoError::unusable(why));
    }
    match rest.split_once("-----END ") {
        Some((_, end)) if end.strip_prefix(label) == Some("-----") => Ok(label),
        Some((_, end)) if end.starts_with(&format!("{label}-----")) => {
            Err(CryptoError::unusable("something follows the key"))
        }
        _ => Err(CryptoError::unusable("its last line is missing or damaged")),
    }
}

fn document(text: &str) -> Result<SecretDocument, CryptoError> {
    let read = SecretDocument::from_pem(text);
    let (_, document) =
        read.map_err(|error| CryptoError::unusable(format!("its PEM is damaged ({error})")))?;
    Ok(document)
}

fn armoured(
    document: &SecretDocument,
    label: &'static str,
) -> Result<Zeroizing<String>, CryptoError> {
    let text = document.to_pem(label, LineEnding::LF);
    text.map_err(|error| CryptoError::unusable(format!("it cannot be written ({error})")))
}

fn foreign(label: &str) -> CryptoError {
    match label {
        "RSA PRIVATE KEY" | "RSA PUBLIC KEY" => other_kind("an RSA key"),
        "EC PRIVATE KEY" | "EC PARAMETERS" => other_kind("a key of an ECDSA curve"),
        "DSA PRIVATE KEY" | "DSA PARAMETERS" => other_kind("a DSA key"),
        "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" | "CERTIFICATE REQUEST" => {
            CryptoError::unusable("it is a certificate: give the key itself")
        }
        "SSH2 PUBLIC KEY" => CryptoError::unusable(
            "it is a public key in another form of SSH: give the line that `ssh-keygen -i` makes of it",
        ),
        _ => CryptoError::unusable("its first line names no kind of key that is known here"),
    }
}
