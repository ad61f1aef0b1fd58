//! What becomes of a published table's rows: which columns go where, and how each is decoded.

use landfall_zql::TableId;
use rusqlite::types::Value as Cell;

use super::catalog::PublishedTable;
use super::kind::Kind;
use super::pgoutput::{Field, Relation, Tuple};
use super::setup::Names;
use super::values;
use crate::replica::{ReplicaSchema, ReplicaWriter};
use crate::upstream::UpstreamError;

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A table that queries see; the row key as places among the plan's columns.
    Table {
        /// The table.
        id: TableId,
        /// Places of the row key's columns in a row of the replica.
        key: Vec<usize>,
    },
    /// Last mutation ids.
    Clients,
    /// Mutation results.
    Mutations,
    /// The permissions.
    Permissions,
    /// Nowhere.
    Skipped,
}

/// The place of a column in a row of the upstream; a column without one is NULL.
pub type Place = Option<usize>;

/// The way of a table's rows.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where they go.
    pub target: Target,
    /// For each column in the order of the target: its place upstream, if it has one, and its kind.
    pub columns: Vec<(Place, Kind)>,
    /// Name of the table, for messages.
    pub name: String,
}

/// Columns of our own upstream tables, in the order that [`Plan`] uses.
const CLIENTS: [&str; 3] = ["clientGroupID", "clientID", "lastMutationID"];
const MUTATIONS: [&str; 4] = ["clientGroupID", "clientID", "mutationID", "result"];
const PERMISSIONS: [&str; 2] = ["permissions", "hash"];

/// Decides about a table.
pub fn plan(table: &PublishedTable, schema: &ReplicaSchema, names: &Names) -> Plan {
    let (target, columns) = if table.schema == names.shard {
        match table.name.as_str() {
            "clients" => (Target::Clients, own_columns(table, &CLIENTS)),
            "mutations" => (Target::Mutations, own_columns(table, &MUTATIONS)),
            _ => (Target::Skipped, Some(Vec::new())),
        }
    } else if table.schema == names.app {
        match table.name.as_str() {
            "permissions" => (Target::Permissions, own_columns(table, &PERMISSIONS)),
            _ => (Target::Skipped, Some(Vec::new())),
        }
    } else {
        user_plan(table, schema)
    };
    let (target, columns) = match columns {
        Some(columns) => (target, columns),
        None => (Target::Skipped, Vec::new()),
    };
    Plan {
        target,
        columns,
        name: table.server_name(),
    }
}

/// Decides about a table whose rows were kept through a change that the stream has not reached: rows come as
/// `relation` describes them, somewhere between `before` and `after`. `None` if they cannot be told apart.
pub fn plan_between(
    before: Option<&PublishedTable>,
    after: &PublishedTable,
    relation: &Relation,
    schema: &ReplicaSchema,
    names: &Names,
) -> Option<Plan> {
    let mut plan = plan(after, schema, names);
    let known = |number: i16| before?.columns.iter().find(|c| c.number == number);
    let ever = before.map_or(&[][..], |before| &before.columns).iter();
    let mut ever = ever.chain(&after.columns);
    let explained = relation
        .columns
        .iter()
        .all(|column| ever.clone().any(|c| c.name == column.name));
    if !explained && ever.next().is_some() {
        return None;
    }
    for (place, _) in &mut plan.columns {
        let column = after.columns.get((*place)?)?;
        let named = |name: &str| relation.columns.iter().position(|c| c.name == name);
        *place = match (named(&column.name), known(column.number)) {
            (Some(at), _) => Some(at),
            (None, Some(former)) => Some(named(&former.name)?),
            // It was added later: until then it is NULL.
            (None, None) => None,
        };
    }
    Some(plan)
}

fn own_columns(table: &PublishedTable, names: &[&str]) -> Option<Vec<(Place, Kind)>> {
    names
        .iter()
        .map(|name| {
            let at = table.columns.iter().position(|c| c.name == *name)?;
            Some((Some(at), table.columns[at].kind.clone()?))
        })
        .collect()
}

fn user_plan(
    table: &PublishedTable,
    schema: &ReplicaSchema,
) -> (Target, Option<Vec<(Place, Kind)>>) {
    let Some(facts) = schema.table_by_name(&table.server_name()) else {
        return (Target::Skipped, None);
    };
    let columns = facts
        .columns
        .iter()
        .map(|column| {
            let at = table.columns.iter().position(|c| c.name == column.name)?;
            Some((Some(at), table.columns[at].kind.clone()?))
        })
        .collect();
    let target = Target::Table {
        id: facts.id,
        key: facts.row_key.clone(),
    };
    (target, columns)
}

/// What a replica's column holds for a text that its kind does not write. It cannot be carried, so the row is left
/// out of every query; the stream goes on.
pub fn misfit(text: &str) -> Cell {
    Cell::Blob(text.as_bytes().to_vec())
}

impl Plan {
    /// Rows that go nowhere.
    pub fn skipped() -> Self {
        Plan {
            target: Target::Skipped,
            columns: Vec::new(),
            name: String::new(),
        }
    }

    /// Adds a row of the initial copy.
    pub fn load(
        &self,
        writer: &mut ReplicaWriter,
        cells: Vec<Cell>,
        version: u64,
    ) -> Result<(), UpstreamError> {
        match &self.target {
            Target::Table { id, .. } => writer.load(*id, cells, version)?,
            Target::Skipped => {}
            _ => self.put_own(writer, cells.into_iter().map(Some).collect(), version)?,
        }
        Ok(())
    }

    /// Applies an inserted or updated row.
    pub fn put(
        &self,
        writer: &mut ReplicaWriter,
        old: Option<&Tuple<'_>>,
        new: &Tuple<'_>,
        version: u64,
    ) -> Result<(), UpstreamError> {
        let cells = self.decode(new)?;
        match &self.target {
            Target::Table { id, key } => {
                let old_key = old.map(|old| self.key_cells(key, old)).transpose()?;
                writer.put(*id, old_key, cells, version)?;
            }
            Target::Skipped => {}
            _ => self.put_own(writer, cells, version)?,
        }
        Ok(())
    }

    /// Applies a deleted row.
    pub fn delete(
        &self,
        writer: &mut ReplicaWriter,
        old: &Tuple<'_>,
        version: u64,
    ) -> Result<(), UpstreamError> {
        match &self.target {
            Target::Table { id, key } => {
                let key = self.key_cells(key, old)?;
                writer.remove(*id, &key)?;
            }
            Target::Mutations => {
                let cells = self.decode(old)?;
                let (group, client, id) = identify(&cells)?;
                writer.set_result(group, client, id, None, version)?;
            }
            Target::Permissions => writer.set_permissions(None, None)?,
            // A client's last mutation id outlives its row: without it its mutations would run again.
            Target::Clients | Target::Skipped => {}
        }
        Ok(())
    }

    /// Applies a truncation.
    pub fn truncate(&self, writer: &mut ReplicaWriter, version: u64) -> Result<(), UpstreamError> {
        match &self.target {
            Target::Table { id, .. } => writer.truncate(*id)?,
            Target::Mutations => writer.clear_results(version)?,
            Target::Permissions => writer.set_permissions(None, None)?,
            Target::Clients | Target::Skipped => {}
        }
        Ok(())
    }

    fn put_own(
        &self,
        writer: &mut ReplicaWriter,
        cells: Vec<Option<Cell>>,
        version: u64,
    ) -> Result<(), UpstreamError> {
        let text = |at: usize| match cells.get(at) {
            Some(Some(Cell::Text(text))) => Some(text.as_str()),
            _ => None,
        };
        match &self.target {
            Target::Clients => {
                let (group, client, lmid) = identify(&cells)?;
                writer.set_lmid(group, client, lmid, version)?;
            }
            Target::Mutations => {
                let (group, client, id) = identify(&cells)?;
                writer.set_result(group, client, id, text(3), version)?;
            }
            // A large unchanged document is not repeated: then the permissions did not change either.
            Target::Permissions if cells.first().is_some_and(Option::is_some) => {
                writer.set_permissions(text(0), text(1))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn decode(&self, tuple: &Tuple<'_>) -> Result<Vec<Option<Cell>>, UpstreamError> {
        self.columns
            .iter()
            .map(|(at, kind)| self.cell(tuple, *at, kind))
            .collect()
    }

    fn key_cells(&self, key: &[usize], tuple: &Tuple<'_>) -> Result<Vec<Cell>, UpstreamError> {
        key.iter()
            .map(|&place| {
                let (at, kind) = &self.columns[place];
                Ok(self.cell(tuple, *at, kind)?.unwrap_or(Cell::Null))
            })
            .collect()
    }

    fn cell(
        &self,
        tuple: &Tuple<'_>,
        at: Place,
        kind: &Kind,
    ) -> Result<Option<Cell>, UpstreamError> {
        let Some(at) = at else {
            return Ok(Some(Cell::Null));
        };
        match tuple.get(at) {
            Some(Field::Null) => Ok(Some(Cell::Null)),
            Some(Field::Unchanged) => Ok(None),
            Some(Field::Text(text)) => match (values::decode(kind, text), &self.target) {
                (Ok(cell), _) => Ok(Some(cell)),
                (Err(_), Target::Table { .. }) => Ok(Some(misfit(text))),
                (Err(error), _) => Err(UpstreamError::Data(format!("{}: {error}", self.name))),
            },
            None => Err(UpstreamError::Data(format!(
                "a row of {} has too few columns",
                self.name
            ))),
        }
    }
}

fn identify(cells: &[Option<Cell>]) -> Result<(&str, &str, u64), UpstreamError> {
    match cells {
        [
            Some(Cell::Text(group)),
            Some(Cell::Text(client)),
            Some(Cell::Integer(id)),
            ..,
        ] => Ok((group, client, (*id).max(0) as u64)),
        _ => Err(UpstreamError::Data(
            "a row of clients or mutations".to_owned(),
        )),
    }
}
