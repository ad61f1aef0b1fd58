//! Tables together with their relationships: what queries by name are checked against.

use serde::Deserialize;
use thiserror::Error;

use super::typed::{self, Kind, RelationshipTo};
use crate::ast::Correlation;
use crate::json::{self, JsonError};
use crate::schema::{Column, Schema, SchemaError, TableSchema};
use crate::sorted_map::SortedMap;

/// Whether a relationship leads to one row or to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cardinality {
    /// At most one row.
    One,
    /// Any number of rows.
    Many,
}

/// One hop of a relationship: rows whose `destination` columns equal the `source` columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The table that it leads to.
    pub table: String,
    /// Columns of the table where it starts, and of the one it leads to.
    pub correlation: Correlation,
    /// How many rows it leads to.
    pub cardinality: Cardinality,
}

/// One hop, or two through a junction table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relationship {
    /// The first hop.
    pub first: Hop,
    /// The hop from the junction table on.
    pub second: Option<Hop>,
}

impl Relationship {
    /// The hop whose rows are shown.
    pub fn last(&self) -> &Hop {
        self.second.as_ref().unwrap_or(&self.first)
    }

    fn hops(&self) -> impl Iterator<Item = &Hop> {
        [&self.first].into_iter().chain(&self.second)
    }
}

/// A table as a program declares it.
#[derive(Clone, Debug)]
pub struct Declaration {
    table: String,
    server_name: Option<String>,
    columns: Vec<Column>,
    primary_key: Vec<String>,
    relationships: Vec<(String, Relationship)>,
}

/// Why tables and relationships do not fit together.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// Not the JSON of a schema.
    #[error("the schema is not valid: {0}")]
    Json(#[from] JsonError),
    /// The tables are wrong.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A relationship names a table that there is not.
    #[error(
        "For relationship \"{table}\".\"{relationship}\", table \"{missing}\" is missing in the schema"
    )]
    UnknownTable {
        /// Where it starts.
        table: String,
        /// Its name.
        relationship: String,
        /// The table.
        missing: String,
    },
    /// A relationship names a column that there is not.
    #[error(
        "For relationship \"{table}\".\"{relationship}\", the field \"{column}\" is missing in the table \"{of}\""
    )]
    UnknownColumn {
        /// Where it starts.
        table: String,
        /// Its name.
        relationship: String,
        /// The column.
        column: String,
        /// The table that has not got it.
        of: String,
    },
    /// A relationship has the name of a column.
    #[error("Relationship \"{table}\".\"{relationship}\" cannot have the name of a column")]
    NameOfColumn {
        /// Where it starts.
        table: String,
        /// Its name.
        relationship: String,
    },
    /// A relationship of no hop or of more than two.
    #[error("Relationship \"{table}\".\"{relationship}\" must have one hop or two")]
    Hops {
        /// Where it starts.
        table: String,
        /// Its name.
        relationship: String,
    },
}

/// Tables and their relationships.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    schema: Schema,
    relationships: SortedMap<String, SortedMap<String, Relationship>>,
}

#[derive(Deserialize)]
struct RelationshipsJson {
    #[serde(default)]
    relationships: SortedMap<String, SortedMap<String, Vec<HopJson>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HopJson {
    source_field: Vec<String>,
    dest_field: Vec<String>,
    dest_schema: String,
    cardinality: Cardinality,
}

impl Catalog {
    /// Puts declared tables together.
    ///
    /// # Errors
    /// What [`Schema::new`] refuses, and relationships that lead nowhere.
    pub fn new(declarations: impl IntoIterator<Item = Declaration>) -> Result<Self, CatalogError> {
        let mut tables = Vec::new();
        let mut relationships = SortedMap::new();
        for declaration in declarations {
            let declared = declaration.relationships.clone().into_iter();
            relationships.insert(declaration.table.clone(), declared.collect());
            tables.push(declaration.into_table()?);
        }
        Catalog::checked(Schema::new(tables)?, relationships)
    }

    /// Reads the runtime form of a TypeScript schema, as [`Schema::from_json`] does, with its relationships.
    ///
    /// # Errors
    /// JSON of another shape, and what [`Catalog::new`] refuses.
    pub fn from_json(json: &str) -> Result<Self, CatalogError> {
        let read: RelationshipsJson = json::from_str(json)?;
        let mut relationships = SortedMap::new();
        for (table, declared) in read.relationships {
            let mut of_table = SortedMap::new();
            for (name, hops) in declared {
                let mut hops = hops.into_iter().map(Hop::try_from);
                let (first, second, rest) = (hops.next(), hops.next(), hops.next());
                let wrong = || CatalogError::Hops {
                    table: table.clone(),
                    relationship: name.clone(),
                };
                let (Some(Ok(first)), None) = (first, rest) else {
                    return Err(wrong());
                };
                let second = second.transpose().map_err(|_| wrong())?;
                of_table.insert(name, Relationship { first, second });
            }
            relationships.insert(table, of_table);
        }
        Catalog::checked(Schema::from_json(json)?, relationships)
    }

    fn checked(
        schema: Schema,
        relationships: SortedMap<String, SortedMap<String, Relationship>>,
    ) -> Result<Self, CatalogError> {
        for (table, declared) in &relationships {
            for (name, relationship) in declared {
                check(&schema, table, name, relationship)?;
            }
        }
        Ok(Catalog {
            schema,
            relationships,
        })
    }

    /// The tables.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// A table by its client name.
    pub fn table(&self, name: &str) -> Option<&TableSchema> {
        self.schema.table(name).map(|id| &self.schema[id])
    }

    /// A relationship of a table.
    pub fn relationship(&self, table: &str, name: &str) -> Option<&Relationship> {
        self.relationships.get(table)?.get(name)
    }
}

fn check(
    schema: &Schema,
    source: &str,
    name: &str,
    relationship: &Relationship,
) -> Result<(), CatalogError> {
    let table = || source.to_owned();
    let find = |wanted: &str| match schema.table(wanted) {
        Some(id) => Ok(&schema[id]),
        None => Err(CatalogError::UnknownTable {
            table: table(),
            relationship: name.to_owned(),
            missing: wanted.to_owned(),
        }),
    };
    let mut from = find(source)?;
    if from.column(name).is_some() {
        return Err(CatalogError::NameOfColumn {
            table: table(),
            relationship: name.to_owned(),
        });
    }
    for hop in relationship.hops() {
        let to = find(&hop.table)?;
        let ends = [
            (from, &hop.correlation.parent_field),
            (to, &hop.correlation.child_field),
        ];
        for (of, columns) in ends {
            if let Some(missing) = columns.iter().find(|column| of.column(column).is_none()) {
                return Err(CatalogError::UnknownColumn {
                    table: table(),
                    relationship: name.to_owned(),
                    column: missing.clone(),
                    of: of.name.clone(),
                });
            }
        }
        from = to;
    }
    Ok(())
}

/// A correlation of no columns, or of more on one side than on the other.
struct UnequalFields;

impl TryFrom<HopJson> for Hop {
    type Error = UnequalFields;

    fn try_from(json: HopJson) -> Result<Hop, UnequalFields> {
        if json.source_field.is_empty() || json.source_field.len() != json.dest_field.len() {
            return Err(UnequalFields);
        }
        Ok(Hop {
            table: json.dest_schema,
            correlation: Correlation {
                parent_field: json.source_field,
                child_field: json.dest_field,
            },
            cardinality: json.cardinality,
        })
    }
}

impl Declaration {
    /// A table without columns.
    pub fn new(table: &str, server_name: Option<&str>) -> Declaration {
        Declaration {
            table: table.to_owned(),
            server_name: server_name.map(str::to_owned),
            columns: Vec::new(),
            primary_key: Vec::new(),
            relationships: Vec::new(),
        }
    }

    /// Adds a column.
    #[must_use]
    pub fn column<T, K: Kind>(
        mut self,
        column: typed::Column<T, K>,
        server_name: Option<&str>,
    ) -> Declaration {
        self.columns.push(Column {
            name: column.name().to_owned(),
            server_name: server_name.unwrap_or(column.name()).to_owned(),
            ty: K::TYPE,
            optional: K::OPTIONAL,
        });
        self
    }

    /// Adds a column to the primary key.
    #[must_use]
    pub fn key<T, K>(mut self, column: typed::Column<T, K>) -> Declaration {
        self.primary_key.push(column.name().to_owned());
        self
    }

    /// Adds a relationship.
    #[must_use]
    pub fn relationship<T, D>(mut self, relationship: RelationshipTo<T, D>) -> Declaration {
        let declared = (relationship.name().to_owned(), relationship.hops());
        self.relationships.push(declared);
        self
    }

    fn into_table(self) -> Result<TableSchema, SchemaError> {
        let place = |key: String| {
            let found = self.columns.iter().position(|column| column.name == key);
            found.ok_or_else(|| SchemaError::UnknownKeyColumn {
                table: self.table.clone(),
                column: key,
            })
        };
        let primary_key = self.primary_key.into_iter().map(place);
        Ok(TableSchema {
            primary_key: primary_key.collect::<Result<_, _>>()?,
            server_name: self.server_name.unwrap_or_else(|| self.table.clone()),
            name: self.table.clone(),
            columns: self.columns.clone(),
        })
    }
}
