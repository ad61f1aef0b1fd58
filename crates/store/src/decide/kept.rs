//! Results of queries beside the rows that they are of.

use super::{Results, done};
use crate::error::StoreFailure;
use crate::head::Head;
use crate::kept_results::{KeptResult, KeptResults, place_of};
use crate::key;
use crate::request::{Decision, KeepResults, Read, StoreName, StoreReply, WriteOp};
use crate::stored_schema;
use landfall_zql::Schema;

/// What tells whether kept results are what would be shown now; the head left out.
pub(super) fn reads() -> [Read; 3] {
    [
        key::get(StoreName::Head, key::SCHEMA),
        key::kept_range(),
        key::any(StoreName::Queue),
    ]
}

/// The results, if nothing has happened since: the rows are the same, and no mutation waits that is shown with them.
pub(super) fn read(
    head: Option<&[u8]>,
    schema: &Schema,
    results: Results,
) -> Result<Decision, StoreFailure> {
    Ok(Decision {
        writes: Vec::new(),
        reply: StoreReply::Kept(current(head, schema, results)?),
    })
}

// What cannot be read is as good as absent: whoever reads the rows tells of damage.
fn current(
    head: Option<&[u8]>,
    schema: &Schema,
    mut results: Results,
) -> Result<Vec<KeptResult>, StoreFailure> {
    let stored_schema = results.value()?;
    let kept = results.values()?;
    let queue = results.values()?;
    let head = head.and_then(|head| Head::decode(head).ok());
    let stored_schema = stored_schema.and_then(|bytes| stored_schema::decode(&bytes).ok());
    let (Some(head), true) = (
        head,
        queue.is_empty() && stored_schema.as_ref() == Some(schema),
    ) else {
        return Ok(Vec::new());
    };
    let kept = kept
        .iter()
        .filter_map(|bytes| KeptResults::decode(bytes).ok());
    let current = kept.filter(|kept| kept.are_at(&head.group_id, head.cookie.as_deref()));
    Ok(current.flat_map(|kept| kept.results).collect())
}

/// Keeps what a page shows, in place of all at other cookies, and of what one that shows the same first kept before.
/// Nothing is read for it: a page that is about to go gets to write only what it can write at once.
pub(super) fn keep(group_id: &str, keep: &KeepResults) -> Decision {
    let cookie = &keep.cookie;
    let kept = KeptResults::of(group_id, cookie, keep.results.iter().cloned());
    let key = key::kept(cookie, place_of(&keep.results));
    let put = key::put(StoreName::Head, key, kept.encode());
    let others = key::around_kept(cookie).into_iter().map(delete);
    done(others.chain([put]).collect())
}

/// Gives their room back; that they are void is found out by whoever reads them.
pub(super) fn forget() -> WriteOp {
    delete(key::all_kept())
}

fn delete((from, until): (Vec<u8>, Vec<u8>)) -> WriteOp {
    WriteOp::DeleteRange {
        store: StoreName::Head,
        from,
        until,
    }
}
