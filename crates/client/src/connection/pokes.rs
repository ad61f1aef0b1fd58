//! Pokes: from parts on the wire to one patch for the rebase.
//!
//! A message is read in pieces or at once; its rows are packed as they come. A poke is assembled from its start, parts
//! and end; finished ones wait in a buffer and are merged, oldest first, into one patch. The rules about overlaps and cookies are here; what a patch does to the rows is the rebase's.

use crate::effect::{ErrorSource, MutationError, Outcome};
use crate::mutations::MutationKey;
use crate::queries::QueryChange;
use landfall_protocol::{
    DownQueryOp, Downstream, MutationOp, MutationResult, PieceReader, PokeEnd, PokePart, PokeStart,
    ProtocolError, RowOp,
};
use landfall_store::RowChange;
use landfall_zql::sorted_map::{SortedMap, SortedSet};
use landfall_zql::{Names, Quoted, RowReader, Schema};

/// One poke, or several merged: what the server says happened between two cookies.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Poke {
    /// The cookie that it starts from; `None` is the empty state.
    pub(crate) base: Option<String>,
    /// The cookie that it leads to.
    pub(crate) cookie: String,
    /// Everything known before is void.
    pub(crate) cleared: bool,
    /// Rows that are now like this, or absent; the last change of a row counts.
    pub(crate) rows: Vec<RowChange>,
    /// Last mutation id of clients.
    pub(crate) confirmed: SortedMap<String, u64>,
    /// How mutations ended that did not simply succeed.
    pub(crate) results: SortedMap<MutationKey, Outcome>,
    /// Mutations whose stored result appeared or went away: acknowledged up to the largest of each client.
    pub(crate) result_changes: SortedSet<MutationKey>,
    /// Changes of the queries that are answered.
    pub(crate) got: Vec<QueryChange>,
    /// Changes of the queries that this client is known to want.
    pub(crate) desired: Vec<QueryChange>,
    /// It was read from storage, where another tab had put it; the number of the log record after it.
    pub(crate) stored: Option<u64>,
}

impl Poke {
    /// Whether the poke leads anywhere.
    pub(crate) fn moves(&self) -> bool {
        self.base.as_deref() != Some(self.cookie.as_str())
    }

    fn clear(&mut self) {
        self.cleared = true;
        self.rows.clear();
        self.results.clear();
        self.got = vec![QueryChange::Clear];
        self.desired = vec![QueryChange::Clear];
    }

    /// Adds a poke that follows this one.
    fn merge(&mut self, next: Poke) {
        if next.cleared {
            self.clear();
            // The next one says so itself.
            self.got.clear();
            self.desired.clear();
        }
        self.cookie = next.cookie;
        self.stored = next.stored;
        self.rows.extend(next.rows);
        self.confirmed.extend(next.confirmed);
        self.results.extend(next.results);
        self.result_changes.extend(next.result_changes);
        self.got.extend(next.got);
        self.desired.extend(next.desired);
    }
}

/// Why a poke cannot be used. All but [`PokeError::UnexpectedBase`] are faults of the server.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum PokeError {
    #[error("poke {} starts while poke {} is open", Quoted(.new), Quoted(.open))]
    Overlap { open: String, new: String },
    #[error("a part or end of poke {} came without its start", Quoted(.0))]
    NotOpen(String),
    #[error(
        "a poke continues from cookie {}, but the one before it ended at {}",
        Quoted(.base), Quoted(.cookie)
    )]
    Gap { base: String, cookie: String },
    #[error("a poke leads from cookie {} back to {}", Quoted(.from), Quoted(.to))]
    Backwards { from: String, to: String },
    #[error("the last mutation id of client {} went from {from} back to {to}", Quoted(.client))]
    MutationIdBackwards { client: String, from: u64, to: u64 },
    #[error("a row of a poke is not usable: {0}")]
    Row(String),
    #[error("this client cannot apply row updates")]
    RowUpdate,
    /// Another tab or a restart changed what is stored: reconnect with the present cookie.
    #[error("a poke starts from cookie {}, but this client is at {}", shown(.base), shown(.cookie))]
    UnexpectedBase {
        base: Option<String>,
        cookie: Option<String>,
    },
}

fn shown(cookie: &Option<String>) -> &str {
    cookie.as_deref().unwrap_or("none")
}

/// Why a message cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Message(#[from] ProtocolError),
    #[error(transparent)]
    Poke(#[from] PokeError),
}

/// What the row operations of a part come to.
#[derive(Debug, Default)]
pub(crate) struct PartRows {
    rows: Vec<RowChange>,
    reader: RowReader,
    /// One of them voids everything.
    clears: bool,
}

/// A message of the server that is being read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    reader: PieceReader,
    rows: PartRows,
}

impl Reading {
    /// Takes the next piece of the text. Without a schema rows are nobody's business.
    pub(crate) fn take(&mut self, piece: &[u8], schema: Option<&Schema>) -> Result<(), Refusal> {
        let rows = &mut self.rows;
        self.reader.push(piece, &mut |text| {
            Ok(rows.apply(RowOp::decode(text)?, schema)?)
        })
    }

    pub(crate) fn take_rows(&mut self) -> PartRows {
        std::mem::take(&mut self.rows)
    }

    /// The message but for its rows, at the end of the text.
    pub(crate) fn message(&self) -> Result<Downstream<'_>, ProtocolError> {
        self.reader.finish()
    }
}

/// Pokes are merged as long as they hold no more rows than this together.
const MERGED_ROWS: usize = 500;

#[derive(Debug)]
struct Open {
    id: String,
    poke: Poke,
}

/// The pokes of the present connection.
#[derive(Debug, Default)]
pub(crate) struct Pokes {
    open: Option<Open>,
    finished: Vec<Poke>,
}

impl Pokes {
    /// The connection is gone: what was not applied will come again.
    pub(crate) fn reset(&mut self) {
        self.open = None;
        self.finished.clear();
    }

    pub(crate) fn start(&mut self, start: PokeStart) -> Result<(), PokeError> {
        if let Some(open) = &self.open {
            return Err(PokeError::Overlap {
                open: open.id.clone(),
                new: start.poke_id,
            });
        }
        let poke = Poke {
            base: start.base_cookie,
            ..Poke::default()
        };
        self.open = Some(Open {
            id: start.poke_id,
            poke,
        });
        Ok(())
    }

    pub(crate) fn part(
        &mut self,
        part: PokePart<'_>,
        rows: PartRows,
        client: &str,
    ) -> Result<(), PokeError> {
        let open = match &mut self.open {
            Some(open) if open.id == part.poke_id => open,
            _ => return Err(PokeError::NotOpen(part.poke_id.into_owned())),
        };
        let poke = &mut open.poke;
        poke.confirmed.extend(part.last_mutation_id_changes);
        // Any clear voids everything, and stands before what its part says besides.
        let clears = rows.clears
            || part.got_queries_patch.contains(&DownQueryOp::Clear)
            || part
                .desired_queries_patches
                .values()
                .flatten()
                .any(|op| *op == DownQueryOp::Clear);
        if clears {
            poke.clear();
        }
        if let Some(ops) = part.desired_queries_patches.get(client) {
            poke.desired.extend(ops.iter().filter_map(query_change));
        }
        poke.got
            .extend(part.got_queries_patch.iter().filter_map(query_change));
        match poke.rows.is_empty() {
            true => poke.rows = rows.rows,
            false => poke.rows.extend(rows.rows),
        }
        for op in part.mutations_patch {
            apply_mutation_op(poke, op);
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, end: PokeEnd) -> Result<(), PokeError> {
        let mut open = match self.open.take() {
            Some(open) if open.id == end.poke_id => open,
            other => {
                self.open = other;
                return Err(PokeError::NotOpen(end.poke_id));
            }
        };
        if !end.cancel {
            open.poke.cookie = end.cookie;
            self.finished.push(open.poke);
        }
        Ok(())
    }

    /// Another tab's pokes, read from storage.
    pub(crate) fn follow(&mut self, pokes: Vec<Poke>) {
        self.finished.extend(pokes);
    }

    /// Whether a finished poke waits.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.finished.is_empty()
    }

    /// All finished pokes as one, checked against the cookie and the last mutation ids that this client is at.
    pub(crate) fn take_merged(
        &mut self,
        cookie: Option<&str>,
        confirmed: &SortedMap<String, u64>,
    ) -> Result<Option<Poke>, PokeError> {
        let mut merged: Option<Poke> = None;
        let mut finished = std::mem::take(&mut self.finished).into_iter();
        while let Some(poke) = finished.next() {
            // Large ones are applied one after another.
            if let Some(before) = &merged
                && before.rows.len() + poke.rows.len() > MERGED_ROWS
            {
                self.finished.push(poke);
                self.finished.extend(finished);
                break;
            }
            let at = match &merged {
                Some(before) => Some(before.cookie.clone()),
                None => cookie.map(str::to_owned),
            };
            if merged.is_none() && poke.base != at {
                return Err(PokeError::UnexpectedBase {
                    base: poke.base,
                    cookie: at,
                });
            }
            if let (Some(base), Some(at)) = (&poke.base, &at)
                && base > at
            {
                return Err(PokeError::Gap {
                    base: base.clone(),
                    cookie: at.clone(),
                });
            }
            if let Some(at) = &at
                && poke.cookie < *at
            {
                return Err(PokeError::Backwards {
                    from: at.clone(),
                    to: poke.cookie,
                });
            }
            // Under an unchanged cookie nothing may travel; a poke that does says only that the server is there.
            let poke = if at.as_deref() == Some(poke.cookie.as_str()) {
                Poke {
                    base: poke.base,
                    cookie: poke.cookie,
                    ..Poke::default()
                }
            } else {
                poke
            };
            check_confirmed(&poke, merged.as_ref(), confirmed)?;
            match &mut merged {
                Some(before) => before.merge(poke),
                None => merged = Some(poke),
            }
        }
        Ok(merged)
    }
}

fn check_confirmed(
    poke: &Poke,
    merged: Option<&Poke>,
    known: &SortedMap<String, u64>,
) -> Result<(), PokeError> {
    for (client, to) in &poke.confirmed {
        let before = merged
            .and_then(|m| m.confirmed.get(client))
            .or_else(|| known.get(client));
        if let Some(&from) = before.filter(|from| *from > to) {
            return Err(PokeError::MutationIdBackwards {
                client: client.clone(),
                from,
                to: *to,
            });
        }
    }
    Ok(())
}

fn query_change(op: &DownQueryOp) -> Option<QueryChange> {
    match op {
        DownQueryOp::Put { hash } => Some(QueryChange::Put(hash.clone())),
        DownQueryOp::Del { hash } => Some(QueryChange::Del(hash.clone())),
        // Handled for the whole poke.
        DownQueryOp::Clear => None,
    }
}

impl PartRows {
    fn apply(&mut self, op: RowOp<'_>, schema: Option<&Schema>) -> Result<(), PokeError> {
        let schema = match (&op, schema) {
            (RowOp::Clear, _) => {
                self.clears = true;
                self.rows.clear();
                return Ok(());
            }
            (_, None) => return Ok(()),
            (_, Some(schema)) => schema,
        };
        match op {
            RowOp::Put { table, value } => {
                // A table that this client's schema lacks is none of its business.
                let Some(id) = schema.table_by_server_name(&table) else {
                    return Ok(());
                };
                let row = self.reader.row(&schema[id], value.get(), Names::Server);
                let row = row.map_err(|error| PokeError::Row(error.to_string()))?;
                self.rows.push(RowChange::Put { table: id, row });
            }
            RowOp::Del { table, id } => {
                let Some(table) = schema.table_by_server_name(&table) else {
                    return Ok(());
                };
                let key = schema[table]
                    .key_from_json(id.get(), Names::Server)
                    .map_err(|error| PokeError::Row(error.to_string()))?;
                self.rows.push(RowChange::Del { table, key });
            }
            RowOp::Update { .. } => return Err(PokeError::RowUpdate),
            RowOp::Clear => {}
        }
        Ok(())
    }
}

fn apply_mutation_op(poke: &mut Poke, op: MutationOp) {
    match op {
        MutationOp::Put { mutation } => {
            let key = (mutation.id.client_id, mutation.id.id);
            if let Some(outcome) = outcome_of(mutation.result) {
                poke.results.insert(key.clone(), outcome);
            }
            poke.result_changes.insert(key);
        }
        MutationOp::Del { id } => {
            poke.result_changes.insert((id.client_id, id.id));
        }
    }
}

/// What a result says besides "the server has it".
fn outcome_of(result: MutationResult) -> Option<Outcome> {
    let failed = |source, message: String, details: Option<landfall_protocol::Json>| {
        let details = details.map(|json| json.as_str().to_owned());
        Some(Outcome::Failed {
            error: MutationError {
                source,
                message,
                details,
            },
        })
    };
    match result {
        MutationResult::Ok { .. } | MutationResult::AlreadyProcessed { .. } => None,
        MutationResult::App { message, details } => failed(
            ErrorSource::App,
            message.unwrap_or_else(|| "the server refused the mutation".into()),
            details,
        ),
        MutationResult::OutOfOrder { details } => failed(
            ErrorSource::Zero,
            "the mutation arrived out of order".into(),
            details,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema::from_json(
            r#"{"tables":{"issue":{"name":"issue","serverName":"issues","columns":{
                "id":{"type":"string","optional":false},"n":{"type":"number","optional":true,"serverName":"num"}},
                "primaryKey":["id"]}}}"#,
        )
        .expect("the schema is good")
    }

    #[derive(Default)]
    struct World {
        pokes: Pokes,
        error: Option<PokeError>,
    }

    impl World {
        fn hear(&mut self, text: &str) -> &mut Self {
            self.error = self.read(text).err();
            self
        }

        fn read(&mut self, text: &str) -> Result<(), PokeError> {
            let mut reading = Reading::default();
            match reading.take(text.as_bytes(), Some(&schema())) {
                Err(Refusal::Poke(error)) => return Err(error),
                other => other.expect("a good message"),
            }
            let rows = reading.take_rows();
            match reading.message().expect("a good message") {
                Downstream::PokeStart(start) => self.pokes.start(start),
                Downstream::PokePart(part) => self.pokes.part(part, rows, "me"),
                Downstream::PokeEnd(end) => self.pokes.end(end),
                other => panic!("{other:?}"),
            }
        }

        fn poke(&mut self, base: &str, cookie: &str, part: &str) -> &mut Self {
            self.hear(&format!(
                r#"["pokeStart",{{"pokeID":"{cookie}","baseCookie":{base}}}]"#
            ));
            if !part.is_empty() {
                self.hear(&format!(r#"["pokePart",{{"pokeID":"{cookie}",{part}}}]"#));
            }
            assert_eq!(self.error, None);
            self.hear(&format!(
                r#"["pokeEnd",{{"pokeID":"{cookie}","cookie":"{cookie}"}}]"#
            ))
        }

        /// The merged patch at this cookie, as text.
        #[track_caller]
        fn check(&mut self, at: Option<&str>, expected: &str) -> &mut Self {
            let known = SortedMap::from([("me".to_owned(), 3)]);
            let shown = match self.pokes.take_merged(at, &known) {
                Ok(None) => "nothing".to_owned(),
                Ok(Some(poke)) => show(&poke),
                Err(error) => error.to_string(),
            };
            assert_eq!(shown, expected);
            self
        }
    }

    fn show(poke: &Poke) -> String {
        let mut text = format!(
            "{:?}->{}",
            poke.base.as_deref().unwrap_or("null"),
            poke.cookie
        );
        if poke.cleared {
            text.push_str(" clear");
        }
        let schema = schema();
        for change in &poke.rows {
            match change {
                RowChange::Put { table, row } => {
                    text.push_str(" +");
                    schema[*table].row_to_json(row, Names::Client, &mut text);
                }
                RowChange::Del { table, key } => {
                    text.push_str(" -");
                    schema[*table].key_to_json(key, Names::Client, &mut text);
                }
            }
        }
        for (client, id) in &poke.confirmed {
            text.push_str(&format!(" {client}={id}"));
        }
        for change in poke.desired.iter().chain(&poke.got) {
            text.push_str(&match change {
                QueryChange::Put(hash) => format!(" q+{hash}"),
                QueryChange::Del(hash) => format!(" q-{hash}"),
                QueryChange::Clear => " q!".to_owned(),
            });
        }
        for (key, outcome) in &poke.results {
            text.push_str(&format!(" {}{}:{outcome:?}", key.0, key.1));
        }
        text
    }

    const PUT: &str = r#""rowsPatch":[{"op":"put","tableName":"issues","value":{"id":"a","num":1,"other":true}}]"#;
    const DEL: &str = r#""rowsPatch":[{"op":"del","tableName":"issues","id":{"id":"a"}}]"#;

    #[test]
    fn pokes_that_wait_become_one_patch() {
        World::default()
            .poke("null", "01", PUT)
            .poke("\"01\"", "02", DEL)
            .poke(
                "\"02\"",
                "03",
                r#""lastMutationIDChanges":{"me":4},"gotQueriesPatch":[{"op":"put","hash":"h"}]"#,
            )
            .check(None, r#""null"->03 +{"id":"a","n":1} -{"id":"a"} me=4 q+h"#)
            .check(None, "nothing");
    }

    #[test]
    fn names_and_strangers() {
        World::default()
            .poke("null", "01", PUT)
            .check(None, r#""null"->01 +{"id":"a","n":1}"#)
            .poke("\"01\"", "02", r#""rowsPatch":[{"op":"put","tableName":"nope","value":{"id":"a"}}]"#)
            .check(Some("01"), r#""01"->02"#)
            .poke("\"02\"", "03", r#""desiredQueriesPatches":{"me":[{"op":"put","hash":"h"}],"you":[{"op":"put","hash":"x"}]}"#)
            .check(Some("02"), r#""02"->03 q+h"#);
    }

    #[test]
    fn a_clear_voids_everything_before() {
        World::default()
            .poke("\"01\"", "02", PUT)
            .poke("\"02\"", "03", r#""rowsPatch":[{"op":"clear"}]"#)
            .check(Some("01"), r#""01"->03 clear q! q!"#);
    }

    #[test]
    fn cookies_are_checked() {
        World::default()
            .poke("\"01\"", "02", "")
            .check(
                Some("00"),
                "a poke starts from cookie 01, but this client is at 00",
            )
            .poke("\"01\"", "02", "")
            .poke("\"03\"", "04", "")
            .check(
                Some("01"),
                r#"a poke continues from cookie "03", but the one before it ended at "02""#,
            )
            .poke("\"01\"", "00", "")
            .check(Some("01"), r#"a poke leads from cookie "01" back to "00""#)
            .poke("\"01\"", "02", "")
            .poke("\"01\"", "03", PUT)
            .check(Some("01"), r#""01"->03 +{"id":"a","n":1}"#)
            .poke("\"03\"", "03", PUT)
            .check(Some("03"), r#""03"->03"#)
            .poke("\"03\"", "04", r#""lastMutationIDChanges":{"me":2}"#)
            .check(
                Some("03"),
                r#"the last mutation id of client "me" went from 3 back to 2"#,
            );
    }

    #[test]
    fn pokes_do_not_overlap_and_a_cancelled_one_is_void() {
        let mut world = World::default();
        world.hear(r#"["pokeStart",{"pokeID":"a","baseCookie":null}]"#);
        world.hear(r#"["pokeStart",{"pokeID":"b","baseCookie":null}]"#);
        assert!(matches!(world.error, Some(PokeError::Overlap { .. })));
        world.hear(r#"["pokePart",{"pokeID":"b"}]"#);
        assert!(matches!(world.error, Some(PokeError::NotOpen(_))));
        world.hear(r#"["pokeEnd",{"pokeID":"b","cookie":"01"}]"#);
        assert!(matches!(world.error, Some(PokeError::NotOpen(_))));
        world.hear(r#"["pokeEnd",{"pokeID":"a","cookie":"","cancel":true}]"#);
        assert_eq!(world.error, None);
        world.check(None, "nothing");
    }

    #[test]
    fn rows_that_do_not_fit_are_named() {
        let mut world = World::default();
        world.hear(r#"["pokeStart",{"pokeID":"a","baseCookie":null}]"#);
        world.hear(r#"["pokePart",{"pokeID":"a","rowsPatch":[{"op":"put","tableName":"issues","value":{"id":"a","num":"x"}}]}]"#);
        let error = world.error.take().expect("refused").to_string();
        assert!(error.contains("issue") && error.contains('n'), "{error}");
        world.hear(r#"["pokePart",{"pokeID":"a","rowsPatch":[{"op":"update","tableName":"issues","id":{"id":"a"}}]}]"#);
        assert_eq!(world.error, Some(PokeError::RowUpdate));
    }

    #[test]
    fn results_become_outcomes() {
        let result = |json: &str| {
            format!(
                r#""mutationsPatch":[{{"op":"put","mutation":{{"id":{{"clientID":"me","id":4}},"result":{json}}}}}]"#
            )
        };
        World::default()
            .poke("null", "01", &result(r#"{"error":"app","message":"no"}"#))
            .check(
                None,
                r#""null"->01 me4:Failed { error: MutationError { source: App, message: "no", details: None } }"#,
            )
            .poke("\"01\"", "02", &result(r#"{"error":"alreadyProcessed"}"#))
            .check(Some("01"), r#""01"->02"#);
    }
}
