//! What is published: tables, columns, keys, read from the catalogue.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tokio_postgres::GenericClient;

use super::kind::{Kind, TypeFacts};
use super::pgoutput::Relation;
use crate::replica::{ReplicaColumn, TableDraft};
use crate::upstream::UpstreamError;

/// A published table as the catalogue describes it. Kept in the replica file, to notice changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedTable {
    /// Its object id, which renaming does not change.
    pub oid: u32,
    /// The file that holds its rows; another one after its rows were written anew. 0 for a partitioned table.
    pub file: u32,
    /// The highest number that a column of it ever had.
    pub last_column: i16,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its replica identity: `d`, `f`, `i`, `n`.
    pub identity: u8,
    /// Whether rows of child tables belong to it.
    pub partitioned: bool,
    /// The published columns, in order.
    pub columns: Vec<PublishedColumn>,
    /// The names of its generated columns, which Postgres does not publish.
    #[serde(default)]
    pub generated: Vec<String>,
    /// Its whole, immediate unique indexes, in the order of their names.
    pub keys: Vec<UniqueIndex>,
    /// The rows that are published, if not all: conditions of which one must hold.
    pub filters: Vec<String>,
}

/// A published column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedColumn {
    /// Its number, which renaming does not change and no other column gets later.
    pub number: i16,
    /// Whether rows from before the column was added have a value in it.
    pub filled: bool,
    /// Its name.
    pub name: String,
    /// The object id of its type.
    pub type_id: u32,
    /// Its type as SQL writes it, without a length; of a domain the type that is below it.
    pub type_sql: String,
    /// How it is carried; `None` if it is not.
    pub kind: Option<Kind>,
    /// Whether NULL is forbidden.
    pub not_null: bool,
}

/// A unique index over plain columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueIndex {
    /// Its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// Whether it is the primary key.
    pub primary: bool,
    /// Whether it is the replica identity.
    pub identity: bool,
}

const COLUMNS: &str = "
SELECT n.nspname::text, c.relname::text, c.relreplident::text, c.relkind = 'p',
       a.attname::text, a.atttypid::oid, quote_ident(tn.nspname) || '.' || quote_ident(t.typname),
       t.typname::text, t.typtype::text, e.typname::text, e.typtype::text, a.attnotnull,
       c.oid, c.relfilenode, c.relnatts, a.attnum, a.atthasmissing
FROM (SELECT DISTINCT schemaname, tablename, attnames FROM pg_publication_tables WHERE pubname = ANY($1)) p
JOIN pg_namespace n ON n.nspname = p.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
                   AND a.attname = ANY(p.attnames)
CROSS JOIN LATERAL (
  WITH RECURSIVE chain AS (
    SELECT d.oid, d.typtype, d.typbasetype FROM pg_type d WHERE d.oid = a.atttypid
    UNION ALL
    SELECT d.oid, d.typtype, d.typbasetype FROM chain JOIN pg_type d ON d.oid = chain.typbasetype WHERE chain.typtype = 'd'
  )
  SELECT oid FROM chain WHERE typtype <> 'd'
) base
JOIN pg_type t ON t.oid = base.oid
JOIN pg_namespace tn ON tn.oid = t.typnamespace
LEFT JOIN pg_type e ON t.typcategory = 'A' AND e.oid = t.typelem AND t.typelem <> 0
ORDER BY n.nspname, c.relname, a.attnum";

const GENERATED: &str = "
SELECT n.nspname::text, c.relname::text, array_agg(a.attname::text ORDER BY a.attnum)
FROM (SELECT DISTINCT schemaname, tablename FROM pg_publication_tables WHERE pubname = ANY($1)) p
JOIN pg_namespace n ON n.nspname = p.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> ''
GROUP BY 1, 2";

const KEYS: &str = "
SELECT n.nspname::text, c.relname::text, ic.relname::text, i.indisprimary, i.indisreplident,
       array_agg(a.attname::text ORDER BY k.place)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_class ic ON ic.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
  AND k.place <= i.indnkeyatts
  AND (n.nspname, c.relname) IN (SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = ANY($1))
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3";

const FILTERS: &str = "
SELECT schemaname::text, tablename::text, bool_or(rowfilter IS NULL), array_agg(rowfilter) FILTER (WHERE rowfilter IS NOT NULL)
FROM pg_publication_tables WHERE pubname = ANY($1) GROUP BY 1, 2";

/// Those that hold rows, partitions too: Postgres looks at each by itself.
const WITHOUT_IDENTITY: &str = "
SELECT n.nspname::text, c.relname::text, c.relreplident::text
FROM (
  SELECT c.oid FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename WHERE p.pubname = ANY($1)
  UNION
  SELECT t.relid FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename, pg_partition_tree(c.oid) t
  WHERE p.pubname = ANY($1) AND t.isleaf
) published
JOIN pg_class c ON c.oid = published.oid AND c.relkind = 'r' AND c.relreplident <> 'f'
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT EXISTS (
  SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
    AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)
)
ORDER BY 1, 2";

/// A published table on which Postgres refuses every UPDATE and DELETE, since it could not say which row was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithoutIdentity {
    /// The table as SQL names it.
    pub sql: String,
    /// Whether nobody has chosen its replica identity.
    pub by_default: bool,
}

impl WithoutIdentity {
    /// The SQL after which Postgres takes changes of it again.
    pub fn mend(&self) -> String {
        format!("ALTER TABLE {} REPLICA IDENTITY FULL;", self.sql)
    }

    /// What is wrong.
    pub fn what(&self) -> String {
        format!(
            "Postgres refuses every UPDATE and DELETE on {}, the application's too, while it is published (\"does not have a replica identity and publishes updates\"): give it a primary key, or set its replica identity",
            self.sql
        )
    }
}

/// The published tables that cannot be changed for lack of a replica identity.
pub async fn without_identity(
    client: &impl GenericClient,
    publications: &[String],
) -> Result<Vec<WithoutIdentity>, UpstreamError> {
    let rows = client.query(WITHOUT_IDENTITY, &[&publications]).await?;
    let table = |row: &tokio_postgres::Row| WithoutIdentity {
        sql: format!("{}.{}", super::quote(row.get(0)), super::quote(row.get(1))),
        by_default: row.get::<_, &str>(2) == "d",
    };
    Ok(rows.iter().map(table).collect())
}

/// Reads the published tables.
pub async fn read(
    client: &impl GenericClient,
    publications: &[String],
) -> Result<Vec<PublishedTable>, UpstreamError> {
    let mut tables: BTreeMap<(String, String), PublishedTable> = BTreeMap::new();
    for row in client.query(COLUMNS, &[&publications]).await? {
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        let table = tables
            .entry((schema.clone(), name.clone()))
            .or_insert_with(|| PublishedTable {
                oid: row.get(12),
                file: row.get(13),
                last_column: row.get(14),
                schema,
                name,
                identity: first_byte(row.get(2)),
                partitioned: row.get(3),
                columns: Vec::new(),
                generated: Vec::new(),
                keys: Vec::new(),
                filters: Vec::new(),
            });
        let column = column(&row);
        if table.columns.contains(&column) {
            continue;
        }
        table.columns.push(column);
    }
    for row in client.query(GENERATED, &[&publications]).await? {
        if let Some(table) = tables.get_mut(&(row.get(0), row.get(1))) {
            table.generated = row.get(2);
        }
    }
    for row in client.query(KEYS, &[&publications]).await? {
        if let Some(table) = tables.get_mut(&(row.get(0), row.get(1))) {
            table.keys.push(UniqueIndex {
                name: row.get(2),
                primary: row.get(3),
                identity: row.get(4),
                columns: row.get(5),
            });
        }
    }
    for row in client.query(FILTERS, &[&publications]).await? {
        // A publication without a filter publishes every row.
        if row.get(2) {
            continue;
        }
        if let Some(table) = tables.get_mut(&(row.get(0), row.get(1))) {
            table.filters = row.get::<_, Option<Vec<String>>>(3).unwrap_or_default();
            table.filters.sort();
        }
    }
    Ok(tables.into_values().collect())
}

fn column(row: &tokio_postgres::Row) -> PublishedColumn {
    let element: Option<(String, String)> = row
        .get::<_, Option<String>>(9)
        .zip(row.get::<_, Option<String>>(10));
    let element = element.as_ref().map(|(name, class)| TypeFacts {
        name,
        class: first_byte(class),
    });
    let ty = TypeFacts {
        name: row.get(7),
        class: first_byte(row.get(8)),
    };
    PublishedColumn {
        number: row.get(15),
        filled: row.get(16),
        name: row.get(4),
        type_id: row.get(5),
        type_sql: row.get(6),
        kind: Kind::of(ty, element),
        not_null: row.get(11),
    }
}

fn first_byte(text: &str) -> u8 {
    text.as_bytes().first().copied().unwrap_or_default()
}

impl PublishedTable {
    /// The name that queries use.
    pub fn server_name(&self) -> String {
        if self.schema == "public" {
            self.name.clone()
        } else {
            format!("{}.{}", self.schema, self.name)
        }
    }

    /// The table as SQL names it.
    pub fn sql(&self) -> String {
        format!(
            "{}.{}",
            super::quote(&self.schema),
            super::quote(&self.name)
        )
    }

    /// Whether the publisher still describes the table as the replica knows it.
    pub fn matches(&self, relation: &Relation) -> bool {
        self.schema == relation.schema
            && self.name == relation.name
            && self.identity == relation.identity
            && self.columns.len() == relation.columns.len()
            && self
                .columns
                .iter()
                .zip(&relation.columns)
                .all(|(known, found)| known.name == found.name && known.type_id == found.type_id)
    }

    fn is_key(&self, key: &UniqueIndex) -> bool {
        key.columns.iter().all(|name| {
            self.columns
                .iter()
                .any(|c| c.name == *name && c.not_null && c.kind.is_some())
        })
    }

    /// Whether nothing that concerns the replica differs.
    pub fn is_same(&self, other: &PublishedTable) -> bool {
        let essence = |table: &PublishedTable| {
            let mut table = table.clone();
            (table.file, table.last_column) = (0, 0);
            table.generated.clear();
            table.columns.iter_mut().for_each(|c| c.filled = false);
            table
        };
        essence(self) == essence(other)
    }

    /// The numbers of the columns that old rows are found by; none if the table is not synced.
    pub fn key_numbers(&self) -> Option<Vec<i16>> {
        let key = self.row_key().ok()?;
        let number = |name: &String| Some(self.columns.iter().find(|c| c.name == *name)?.number);
        key.columns.iter().map(number).collect()
    }

    /// The key that old rows are found by, or why there is none.
    fn row_key(&self) -> Result<&UniqueIndex, String> {
        let usable = || self.keys.iter().filter(|key| self.is_key(key));
        let found = match self.identity {
            b'd' => usable().find(|key| key.primary),
            b'i' => usable().find(|key| key.identity),
            b'f' => usable()
                .find(|key| key.primary)
                .or_else(|| usable().min_by_key(|key| (key.columns.len(), key.name.clone()))),
            _ => return Err("its REPLICA IDENTITY is NOTHING".to_owned()),
        };
        found.ok_or_else(|| {
            let named = self.keys.iter().find(|key| match self.identity {
                b'i' => key.identity,
                _ => key.primary,
            });
            let why = named.and_then(|key| key.columns.iter().find_map(|c| self.no_key(c)));
            why.unwrap_or_else(|| {
                "it has no primary key (or unique index that is its replica identity) over not-null columns of supported types"
                    .to_owned()
            })
        })
    }

    /// Why a column of a key cannot tell rows apart.
    fn no_key(&self, name: &str) -> Option<String> {
        if self.generated.iter().any(|c| c == name) {
            return Some(format!(
                "the column {name} of its key is generated, and Postgres does not publish generated columns"
            ));
        }
        let column = self.columns.iter().find(|c| c.name == name)?;
        let ty = &column.type_sql;
        if column.kind.is_none() {
            let what = format!("the column {name} of its key has the type {ty}");
            Some(format!("{what}, which cannot be synced"))
        } else if !column.not_null {
            Some(format!("the column {name} of its key may be NULL"))
        } else {
            None
        }
    }

    /// An index that could become the replica identity of a table without a primary key.
    pub fn identity_candidate(&self) -> Option<&UniqueIndex> {
        if self.identity != b'd' || self.keys.iter().any(|key| key.primary) {
            return None;
        }
        let usable = self.keys.iter().filter(|key| self.is_key(key));
        usable.min_by_key(|key| (key.columns.len(), key.name.clone()))
    }

    /// The columns that are carried; a name that differs from an earlier one in case only is left out, as SQLite
    /// cannot tell them apart.
    pub fn synced_columns(&self) -> Vec<(usize, &PublishedColumn)> {
        let mut names = BTreeSet::new();
        self.columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.kind.is_some() && names.insert(column.name.to_lowercase()))
            .collect()
    }

    fn draft(&self) -> Result<TableDraft, String> {
        if self.columns.iter().any(|c| c.name == "_0_version") {
            return Err("it has a column named _0_version".to_owned());
        }
        let row_key = self.row_key()?;
        let columns = self.synced_columns().into_iter().filter_map(|(_, column)| {
            let kind = column.kind.as_ref()?;
            let in_key = row_key.columns.contains(&column.name);
            Some(ReplicaColumn {
                name: column.name.clone(),
                ty: kind.column_type(),
                not_null: column.not_null && (in_key || !kind.has_values_beyond_json()),
            })
        });
        let keys = self.keys.iter().filter(|key| self.is_key(key));
        Ok(TableDraft {
            name: self.server_name(),
            sql_name: self.server_name(),
            columns: columns.collect(),
            row_key: row_key.columns.clone(),
            unique_keys: keys.map(|key| key.columns.clone()).collect(),
        })
    }
}

/// The replica's tables for what is published, and one warning for each thing that is left out.
pub fn drafts(tables: &[PublishedTable], internal: &[String]) -> (Vec<TableDraft>, Vec<String>) {
    let mut drafts: Vec<TableDraft> = Vec::new();
    let mut warnings = Vec::new();
    let mut names = BTreeSet::new();
    for table in tables {
        let name = table.server_name();
        if internal.contains(&table.schema) {
            continue;
        }
        match table.draft() {
            Ok(mut draft) => {
                let unsupported = table
                    .columns
                    .iter()
                    .filter(|c| !draft.columns.iter().any(|d| d.name == c.name))
                    .map(|c| format!("{} ({})", c.name, c.type_sql));
                let generated = table.generated.iter().map(|c| {
                    format!("{c} (generated: Postgres does not publish generated columns)")
                });
                let left_out: Vec<String> = unsupported.chain(generated).collect();
                if !left_out.is_empty() {
                    warnings.push(format!(
                        "columns of {name} that cannot be synced are left out: {}",
                        left_out.join(", ")
                    ));
                }
                // SQLite does not tell names apart by case and keeps some for itself.
                let lower = draft.sql_name.to_lowercase();
                if lower.starts_with("sqlite_") || lower.starts_with("_landfall_") {
                    draft.sql_name = format!("t_{}", draft.sql_name);
                }
                while !names.insert(draft.sql_name.to_lowercase()) {
                    draft.sql_name.push('_');
                }
                drafts.push(draft);
            }
            Err(reason) => warnings.push(format!("table {name} is not synced: {reason}")),
        }
    }
    (drafts, warnings)
}
