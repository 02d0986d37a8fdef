//! Where the golden files lie, and what is said when bytes are not those of a file.

use std::fs;
use std::path::{Path, PathBuf};

use ggen_protocols::cbor::DecodeError;
use ggen_protocols::record::{Refusal, Treatment};
use serde_json::Value;

/// `protocols/vectors`, for tests of this package and of the whole.
pub(crate) fn folder() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let whole = here.join("protocols/vectors");
    if whole.is_dir() {
        whole
    } else {
        here.join("vectors")
    }
}

/// The bytes of the golden file with this name.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.cbor"));
    fs::read(&path).unwrap_or_default()
}

/// What a JSON file beside the golden files says.
pub(crate) fn json(name: &str) -> Value {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Checks that `made` are the bytes of the golden file with this name.
pub(crate) fn same(name: &str, made: &[u8]) {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let file = golden(name);
    assert!(
        made == file,
        "{name}.cbor holds\n{}\nand the code makes\n{}",
        hex(&file),
        hex(made)
    );
}

/// A refusal and its treatment in the words of `refused.json`.
pub(crate) fn words(refusal: &Refusal) -> (String, &'static str) {
    let decode = |error: &DecodeError| match error {
        DecodeError::TooLong { .. } => "too long",
        DecodeError::NotCanonical => "not canonical",
        _ => "malformed",
    };
    let what = match refusal {
        Refusal::Envelope(error) => format!("envelope {}", decode(error)),
        Refusal::Payload(error) => format!("payload {}", decode(error)),
        Refusal::UnknownVersion(_) => "unknown version".to_owned(),
        Refusal::UnknownKind { .. } => "unknown kind".to_owned(),
        Refusal::Signature => "signature".to_owned(),
        Refusal::Grammar(error) => format!("field {}", error.field),
        other => format!("{other}"),
    };
    let treatment = match refusal.treatment() {
        Treatment::Reject => "reject",
        Treatment::Ignore => "ignore",
    };
    (what, treatment)
}

/// The names in `refused.json`, each with refusal and treatment.
pub(crate) fn refusals() -> Vec<(String, String, String)> {
    let text = |case: &Value, field: &str| case[field].as_str().unwrap().to_owned();
    let all = json("refused.json");
    let cases = all.as_array().unwrap().iter();
    cases
        .map(|case| {
            (
                text(case, "file"),
                text(case, "refusal"),
                text(case, "treatment"),
            )
        })
        .collect()
}
