//! What the application asks for: views, and writes of a mutator.

/// How a query is told to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuerySource {
    /// Not at all: it runs on whatever is local, and never becomes complete.
    Local,
    /// As its AST (legacy queries).
    Ast,
    /// By name; `args_json` is the JSON text of the argument list as the application wrote it (`[]` or `[input]`).
    Named {
        /// The query's name.
        name: String,
        /// Its argument list.
        args_json: String,
    },
}

/// A view or a preload to open.
#[derive(Clone, Debug)]
pub struct ViewRequest {
    /// JSON text of the AST, client names.
    pub ast_json: String,
    /// How the server hears of it.
    pub source: QuerySource,
    /// How long the server keeps it after the last local user has gone, in ms; negative: as long as it may.
    pub ttl_ms: f64,
    /// `false` for a preload: synchronised, but no view is kept.
    pub materialize: bool,
}

/// What a write does with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOp {
    /// Nothing if the key exists; missing optional columns become NULL.
    Insert,
    /// Like update if the key exists, else like insert.
    Upsert,
    /// Only the columns given; nothing if the key does not exist.
    Update,
    /// Only the key columns are read; nothing if the key does not exist.
    Delete,
}
