//! What changed of the decisions of a node's user while it is open, and whom each change concerns: what follows from
//! a decision has to be made anew, and nothing else.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ggen_protocols::id::CanonicalName;

/// Changes that are remembered one by one, of a name each: as many as a build of a thousand packages makes.
const REMEMBERED_MAX: usize = 1024;

/// What a change of decisions concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Concern {
    /// Packages of this name, whosever they are.
    Name(CanonicalName),
    /// Anything.
    All,
}

/// Counts the changes, and remembers what the last ones concern.
#[derive(Debug, Default)]
pub struct Decisions(Mutex<Changes>);

#[derive(Debug, Default)]
struct Changes {
    count: u64,
    /// What the last changes concern; the newest is number `count`.
    last: VecDeque<Concern>,
}

impl Decisions {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.changes().count
    }

    /// The names that the changes after the first `seen` concern; nothing if they may concern anything.
    pub fn since(&self, seen: u64) -> Option<Vec<CanonicalName>> {
        let changes = self.changes();
        let new = usize::try_from(changes.count.saturating_sub(seen)).ok()?;
        let first = changes.last.len().checked_sub(new)?;
        let names = changes.last.range(first..).map(|concern| match concern {
            Concern::Name(name) => Some(name.clone()),
            Concern::All => None,
        });
        names.collect()
    }

    /// Counts one more, once it holds for whoever reads.
    pub(crate) fn add(&self, concern: Concern) {
        let mut changes = self.changes();
        if changes.last.len() == REMEMBERED_MAX {
            changes.last.pop_front();
        }
        changes.last.push_back(concern);
        changes.count += 1;
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        // Whatever a panic left, at worst a change is remembered that was not counted: the one before is told twice.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(number: usize) -> Concern {
        Concern::Name(format!("n{number}").parse().unwrap())
    }

    #[test]
    fn names_are_told_until_something_concerns_all_or_is_forgotten() {
        let decisions = Decisions::default();
        assert_eq!(decisions.since(0), Some(vec![]));
        for number in 1..=3 {
            decisions.add(named(number));
        }
        assert_eq!(decisions.count(), 3);
        let told = |seen| {
            let names = decisions.since(seen)?;
            Some(names.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(told(1).unwrap(), ["n2", "n3"]);
        assert_eq!(told(3).unwrap(), [""; 0]);
        decisions.add(Concern::All);
        assert_eq!(told(3), None);
        assert_eq!(told(4).unwrap(), [""; 0]);
        for number in 0..REMEMBERED_MAX {
            decisions.add(named(number));
        }
        assert_eq!(told(4).unwrap().len(), REMEMBERED_MAX);
        assert_eq!(told(3), None);
    }
}
