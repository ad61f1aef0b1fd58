//! Joining: a group gets its new set of queries at one point, and connections that are behind catch up to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_zql::Row;

use super::accounting::RowKey;
use super::coordinator::Coordinator;
use super::encode::encode;
use super::instance::{InstanceMembers, cold};
use super::members::{ColdMembers, Labels, catch_up};
use super::poke_body::PokeBody;
use super::request::{
    CatchUpReply, CatchUpRequest, PointEvent, PoolEvent, SyncRequest, SyncedEvent,
};
use crate::cvr::{CvrError, InstanceId, PointWrite, StateVersion};
use crate::replica::ReplicaError;

/// Instances that a client had, alive and cold.
struct Had<'a> {
    alive: Vec<&'a InstanceMembers>,
    cold: Vec<ColdMembers<RowKey>>,
}

impl Coordinator {
    /// Answers a sync at the present point. All of its queries are alive or failed.
    pub(super) fn join(
        &mut self,
        request: SyncRequest,
        queries: Vec<(String, Result<InstanceId, String>)>,
    ) {
        let point = self.point();
        let class: BTreeSet<InstanceId> = queries
            .iter()
            .filter_map(|(_, q)| q.as_ref().ok().copied())
            .collect();
        let told = self.told(&request).and_then(|told| {
            let Some(since) = self.groups.held_since(&request.group) else {
                return Ok((told, None));
            };
            let before = self.groups.class(&request.group);
            let rows = self.rows_since(since, &before, &class);
            let missed = self.missed(&request.group, since, rows.clone())?;
            Ok((told, Some((rows, missed))))
        });
        let (told, missed) = match told {
            // What it has is not recorded from where it stands.
            Ok((_, Some((CatchUpReply::Afresh(_), _)))) => return self.refuse(&request),
            Ok((told, missed)) => (told, missed.and_then(|(_, event)| event)),
            Err(error) => {
                tracing::error!(%error, "a group cannot be joined");
                return self.refuse(&request);
            }
        };
        let is_held = self.groups.held_since(&request.group).is_some();
        let rows = (request.for_current && !is_held)
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
        if let Some(event) = missed {
            // The group may have ended meanwhile; then it says so itself.
            let _ = request.events.send(PoolEvent::Point(Arc::new(event)));
        }
        let (lmids, results) = told;
        let synced = Box::new(SyncedEvent {
            version: point,
            queries,
            rows,
            catch_ups,
            lmids,
            results,
        });
        // As above.
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

    fn refuse(&mut self, request: &SyncRequest) {
        // The group may have ended meanwhile.
        let _ = request.events.send(PoolEvent::Restarted);
        self.forget(&request.group);
    }

    /// Lets groups hear of points again whose queries are all current, beginning with what they have missed.
    pub(super) fn release_held(&mut self) {
        for (class, since) in self.groups.held() {
            let is_served = |id: &InstanceId| {
                let instance = self.instances.get(id);
                instance.is_none_or(|i| i.is_alive() || i.failed.is_some())
            };
            if !class.iter().all(is_served) {
                continue;
            }
            // No later event of this point may overtake a point that is not durable.
            if !self.commit(&PointWrite {
                point: self.point(),
                ..PointWrite::default()
            }) {
                return;
            }
            let rows = self.rows_since(since, &class, &class);
            for group in self.groups.release(&class) {
                match self.missed(&group, since, rows.clone()) {
                    Ok(Some(event)) => self.tell_missed(&group, event),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(%error, "a group cannot go on");
                        self.end_group(&group);
                    }
                }
                if matches!(rows, CatchUpReply::Afresh(_)) {
                    self.end_group(&group);
                }
            }
        }
    }

    fn tell_missed(&self, group: &str, event: PointEvent) {
        let event = PoolEvent::Point(Arc::new(event));
        self.groups.tell_one(group, event);
    }

    /// What a group that stands at an earlier point has missed, unless that is nothing.
    fn missed(
        &self,
        group: &str,
        since: StateVersion,
        rows: CatchUpReply,
    ) -> Result<Option<PointEvent>, ReplicaError> {
        let CatchUpReply::Rows(rows) = rows else {
            return Ok(None);
        };
        let reader = &self.standing.reader;
        let results = reader.results_since(group, Some(since))?.into_iter();
        let event = PointEvent {
            version: self.point(),
            rows,
            lmids: reader.lmids_since(group, Some(since))?,
            results: results.map(|r| (r.client, r.id, r.result)).collect(),
            told: None,
        };
        let is_blank = event.rows.is_none() && event.lmids.is_empty() && event.results.is_empty();
        Ok((!is_blank).then_some(event))
    }

    /// From the rows of a set of instances at an earlier point to those of another set at the present one.
    fn rows_since(
        &self,
        since: StateVersion,
        before: &BTreeSet<InstanceId>,
        class: &BTreeSet<InstanceId>,
    ) -> CatchUpReply {
        let request = CatchUpRequest {
            connection: 0,
            since: Some(since),
            had: before.iter().copied().collect(),
            recorded: true,
        };
        self.catch_up(&request, class)
    }

    #[expect(clippy::type_complexity, reason = "two maps, used once")]
    fn told(
        &self,
        request: &SyncRequest,
    ) -> Result<(BTreeMap<String, u64>, BTreeMap<(String, u64), String>), ReplicaError> {
        let lmids = self
            .standing
            .reader
            .lmids(&request.group)?
            .into_iter()
            .collect();
        let results = self
            .standing
            .reader
            .results_since(&request.group, None)?
            .into_iter();
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
        encode(&self.standing.reader.schema().zql, self.point(), dels, puts).map(Arc::new)
    }

    fn catch_up(&self, request: &CatchUpRequest, class: &BTreeSet<InstanceId>) -> CatchUpReply {
        let make = || self.make_catch_up(request, class);
        let mut replies = self.replies.borrow_mut();
        replies.get(self.point(), request, class, make)
    }

    fn make_catch_up(
        &self,
        request: &CatchUpRequest,
        class: &BTreeSet<InstanceId>,
    ) -> CatchUpReply {
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
            match self.instances.get(id).filter(|i| i.is_settled) {
                Some(instance) if instance.reaches_back_to(since) => {
                    had.alive.push(&instance.members)
                }
                Some(_) => return None,
                None => {
                    let stored = self.cvr.load_cold(*id).map_err(log).ok().flatten();
                    let (_, members) =
                        stored.filter(|(s, _)| s.durable >= since && s.pruned_below <= since)?;
                    had.cold
                        .push(cold(members, &self.standing.reader.schema().zql));
                }
            }
        }
        Some(had)
    }

    fn rows(&self, patch: &super::CatchUp<RowKey, Row>) -> Option<Arc<PokeBody>> {
        let puts = patch.puts.iter().map(|(key, row)| (key, row));
        encode(
            &self.standing.reader.schema().zql,
            self.point(),
            &patch.dels,
            puts,
        )
        .map(Arc::new)
    }
}

fn log(error: CvrError) {
    tracing::error!(%error, "the client view records cannot be read");
}
