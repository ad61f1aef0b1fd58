//! The queries that this client wants, what the server was told of them, and which it has answered.
//!
//! Differences travel in batches: what is wanted is compared with what was *told* on this connection.
//! Whether a query is complete follows from the server's *got* set and from having heard it on this connection.
//! Nothing here knows about pipelines or rows.

use crate::effect::ViewId;
use landfall_protocol::Json;
use landfall_zql::ast::Ast;
use landfall_zql::sorted_map::{SortedMap, SortedSet};
use std::sync::Arc;

/// How a query is named to the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueryText {
    /// Name and arguments, for named queries.
    pub(crate) named: Option<(String, Vec<Json>)>,
    /// The AST with client names: only a server that wants ASTs needs it in its own.
    pub(crate) ast: Arc<Ast>,
}

/// What a view shows about its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Unknown,
    Complete,
    Error,
}

impl Status {
    pub(crate) fn word(self) -> u32 {
        match self {
            Status::Unknown => 0,
            Status::Complete => 1,
            Status::Error => 2,
        }
    }
}

/// One difference to tell the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum QueryOp {
    Put {
        hash: String,
        ttl: f64,
        text: QueryText,
    },
    Del {
        hash: String,
    },
}

/// A change that the server reported, of desired or got queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueryChange {
    Put(String),
    Del(String),
    Clear,
}

#[derive(Debug)]
struct Wanted {
    text: QueryText,
    users: SortedSet<ViewId>,
    ttl: f64,
    status: Status,
    /// The server must be told again although it seems to know.
    again: bool,
}

/// What the server was told of a query.
#[derive(Clone, Copy, Debug)]
struct Told {
    ttl: f64,
    /// It could not answer, and was not asked again.
    failed: bool,
}

/// TTL that stands for "as long as the server allows".
const TTL_FOREVER: f64 = f64::INFINITY;

fn rank(ttl: f64) -> f64 {
    if ttl < 0.0 { TTL_FOREVER } else { ttl }
}

/// The wanted queries of this client.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    wanted: SortedMap<String, Wanted>,
    /// Hash of each open view or preload.
    by_view: SortedMap<ViewId, String>,
    /// What pokes said this client desires at the server.
    desired: SortedSet<String>,
    /// What was told on this connection.
    told: SortedMap<String, Told>,
    /// What the server has answered completely, as of the client's cookie.
    got: SortedSet<String>,
    heard_on_this_connection: bool,
    /// When the differences are to be sent.
    send_at: Option<f64>,
}

impl Queries {
    /// The got set that storage held.
    pub(crate) fn load(&mut self, got: SortedSet<String>) {
        self.got = got;
    }

    /// Whether nothing is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(crate) fn got(&self) -> &SortedSet<String> {
        &self.got
    }

    /// A view or preload wants this query. Returns the status to show first.
    pub(crate) fn want(
        &mut self,
        view: ViewId,
        hash: &str,
        text: QueryText,
        ttl: f64,
        due: f64,
    ) -> Status {
        self.by_view.insert(view, hash.to_owned());
        let failed = self.has_failed(hash);
        let heard = !failed && self.heard_on_this_connection && self.got.contains(hash);
        let wanted = self.wanted.get_or_insert_with(hash.to_owned(), || Wanted {
            text,
            users: SortedSet::new(),
            ttl,
            status: if heard {
                Status::Complete
            } else {
                Status::Unknown
            },
            // Nobody is left who was told that it failed.
            again: failed,
        });
        wanted.users.insert(view);
        if rank(ttl) > rank(wanted.ttl) {
            wanted.ttl = ttl;
        }
        let status = wanted.status;
        self.schedule(due);
        status
    }

    /// Raises the TTL of a view's query; a lower one changes nothing.
    pub(crate) fn set_ttl(&mut self, view: ViewId, ttl: f64, due: f64) {
        let Some(wanted) = self
            .by_view
            .get(&view)
            .and_then(|hash| self.wanted.get_mut(hash))
        else {
            return;
        };
        if rank(ttl) > rank(wanted.ttl) {
            wanted.ttl = ttl;
            self.schedule(due);
        }
    }

    /// A view or preload is gone.
    pub(crate) fn unwant(&mut self, view: ViewId, due: f64) {
        let Some(hash) = self.by_view.remove(&view) else {
            return;
        };
        if let Some(wanted) = self.wanted.get_mut(&hash) {
            wanted.users.remove(&view);
            if wanted.users.is_empty() {
                self.wanted.remove(&hash);
            }
        }
        self.schedule(due);
    }

    /// The application wants a failed query asked for again. Returns the views whose status changed.
    pub(crate) fn retry(&mut self, view: ViewId, due: f64) -> Vec<ViewId> {
        let Some(wanted) = self
            .by_view
            .get(&view)
            .and_then(|hash| self.wanted.get_mut(hash))
        else {
            return Vec::new();
        };
        if wanted.status != Status::Error {
            return Vec::new();
        }
        wanted.again = true;
        wanted.status = Status::Unknown;
        let views = wanted.users.iter().copied().collect();
        self.schedule(due);
        views
    }

    /// The server could not transform this query. Returns its views.
    pub(crate) fn fail(&mut self, hash: &str) -> Vec<ViewId> {
        if let Some(told) = self.told.get_mut(hash) {
            told.failed = true;
        }
        let Some(wanted) = self.wanted.get_mut(hash) else {
            return Vec::new();
        };
        wanted.status = Status::Error;
        wanted.users.iter().copied().collect()
    }

    fn has_failed(&self, hash: &str) -> bool {
        self.told.get(hash).is_some_and(|told| told.failed)
    }

    fn schedule(&mut self, due: f64) {
        if self.send_at.is_none() {
            self.send_at = Some(due);
        }
    }

    /// When differences are due, if there may be any.
    pub(crate) fn next_deadline(&self) -> Option<f64> {
        self.send_at
    }

    /// A connection begins: all that is wanted against what pokes said is desired.
    /// What is returned counts as told.
    pub(crate) fn begin_connection(&mut self, keep_removals: bool) -> Vec<QueryOp> {
        self.heard_on_this_connection = false;
        let known = self.desired.iter().map(|hash| {
            let ttl = self.wanted.get(hash).map_or(0.0, |w| w.ttl);
            let failed = self.has_failed(hash);
            (hash.clone(), Told { ttl, failed })
        });
        self.told = known.collect();
        self.differences(keep_removals)
    }

    /// The differences that are due now. Removals wait while `keep_removals` (mutations are pending).
    pub(crate) fn take_due(&mut self, now: f64, keep_removals: bool) -> Vec<QueryOp> {
        if self.send_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.differences(keep_removals)
    }

    /// The differences, whenever they are due: used right after a connection is accepted.
    pub(crate) fn differences(&mut self, keep_removals: bool) -> Vec<QueryOp> {
        self.send_at = None;
        let mut ops = Vec::new();
        if !keep_removals {
            let gone: Vec<String> = self
                .told
                .keys()
                .filter(|hash| !self.wanted.contains_key(*hash))
                .cloned()
                .collect();
            for hash in gone {
                self.told.remove(&hash);
                ops.push(QueryOp::Del { hash });
            }
        }
        for (hash, wanted) in &mut self.wanted {
            let told = self.told.get(hash).copied();
            let mut failed = told.is_some_and(|told| told.failed);
            if std::mem::take(&mut wanted.again) && told.is_some() {
                // The server keeps a failed query as desired; only a removal makes the put count.
                ops.push(QueryOp::Del { hash: hash.clone() });
                failed = false;
            } else if told.is_some_and(|told| rank(told.ttl) >= rank(wanted.ttl)) {
                continue;
            }
            let ttl = wanted.ttl;
            self.told.insert(hash.clone(), Told { ttl, failed });
            ops.push(QueryOp::Put {
                hash: hash.clone(),
                ttl: wanted.ttl,
                text: wanted.text.clone(),
            });
        }
        ops
    }

    /// Removals that were put off may go now (the last pending mutation is confirmed).
    pub(crate) fn release_removals(&mut self, due: f64) {
        if self.told.keys().any(|hash| !self.wanted.contains_key(hash)) {
            self.schedule(due);
        }
    }

    /// Applies what a poke says about this client's desired queries.
    pub(crate) fn apply_desired(&mut self, changes: &[QueryChange], due: f64) {
        for change in changes {
            match change {
                QueryChange::Put(hash) => {
                    self.desired.insert(hash.clone());
                }
                QueryChange::Del(hash) => {
                    self.desired.remove(hash);
                    self.ask_anew(hash, due);
                }
                QueryChange::Clear => {
                    // Part of a fresh start: the desired entries follow in the same poke.
                    self.desired.clear();
                }
            }
        }
        if changes.contains(&QueryChange::Clear) {
            // What was believed to be desired there may not be; what was told just now is told twice at worst.
            let is_missing = |hash: &&String| !self.desired.contains(*hash);
            let missing: Vec<String> = self.told.keys().filter(is_missing).cloned().collect();
            for hash in missing {
                self.ask_anew(&hash, due);
            }
        }
    }

    /// The server has not got this query among those that this client desires: if it is still wanted, it is told anew.
    fn ask_anew(&mut self, hash: &str, due: f64) {
        if self.wanted.contains_key(hash) && self.told.remove(hash).is_some() {
            self.schedule(due);
        }
    }

    /// Applies what a poke says about answered queries; with `heard`, that it came on this connection.
    /// Returns the views whose status changed.
    pub(crate) fn apply_got(
        &mut self,
        changes: &[QueryChange],
        heard: bool,
    ) -> Vec<(ViewId, Status)> {
        for change in changes {
            match change {
                QueryChange::Put(hash) => {
                    self.got.insert(hash.clone());
                }
                QueryChange::Del(hash) => {
                    self.got.remove(hash);
                }
                QueryChange::Clear => self.got.clear(),
            }
        }
        self.heard_on_this_connection |= heard;
        if !self.heard_on_this_connection {
            return Vec::new();
        }
        let mut changed = Vec::new();
        for (hash, wanted) in &mut self.wanted {
            let failed = self.told.get(hash).is_some_and(|told| told.failed);
            if wanted.status != Status::Complete && !failed && self.got.contains(hash) {
                wanted.status = Status::Complete;
                changed.extend(wanted.users.iter().map(|view| (*view, Status::Complete)));
            }
        }
        changed
    }

    /// The server takes queries in another form than the one they were told in.
    pub(crate) fn tell_again(&mut self) {
        for (hash, wanted) in &mut self.wanted {
            wanted.again = self.told.contains_key(hash);
        }
    }

    /// The server's record of this client is gone: nothing is desired or got any more.
    pub(crate) fn forget_server(&mut self) {
        self.desired.clear();
        self.told.clear();
        self.got.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> QueryText {
        let ast = serde_json::from_str(r#"{"table":"t"}"#).expect("an AST");
        QueryText {
            named: Some((name.into(), Vec::new())),
            ast: Arc::new(ast),
        }
    }

    fn show(ops: Vec<QueryOp>) -> String {
        ops.into_iter()
            .map(|op| match op {
                QueryOp::Put { hash, ttl, .. } => format!("+{hash}:{ttl}"),
                QueryOp::Del { hash } => format!("-{hash}"),
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    struct World(Queries);

    impl World {
        fn new() -> Self {
            World(Queries::default())
        }
        fn want(&mut self, view: u32, hash: &str, ttl: f64) -> &mut Self {
            self.0.want(ViewId(view), hash, text(hash), ttl, 10.0);
            self
        }
        fn drop(&mut self, view: u32) -> &mut Self {
            self.0.unwant(ViewId(view), 10.0);
            self
        }
        fn mirror(&mut self, changes: &[QueryChange]) -> &mut Self {
            self.0.apply_desired(changes, 20.0);
            self
        }
        #[track_caller]
        fn begin(&mut self, expected: &str) -> &mut Self {
            assert_eq!(show(self.0.begin_connection(false)), expected);
            self
        }
        #[track_caller]
        fn due(&mut self, now: f64, expected: &str) -> &mut Self {
            assert_eq!(show(self.0.take_due(now, false)), expected);
            self
        }
    }

    fn put(hash: &str) -> QueryChange {
        QueryChange::Put(hash.into())
    }

    fn del(hash: &str) -> QueryChange {
        QueryChange::Del(hash.into())
    }

    #[test]
    fn differences_are_batched_and_cancel_out() {
        World::new()
            .want(1, "a", 5.0)
            .begin("+a:5")
            .want(2, "b", 5.0)
            .want(3, "c", 5.0)
            .drop(3)
            .due(9.0, "")
            .due(10.0, "+b:5")
            .due(99.0, "")
            .drop(1)
            .due(99.0, "-a");
    }

    #[test]
    fn two_users_of_a_query_are_one_for_the_server_and_the_larger_ttl_wins() {
        World::new()
            .want(1, "a", 5.0)
            .want(2, "a", 3.0)
            .begin("+a:5")
            .want(3, "a", -1.0)
            .due(10.0, "+a:-1")
            .drop(1)
            .drop(3)
            .due(10.0, "")
            .drop(2)
            .due(10.0, "-a");
    }

    #[test]
    fn a_reconnect_tells_only_what_the_server_did_not_mirror() {
        World::new()
            .want(1, "a", 5.0)
            .want(2, "b", 5.0)
            .begin("+a:5 +b:5")
            .mirror(&[put("a")])
            .drop(1)
            .begin("-a +b:5");
    }

    #[test]
    fn a_query_that_the_server_dropped_is_asked_for_again() {
        World::new()
            .want(1, "a", 5.0)
            .begin("+a:5")
            .mirror(&[put("a"), del("a")])
            .due(20.0, "+a:5");
    }

    /// Found as seed 113073875: the removal had reached the server, but not its answer.
    #[test]
    fn a_query_that_the_server_does_not_name_when_it_begins_anew_is_asked_for_again() {
        World::new()
            .want(1, "a", 5.0)
            .want(2, "b", 5.0)
            .begin("+a:5 +b:5")
            .mirror(&[put("a"), put("b")])
            .drop(1)
            .due(10.0, "-a")
            .want(3, "a", 5.0)
            .begin("")
            .mirror(&[QueryChange::Clear, put("b")])
            .due(20.0, "+a:5");
    }

    #[test]
    fn removals_wait_for_pending_mutations() {
        let mut world = World::new();
        world.want(1, "a", 5.0).begin("+a:5").drop(1);
        assert_eq!(show(world.0.take_due(10.0, true)), "");
        world.0.release_removals(20.0);
        world.due(20.0, "-a");
    }

    #[test]
    fn complete_needs_the_got_entry_and_a_poke_on_this_connection() {
        let mut queries = Queries::default();
        queries.load(SortedSet::from(["a".to_owned()]));
        assert_eq!(
            queries.want(ViewId(1), "a", text("a"), 5.0, 0.0),
            Status::Unknown
        );
        queries.begin_connection(false);
        assert_eq!(
            queries.apply_got(&[], true),
            vec![(ViewId(1), Status::Complete)]
        );
        assert_eq!(
            queries.want(ViewId(2), "b", text("b"), 5.0, 0.0),
            Status::Unknown
        );
        assert_eq!(
            queries.apply_got(&[put("b")], true),
            vec![(ViewId(2), Status::Complete)]
        );
        // Staying complete through a disconnection, but a newcomer has to wait for the next poke.
        queries.begin_connection(false);
        assert_eq!(
            queries.want(ViewId(3), "a", text("a"), 5.0, 0.0),
            Status::Complete
        );
        assert_eq!(
            queries.want(ViewId(4), "c", text("c"), 5.0, 0.0),
            Status::Unknown
        );
    }

    #[test]
    fn a_failed_query_stays_failed_until_retried() {
        let mut world = World::new();
        world.want(1, "a", 5.0).begin("+a:5").mirror(&[put("a")]);
        assert_eq!(world.0.fail("a"), vec![ViewId(1)]);
        assert!(world.0.apply_got(&[put("a")], true).is_empty());
        world.due(99.0, "");
        assert_eq!(world.0.retry(ViewId(1), 50.0), vec![ViewId(1)]);
        world.due(50.0, "-a +a:5");
        assert_eq!(
            world.0.apply_got(&[put("a")], true),
            vec![(ViewId(1), Status::Complete)]
        );
    }

    #[test]
    fn a_failed_query_that_is_wanted_again_is_asked_for_again() {
        let failed = || {
            let mut world = World::new();
            world.want(1, "a", 5.0).begin("+a:5").mirror(&[put("a")]);
            world.0.apply_got(&[put("a")], true);
            world.0.fail("a");
            world.drop(1);
            world
        };
        // At once, or while its removal waits for a pending mutation.
        for due in [None, Some(10.0)] {
            let mut world = failed();
            if let Some(now) = due {
                assert_eq!(show(world.0.take_due(now, true)), "");
            }
            let status = world.0.want(ViewId(2), "a", text("a"), 5.0, 10.0);
            assert_eq!(status, Status::Unknown, "what was got was got before");
            assert_eq!(show(world.0.take_due(20.0, true)), "-a +a:5");
        }
        // A view beside another one shows the same error.
        let mut world = failed();
        world.want(2, "a", 5.0).due(10.0, "-a +a:5");
        world.0.fail("a");
        let status = world.0.want(ViewId(3), "a", text("a"), 5.0, 10.0);
        assert_eq!(status, Status::Error);
        world.due(20.0, "");
        // A longer time to live does not make the server try again.
        world.want(4, "a", 9.0).due(20.0, "+a:9");
        assert!(world.0.apply_got(&[put("a")], true).is_empty());
    }

    #[test]
    fn a_failed_query_that_is_told_to_a_new_group_and_answered_is_complete() {
        let mut world = World::new();
        world.want(1, "a", 5.0).begin("+a:5").mirror(&[put("a")]);
        world.0.fail("a");
        world.0.forget_server();
        assert_eq!(
            world.begin("+a:5").0.apply_got(&[put("a")], true),
            vec![(ViewId(1), Status::Complete)]
        );
    }
}
