#![allow(clippy::unwrap_used)]
use super::*;
use crate::hash::ContentHash;
use crate::id::PackageId;
use crate::metadata::{Checksums, Dependency, DependencySource, PackageMetadata};

fn metadata() -> PackageMetadata {
    let any = VersionReq::STAR;
    PackageMetadata {
        checksums: Checksums {
            blake3: Some(ContentHash::blake3(b"")),
            ..Checksums::default()
        },
        dependencies: [("dep".to_owned(), vec![Dependency::new("dep", any)])].into(),
        ..PackageMetadata::new(PackageId::new("real", "1.0.0"))
    }
}

fn refusal(edit: impl FnOnce(&mut PackageMetadata)) -> Option<&'static str> {
    let mut metadata = metadata();
    edit(&mut metadata);
    Publish::from_metadata(&metadata)
        .err()
        .map(|error| error.field)
}

fn dependency(edit: impl FnOnce(&mut Dependency)) -> Option<&'static str> {
    refusal(|metadata| edit(&mut metadata.dependencies.get_mut("dep").unwrap()[0]))
}

#[test]
fn what_real_packages_declare_is_carried() {
    assert_eq!(refusal(|_| {}), None);
    let features = |count: usize, values: &[&str]| {
        let values: Vec<_> = values.iter().map(|v| (*v).to_owned()).collect();
        (0..count)
            .map(|n| (format!("Win32_UI_{n}"), values.clone()))
            .collect()
    };
    let forms = ["dep:foo", "foo?/bar", "foo/bar", "c++17", "a.b", "2d"];
    assert_eq!(
        refusal(|m| m.features = features(limits::FEATURES_MAX, &forms)),
        None
    );
    assert_eq!(
        refusal(|m| m.description = "Two\n\tlines — naïve ☃.\n".to_owned()),
        None
    );
    assert_eq!(
        refusal(|m| m.authors = vec!["Zoë <z@example>".to_owned(); 64]),
        None
    );
    assert_eq!(
        refusal(|m| m.categories = vec!["a::b-c".to_owned(); 5]),
        None
    );
    assert_eq!(
        refusal(|m| m.keywords = vec!["no_std".to_owned(), "c++".to_owned()]),
        None
    );
    let cfg = "cfg(all(target_arch = \"wasm32\", not(target_os = \"wasi\")))";
    assert_eq!(dependency(|d| d.target = Some(cfg.to_owned())), None);
    let index = "sparse+https://index.example/a/";
    assert_eq!(
        dependency(|d| d.source = DependencySource::Url(index.to_owned())),
        None
    );
    let alias = |alias: &str| {
        refusal(|m| {
            let all = m.dependencies.remove("dep").unwrap();
            m.dependencies.insert(alias.to_owned(), all);
        })
    };
    for good in ["_dep", "dep2", "Dep", "__"] {
        assert_eq!(alias(good), None, "{good}");
    }
    for wrong in ["", "_", "2dep", "d p", "dép", "-d", &"d".repeat(65)] {
        assert_eq!(alias(wrong), Some("dependency"), "{wrong}");
    }
}

#[test]
fn a_refusal_names_the_field() {
    let long = |count: usize| "a".repeat(count);
    let url = |text: &str| Some(text.parse().unwrap());
    assert_eq!(refusal(|m| m.id.name = "1x".to_owned()), Some("name"));
    assert_eq!(
        refusal(|m| m.id.version.pre = long(150).parse().unwrap()),
        Some("version")
    );
    assert_eq!(refusal(|m| m.checksums.blake3 = None), Some("hashes"));
    assert_eq!(refusal(|m| m.checksums.size = Some(1 << 53)), Some("size"));
    let sha256 = Some(ContentHash::sha256(b""));
    assert_eq!(refusal(|m| m.checksums.blake3 = sha256), Some("blake3"));
    assert_eq!(
        refusal(|m| m.checksums.sha256 = m.checksums.blake3),
        Some("sha256")
    );
    assert_eq!(refusal(|m| m.readme = sha256), Some("readme"));
    assert_eq!(refusal(|m| m.description = long(1001)), Some("description"));
    assert_eq!(
        refusal(|m| m.authors = vec![String::new(); 65]),
        Some("authors")
    );
    assert_eq!(
        refusal(|m| m.authors = vec!["\u{200f}".to_owned()]),
        Some("author")
    );
    assert_eq!(refusal(|m| m.license = "MIT\r".to_owned()), Some("license"));
    assert_eq!(
        refusal(|m| m.repository = url("ssh://a/b")),
        Some("repository")
    );
    assert_eq!(
        refusal(|m| m.homepage = url("data:text/html,a")),
        Some("homepage")
    );
    let address = format!("https://a/{}", long(503));
    assert_eq!(
        refusal(|m| m.documentation = url(&address)),
        Some("documentation")
    );
    assert_eq!(
        refusal(|m| m.keywords = vec!["a".to_owned(); 6]),
        Some("keywords")
    );
    assert_eq!(refusal(|m| m.keywords = vec![long(21)]), Some("keyword"));
    assert_eq!(
        refusal(|m| m.keywords = vec!["schlüssel".to_owned()]),
        Some("keyword")
    );
    assert_eq!(
        refusal(|m| m.categories = vec!["a".to_owned(); 6]),
        Some("categories")
    );
    assert_eq!(
        refusal(|m| m.categories = vec!["a b".to_owned()]),
        Some("category")
    );
    assert_eq!(refusal(|m| m.links = Some("a b".to_owned())), Some("links"));
    assert_eq!(
        refusal(|m| m.rust_version = Some(String::new())),
        Some("rust_version")
    );
    let feature = |name: String| [(name, Vec::new())].into();
    assert_eq!(
        refusal(|m| m.features = feature(long(193))),
        Some("feature")
    );
    let values = |count| [("a".to_owned(), vec!["b".to_owned(); count])].into();
    assert_eq!(refusal(|m| m.features = values(4097)), Some("feature"));
    assert_eq!(
        dependency(|d| d.name = "nul".to_owned()),
        Some("dependency")
    );
    assert_eq!(
        dependency(|d| d.target = Some("\u{2068}".to_owned())),
        Some("target")
    );
    assert_eq!(
        dependency(|d| d.features = vec![" ".to_owned()]),
        Some("dependency feature")
    );
    let local = DependencySource::Url("https:///".to_owned());
    assert_eq!(
        dependency(|d| d.source = local),
        Some("dependency registry")
    );
}

#[test]
fn no_text_holds_what_misleads() {
    let controls = (0u32..0x20)
        .chain(0x7f..0xa0)
        .filter(|c| ![9, 10].contains(c));
    let directions = [0x61c, 0x200e, 0x200f].into_iter();
    let others = (0x200b..=0x200f)
        .chain(0x202a..=0x202e)
        .chain(0x2066..=0x2069);
    for c in controls.chain(directions).chain(others).chain([0xfeff]) {
        let c = char::from_u32(c).unwrap();
        let error = text("note", &format!("a{c}b"), 100).unwrap_err();
        assert!(
            error.why.contains(&format!("U+{:04X}", u32::from(c))),
            "{error}"
        );
    }
    for fine in ["", "a\tb\n", "“—”", "\u{a0}", "é", "\u{1f980}"] {
        assert!(text("note", fine, 100).is_ok(), "{fine:?}");
    }
    assert!(
        text("note", "e\u{301}", 100).is_err(),
        "not in normal form C"
    );
}

mod kinds {
    use super::super::*;
    use crate::cbor;
    use crate::id::{OwnerId, RecordId};
    use serde_bytes::ByteArray;

    const KEY: PublicKey = PublicKey::from_bytes([7; 32]);
    const OWNER: OwnerId = OwnerId::from_bytes([8; 32]);

    fn document(mark: Mark) -> NamespaceDocument {
        NamespaceDocument {
            label: "acme".to_owned(),
            mark,
            ..NamespaceDocument::implicit(KEY)
        }
    }

    fn nonce() -> Mark {
        Mark::Nonce(ByteArray::new([1; 16]))
    }

    fn unchained(body: Body) -> Record {
        Record {
            owner: None,
            seq: 0,
            previous: None,
            time_ms: 0,
            body,
        }
    }

    fn genesis(edit: impl FnOnce(&mut NamespaceDocument)) -> Record {
        let mut document = document(nonce());
        edit(&mut document);
        unchained(Body::Genesis(Box::new(document)))
    }

    fn acl(edit: impl FnOnce(&mut NamespaceDocument)) -> Record {
        let mut document = document(Mark::Reason("one more laptop".to_owned()));
        edit(&mut document);
        Record {
            owner: Some(OWNER),
            seq: 3,
            previous: Some(RecordId::from_bytes([9; 32])),
            ..unchained(Body::Acl(Box::new(document)))
        }
    }

    fn endorse(edit: impl FnOnce(&mut Endorse)) -> Record {
        let mut endorse = Endorse {
            subject: OwnerId::from_bytes([2; 32]),
            revision: 1,
            level: 3,
            depth: 3,
            label: Some("bob".to_owned()),
            reason: String::new(),
        };
        edit(&mut endorse);
        Record {
            owner: Some(OWNER),
            seq: 1,
            ..unchained(Body::Endorse(endorse))
        }
    }

    fn head(edit: impl FnOnce(&mut Head)) -> Record {
        let feed = |n| {
            (
                PublicKey::from_bytes([n; 32]),
                1,
                RecordId::from_bytes([n; 32]),
            )
        };
        let mut head = Head {
            subject: OWNER,
            acl: RecordId::from_bytes([3; 32]),
            feeds: vec![feed(1), feed(2)],
        };
        edit(&mut head);
        unchained(Body::Head(Box::new(head)))
    }

    fn refused(record: &Record) -> Option<&'static str> {
        check(KEY, record).err().map(|error| error.field)
    }

    fn keys(count: usize) -> Vec<PublicKey> {
        let key = |n: usize| PublicKey::from_bytes([n as u8; 32]);
        (0..count).map(key).collect()
    }

    #[test]
    fn good_ones_of_each_kind_pass() {
        for record in [genesis(|_| ()), acl(|_| ()), endorse(|_| ()), head(|_| ())] {
            assert_eq!(check(KEY, &record), Ok(()));
            let bytes = cbor::encode(&record);
            let back: Record = cbor::decode(&bytes, limits::PAYLOAD_BYTES_MAX).unwrap();
            assert_eq!(back, record);
        }
    }

    #[test]
    fn a_document_is_sorted_canonical_and_bounded() {
        type Edit = fn(&mut NamespaceDocument);
        let all = || vec![SCOPE_ALL.to_owned()];
        let cases: [(Option<&str>, Edit); 20] = [
            (Some("label"), |d| d.label = "Acme".to_owned()),
            (Some("label"), |d| d.label = "ns1x".to_owned()),
            (Some("label"), |d| d.label = "a".repeat(33)),
            (None, |d| d.label = "a".repeat(32)),
            (Some("publishers"), |d| {
                d.publishers.insert(0, d.publishers[0].clone())
            }),
            (Some("publishers"), |d| {
                d.publishers = keys(3)
                    .into_iter()
                    .rev()
                    .map(|k| (k, vec!["a".into()]))
                    .collect();
            }),
            (Some("publishers"), |d| {
                d.publishers = keys(65)
                    .into_iter()
                    .map(|k| (k, vec!["a".into()]))
                    .collect();
            }),
            (None, |d| {
                d.publishers = keys(64)
                    .into_iter()
                    .map(|k| (k, vec!["a".into()]))
                    .collect();
            }),
            (None, |d| d.publishers.clear()),
            (Some("scopes"), |d| d.publishers[0].1.clear()),
            (Some("scopes"), |d| {
                d.publishers[0].1 = vec!["b".into(), "a".into()]
            }),
            (Some("scopes"), |d| {
                d.publishers[0].1 = vec!["a".into(), "a".into()]
            }),
            (Some("scopes"), |d| {
                d.publishers[0].1 = (0..33).map(|n| format!("a{n:02}")).collect();
            }),
            (None, |d| {
                d.publishers[0].1 = (0..32).map(|n| format!("a{n:02}")).collect()
            }),
            (Some("scope"), |d| d.publishers[0].1 = vec!["Foo".into()]),
            (Some("scope"), |d| d.publishers[0].1 = vec!["foo_x".into()]),
            (Some("scope"), |d| d.publishers[0].1 = vec!["1x".into()]),
            (Some("retired"), |d| {
                d.retired = keys(2)
                    .into_iter()
                    .rev()
                    .map(|k| (k, RecordId::from_bytes([0; 32])))
                    .collect();
            }),
            (Some("retired"), |d| {
                d.retired = vec![(KEY, RecordId::from_bytes([0; 32])); 2]
            }),
            (None, |d| {
                // One key may have several last good records: the ends of a forked feed.
                d.retired = [1, 2]
                    .map(|n| (KEY, RecordId::from_bytes([n; 32])))
                    .to_vec();
            }),
        ];
        assert_eq!(refused(&acl(|d| d.publishers = vec![(KEY, all())])), None);
        for (at, (field, edit)) in cases.into_iter().enumerate() {
            assert_eq!(refused(&genesis(edit)), field, "genesis {at}");
            assert_eq!(refused(&acl(edit)), field, "acl {at}");
        }
        let heads = |count: u16| {
            move |d: &mut NamespaceDocument| {
                let id = |n: u16| {
                    let mut bytes = [0; 32];
                    bytes[..2].copy_from_slice(&n.to_be_bytes());
                    RecordId::from_bytes(bytes)
                };
                d.retired = (0..count).map(|n| (KEY, id(n))).collect();
            }
        };
        assert_eq!(refused(&acl(heads(256))), None);
        assert_eq!(refused(&acl(heads(257))), Some("retired"));
    }

    #[test]
    fn a_founding_record_is_its_roots_and_stands_alone() {
        assert_eq!(
            refused(&genesis(|d| d.root = PublicKey::from_bytes([1; 32]))),
            Some("root")
        );
        assert_eq!(
            refused(&genesis(|d| d.mark = Mark::Reason(String::new()))),
            Some("nonce")
        );
        let implicit = genesis(|d| *d = NamespaceDocument::implicit(KEY));
        assert_eq!(refused(&implicit), Some("nonce"));
        // With another nonce it is another namespace.
        assert_eq!(refused(&genesis(|d| d.label.clear())), None);
        let good = genesis(|_| ());
        let time_ms = 1;
        assert_eq!(
            refused(&Record {
                time_ms,
                ..good.clone()
            }),
            Some("time")
        );
        let owner = Some(OWNER);
        assert_eq!(
            refused(&Record {
                owner,
                ..good.clone()
            }),
            Some("seq")
        );
        assert_eq!(
            refused(&Record {
                seq: 1,
                ..good.clone()
            }),
            Some("seq")
        );
        let previous = Some(RecordId::from_bytes([1; 32]));
        assert_eq!(refused(&Record { previous, ..good }), Some("seq"));
    }

    #[test]
    fn an_access_list_continues_another_document() {
        let good = acl(|_| ());
        assert_eq!(refused(&acl(|d| d.mark = nonce())), Some("reason"));
        assert_eq!(
            refused(&acl(|d| d.mark = Mark::Reason("a".repeat(257)))),
            Some("reason")
        );
        assert_eq!(
            refused(&acl(|d| d.mark = Mark::Reason("\u{202e}".into()))),
            Some("reason")
        );
        // Whether this signer may is for the document before it to say.
        assert_eq!(
            refused(&acl(|d| d.root = PublicKey::from_bytes([1; 32]))),
            None
        );
        let time_ms = 1;
        assert_eq!(
            refused(&Record {
                time_ms,
                ..good.clone()
            }),
            Some("time")
        );
        assert_eq!(
            refused(&Record {
                owner: None,
                ..good.clone()
            }),
            Some("previous")
        );
        assert_eq!(
            refused(&Record {
                previous: None,
                ..good.clone()
            }),
            Some("previous")
        );
        assert_eq!(refused(&Record { seq: 0, ..good }), Some("previous"));
    }

    #[test]
    fn an_endorsement_is_a_register_in_a_feed() {
        assert_eq!(refused(&endorse(|e| e.revision = 0)), Some("revision"));
        assert_eq!(
            refused(&endorse(|e| e.revision = 1 << 32)),
            Some("revision")
        );
        assert_eq!(refused(&endorse(|e| e.level = 4)), Some("level"));
        assert_eq!(refused(&endorse(|e| e.depth = 4)), Some("depth"));
        assert_eq!(
            refused(&endorse(|e| e.label = Some(String::new()))),
            Some("label")
        );
        assert_eq!(
            refused(&endorse(|e| e.reason = "a".repeat(257))),
            Some("reason")
        );
        assert_eq!(refused(&endorse(|e| e.label = None)), None);
        let good = endorse(|_| ());
        assert_eq!(
            refused(&Record {
                owner: None,
                ..good.clone()
            }),
            Some("owner")
        );
        assert_eq!(
            refused(&Record {
                seq: 0,
                ..good.clone()
            }),
            Some("seq")
        );
        assert_eq!(refused(&Record { seq: 2, ..good }), Some("seq"));
    }

    #[test]
    fn a_head_stands_in_no_feed() {
        assert_eq!(refused(&head(|h| h.feeds.swap(0, 1))), Some("feeds"));
        assert_eq!(refused(&head(|h| h.feeds[1] = h.feeds[0])), Some("feeds"));
        assert_eq!(refused(&head(|h| h.feeds[0].1 = 0)), Some("feeds"));
        assert_eq!(refused(&head(|h| h.feeds.clear())), None);
        let feeds = |count: u16| {
            move |h: &mut Head| {
                let key = |n: u16| {
                    let mut bytes = [0; 32];
                    bytes[..2].copy_from_slice(&n.to_be_bytes());
                    PublicKey::from_bytes(bytes)
                };
                let last = RecordId::from_bytes([1; 32]);
                h.feeds = (0..count).map(|n| (key(n), 1, last)).collect();
            }
        };
        assert_eq!(refused(&head(feeds(320))), None);
        assert_eq!(refused(&head(feeds(321))), Some("feeds"));
        let good = head(|_| ());
        let time_ms = 1_767_225_600_000;
        assert_eq!(
            refused(&Record {
                time_ms,
                ..good.clone()
            }),
            None
        );
        let owner = Some(OWNER);
        assert_eq!(
            refused(&Record {
                owner,
                ..good.clone()
            }),
            Some("seq")
        );
        assert_eq!(
            refused(&Record {
                seq: 1,
                ..good.clone()
            }),
            Some("seq")
        );
        let previous = Some(RecordId::from_bytes([1; 32]));
        assert_eq!(refused(&Record { previous, ..good }), Some("seq"));
    }
}
