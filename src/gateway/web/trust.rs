//! Why an owner is relied on here, or is not, in words.

use ggen_protocols::id::OwnerId;
use ggen_protocols::trust::{FULL, Level};

use super::shown::{Mark, clip};
use crate::registry::{OwnerStatus, OwnerTrust};

/// Reasons that are listed for one owner: there may be as many as there are anchors.
const REASONS_MAX: usize = 12;
/// Characters of a reason that somebody gave.
const WORDS_MAX: usize = 200;

/// An owner as a page shows it.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) id: String,
    pub(super) mark: Mark,
    /// Its label, or its short id.
    pub(super) called: String,
    pub(super) badge: Badge,
    /// What is wrong with its documents, if something is.
    pub(super) warning: Option<&'static str>,
    pub(super) score: u8,
    pub(super) reasons: Vec<Reason>,
    /// What others say, good and bad.
    pub(super) said: Vec<Said>,
}

/// A word for how far an owner is relied on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Badge {
    pub(super) word: &'static str,
    /// Its class in the style sheet.
    pub(super) class: &'static str,
    pub(super) meaning: &'static str,
}

impl Badge {
    fn of(word: &'static str) -> Self {
        let (class, meaning) = match word {
            "own" => ("good", "this node publishes as this owner"),
            "pinned" => (
                "good",
                "you chose this owner for this name, or used its package before",
            ),
            "trusted" => ("good", "those whom you rely on vouch for it fully"),
            "partly trusted" => ("fair", "some of those whom you rely on vouch for it"),
            "distrusted" => ("bad", "somebody whom you rely on fully distrusts it"),
            "blocked" => ("bad", "you blocked it"),
            _ => ("none", "nobody you rely on vouches for it"),
        };
        Self {
            word,
            class,
            meaning,
        }
    }
}

/// Why an owner is relied on: a sentence, with the owners on the way.
#[derive(Debug, Clone)]
pub(super) struct Reason {
    pub(super) words: String,
    pub(super) way: Vec<Named>,
}

/// An owner that is named.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) id: String,
    pub(super) called: String,
}

/// What one owner says of another.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) by: Named,
    pub(super) words: &'static str,
    pub(super) calls_it: Option<String>,
    pub(super) reason: String,
}

impl From<&OwnerTrust> for Owner {
    fn from(trust: &OwnerTrust) -> Self {
        let id = trust.owner.to_string();
        let said = trust.endorsed_by.iter().take(REASONS_MAX);
        Self {
            mark: Mark::of(&id),
            called: trust.label.clone().unwrap_or_else(|| trust.owner.short()),
            badge: Badge::of(trust.badge()),
            warning: warning(trust.status),
            score: trust.score,
            reasons: reasons(trust),
            said: said
                .map(|said| Said {
                    by: named(trust, said.issuer),
                    words: level(said.level),
                    calls_it: said.label.clone(),
                    reason: clip(&said.reason, WORDS_MAX),
                })
                .collect(),
            id,
        }
    }
}

fn warning(status: OwnerStatus) -> Option<&'static str> {
    match status {
        OwnerStatus::Active => None,
        OwnerStatus::Frozen => Some(
            "Frozen: its root key signed two documents that contradict each other. Nothing new counts until its recovery key speaks.",
        ),
        OwnerStatus::Dead => {
            Some("Dead: its recovery key was used twice. Nothing of it will ever count again.")
        }
        OwnerStatus::Unknown => {
            Some("No document of this owner is known here yet; it may still come from a peer.")
        }
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Distrust => "distrusts it",
        Level::None => "took its word back",
        Level::Partial => "vouches for it in part",
        Level::Full => "vouches for it fully",
    }
}

fn named(trust: &OwnerTrust, owner: OwnerId) -> Named {
    let label = trust.labels.get(&owner).cloned();
    Named {
        id: owner.to_string(),
        called: label.unwrap_or_else(|| owner.short()),
    }
}

fn reasons(trust: &OwnerTrust) -> Vec<Reason> {
    let plain = |words: String| Reason {
        words,
        way: Vec::new(),
    };
    let mut reasons = Vec::new();
    if let Some(why) = &trust.blocked {
        reasons.push(plain(match why.is_empty() {
            true => "You blocked it.".to_owned(),
            false => format!("You blocked it: {}", clip(why, WORDS_MAX)),
        }));
    }
    if let Some(by) = trust.vetoed_by {
        reasons.push(Reason {
            words: "Distrusted by one whom you rely on fully:".to_owned(),
            way: vec![named(trust, by)],
        });
    }
    if trust.own {
        reasons.push(plain("This node publishes as it.".to_owned()));
    }
    if trust.pinned {
        reasons.push(plain(
            "On this node the bare name means this owner.".to_owned(),
        ));
    }
    if let Some(anchor) = trust.anchor {
        let how = if anchor.weight >= FULL {
            "fully"
        } else {
            "in part"
        };
        reasons.push(plain(format!("You rely on it {how}.")));
    }
    for path in &trust.paths {
        // A way of one is the anchor or own namespace itself, said above.
        if path.owners.len() > 1 {
            reasons.push(Reason {
                words: format!("Adds {} of {FULL}: you rely on", path.weight),
                way: path
                    .owners
                    .iter()
                    .map(|owner| named(trust, *owner))
                    .collect(),
            });
        }
    }
    reasons.truncate(REASONS_MAX);
    if reasons.is_empty() {
        reasons.push(plain("Nobody you rely on vouches for it.".to_owned()));
    }
    reasons
}
