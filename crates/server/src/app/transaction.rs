//! The transaction of a mutator: typed writes and queries.

use landfall_ivm::{Choice, Pipeline, evaluate};
use landfall_zql::TableSchema;
use landfall_zql::ast::Literal;
use landfall_zql::builder::{Catalog, Cell, Query, Table};
use landfall_zql::name_mapping::ast_for_server;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::answer;
use super::caller::Caller;
use super::error::AppError;
use crate::upstream::{CrudKind, CrudOp, MutationTransaction};

/// The transaction of a mutator. Names are those of the declared tables.
pub struct Transaction<'a> {
    inner: &'a mut dyn MutationTransaction,
    catalog: &'a Catalog,
    caller: &'a Caller,
}

/// Columns of a row with their values: a structure or map that serialises to an object (`&issue`), or cells
/// (`[issue::ID.at("1"), issue::OPEN.at(false)]`).
pub trait Values<T> {
    /// By client name.
    ///
    /// # Errors
    /// It is not an object, or has a value that no column can hold.
    fn into_values(self) -> Result<Map<String, Json>, AppError>;
}

impl<T, S: Serialize> Values<T> for &S {
    fn into_values(self) -> Result<Map<String, Json>, AppError> {
        match serde_json::to_value(self) {
            Ok(Json::Object(values)) => Ok(values),
            Ok(_) => Err(AppError::new("a row has to be an object")),
            Err(error) => Err(AppError::new(format!("a row cannot be written: {error}"))),
        }
    }
}

impl<T, const N: usize> Values<T> for [Cell<T>; N] {
    fn into_values(self) -> Result<Map<String, Json>, AppError> {
        self.into_iter()
            .map(|cell| {
                let (column, value) = cell.into_parts();
                Ok((column.to_owned(), json(value?)))
            })
            .collect()
    }
}

fn json(literal: Literal) -> Json {
    match literal {
        Literal::Null => Json::Null,
        Literal::Bool(value) => value.into(),
        // Integers stay integers: columns of integers insist on it.
        Literal::Number(value) if value.fract() == 0.0 && value.abs() < 9.1e15 => {
            (value as i64).into()
        }
        Literal::Number(value) => value.into(),
        Literal::String(value) => value.into(),
        // Cells hold none.
        Literal::Array(_) | Literal::Json(_) => Json::Null,
    }
}

impl<'a> Transaction<'a> {
    pub(super) fn new(
        inner: &'a mut dyn MutationTransaction,
        catalog: &'a Catalog,
        caller: &'a Caller,
    ) -> Self {
        Transaction {
            inner,
            catalog,
            caller,
        }
    }

    /// Whose mutation it is.
    pub fn caller(&self) -> &'a Caller {
        self.caller
    }

    /// Adds a row; nothing if its key is taken.
    ///
    /// # Errors
    /// The database refuses, or a name or value does not fit the table. The mutation has failed then.
    pub fn insert<T: Table>(&mut self, _: T, row: impl Values<T>) -> Result<(), AppError> {
        self.write(CrudKind::Insert, T::NAME, row.into_values()?)
    }

    /// Adds a row, or sets its columns if the key is taken.
    ///
    /// # Errors
    /// As [`Transaction::insert`].
    pub fn upsert<T: Table>(&mut self, _: T, row: impl Values<T>) -> Result<(), AppError> {
        self.write(CrudKind::Upsert, T::NAME, row.into_values()?)
    }

    /// Sets the given columns of the row with the given key; nothing if there is none.
    ///
    /// # Errors
    /// As [`Transaction::insert`].
    pub fn update<T: Table>(&mut self, _: T, row: impl Values<T>) -> Result<(), AppError> {
        self.write(CrudKind::Update, T::NAME, row.into_values()?)
    }

    /// Removes the row with the given key; nothing if there is none. Other columns are not looked at.
    ///
    /// # Errors
    /// As [`Transaction::insert`].
    pub fn delete<T: Table>(&mut self, _: T, key: impl Values<T>) -> Result<(), AppError> {
        let mut values = key.into_values()?;
        let table = self.table(T::NAME)?;
        let keys: Vec<&str> = table
            .primary_key
            .iter()
            .map(|&column| table.columns[column].name.as_str())
            .collect();
        values.retain(|name, _| keys.contains(&name.as_str()));
        self.write(CrudKind::Delete, T::NAME, values)
    }

    /// All rows of a query, with what is written so far. Read rules do not hold here: the mutator decides.
    ///
    /// # Errors
    /// The query cannot be run, or its rows are not `R`s.
    pub fn all<R: DeserializeOwned, T: Table>(&self, query: Query<T>) -> Result<Vec<R>, AppError> {
        let built = query.build()?;
        let failed = |error: &dyn std::fmt::Display| AppError::new(format!("a query: {error}"));
        let ast = ast_for_server(&built.ast, self.catalog.schema()).map_err(|e| failed(&e))?;
        let source = self.inner.rows();
        let pipeline =
            Pipeline::plan(&ast, source.schema(), Choice::Driven).map_err(|e| failed(&e))?;
        let entries = evaluate(&pipeline, source).map_err(|e| failed(&e.message))?;
        let answer = answer::Answer {
            rows: source.schema(),
            catalog: self.catalog,
        };
        entries
            .iter()
            .map(|entry| {
                let row = answer
                    .row(entry, &ast, &built.format)
                    .ok_or_else(|| AppError::new("a query: the tables have changed meanwhile"))?;
                serde_json::from_value(row).map_err(|error| {
                    AppError::new(format!("a row of {} does not fit: {error}", T::NAME))
                })
            })
            .collect()
    }

    /// The first row of a query.
    ///
    /// # Errors
    /// As [`Transaction::all`].
    pub fn one<R: DeserializeOwned, T: Table>(
        &self,
        query: Query<T>,
    ) -> Result<Option<R>, AppError> {
        Ok(self.all(query.one())?.into_iter().next())
    }

    /// Whether a query has any row.
    ///
    /// # Errors
    /// As [`Transaction::all`].
    pub fn exists<T: Table>(&self, query: Query<T>) -> Result<bool, AppError> {
        Ok(!self
            .all::<serde::de::IgnoredAny, T>(query.limit(1))?
            .is_empty())
    }

    fn write(
        &mut self,
        kind: CrudKind,
        table: &str,
        values: Map<String, Json>,
    ) -> Result<(), AppError> {
        let table = self.table(table)?;
        let mut renamed = Map::new();
        for (name, value) in values {
            let Some(column) = table.column(&name) else {
                return Err(AppError::new(format!(
                    "table {:?} has no column {name:?}",
                    table.name
                )));
            };
            renamed.insert(table.columns[column].server_name.clone(), value);
        }
        let primary_key = table
            .primary_key
            .iter()
            .map(|&column| table.columns[column].server_name.clone());
        let op = CrudOp {
            kind,
            table: table.server_name.clone(),
            primary_key: primary_key.collect(),
            value: Json::Object(renamed).to_string(),
        };
        Ok(self.inner.write(&op)?)
    }

    fn table(&self, name: &str) -> Result<&'a TableSchema, AppError> {
        self.catalog
            .table(name)
            .ok_or_else(|| AppError::new(format!("the table {name:?} is not in the app's catalog")))
    }
}
