//! Canonical CBOR (RFC 8949 §4.2.1): encode, and decode with bounds; nothing else names ciborium.
//!
//! Only unsigned integers, byte strings, texts, booleans, null and arrays are ever sent. Messages are arrays
//! of fixed positions, so neither map order nor duplicate keys can arise. Bytes are first walked over without
//! allocating, which settles form, depth and lengths; then decoded into their type; then compared with what
//! that type encodes to, which catches whatever a decoder takes more leniently than an encoder writes.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits;

/// Why bytes were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They are more than this kind of message may have.
    #[error("{size} bytes are more than the {max} allowed here")]
    TooLong {
        /// How many there were.
        size: usize,
        /// How many are allowed.
        max: usize,
    },
    /// They are no CBOR of ours, or not of the expected type.
    #[error("not of the expected form: {0}")]
    Malformed(String),
    /// They say the right thing in another encoding than the canonical one.
    #[error("not in canonical encoding")]
    NotCanonical,
}

impl DecodeError {
    pub(crate) fn malformed(why: impl Into<String>) -> Self {
        Self::Malformed(why.into())
    }
}

/// Encodes `value` canonically.
///
/// # Panics
/// Never for our types: writing to memory cannot fail, and none of them refuses to be serialised.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("our types always serialise");
    bytes
}

/// Decodes bytes that must be the canonical encoding of a `T` and at most `bytes_max` long.
///
/// # Errors
/// [`DecodeError`]; no more is allocated than the items that are really there take in memory.
pub fn decode<T: DeserializeOwned + Serialize>(
    bytes: &[u8],
    bytes_max: usize,
) -> Result<T, DecodeError> {
    bounded(bytes, bytes_max)?;
    walk(bytes)?;
    let value: T = ciborium::from_reader(bytes).map_err(|error| match error {
        ciborium::de::Error::Semantic(_, why) => {
            DecodeError::Malformed(why.chars().take(200).collect())
        }
        error => DecodeError::malformed(error.to_string()),
    })?;
    let mut expected = Expected(bytes);
    match ciborium::into_writer(&value, &mut expected) {
        Ok(()) if expected.0.is_empty() => Ok(value),
        _ => Err(DecodeError::NotCanonical),
    }
}

pub(crate) fn bounded(bytes: &[u8], max: usize) -> Result<(), DecodeError> {
    let size = bytes.len();
    if size > max {
        return Err(DecodeError::TooLong { size, max });
    }
    Ok(())
}

/// Takes only the bytes that it holds, in their order.
struct Expected<'a>(&'a [u8]);

impl io::Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .strip_prefix(bytes)
            .ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an item's first bytes say.
enum Head {
    Uint(u64),
    Bytes(u64),
    Text(u64),
    Array(u64),
    Simple,
}

/// Reads canonical items one after another where they lie.
pub(crate) struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The number of items of the array that comes next.
    pub(crate) fn array(&mut self) -> Result<u64, DecodeError> {
        match self.head()? {
            Head::Array(count) => Ok(count),
            _ => Err(DecodeError::malformed("an array was expected")),
        }
    }

    /// The unsigned integer that comes next.
    pub(crate) fn uint(&mut self) -> Result<u64, DecodeError> {
        match self.head()? {
            Head::Uint(value) => Ok(value),
            _ => Err(DecodeError::malformed("an unsigned integer was expected")),
        }
    }

    /// The byte string that comes next.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        match self.head()? {
            Head::Bytes(count) => self.take(count),
            _ => Err(DecodeError::malformed("a byte string was expected")),
        }
    }

    /// The byte string of `N` bytes that comes next.
    pub(crate) fn exactly<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.bytes()?;
        bytes
            .try_into()
            .map_err(|_| DecodeError::malformed(format!("{N} bytes were expected")))
    }

    /// That nothing follows.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::malformed("bytes follow the end"))
        }
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], DecodeError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| DecodeError::malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn head(&mut self) -> Result<Head, DecodeError> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        if major == 7 {
            return match info {
                20..=22 => Ok(Head::Simple),
                _ => Err(DecodeError::malformed(
                    "of floats and simple values, only false, true and null are allowed",
                )),
            };
        }
        let (width, least) = match info {
            0..=23 => (0, 0),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            31 => return Err(DecodeError::NotCanonical),
            _ => return Err(DecodeError::malformed("a reserved length was used")),
        };
        let argument = match width {
            0 => u64::from(info),
            _ => {
                let digits = self.take(width)?;
                digits.iter().fold(0, |n, b| n << 8 | u64::from(*b))
            }
        };
        if argument < least {
            return Err(DecodeError::NotCanonical);
        }
        match major {
            0 if argument > limits::UINT_MAX => {
                Err(DecodeError::malformed("an integer is larger than 2^53 - 1"))
            }
            0 => Ok(Head::Uint(argument)),
            2 => Ok(Head::Bytes(argument)),
            3 => Ok(Head::Text(argument)),
            4 if argument > limits::ARRAY_ITEMS_MAX as u64 => Err(DecodeError::malformed(format!(
                "an array of {argument} items, at most {} are allowed",
                limits::ARRAY_ITEMS_MAX
            ))),
            4 => Ok(Head::Array(argument)),
            _ => Err(DecodeError::malformed(
                "negative integers, maps and tags are not allowed",
            )),
        }
    }
}

/// Checks that `bytes` are one canonical item of what is allowed here, and nothing more.
fn walk(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut items = Items::of(bytes);
    // For each array that is not complete, how many of its items are still to come.
    let mut open = [0u64; limits::ARRAY_DEPTH_MAX];
    let mut depth = 0;
    loop {
        match items.head()? {
            Head::Uint(_) | Head::Simple => {}
            // Whether a text is UTF-8 is seen when it is decoded.
            Head::Bytes(count) | Head::Text(count) => {
                items.take(count)?;
            }
            Head::Array(count) => {
                let slot = open
                    .get_mut(depth)
                    .ok_or_else(|| DecodeError::malformed("arrays are nested too deep"))?;
                if count > 0 {
                    *slot = count;
                    depth += 1;
                    continue;
                }
            }
        }
        loop {
            let Some(to_come) = open[..depth].last_mut() else {
                return items.end();
            };
            *to_come -= 1;
            if *to_come > 0 {
                break;
            }
            depth -= 1;
        }
    }
}

/// A body whose meaning this version does not know: an array of whatever may be sent at all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Opaque(ciborium::Value);

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = ciborium::Value::deserialize(deserializer)?;
        if value.is_array() {
            Ok(Self(value))
        } else {
            Err(serde::de::Error::custom("a body is an array"))
        }
    }
}

/// Implements serialisation of an enum as `[number, body]`, one line for each variant.
macro_rules! numbered {
    ($enum:ident { $($number:literal => $variant:ident($body:ty)),+ $(,)? }) => {
        impl serde::Serialize for $enum {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant(body) => serde::Serialize::serialize(&($number as u64, body), serializer),)+
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $enum {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Pair;
                impl<'de> serde::de::Visitor<'de> for Pair {
                    type Value = $enum;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an array of a number and a body")
                    }

                    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<$enum, A::Error> {
                        let short = || serde::de::Error::custom("the array is too short");
                        let number: u64 = seq.next_element()?.ok_or_else(short)?;
                        match number {
                            $($number => Ok($enum::$variant(seq.next_element::<$body>()?.ok_or_else(short)?)),)+
                            _ => Err(serde::de::Error::custom("unknown number")),
                        }
                    }
                }
                deserializer.deserialize_tuple(2, Pair)
            }
        }
    };
}
pub(crate) use numbered;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Shape {
        Dot(u64),
        Line((u64, u64)),
    }
    numbered!(Shape { 1 => Dot(u64), 2 => Line((u64, u64)) });

    #[test]
    fn a_numbered_enum_is_an_array_of_two() {
        for (shape, bytes) in [
            (Shape::Dot(5), vec![0x82, 1, 5]),
            (Shape::Line((1, 2)), vec![0x82, 2, 0x82, 1, 2]),
        ] {
            assert_eq!(encode(&shape), bytes);
            assert_eq!(decode::<Shape>(&bytes, 100).unwrap(), shape);
        }
        for wrong in [
            &[0x82, 3, 5][..],
            &[0x81, 1],
            &[0x83, 1, 5, 0],
            &[0x82, 0x18, 1, 5],
        ] {
            assert!(decode::<Shape>(wrong, 100).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_over_the_bound_are_refused_unread() {
        assert_eq!(
            decode::<u64>(&[0x18, 0x20], 1),
            Err(DecodeError::TooLong { size: 2, max: 1 })
        );
    }

    #[test]
    fn an_opaque_body_holds_plain_values_only() {
        let plain = [0x84, 0x01, 0x61, b'a', 0xf6, 0x81, 0xf5];
        assert!(decode::<Opaque>(&plain, 100).is_ok());
        // A map, a float, a negative integer, a tag, `undefined`, and no array at all.
        for wrong in [
            &[0x81, 0xa0][..],
            &[0x81, 0xf9, 0x3c, 0x00],
            &[0x81, 0x20],
            &[0x81, 0xc0, 0x61, b'a'],
            &[0x81, 0xf7],
            &[0x01],
        ] {
            assert!(decode::<Opaque>(wrong, 100).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_not_canonical_is_told_from_what_is_not_ours() {
        for (bytes, canonical) in [
            (&[0x18, 0x05][..], false),
            (&[0x19, 0x00, 0xff], false),
            (&[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], false),
            (&[0x9f, 0x01, 0xff], false),
            (&[0x01, 0x01], true),
            (&[0x1c], true),
            (&[0xff], true),
            (&[], true),
        ] {
            let error = decode::<u64>(bytes, 100).unwrap_err();
            assert_eq!(
                matches!(error, DecodeError::Malformed(_)),
                canonical,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn integers_lists_and_nesting_end_where_the_limits_say() {
        let max = encode(&limits::UINT_MAX);
        assert_eq!(decode::<u64>(&max, 9).unwrap(), limits::UINT_MAX);
        assert!(decode::<u64>(&encode(&(limits::UINT_MAX + 1)), 9).is_err());
        let full = vec![0u64; limits::ARRAY_ITEMS_MAX];
        assert_eq!(decode::<Vec<u64>>(&encode(&full), 1 << 20).unwrap(), full);
        let fuller = vec![0u64; limits::ARRAY_ITEMS_MAX + 1];
        assert!(decode::<Vec<u64>>(&encode(&fuller), 1 << 20).is_err());
        let mut nested = vec![0x81; limits::ARRAY_DEPTH_MAX - 1];
        nested.push(0x80);
        assert!(decode::<Opaque>(&nested, 100).is_ok());
        nested.insert(0, 0x81);
        assert!(decode::<Opaque>(&nested, 100).is_err());
    }
}
