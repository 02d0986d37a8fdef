//! What was applied and is not in the committed index yet: it is shown at once, and hides what it replaces.

use std::collections::HashMap;
use std::sync::Arc;

use super::rank::{Place, Plan, Stage, Term};
use super::schema::Page;

/// One change of one package's entry.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) hash: u64,
    /// What is shown of it from now on; nothing if it is gone.
    pub(crate) page: Option<Arc<Page>>,
}

/// The changes that a search adds to the committed index. Bounded by who fills it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overlay {
    changes: HashMap<u64, (u64, Option<Arc<Page>>)>,
}

impl Overlay {
    /// Adds changes that belong to this ticket; the last one of a package counts.
    pub(crate) fn add(&mut self, ticket: u64, changes: &[Change]) {
        for change in changes {
            self.changes
                .insert(change.hash, (ticket, change.page.clone()));
        }
    }

    /// Drops what the committed index shows itself now.
    pub(crate) fn drop_up_to(&mut self, ticket: u64) {
        self.changes.retain(|_, (own, _)| *own > ticket);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether the committed document with this key is out of date.
    pub(crate) fn hides(&self, key: u64) -> bool {
        self.changes.contains_key(&key)
    }

    /// What is shown of the package with this key; nothing if it did not change.
    pub(crate) fn get(&self, key: u64) -> Option<Option<&Arc<Page>>> {
        self.changes.get(&key).map(|(_, page)| page.as_ref())
    }

    /// All packages that changed and are still there.
    pub(crate) fn pages(&self) -> impl Iterator<Item = &Arc<Page>> {
        self.changes.values().filter_map(|(_, page)| page.as_ref())
    }

    /// Whether a word stands in a waiting change as it was typed.
    pub(crate) fn knows(&self, term: &Term) -> bool {
        self.pages().any(|page| term.is_in(&page.card))
    }

    /// What fits the plan, and where it stands.
    pub(crate) fn search<'a>(
        &'a self,
        plan: &'a Plan,
        stage: Stage,
    ) -> impl Iterator<Item = (Place, &'a Arc<Page>)> {
        self.pages()
            .filter_map(move |page| Some((plan.find(stage, &page.card)?, page)))
    }
}
