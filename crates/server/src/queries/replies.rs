//! Catch-ups of the present point that were made already: groups that come back together need the same ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use super::poke_body::PokeBody;
use super::request::{CatchUpReply, CatchUpRequest};
use crate::cvr::{InstanceId, StateVersion};

/// From where to where: what was had, since when, and what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    since: Option<StateVersion>,
    had: BTreeSet<InstanceId>,
    recorded: bool,
    class: BTreeSet<InstanceId>,
}

/// Replies as long as somebody holds them.
#[derive(Default)]
pub(super) struct Replies {
    point: StateVersion,
    known: BTreeMap<Way, Known>,
}

enum Known {
    Rows(Option<Weak<PokeBody>>),
    Afresh(Option<Weak<PokeBody>>),
}

impl Replies {
    /// The reply to a request at a point, made if nobody holds it.
    pub(super) fn get(
        &mut self,
        point: StateVersion,
        request: &CatchUpRequest,
        class: &BTreeSet<InstanceId>,
        make: impl FnOnce() -> CatchUpReply,
    ) -> CatchUpReply {
        if self.point != point {
            self.known.clear();
            self.point = point;
        }
        let way = Way {
            since: request.since,
            had: match request.since {
                Some(_) => request.had.iter().copied().collect(),
                None => BTreeSet::new(),
            },
            recorded: request.recorded,
            class: class.clone(),
        };
        let held = self.known.get(&way).and_then(Known::held);
        held.unwrap_or_else(|| {
            let reply = make();
            self.known.insert(way, Known::of(&reply));
            reply
        })
    }
}

impl Known {
    fn of(reply: &CatchUpReply) -> Self {
        let weak = |body: &Option<Arc<PokeBody>>| body.as_ref().map(Arc::downgrade);
        match reply {
            CatchUpReply::Rows(body) => Known::Rows(weak(body)),
            CatchUpReply::Afresh(body) => Known::Afresh(weak(body)),
        }
    }

    fn held(&self) -> Option<CatchUpReply> {
        let strong = |body: &Option<Weak<PokeBody>>| match body {
            None => Some(None),
            Some(body) => body.upgrade().map(Some),
        };
        match self {
            Known::Rows(body) => strong(body).map(CatchUpReply::Rows),
            Known::Afresh(body) => strong(body).map(CatchUpReply::Afresh),
        }
    }
}
