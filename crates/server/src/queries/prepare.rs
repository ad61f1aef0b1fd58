//! A query as the pool takes it: permissions put in, in one canonical form.

use std::sync::Arc;

use landfall_zql::ast::Ast;
use landfall_zql::normalize::{canonical_bytes, normalize};

/// A query that is ready to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedQuery {
    /// The canonical text: equal texts are one query, and share a pipeline.
    pub key: Arc<[u8]>,
    /// The query, with server names.
    pub ast: Arc<Ast>,
}

impl PreparedQuery {
    /// Brings a query into its canonical form.
    ///
    /// The key is the complete text, never a hash: a collision would hand out rows.
    pub fn new(ast: &Ast) -> Self {
        let key = canonical_bytes(ast).into();
        PreparedQuery {
            key,
            ast: Arc::new(normalize(ast)),
        }
    }
}
