//! Joining: a group gets its new set of queries at one point, and connections that are behind catch up to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_zql::Row;

use super::accounting::RowKey;
use super::encode::encode;
use super::instance::{InstanceMembers, cold};
use super::members::{ColdMembers, Labels, catch_up};
use super::poke_body::PokeBody;
use super::request::{CatchUpReply, CatchUpRequest, PoolEvent, SyncRequest, SyncedEvent};
use super::worker::Worker;
use crate::cvr::{CvrError, InstanceId, PointWrite, StateVersion};
use crate::replica::ReplicaError;

/// Instances that a client had, alive and cold.
struct Had<'a> {
    alive: Vec<&'a InstanceMembers>,
    cold: Vec<ColdMembers<RowKey>>,
}

impl Worker {
    /// Answers a sync at the present point. All of its queries are alive or failed.
    pub(super) fn join(
        &mut self,
        request: SyncRequest,
        queries: Vec<(String, Result<InstanceId, String>)>,
    ) {
        let point = self.reader.version();
        let class: BTreeSet<InstanceId> = queries
            .iter()
            .filter_map(|(_, q)| q.as_ref().ok().copied())
            .collect();
        let told = match self.told(&request) {
            Ok(told) => told,
            Err(error) => {
                tracing::error!(%error, "a group cannot be joined");
                // The group may have ended meanwhile.
                let _ = request.events.send(PoolEvent::Restarted);
                return self.forget(&request.group);
            }
        };
        let rows = request
            .for_current
            .then(|| self.difference(&request.group, &class))
            .flatten();
        let catch_ups = request
            .catch_ups
            .iter()
            .map(|c| (c.connection, self.catch_up(c, &class)))
            .collect();
        if let Err(refusal) = self.commit_join(point, &request.group) {
            // The group may have ended meanwhile.
            let _ = request.events.send(refusal);
            return self.forget(&request.group);
        }
        let (taken, left) = self
            .groups
            .set(&request.group, request.events.clone(), class);
        for id in taken {
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.users += 1;
                instance.idle_since = None;
            }
        }
        left.into_iter().for_each(|id| self.release(id));
        let (lmids, results) = told;
        let synced = SyncedEvent {
            version: point,
            queries,
            rows,
            catch_ups,
            lmids,
            results,
        };
        // The group may have ended meanwhile; then it says so itself.
        let _ = request.events.send(PoolEvent::Synced(synced));
    }

    /// Makes the point durable on which a group joins. If that fails the group hears why, and nobody else.
    fn commit_join(&mut self, point: StateVersion, group: &Arc<str>) -> Result<(), PoolEvent> {
        let joining = self.cvr.is_shared().then(|| group.to_string());
        let write = PointWrite {
            point,
            joining: joining.into_iter().collect(),
            ..PointWrite::default()
        };
        match self.try_commit(&write) {
            Ok(moved) if moved.iter().any(|other| **other == **group) => Err(PoolEvent::Moved),
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(%group, %error, "a group cannot be joined");
                if matches!(error, CvrError::Fenced) {
                    self.restart();
                }
                Err(PoolEvent::Restarted)
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "two maps, used once")]
    fn told(
        &self,
        request: &SyncRequest,
    ) -> Result<(BTreeMap<String, u64>, BTreeMap<(String, u64), String>), ReplicaError> {
        let lmids = self.reader.lmids(&request.group)?.into_iter().collect();
        let results = self.reader.results_since(&request.group, None)?.into_iter();
        let present = results
            .filter_map(|r| Some(((r.client, r.id), r.result?)))
            .collect();
        Ok((lmids, present))
    }

    fn members(&self, class: &BTreeSet<InstanceId>) -> Vec<&InstanceMembers> {
        class
            .iter()
            .filter_map(|id| self.instances.get(id))
            .map(|i| &i.members)
            .collect()
    }

    /// From the old set of queries to the new one, at the present point.
    fn difference(&self, group: &str, class: &BTreeSet<InstanceId>) -> Option<Arc<PokeBody>> {
        let before = self.groups.class(group);
        let (old, new) = (self.members(&before), self.members(class));
        let added = class.difference(&before).copied().collect();
        let removed = before.difference(class).copied().collect();
        let in_any =
            |set: &[&InstanceMembers], key: &RowKey| set.iter().any(|m| m.get(key).is_some());
        let (added, removed) = (self.members(&added), self.members(&removed));
        let puts: BTreeMap<&RowKey, &Row> = added
            .iter()
            .flat_map(|m| m.live())
            .filter(|(key, _)| !in_any(&old, key))
            .map(|(key, live)| (key, &live.row))
            .collect();
        let dels: BTreeSet<&RowKey> = removed
            .iter()
            .flat_map(|m| m.live())
            .map(|(key, _)| key)
            .filter(|key| !in_any(&new, key))
            .collect();
        encode(&self.reader.schema().zql, self.reader.version(), dels, puts).map(Arc::new)
    }

    fn catch_up(&self, request: &CatchUpRequest, class: &BTreeSet<InstanceId>) -> CatchUpReply {
        let have = self.members(class);
        let afresh = || CatchUpReply::Afresh(self.rows(&catch_up(None, &[], &have, &[])));
        let Some(since) = request.since else {
            return CatchUpReply::Rows(self.rows(&catch_up(None, &[], &have, &[])));
        };
        let had = match self.had(request, since).filter(|_| request.recorded) {
            Some(had) => had,
            None => return afresh(),
        };
        let same = request.had.iter().copied().collect::<BTreeSet<_>>() == *class;
        if same && have.iter().all(|m| m.changed_at() <= since) {
            return CatchUpReply::Rows(None);
        }
        let alive = had.alive.iter().map(|m| *m as &dyn Labels<RowKey>);
        let labels: Vec<&dyn Labels<RowKey>> = alive
            .chain(had.cold.iter().map(|m| m as &dyn Labels<RowKey>))
            .collect();
        let witnesses: Vec<&InstanceMembers> = class
            .iter()
            .filter_map(|id| self.instances.get(id))
            .filter(|instance| instance.vouches_for(since))
            .map(|instance| &instance.members)
            .collect();
        CatchUpReply::Rows(self.rows(&catch_up(Some(since), &labels, &have, &witnesses)))
    }

    /// What a client had; `None` if that is not recorded.
    fn had(&self, request: &CatchUpRequest, since: u64) -> Option<Had<'_>> {
        let mut had = Had {
            alive: Vec::new(),
            cold: Vec::new(),
        };
        for id in &request.had {
            match self.instances.get(id).filter(|i| i.is_alive()) {
                Some(instance) if instance.reaches_back_to(since) => {
                    had.alive.push(&instance.members)
                }
                Some(_) => return None,
                None => {
                    let stored = self.cvr.load_cold(*id).map_err(log).ok().flatten();
                    let (_, members) =
                        stored.filter(|(s, _)| s.durable >= since && s.pruned_below <= since)?;
                    had.cold.push(cold(members, &self.reader.schema().zql));
                }
            }
        }
        Some(had)
    }

    fn rows(&self, patch: &super::CatchUp<RowKey, Row>) -> Option<Arc<PokeBody>> {
        let puts = patch.puts.iter().map(|(key, row)| (key, row));
        encode(
            &self.reader.schema().zql,
            self.reader.version(),
            &patch.dels,
            puts,
        )
        .map(Arc::new)
    }
}

fn log(error: CvrError) {
    tracing::error!(%error, "the client view records cannot be read");
}
