//! Folding: moving log records into pages, so that start-up reads little and the log stays short.
//!
//! Only pages that a record touches are read and written anew; those that have become small are joined with the next.

use crate::error::StoreFailure;
use crate::page::QuerySets;
use crate::page::{PageWriter, SMALL_PAGE_BYTES};
use crate::request::FoldPlan;
use crate::state_reader::{STEP_ROWS, StateReader};
use crate::unread::Unread;
use landfall_zql::{Key, TableId};

/// Plans the fold of everything that was loaded, at once.
///
/// # Errors
/// What is stored is damaged.
pub fn plan_fold(unread: Unread) -> Result<FoldPlan, StoreFailure> {
    let mut planning = FoldPlanning::new(unread)?;
    while planning.step()?.is_some() {}
    Ok(planning.finish())
}

/// A fold of all log records that were loaded, planned in steps.
///
/// The plan is carried out by [`crate::StoreOp::Fold`]; records appended meanwhile stay in the log, and a fold or
/// snapshot that came first makes the plan void.
#[derive(Debug)]
pub struct FoldPlanning {
    reader: StateReader,
    writer: PageWriter,
    at: At,
    /// All that becomes of the log; the pages are added at the end.
    plan: FoldPlan,
}

/// Where the next step goes on.
#[derive(Debug)]
enum At {
    Log,
    /// Before a page, or before what the log adds after the last one.
    Page,
    /// Inside of a page that is written anew, of those not read yet the first; so many are left behind it.
    Rows {
        left: usize,
        next: Option<(TableId, Key)>,
    },
    /// Before the first row of the next page.
    Gap((TableId, Key)),
}

impl FoldPlanning {
    /// Begins with what came out of storage.
    ///
    /// # Errors
    /// A page cannot be read at all.
    pub fn new(mut unread: Unread) -> Result<FoldPlanning, StoreFailure> {
        let log_bytes = unread.log.iter().map(|value| value.len() as u64).sum();
        let reader = StateReader::new(&mut unread)?;
        Ok(FoldPlanning {
            plan: FoldPlan {
                generation: unread.head.pages_generation,
                log_first: unread.head.log_first,
                log_until: unread.head.log_next,
                log_bytes,
                // Unless it turns out that they stay.
                removed: reader.page_numbers(),
                pages: PageWriter::default().finish(),
                queries: QuerySets::default(),
            },
            reader,
            writer: PageWriter::default(),
            at: At::Log,
        })
    }

    /// Goes on for a moment. How much work it was, in rows; `None` when everything was planned before.
    ///
    /// # Errors
    /// What is stored is damaged.
    pub fn step(&mut self) -> Result<Option<usize>, StoreFailure> {
        match std::mem::replace(&mut self.at, At::Page) {
            At::Log => {
                let rows = self.reader.read_log()?;
                if rows.is_some() {
                    self.at = At::Log;
                } else if self.reader.pages_left() > 0 {
                    self.plan.removed.clear();
                }
                Ok(rows.or(Some(1)))
            }
            At::Page => self.begin_page(),
            At::Rows { left, next } => {
                let writer = &mut self.writer;
                let rows = self
                    .reader
                    .read_rows(&mut |table, rows| writer.push_all(table, rows))?;
                self.at = match next {
                    _ if self.reader.pages_left() > left => At::Rows { left, next },
                    Some(next) => At::Gap(next),
                    None => At::Page,
                };
                Ok(Some(rows.unwrap_or(1)))
            }
            At::Gap(next) => {
                let writer = &mut self.writer;
                let rows = self
                    .reader
                    .read_changes_before(&next, &mut |table, rows| writer.push_all(table, rows));
                if rows == STEP_ROWS {
                    self.at = At::Gap(next);
                }
                Ok(Some(rows + 1))
            }
        }
    }

    /// Leaves a page as it is or begins to write it anew.
    fn begin_page(&mut self) -> Result<Option<usize>, StoreFailure> {
        let Some(page) = self.reader.next_page() else {
            // Left only if there were no pages, or they are void.
            let writer = &mut self.writer;
            return self
                .reader
                .read_rows(&mut |table, rows| writer.push_all(table, rows));
        };
        let joins = (1..SMALL_PAGE_BYTES).contains(&self.writer.open_bytes());
        let is_lonely = page.bytes < SMALL_PAGE_BYTES && page.next.is_some();
        if page.is_touched || joins || is_lonely {
            self.plan.removed.push(page.number);
            let left = self.reader.pages_left() - 1;
            self.at = At::Rows {
                left,
                next: page.next,
            };
        } else {
            self.writer.close_page();
            self.reader.skip_page();
        }
        Ok(Some(1))
    }

    /// The plan; after the last step.
    pub fn finish(self) -> FoldPlan {
        FoldPlan {
            pages: self.writer.finish(),
            queries: self.reader.into_queries(),
            ..self.plan
        }
    }
}
