//! Finds secrets in what a program wrote, in whatever form it wrote them.

use std::collections::HashMap;
use std::fmt::Write;

/// What of a secret must not be seen: any eight bytes of it that stand at a multiple of eight.
const PIECE_BYTES: usize = 8;
/// What is looked up to find a pattern, in bytes; no pattern is shorter.
const PREFIX_BYTES: usize = 8;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Secrets by name, each in every form.
#[derive(Default)]
pub(super) struct Secrets {
    names: Vec<String>,
    /// By their first bytes: pattern and whose it is.
    patterns: HashMap<[u8; PREFIX_BYTES], Vec<(Vec<u8>, usize)>>,
}

impl Secrets {
    /// Adds a secret, unless it is known already.
    pub(super) fn add(&mut self, name: &str, secret: &[u8]) {
        if self.names.iter().any(|known| known == name) {
            return;
        }
        self.names.push(name.to_owned());
        for piece in secret.chunks_exact(PIECE_BYTES) {
            for pattern in forms(piece) {
                let prefix = pattern[..PREFIX_BYTES].try_into().unwrap();
                let of = (pattern, self.names.len() - 1);
                self.patterns.entry(prefix).or_default().push(of);
            }
        }
    }

    /// The names of the secrets of which something stands in these bytes.
    pub(super) fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        // As Debug prints in several lines, and PEM wraps.
        let dense: Vec<_> = bytes
            .iter()
            .filter(|byte| !byte.is_ascii_whitespace())
            .copied()
            .collect();
        let mut begins = vec![false; 1 << 16];
        for prefix in self.patterns.keys() {
            begins[usize::from(u16::from_be_bytes([prefix[0], prefix[1]]))] = true;
        }
        let mut found = Vec::new();
        for bytes in [bytes, &dense] {
            let mut two = 0_u16;
            for (end, byte) in bytes.iter().enumerate() {
                two = two << 8 | u16::from(*byte);
                if !begins[usize::from(two)] || end == 0 {
                    continue;
                }
                let rest = &bytes[end - 1..];
                let Some(prefix) = rest.first_chunk() else {
                    continue;
                };
                let fits = self.patterns.get(prefix).into_iter().flatten();
                let fits = fits.filter(|(pattern, _)| rest.starts_with(pattern));
                found.extend(fits.map(|(_, name)| self.names[*name].as_str()));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Raw, hexadecimal, as Rust and JSON print lists and strings of bytes, and inside any Base64 text.
fn forms(piece: &[u8]) -> Vec<Vec<u8>> {
    let [mut hex, mut upper, mut list] = [const { String::new() }; 3];
    for byte in piece {
        write!(hex, "{byte:02x}").unwrap();
        write!(upper, "{byte:02X}").unwrap();
        write!(list, "{byte},").unwrap();
    }
    list.pop();
    let text = piece.escape_ascii().to_string();
    let mut forms = vec![
        piece.to_vec(),
        hex.into(),
        upper.into(),
        list.into(),
        text.into(),
    ];
    for alphabet in [BASE64, BASE64URL] {
        forms.extend((0..3).map(|before| base64(piece, before, alphabet)));
    }
    forms
}

/// Those digits of a Base64 text that these bytes alone decide, if `before` bytes stand before them.
fn base64(bytes: &[u8], before: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let bits: Vec<_> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    // Bits of the first digit that the bytes before have.
    let taken = before * 8 % 6;
    let whole = bits[(6 - taken) % 6..].chunks_exact(6);
    whole
        .map(|digit| {
            alphabet[digit
                .iter()
                .fold(0, |all, bit| all << 1 | usize::from(*bit))]
        })
        .collect()
}

#[test]
fn a_secret_is_found_in_every_form() {
    use ggen_marketplace::crypto::pem::{self, Form};
    use ggen_marketplace::crypto::{Key, PrivateKey};

    let seed: [u8; 32] = std::array::from_fn(|at| (at * 37 + 11) as u8);
    let mut secrets = Secrets::default();
    secrets.add("seed", &seed);
    secrets.add("other", &[3; 32]);
    let key = || Key::Private(PrivateKey::from_seed(seed));
    let shown = [
        seed.to_vec(),
        format!("{seed:?}").into(),
        format!("{seed:#?}").into(),
        format!("{seed:02x?}")
            .replace(['[', ',', ' ', ']'], "")
            .into(),
        format!("{seed:02X?}")
            .replace(['[', ',', ' ', ']'], "")
            .into(),
        format!("b\"{}\"", seed.escape_ascii()).into(),
        pem::export(&key(), Form::Pkcs8, None)
            .unwrap()
            .as_bytes()
            .to_vec(),
        pem::export(&key(), Form::OpenSsh, None)
            .unwrap()
            .as_bytes()
            .to_vec(),
        // A part of it.
        [&[1; 5], &seed[16..24]].concat(),
    ];
    for (number, shown) in shown.into_iter().enumerate() {
        let all = [b"before ", shown.as_slice(), b" after"].concat();
        assert_eq!(secrets.found_in(&all), ["seed"], "{number}");
    }
    let public = PrivateKey::from_seed(seed).public().to_string();
    assert!(secrets.found_in(public.as_bytes()).is_empty());
}
