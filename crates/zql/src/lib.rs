//! Values, packed rows, schema, AST, predicates and ordering of Landfall's query language
