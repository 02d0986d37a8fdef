//! The only printing: lines for people, JSON for programs, bars on a terminal.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use ggen_marketplace::control::{ControlError, explain};
use ggen_marketplace::protocols::id::OwnerId;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::termios::tcgetwinsize;
use serde::Serialize;
use zeroize::Zeroizing;

/// Most characters that are shown of one foreign text.
const SHOWN_CHARS_MAX: usize = 256;
/// Most characters that are shown of one in a list, where it shares its line.
const LISTED_CHARS_MAX: usize = 80;

/// Columns of a terminal that does not tell, and of what is no terminal.
const COLUMNS_USUAL: usize = 100;

/// How often a line moves while something is waited for.
const TICK: Duration = Duration::from_millis(100);

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints the result of a command: as JSON, or as what `human` makes of it.
    pub(crate) fn result<T: Serialize>(
        self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        // Some results are secrets.
        let text = Zeroizing::new(match self.json {
            true => json_line(value)?,
            false => human(value),
        });
        print(&text)
    }

    /// How wide the result may be, and whether parts of it may be made bold.
    #[allow(clippy::disallowed_methods)] // The command itself reads its environment.
    pub(crate) fn page(self) -> Page {
        let stdout = io::stdout();
        let size = tcgetwinsize(&stdout).map(|size| usize::from(size.ws_col));
        let columns = size.ok().filter(|columns| *columns > 0);
        Page {
            columns: columns.unwrap_or(COLUMNS_USUAL),
            bold: stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// Asks for something on standard error, without ending the line.
    #[allow(clippy::print_stderr)]
    pub(crate) fn prompt(self, text: &str) {
        eprint!("{text}");
    }

    /// Prints text that is the result itself, such as a file.
    pub(crate) fn raw(self, text: &str) -> anyhow::Result<()> {
        print(text)
    }

    /// Prints a line for people; nothing where programs read.
    pub(crate) fn line(self, line: impl fmt::Display) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        print(&format!("{line}\n"))
    }

    /// Prints a remark beside the result, on standard error.
    #[allow(clippy::print_stderr)]
    pub(crate) fn note(self, note: impl fmt::Display) {
        eprintln!("{}", Shown::whole(&note.to_string()));
    }

    /// Prints in one line why the command failed, and below it what the user may choose from, if that is why.
    #[allow(clippy::print_stderr)]
    pub(crate) fn error(self, error: &anyhow::Error) {
        eprintln!("error: {}", Shown::whole(&explain(error.as_ref())));
        let failed = error.chain().find_map(|cause| match cause.downcast_ref() {
            Some(ControlError::Failed(failure)) => Some(failure),
            _ => None,
        });
        for choice in failed
            .map(|failure| failure.choices.as_slice())
            .unwrap_or_default()
        {
            eprintln!("{}", Shown::whole(choice));
        }
    }

    /// A line that says what is waited for, where somebody watches; it must be finished or dropped.
    pub(crate) fn waiting(self, what: String) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{spinner} {msg}")
            .expect("the template above is of indicatif's grammar");
        let bar = ProgressBar::new_spinner().with_style(style);
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        bar
    }

    /// A bar that counts `unit`s up to `length`, where somebody watches; it must be finished or dropped.
    pub(crate) fn bar(self, length: u64, unit: Unit) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let template = match unit {
            Unit::Packages => "{bar:32} {pos}/{len} packages, {eta} left  {msg}",
            Unit::Bytes => "{bar:32} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
        };
        let style = ProgressStyle::with_template(template)
            .expect("the templates above are of indicatif's grammar");
        ProgressBar::new(length).with_style(style)
    }
}

/// What a bar counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    /// Packages.
    Packages,
    /// Bytes.
    Bytes,
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Whether whoever read our output stopped reading: nothing is wrong with the command then.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
}

/// JSON escapes control characters below 32 only; the others reach no terminal either.
fn json_line(value: &impl Serialize) -> anyhow::Result<String> {
    let json = serde_json::to_string(value)?;
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if is_shown(c) {
            line.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                write!(line, "\\u{unit:04x}")?;
            }
        }
    }
    line.push('\n');
    Ok(line)
}

/// What a result is printed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) columns: usize,
    pub(crate) bold: bool,
}

/// Text from elsewhere, made harmless for a terminal: no control characters, nothing that changes the
/// direction of writing or is invisible.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    text: &'a str,
    chars_max: usize,
}

impl<'a> Shown<'a> {
    /// The text, cut where it becomes too long for a field.
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            chars_max: SHOWN_CHARS_MAX,
        }
    }

    /// The text, cut where it becomes too long for a list.
    pub(crate) fn listed(text: &'a str) -> Self {
        Self {
            text,
            chars_max: LISTED_CHARS_MAX,
        }
    }

    /// The whole text.
    pub(crate) fn whole(text: &'a str) -> Self {
        Self {
            text,
            chars_max: usize::MAX,
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (at, c) in self.text.chars().enumerate() {
            if at == self.chars_max {
                text.push('…');
                break;
            }
            if is_shown(c) {
                text.push(c);
            } else if matches!(c, '\n' | '\t') {
                // What people wrote on two lines reads well on one.
                text.push(' ');
            } else {
                text.extend(c.escape_default());
            }
        }
        f.pad(&text)
    }
}

/// Whether a character is nothing that a terminal obeys or that hides or turns what stands around it.
pub(crate) fn is_shown(c: char) -> bool {
    let harmful = matches!(
        c,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !harmful
}

/// Lines of cells, aligned; the last cell of a line is not padded.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// A duration for people.
pub(crate) fn took(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    if millis < 10.0 {
        format!("{millis:.1} ms")
    } else if millis < 1000.0 {
        format!("{millis:.0} ms")
    } else {
        format!("{:.1} s", millis / 1000.0)
    }
}

/// An owner id for lists; any other text as it is.
pub(crate) fn owner(text: &str) -> String {
    match text.parse::<OwnerId>() {
        Ok(owner) => owner.short(),
        Err(_) => Shown::new(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOSTILE: &str = "a\x1b[2Jb\r\nlevel=ERROR\u{9b}31m\u{202e}gpj\u{200b}\u{7f}\u{e0041}end";
    const HARMFUL: &[char] = &[
        '\x1b',
        '\r',
        '\n',
        '\u{9b}',
        '\u{202e}',
        '\u{200b}',
        '\u{7f}',
        '\u{e0041}',
    ];

    #[test]
    fn no_control_character_of_foreign_text_is_shown() {
        let shown = Shown::new(HOSTILE).to_string();
        assert!(!shown.chars().any(|c| HARMFUL.contains(&c)), "{shown:?}");
        assert!(shown.starts_with("a\\u{1b}[2Jb\\r level"), "{shown}");
        assert_eq!(Shown::new("größer 漢字 'x'").to_string(), "größer 漢字 'x'");
    }

    #[test]
    fn long_foreign_text_is_cut() {
        let shown = Shown::new(&"x".repeat(1000)).to_string();
        assert_eq!(shown.chars().count(), SHOWN_CHARS_MAX + 1);
    }

    #[test]
    fn json_holds_the_same_text_without_a_control_character() {
        let line = json_line(&HOSTILE).unwrap();
        let inside = line.trim_end_matches('\n');
        assert!(!inside.chars().any(|c| HARMFUL.contains(&c)), "{line:?}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), HOSTILE);
    }

    #[test]
    fn columns_are_aligned() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect();
        let text = table(&[row(&["a", "bé", "c"]), row(&["long", "b"])]);
        assert_eq!(text, "a     bé  c\nlong  b\n");
    }
}
