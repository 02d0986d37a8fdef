//! Plain tantivy over name and summary of the same rows: what the engine is compared with.

use std::time::{Duration, Instant};

use ggen_marketplace::protocols::metadata::PackageMetadata;
use tantivy::collector::{Count, TopDocs};
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, STORED, Schema, TEXT, Value};
use tantivy::{Index, Searcher, TantivyDocument, Term};

use super::queries;

/// An index in memory with its usual settings.
pub(crate) struct Plain {
    name: Field,
    summary: Field,
    searcher: Searcher,
    /// What indexing took.
    pub(crate) took: Duration,
}

impl Plain {
    pub(crate) fn new(packages: &[PackageMetadata]) -> Self {
        let mut schema = Schema::builder();
        let name = schema.add_text_field("name", TEXT | STORED);
        let summary = schema.add_text_field("summary", TEXT | STORED);
        let index = Index::create_in_ram(schema.build());
        let start = Instant::now();
        let mut writer = index.writer_with_num_threads(1, 64 << 20).unwrap();
        for package in packages {
            let mut document = TantivyDocument::default();
            document.add_text(name, &package.id.name);
            document.add_text(summary, &package.description);
            writer.add_document(document).unwrap();
        }
        writer.commit().unwrap();
        let took = start.elapsed();
        let searcher = index.reader().unwrap().searcher();
        Self {
            name,
            summary,
            searcher,
            took,
        }
    }

    /// Names of the best hits with any or all of the words.
    pub(crate) fn ask(&self, text: &str, all: bool, limit: usize) -> Vec<String> {
        let words = queries::words(text);
        if words.is_empty() {
            return Vec::new();
        }
        let clause = |word: &String| {
            let term = |field| -> Box<dyn Query> {
                let term = Term::from_field_text(field, word);
                Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
            };
            let either = vec![
                (Occur::Should, term(self.name)),
                (Occur::Should, term(self.summary)),
            ];
            let either: Box<dyn Query> = Box::new(BooleanQuery::new(either));
            (if all { Occur::Must } else { Occur::Should }, either)
        };
        let query = BooleanQuery::new(words.iter().map(clause).collect());
        let best = TopDocs::with_limit(limit).order_by_score();
        let (hits, _) = self.searcher.search(&query, &(best, Count)).unwrap();
        let names = hits.into_iter().map(|(_, at)| {
            let document: TantivyDocument = self.searcher.doc(at).unwrap();
            let name = document.get_first(self.name).unwrap();
            name.as_str().unwrap().to_owned()
        });
        names.collect()
    }
}
