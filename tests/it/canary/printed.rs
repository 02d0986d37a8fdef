//! What a program prints of values that hold a secret, also when it panics: their Debug forms and their errors.

use std::sync::Arc;

use ggen_marketplace::assemble::{Founding, Home, Layout};
use ggen_marketplace::crypto::pem::{self, Form};
use ggen_marketplace::crypto::{Ed25519CryptoVerifier, Key, KeyPair, Passphrase, PrivateKey};
use ggen_marketplace::node::{Config, Node};
use ggen_marketplace::registry::local::{LocalRegistry, OpenOptions};
use ggen_marketplace::store::file::FilePackageStore;

use super::secrets::Secrets;
use super::{IMPORTED, PASSPHRASE, damages, imported};

#[tokio::test]
async fn what_holds_a_secret_does_not_print_it() {
    let dir = tempfile::tempdir().unwrap();
    let key = || PrivateKey::from_seed(IMPORTED);
    let passphrase: Passphrase = PASSPHRASE.parse().unwrap();
    let mut secrets = Secrets::default();
    secrets.add("key", &IMPORTED);
    secrets.add("passphrase", PASSPHRASE.as_bytes());
    let options = OpenOptions {
        identity: Some(key()),
        ..OpenOptions::default()
    };
    let shown_options = format!("{options:?}{options:#?}");
    let path = dir.path().join("catalogue.redb");
    let registry = Arc::new(LocalRegistry::open(path, options).await.unwrap());
    let store = FilePackageStore::new(dir.path().join("blobs"))
        .await
        .unwrap();
    let builder = Node::builder(registry.clone(), Arc::new(store), Config::default());
    let builder = builder.transport(key());
    let layout = Layout::at(&dir.path().join("home")).unwrap();
    layout.init(None).unwrap();
    let mut founded = layout.found(&Founding::Bare, Some(&passphrase)).unwrap();
    founded.recovery = Some(key());
    let text = imported(Form::Pkcs8);
    let pair = KeyPair {
        public_key: key().public(),
        private_key: key(),
    };
    let long: String = PASSPHRASE.repeat(100);
    let mut shown = vec![
        shown_options,
        format!("{:?}{:#?}", key(), key()),
        format!("{:?}{:#?}", Key::Private(key()), Key::Private(key())),
        format!("{pair:?}{pair:#?}"),
        format!("{passphrase:?}{passphrase:#?}"),
        format!("{registry:?}{registry:#?}"),
        format!("{builder:?}{builder:#?}"),
        format!("{founded:?}{founded:#?}"),
        format!("{:?}", Ed25519CryptoVerifier::new()),
        format!("{:?}", long.parse::<Passphrase>().unwrap_err()),
        format!(
            "{:?}",
            format!("{PASSPHRASE}\n{PASSPHRASE}")
                .parse::<Passphrase>()
                .unwrap_err()
        ),
    ];
    founded.recovery = None;
    founded.finish().unwrap();
    shown.push(format!("{:#?}", Home::open(&layout).unwrap()));
    for damaged in damages(&text) {
        let error = pem::import(&damaged, Some(&passphrase)).unwrap_err();
        shown.push(format!("{error} {error:?}"));
    }
    for shown in shown {
        assert!(secrets.found_in(shown.as_bytes()).is_empty(), "{shown}");
    }
}
