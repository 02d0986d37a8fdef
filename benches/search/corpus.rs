//! Packages to search in: real ones out of files, or made up.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use ggen_marketplace::protocols::id::OwnerId;
use ggen_marketplace::protocols::id::PackageId;
use ggen_marketplace::protocols::metadata::PackageMetadata;
use serde_json::Value;

/// A small generator of the same numbers in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// What follows a flag among the arguments.
pub(crate) fn argument(flag: &str) -> Option<String> {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(at + 1).cloned()
}

/// The packages of `--corpus FILE`, where `-` is standard input; without it `--packages N` made up ones.
pub(crate) fn packages() -> Vec<PackageMetadata> {
    let count = argument("--packages").map_or(10_000, |count| count.parse().unwrap());
    let mut packages = match argument("--corpus").as_deref() {
        None => made_up(count),
        Some("-") => read(std::io::stdin()),
        Some(path) => read(File::open(path).unwrap()),
    };
    // The same packages again under other names, until there are so many.
    if argument("--corpus").is_some() && argument("--packages").is_some() {
        let real = packages.len();
        for at in real..count {
            let mut again = packages[at % real].clone();
            again.id.name = format!("{}-{}", again.id.name, word_of(at / real));
            packages.push(again);
        }
    }
    packages
}

/// A word for a number.
fn word_of(mut number: usize) -> String {
    let mut word = String::new();
    while number > 0 {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}

fn read(from: impl Read) -> Vec<PackageMetadata> {
    let lines = BufReader::new(from).lines();
    lines
        .filter_map(|line| package(&serde_json::from_str(&line.unwrap()).unwrap()))
        .collect()
}

fn package(row: &Value) -> Option<PackageMetadata> {
    let text = |fields: &[&str]| {
        let found = fields.iter().find_map(|field| row[*field].as_str());
        found.unwrap_or_default().to_owned()
    };
    let list = |fields: &[&str]| -> Vec<String> {
        let found = fields.iter().find_map(|field| row[*field].as_array());
        let words = found.into_iter().flatten().filter_map(Value::as_str);
        // The most that a release may have.
        words
            .take(5)
            .map(|word| word.rsplit("::").next().unwrap_or(word).to_owned())
            .collect()
    };
    let name = row["name"].as_str()?;
    let version = text(&["version"]).parse().ok()?;
    let id = PackageId {
        name: name.to_owned(),
        version,
        ..PackageId::new("x", "0.0.0")
    };
    // Debian's rows have a section.
    let owner = OwnerId::from_bytes([u8::from(row["section"].is_null()); 32]);
    Some(PackageMetadata {
        description: text(&["description", "summary"]),
        keywords: list(&["keywords", "tags"]),
        categories: row["section"]
            .as_str()
            .map_or_else(|| list(&["categories"]), |s| vec![s.to_owned()]),
        authors: vec![text(&["maintainer"])],
        license: text(&["license"]),
        homepage: text(&["homepage"]).parse().ok(),
        ..PackageMetadata::new(id.in_namespace(owner.to_string()))
    })
}

fn made_up(count: usize) -> Vec<PackageMetadata> {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let syllables = [
        "ka", "ro", "mi", "ten", "su", "lo", "par", "vi", "gen", "to", "bel", "ax",
    ];
    let mut word = move |parts: usize| -> String {
        (0..parts)
            .map(|_| syllables[numbers.below(syllables.len())])
            .collect()
    };
    let package = |at: usize| {
        let name = format!("{}-{}{at}", word(3), word(2));
        let description = (0..10).map(|_| word(3)).collect::<Vec<_>>().join(" ");
        let keywords = vec![word(2), word(3)];
        PackageMetadata {
            description,
            keywords,
            ..PackageMetadata::new(PackageId::new(&name, "1.0.0"))
        }
    };
    (0..count).map(package).collect()
}
