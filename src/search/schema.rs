//! The index's fields, and what is kept of a package in one document.

use ggen_protocols::metadata::{Dependencies, PackageMetadata, Signature};
use tantivy::TantivyDocument;
use tantivy::Term;
use tantivy::schema::{
    FAST, Field, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions, Value,
};

use super::lexicon::SPELLED;
use super::rank::{self, Card};
use super::{Esteem, SearchError};

/// Counts the meanings that an index on disk has had: one with another number is built anew.
pub(crate) const VERSION: u32 = 2;

/// Names of the fields that are read for each hit.
pub(crate) const FACTS: [&str; 5] = ["weight", "downloads", "published", "copied", "owner"];
pub(crate) const ORDER: [&str; 3] = ["order0", "order1", "order2"];

/// The fields of the index.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    pub(crate) schema: Schema,
    /// Owner and name: what a document is replaced by.
    pub(crate) key: Field,
    /// The whole of the name and its spelling: what lexicons are read from.
    pub(crate) names: Field,
    pub(crate) name: Field,
    /// The beginnings of the words of the name.
    pub(crate) beginnings: Field,
    pub(crate) keywords: Field,
    pub(crate) description: Field,
    pub(crate) tags: Field,
    pub(crate) categories: Field,
    pub(crate) authors: Field,
    pub(crate) licenses: Field,
    pub(crate) namespace: Field,
    facts: [Field; 5],
    order: [Field; 3],
    package: Field,
}

impl Fields {
    pub(crate) fn new() -> Self {
        let mut schema = Schema::builder();
        // Words are cut by us: the index takes each as it is, and keeps only in which packages it stands.
        let words = TextFieldIndexing::default()
            .set_tokenizer("raw")
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::Basic);
        let words = TextOptions::default().set_indexing_options(words);
        Self {
            key: schema.add_text_field("key", words.clone()),
            names: schema.add_text_field("names", words.clone()),
            name: schema.add_text_field("name", words.clone()),
            beginnings: schema.add_text_field("beginnings", words.clone()),
            keywords: schema.add_text_field("keywords", words.clone()),
            description: schema.add_text_field("description", words.clone()),
            tags: schema.add_text_field("tags", words.clone()),
            categories: schema.add_text_field("categories", words.clone()),
            authors: schema.add_text_field("authors", words.clone()),
            licenses: schema.add_text_field("licenses", words.clone()),
            namespace: schema.add_text_field("namespace", words),
            facts: FACTS.map(|name| schema.add_u64_field(name, FAST)),
            order: ORDER.map(|name| schema.add_u64_field(name, FAST)),
            package: schema.add_bytes_field("package", STORED),
            schema: schema.build(),
        }
    }

    /// What removes a package's document.
    pub(crate) fn key_term(&self, key: &str) -> Term {
        Term::from_field_text(self.key, key)
    }

    pub(crate) fn document(&self, key: &str, page: &Page) -> TantivyDocument {
        let card = &page.card;
        let mut document = TantivyDocument::default();
        document.add_text(self.key, key);
        document.add_text(
            self.names,
            format!("{}{SPELLED}{}", card.whole, card.spelled),
        );
        document.add_text(self.namespace, &card.namespace);
        for (field, words) in [
            (self.name, &card.name),
            (self.keywords, &card.keywords),
            (self.description, &card.description),
            (self.tags, &card.tags),
            (self.categories, &card.categories),
            (self.authors, &card.authors),
            (self.licenses, &card.licenses),
        ] {
            for word in words.iter() {
                document.add_text(field, word);
            }
        }
        for beginning in card.name.beginnings() {
            document.add_text(self.beginnings, beginning);
        }
        let facts = card.facts;
        let facts = [
            facts.weight,
            facts.downloads,
            facts.published,
            facts.copied,
            facts.owner,
        ];
        for (field, value) in self.facts.into_iter().zip(facts) {
            document.add_u64(field, value);
        }
        let order = [card.order.name[0], card.order.name[1], card.order.key];
        for (field, value) in self.order.into_iter().zip(order) {
            document.add_u64(field, value);
        }
        document.add_bytes(self.package, &page.package);
        document
    }

    /// The package that a document shows.
    pub(crate) fn package(
        &self,
        document: &TantivyDocument,
    ) -> Result<PackageMetadata, SearchError> {
        let bytes = document
            .get_first(self.package)
            .and_then(|value| value.as_bytes());
        let missing = || SearchError::QueryFailed("a document shows no package".to_owned());
        read(bytes.ok_or_else(missing)?)
    }
}

/// One package as the index keeps it: what it is found by, and what is shown of it.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) card: Card,
    package: Vec<u8>,
}

impl Page {
    pub(crate) fn new(
        key: &str,
        package: &PackageMetadata,
        esteem: Esteem,
    ) -> Result<Self, SearchError> {
        let card = Card::new(key, package, esteem);
        let bytes = serde_json::to_vec(&shown(package));
        let package = bytes.map_err(|error| {
            SearchError::IndexingFailed(format!("{} has no JSON form: {error}", package.id))
        })?;
        Ok(Self { card, package })
    }

    pub(crate) fn package(&self) -> Result<PackageMetadata, SearchError> {
        read(&self.package)
    }
}

/// What hits show: everything but what only a resolver or verifier reads, and may be 256 KiB long.
pub(crate) fn shown(package: &PackageMetadata) -> PackageMetadata {
    PackageMetadata {
        id: package.id.clone(),
        description: package.description.clone(),
        authors: package.authors.clone(),
        license: package.license.clone(),
        repository: package.repository.clone(),
        homepage: package.homepage.clone(),
        keywords: package.keywords.clone(),
        categories: package.categories.clone(),
        dependencies: Dependencies::default(),
        checksums: package.checksums,
        signature: Signature::default(),
        published_at: package.published_at,
        format: package.format,
        documentation: package.documentation.clone(),
        links: package.links.clone(),
        rust_version: package.rust_version.clone(),
        features: Default::default(),
        readme: package.readme,
        deprecated: package.deprecated.clone(),
    }
}

fn read(bytes: &[u8]) -> Result<PackageMetadata, SearchError> {
    serde_json::from_slice(bytes).map_err(|error| {
        SearchError::QueryFailed(format!("a stored package cannot be read: {error}"))
    })
}

/// The key of a package in a namespace as programs write it.
pub(crate) fn key_of(id: &ggen_protocols::id::PackageId) -> String {
    rank::key(id.namespace.as_deref().unwrap_or_default(), &id.name)
}
