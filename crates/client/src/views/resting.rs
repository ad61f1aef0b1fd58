//! Queries whose views were closed a while ago. They are kept current, so that showing one of them again reads nothing.
//!
//! They cost a push for each change of what they read, so there are few, and each follows a limited number of changes.
//! They hold no handles: JavaScript keeps the newest rows that nothing shows in any case.

use crate::views::{OpenView, read};
use landfall_ivm::{Entry, MemorySource, SourceChange};

/// So many queries rest at the same time.
const MOST_QUERIES: usize = 8;

/// After so many changes of what it reads nobody is likely to come back to a query.
const MOST_CHANGES: u32 = 256;

pub(crate) struct Resting {
    /// The one that was closed last is at the end.
    queries: Vec<RestingQuery>,
    /// So many rows the results of all may have when they begin to rest.
    most_rows: usize,
}

struct RestingQuery {
    open: OpenView,
    rows: usize,
    changes: u32,
}

impl Resting {
    pub(crate) fn new(most_rows: usize) -> Resting {
        Resting {
            queries: Vec::new(),
            most_rows,
        }
    }

    /// Keeps the query of a view that was closed; gives the queries that have to go for it, or itself.
    pub(crate) fn rest(&mut self, open: OpenView) -> impl Iterator<Item = OpenView> + use<> {
        let own = count(open.query.entries());
        // What is not filled has nothing to keep, and what is too large would only send the others away.
        let is_kept = open.query.is_hydrated() && own <= self.most_rows;
        let place = if is_kept { self.queries.len() } else { 0 };
        let resting = RestingQuery {
            open,
            rows: own,
            changes: 0,
        };
        self.queries.insert(place, resting);
        let mut rows: usize = self.queries.iter().map(|query| query.rows).sum();
        let mut gone = 0;
        while rows > self.most_rows
            || self.queries.len() - gone > MOST_QUERIES
            || (!is_kept && gone == 0)
        {
            rows -= self.queries[gone].rows;
            gone += 1;
        }
        let gone: Vec<RestingQuery> = self.queries.drain(..gone).collect();
        gone.into_iter().map(|query| query.open)
    }

    /// The query of this text, if it rests, as it is now.
    pub(crate) fn take(&mut self, text: &str) -> Option<OpenView> {
        let same = |query: &RestingQuery| *query.open.text == *text;
        let place = self.queries.iter().rposition(same)?;
        Some(self.queries.remove(place).open)
    }

    /// The source is about to change. Gives the queries that have followed enough.
    pub(crate) fn follow(
        &mut self,
        source: &MemorySource,
        change: &SourceChange,
    ) -> impl Iterator<Item = OpenView> + use<> {
        let mut gone = Vec::new();
        let mut at = 0;
        while let Some(resting) = self.queries.get_mut(at) {
            let query = &mut resting.open.query;
            if query.pipeline().reads(change.table) {
                resting.changes += 1;
                if resting.changes > MOST_CHANGES {
                    gone.push(self.queries.remove(at));
                    continue;
                }
                read(query.push(source, change));
                // Nobody is told.
                drop(query.take_deltas());
            }
            at += 1;
        }
        gone.into_iter().map(|query| query.open)
    }

    /// None rests any more.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = OpenView> + use<> {
        let all = std::mem::take(&mut self.queries);
        all.into_iter().map(|query| query.open)
    }

    /// Those that rest.
    pub(crate) fn queries(&self) -> impl DoubleEndedIterator<Item = &OpenView> {
        self.queries.iter().map(|query| &query.open)
    }
}

pub(crate) fn count(entries: &[Entry]) -> usize {
    let children = entries.iter().flat_map(|entry| &entry.children);
    let below: usize = children.map(|list| count(list)).sum();
    entries.len() + below
}
