//! Laws of queries, tried on random ones: JSON, names and normal forms keep their meaning, and no text makes the
//! decoder panic.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use landfall_zql::ast::{
    Anchor, Bound, Condition, CorrelatedSubquery, Correlation, Direction, ExistsOperator, Literal,
    Operand, Path, SimpleOperator,
};
use landfall_zql::{
    Ast, Names, Predicate, Row, Schema, StaticParameters, To, bind_static_parameters,
    canonical_bytes, hash_of_ast, map_ast, normalize,
};
use proptest::prelude::*;

const SCHEMA: &str = r#"{"tables":{
    "t":{"serverName":"ts","primaryKey":["id"],"columns":{"id":{"type":"string","serverName":"_id"},
        "n":{"type":"number","optional":true},"s":{"type":"string","serverName":"n_s","optional":true}}}}}"#;

fn schema() -> Schema {
    Schema::from_json(SCHEMA).unwrap()
}

fn rows() -> Vec<Row> {
    let schema = schema();
    let cells = ["null", "1", "2"].into_iter().flat_map(|n| {
        let texts = ["null", r#""a""#, r#""B%""#].into_iter();
        texts.map(move |s| format!(r#"{{"id":"x","n":{n},"s":{s}}}"#))
    });
    cells
        .map(|json| {
            schema.tables[0]
                .row_from_json(&json, Names::Client)
                .unwrap()
        })
        .collect()
}

/// A comparison that compiles.
fn simple() -> impl Strategy<Value = Condition> {
    let number = prop_oneof![Just(1.0), Just(2.0), Just(-0.5), any::<f64>()]
        .prop_filter("JSON has only finite numbers", |number| number.is_finite())
        .prop_map(Literal::Number);
    let text = prop_oneof![
        Just("a".to_owned()),
        Just("b_".to_owned()),
        Just("%\\%".to_owned()),
        "[^\\\\]{0,4}"
    ]
    .prop_map(Literal::String);
    let list = |member: BoxedStrategy<Literal>| {
        prop::collection::vec(member, 0..3).prop_map(Literal::Array)
    };
    let compare = prop::sample::select(vec![
        SimpleOperator::Equal,
        SimpleOperator::NotEqual,
        SimpleOperator::Is,
        SimpleOperator::IsNot,
        SimpleOperator::Less,
        SimpleOperator::GreaterOrEqual,
    ]);
    let like = prop::sample::select(vec![SimpleOperator::Like, SimpleOperator::NotILike]);
    let within = prop::sample::select(vec![SimpleOperator::In, SimpleOperator::NotIn]);
    let (number, text) = (number.boxed(), text.boxed());
    let column = |name: &str| Operand::Column {
        name: name.to_owned(),
    };
    let (n, s) = (column("n"), column("s"));
    let parts = prop_oneof![
        (Just(n.clone()), compare.clone(), number.clone()),
        (Just(s.clone()), compare.clone(), text.clone()),
        (Just(n.clone()), compare, Just(Literal::Null)),
        (Just(s), like, text.clone()),
        (Just(n), within.clone(), list(number.clone())),
        (
            number.prop_map(|value| Operand::Literal { value }),
            within,
            list(text)
        ),
    ];
    parts.prop_map(|(left, op, value)| Condition::Simple {
        left,
        right: Operand::Literal { value },
        op,
    })
}

fn grouped(leaf: BoxedStrategy<Condition>) -> impl Strategy<Value = Condition> {
    leaf.prop_recursive(4, 24, 4, |inner| {
        let list = prop::collection::vec(inner, 0..4);
        prop_oneof![
            list.clone()
                .prop_map(|conditions| Condition::And { conditions }),
            list.prop_map(|conditions| Condition::Or { conditions }),
        ]
    })
}

fn related(subquery: BoxedStrategy<Ast>) -> impl Strategy<Value = CorrelatedSubquery> {
    subquery.prop_map(|subquery| CorrelatedSubquery {
        system: None,
        correlation: Correlation {
            parent_field: vec!["id".to_owned()],
            child_field: vec!["s".to_owned()],
        },
        hidden: None,
        subquery: Box::new(subquery),
    })
}

fn ast() -> impl Strategy<Value = Ast> {
    let leaf = query(simple().boxed(), None);
    leaf.prop_recursive(3, 12, 3, |inner| {
        let related = related(inner.boxed()).boxed();
        let exists = (
            related.clone(),
            any::<bool>(),
            prop::option::of(any::<bool>()),
        )
            .prop_map(|(related, exists, flip)| Condition::CorrelatedSubquery {
                related: Box::new(related),
                op: if exists {
                    ExistsOperator::Exists
                } else {
                    ExistsOperator::NotExists
                },
                flip,
                scalar: None,
            });
        let leaf = prop_oneof![3 => simple(), 1 => exists].boxed();
        query(leaf, Some(related))
    })
}

fn query(
    leaf: BoxedStrategy<Condition>,
    related: Option<BoxedStrategy<CorrelatedSubquery>>,
) -> BoxedStrategy<Ast> {
    let related = match related {
        Some(related) => prop::option::of(prop::collection::vec(related, 0..3)).boxed(),
        None => Just(None).boxed(),
    };
    let bound = prop::collection::btree_map(
        prop::sample::select(vec!["id".to_owned(), "n".to_owned()]),
        prop_oneof![
            Just(Literal::Null),
            any::<bool>().prop_map(Literal::Bool),
            "[a-c]".prop_map(Literal::String)
        ],
        0..3,
    );
    (
        prop::option::of("[ab]"),
        prop::option::of(grouped(leaf)),
        related,
        prop::option::of((bound, any::<bool>())),
        prop::option::of(0u32..3),
        prop::option::of(Just(vec![("s".to_owned(), Direction::Desc)])),
    )
        .prop_map(|(alias, condition, related, start, limit, order_by)| Ast {
            schema: None,
            table: "t".to_owned(),
            alias,
            condition,
            related,
            start: start.map(|(row, exclusive)| Bound {
                row: row.into_iter().collect(),
                exclusive,
            }),
            limit,
            order_by,
        })
        .boxed()
}

/// The same condition with every list in the opposite order.
fn reversed(condition: &Condition) -> Condition {
    let reverse = |conditions: &[Condition]| conditions.iter().rev().map(reversed).collect();
    match condition {
        Condition::And { conditions } => Condition::And {
            conditions: reverse(conditions),
        },
        Condition::Or { conditions } => Condition::Or {
            conditions: reverse(conditions),
        },
        leaf => leaf.clone(),
    }
}

proptest! {
    #[test]
    fn queries_survive_json_and_renaming(ast in ast()) {
        prop_assert_eq!(&Ast::from_json(&ast.to_json()).unwrap(), &ast);
        let server = map_ast(&ast, &schema(), To::Server).unwrap();
        prop_assert_eq!(&map_ast(&server, &schema(), To::Client).unwrap(), &ast);
        prop_assert_eq!(&bind_static_parameters(&ast, StaticParameters::default()), &ast);
    }

    #[test]
    fn normal_forms_are_fixed_points(ast in ast()) {
        let normal = normalize(&ast);
        prop_assert_eq!(&normalize(&normal), &normal);
        prop_assert_eq!(hash_of_ast(&normal), hash_of_ast(&ast));
        prop_assert_eq!(canonical_bytes(&normal), canonical_bytes(&ast));
        let read_again = Ast::from_json(&ast.to_json()).unwrap();
        prop_assert_eq!(canonical_bytes(&read_again), canonical_bytes(&ast));
        let mut turned = ast.clone();
        turned.condition = ast.condition.as_ref().map(reversed);
        prop_assert_eq!(canonical_bytes(&turned), canonical_bytes(&ast));
    }

    /// Normal forms hold for the same rows, and queries with the same canonical bytes do.
    #[test]
    fn normal_forms_mean_the_same(condition in grouped(simple().boxed()), other in grouped(simple().boxed())) {
        let table = &schema().tables[0];
        let matching = |condition: Option<&Condition>| -> Vec<bool> {
            let compile = |condition| Predicate::compile(condition, table).unwrap();
            let predicate = condition.map_or_else(Predicate::always, compile);
            rows().iter().map(|row| predicate.matches(row)).collect()
        };
        let with = |condition: &Condition| Ast {
            table: "t".to_owned(),
            condition: Some(condition.clone()),
            ..Ast::default()
        };
        let (ast, other_ast) = (with(&condition), with(&other));
        let expected = matching(Some(&condition));
        prop_assert_eq!(&matching(normalize(&ast).condition.as_ref()), &expected);
        let canonical = String::from_utf8(canonical_bytes(&ast)).unwrap();
        let canonical = Ast::from_json(&canonical).unwrap();
        prop_assert_eq!(&matching(canonical.condition.as_ref()), &expected);
        if canonical_bytes(&ast) == canonical_bytes(&other_ast) {
            prop_assert_eq!(&matching(Some(&other)), &expected);
        }
    }

    /// What a predicate pins, the rows that match it have.
    #[test]
    fn pinned_columns_hold(condition in grouped(simple().boxed())) {
        let predicate = Predicate::compile(&condition, &schema().tables[0]).unwrap();
        for row in rows().iter().filter(|row| predicate.matches(row)) {
            for (column, value) in predicate.equalities() {
                prop_assert_eq!(row.get(column), value.as_ref());
            }
        }
    }

    #[test]
    fn any_text_is_fine(text in any::<String>(), ast in ast(), at in any::<prop::sample::Index>(), byte in 0x20u8..0x7f) {
        drop(Ast::from_json(&text));
        let mut damaged = ast.to_json().into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        if let Ok(text) = String::from_utf8(damaged)
            && let Ok(ast) = Ast::from_json(&text)
        {
            drop(map_ast(&ast, &schema(), To::Server));
            prop_assert_eq!(normalize(&normalize(&ast)), normalize(&ast));
        }
    }
}

#[test]
fn parameters_may_stand_on_both_sides() {
    let parameter = || Operand::Static {
        anchor: Anchor::AuthData,
        field: Path::Name("sub".to_owned()),
    };
    let ast = Ast {
        table: "t".to_owned(),
        condition: Some(Condition::Simple {
            left: parameter(),
            right: parameter(),
            op: SimpleOperator::Equal,
        }),
        ..Ast::default()
    };
    let auth_data = serde_json::json!({"sub": "u"});
    let bound = bind_static_parameters(
        &ast,
        StaticParameters {
            auth_data: Some(&auth_data),
            pre_mutation_row: None,
        },
    );
    let predicate = Predicate::compile(&bound.condition.unwrap(), &schema().tables[0]).unwrap();
    assert!(predicate.is_always());
}
