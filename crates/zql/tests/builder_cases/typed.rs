//! The queries of the case file as Rust programs write them.

use landfall_zql::ast::{Anchor, Path, SimpleOperator};
use landfall_zql::builder::{
    Argument, BuiltQuery, Cond, Parameter, Query, QueryError, Table, compare_values,
};

landfall_zql::tables! {
    pub mod user = "user" {
        columns {
            ID: String = "id",
            NAME: String = "name",
            MANAGER: Option<String> = "manager",
        }
        key (ID)
        relationships {
            one MANAGER_ = "manager_": user(MANAGER = ID),
            many ISSUES = "issues": issue(ID = OWNER_ID),
        }
    }

    pub mod issue = "issue" as "issues" {
        columns {
            ID: String = "id",
            TITLE: String = "title",
            OPEN: bool = "open",
            KIND: String = "kind",
            RANK: Option<f64> = "rank",
            META: Option<Json> = "meta",
            TAGS: Json = "tags",
            OWNER_ID: Option<String> = "ownerID" as "owner_id",
            CREATED: f64 = "created" as "created_at",
        }
        key (ID)
        relationships {
            one OWNER = "owner": user(OWNER_ID = ID),
            many COMMENTS = "comments": comment(ID = ISSUE_ID),
            many LABELS = "labels": issue_label(ID = ISSUE_ID) -> label(LABEL_ID = ID),
            one MAIN_LABEL = "mainLabel": issue_label(ID = ISSUE_ID) -> label(LABEL_ID = ID),
        }
    }

    pub mod comment = "comment" {
        columns {
            ID: String = "id",
            ISSUE_ID: String = "issueID" as "issue_id",
            AUTHOR_ID: String = "authorID",
            BODY: String = "body",
            CREATED: f64 = "created",
        }
        key (ID)
        relationships {
            one AUTHOR = "author": user(AUTHOR_ID = ID),
            one ISSUE = "issue": issue(ISSUE_ID = ID),
        }
    }

    pub mod label = "label" {
        columns { ID: String = "id", NAME: String = "name" }
        key (ID)
    }

    pub mod issue_label = "issueLabel" {
        columns { LABEL_ID: String = "labelID", ISSUE_ID: String = "issueID" }
        key (LABEL_ID, ISSUE_ID)
        relationships {
            many SAME = "same": issue_label(LABEL_ID = LABEL_ID, ISSUE_ID = ISSUE_ID),
        }
    }
}

use issue::{COMMENTS, CREATED, ID, KIND, LABELS, MAIN_LABEL, OPEN, OWNER, OWNER_ID, RANK, TITLE};

type Issues = Query<issue::Table>;
type Built = Result<BuiltQuery, QueryError>;

fn none<T: Table>() -> Cond<T> {
    Cond::any([])
}

/// The queries by the names of their cases, in their order.
pub fn queries() -> Vec<(&'static str, Built)> {
    let issues = || Query::of(issue::Table);
    let mut all = Vec::new();
    let mut case = |name: &'static str, query: Issues| all.push((name, query.build()));
    case("a whole table", issues());
    case(
        "equality without an operator",
        issues().filter(OPEN.eq(true)),
    );
    let two = || issues().filter(OPEN.eq(true)).filter(RANK.gt(3));
    case("two conditions", two());
    case(
        "a third condition stays in the same group",
        two().filter(RANK.lt(9)),
    );
    case("undefined is null", issues().filter(TITLE.eq(None::<&str>)));
    case("is null", issues().filter(RANK.is_null()));
    case("in a list", issues().filter(KIND.is_in(["bug", "feature"])));
    case(
        "in an empty list",
        issues().filter(RANK.is_not_in([0.0; 0])),
    );
    case("in no list", issues().filter(compare_column_with_no_list()));
    case(
        "every comparison",
        issues().filter(Cond::all(every_comparison())),
    );
    case(
        "every operator turned round",
        issues().filter(!Cond::any(every_operator())),
    );
    case(
        "or inside and",
        issues()
            .filter(OPEN.eq(true))
            .filter(RANK.eq(1).or(TITLE.ilike("%x%"))),
    );
    case(
        "groups of one kind become one",
        issues().filter(
            RANK.lt(3)
                .and(OPEN.eq(false))
                .and(RANK.eq(1).or(RANK.eq(2)).or(RANK.eq(0))),
        ),
    );
    case(
        "not is pushed down",
        issues().filter(!RANK.lt(3).and(OPEN.eq(true).or(KIND.is_not_in(["bug"])))),
    );
    case(
        "undefined conditions are left out",
        issues().filter(OPEN.eq(true)),
    );
    case("an empty or is never true", issues().filter(none()));
    case(
        "an empty and is always true",
        issues().filter(Cond::all([])),
    );
    case(
        "never true wins in a conjunction",
        issues().filter(OPEN.eq(true)).filter(none()),
    );
    case(
        "always true wins in a disjunction",
        issues().filter(OPEN.eq(true).or(Cond::all([]))),
    );
    let not_equal = SimpleOperator::NotEqual;
    case(
        "two literals",
        issues().filter(compare_values("a", not_equal, "b")),
    );
    case(
        "a literal on the left, a list on the right",
        issues().filter(compare_values(1, SimpleOperator::In, [1, 2])),
    );
    case("parameters", issues().filter(parameters()));
    case(
        "text beyond the first plane, and numbers",
        issues().filter(Cond::any([
            TITLE.eq("～"),
            TITLE.eq("😀"),
            RANK.eq(0.1),
            RANK.eq(1e300),
            RANK.eq(-5),
        ])),
    );
    case(
        "conditions are hashed in one order",
        issues()
            .filter(TITLE.eq("b"))
            .filter(RANK.gt(2))
            .filter(RANK.lt(2))
            .filter(KIND.eq("a")),
    );
    case(
        "order, limit",
        issues()
            .order_by(CREATED.desc())
            .order_by(ID.asc())
            .limit(50),
    );
    case(
        "a column twice in an order",
        issues().order_by(CREATED.desc()).order_by(CREATED.asc()),
    );
    case("the last limit wins", issues().limit(5).limit(0));
    case(
        "start is exclusive",
        issues()
            .order_by(CREATED.desc())
            .start_after([CREATED.at(5), ID.at("x")]),
    );
    case(
        "start is inclusive when asked",
        issues().start_at([ID.at("x")]),
    );
    case(
        "the last start wins, and columns may be null",
        issues()
            .start_at([ID.at("x")])
            .start_after([RANK.at(None::<f64>), OPEN.at(false)]),
    );
    case("an empty start", issues().start_after([]));
    case("one row", issues().filter(ID.eq("x")).one());
    case("one row, then more", issues().one().limit(2));
    case("related to one", issues().related(OWNER));
    case(
        "related to many, nested",
        issues()
            .related_in(COMMENTS, |comments| {
                let newest = comments.order_by(comment::CREATED.desc()).limit(10);
                newest.related(comment::AUTHOR)
            })
            .related(OWNER),
    );
    case("one of many", issues().related_in(COMMENTS, Query::one));
    case(
        "one relationship twice",
        issues()
            .related_in(COMMENTS, |comments| comments.limit(1))
            .related_in(COMMENTS, Query::one),
    );
    let managers = Query::of(user::Table)
        .related_in(user::MANAGER_, |manager| manager.related(user::MANAGER_))
        .filter(user::ISSUES.exists());
    all.push(("related to the same table", managers.build()));
    let pairs = Query::of(issue_label::Table)
        .related_in(issue_label::SAME, |same| {
            same.filter(issue_label::SAME.exists())
        })
        .start_after([issue_label::LABEL_ID.at("l"), issue_label::ISSUE_ID.at("i")]);
    all.push(("related by two columns", pairs.build()));
    relationships(&mut |name, query| all.push((name, query.build())));
    all
}

fn relationships(case: &mut dyn FnMut(&'static str, Issues)) {
    let issues = || Query::of(issue::Table);
    case(
        "related through a junction",
        issues().related_in(LABELS, |labels| labels.filter(label::NAME.eq("x"))),
    );
    case(
        "related to one through a junction",
        issues().related(MAIN_LABEL),
    );
    case(
        "the first rows through a junction",
        issues().related_in(LABELS, |labels| {
            let started = labels
                .order_by(label::NAME.desc())
                .start_after([label::NAME.at("x")]);
            started.limit(3)
        }),
    );
    case(
        "one row through a junction",
        issues().related_in(LABELS, |labels| labels.order_by(label::NAME.asc()).one()),
    );
    case(
        "a blanked relationship",
        issues().related_in(COMMENTS, |comments| comments.filter(none())),
    );
    case("a row that exists", issues().filter(COMMENTS.exists()));
    let one_named_x = |users: Query<user::Table>| users.filter(user::NAME.eq("x")).one();
    case(
        "a row that exists in a sub-query, with hints",
        issues().filter(OWNER.flip(true).scalar(true).exists_in(one_named_x)),
    );
    case(
        "hints without a sub-query",
        issues().filter(OWNER.scalar(false).exists()),
    );
    case(
        "a row that does not exist",
        issues().filter(!COMMENTS.exists()),
    );
    case(
        "a row that exists through a junction",
        issues().filter(
            LABELS
                .flip(false)
                .scalar(true)
                .exists_in(|labels| labels.filter(label::NAME.eq("x"))),
        ),
    );
    case(
        "two rows that exist, in an or",
        issues().filter(
            OWNER
                .exists()
                .or(COMMENTS.exists_in(|comments| comments.filter(comment::AUTHOR.exists()))),
        ),
    );
    case(
        "a flipped sub-query may have a start",
        issues().filter(COMMENTS.flip(true).exists_in(|comments| {
            comments
                .start_after([comment::ID.at("x")])
                .related(comment::AUTHOR)
        })),
    );
    case("everything at once", everything());
}

fn every_comparison() -> [Cond<issue::Table>; 11] {
    [
        RANK.eq(1),
        RANK.ne(1),
        RANK.lt(1),
        RANK.le(1),
        RANK.gt(1),
        RANK.ge(1),
        RANK.is_not(1),
        TITLE.like("a%"),
        TITLE.not_like("a_"),
        TITLE.ilike("%\\%%"),
        TITLE.not_ilike("straße"),
    ]
}

fn every_operator() -> [Cond<issue::Table>; 16] {
    [
        RANK.eq(1),
        RANK.ne(1),
        RANK.lt(1),
        RANK.le(1),
        RANK.gt(1),
        RANK.ge(1),
        RANK.is(1),
        RANK.is_not(1),
        RANK.is_in([1.0, 2.5]),
        RANK.is_not_in(vec![-1e21]),
        TITLE.like("a%"),
        TITLE.not_like("a_"),
        TITLE.ilike("%\\%%"),
        TITLE.not_ilike("straße"),
        OWNER.exists(),
        !COMMENTS.exists(),
    ]
}

/// A list that is NULL, as a claim that is missing.
fn compare_column_with_no_list() -> Cond<issue::Table> {
    KIND.is_in(Argument::Null)
}

fn parameters() -> Cond<issue::Table> {
    let open = Parameter::new(Anchor::PreMutationRow, Path::Name("open".to_owned()));
    Cond::any([
        OWNER_ID.eq(Parameter::claim("sub")),
        KIND.is_in(Parameter::claim_at(["claims", "kinds"])),
        compare_values(open, SimpleOperator::Is, true),
    ])
}

fn everything() -> Issues {
    let labelled = LABELS.exists_in(|labels| labels.filter(label::NAME.like("a%")));
    let commented = COMMENTS
        .flip(true)
        .exists_in(|comments| comments.filter(comment::BODY.ilike("%x%")).limit(1));
    Query::of(issue::Table)
        .filter(OPEN.eq(true))
        .filter(Cond::any([
            RANK.is_null(),
            !labelled,
            CREATED.ge(0).and(commented),
        ]))
        .related_in(OWNER, |owner| {
            owner.related_in(user::ISSUES, |theirs| {
                theirs.order_by(CREATED.desc()).limit(3)
            })
        })
        .related_in(LABELS, |labels| {
            labels
                .filter(label::NAME.ne("x"))
                .order_by(label::NAME.asc())
                .limit(2)
        })
        .order_by(RANK.desc())
        .start_at([RANK.at(3), ID.at("i")])
        .limit(20)
}

#[test]
fn what_is_wrong_shows_when_the_query_is_built() {
    let check = |query: Issues, expected: &str| {
        assert_eq!(query.build().unwrap_err().to_string(), expected);
    };
    let all = || Query::of(issue::Table);
    let not_a_number = "A query can compare with text, finite numbers and booleans, not with NaN.";
    check(all().filter(RANK.eq(f64::NAN)), not_a_number);
    check(
        all().filter(OPEN.eq(true).and(!RANK.is_in([f64::NAN]))),
        not_a_number,
    );
    check(
        all().related_in(COMMENTS, |q| {
            q.filter(comment::CREATED.lt(f64::NEG_INFINITY))
        }),
        "A query can compare with text, finite numbers and booleans, not with -Infinity.",
    );
    check(all().limit(1 << 31).one(), "Limit must be an integer");
    check(
        all().filter(COMMENTS.exists_in(|q| q.related(comment::AUTHOR))),
        r#"EXISTS subqueries must not have related (exists("comments") of table "issue")"#,
    );
    check(
        all().start_at([ID.at(Parameter::claim("sub"))]),
        "A query can compare with text, finite numbers and booleans, not with object.",
    );
}
