//! A reference decoder of flushes: rebuilds what JavaScript would hold, and checks every rule of `FLUSH.md` on the way.

use landfall_client::{Flush, RowBatch};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How many rows that no view shows the clients keep: few, so that they are given up often.
pub const IDLE_ROWS: usize = 3;

/// One entry of a view.
#[derive(Clone, Debug)]
pub struct Node {
    /// The row it shows.
    pub handle: u32,
    /// One list per relationship.
    pub related: Vec<Vec<Node>>,
}

/// One view as JavaScript holds it.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The root list.
    pub list: Vec<Node>,
    /// 0 unknown, 1 complete, 2 error.
    pub status: u32,
    /// It has had a snapshot.
    pub shown: bool,
}

/// The row table and the views.
pub struct Decoder {
    layout: Vec<(String, Vec<String>)>,
    /// Row objects by handle.
    pub rows: BTreeMap<u32, Value>,
    /// Views by number.
    pub views: BTreeMap<u32, View>,
    /// How many flushes were applied.
    pub flushes: usize,
    /// Number of relationships per view and depth-first AST level: entries are self-describing only with it.
    shapes: BTreeMap<u32, Shape>,
}

/// The relationships of a query, in document order.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Name and shape of each.
    pub related: Vec<(String, Shape)>,
}

impl Shape {
    /// The shape of an AST; a hidden junction shows what is behind it.
    pub fn of(ast: &Value) -> Shape {
        let related = ast["related"].as_array().cloned().unwrap_or_default();
        Shape {
            related: related
                .iter()
                .map(|csq| {
                    let sub = &csq["subquery"];
                    let alias = sub["alias"]
                        .as_str()
                        .expect("related has an alias")
                        .to_owned();
                    let shown = if csq["hidden"] == json!(true) {
                        &sub["related"][0]["subquery"]
                    } else {
                        sub
                    };
                    (alias, Shape::of(shown))
                })
                .collect(),
        }
    }
}

struct Words<'a>(std::slice::Iter<'a, u32>);

impl Words<'_> {
    fn next(&mut self) -> u32 {
        *self.0.next().expect("operations end in the middle")
    }
}

struct Batch<'a> {
    words: &'a [u32],
    at: usize,
}

impl Batch<'_> {
    fn word(&mut self) -> u32 {
        self.at += 1;
        self.words[self.at - 1]
    }
    fn words(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.word()).collect()
    }
    fn float(&mut self) -> f64 {
        assert_eq!(self.at % 2, 0, "floats are aligned");
        let (low, high) = (self.word(), self.word());
        f64::from_bits(u64::from(high) << 32 | u64::from(low))
    }
    fn align(&mut self) {
        self.at = self.at.next_multiple_of(2);
    }
}

/// The strings of a batch, in order.
struct Strings(std::vec::IntoIter<String>);

impl Strings {
    /// Out of the text, by the lengths of its pieces.
    fn of(text: &[u8], pieces: &[u32], as_json: bool) -> Strings {
        let mut all = Vec::new();
        let mut rest = text;
        for length in pieces {
            let (piece, after) = rest.split_at(*length as usize);
            rest = after;
            let (end, strings) = piece.split_last().expect("a piece has a string");
            let strings = std::str::from_utf8(strings).expect("a piece holds whole characters");
            if as_json {
                assert_eq!(*end, b',');
                let list = format!("[{strings}]");
                all.extend(serde_json::from_str::<Vec<String>>(&list).expect("JSON"));
            } else {
                assert_eq!(*end, 0);
                all.extend(strings.split('\0').map(str::to_owned));
            }
        }
        assert!(rest.is_empty(), "the pieces are the text");
        Strings(all.into_iter())
    }

    fn take(&mut self, count: usize) -> Vec<String> {
        let taken: Vec<String> = self.0.by_ref().take(count).collect();
        assert_eq!(taken.len(), count, "there are as many strings as are named");
        taken
    }
}

fn bit(words: &[u32], index: usize) -> bool {
    words[index / 32] >> (index % 32) & 1 == 1
}

impl Decoder {
    /// A decoder for a client's `layout()`.
    pub fn new(layout: &str) -> Decoder {
        let layout: Value = serde_json::from_str(layout).expect("the layout is JSON");
        let tables = layout.as_array().expect("a list of tables");
        Decoder {
            layout: tables
                .iter()
                .map(|table| {
                    let columns = table["columns"].as_array().expect("columns");
                    let names = columns
                        .iter()
                        .map(|c| c["name"].as_str().expect("name").to_owned())
                        .collect();
                    (table["name"].as_str().expect("name").to_owned(), names)
                })
                .collect(),
            rows: BTreeMap::new(),
            views: BTreeMap::new(),
            shapes: BTreeMap::new(),
            flushes: 0,
        }
    }

    /// Says what a view's query looks like; needed before its first operation.
    pub fn expect_view(&mut self, view: u32, ast: &str) {
        let ast: Value = serde_json::from_str(ast).expect("an AST");
        self.shapes.insert(view, Shape::of(&ast));
    }

    /// Forgets a closed view; its rows are released by the flush that follows.
    pub fn drop_view(&mut self, view: u32) {
        self.views.remove(&view);
    }

    /// Applies a flush of the shared row table.
    pub fn apply(&mut self, flush: &Flush) {
        self.flushes += 1;
        self.take_rows(flush);
        self.apply_ops(&flush.ops);
        self.release_rows(flush);
    }

    /// The answer of a query that was run once, as JSON. All flushes before it must have been applied.
    pub fn answer(&mut self, flush: &Flush, ast: &str) -> Value {
        self.take_rows(flush);
        let answer = snapshot_json(flush, ast, &self.rows);
        self.release_rows(flush);
        answer
    }

    fn take_rows(&mut self, flush: &Flush) {
        for (handle, row) in decode_rows(&self.layout, &flush.rows) {
            let before = self.rows.insert(handle, row);
            assert!(before.is_none(), "handle {handle} is given out twice");
        }
    }

    fn release_rows(&mut self, flush: &Flush) {
        for handle in &flush.releases {
            assert!(
                self.rows.remove(handle).is_some(),
                "handle {handle} is released but unknown"
            );
        }
        for (id, view) in &self.views {
            self.check_list(*id, &view.list);
        }
    }

    fn check_list(&self, view: u32, list: &[Node]) {
        for node in list {
            assert!(
                self.rows.contains_key(&node.handle),
                "view {view} shows the released row {}",
                node.handle
            );
            for list in &node.related {
                self.check_list(view, list);
            }
        }
    }

    /// The handles that the views show.
    pub fn shown(&self) -> std::collections::BTreeSet<u32> {
        fn collect(list: &[Node], into: &mut std::collections::BTreeSet<u32>) {
            for node in list {
                into.insert(node.handle);
                node.related.iter().for_each(|list| collect(list, into));
            }
        }
        let mut handles = std::collections::BTreeSet::new();
        self.views
            .values()
            .for_each(|view| collect(&view.list, &mut handles));
        handles
    }

    fn apply_ops(&mut self, ops: &[u32]) {
        let mut words = Words(ops.iter());
        while let Some(&opcode) = words.0.next() {
            let view = words.next();
            let mut state = self.views.remove(&view).unwrap_or_default();
            if opcode == 6 {
                state.status = words.next();
                self.views.insert(view, state);
                continue;
            }
            let shape = self
                .shapes
                .get(&view)
                .unwrap_or_else(|| panic!("view {view} was not expected"))
                .clone();
            if opcode == 1 {
                let length = words.next() as usize;
                let before = words.0.len();
                state.list = read_list(&mut words, &shape);
                assert_eq!(
                    before - words.0.len(),
                    length,
                    "the snapshot is as long as it says"
                );
                state.shown = true;
            } else {
                apply_change(opcode, &mut words, &mut state.list, &shape);
            }
            self.views.insert(view, state);
        }
    }

    /// The rows of a view with their relationships, as JSON.
    pub fn json(&self, view: u32) -> Value {
        let state = self
            .views
            .get(&view)
            .unwrap_or_else(|| panic!("view {view} is not there"));
        assert!(state.shown, "view {view} has had no snapshot");
        list_json(&state.list, &self.shapes[&view], &self.rows)
    }

    /// The status word of a view or preload.
    pub fn status(&self, view: u32) -> u32 {
        self.views.get(&view).map_or(0, |state| state.status)
    }

    /// The result of a detached flush, as JSON.
    pub fn detached(&self, flush: &Flush, ast: &str) -> Value {
        assert!(
            flush.releases.is_empty(),
            "a detached flush releases nothing"
        );
        let rows: BTreeMap<u32, Value> =
            decode_rows(&self.layout, &flush.rows).into_iter().collect();
        assert!(
            rows.keys().copied().eq(0..rows.len() as u32),
            "detached handles count from 0"
        );
        snapshot_json(flush, ast, &rows)
    }
}

fn snapshot_json(flush: &Flush, ast: &str, rows: &BTreeMap<u32, Value>) -> Value {
    let ast: Value = serde_json::from_str(ast).expect("an AST");
    let shape = Shape::of(&ast);
    let mut words = Words(flush.ops.iter());
    assert_eq!(
        (words.next(), words.next()),
        (1, 0),
        "one snapshot for view 0"
    );
    words.next();
    let list = read_list(&mut words, &shape);
    assert_eq!(words.0.len(), 0, "nothing follows");
    list_json(&list, &shape, rows)
}

fn list_json(list: &[Node], shape: &Shape, rows: &BTreeMap<u32, Value>) -> Value {
    list.iter()
        .map(|node| {
            let mut entry: Map<String, Value> =
                rows[&node.handle].as_object().expect("a row").clone();
            assert_eq!(node.related.len(), shape.related.len());
            for ((name, shape), list) in shape.related.iter().zip(&node.related) {
                entry.insert(name.clone(), list_json(list, shape, rows));
            }
            Value::Object(entry)
        })
        .collect()
}

fn read_list(words: &mut Words<'_>, shape: &Shape) -> Vec<Node> {
    let count = words.next();
    (0..count).map(|_| read_entry(words, shape)).collect()
}

fn read_entry(words: &mut Words<'_>, shape: &Shape) -> Node {
    let handle = words.next();
    Node {
        handle,
        related: shape
            .related
            .iter()
            .map(|(_, shape)| read_list(words, shape))
            .collect(),
    }
}

fn apply_change(opcode: u32, words: &mut Words<'_>, root: &mut Vec<Node>, shape: &Shape) {
    let depth = words.next();
    let (mut list, mut shape) = (root, shape);
    for _ in 0..depth {
        let (position, relationship) = (words.next() as usize, words.next() as usize);
        list = &mut list[position].related[relationship];
        shape = &shape.related[relationship].1;
    }
    let position = words.next() as usize;
    match opcode {
        2 => {
            let entry = read_entry(words, shape);
            list.insert(position, entry);
        }
        3 => {
            list.remove(position);
        }
        4 => list[position].handle = words.next(),
        5 => {
            let to = words.next() as usize;
            let mut node = list.remove(position);
            node.handle = words.next();
            list.insert(to, node);
        }
        other => panic!("unknown operation {other}"),
    }
}

fn decode_rows(layout: &[(String, Vec<String>)], rows: &RowBatch) -> Vec<(u32, Value)> {
    let words = rows.words.as_slice();
    if words.is_empty() {
        return Vec::new();
    }
    let mut batch = Batch { words, at: 0 };
    let (tables, pieces, as_json) = (batch.word(), batch.word() as usize, batch.word());
    assert_eq!(batch.word(), 0);
    let end = words.len() - pieces;
    let mut text = Strings::of(&rows.text, &words[end..], as_json == 1);
    let mut rows = Vec::new();
    for _ in 0..tables {
        batch.align();
        let (table, count, columns) = (
            batch.word() as usize,
            batch.word() as usize,
            batch.word() as usize,
        );
        assert_eq!(batch.word(), 0);
        let handles = batch.words(count);
        let names = &layout[table].1;
        assert_eq!(names.len(), columns);
        let mut objects = vec![Map::new(); count];
        for name in names {
            for (object, value) in objects
                .iter_mut()
                .zip(decode_column(&mut batch, &mut text, count))
            {
                object.insert(name.clone(), value);
            }
        }
        batch.align();
        rows.extend(
            handles
                .into_iter()
                .zip(objects.into_iter().map(Value::Object)),
        );
    }
    assert_eq!(batch.at, end, "nothing stands between tables and pieces");
    assert_eq!(text.0.len(), 0, "all strings are used");
    rows
}

fn decode_column(batch: &mut Batch<'_>, text: &mut Strings, count: usize) -> Vec<Value> {
    let bitmap_words = count.div_ceil(32);
    let values: Vec<Value> = match batch.word() {
        0 => return vec![Value::Null; count],
        1 => {
            batch.align();
            (0..count).map(|_| number(batch.float())).collect()
        }
        2 => {
            let bits = batch.words(bitmap_words);
            (0..count).map(|i| Value::Bool(bit(&bits, i))).collect()
        }
        3 => text.take(count).into_iter().map(Value::String).collect(),
        4 => {
            let size = batch.word() as usize;
            let entries = text.take(size);
            batch
                .words(count)
                .into_iter()
                .map(|index| Value::String(entries[index as usize].clone()))
                .collect()
        }
        5 => {
            let parse =
                |text: String| serde_json::from_str(if text.is_empty() { "null" } else { &text });
            text.take(count)
                .into_iter()
                .map(|text| parse(text).expect("JSON"))
                .collect()
        }
        6 => batch
            .words(count)
            .into_iter()
            .map(|word| json!(word as i32))
            .collect(),
        other => panic!("unknown column kind {other}"),
    };
    let nulls = match batch.word() {
        0 => vec![0; bitmap_words],
        _ => batch.words(bitmap_words),
    };
    values
        .into_iter()
        .enumerate()
        .map(|(i, v)| if bit(&nulls, i) { Value::Null } else { v })
        .collect()
}

/// Whole numbers as integers, so that they compare equal to literals.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}
