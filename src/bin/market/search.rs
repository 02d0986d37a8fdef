//! `market search`: finds packages by words.

use ggen_marketplace::assemble::Layout;
use ggen_marketplace::control::{Hit, Hits};

use crate::access::Access;
use crate::output::{Output, Page, Shown, owner};

/// Columns that a description has at least: on a narrower terminal its lines are broken by the terminal.
const DESCRIPTION_MIN: usize = 16;
/// Columns between two columns of text.
const GAP: usize = 2;
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Words; without any, everything
    words: Vec<String>,
    /// Most packages to show
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=100))]
    limit: u16,
    /// Packages to pass over
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    offset: u16,
}

pub(crate) async fn run(args: Args, layout: &Layout, output: Output) -> anyhow::Result<()> {
    let access = Access::open(layout).await?;
    let found = search(&args, &access).await;
    access.close().await?;
    output.result(&found?, |found| shown(found, output.page()))
}

async fn search(args: &Args, access: &Access) -> anyhow::Result<Hits> {
    access.catch_up().await?;
    let words = args.words.join(" ");
    let (limit, offset) = (args.limit.into(), args.offset.into());
    Ok(access.client().search(&words, limit, offset).await?)
}

fn shown(found: &Hits, page: Page) -> String {
    if found.total == 0 {
        let names = found
            .did_you_mean
            .iter()
            .map(|name| Shown::new(name).to_string());
        let names = names.collect::<Vec<_>>().join(", ");
        return match names.as_str() {
            "" => "nothing found\n".to_owned(),
            names => format!("nothing found; did you mean {names}?\n"),
        };
    }
    let rows: Vec<_> = found.hits.iter().map(row).collect();
    let mut text = lines(&rows, page);
    let rest = found.total.saturating_sub(found.hits.len() as u64);
    if rest > 0 {
        text.push_str(&format!("{rest} more: --limit and --offset show them\n"));
    }
    text
}

/// A text, letter by letter, and which letters are marked.
type Cell = Vec<(char, bool)>;

/// Name, version, owner with what is thought of it, downloads, description.
fn row(hit: &Hit) -> [Cell; 5] {
    let plain = |text: String| text.chars().map(|letter| (letter, false)).collect();
    let who = match &hit.label {
        Some(label) => Shown::listed(label).to_string(),
        None => owner(&hit.owner),
    };
    let badge = hit.badge.as_deref().map(|badge| format!(" [{badge}]"));
    let copies = match hit.copies {
        0 => String::new(),
        copies => format!(" (+{copies} of others)"),
    };
    [
        marked(&hit.name, &hit.name_marks),
        plain(Shown::listed(&hit.version).to_string()),
        plain(format!("{who}{}{copies}", badge.unwrap_or_default())),
        plain(downloads(hit.downloads)),
        marked(&hit.description, &hit.description_marks),
    ]
}

/// A foreign text with its marks. What is not shown as it is stands there escaped, so that marks keep their places.
fn marked(text: &str, marks: &[(usize, usize)]) -> Cell {
    let letters = text.char_indices().flat_map(|(at, letter)| {
        let is_marked = marks
            .iter()
            .any(|(begin, end)| (*begin..*end).contains(&at));
        let mut bytes = [0; 4];
        let shown = Shown::whole(letter.encode_utf8(&mut bytes)).to_string();
        let shown: Vec<char> = shown.chars().collect();
        shown.into_iter().map(move |letter| (letter, is_marked))
    });
    letters.collect()
}

/// A number for people: `999`, `1.2k`, `34M`.
fn downloads(count: u64) -> String {
    let (divisor, unit) = match count {
        0..1_000 => return format!("{count}"),
        1_000..1_000_000 => (1_000, "k"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        _ => (1_000_000_000, "G"),
    };
    let tenths = count / (divisor / 10);
    match tenths {
        0..100 => format!("{}.{}{unit}", tenths / 10, tenths % 10),
        _ => format!("{}{unit}", tenths / 10),
    }
}

/// Aligned columns; the description gets what is left of the width. Long names are cut before it is.
fn lines(rows: &[[Cell; 5]], page: Page) -> String {
    let mut widths = [0; 5];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let room = page.columns.saturating_sub(4 * GAP + DESCRIPTION_MIN);
    // Names are the widest column that can be cut and still be told apart.
    let others: usize = widths[1..4].iter().sum();
    widths[0] = widths[0].min(room.saturating_sub(others).max(DESCRIPTION_MIN));
    let used: usize = widths[..4].iter().map(|width| width + GAP).sum();
    widths[4] = page.columns.saturating_sub(used).max(DESCRIPTION_MIN);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let left = width.saturating_sub(cell.len());
            // Numbers stand at the right.
            let before = if at == 3 { left } else { 0 };
            line.push_str(&" ".repeat(before));
            push(&mut line, cell, width, page.bold);
            line.push_str(&" ".repeat(left - before + GAP));
        }
        line.truncate(line.trim_end().len());
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Adds a cell, cut to a width.
fn push(line: &mut String, cell: &Cell, width: usize, bold: bool) {
    let cut = cell.len() > width;
    let shown = if cut {
        width.saturating_sub(1)
    } else {
        cell.len()
    };
    let mut is_bold = false;
    for &(letter, marked) in &cell[..shown] {
        if bold && marked != is_bold {
            line.push_str(if marked { BOLD } else { PLAIN });
            is_bold = marked;
        }
        line.push(letter);
    }
    if is_bold {
        line.push_str(PLAIN);
    }
    if cut {
        line.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(name: &str, badge: &str, downloads: u64, description: &str) -> Hit {
        Hit {
            namespace: "x".to_owned(),
            owner: "x".to_owned(),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            description: description.to_owned(),
            score: 1.0,
            downloads,
            copies: 0,
            name_marks: vec![(0, 4)],
            description_marks: vec![(6, 10)],
            label: Some("acme".to_owned()),
            badge: Some(badge.to_owned()),
        }
    }

    fn printed(hits: Vec<Hit>, columns: usize, bold: bool) -> String {
        let found = Hits {
            total: hits.len() as u64,
            hits,
            did_you_mean: Vec::new(),
        };
        shown(&found, Page { columns, bold })
    }

    #[test]
    fn columns_are_aligned_and_fit_the_width() {
        let hits = || {
            let long = "x".repeat(200);
            vec![
                hit("json", "trusted", 1_234, &format!("Reads json {long}")),
                hit("json-lines", "unverified", 0, "Reads json"),
            ]
        };
        assert_eq!(
            printed(hits(), 70, false),
            format!(
                "json        1.0.0  acme [trusted]     1.2k  Reads json {}…\n\
                 json-lines  1.0.0  acme [unverified]     0  Reads json\n",
                "x".repeat(14)
            )
        );
        for columns in [60, 80, 120, 300] {
            let text = printed(hits(), columns, false);
            assert!(
                text.lines().all(|line| line.chars().count() <= columns),
                "{text}"
            );
        }
        let long_name = vec![hit(&"n".repeat(64), "own", 5, "Short")];
        let text = printed(long_name, 80, false);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.contains("Short"), "{text}");
    }

    #[test]
    fn what_was_found_is_bold_on_a_terminal_only() {
        let hits = || vec![hit("json\x1b[2J", "own", 0, "Reads json\x1b[2J")];
        let bold = printed(hits(), 100, true);
        assert!(
            bold.starts_with("\x1b[1mjson\x1b[0m\\u{1b}[2J "),
            "{bold:?}"
        );
        assert!(
            bold.contains("Reads \x1b[1mjson\x1b[0m\\u{1b}[2J\n"),
            "{bold:?}"
        );
        assert!(!printed(hits(), 100, false).contains('\x1b'));
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0, 999, 1_000, 99_999, 123_456, 9_999_999, u64::MAX].map(downloads);
        assert_eq!(
            shown,
            ["0", "999", "1.0k", "99k", "123k", "9.9M", "18446744073G"]
        );
    }

    #[test]
    fn names_are_told_where_nothing_is_found() {
        let mut found = Hits::default();
        let page = Page {
            columns: 80,
            bold: false,
        };
        assert_eq!(shown(&found, page), "nothing found\n");
        found.did_you_mean = vec!["log".to_owned(), "lag".to_owned()];
        assert_eq!(
            shown(&found, page),
            "nothing found; did you mean log, lag?\n"
        );
    }
}
