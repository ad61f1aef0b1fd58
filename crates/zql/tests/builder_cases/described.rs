//! Queries from the neutral descriptions of the case file: a table, then calls.

use landfall_zql::ast::{Condition, Direction, Literal, SimpleOperator};
use landfall_zql::builder::{
    Argument, BuiltQuery, Catalog, DynamicQuery, ExistsHints, Parameter, QueryError, and, compare,
    not, or,
};
use serde_json::Value as Json;

type Built<'a> = Result<DynamicQuery<'a>, QueryError>;

pub fn query(catalog: &Catalog, description: &Json) -> Result<BuiltQuery, QueryError> {
    let (table, rest) = description.as_array().unwrap().split_first().unwrap();
    let query = DynamicQuery::of(catalog, table.as_str().unwrap())?;
    Ok(calls(query, rest)?.build())
}

fn calls<'a>(query: DynamicQuery<'a>, list: &[Json]) -> Built<'a> {
    list.iter().try_fold(query, |query, call| {
        let (method, argument) = call.as_object().unwrap().iter().next().unwrap();
        match method.as_str() {
            "where" => match argument.as_array() {
                Some(parts) => {
                    let (column, operator, value) = comparison(parts);
                    query.filter(column, operator, value)
                }
                None => {
                    let condition = expression(&query, argument)?;
                    Ok(query.filter_by(condition))
                }
            },
            "whereExists" => {
                let condition = exists(&query, argument)?;
                Ok(query.filter_by(condition))
            }
            "related" => query.related(argument[0].as_str().unwrap(), |inner| {
                calls(inner, subquery(argument))
            }),
            "orderBy" => {
                let direction = match argument[1].as_str().unwrap() {
                    "asc" => Direction::Asc,
                    _ => Direction::Desc,
                };
                query.order_by(argument[0].as_str().unwrap(), direction)
            }
            "limit" => query.limit(u32::try_from(argument.as_u64().unwrap()).unwrap()),
            "one" => Ok(query.one()),
            "start" => {
                let row = argument["row"].as_object().unwrap().iter();
                let row = row.map(|(name, value)| (name.as_str(), Literal::from(value.clone())));
                query.start(row, argument["inclusive"] == Json::Bool(true))
            }
            other => panic!("no such call: {other}"),
        }
    })
}

fn comparison(parts: &[Json]) -> (&str, &str, Argument) {
    let text = |at: usize| parts[at].as_str().unwrap();
    match parts.len() {
        2 => (text(0), "=", argument(&parts[1])),
        _ => (text(0), text(1), argument(&parts[2])),
    }
}

fn expression(query: &DynamicQuery<'_>, node: &Json) -> Result<Condition, QueryError> {
    let (name, inner) = node.as_object().unwrap().iter().next().unwrap();
    let all = || {
        let members = inner.as_array().unwrap().iter();
        let members = members.filter(|member| !member.is_null());
        members
            .map(|member| expression(query, member))
            .collect::<Result<Vec<_>, _>>()
    };
    match name.as_str() {
        "cmp" => {
            let (column, operator, value) = comparison(inner.as_array().unwrap());
            query.compare(column, operator, value)
        }
        "cmpLit" => {
            let op = SimpleOperator::named(inner[1].as_str().unwrap()).unwrap();
            compare(argument(&inner[0]), op, argument(&inner[2]))
        }
        "and" => all().map(and),
        "or" => all().map(or),
        "not" => expression(query, inner).map(not),
        "exists" => exists(query, inner),
        other => panic!("no such expression: {other}"),
    }
}

fn exists(query: &DynamicQuery<'_>, parts: &Json) -> Result<Condition, QueryError> {
    let hints = ExistsHints {
        flip: parts[2]["flip"].as_bool(),
        scalar: parts[2]["scalar"].as_bool(),
    };
    let relationship = parts[0].as_str().unwrap();
    query.exists(relationship, hints, |inner| calls(inner, subquery(parts)))
}

fn subquery(parts: &Json) -> &[Json] {
    parts[1].as_array().map_or(&[], Vec::as_slice)
}

fn argument(value: &Json) -> Argument {
    match value {
        Json::Null => Argument::Null,
        Json::Bool(value) => (*value).into(),
        Json::Number(value) => value.as_f64().unwrap().into(),
        Json::String(value) => value.into(),
        Json::Array(members) => Argument::List(members.iter().map(argument).collect()),
        Json::Object(_) => Parameter::new(
            super::anchor(&value["anchor"]),
            super::path(&value["field"]),
        )
        .into(),
    }
}
