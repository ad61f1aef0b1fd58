//! The rows of a query as clients get them: each once, at whatever levels it occurs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use landfall_ivm::{Choice, Pipeline, RowDelta};
use landfall_zql::ast::Ast;
use landfall_zql::{Key, Names, Row};
use serde_json::{Map, Value as Json};

use crate::replica::Reader;

/// Rows that are counted.
const MAX_ROWS: usize = 100_000;

/// A query's rows.
pub(super) struct Counted {
    /// By table and key, each as JSON text with the server's names.
    pub(super) rows: BTreeMap<(String, Key), String>,
    is_cut: bool,
}

impl Counted {
    /// Runs a query over a reader's state.
    pub(super) fn run(reader: &Reader, ast: &Ast) -> Result<Self, String> {
        let schema = landfall_ivm::Source::schema(reader);
        let choice = Choice::Estimated(reader);
        let pipeline = Pipeline::plan(ast, schema, choice).map_err(|error| error.to_string())?;
        let mut counted = Counted {
            rows: BTreeMap::new(),
            is_cut: false,
        };
        let fetched = pipeline.fetch(reader, None, &mut |level, node| {
            level.rows_of_node(&node, &mut |table, delta| {
                if let RowDelta::Enter(row) = delta {
                    counted.add(&schema[table], row);
                }
            })?;
            counted.is_cut = counted.rows.len() >= MAX_ROWS;
            Ok(match counted.is_cut {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        });
        fetched.map_err(|error| error.message)?;
        Ok(counted)
    }

    fn add(&mut self, table: &landfall_zql::TableSchema, row: &Row) {
        let key = (table.server_name.clone(), table.key_of(row));
        self.rows.entry(key).or_insert_with(|| {
            let mut text = String::new();
            table.row_to_json(row, Names::Server, &mut text);
            text
        });
    }

    /// Says so if not all rows were counted.
    pub(super) fn warning(&self) -> Option<String> {
        let cut = || format!("the query has more rows; counted up to {}", self.rows.len());
        self.is_cut.then(cut)
    }

    /// The rows by table.
    pub(super) fn by_table(&self) -> Json {
        let mut tables: Map<String, Json> = Map::new();
        for ((table, _), text) in &self.rows {
            let rows = tables
                .entry(table.clone())
                .or_insert_with(|| Json::Array(Vec::new()));
            if let (Json::Array(rows), Ok(row)) = (rows, serde_json::from_str(text)) {
                rows.push(row);
            }
        }
        Json::Object(tables)
    }
}
