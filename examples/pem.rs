//! Shows and converts key files. A passphrase stands in a file; `-` means none.
//!
//! ```text
//! cargo run --example pem -- show KEY PASSPHRASE
//! cargo run --example pem -- convert KEY PASSPHRASE FORM NEW PASSPHRASE
//! ```
//! `FORM` is `pkcs8` or `openssh` for private keys, `spki` or `openssh-public` for public ones and the public half
//! of private ones.

#![allow(clippy::print_stdout)] // What it shows is public.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ggen_marketplace::crypto::pem::{self, Form};
use ggen_marketplace::crypto::{Key, Passphrase, PublicKey};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["show", key, secret] => {
            match read(key, secret)? {
                Key::Private(key) => println!("private {}", key.public()),
                Key::Public(key) => println!("public {key}"),
            }
            Ok(())
        }
        ["convert", key, secret, form, new, new_secret] => {
            let key = read(key, secret)?;
            let (key, form) = match form {
                "pkcs8" => (key, Form::Pkcs8),
                "openssh" => (key, Form::OpenSsh),
                "spki" => (public(&key).into(), Form::Spki),
                "openssh-public" => (public(&key).into(), Form::OpenSsh),
                _ => bail!("no form is called {form}"),
            };
            let text = pem::export(&key, form, passphrase(new_secret)?.as_ref())?;
            let mut file = OpenOptions::new();
            let file = file.write(true).create_new(true).mode(0o600).open(new);
            file.context("cannot make the new file")?
                .write_all(text.as_bytes())?;
            Ok(())
        }
        _ => {
            bail!("expected `show KEY PASSPHRASE` or `convert KEY PASSPHRASE FORM NEW PASSPHRASE`")
        }
    }
}

fn read(path: &str, secret: &str) -> Result<Key> {
    let text = zeroize::Zeroizing::new(fs::read_to_string(path)?);
    Ok(pem::import(&text, passphrase(secret)?.as_ref())?)
}

fn passphrase(path: &str) -> Result<Option<Passphrase>> {
    match path {
        "-" => Ok(None),
        path => Ok(Some(Passphrase::read_file(Path::new(path))?)),
    }
}

fn public(key: &Key) -> PublicKey {
    match key {
        Key::Public(key) => *key,
        Key::Private(key) => key.public(),
    }
}
