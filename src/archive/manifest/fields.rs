//! Typed access to the tables of a manifest; every error names the key that is wrong.

use toml::{Table, Value};

/// Parses a manifest.
pub(super) fn parse(text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        // The error's own text draws the line that is wrong, over several lines.
        let start = error.span().map_or(0, |span| span.start);
        let line = 1 + text.bytes().take(start).filter(|b| *b == b'\n').count();
        format!("line {line}: {}", error.message())
    })
}

/// A table and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    table: &'a Table,
    path: String,
}

impl<'a> Fields<'a> {
    /// The outermost table.
    pub(super) fn root(table: &'a Table) -> Self {
        let path = String::new();
        Self { table, path }
    }

    /// Where `key` of this table stands.
    pub(super) fn path(&self, key: &str) -> String {
        let key = key.escape_debug();
        match &*self.path {
            "" => key.to_string(),
            path => format!("{path}.{key}"),
        }
    }

    /// The names in this table, in their order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.table.keys().map(String::as_str)
    }

    /// The table under the first of `keys` that is there.
    pub(super) fn table(&self, keys: &[&str]) -> Result<Option<Self>, String> {
        let Some((key, value)) = self.first(keys) else {
            return Ok(None);
        };
        let Some(table) = value.as_table() else {
            return Err(format!("{} is no table", self.path(key)));
        };
        let path = self.path(key);
        Ok(Some(Self { table, path }))
    }

    /// A string, without spaces around it.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, String> {
        let text = self.typed(key, "string", Value::as_str)?;
        Ok(text.map(|text| text.trim().to_owned()))
    }

    /// A truth value, under the first of `keys` that is there.
    pub(super) fn flag(&self, keys: &[&str]) -> Result<Option<bool>, String> {
        match self.first(keys) {
            Some((key, _)) => self.typed(key, "true or false", Value::as_bool),
            None => Ok(None),
        }
    }

    /// A list of strings.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, String> {
        self.typed(key, "list of strings", |value| {
            let texts = value.as_array()?.iter();
            texts.map(|text| text.as_str().map(str::to_owned)).collect()
        })
    }

    /// Whether a value is there, of whatever type.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A string that stands directly under `key`.
    pub(super) fn plain(&self, key: &str) -> Option<&'a str> {
        self.table.get(key)?.as_str()
    }

    /// Whether `key` says `false` or an empty list.
    pub(super) fn is_false_or_empty(&self, key: &str) -> bool {
        match self.table.get(key) {
            Some(Value::Boolean(value)) => !value,
            Some(Value::Array(values)) => values.is_empty(),
            _ => false,
        }
    }

    fn first<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &'a Value)> {
        keys.iter()
            .find_map(|key| Some((*key, self.table.get(*key)?)))
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        if value.get("workspace").is_some() {
            let path = self.path(key);
            return Err(format!(
                "{path} is inherited from a workspace that is not in the archive; publish what `cargo package` makes"
            ));
        }
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("{} is no {expected}", self.path(key))),
        }
    }
}
