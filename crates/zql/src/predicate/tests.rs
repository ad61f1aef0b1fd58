//! What each operator answers, and what is refused.

use super::*;
use crate::row_json::Names;
use crate::schema::Schema;

const SCHEMA: &str = r#"{"tables":{"a":{"primaryKey":["id"],"columns":{
    "id":{"type":"string"},"n":{"type":"number","optional":true},"s":{"type":"string","optional":true},
    "b":{"type":"boolean","optional":true},"j":{"type":"json","optional":true},
    "z":{"type":"null","optional":true}}}}}"#;

fn table() -> TableSchema {
    Schema::from_json(SCHEMA).unwrap().tables.remove(0)
}

fn rows(table: &TableSchema) -> Vec<Row> {
    [
        r#"{"id":"1","n":1,"s":"a","b":true,"j":{"k":1}}"#,
        r#"{"id":"2"}"#,
        r#"{"id":"3","n":3,"s":"B","b":false,"j":"x"}"#,
    ]
    .map(|json| table.row_from_json(json, Names::Client).unwrap())
    .to_vec()
}

fn condition(json: &str) -> Condition {
    serde_json::from_str(json).unwrap()
}

/// `left op right`, where a side that starts with `@` is a column.
fn simple(left: &str, op: &str, right: &str) -> String {
    let operand = |text: &str| match text.strip_prefix('@') {
        Some(name) => format!(r#"{{"type":"column","name":"{name}"}}"#),
        None => format!(r#"{{"type":"literal","value":{text}}}"#),
    };
    let (left, right) = (operand(left), operand(right));
    format!(r#"{{"type":"simple","left":{left},"right":{right},"op":"{op}"}}"#)
}

fn group(kind: &str, conditions: &[String]) -> String {
    let conditions = conditions.join(",");
    format!(r#"{{"type":"{kind}","conditions":[{conditions}]}}"#)
}

/// Which of the rows 1 (all columns set), 2 (all NULL), 3 (other values) satisfy the condition.
fn check(json: &str, expected: &str) {
    let table = table();
    let predicate = Predicate::compile(&condition(json), &table).unwrap();
    let found: String = rows(&table)
        .iter()
        .zip(["1", "2", "3"])
        .filter_map(|(row, id)| predicate.matches(row).then_some(id))
        .collect();
    assert_eq!(found, expected, "{json}");
}

fn refuse(json: &str, expected: &str) {
    match Predicate::compile(&condition(json), &table()) {
        Err(error) => assert_eq!(error.to_string(), expected, "{json}"),
        Ok(predicate) => panic!("{json} compiles: {predicate:?}"),
    }
}

#[test]
fn null_logic() {
    for (column, op, right, expected) in [
        ("@n", "=", "null", ""),
        ("@n", "!=", "null", ""),
        ("@n", "<", "null", ""),
        ("@n", "IN", "null", ""),
        ("@n", "NOT IN", "null", ""),
        ("@s", "LIKE", "null", ""),
        ("@s", "NOT LIKE", "null", ""),
        ("@n", "=", "1", "1"),
        ("@n", "!=", "1", "3"),
        ("@n", "IS", "null", "2"),
        ("@n", "IS NOT", "null", "13"),
        ("@n", "IS", "1", "1"),
        ("@n", "IS NOT", "1", "23"),
        ("@n", "<", "3", "1"),
        ("@n", "<=", "3", "13"),
        ("@n", ">", "1", "3"),
        ("@n", ">=", "1", "13"),
        ("@n", "IN", "[]", ""),
        ("@n", "NOT IN", "[]", "123"),
        ("@n", "IN", "[1]", "1"),
        ("@n", "IN", "[2,1,3,1]", "13"),
        ("@n", "NOT IN", "[1]", "3"),
        ("@n", "NOT IN", "[1,2]", "3"),
        ("@s", "IN", r#"["a","b"]"#, "1"),
        ("@s", "LIKE", r#""b""#, ""),
        ("@s", "ILIKE", r#""b""#, "3"),
        ("@s", "NOT ILIKE", r#""b""#, "1"),
        ("@s", "NOT LIKE", r#""a%""#, "3"),
        ("@b", "=", "false", "3"),
        ("@b", ">", "false", "1"),
        ("@j", "IS", "null", "2"),
        ("@j", "IS NOT", "null", "13"),
        ("@z", "IS", "null", "123"),
        ("@z", "=", "null", ""),
        ("@z", "LIKE", r#""%""#, ""),
    ] {
        check(&simple(column, op, right), expected);
    }
}

#[test]
fn literals_on_the_left() {
    for (left, op, right, expected) in [
        ("1", "=", "1", "123"),
        ("1", "=", "2", ""),
        ("1", "=", r#""1""#, ""),
        ("1", "!=", r#""1""#, "123"),
        ("null", "=", "null", ""),
        ("null", "IS", "null", "123"),
        ("null", "IS NOT", "1", "123"),
        ("null", "<", r#""x""#, ""),
        ("null", "NOT IN", "[]", "123"),
        ("null", "LIKE", r#""%""#, ""),
        (r#""x""#, "IN", r#"["x","y"]"#, "123"),
        (r#""x""#, "IN", "[1,2]", ""),
        (r#""abc""#, "LIKE", r#""a%""#, "123"),
        ("1", "<", "2", "123"),
    ] {
        check(&simple(left, op, right), expected);
    }
}

#[test]
fn groups_and_constants() {
    let one = simple("@n", "=", "1");
    let three = simple("@n", "=", "3");
    let always = simple("1", "=", "1");
    let never = simple("1", "=", "2");
    let all = |parts: &[&String]| {
        group(
            "and",
            &parts.iter().map(|part| (*part).clone()).collect::<Vec<_>>(),
        )
    };
    let any = |parts: &[&String]| {
        group(
            "or",
            &parts.iter().map(|part| (*part).clone()).collect::<Vec<_>>(),
        )
    };
    check(&all(&[]), "123");
    check(&any(&[]), "");
    check(&all(&[&one, &three]), "");
    check(&any(&[&one, &three]), "13");
    check(&all(&[&one, &always]), "1");
    check(&all(&[&one, &never]), "");
    check(&any(&[&one, &never]), "1");
    check(&any(&[&one, &always]), "123");
    check(&any(&[&all(&[]), &three]), "123");
    check(&all(&[&any(&[]), &three]), "");
    check(
        &all(&[&any(&[&one, &three]), &simple("@b", "=", "true")]),
        "1",
    );
}

#[test]
fn refusals() {
    refuse(
        &simple("@x", "=", "1"),
        r#"table "a" has no column "x" to filter by"#,
    );
    refuse(
        &simple("@n", "<", r#""x""#),
        r#"column "n" of table "a" is a number and cannot be compared with a string"#,
    );
    refuse(
        &simple("@s", "IN", r#"["x",1]"#),
        r#"column "s" of table "a" is a string and cannot be compared with a number"#,
    );
    refuse(
        &simple("@z", "=", "1"),
        r#"column "z" of table "a" is a null and cannot be compared with a number"#,
    );
    refuse(
        &simple("@j", "=", r#""x""#),
        r#"column "j" of table "a" holds JSON: only IS NULL and IS NOT NULL are possible"#,
    );
    refuse(
        &simple("@j", "=", "null"),
        r#"column "j" of table "a" holds JSON: only IS NULL and IS NOT NULL are possible"#,
    );
    refuse(
        &simple("@n", "IN", "1"),
        "IN needs a list on its right, not a number",
    );
    refuse(&simple("@n", "=", "[1]"), "= cannot compare with a list");
    refuse(
        &simple("@n", "LIKE", r#""1""#),
        "LIKE needs text on both sides, not a number",
    );
    refuse(
        &simple("@s", "ILIKE", "1"),
        "ILIKE needs text on both sides, not a number",
    );
    refuse(
        &simple("1", "LIKE", r#""1""#),
        "LIKE needs text on both sides, not a number",
    );
    refuse(
        &simple("@s", "LIKE", r#""a\\""#),
        "LIKE pattern must not end with escape character",
    );
    refuse(
        &simple("1", "<", r#""x""#),
        "cannot compare a number with a string",
    );
    let n = || Operand::Column {
        name: "n".to_owned(),
    };
    // No JSON is read as this.
    let column_on_the_right = Condition::Simple {
        left: n(),
        right: n(),
        op: SimpleOperator::Equal,
    };
    assert_eq!(
        Predicate::compile(&column_on_the_right, &table()).map(drop),
        Err(PredicateError::ColumnOnTheRight {
            column: "n".to_owned()
        })
    );
    refuse(
        r#"{"type":"simple","left":{"type":"column","name":"s"},"right":{"type":"static","anchor":"authData","field":["a","b"]},"op":"="}"#,
        r#"the static parameter "a.b" is not bound to a value"#,
    );
    let subquery = r#"{"type":"correlatedSubquery","op":"EXISTS","related":{"correlation":{"parentField":["id"],"childField":["id"]},"subquery":{"table":"a","alias":"x"}}}"#;
    refuse(
        subquery,
        "a correlated subquery cannot be evaluated on a row alone",
    );
    let error_after_false = group("and", &[group("or", &[]), simple("@x", "=", "1")]);
    refuse(
        &error_after_false,
        r#"table "a" has no column "x" to filter by"#,
    );
}

#[test]
fn equalities_of_the_outermost_and() {
    let check = |json: &str, expected: &[(&str, ValueRef<'_>)]| {
        let table = table();
        let found = Predicate::compile(&condition(json), &table)
            .unwrap()
            .equalities();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| (table.column(name).unwrap(), Value::from(*value)))
            .collect();
        assert_eq!(found, expected, "{json}");
    };
    let one = ("n", ValueRef::Number(1.0));
    let text = ("s", ValueRef::String("x"));
    let n1 = simple("@n", "=", "1");
    let sx = simple("@s", "IS", r#""x""#);
    check(&n1, &[one]);
    check(&group("and", &[n1.clone(), sx.clone()]), &[one, text]);
    check(
        &group(
            "and",
            &[n1.clone(), group("and", std::slice::from_ref(&sx))],
        ),
        &[one, text],
    );
    check(&group("and", &[n1.clone(), simple("@n", "=", "2")]), &[one]);
    check(&simple("@n", "IN", "[1]"), &[one]);
    check(&group("or", &[n1.clone(), sx]), &[]);
    check(&group("and", &[n1, group("or", &[])]), &[]);
    check(&simple("@n", "IS", "null"), &[]);
    check(&simple("@n", "!=", "1"), &[]);
}

#[test]
fn always_is_true_of_every_row() {
    assert!(
        rows(&table())
            .iter()
            .all(|row| Predicate::always().matches(row))
    );
    assert!(Predicate::always().is_always() && !Predicate::always().is_never());
}

#[test]
fn lookups_find_every_row_that_matches() {
    let check = |json: &str, expected: Option<&[&[(usize, &str)]]>| {
        let found = Predicate::compile(&condition(json), &table())
            .unwrap()
            .lookups();
        let shown = found.map(|lookups| {
            let lookup = |lookup: &Lookup| {
                let part = |(column, value): &(usize, Value)| (*column, format!("{value:?}"));
                lookup.iter().map(part).collect::<Vec<_>>()
            };
            lookups.iter().map(lookup).collect::<Vec<_>>()
        });
        let expected = expected.map(|lookups| {
            let part = |(column, value): &(usize, &str)| (*column, (*value).to_owned());
            lookups
                .iter()
                .map(|lookup| lookup.iter().map(part).collect())
                .collect()
        });
        assert_eq!(shown, expected, "{json}");
    };
    let n_is = |n: &str| simple("@n", "=", n);
    let [id, n, s] = ["id", "n", "s"].map(|name| table().column(name).unwrap());
    let (one, two) = ("Number(1.0)", "Number(2.0)");
    check(&n_is("1"), Some(&[&[(n, one)]]));
    check(&simple("@n", "IS", "1"), Some(&[&[(n, one)]]));
    check(&simple("@n", "IS", "null"), None);
    check(&simple("@n", ">", "1"), None);
    check(
        &simple("@n", "IN", "[2,1,2]"),
        Some(&[&[(n, one)], &[(n, two)]]),
    );
    check(&simple("@n", "IN", "[]"), Some(&[]));
    check(&group("and", &[]), None);
    check(&group("or", &[]), Some(&[]));
    check(
        &group("or", &[n_is("1"), simple("@id", "=", "\"7\"")]),
        Some(&[&[(n, one)], &[(id, "String(\"7\")")]]),
    );
    check(
        &group("or", &[n_is("1"), simple("@id", ">", "\"7\"")]),
        None,
    );
    let a = r#"String("a")"#;
    let is_a = simple("@s", "=", "\"a\"");
    check(
        &group("and", &[simple("@n", "IN", "[1,2]"), is_a.clone()]),
        Some(&[&[(n, one), (s, a)], &[(n, two), (s, a)]]),
    );
    check(
        &group("and", &[simple("@n", "IN", "[1,2,3,4,5,6,7,8,9]"), is_a]),
        Some(&[&[(s, a)]]),
    );
    check(
        &group(
            "and",
            &[simple("@n", "IN", "[1,2]"), simple("@s", ">", "\"a\"")],
        ),
        Some(&[&[(n, one)], &[(n, two)]]),
    );
    check(&group("and", &[n_is("1"), n_is("2")]), Some(&[]));
}
