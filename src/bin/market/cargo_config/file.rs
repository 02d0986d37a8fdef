//! Adds tables to a configuration file of cargo. Everything else in the file stays as it is, to the byte.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use tempfile::Builder;
use toml::{Table, Value};

use super::Block;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Written,
    Unchanged,
}

/// Adds the blocks to the file. What stands there under the same names is replaced with `force` only.
pub(super) fn merge(path: &Path, blocks: &[Block], force: bool) -> anyhow::Result<Outcome> {
    let shown = path.display();
    let before = read(path).with_context(|| format!("cannot read {shown}"))?;
    let after = merged(&before, blocks, force).with_context(|| format!("cannot change {shown}"))?;
    if after == before {
        return Ok(Outcome::Unchanged);
    }
    write(path, &after).with_context(|| format!("cannot write {shown}"))?;
    Ok(Outcome::Written)
}

fn read(path: &Path) -> io::Result<String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is too large for a configuration",
        )),
        Ok(_) => fs::read_to_string(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn merged(before: &str, blocks: &[Block], force: bool) -> anyhow::Result<String> {
    let there: Table = before.parse().context("it is no TOML")?;
    let mut text = before.to_owned();
    let mut expected = there.clone();
    for block in blocks {
        let (kind, name) = &block.path;
        let found = there.get(*kind).and_then(|tables| tables.get(name));
        if let Some(other) = same_source(&there, block) {
            bail!(
                "it has a [source.{other}] of {name}, and cargo takes one source for an address: take that out first"
            );
        }
        match found {
            Some(Value::Table(table)) if has(table, &block.table) => continue,
            Some(_) if !force => bail!(
                "it has another {}: replace it with --force, or name a registry otherwise with --name",
                block.header()
            ),
            Some(_) => text = without(&text, &block.header()),
            None => {}
        }
        if !text.is_empty() {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push('\n');
        }
        text.push_str(&block.text());
        let tables = expected.entry((*kind).to_owned());
        let tables = tables.or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(tables) = tables else {
            bail!("its `{kind}` is no table");
        };
        tables.insert(name.clone(), Value::Table(block.table.clone()));
    }
    // Whatever way the file was written in: nothing but our tables may have changed.
    match text.parse::<Table>() {
        Ok(after) if after == expected => Ok(text),
        _ => bail!(
            "it is written in a way that cannot be added to; add this by hand:\n{}",
            blocks
                .iter()
                .map(Block::text)
                .collect::<Vec<_>>()
                .join("\n")
        ),
    }
}

/// Whether a table says all that another one does.
fn has(table: &Table, wanted: &Table) -> bool {
    let mut wanted = wanted.iter();
    wanted.all(|(key, value)| table.get(key) == Some(value))
}

/// The source under another name that is the same to cargo as that of a block.
fn same_source<'a>(there: &'a Table, block: &Block) -> Option<&'a String> {
    let address = block.table.get("registry")?;
    let mut sources = there.get("source")?.as_table()?.iter();
    let is_same = |(name, source): &(&String, &Value)| {
        source.get("registry") == Some(address) && **name != block.path.1
    };
    Some(sources.find(is_same)?.0)
}

/// The text without the table of this name, from its header to the next one.
fn without(text: &str, header: &str) -> String {
    let mut kept = String::new();
    let mut skipping = false;
    for line in text.split_inclusive('\n') {
        if line.starts_with('[') {
            skipping = line.split('#').next().unwrap_or_default().trim() == header;
        }
        if !skipping {
            kept.push_str(line);
        }
    }
    kept
}

/// Replaces the file as a whole, with the permissions that it had.
fn write(path: &Path, text: &str) -> io::Result<()> {
    // A link stays one.
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let mode = match fs::metadata(&path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(_) => 0o644,
    };
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = Builder::new().prefix(".config").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn block(name: &str, index: &str) -> Block {
        Block::registry(name, index, None)
    }

    #[test]
    fn what_is_there_stays_to_the_byte() {
        let before =
            "# mine\n[net]\nretry = 1 # once\n\n[registries]\nother.index = \"sparse+http://o/\"";
        let blocks = [block("acme", "sparse+http://a/")];
        let after = merged(before, &blocks, false).unwrap();
        assert_eq!(
            after,
            format!("{before}\n\n[registries.acme]\nindex = \"sparse+http://a/\"\n")
        );
        assert_eq!(merged(&after, &blocks, false).unwrap(), after);
        assert_eq!(
            merged("", &blocks, false).unwrap(),
            "[registries.acme]\nindex = \"sparse+http://a/\"\n"
        );
    }

    #[test]
    fn another_entry_of_the_name_is_replaced_only_when_asked_to() {
        let before = "[registries.acme] # mine\nindex = \"sparse+http://b/\"\ntoken = \"t\"\n[net]\nretry = 1\n";
        let blocks = [block("acme", "sparse+http://a/")];
        let error = merged(before, &blocks, false).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
        let after = merged(before, &blocks, true).unwrap();
        assert_eq!(
            after,
            "[net]\nretry = 1\n\n[registries.acme]\nindex = \"sparse+http://a/\"\n"
        );
    }

    #[test]
    fn a_source_is_called_as_its_address_and_has_no_other_name() {
        let address = "sparse+http://a/";
        let source = |replacement: &str| {
            let text = format!("registry = \"{address}\"\nreplace-with = \"{replacement}\"\n");
            Block {
                path: ("source", address.to_owned()),
                table: text.parse().unwrap(),
            }
        };
        let text = source("one").text();
        assert!(
            text.starts_with("[source.\"sparse+http://a/\"]\n"),
            "{text}"
        );
        let after = merged(&text, &[source("other")], true).unwrap();
        assert_eq!(after.trim_start(), source("other").text());
        let before = text.replace("\"sparse+http://a/\"]", "acme]");
        let error = merged(&before, &[source("one")], true).unwrap_err();
        assert!(error.to_string().contains("[source.acme]"), "{error}");
    }

    #[test]
    fn what_the_user_added_to_our_entry_stays() {
        let before = "[registries.acme]\nindex = \"sparse+http://a/\"\ntoken = \"t\"\n";
        let blocks = [block("acme", "sparse+http://a/")];
        assert_eq!(merged(before, &blocks, true).unwrap(), before);
    }

    #[test]
    fn a_file_that_cannot_be_added_to_is_left_alone() {
        for before in [
            "registries = { acme = { index = \"sparse+http://b/\" } }\n",
            "registries = { }\n",
            "registries = 1\n",
            "[registries\n",
        ] {
            merged(before, &[block("acme", "sparse+http://a/")], true).unwrap_err();
        }
    }
}
