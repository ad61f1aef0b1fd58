//! Random queries from the whole language.

use landfall_zql::ast::{
    Ast, Bound, Condition, CorrelatedSubquery, Correlation, Direction, ExistsOperator, Literal,
    Operand, SimpleOperator as Op, System,
};

use super::{Depth, Edge, World};
use crate::cell::{Cell, Type};
use crate::program::Data;
use crate::random::Random;

/// A query of the world: with a focus, one whose rows come and go with the children of one relationship; otherwise
/// any, more often over a table with relationships.
pub(super) fn root(
    random: &mut Random,
    world: &World,
    data: &Data,
    focus: Option<&Edge>,
    depth: Depth,
) -> Ast {
    let generator = Generator { world, data, depth };
    if let Some(edge) = focus {
        return generator.focused(random, edge);
    }
    let table = if world.edges.is_empty() || random.chance(15) {
        random.below(world.tables.len())
    } else {
        random.pick(&world.edges).parent
    };
    generator.query(random, table, depth.related)
}

struct Generator<'a> {
    world: &'a World,
    data: &'a Data,
    depth: Depth,
}

impl Generator<'_> {
    fn query(&self, random: &mut Random, table: usize, depth: usize) -> Ast {
        let mut ast = Ast {
            table: self.world.tables[table].name.clone(),
            ..Ast::default()
        };
        if random.chance(65) {
            ast.condition = Some(self.condition(random, table, self.depth.conditions));
        }
        self.window(random, table, &mut ast);
        if depth > 0 {
            let mut related: Vec<CorrelatedSubquery> = Vec::new();
            for edge in self.world.edges_of(table) {
                let wanted = if depth == self.depth.related { 60 } else { 30 };
                if related.len() < 3 && random.chance(wanted) {
                    related.push(self.related(random, edge, depth - 1));
                }
            }
            if let Some(first) = related.first().cloned()
                && random.chance(3)
            {
                // Of two entries with one name the last counts.
                related.push(first);
            }
            if !related.is_empty() {
                ast.related = Some(related);
            }
        }
        ast
    }

    /// A window over rows that one relationship decides about, which is shown as well at times.
    fn focused(&self, random: &mut Random, edge: &Edge) -> Ast {
        let mut ast = self.query(random, edge.parent, 1.min(self.depth.related));
        let exists = self.exists(random, edge, self.depth.conditions.max(1));
        ast.condition = Some(match random.below(6) {
            0 => {
                let other = self.condition(random, edge.parent, 1.min(self.depth.conditions));
                let conditions = vec![exists, other];
                Condition::And { conditions }
            }
            1 => {
                let other = self.condition(random, edge.parent, 1.min(self.depth.conditions));
                let conditions = vec![other, exists];
                Condition::Or { conditions }
            }
            _ => exists,
        });
        if random.chance(60) {
            ast.limit = Some(1 + random.below(3) as u32);
        }
        if random.chance(30) {
            let depth = self.depth.related - 1;
            ast.related = Some(vec![self.related(random, edge, depth)]);
        }
        ast
    }

    /// Order, start and limit.
    fn window(&self, random: &mut Random, table: usize, ast: &mut Ast) {
        let columns = &self.world.tables[table].columns;
        let ordered: Vec<&str> = columns
            .iter()
            .filter(|column| column.ty != Type::Json)
            .map(|column| column.name.as_str())
            .collect();
        if random.chance(60) {
            let parts = 1 + random.below(2);
            let order = (0..parts).map(|_| {
                let direction = if random.chance(50) {
                    Direction::Asc
                } else {
                    Direction::Desc
                };
                ((*random.pick(&ordered)).to_owned(), direction)
            });
            ast.order_by = Some(order.collect());
        }
        if random.chance(50) {
            ast.limit = Some(*random.pick(&[0, 1, 1, 1, 2, 2, 3, 4]));
        }
        if random.chance(22) {
            ast.start = Some(self.start(random, table));
            ast.limit = ast.limit.or(random.chance(70).then_some(1));
        }
    }

    fn start(&self, random: &mut Random, table: usize) -> Bound {
        let columns = &self.world.tables[table].columns;
        let rows = &self.data[table];
        let row = if rows.is_empty() || random.chance(30) {
            self.world.record(random, table)
        } else {
            random.pick(rows).clone()
        };
        let whole = random.chance(60);
        let cells = columns
            .iter()
            .zip(row)
            .filter(|_| whole || random.chance(70))
            .map(|(column, cell)| (column.name.clone(), literal(&cell)));
        Bound {
            row: cells.collect(),
            exclusive: random.chance(50),
        }
    }

    fn related(&self, random: &mut Random, edge: &Edge, depth: usize) -> CorrelatedSubquery {
        let onward = self.world.edges_of(edge.child);
        if !onward.is_empty() && random.chance(30) {
            let far = random_edge(random, &onward);
            return self.junction(random, edge, far, depth);
        }
        let mut subquery = self.query(random, edge.child, depth);
        subquery.alias = Some(edge.name.clone());
        self.correlated(edge, subquery)
    }

    /// Two hops of which the first is hidden.
    fn junction(
        &self,
        random: &mut Random,
        near: &Edge,
        far: &Edge,
        depth: usize,
    ) -> CorrelatedSubquery {
        let mut behind = self.query(random, far.child, depth);
        behind.alias = Some(near.name.clone());
        let mut junction = Ast {
            table: self.world.tables[near.child].name.clone(),
            alias: Some(near.name.clone()),
            related: Some(vec![self.correlated(far, behind)]),
            ..Ast::default()
        };
        // The builder never does this; permissions put conditions everywhere.
        if random.chance(20) {
            junction.condition =
                Some(self.condition(random, near.child, 1.min(self.depth.conditions)));
        }
        CorrelatedSubquery {
            hidden: Some(true),
            ..self.correlated(near, junction)
        }
    }

    fn correlated(&self, edge: &Edge, subquery: Ast) -> CorrelatedSubquery {
        let names = |table: usize, columns: &[usize]| {
            let columns = columns.iter();
            columns
                .map(|at| self.world.tables[table].columns[*at].name.clone())
                .collect()
        };
        CorrelatedSubquery {
            system: None,
            correlation: Correlation {
                parent_field: names(edge.parent, &edge.parent_columns),
                child_field: names(edge.child, &edge.child_columns),
            },
            hidden: None,
            subquery: Box::new(subquery),
        }
    }

    fn condition(&self, random: &mut Random, table: usize, depth: usize) -> Condition {
        let edges = self.world.edges_of(table);
        let choice = random.below(if depth == 0 { 40 } else { 100 });
        match choice {
            0..40 => self.simple(random, table),
            40..68 if !edges.is_empty() => {
                let edge = random_edge(random, &edges);
                self.exists(random, edge, depth)
            }
            40..84 => Condition::And {
                conditions: self.conditions(random, table, depth),
            },
            _ => Condition::Or {
                conditions: self.conditions(random, table, depth),
            },
        }
    }

    fn conditions(&self, random: &mut Random, table: usize, depth: usize) -> Vec<Condition> {
        let count = *random.pick(&[0, 1, 2, 2, 2, 3]);
        (0..count)
            .map(|_| self.condition(random, table, depth - 1))
            .collect()
    }

    fn exists(&self, random: &mut Random, edge: &Edge, depth: usize) -> Condition {
        let mut subquery = Ast {
            table: self.world.tables[edge.child].name.clone(),
            alias: Some(format!("zsubq_{}", edge.name)),
            ..Ast::default()
        };
        if random.chance(65) {
            subquery.condition = Some(self.condition(random, edge.child, depth - 1));
        }
        if random.chance(15) {
            self.window(random, edge.child, &mut subquery);
            subquery.start = None;
        }
        let mut related = self.correlated(edge, subquery);
        if random.chance(6) {
            related.system = Some(System::Permissions);
        }
        let hint =
            |random: &mut Random, often: usize| random.chance(often).then(|| random.chance(60));
        Condition::CorrelatedSubquery {
            related: Box::new(related),
            op: if random.chance(60) {
                ExistsOperator::Exists
            } else {
                ExistsOperator::NotExists
            },
            flip: hint(random, 30),
            scalar: hint(random, 15),
        }
    }

    fn simple(&self, random: &mut Random, table: usize) -> Condition {
        let columns = &self.world.tables[table].columns;
        let column = random.below(columns.len());
        let ty = columns[column].ty;
        let value = |random: &mut Random| literal(&self.world.value(random, table, column));
        let (op, value) = match (ty, random.below(20)) {
            (Type::Json, choice) => {
                let op = if choice < 10 { Op::Is } else { Op::IsNot };
                (op, Literal::Null)
            }
            (Type::Text, 0..6) => {
                let op = *random.pick(&[Op::Like, Op::NotLike, Op::ILike, Op::NotILike]);
                (op, Literal::String(self.pattern(random, table, column)))
            }
            (_, 6..9) => {
                let op = if random.chance(50) { Op::In } else { Op::NotIn };
                let many = random.below(4);
                let list = (0..many).map(|_| value(random)).collect();
                let null = random.chance(4);
                (
                    op,
                    if null {
                        Literal::Null
                    } else {
                        Literal::Array(list)
                    },
                )
            }
            (_, 9..13) => {
                let op = if random.chance(50) { Op::Is } else { Op::IsNot };
                let null = random.chance(60);
                (op, if null { Literal::Null } else { value(random) })
            }
            (_, choice) => {
                let op = match choice {
                    0..3 | 13 | 14 => Op::Equal,
                    3 | 4 | 15 => Op::NotEqual,
                    5 | 16 => Op::Less,
                    17 => Op::LessOrEqual,
                    18 => Op::Greater,
                    _ => Op::GreaterOrEqual,
                };
                let null = random.chance(4);
                (op, if null { Literal::Null } else { value(random) })
            }
        };
        let literal_left = ty != Type::Json && random.chance(5);
        Condition::Simple {
            left: if literal_left {
                let left = self.world.cell(random, table, column);
                Operand::Literal {
                    value: literal(&left),
                }
            } else {
                Operand::Column {
                    name: columns[column].name.clone(),
                }
            },
            right: Operand::Literal { value },
            op,
        }
    }

    /// A pattern that some values match: a value with parts replaced by wildcards, or escaped.
    fn pattern(&self, random: &mut Random, table: usize, column: usize) -> String {
        let Cell::Text(text) = self.world.value(random, table, column) else {
            return "%".to_owned();
        };
        let mut pattern = String::new();
        if random.chance(30) {
            pattern.push('%');
        }
        for character in text.chars() {
            match random.below(10) {
                0 | 1 => pattern.push('_'),
                2 => pattern.push('%'),
                3 => pattern.extend(['\\', character]),
                4 if character != '\\' => pattern.extend(character.to_uppercase()),
                5 if character != '\\' => pattern.extend(character.to_lowercase()),
                _ if matches!(character, '\\' | '%' | '_') && random.chance(70) => {
                    pattern.extend(['\\', character]);
                }
                // A lone escape at the end is refused.
                _ if character == '\\' => pattern.push_str("\\\\"),
                _ => pattern.push(character),
            }
        }
        if random.chance(30) {
            pattern.push('%');
        }
        pattern
    }
}

fn random_edge<'a>(random: &mut Random, edges: &[&'a Edge]) -> &'a Edge {
    edges[random.below(edges.len())]
}

fn literal(cell: &Cell) -> Literal {
    match cell {
        Cell::Null => Literal::Null,
        Cell::Bool(value) => Literal::Bool(*value),
        Cell::Number(value) => Literal::Number(*value),
        Cell::Text(text) => Literal::String(text.clone()),
        Cell::Json(text) => Literal::Json(text.clone()),
    }
}
