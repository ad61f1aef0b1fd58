//! A whole backend in one file: tables, who may read them, what can be asked, and what can be done.
//!
//! Run it on a new SQLite file: `cargo run -p landfall-example-rust-server -- --upstream-db todo.db --dev`,
//! or in front of Postgres with `--upstream-db postgres://…`. It takes all settings of `landfall-server`.

use std::process::ExitCode;

use landfall_server::app::{App, AppError, Transaction};
use landfall_zql::builder::{CatalogError, Parameter, Query};
use serde::{Deserialize, Serialize};
use serde_json::json;

landfall_zql::tables! {
    /// Lists belong to one user, who may open them to all others.
    pub mod list = "list" {
        columns {
            ID: String = "id",
            OWNER_ID: String = "ownerID" as "owner_id",
            NAME: String = "name",
            SHARED: bool = "shared",
        }
        key (ID)
        relationships {
            many TODOS = "todos": todo(ID = LIST_ID),
        }
    }

    /// What is on a list.
    pub mod todo = "todo" {
        columns {
            ID: String = "id",
            LIST_ID: String = "listID" as "list_id",
            TEXT: String = "text",
            DONE: bool = "done",
            RANK: f64 = "rank",
        }
        key (ID)
        relationships {
            one LIST = "list": list(LIST_ID = ID),
        }
    }
}

/// The tables of a new SQLite file. In Postgres a migration makes them.
const SQLITE: &str = "
    CREATE TABLE list (
        id TEXT PRIMARY KEY NOT NULL, owner_id TEXT NOT NULL, name TEXT NOT NULL,
        shared INTEGER NOT NULL CHECK (shared IN (0, 1))
    ) STRICT;
    CREATE TABLE todo (
        id TEXT PRIMARY KEY NOT NULL, list_id TEXT NOT NULL REFERENCES list, text TEXT NOT NULL,
        done INTEGER NOT NULL CHECK (done IN (0, 1)), rank REAL NOT NULL
    ) STRICT;";

const MOST_TODOS: usize = 1_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    id: String,
    #[serde(rename = "ownerID", default)]
    owner_id: String,
    name: String,
    #[serde(default)]
    shared: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Todo {
    id: String,
    #[serde(rename = "listID")]
    list_id: String,
    text: String,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    rank: f64,
}

#[derive(Deserialize)]
struct Done {
    id: String,
    done: bool,
}

fn app() -> Result<App, CatalogError> {
    let own = || list::OWNER_ID.eq(Parameter::claim("sub"));
    let mine = || own().or(list::SHARED.eq(true));
    Ok(App::new(catalog()?)
        .new_file(SQLITE)
        // Rules hold at every level of every query.
        .readable(list::Table, mine())
        .readable(
            todo::Table,
            todo::LIST.exists_in(|list| list.filter(mine())),
        )
        // The row as it was, and as it is to be: nobody gives a list away.
        .insertable(list::Table, own())
        .updatable(list::Table, own(), own())
        .deletable(list::Table, own())
        .query("lists", |_caller, ()| {
            Query::of(list::Table).order_by(list::NAME.asc())
        })
        .query("list", |_caller, id: String| {
            Query::of(list::Table)
                .filter(list::ID.eq(id))
                .related_in(list::TODOS, |todo| todo.order_by(todo::RANK.asc()))
                .one()
        })
        .query("todo.search", |_caller, words: String| match words.trim() {
            "" => Err(AppError::new("Search for what?")),
            words => Ok(Query::of(todo::Table)
                .filter(todo::TEXT.ilike(format!("%{words}%")))
                .limit(50)),
        })
        .mutator("list.create", |tx, new: List| {
            let owner_id = user(tx)?;
            tx.insert(list::Table, &List { owner_id, ..new })
        })
        .mutator("todo.add", |tx, new: Todo| {
            own_list(tx, &new.list_id)?;
            let query = Query::of(todo::Table).filter(todo::LIST_ID.eq(&new.list_id));
            let others: Vec<Todo> = tx.all(query)?;
            if others.len() >= MOST_TODOS {
                return Err(
                    AppError::new("This list is full").with_details(json!({"most": MOST_TODOS}))
                );
            }
            let last = others.iter().map(|todo| todo.rank).fold(0.0, f64::max);
            tx.insert(
                todo::Table,
                &Todo {
                    rank: last + 1.0,
                    done: false,
                    ..new
                },
            )
        })
        .mutator("todo.setDone", |tx, Done { id, done }| {
            let query = Query::of(todo::Table).filter(todo::ID.eq(&id));
            let todo: Option<Todo> = tx.one(query)?;
            let todo = todo.ok_or(AppError::new("This is not on any list"))?;
            own_list(tx, &todo.list_id)?;
            tx.update(todo::Table, [todo::ID.at(id), todo::DONE.at(done)])
        }))
}

fn user(tx: &Transaction<'_>) -> Result<String, AppError> {
    let user = tx.caller().user().ok_or(AppError::new("Log in first"))?;
    Ok(user.to_owned())
}

/// Others may read a shared list; only its owner writes on it.
fn own_list(tx: &Transaction<'_>, id: &str) -> Result<(), AppError> {
    let own = list::ID.eq(id).and(list::OWNER_ID.eq(user(tx)?));
    match tx.exists(Query::of(list::Table).filter(own))? {
        true => Ok(()),
        false => Err(AppError::new("This list is not yours")),
    }
}

fn main() -> ExitCode {
    match app() {
        Ok(app) => landfall_server::main(app),
        Err(error) => {
            eprintln!("the tables: {error}");
            ExitCode::FAILURE
        }
    }
}
