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
use super::request::{Broken, PointEvent, PoolEvent};
use super::telling::Told;
use crate::cvr::{InstanceId, StateVersion};
use crate::replica::Advance;

/// A set of instances.
pub(super) type Class = Arc<BTreeSet<InstanceId>>;
/// What a point did to the rows of instances.
pub(super) type Steps = BTreeMap<InstanceId, Vec<(RowKey, Step)>>;

/// The groups of a class.
type Hearers = BTreeMap<Arc<str>, UnboundedSender<PoolEvent>>;

/// All groups that are served.
#[derive(Default)]
pub(super) struct Groups {
    groups: BTreeMap<Arc<str>, Class>,
    classes: BTreeMap<Class, Hearers>,
    by_instance: BTreeMap<InstanceId, BTreeSet<Class>>,
    /// Classes that hear of no points since one: an instance of theirs is read anew.
    held: BTreeMap<Class, StateVersion>,
}

/// What a point means to groups, until it is durable.
#[derive(Default)]
pub(super) struct Events {
    version: StateVersion,
    rows: Vec<(Class, Arc<PokeBody>)>,
    own: BTreeMap<Arc<str>, Own>,
}

/// What concerns one group alone, as it stands at the end of the point.
#[derive(Default)]
struct Own {
    lmids: BTreeMap<String, u64>,
    results: BTreeMap<(String, u64), Option<String>>,
}

impl Events {
    /// Whether the point means nothing to anyone.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.own.is_empty()
    }
}

impl Groups {
    /// The instances of a group.
    pub(super) fn class(&self, group: &str) -> Class {
        self.groups.get(group).cloned().unwrap_or_default()
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
        let class: Class = match self.classes.get_key_value(&class) {
            Some((known, _)) => known.clone(),
            None => Arc::new(class),
        };
        for id in class.iter() {
            let classes = self.by_instance.entry(*id).or_default();
            classes.insert(class.clone());
        }
        let hearers = self.classes.entry(class.clone()).or_default();
        hearers.insert(group.clone(), events);
        self.groups.insert(group.clone(), class);
        (taken, left)
    }

    /// Takes a group out; returns its instances.
    pub(super) fn remove(&mut self, group: &Arc<str>) -> Vec<InstanceId> {
        let Some(class) = self.groups.remove(group) else {
            return Vec::new();
        };
        if let Some(hearers) = self.classes.get_mut(&class) {
            hearers.remove(group);
            if hearers.is_empty() {
                self.remove_class(&class);
            }
        }
        class.iter().copied().collect()
    }

    fn remove_class(&mut self, class: &Class) {
        self.classes.remove(class);
        self.held.remove(class);
        for id in class.iter() {
            let Some(classes) = self.by_instance.get_mut(id) else {
                continue;
            };
            classes.remove(class);
            if classes.is_empty() {
                self.by_instance.remove(id);
            }
        }
    }

    /// Groups that have an instance hear nothing from here on.
    pub(super) fn hold(&mut self, id: InstanceId, since: StateVersion) {
        for class in self.by_instance.get(&id).into_iter().flatten() {
            self.held.entry(class.clone()).or_insert(since);
        }
    }

    /// Where a group stands that hears nothing.
    pub(super) fn held_since(&self, group: &str) -> Option<StateVersion> {
        self.held.get(self.groups.get(group)?).copied()
    }

    /// Whether there are classes that hear nothing.
    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Classes that hear nothing, and since when.
    pub(super) fn held(&self) -> Vec<(Class, StateVersion)> {
        let held = self.held.iter();
        held.map(|(class, since)| (class.clone(), *since)).collect()
    }

    /// Lets a class hear of points again; returns its groups.
    pub(super) fn release(&mut self, class: &Class) -> Vec<Arc<str>> {
        self.held.remove(class);
        let hearers = self.classes.get(class).into_iter();
        hearers.flat_map(|h| h.keys().cloned()).collect()
    }

    fn hears(&self, group: &str) -> Option<&Arc<str>> {
        let (group, class) = self.groups.get_key_value(group)?;
        (!self.held.contains_key(class)).then_some(group)
    }

    /// What a point, to which some commits have led, means to each group.
    pub(super) fn point(
        &self,
        point: StateVersion,
        commits: &[Arc<Advance>],
        steps: &Steps,
        instances: &BTreeMap<InstanceId, Instance>,
        schema: &Schema,
    ) -> Events {
        let mut events = Events {
            version: point,
            ..Events::default()
        };
        let touched: BTreeSet<&Class> = steps
            .keys()
            .filter_map(|id| self.by_instance.get(id))
            .flatten()
            .collect();
        let mut bodies = Bodies::default();
        for class in touched {
            if self.held.contains_key(class) {
                continue;
            }
            let changes = Changes::of(class, point, steps, instances);
            if let Some(body) = bodies.get(changes, point, schema) {
                events.rows.push((class.clone(), body));
            }
        }
        for lmid in commits.iter().flat_map(|commit| &commit.lmids) {
            if let Some(group) = self.hears(&lmid.group) {
                let own = events.own.entry(group.clone()).or_default();
                own.lmids.insert(lmid.client.clone(), lmid.lmid);
            }
        }
        for result in commits.iter().flat_map(|commit| &commit.results) {
            if let Some(group) = self.hears(&result.group) {
                let own = events.own.entry(group.clone()).or_default();
                let key = (result.client.clone(), result.id);
                own.results.insert(key, result.result.clone());
            }
        }
        events
    }

    /// How many groups hear of it, about.
    pub(super) fn reach(&self, events: &Events) -> usize {
        let hearers = |(class, _): &(Class, _)| self.classes.get(class).map_or(0, BTreeMap::len);
        events.rows.iter().map(hearers).sum::<usize>() + events.own.len()
    }

    /// Sends out what a point means. Each group lets `told` go when it has taken it in.
    pub(super) fn tell(&self, events: Events, told: Option<Arc<Told>>) {
        let Events {
            version,
            rows,
            mut own,
        } = events;
        let event = |rows, own: Own| {
            let results = own.results.into_iter();
            Arc::new(PointEvent {
                version,
                rows,
                lmids: own.lmids.into_iter().collect(),
                results: results.map(|((client, id), it)| (client, id, it)).collect(),
                told: told.clone(),
            })
        };
        for (class, rows) in rows {
            // Most groups hear just the same.
            let common = event(Some(rows.clone()), Own::default());
            for (group, hearer) in self.classes.get(&class).into_iter().flatten() {
                let own = match own.is_empty() {
                    true => None,
                    false => own.remove(group),
                };
                let event = match own {
                    None => common.clone(),
                    Some(own) => event(Some(rows.clone()), own),
                };
                // A group that has ended says so itself.
                let _ = hearer.send(PoolEvent::Point(event));
            }
        }
        for (group, own) in own {
            self.tell_one(&group, PoolEvent::Point(event(None, own)));
        }
    }

    /// Where a group that has joined hears of points.
    pub(super) fn hearer(&self, group: &str) -> Option<&UnboundedSender<PoolEvent>> {
        let class = self.groups.get(group)?;
        self.classes.get(class)?.get(group)
    }

    /// Sends an event to one group.
    pub(super) fn tell_one(&self, group: &str, event: PoolEvent) {
        if let Some(hearer) = self.hearer(group) {
            // A group that has ended says so itself.
            let _ = hearer.send(event);
        }
    }

    /// Sends an event to every group.
    pub(super) fn tell_all(&self, event: impl Fn() -> PoolEvent) {
        for hearer in self.classes.values().flat_map(BTreeMap::values) {
            // A group that has ended says so itself.
            let _ = hearer.send(event());
        }
    }

    /// Tells the groups that have an instance that it cannot be served any more.
    pub(super) fn tell_failed(&self, id: InstanceId, message: &str) {
        let broken = Arc::new(Broken {
            instance: id,
            message: message.to_owned(),
        });
        for class in self.by_instance.get(&id).into_iter().flatten() {
            for hearer in self
                .classes
                .get(class)
                .into_iter()
                .flat_map(BTreeMap::values)
            {
                // A group that has ended says so itself.
                let _ = hearer.send(PoolEvent::Broken(broken.clone()));
            }
        }
    }
}

/// The row changes of a point for groups with just the same instances.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeMap<&'a RowKey, &'a Row>,
    dels: BTreeSet<&'a RowKey>,
}

impl<'a> Changes<'a> {
    fn of(
        class: &Class,
        point: StateVersion,
        steps: &'a Steps,
        instances: &'a BTreeMap<InstanceId, Instance>,
    ) -> Self {
        let mut changes = Changes::default();
        let stepped = class.iter().filter_map(|id| steps.get(id)).flatten();
        for (key, _) in stepped {
            let mut present = class
                .iter()
                .filter_map(|id| instances.get(id)?.members.get(key))
                .peekable();
            match present.peek() {
                None => {
                    changes.dels.insert(key);
                }
                Some(live) => {
                    let row = &live.row;
                    // Whoever had it all along and saw no change knows that the clients have just this.
                    if !present.any(|live| live.entered < point && live.changed < point) {
                        changes.puts.insert(key, row);
                    }
                }
            }
        }
        changes
    }
}

/// Texts of a point by what they say: classes that differ in queries without changes share them. A row has the same
/// contents in all of its queries, so keys say enough.
#[derive(Default)]
struct Bodies<'a> {
    known: BTreeMap<Said<'a>, Option<Arc<PokeBody>>>,
}

/// Keys of the rows that are put, and of those that are taken away.
type Said<'a> = (Vec<&'a RowKey>, Vec<&'a RowKey>);

impl<'a> Bodies<'a> {
    fn get(
        &mut self,
        changes: Changes<'a>,
        point: StateVersion,
        schema: &Schema,
    ) -> Option<Arc<PokeBody>> {
        let Changes { puts, dels } = changes;
        let put = puts.keys().copied().collect();
        let deleted = dels.iter().copied().collect();
        let body = self.known.entry((put, deleted));
        body.or_insert_with(|| encode(schema, point, dels, puts).map(Arc::new))
            .clone()
    }
}
