//! Folding: moving log records into pages, so that start-up reads little and the log stays short.
//!
//! Only pages that a record touches are written anew; those that have become small are joined with the next.

use crate::loaded::{Loaded, merge};
use crate::page::{PageWriter, SMALL_PAGE_BYTES};
use crate::request::FoldPlan;
use landfall_zql::{Key, Row, TableId};

/// Plans the fold of all log records that were loaded.
///
/// The plan is carried out by [`crate::StoreOp::Fold`]; records appended meanwhile stay in the log, and a fold or
/// snapshot that came first makes the plan void.
pub fn plan_fold(loaded: &Loaded) -> FoldPlan {
    let overlay = loaded.overlay();
    let mut changes: Vec<((TableId, Key), Option<Row>)> = overlay.rows.into_iter().collect();
    let mut writer = PageWriter::default();
    let mut removed = Vec::new();
    for (index, page) in loaded.pages.iter().enumerate() {
        if overlay.clear {
            removed.push(page.number);
            continue;
        }
        let next = loaded
            .pages
            .get(index + 1)
            .and_then(|next| next.rows.first());
        let upper =
            next.map(|(table, row)| (*table, loaded.schema.tables[table.0 as usize].key_of(row)));
        let touching = match &upper {
            Some(upper) => changes.partition_point(|(key, _)| key < upper),
            None => changes.len(),
        };
        let joins = (1..SMALL_PAGE_BYTES).contains(&writer.open_bytes());
        let lonely = page.bytes < SMALL_PAGE_BYTES && next.is_some();
        if touching == 0 && !joins && !lonely {
            writer.close_page();
            continue;
        }
        removed.push(page.number);
        let rows = page.rows.iter().cloned();
        merge(
            &loaded.schema,
            rows,
            changes.drain(..touching),
            |table, row| writer.push(table, &row),
        );
    }
    // Left only if there were no pages, or they are void.
    for ((table, _), row) in changes {
        if let Some(row) = row {
            writer.push(table, &row);
        }
    }
    FoldPlan {
        generation: loaded.head.pages_generation,
        log_first: loaded.head.log_first,
        log_until: loaded.head.log_next,
        log_bytes: loaded.log_bytes,
        removed,
        pages: writer.finish(),
        queries: loaded.folded_queries(),
    }
}
