//! What becomes of storage that fails: the application is told, the users' work comes first, the server's rows last.
//!
//! - **Damaged**: the server's rows are let go of and come again from memory or from the server; the queue is kept.
//! - **Full**: rows are not written for a while; if not even a mutation can be stored, the stored rows make room.
//! - **Evicted**: what this page holds is stored again.
//! - **Closed, other**: the same is tried again; the host opens its connection anew.
//! - **Unavailable**: everything lives in memory.
//!
//! Storage that does not answer is treated as storage that fails, after a while: another page may hold it in a transaction
//! that it does not get to end.

use crate::client::Client;
use crate::effect::{Effect, StorageProblemKind};
use crate::event::StoreRequestId;
use crate::mutations::Stored;
use crate::options::Role;
use crate::persistence::Purpose;
use landfall_store::{
    BackendFailure, Open, Repair, StartGroup, StoreFailure, StoreName, StoreOp, StoreReply,
    StoredOutcome,
};
use landfall_zql::sorted_map::SortedMap;

/// How long no rows are written after there was no room for them.
const ROOM_PAUSE_MS: f64 = 60_000.0;

/// How long to wait before opening is tried again; then everything lives in memory. A browser that starts its storage
/// anew takes a second or two.
const OPEN_PAUSES_MS: [f64; 3] = [100.0, 1_000.0, 3_000.0];

/// Time for other pages to say what they have sent, before damage is repaired.
const ASKING_MS: f64 = 2_000.0;

/// So often, with such pauses, is looked whether storage has answered before the page begins without it. Not once after all
/// of that time: a machine that sleeps gives storage no time.
const OPENING_LOOKS: u32 = 15;
const OPENING_LOOK_MS: f64 = 2_000.0;

/// The same for what a page waits for later.
const LOOKS: u32 = 6;
const LOOK_MS: f64 = 5_000.0;

/// After a repair every third request that finds damage leads to another repair, before marks have failed so often that
/// writes go without them; up to the last one.
const DAMAGES: u32 = 3;
const MAX_DAMAGES: u32 = 9;

const SILENCE: &str = "storage does not answer; another page may hold it";

/// What was done about faults so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    open_attempts: usize,
    /// Before all is read: when to ask again, or to look whether storage has answered.
    pub(crate) open_at: Option<f64>,
    opening_looks: u32,
    /// The oldest request that the page waits for, how often it was seen since, and when it is looked again.
    waited: Option<StoreRequestId>,
    looks: u32,
    pub(crate) look_at: Option<f64>,
    /// Others were asked what they have sent.
    has_asked: bool,
    /// Storage was repaired in this session.
    repaired: bool,
    /// So many requests have found damage since then.
    damages: u32,
    /// What storage held of ends is lost: the browser has emptied it, or it could not be read.
    pub(crate) lost_ends: bool,
    /// Until then rows are not written: there is no room.
    pub(crate) no_room_until: Option<f64>,
    /// What pokes that could not be stored told of mutations: acknowledgements that are due, and ends.
    unstored: (SortedMap<String, u64>, Vec<StoredOutcome>),
}

impl Faults {
    /// Damage was found: whether it is to be repaired. What a repair was of no use for is not repaired for ever.
    fn may_repair(&mut self) -> bool {
        self.damages += u32::from(self.repaired);
        !self.repaired || self.damages.is_multiple_of(DAMAGES) && self.damages <= MAX_DAMAGES
    }

    /// Whether there is no room for rows, as far as is known.
    pub(crate) fn is_full(&self, now: f64) -> bool {
        self.no_room_until.is_some_and(|until| until > now)
    }
}

pub(crate) fn kind_of(failure: &StoreFailure) -> StorageProblemKind {
    match failure {
        StoreFailure::NotOpen => StorageProblemKind::Evicted,
        StoreFailure::Corrupt { .. } => StorageProblemKind::Damaged,
        StoreFailure::Backend { kind, .. } => match kind {
            BackendFailure::Quota => StorageProblemKind::Quota,
            BackendFailure::Unavailable => StorageProblemKind::Unavailable,
            BackendFailure::Closed => StorageProblemKind::Closed,
            _ => StorageProblemKind::Other,
        },
        _ => StorageProblemKind::Other,
    }
}

/// Whether another group begins when this is repaired.
fn ends_the_group(failure: &StoreFailure) -> bool {
    let kept = [StoreName::Log, StoreName::Pages, StoreName::Outcomes].map(StoreName::name);
    matches!(failure, StoreFailure::Corrupt { store, .. } if !kept.contains(store))
}

impl Client {
    /// Tells the application, and does what can be done apart from the request itself.
    pub(crate) fn on_store_failure(&mut self, now: f64, purpose: &Purpose, failure: &StoreFailure) {
        let kind = self.tell_store_failure(failure);
        let stores = matches!(
            purpose,
            Purpose::Poke { .. } | Purpose::Queue(_) | Purpose::Mark { .. }
        );
        // Storage that a page finds empty when it begins has lost nothing of it.
        self.persistence.faults.lost_ends |= self.loaded && kind == StorageProblemKind::Evicted;
        match kind {
            StorageProblemKind::Damaged if stores && self.persistence.faults.may_repair() => {
                self.repair(now);
            }
            StorageProblemKind::Evicted if stores => self.store_anew(now),
            StorageProblemKind::Quota => {
                self.persistence.faults.no_room_until = Some(now + ROOM_PAUSE_MS);
                if matches!(purpose, Purpose::Queue(_)) && !self.persistence.faults.repaired {
                    self.repair(now);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn tell_store_failure(&mut self, failure: &StoreFailure) -> StorageProblemKind {
        let (kind, message) = (kind_of(failure), failure.to_string());
        self.effects.push(Effect::StorageProblem { kind, message });
        kind
    }

    /// A poke could not be stored. The next one that can carries its last mutation ids along, and so must carry what it
    /// told of the ends, or whoever follows storage would take failures for done.
    pub(crate) fn keep_unstored(
        &mut self,
        acks: SortedMap<String, u64>,
        outcomes: Vec<StoredOutcome>,
    ) {
        self.persistence.faults.unstored = self.with_unstored(acks, outcomes);
    }

    /// These together with what could not be stored before.
    pub(crate) fn with_unstored(
        &mut self,
        acks: SortedMap<String, u64>,
        outcomes: Vec<StoredOutcome>,
    ) -> (SortedMap<String, u64>, Vec<StoredOutcome>) {
        let (mut all_acks, mut all) = std::mem::take(&mut self.persistence.faults.unstored);
        for (client, id) in acks {
            let last = all_acks.get_or_insert_with(client, || id);
            *last = (*last).max(id);
        }
        all.extend(outcomes);
        (all_acks, all)
    }

    /// The group is over.
    pub(crate) fn forget_unstored(&mut self) {
        self.persistence.faults.unstored = Default::default();
    }

    /// Opening failed. Returns whether something is done about it, after which it is tried again.
    pub(crate) fn open_again(&mut self, now: f64, failure: &StoreFailure) -> bool {
        let faults = &mut self.persistence.faults;
        let Some(pause) = OPEN_PAUSES_MS.get(faults.open_attempts) else {
            return false;
        };
        faults.open_attempts += 1;
        match kind_of(failure) {
            // What others sent without storage knowing would be issued again: they have time to say so.
            StorageProblemKind::Damaged if ends_the_group(failure) && !faults.has_asked => {
                faults.has_asked = true;
                faults.open_at = Some(now + ASKING_MS);
                self.ask_what_was_sent();
            }
            StorageProblemKind::Damaged if !faults.repaired => {
                self.repair(now);
                self.look_at_opening_later(now);
            }
            // On a full disk the next attempt writes nothing.
            StorageProblemKind::Closed | StorageProblemKind::Other | StorageProblemKind::Quota => {
                faults.open_at = Some(now + pause);
            }
            // Of a group that is made here alone others would know nothing: it is made when there is room.
            StorageProblemKind::Evicted if faults.no_room_until.take().is_some() => {
                faults.open_at = Some(now + pause);
            }
            _ => return false,
        }
        true
    }

    /// Storage is asked for what it holds, or shows that it answers.
    pub(crate) fn look_at_opening_later(&mut self, now: f64) {
        // Whoever sends what is left there does not begin without it.
        if !self.loaded && self.role != Role::Draining {
            self.persistence.faults.opening_looks = 0;
            self.persistence.faults.open_at = Some(now + OPENING_LOOK_MS);
        }
    }

    /// Before all is read: asks storage again, or gives up waiting for its answer.
    pub(crate) fn open_on(&mut self, now: f64) {
        let is_opening = self.persistence.is_opening();
        let faults = &mut self.persistence.faults;
        if faults.open_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        if !is_opening {
            return self.load(now);
        }
        faults.opening_looks += 1;
        if faults.opening_looks < OPENING_LOOKS {
            faults.open_at = Some(now + OPENING_LOOK_MS);
            return;
        }
        self.tell_silence(StorageProblemKind::Unavailable);
        self.begin_without_storage(now);
    }

    pub(crate) fn tell_silence(&mut self, kind: StorageProblemKind) {
        let message = SILENCE.to_owned();
        self.effects.push(Effect::StorageProblem { kind, message });
    }

    /// Looks whether storage answers what the page waits for: writes of the queue, and the next group.
    pub(crate) fn look_for_silence(&mut self, now: f64) {
        let waited = self.persistence.waited_for();
        let faults = &mut self.persistence.faults;
        if faults.look_at.is_some_and(|at| at > now) {
            return;
        }
        // Left as it is by an answer: most come at once, and a timer for each costs more than one look.
        faults.look_at = waited.map(|_| now + LOOK_MS);
        if std::mem::replace(&mut faults.waited, waited) != waited {
            faults.looks = 0;
        } else if waited.is_some() {
            faults.looks += 1;
        }
        let looks = faults.looks;
        if waited.is_none() || looks < LOOKS {
            return;
        }
        if self.persistence.restart.is_none() {
            if looks == LOOKS {
                self.tell_silence(StorageProblemKind::Other);
            }
            self.tell_undurable(SILENCE);
        // Whoever sends what is left there does not go on without it.
        } else if self.role != Role::Draining {
            self.tell_silence(StorageProblemKind::Unavailable);
            self.give_up_storage(now, SILENCE);
        }
    }

    /// Lets go of the stored rows.
    fn repair(&mut self, now: f64) {
        self.persistence.faults.repaired = true;
        let instead = StartGroup {
            new_group_id: self.random.id(),
            // Of nobody: whoever takes care of the dead sends what becomes its own.
            client_id: self.random.id(),
            sent: self.sent_through().into_iter().collect(),
            now,
        };
        let schema = self.schema.clone();
        let op = StoreOp::Repair(Repair { schema, instead });
        let group_id = self.group_id.clone().unwrap_or_default();
        self.ask_store_as(group_id, Purpose::Repair, op);
    }

    pub(crate) fn on_repaired(&mut self, now: f64, result: Result<StoreReply, StoreFailure>) {
        if let Ok(StoreReply::Repaired { lost }) = &result
            && *lost > 0
        {
            let (kind, message) = (
                StorageProblemKind::Damaged,
                format!("{lost} stored mutations or outcomes could not be read"),
            );
            self.effects.push(Effect::StorageProblem { kind, message });
        }
        if !self.is_loaded() {
            return self.load(now);
        }
        if result.is_ok() {
            // There is room now.
            self.persistence.retry_at = None;
        }
    }

    /// Storage is empty: makes the group in it once more. But others had gone on in another one by then, perhaps, and may
    /// have issued again there what this page holds of it: then another one begins, without that.
    fn store_anew(&mut self, now: f64) {
        if self.persistence.is_doubtful() {
            let group = self.random.id();
            return self.rejoin(now, group);
        }
        if let Some(group_id) = self.group_id.clone() {
            let open = Open {
                reads_only: false,
                ..self.opening(now, self.client_id.clone())
            };
            self.ask_store_as(group_id, Purpose::StoreAnew, StoreOp::Open(open));
        }
    }

    /// What this page holds goes into the new store: its mutations now, the rows with the next poke.
    pub(crate) fn on_stored_anew(&mut self, result: Result<StoreReply, StoreFailure>) {
        if !matches!(result, Ok(StoreReply::Opened { created: true, .. })) {
            return;
        }
        self.persistence.log_next = 0;
        let mut keys: Vec<_> = self
            .mutations
            .pending()
            .iter()
            .filter(|m| m.client_id == self.client_id && matches!(m.stored, Stored::At(_)))
            .map(|m| m.key())
            .collect();
        for key in &keys {
            if let Some(mutation) = self.mutations.get_mut(key) {
                // Others may have heard of it: under another name it must not be sent as well.
                mutation.stored = Stored::Unknown;
            }
        }
        keys.extend(self.persistence.to_write.drain(..));
        self.persistence.to_write.extend(keys);
        self.persistence.retry_at = None;
    }
}
