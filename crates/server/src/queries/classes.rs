//! Groups by what they have got: groups with the same set of instances hear the same row changes, encoded once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_zql::{Row, Schema};
use tokio::sync::mpsc::UnboundedSender;

use super::accounting::RowKey;
use super::encode::encode;
use super::instance::Instance;
use super::members::Step;
use super::poke_body::PokeBody;
use super::request::{PointEvent, PoolEvent};
use crate::cvr::{InstanceId, StateVersion};
use crate::replica::Advance;

/// A set of instances.
pub(super) type Class = Arc<BTreeSet<InstanceId>>;
type Steps = BTreeMap<InstanceId, Vec<(RowKey, Step)>>;

struct Group {
    events: UnboundedSender<PoolEvent>,
    class: Class,
}

/// All groups that the worker serves.
#[derive(Default)]
pub(super) struct Groups {
    groups: BTreeMap<Arc<str>, Group>,
    classes: BTreeMap<Class, BTreeSet<Arc<str>>>,
    by_instance: BTreeMap<InstanceId, BTreeSet<Class>>,
}

/// Events that wait for their point to be durable.
pub(super) type Events = Vec<(Arc<str>, PoolEvent)>;

impl Groups {
    /// The instances of a group.
    pub(super) fn class(&self, group: &str) -> Class {
        self.groups
            .get(group)
            .map(|g| g.class.clone())
            .unwrap_or_default()
    }

    /// Puts a group into a class; returns the instances that it takes up and those that it lets go.
    pub(super) fn set(
        &mut self,
        group: &Arc<str>,
        events: UnboundedSender<PoolEvent>,
        class: BTreeSet<InstanceId>,
    ) -> (Vec<InstanceId>, Vec<InstanceId>) {
        let before: BTreeSet<InstanceId> = self.remove(group).into_iter().collect();
        let taken = class.difference(&before).copied().collect();
        let left = before.difference(&class).copied().collect();
        let class: Class = Arc::new(class);
        for id in class.iter() {
            self.by_instance
                .entry(*id)
                .or_default()
                .insert(class.clone());
        }
        self.classes
            .entry(class.clone())
            .or_default()
            .insert(group.clone());
        self.groups.insert(group.clone(), Group { events, class });
        (taken, left)
    }

    /// Takes a group out; returns its instances.
    pub(super) fn remove(&mut self, group: &Arc<str>) -> Vec<InstanceId> {
        let Some(Group { class, .. }) = self.groups.remove(group) else {
            return Vec::new();
        };
        if let Some(members) = self.classes.get_mut(&class) {
            members.remove(group);
            if members.is_empty() {
                self.classes.remove(&class);
                for id in class.iter() {
                    let Some(classes) = self.by_instance.get_mut(id) else {
                        continue;
                    };
                    classes.remove(&class);
                    if classes.is_empty() {
                        self.by_instance.remove(id);
                    }
                }
            }
        }
        class.iter().copied().collect()
    }

    /// What a point means to each group.
    pub(super) fn point(
        &self,
        advance: &Advance,
        steps: &Steps,
        instances: &BTreeMap<InstanceId, Instance>,
        schema: &Schema,
    ) -> Events {
        let mut points: BTreeMap<&Arc<str>, PointEvent> = BTreeMap::new();
        let blank = || PointEvent {
            version: advance.to,
            rows: None,
            lmids: Vec::new(),
            results: Vec::new(),
        };
        let touched: BTreeSet<&Class> = steps
            .keys()
            .filter_map(|id| self.by_instance.get(id))
            .flatten()
            .collect();
        for class in touched {
            let Some(rows) = changes_of(class, advance.to, steps, instances, schema).map(Arc::new)
            else {
                continue;
            };
            for group in self.classes.get(class).into_iter().flatten() {
                points.entry(group).or_insert_with(blank).rows = Some(rows.clone());
            }
        }
        for lmid in &advance.lmids {
            if let Some((group, _)) = self.groups.get_key_value(lmid.group.as_str()) {
                points
                    .entry(group)
                    .or_insert_with(blank)
                    .lmids
                    .push((lmid.client.clone(), lmid.lmid));
            }
        }
        for result in &advance.results {
            if let Some((group, _)) = self.groups.get_key_value(result.group.as_str()) {
                let change = (result.client.clone(), result.id, result.result.clone());
                points
                    .entry(group)
                    .or_insert_with(blank)
                    .results
                    .push(change);
            }
        }
        points
            .into_iter()
            .map(|(group, point)| (group.clone(), PoolEvent::Point(point)))
            .collect()
    }

    /// Sends events out.
    pub(super) fn tell(&self, events: Events) {
        for (group, event) in events {
            if let Some(group) = self.groups.get(&group) {
                // A group that has ended says so itself.
                let _ = group.events.send(event);
            }
        }
    }

    /// Sends an event to every group.
    pub(super) fn tell_all(&self, event: impl Fn() -> PoolEvent) {
        for group in self.groups.values() {
            // A group that has ended says so itself.
            let _ = group.events.send(event());
        }
    }

    /// Tells the groups that have an instance that it cannot be served any more.
    pub(super) fn tell_failed(&self, id: InstanceId, message: &str) {
        for class in self.by_instance.get(&id).into_iter().flatten() {
            for group in self.classes.get(class).into_iter().flatten() {
                let event = PoolEvent::Broken {
                    instance: id,
                    message: message.to_owned(),
                };
                self.tell(vec![(group.clone(), event)]);
            }
        }
    }
}

/// The row changes of a point for groups with just these instances.
fn changes_of(
    class: &Class,
    point: StateVersion,
    steps: &Steps,
    instances: &BTreeMap<InstanceId, Instance>,
    schema: &Schema,
) -> Option<PokeBody> {
    let mut puts: BTreeMap<&RowKey, &Row> = BTreeMap::new();
    let mut dels: BTreeSet<&RowKey> = BTreeSet::new();
    let stepped = class.iter().filter_map(|id| steps.get(id)).flatten();
    for (key, _) in stepped {
        let mut present = class
            .iter()
            .filter_map(|id| instances.get(id)?.members.get(key))
            .peekable();
        match present.peek() {
            None => {
                dels.insert(key);
            }
            Some(live) => {
                let row = &live.row;
                // Whoever had it all along and saw no change knows that the clients have just this.
                if !present.any(|live| live.entered < point && live.changed < point) {
                    puts.insert(key, row);
                }
            }
        }
    }
    encode(schema, point, dels, puts)
}
