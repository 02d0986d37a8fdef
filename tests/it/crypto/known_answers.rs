//! Test vectors of others: Ed25519 verification at its edges, signing, and key files.

use std::fs;
use std::path::PathBuf;

use ggen_marketplace::crypto::{PrivateKey, PublicKey, StrictSignatures};
use ggen_protocols::record::CheckSignature;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn json(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder().join(path)).unwrap()).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn field(value: &Value, name: &str) -> Vec<u8> {
    unhex(value[name].as_str().unwrap())
}

/// Whether the signature is taken; one of another length cannot even be asked about.
fn accepted(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = PublicKey::from_bytes(key.try_into().unwrap());
    let signature = signature.try_into();
    signature.is_ok_and(|signature| StrictSignatures.check(&key, message, signature))
}

#[test]
fn all_151_cases_of_wycheproof_are_decided_as_published() {
    let mut count = 0;
    for group in json("wycheproof/ed25519_test.json")["testGroups"]
        .as_array()
        .unwrap()
    {
        let key = field(&group["publicKey"], "pk");
        for case in group["tests"].as_array().unwrap() {
            let taken = accepted(&key, &field(case, "msg"), &field(case, "sig"));
            assert_eq!(taken, case["result"] == "valid", "{case}");
            count += 1;
        }
    }
    assert_eq!(count, 151);
}

#[test]
fn of_the_speccheck_cases_only_the_third_is_taken() {
    let all = json("speccheck/cases.json");
    let cases = all.as_array().unwrap().iter().map(|case| {
        accepted(
            &field(case, "pub_key"),
            &field(case, "message"),
            &field(case, "signature"),
        )
    });
    let taken: Vec<_> = cases.collect();
    let pinned = json("expected_verify_strict.json")["speccheck_cases_0_11"].clone();
    assert_eq!(serde_json::to_value(&taken).unwrap(), pinned);
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    assert!(taken[3]);
}

#[test]
fn of_the_914_edge_cases_exactly_the_pinned_43_are_taken() {
    let all = json("cctv-ed25519/ed25519vectors.json");
    let cases = all.as_array().unwrap();
    assert_eq!(cases.len(), 914);
    let taken = |case: &&Value| {
        let message = case["msg"].as_str().unwrap().as_bytes();
        accepted(&field(case, "key"), message, &field(case, "sig"))
    };
    let taken: Vec<_> = cases
        .iter()
        .filter(taken)
        .map(|case| case["number"].clone())
        .collect();
    let pinned = json("expected_verify_strict.json")["cctv_accepted_indices_of_914"].clone();
    assert_eq!(taken.len(), 43);
    assert_eq!(Value::from(taken), pinned);
}

#[test]
fn the_sign_input_lines_are_signed_and_verified_as_published() {
    let text = fs::read_to_string(folder().join("ed25519-dalek/TESTVECTORS")).unwrap();
    let mut count = 0;
    for line in text.lines() {
        let parts: Vec<_> = line.split(':').map(unhex).collect();
        let [secret, public, message, signed] = &parts[..4] else {
            panic!("four fields in {line}");
        };
        let key = PrivateKey::from_seed(secret[..32].try_into().unwrap());
        assert_eq!(key.public().as_bytes(), &public[..]);
        let signature = key.sign(message);
        assert_eq!(signature, signed[..64]);
        assert!(accepted(public, message, &signature));
        let mut other = message.clone();
        other.push(0);
        assert!(!accepted(public, &other, &signature));
        count += 1;
    }
    assert_eq!(count, 128);
}
