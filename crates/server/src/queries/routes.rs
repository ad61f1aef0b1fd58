//! Which pipelines a change can reach: by table, and by the values that their conditions fix.
//!
//! Queries that differ in a literal (`owner = me`) are found by the value, so that a change costs what it touches and
//! not what exists.

use std::collections::{BTreeMap, BTreeSet};

use landfall_ivm::Pipeline;
use landfall_zql::{Row, Schema, TableId, ValueRef};

use super::messages::Ticket;
use crate::replica::RowChange;

/// A value as rows hold it, packed alone: equal values have equal bytes.
type Packed = Box<[u8]>;

/// The uses of tables by pipelines.
#[derive(Default)]
pub(super) struct Routes {
    tables: BTreeMap<TableId, Uses>,
    /// Where each pipeline is to be found.
    places: BTreeMap<Ticket, Vec<Place>>,
}

struct Place {
    table: TableId,
    pin: Option<(usize, Packed)>,
}

#[derive(Default)]
struct Uses {
    /// Pipelines that rows of any value can reach.
    any: BTreeSet<Ticket>,
    by_value: BTreeMap<usize, BTreeMap<Packed, BTreeSet<Ticket>>>,
}

impl Routes {
    pub(super) fn insert(&mut self, ticket: Ticket, pipeline: &Pipeline, schema: &Schema) {
        let tables = schema.iter().map(|(id, _)| id);
        for table in tables.filter(|id| pipeline.reads(*id)) {
            let pins = pipeline.pins(table).map(|pins| {
                let packed = pins
                    .into_iter()
                    .map(|(column, value)| Some((column, pack(value))));
                packed.collect()
            });
            for pin in pins.unwrap_or_else(|| vec![None]) {
                self.add(ticket, Place { table, pin });
            }
        }
    }

    fn add(&mut self, ticket: Ticket, place: Place) {
        let uses = self.tables.entry(place.table).or_default();
        let tickets = match &place.pin {
            None => &mut uses.any,
            Some((column, value)) => uses
                .by_value
                .entry(*column)
                .or_default()
                .entry(value.clone())
                .or_default(),
        };
        tickets.insert(ticket);
        self.places.entry(ticket).or_default().push(place);
    }

    pub(super) fn remove(&mut self, ticket: Ticket) {
        for Place { table, pin } in self.places.remove(&ticket).unwrap_or_default() {
            let Some(uses) = self.tables.get_mut(&table) else {
                continue;
            };
            let Some((column, value)) = pin else {
                uses.any.remove(&ticket);
                continue;
            };
            let Some(values) = uses.by_value.get_mut(&column) else {
                continue;
            };
            if let Some(tickets) = values.get_mut(&value) {
                tickets.remove(&ticket);
                if tickets.is_empty() {
                    values.remove(&value);
                }
            }
        }
    }

    /// Pipelines that read one of the tables.
    pub(super) fn readers(&self, tables: &BTreeSet<TableId>) -> Vec<Ticket> {
        let reads = |places: &Vec<Place>| places.iter().any(|p| tables.contains(&p.table));
        let readers = self.places.iter().filter(|(_, places)| reads(places));
        readers.map(|(ticket, _)| *ticket).collect()
    }

    /// Pipelines that a change can reach.
    pub(super) fn reached(&self, change: &RowChange) -> BTreeSet<Ticket> {
        let Some(uses) = self.tables.get(&change.table) else {
            return BTreeSet::new();
        };
        let mut reached = uses.any.clone();
        for (column, values) in &uses.by_value {
            for row in change.before.iter().chain(&change.after) {
                reached.extend(values.get(&pack(row.get(*column))).into_iter().flatten());
            }
        }
        reached
    }
}

fn pack(value: ValueRef<'_>) -> Packed {
    Row::from_values([value]).bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cvr::InstanceId;
    use landfall_zql::ast::Ast;

    const SCHEMA: &str = r#"{"tables": {
        "t": {"name": "t", "columns": {"id": {"type": "string"}, "owner": {"type": "string"}, "n": {"type": "number"}}, "primaryKey": ["id"]},
        "u": {"name": "u", "columns": {"id": {"type": "string"}}, "primaryKey": ["id"]}}}"#;

    fn equal(column: &str, value: &str) -> String {
        format!(
            r#"{{"type":"simple","op":"=","left":{{"type":"column","name":"{column}"}},"right":{{"type":"literal","value":{value}}}}}"#
        )
    }

    #[test]
    fn a_change_reaches_whoever_fixes_one_of_its_values() {
        let schema = Schema::from_json(SCHEMA).expect("schema");
        let table = schema.table("t").expect("table");
        let mut routes = Routes::default();
        let queries = [
            r#"{"table":"t"}"#.to_owned(),
            format!(r#"{{"table":"t","where":{}}}"#, equal("owner", "\"a\"")),
            format!(r#"{{"table":"t","where":{}}}"#, equal("n", "-0")),
            r#"{"table":"u"}"#.to_owned(),
        ];
        for (life, query) in (0..).zip(&queries) {
            let ast = Ast::from_json(query).expect("query");
            let pipeline = Pipeline::build(&ast, &schema).expect("builds");
            let instance = InstanceId(life);
            routes.insert(Ticket { instance, life }, &pipeline, &schema);
        }
        let columns = &schema[table].columns;
        let row = |owner: &str, n: f64| {
            let values = columns.iter().map(|column| match column.name.as_str() {
                "n" => ValueRef::Number(n),
                "owner" => ValueRef::String(owner),
                _ => ValueRef::String("id"),
            });
            Row::from_values(values)
        };
        let reached = |routes: &Routes, before: Option<Row>, after: Option<Row>| {
            let change = RowChange {
                table,
                before,
                after,
            };
            let tickets = routes.reached(&change).into_iter();
            tickets.map(|ticket| ticket.life).collect::<Vec<_>>()
        };
        assert_eq!(reached(&routes, None, Some(row("b", 1.0))), [0]);
        let moved = (Some(row("a", 1.0)), Some(row("b", 0.0)));
        assert_eq!(
            reached(&routes, moved.0.clone(), moved.1.clone()),
            [0, 1, 2]
        );
        let life = 1;
        let instance = InstanceId(1);
        routes.remove(Ticket { instance, life });
        assert_eq!(reached(&routes, moved.0, moved.1), [0, 2]);
        let other = BTreeSet::from([schema.table("u").expect("table")]);
        assert_eq!(routes.readers(&other).len(), 1);
    }
}
