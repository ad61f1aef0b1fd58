//! The normal form of a query, its hash, and the bytes under which two queries are one.
//!
//! [`normalize`] flattens nested groups, folds constants, and sorts the members of groups and the relationships. Our
//! normal form differs from Zero's where Zero's confuses queries: a condition that is always false stays, as an empty
//! `or`, so it never shares a hash with "no condition" (an empty `and`, which disappears); groups always sort after
//! subqueries, so normalising twice changes nothing.
//!
//! The hash keeps the order in which the caller wrote conditions that sort alike (two subqueries on one relationship),
//! as the client's TypeScript does. [`canonical_bytes`] has no such ties.

use std::cmp::Ordering;
use std::fmt::Write as _;

use crate::ast::{
    Anchor, Ast, Condition, CorrelatedSubquery, Direction, ExistsOperator, Literal, Operand, Path,
    System,
};
use crate::hash::{base36, h64};
use crate::sort::sort_by;
use crate::value::{ValueRef, write_json};

/// The normal form.
pub fn normalize(ast: &Ast) -> Ast {
    normal(ast, Ties::AsWritten)
}

/// The id of a query by its content: the hash of its normal form.
pub fn hash_of_ast(ast: &Ast) -> String {
    base36(h64(&json(&normalize(ast))))
}

/// A complete serialisation, literals with their types, that two queries share if and only if they differ in nothing
/// but the order and repetition of conditions, nesting and constants. Such queries have the same rows for ever.
pub fn canonical_bytes(ast: &Ast) -> Vec<u8> {
    json(&normal(ast, Ties::ByText)).into_bytes()
}

/// What decides between conditions that sort alike.
#[derive(Clone, Copy, PartialEq)]
enum Ties {
    AsWritten,
    ByText,
}

fn normal(ast: &Ast, ties: Ties) -> Ast {
    let mut related = ast.related.as_ref().map(|related| {
        let related = related.iter();
        related.map(|one| subquery(one, ties)).collect::<Vec<_>>()
    });
    if let Some(related) = &mut related {
        sort_by(related, |a, b| alias(a).cmp(alias(b)));
    }
    Ast {
        condition: ast
            .condition
            .as_ref()
            .map(|where_| sorted(simplified(where_), ties))
            .filter(|where_| !is_empty_and(where_)),
        related,
        ..shallow(ast)
    }
}

/// A copy without condition and relationships.
fn shallow(ast: &Ast) -> Ast {
    Ast {
        schema: ast.schema.clone(),
        table: ast.table.clone(),
        alias: ast.alias.clone(),
        condition: None,
        related: None,
        start: ast.start.clone(),
        limit: ast.limit,
        order_by: ast.order_by.clone(),
    }
}

fn subquery(related: &CorrelatedSubquery, ties: Ties) -> CorrelatedSubquery {
    CorrelatedSubquery {
        system: related.system,
        correlation: related.correlation.clone(),
        hidden: related.hidden,
        subquery: Box::new(normal(&related.subquery, ties)),
    }
}

fn is_empty_and(condition: &Condition) -> bool {
    matches!(condition, Condition::And { conditions } if conditions.is_empty())
}

fn is_empty_or(condition: &Condition) -> bool {
    matches!(condition, Condition::Or { conditions } if conditions.is_empty())
}

/// Without groups in groups of their own kind, groups of one, and constants in groups.
fn simplified(condition: &Condition) -> Condition {
    match condition {
        Condition::And { conditions } => {
            let mut kept = Vec::with_capacity(conditions.len());
            for condition in conditions.iter().map(simplified) {
                match condition {
                    Condition::And { conditions } => kept.extend(conditions),
                    other => kept.push(other),
                }
            }
            if let Some(never) = kept.iter().position(is_empty_or) {
                return kept.swap_remove(never);
            }
            single(kept).unwrap_or_else(|conditions| Condition::And { conditions })
        }
        Condition::Or { conditions } => {
            let mut kept = Vec::with_capacity(conditions.len());
            for condition in conditions.iter().map(simplified) {
                match condition {
                    Condition::Or { conditions } => kept.extend(conditions),
                    other => kept.push(other),
                }
            }
            if let Some(always) = kept.iter().position(is_empty_and) {
                return kept.swap_remove(always);
            }
            single(kept).unwrap_or_else(|conditions| Condition::Or { conditions })
        }
        leaf => leaf.clone(),
    }
}

fn single(mut conditions: Vec<Condition>) -> Result<Condition, Vec<Condition>> {
    match conditions.len() {
        1 => Ok(conditions.swap_remove(0)),
        _ => Err(conditions),
    }
}

fn sorted(condition: Condition, ties: Ties) -> Condition {
    let sort = |conditions: Vec<Condition>| {
        let conditions = conditions.into_iter();
        let mut conditions: Vec<_> = conditions.map(|one| sorted(one, ties)).collect();
        match ties {
            Ties::AsWritten => sort_by(&mut conditions, compare_conditions),
            Ties::ByText => {
                let keyed = conditions
                    .into_iter()
                    .map(|one| (condition_json(&one), one));
                let mut keyed: Vec<(String, Condition)> = keyed.collect();
                sort_by(&mut keyed, |a, b| a.0.cmp(&b.0));
                conditions = keyed.into_iter().map(|(_, one)| one).collect();
                conditions.dedup();
            }
        }
        conditions
    };
    match condition {
        Condition::And { conditions } => {
            single(sort(conditions)).unwrap_or_else(|conditions| Condition::And { conditions })
        }
        Condition::Or { conditions } => {
            single(sort(conditions)).unwrap_or_else(|conditions| Condition::Or { conditions })
        }
        Condition::CorrelatedSubquery {
            related,
            op,
            flip,
            scalar,
        } => Condition::CorrelatedSubquery {
            related: Box::new(subquery(&related, ties)),
            op,
            flip,
            scalar,
        },
        simple @ Condition::Simple { .. } => simple,
    }
}

/// Comparisons, then subqueries, then groups; each kind by its own order.
fn compare_conditions(a: &Condition, b: &Condition) -> Ordering {
    match (a, b) {
        (
            Condition::Simple { left, right, op },
            Condition::Simple {
                left: other_left,
                right: other_right,
                op: other_op,
            },
        ) => compare_operands(left, other_left)
            .then_with(|| op.name().cmp(other_op.name()))
            .then_with(|| compare_operands(right, other_right)),
        (
            Condition::CorrelatedSubquery {
                related,
                op,
                flip,
                scalar,
            },
            Condition::CorrelatedSubquery {
                related: other_related,
                op: other_op,
                flip: other_flip,
                scalar: other_scalar,
            },
        ) => alias(related)
            .cmp(alias(other_related))
            .then_with(|| op.cmp(other_op))
            .then_with(|| flip.cmp(other_flip))
            .then_with(|| scalar.cmp(other_scalar)),
        (Condition::And { conditions }, Condition::And { conditions: other })
        | (Condition::Or { conditions }, Condition::Or { conditions: other }) => {
            let pairs = conditions.iter().zip(other);
            pairs
                .map(|(a, b)| compare_conditions(a, b))
                .find(|ordering| ordering.is_ne())
                .unwrap_or_else(|| conditions.len().cmp(&other.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

fn rank(condition: &Condition) -> u8 {
    match condition {
        Condition::Simple { .. } => 0,
        Condition::CorrelatedSubquery { .. } => 1,
        Condition::And { .. } => 2,
        Condition::Or { .. } => 3,
    }
}

fn alias(related: &CorrelatedSubquery) -> &str {
    related.subquery.alias.as_deref().unwrap_or_default()
}

fn compare_operands(a: &Operand, b: &Operand) -> Ordering {
    let key = |operand: &Operand| match operand {
        Operand::Column { name } => ("column", name.clone()),
        Operand::Literal { value } => ("literal", plain_text(value)),
        Operand::Static { field, .. } => (
            "static",
            match field {
                Path::Name(name) => name.clone(),
                Path::Names(names) => names.join(","),
            },
        ),
    };
    key(a).cmp(&key(b))
}

/// The text that JavaScript makes of a literal: no quotes, lists joined by commas.
fn plain_text(literal: &Literal) -> String {
    match literal {
        Literal::String(text) | Literal::Json(text) => text.clone(),
        Literal::Array(members) => {
            let members: Vec<_> = members.iter().map(plain_text).collect();
            members.join(",")
        }
        other => {
            let mut out = String::new();
            write_literal(other, &mut out);
            out
        }
    }
}

fn json(ast: &Ast) -> String {
    let mut out = String::new();
    write_ast(ast, &mut out);
    out
}

fn condition_json(condition: &Condition) -> String {
    let mut out = String::new();
    write_condition(condition, &mut out);
    out
}

/// Writes the members of one object, separated.
struct Members<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Members<'a> {
    fn new(out: &'a mut String) -> Self {
        out.push('{');
        Members { out, first: true }
    }

    fn name(&mut self, name: &str) -> &mut String {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        write_text(name, self.out);
        self.out.push(':');
        self.out
    }

    fn text(&mut self, name: &str, text: &str) {
        write_text(text, self.name(name));
    }

    fn flag(&mut self, name: &str, flag: Option<bool>) {
        if let Some(flag) = flag {
            write_json(ValueRef::Bool(flag), self.name(name));
        }
    }

    fn end(self) {
        self.out.push('}');
    }
}

fn write_text(text: &str, out: &mut String) {
    write_json(ValueRef::String(text), out);
}

fn write_list<T>(items: &[T], out: &mut String, mut write: impl FnMut(&T, &mut String)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}

fn write_ast(ast: &Ast, out: &mut String) {
    let mut members = Members::new(out);
    if let Some(schema) = &ast.schema {
        members.text("schema", schema);
    }
    members.text("table", &ast.table);
    if let Some(alias) = &ast.alias {
        members.text("alias", alias);
    }
    if let Some(condition) = &ast.condition {
        write_condition(condition, members.name("where"));
    }
    if let Some(related) = &ast.related {
        write_list(related, members.name("related"), write_related);
    }
    if let Some(start) = &ast.start {
        let mut start_members = Members::new(members.name("start"));
        let mut row = Members::new(start_members.name("row"));
        for (name, value) in &start.row {
            write_literal(value, row.name(name));
        }
        row.end();
        start_members.flag("exclusive", Some(start.exclusive));
        start_members.end();
    }
    if let Some(limit) = ast.limit {
        // Writing to a String cannot fail.
        let _ = write!(members.name("limit"), "{limit}");
    }
    if let Some(order_by) = &ast.order_by {
        write_list(
            order_by,
            members.name("orderBy"),
            |(column, direction), out| {
                out.push('[');
                write_text(column, out);
                out.push_str(match direction {
                    Direction::Asc => r#","asc"]"#,
                    Direction::Desc => r#","desc"]"#,
                });
            },
        );
    }
    members.end();
}

/// An entry of `related`; its members have another order than those of a subquery in a condition.
fn write_related(related: &CorrelatedSubquery, out: &mut String) {
    let mut members = Members::new(out);
    write_correlation(related, members.name("correlation"));
    members.flag("hidden", related.hidden);
    write_ast(&related.subquery, members.name("subquery"));
    write_system(related.system, &mut members);
    members.end();
}

fn write_condition_subquery(related: &CorrelatedSubquery, out: &mut String) {
    let mut members = Members::new(out);
    write_system(related.system, &mut members);
    write_correlation(related, members.name("correlation"));
    members.flag("hidden", related.hidden);
    write_ast(&related.subquery, members.name("subquery"));
    members.end();
}

fn write_system(system: Option<System>, members: &mut Members<'_>) {
    let name = match system {
        Some(System::Permissions) => "permissions",
        Some(System::Client) => "client",
        Some(System::Test) => "test",
        None => return,
    };
    members.text("system", name);
}

fn write_correlation(related: &CorrelatedSubquery, out: &mut String) {
    let mut members = Members::new(out);
    let write = |name: &String, out: &mut String| write_text(name, out);
    let correlation = &related.correlation;
    write_list(
        &correlation.parent_field,
        members.name("parentField"),
        write,
    );
    write_list(&correlation.child_field, members.name("childField"), write);
    members.end();
}

fn write_condition(condition: &Condition, out: &mut String) {
    let mut members = Members::new(out);
    match condition {
        Condition::Simple { left, right, op } => {
            members.text("type", "simple");
            write_operand(left, members.name("left"));
            write_operand(right, members.name("right"));
            members.text("op", op.name());
        }
        Condition::And { conditions } => {
            members.text("type", "and");
            write_list(conditions, members.name("conditions"), write_condition);
        }
        Condition::Or { conditions } => {
            members.text("type", "or");
            write_list(conditions, members.name("conditions"), write_condition);
        }
        Condition::CorrelatedSubquery {
            related,
            op,
            flip,
            scalar,
        } => {
            members.text("type", "correlatedSubquery");
            write_condition_subquery(related, members.name("related"));
            let op = match op {
                ExistsOperator::Exists => "EXISTS",
                ExistsOperator::NotExists => "NOT EXISTS",
            };
            members.text("op", op);
            members.flag("flip", *flip);
            members.flag("scalar", *scalar);
        }
    }
    members.end();
}

fn write_operand(operand: &Operand, out: &mut String) {
    let mut members = Members::new(out);
    match operand {
        Operand::Literal { value } => {
            members.text("type", "literal");
            write_literal(value, members.name("value"));
        }
        Operand::Column { name } => {
            members.text("type", "column");
            members.text("name", name);
        }
        Operand::Static { anchor, field } => {
            members.text("type", "static");
            let anchor = match anchor {
                Anchor::AuthData => "authData",
                Anchor::PreMutationRow => "preMutationRow",
            };
            members.text("anchor", anchor);
            match field {
                Path::Name(name) => members.text("field", name),
                Path::Names(names) => write_list(names, members.name("field"), |name, out| {
                    write_text(name, out);
                }),
            }
        }
    }
    members.end();
}

fn write_literal(literal: &Literal, out: &mut String) {
    match literal {
        Literal::Null => write_json(ValueRef::Null, out),
        Literal::Bool(value) => write_json(ValueRef::Bool(*value), out),
        Literal::Number(value) => write_json(ValueRef::Number(*value), out),
        Literal::String(value) => write_text(value, out),
        Literal::Array(members) => write_list(members, out, write_literal),
        Literal::Json(text) => out.push_str(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ast(json: &str) -> Ast {
        Ast::from_json(json).unwrap()
    }

    fn with_where(condition: &str) -> Ast {
        ast(&format!(r#"{{"table":"a","where":{condition}}}"#))
    }

    fn equal(column: &str, value: &str) -> String {
        format!(
            r#"{{"type":"simple","left":{{"type":"column","name":"{column}"}},"right":{{"type":"literal","value":{value}}},"op":"="}}"#
        )
    }

    fn group(kind: &str, conditions: &[&str]) -> String {
        let conditions = conditions.join(",");
        format!(r#"{{"type":"{kind}","conditions":[{conditions}]}}"#)
    }

    fn exists(alias: &str, condition: &str) -> String {
        format!(
            r#"{{"type":"correlatedSubquery","related":{{"correlation":{{"parentField":["id"],"childField":["pid"]}},"subquery":{{"table":"c","alias":"{alias}","where":{condition}}}}},"op":"EXISTS"}}"#
        )
    }

    #[test]
    fn known_hashes() {
        let check =
            |json: &str, expected: &str| assert_eq!(hash_of_ast(&ast(json)), expected, "{json}");
        check(r#"{"table":"a"}"#, "48cjgk38l6ll");
        check(r#"{"table":"issue"}"#, "2uh1iy5olazzo");
        check(
            r#"{"table":"a","start":{"row":{"j":{"b":1,"a":[{"d":1,"c":null}]},"b":2},"exclusive":true}}"#,
            "w1ez6oa3bqwg",
        );
        let (a, b) = (equal("a", r#""x""#), equal("b", "2"));
        for conditions in [[&*a, &*b], [&*b, &*a]] {
            let condition = group("and", &conditions);
            check(
                &format!(
                    r#"{{"table":"issue","where":{condition},"limit":10,"orderBy":[["id","asc"]]}}"#
                ),
                "4mbyb4k8plfc",
            );
        }
        let related = |alias: &str| {
            format!(
                r#"{{"system":"client","correlation":{{"parentField":["id"],"childField":["issueID"]}},"subquery":{{"table":"comment","alias":"{alias}"}}}}"#
            )
        };
        check(
            &format!(r#"{{"table":"issue","related":[{}]}}"#, related("comments")),
            "35a5uyssiepb7",
        );
        check(
            &format!(
                r#"{{"table":"issue","where":{{"type":"correlatedSubquery","related":{},"op":"EXISTS"}}}}"#,
                related("zsubq_comments")
            ),
            "i7o9guawuu7u",
        );
    }

    #[test]
    fn constants() {
        let check = |condition: &str, expected: Option<&str>| {
            let normal = normalize(&with_where(condition)).condition;
            let text = normal.as_ref().map(condition_json);
            assert_eq!(text.as_deref(), expected, "{condition}");
        };
        let never = group("or", &[]);
        let always = group("and", &[]);
        let a = equal("a", "1");
        check(&always, None);
        check(&never, Some(&never));
        check(&group("and", &[&never, &a]), Some(&never));
        check(&group("or", &[&always, &a]), None);
        check(&group("or", &[&never, &a]), Some(&a));
        check(&group("and", &[&always, &a]), Some(&a));
        check(
            &group("or", &[&group("and", &[&a, &never]), &never]),
            Some(&never),
        );
        check(
            &group("and", &[&group("and", &[&group("and", &[&a])])]),
            Some(&a),
        );
    }

    #[test]
    fn false_is_not_the_absence_of_a_condition() {
        let all = ast(r#"{"table":"a"}"#);
        let none = with_where(&group("or", &[]));
        assert_ne!(hash_of_ast(&all), hash_of_ast(&none));
        assert_ne!(canonical_bytes(&all), canonical_bytes(&none));
        let also_all = with_where(&group("and", &[]));
        assert_eq!(hash_of_ast(&all), hash_of_ast(&also_all));
        assert_eq!(canonical_bytes(&all), canonical_bytes(&also_all));
    }

    #[test]
    fn the_order_of_conditions() {
        let (a, b) = (equal("a", "1"), equal("b", "1"));
        let subquery = exists("x", &a);
        let either = group("or", &[&a, &b]);
        let sorted = group("and", &[&a, &b, &subquery, &either]);
        for order in [
            [&either, &subquery, &b, &a],
            [&subquery, &either, &a, &b],
            [&b, &a, &either, &subquery],
        ] {
            let order = order.map(String::as_str);
            let normal = normalize(&with_where(&group("and", &order)));
            assert_eq!(condition_json(normal.condition.as_ref().unwrap()), sorted);
            assert_eq!(normalize(&normal), normal);
        }
    }

    #[test]
    fn canonical_bytes_have_no_ties_and_confuse_no_types() {
        let check = |a: &str, b: &str, same: bool| {
            let (x, y) = (with_where(a), with_where(b));
            assert_eq!(canonical_bytes(&x) == canonical_bytes(&y), same, "{a} {b}");
        };
        let (one, text) = (equal("n", "1"), equal("n", r#""1""#));
        check(&one, &text, false);
        check(&equal("n", "[1,2]"), &equal("n", r#"["1,2"]"#), false);
        check(
            &group("or", &[&one, &text]),
            &group("or", &[&text, &one]),
            true,
        );
        let (x, y) = (exists("s", &one), exists("s", &text));
        check(&group("and", &[&x, &y]), &group("and", &[&y, &x]), true);
        check(&group("and", &[&x, &x]), &x, true);
        check(&group("and", &[&x, &y]), &group("or", &[&x, &y]), false);
        check(&x, &exists("t", &one), false);
    }

    #[test]
    fn numbers_are_written_as_in_javascript() {
        for (given, written) in [
            ("1.0", "1"),
            ("-0.0", "0"),
            ("1e21", "1e+21"),
            ("1e20", "100000000000000000000"),
            ("0.000001", "0.000001"),
            ("1e-7", "1e-7"),
            ("1.5", "1.5"),
        ] {
            let normal = normalize(&with_where(&equal("n", given)));
            let condition = condition_json(normal.condition.as_ref().unwrap());
            assert_eq!(condition, equal("n", written));
        }
    }
}
