//! Binding of the parameters that permissions leave in conditions: claims of the user's token, and the row that a
//! mutation is about to change.

use std::borrow::Cow;

use serde_json::Value as Json;
use serde_json::map::Map;

use crate::ast::{Anchor, Ast, Condition, CorrelatedSubquery, Literal, Operand, Path};

/// Where the values of parameters come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct StaticParameters<'a> {
    /// The claims of the user's token; without them every parameter on them is NULL.
    pub auth_data: Option<&'a Json>,
    /// The row before a mutation, by column; without it every parameter on it is NULL.
    pub pre_mutation_row: Option<&'a Map<String, Json>>,
}

/// The query with literals in place of parameters, subqueries included.
///
/// A path that leads nowhere gives NULL, which no comparison but `IS` and `IS NOT` is true of. Values of a kind that a
/// comparison refuses, such as objects, are kept, so that the query fails instead of being true by accident.
pub fn bind_static_parameters(ast: &Ast, parameters: StaticParameters<'_>) -> Ast {
    Ast {
        condition: ast
            .condition
            .as_ref()
            .map(|condition| bind_condition(condition, parameters)),
        related: ast.related.as_ref().map(|related| {
            let related = related.iter();
            related.map(|one| bind_subquery(one, parameters)).collect()
        }),
        schema: ast.schema.clone(),
        table: ast.table.clone(),
        alias: ast.alias.clone(),
        start: ast.start.clone(),
        limit: ast.limit,
        order_by: ast.order_by.clone(),
    }
}

/// A condition with literals in place of parameters; see [`bind_static_parameters`].
pub fn bind_condition(condition: &Condition, parameters: StaticParameters<'_>) -> Condition {
    let all = |conditions: &[Condition]| {
        let conditions = conditions.iter();
        conditions
            .map(|one| bind_condition(one, parameters))
            .collect()
    };
    match condition {
        Condition::Simple { left, right, op } => Condition::Simple {
            left: bind_operand(left, parameters),
            right: bind_operand(right, parameters),
            op: *op,
        },
        Condition::And { conditions } => Condition::And {
            conditions: all(conditions),
        },
        Condition::Or { conditions } => Condition::Or {
            conditions: all(conditions),
        },
        Condition::CorrelatedSubquery {
            related,
            op,
            flip,
            scalar,
        } => Condition::CorrelatedSubquery {
            related: Box::new(bind_subquery(related, parameters)),
            op: *op,
            flip: *flip,
            scalar: *scalar,
        },
    }
}

fn bind_subquery(
    related: &CorrelatedSubquery,
    parameters: StaticParameters<'_>,
) -> CorrelatedSubquery {
    CorrelatedSubquery {
        system: related.system,
        correlation: related.correlation.clone(),
        hidden: related.hidden,
        subquery: Box::new(bind_static_parameters(&related.subquery, parameters)),
    }
}

/// An operand with a literal in place of a parameter; see [`bind_static_parameters`].
pub fn bind_operand(operand: &Operand, parameters: StaticParameters<'_>) -> Operand {
    let Operand::Static { anchor, field } = operand else {
        return operand.clone();
    };
    let path: Cow<'_, [String]> = match field {
        Path::Name(name) => vec![name.clone()].into(),
        Path::Names(names) => names.into(),
    };
    let value = match anchor {
        Anchor::AuthData => member(parameters.auth_data, &path),
        Anchor::PreMutationRow => match path.split_first() {
            Some((column, rest)) => {
                let row = parameters.pre_mutation_row;
                member(row.and_then(|row| row.get(column)), rest)
            }
            None => None,
        },
    };
    Operand::Literal {
        value: value.cloned().map_or(Literal::Null, Literal::from),
    }
}

fn member<'a>(value: Option<&'a Json>, path: &[String]) -> Option<&'a Json> {
    path.iter().try_fold(value?, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Binds `@anchor.path` parameters on the right of `c = …`.
    fn check(anchor: &str, field: &str, expected: &str) {
        let auth_data = json!({"sub": "u1", "role": {"name": "admin"}, "groups": ["a", "b"], "n": 1, "no": null});
        let row = json!({"id": "r1", "meta": {"k": true}});
        let condition = |right: &str| {
            let simple = format!(
                r#"{{"type":"simple","left":{{"type":"column","name":"c"}},"right":{right},"op":"="}}"#
            );
            let exists = format!(
                r#"{{"type":"correlatedSubquery","related":{{"correlation":{{"parentField":["a"],"childField":["b"]}},"subquery":{{"table":"u","where":{simple}}}}},"op":"EXISTS"}}"#
            );
            format!(
                r#"{{"table":"t","where":{{"type":"or","conditions":[{{"type":"and","conditions":[{simple}]}},{exists}]}},"related":[{{"correlation":{{"parentField":["a"],"childField":["b"]}},"subquery":{{"table":"u","where":{simple}}}}}]}}"#
            )
        };
        let given = condition(&format!(
            r#"{{"type":"static","anchor":"{anchor}","field":{field}}}"#
        ));
        let wanted = condition(&format!(r#"{{"type":"literal","value":{expected}}}"#));
        let parameters = StaticParameters {
            auth_data: Some(&auth_data),
            pre_mutation_row: row.as_object(),
        };
        let bound = bind_static_parameters(&serde_json::from_str(&given).unwrap(), parameters);
        assert_eq!(bound.to_json(), wanted);
        let unknown = StaticParameters::default();
        let bound = bind_static_parameters(&serde_json::from_str(&given).unwrap(), unknown);
        assert_eq!(
            bound.to_json(),
            condition(r#"{"type":"literal","value":null}"#)
        );
    }

    #[test]
    fn parameters() {
        check("authData", r#""sub""#, r#""u1""#);
        check("authData", r#"["role","name"]"#, r#""admin""#);
        check("authData", r#""groups""#, r#"["a","b"]"#);
        check("authData", r#""n""#, "1");
        check("authData", r#""no""#, "null");
        check("authData", r#""missing""#, "null");
        check("authData", r#"["sub","deeper"]"#, "null");
        check("authData", r#"["role"]"#, r#"{"name":"admin"}"#);
        check("preMutationRow", r#""id""#, r#""r1""#);
        check("preMutationRow", r#"["meta","k"]"#, "true");
        check("preMutationRow", r#""x""#, "null");
    }
}
