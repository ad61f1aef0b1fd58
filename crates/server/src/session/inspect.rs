//! What the inspector may know of a group.

use std::sync::Arc;

use landfall_protocol::{Inspect, InspectOp};

use super::connection::{ConnectionContext, ConnectionId};
use super::contract::Effect;
use super::group::Group;
use crate::inspect::{Asked, QueryState};

impl Group {
    pub(super) fn inspect(
        &mut self,
        id: ConnectionId,
        context: Arc<ConnectionContext>,
        question: Inspect,
    ) {
        let Some(outbound) = self.connections.get(&id).map(|c| c.outbound.clone()) else {
            return;
        };
        let queries = match question.op {
            InspectOp::Queries { .. } | InspectOp::Metrics => self.query_states(),
            _ => Vec::new(),
        };
        self.effects.push(Effect::Inspect(Box::new(Asked {
            context,
            outbound,
            question,
            queries,
        })));
    }

    fn query_states(&self) -> Vec<QueryState> {
        let desires = self.record.desires.iter();
        desires
            .filter_map(|((client, hash), desire)| {
                let query = self.queries.get(hash);
                Some(QueryState {
                    client: client.clone(),
                    hash: hash.clone(),
                    definition: self.record.queries.get(hash)?.clone(),
                    prepared: query.and_then(|q| q.prepared.clone()),
                    got: self.record.got(hash).is_some(),
                    active: desire.active,
                    ttl_ms: desire.ttl_ms,
                    inactivated_at_ms: desire.inactivated_at_ms,
                    hydration_ms: query.and_then(|q| q.hydration_ms),
                })
            })
            .collect()
    }
}
