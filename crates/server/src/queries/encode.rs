//! Row changes as text, once for everyone.

use landfall_zql::{Names, Row, Schema};
use twox_hash::XxHash3_128;

use super::accounting::RowKey;
use super::poke_body::{BodyWriter, PokeBody};
use crate::cvr::StateVersion;

/// Encodes row changes; `None` if there are none.
pub(super) fn encode<'a>(
    schema: &Schema,
    point: StateVersion,
    dels: impl IntoIterator<Item = &'a RowKey>,
    puts: impl IntoIterator<Item = (&'a RowKey, &'a Row)>,
) -> Option<PokeBody> {
    let poke_id = landfall_protocol::StateVersion(point).to_string();
    let mut body = BodyWriter::new(poke_id);
    for key in dels {
        let table = &schema[key.table];
        if table.columns.is_empty() {
            // The table itself is gone; no client can hold its rows under a schema that is still served.
            continue;
        }
        body.del(&table.server_name, |out| {
            table.key_to_json(&key.key, Names::Server, out)
        });
    }
    let mut rows = 0_u64;
    for (key, row) in puts {
        rows += 1;
        let table = &schema[key.table];
        body.put(&table.server_name, |out| {
            table.row_to_json(row, Names::Server, out)
        });
    }
    metrics::counter!("landfall_rows_encoded_total").increment(rows);
    body.finish()
}

/// What is stored of a row's contents, to notice a change made while no pipeline watched.
pub(super) fn fingerprint(row: &Row) -> u128 {
    XxHash3_128::oneshot(row.bytes())
}
