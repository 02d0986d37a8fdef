//! Reads Prometheus' text form and refuses what is not well-formed.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>, text form, version 0.0.4. Stricter than
//! Prometheus itself: every metric says its kind, counters end in `_total`, and the lines of a metric stand together.

use std::collections::{BTreeMap, BTreeSet};

/// One line with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name; those of a histogram end in `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// Its labels, unescaped.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// The labels as the text form writes them, in order of their names.
    pub fn labels_text(&self) -> String {
        let pairs: Vec<_> = self
            .labels
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        crate::metrics::Labels::of(&pairs).to_string()
    }
}

/// The samples of a page, in its order.
///
/// # Errors
/// What is wrong with it, and in which line.
pub fn read(page: &str) -> Result<Vec<Sample>, String> {
    if !page.is_empty() && !page.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    let mut reader = Reader::default();
    for (at, line) in page.split_terminator('\n').enumerate() {
        let read = reader.line(line);
        read.map_err(|why| format!("line {}: {why}: {line:?}", at + 1))?;
    }
    reader.check_histograms()?;
    Ok(reader.samples)
}

#[derive(Default)]
struct Reader {
    samples: Vec<Sample>,
    seen: BTreeSet<(String, BTreeMap<String, String>)>,
    helped: BTreeSet<String>,
    kinds: BTreeMap<String, String>,
    /// The metric whose lines are being read.
    current: String,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, _) = rest.split_once(' ').ok_or("a help without text")?;
            check_name(name)?;
            if self.kinds.contains_key(name) || !self.helped.insert(name.to_owned()) {
                return Err("a second or late help");
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("a type without kind")?;
            check_name(name)?;
            if !["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind) {
                return Err("an unknown kind");
            }
            if (kind == "counter") && !name.ends_with("_total") {
                return Err("a counter whose name does not end in _total");
            }
            if self
                .kinds
                .insert(name.to_owned(), kind.to_owned())
                .is_some()
            {
                return Err("a second type");
            }
            name.clone_into(&mut self.current);
        } else if line.starts_with('#') || line.trim().is_empty() {
            return Err("a line without meaning");
        } else {
            let sample = sample(line)?;
            let is_current = match self.kinds.get(&self.current).map(String::as_str) {
                None => false,
                Some("histogram") => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| sample.name.strip_suffix(end) == Some(&self.current)),
                Some(_) => sample.name == self.current,
            };
            if !is_current {
                return Err("a value that is not below the type of its metric");
            }
            if !self
                .seen
                .insert((sample.name.clone(), sample.labels.clone()))
            {
                return Err("a series twice");
            }
            self.samples.push(sample);
        }
        Ok(())
    }

    /// Buckets grow up to the count, and every histogram has all its parts.
    fn check_histograms(&self) -> Result<(), String> {
        for (name, _) in self.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
            let part = |end: &str| {
                let name = format!("{name}{end}");
                self.samples.iter().filter(move |one| one.name == name)
            };
            let mut groups = BTreeMap::<_, Vec<(f64, f64)>>::new();
            for bucket in part("_bucket") {
                let mut labels = bucket.labels.clone();
                let bound = labels.remove("le").ok_or(format!("{name}: no le"))?;
                let bound = number(&bound).ok_or(format!("{name}: le is no number"))?;
                groups
                    .entry(labels)
                    .or_default()
                    .push((bound, bucket.value));
            }
            if groups.len() != part("_count").count() || groups.len() != part("_sum").count() {
                return Err(format!("{name}: its parts are not as many"));
            }
            for (labels, buckets) in groups {
                let grow = buckets
                    .windows(2)
                    .all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
                let total = part("_count")
                    .find(|one| one.labels == labels)
                    .map(|one| one.value);
                let last = buckets.last().copied();
                if !grow
                    || last.map(|last| last.0) != Some(f64::INFINITY)
                    || last.map(|last| last.1) != total
                {
                    return Err(format!("{name}: buckets do not grow to the count"));
                }
            }
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let fits = name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit());
    fits.then_some(()).ok_or("a name out of its grammar")
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        text if text.contains(|c: char| c.is_alphabetic() && c != 'e') => None,
        text => text.parse().ok(),
    }
}

fn sample(line: &str) -> Result<Sample, &'static str> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    check_name(name)?;
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inside.split_once("=\"").ok_or("a label without value")?;
            check_name(label)?;
            let (value, after) = quoted(after)?;
            if value.is_empty() || labels.insert(label.to_owned(), value).is_some() {
                return Err("an empty label, or one twice");
            }
            match after.strip_prefix(',') {
                Some(more) => inside = more,
                None => {
                    rest = after.strip_prefix('}').ok_or("labels without end")?;
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').and_then(number).ok_or("no number")?;
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// A value up to its closing quote, unescaped, and what follows.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                _ => return Err("an unknown escape"),
            }),
            c => value.push(c),
        }
    }
    Err("a quote without end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_well_formed_is_refused() {
        let good =
            "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"c\\\"\\n,}\"} 1\na_total 2\n";
        let samples = read(good).expect("it is well-formed");
        assert_eq!(samples[0].labels["b"], "c\"\n,}");
        let spread = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
        read(spread).expect("it is well-formed");
        for wrong in [
            "a 1\n",
            "# TYPE a gauge\na 1",
            "# TYPE a gauge\na 1\na 2\n",
            "# TYPE a gauge\n# TYPE a gauge\n",
            "# TYPE a gauge\n# HELP a late\n",
            "# TYPE a counter\na 1\n",
            "# TYPE a gauge\na{b=\"c} 1\n",
            "# TYPE a gauge\na{b=\"c\"d\"} 1\n",
            "# TYPE a gauge\na{b=\"\\x\"} 1\n",
            "# TYPE a gauge\na{0=\"c\"} 1\n",
            "# TYPE a gauge\na inf\n",
            "# TYPE a gauge\n\na 1\n",
            "# EOF\n",
            &spread.replace("h_count 2", "h_count 3"),
            &spread.replace("le=\"1\"} 1", "le=\"1\"} 5"),
            &spread.replace("h_sum 3\n", ""),
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
