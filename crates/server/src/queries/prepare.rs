//! A query as the pool takes it: permissions put in, in one canonical form.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use landfall_zql::ast::Ast;
use landfall_zql::normalize::{canonical_bytes, normalize};
use parking_lot::Mutex;

/// A query that is ready to be run.
#[derive(Clone, Debug)]
pub struct PreparedQuery {
    /// The canonical text: equal texts are one query, and share a pipeline.
    pub key: Arc<[u8]>,
    /// The query, with server names.
    pub ast: Arc<Ast>,
    /// The name under which it was first asked for, for traces; empty where it was not asked for by name.
    pub name: Arc<str>,
}

impl PreparedQuery {
    /// Brings a query into its canonical form.
    ///
    /// The key is the complete text, never a hash: a collision would hand out rows.
    pub fn new(ast: &Ast) -> Self {
        PreparedQuery::named("", ast)
    }

    /// The same for a query that was asked for by name.
    pub fn named(name: &str, ast: &Ast) -> Self {
        let key = canonical_bytes(ast).into();
        PreparedQuery {
            key,
            ast: Arc::new(normalize(ast)),
            name: name.into(),
        }
    }
}

/// Queries that somebody holds: thousands of groups that ask the same share one copy.
#[derive(Default)]
pub(super) struct Shared {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    queries: BTreeMap<Arc<[u8]>, Held>,
    /// How many there may be before it is looked for those that nobody holds any more.
    room: usize,
}

/// A query as long as somebody holds it, and its name.
struct Held {
    ast: Weak<Ast>,
    name: Arc<str>,
}

impl Shared {
    /// The same query, in the copy that others hold.
    pub(super) fn share(&self, query: PreparedQuery) -> PreparedQuery {
        let mut known = self.known.lock();
        if let Some((key, held)) = known.queries.get_key_value(&query.key)
            && let Some(ast) = held.ast.upgrade()
        {
            let (key, name) = (key.clone(), held.name.clone());
            return PreparedQuery { key, ast, name };
        }
        if known.queries.len() >= known.room {
            known.queries.retain(|_, held| held.ast.strong_count() > 0);
            known.room = 64 + 2 * known.queries.len();
        }
        let held = Held {
            ast: Arc::downgrade(&query.ast),
            name: query.name.clone(),
        };
        known.queries.insert(query.key.clone(), held);
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_queries_are_one_copy_as_long_as_somebody_holds_it() {
        let shared = Shared::default();
        let query = |table: &str| {
            let table = table.into();
            shared.share(PreparedQuery::new(&Ast {
                table,
                ..Ast::default()
            }))
        };
        let first = query("t");
        assert!(Arc::ptr_eq(&first.ast, &query("t").ast));
        assert!(!Arc::ptr_eq(&first.ast, &query("u").ast));
        for n in 0..1_000 {
            query(&format!("t{n}"));
        }
        assert!(shared.known.lock().queries.len() < 100);
        assert!(Arc::ptr_eq(&first.ast, &query("t").ast));
    }
}
