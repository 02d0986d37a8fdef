//! A name that means nobody here: what the user is told, and which command decides.

use std::fmt;

use ggen_protocols::id::CanonicalName;
use ggen_protocols::trust::FULL;

use super::policy::{Claimant, Claimants};

/// Claimants that are shown; `market info` with an owner id shows any.
pub(crate) const SHOWN_MAX: usize = 5;

/// Why a name means nobody, and who claims it.
///
/// Its text names nothing that two nodes with the same records and decisions could see differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contested {
    /// The label that stood before the name.
    pub label: Option<String>,
    /// The name.
    pub name: CanonicalName,
    /// Who claims it.
    pub claimants: Claimants,
}

impl std::error::Error for Contested {}

impl fmt::Display for Contested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.label.as_ref().map(|label| format!("{label}/"));
        let wanted = format!("{}{}", label.unwrap_or_default(), self.name);
        let shown = &self.claimants.shown;
        let trusted = shown.iter().filter(|claimant| claimant.score >= FULL);
        let (more, least) = match self.claimants.is_more {
            true => (" or more", "at least "),
            false => ("", ""),
        };
        match (self.claimants.total, trusted.count()) {
            (0, _) => write!(
                f,
                "too many owners publish `{0}` here to look for the one that `{wanted}` means; `ns1…/{0}` always works",
                self.name
            )?,
            (1, _) if !self.claimants.is_more => write!(
                f,
                "`{wanted}` is claimed by one owner here, whom nobody you rely on vouches for"
            )?,
            (total, 0) => write!(
                f,
                "`{wanted}` is claimed by {total}{more} owners here and none is trusted"
            )?,
            (total, trusted) => write!(
                f,
                "`{wanted}` is claimed by {total}{more} owners here and {trusted} of them are trusted"
            )?,
        }
        let rows: Vec<_> = shown.iter().map(row).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let (first, second, third) = (width(0), width(1), width(2));
        for (row, claimant) in rows.iter().zip(shown) {
            write!(
                f,
                "\n  {:first$}  {:second$}  {:third$}  market use {wanted} {}",
                row[0], row[1], row[2], claimant.owner
            )?;
        }
        let rest = self.claimants.total.saturating_sub(shown.len() as u64);
        if rest > 0 {
            write!(
                f,
                "\n  and {least}{rest} more: `ns1…/{}` always works",
                self.name
            )?;
        }
        Ok(())
    }
}

fn row(claimant: &Claimant) -> [String; 3] {
    let label = claimant.label.as_deref().unwrap_or("(none)");
    let versions = match claimant.versions {
        1 => "1 version".to_owned(),
        several => format!("{several} versions"),
    };
    let vouched = match (claimant.score, claimant.vouched_by.as_slice()) {
        (0, _) => String::new(),
        (score, []) => format!(", relied on by you, {score} of 3"),
        (score, by) => format!(", vouched for by {score} of 3 ({})", by.join(", ")),
    };
    [
        label.to_owned(),
        claimant.owner.short(),
        format!("{versions}{vouched}"),
    ]
}
