//! Runs one group as a task: feeds it events, carries its effects out in order.

use std::sync::Arc;
use std::time::Duration;

use landfall_protocol::{ErrorBody, ErrorKind};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::contract::{Effect, GroupEvent};
use super::group::{Group, stranded};
use super::prepare::Transformed;
pub use super::registry::GroupHandle;
use super::registry::{Registry, SessionContext};
use crate::clock;
use crate::cvr::{CvrError, GroupRecord};
use crate::push::PushQueue;
use crate::queries::{PoolEvent, SyncRequest};

/// How long a group without connections is kept.
const LINGER: Duration = Duration::from_secs(5);

struct Actor {
    id: Arc<str>,
    context: Arc<SessionContext>,
    pushes: PushQueue,
    pool_events: mpsc::UnboundedSender<PoolEvent>,
    own_events: mpsc::UnboundedSender<GroupEvent>,
}

pub(super) async fn run(
    id: Arc<str>,
    registry: Arc<Registry>,
    context: Arc<SessionContext>,
    mut inbox: mpsc::Receiver<GroupEvent>,
) {
    let (pool_events, mut from_pool) = mpsc::unbounded_channel();
    let (own_events, mut from_self) = mpsc::unbounded_channel();
    let stored = match load(&id, &context).await {
        Ok(stored) => stored,
        Err(error) => {
            tracing::error!(group = %id, %error, "the group's record cannot be read");
            return refuse(&mut inbox, &error).await;
        }
    };
    let mut group = Group::new(id.clone(), context.rules.clone(), stored);
    let pushes = context.pusher.queue(id.clone(), own_events.clone());
    let actor = Actor {
        id: id.clone(),
        context,
        pushes,
        pool_events,
        own_events,
    };
    let mut idle_since = None;
    let mut alarm = std::pin::pin!(tokio::time::sleep(LINGER));
    loop {
        let now = Instant::now();
        let due = if group.is_idle() {
            *idle_since.get_or_insert(now) + LINGER
        } else {
            idle_since = None;
            let tick = group.next_tick_ms();
            now + tick.map_or(Duration::from_secs(60), Duration::from_millis)
        };
        // An alarm that rings early does no harm, and moving it costs more than the rest of most events.
        if due < alarm.deadline() || alarm.is_elapsed() {
            alarm.as_mut().reset(due);
        }
        let event = tokio::select! {
            biased;
            Some(event) = from_pool.recv() => GroupEvent::Pool(event),
            Some(event) = from_self.recv() => event,
            event = inbox.recv() => match event {
                Some(event) => event,
                None => break,
            },
            () = &mut alarm => {
                let is_over = idle_since.is_some_and(|since| since.elapsed() >= LINGER);
                if is_over && group.is_idle() && registry.retire(&id, &mut inbox) {
                    break;
                }
                GroupEvent::Tick
            }
        };
        let outcome = match &event {
            // What another node has told since is not known here: the connection is for whoever loads the group anew.
            GroupEvent::Attach(_) => actor.still_serves().await,
            _ => Ok(()),
        };
        let outcome = match outcome {
            Ok(()) => {
                let effects = group.handle(clock::now(), event);
                actor.carry_out(effects).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            actor.give_up(&mut group, &error);
            inbox.close();
            break;
        }
        if group.has_ended() {
            inbox.close();
            break;
        }
    }
    actor.context.pool.forget(&id, actor.pool_events);
}

async fn load(
    id: &Arc<str>,
    context: &Arc<SessionContext>,
) -> Result<Option<GroupRecord>, CvrError> {
    let (id, cvr) = (id.clone(), context.cvr.clone());
    blocking(context, move || cvr.load_group(&id)).await
}

/// Works with the records where waiting harms nobody, with few others at a time: more threads would only wait for
/// each other.
async fn blocking<T: Send + 'static>(
    context: &SessionContext,
    work: impl FnOnce() -> Result<T, CvrError> + Send + 'static,
) -> Result<T, CvrError> {
    let _turn = context.storage.acquire().await;
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(CvrError::Damaged(format!(
            "a storage task ended early: {error}"
        ))),
    }
}

/// Answers everyone who is waiting that the group cannot be had.
async fn refuse(inbox: &mut mpsc::Receiver<GroupEvent>, error: &CvrError) {
    inbox.close();
    while let Some(event) = inbox.recv().await {
        if let GroupEvent::Attach(attach) = event {
            let message = "the server cannot read what it knows of this client group";
            let body = match error.passes() {
                true => stranded(attach.context.id),
                false => ErrorBody::new(ErrorKind::Internal, message),
            };
            // A caller that has gone needs no answer.
            let _ = attach.reply.send(Err(body));
        }
    }
}

impl Actor {
    async fn still_serves(&self) -> Result<(), CvrError> {
        if !self.context.cvr.is_shared() {
            return Ok(());
        }
        let (id, cvr) = (self.id.clone(), self.context.cvr.clone());
        match blocking(&self.context, move || cvr.serves(&id)).await? {
            true => Ok(()),
            false => Err(CvrError::Moved),
        }
    }

    /// Ends the group's connections: what it would tell them is not stored.
    fn give_up(&self, group: &mut Group, error: &CvrError) {
        let effects = if matches!(error, CvrError::Moved) {
            tracing::info!(group = %self.id, "another server serves the group now");
            group.moved()
        } else {
            tracing::error!(group = %self.id, %error, "the group's record cannot be written");
            let message = "the server cannot store what the client has";
            match error.passes() {
                true => group.stranded(),
                false => group.fail_all(&ErrorBody::new(ErrorKind::Internal, message)),
            }
        };
        for effect in effects {
            if let Effect::Send(outbound, frames) = effect {
                outbound.send_all(frames);
            }
        }
    }

    async fn carry_out(&self, effects: Vec<Effect>) -> Result<(), CvrError> {
        for effect in effects {
            match effect {
                Effect::Store(writes) => {
                    let (id, cvr) = (self.id.clone(), self.context.cvr.clone());
                    blocking(&self.context, move || cvr.write_group(&id, &writes)).await?;
                }
                Effect::Send(outbound, frames) => outbound.send_all(frames),
                Effect::Sync {
                    queries,
                    catch_ups,
                    for_current,
                } => self.context.pool.sync(SyncRequest {
                    group: self.id.clone(),
                    events: self.pool_events.clone(),
                    queries,
                    catch_ups,
                    for_current,
                }),
                Effect::Transform {
                    context,
                    queries,
                    background,
                } => {
                    let (endpoints, events) =
                        (self.context.endpoints.clone(), self.own_events.clone());
                    tokio::spawn(async move {
                        let outcome = endpoints
                            .transform(&context, &queries)
                            .await
                            .map_err(Box::new);
                        let answer = Transformed {
                            connection: context.id,
                            background,
                            outcome,
                        };
                        // The group may have ended meanwhile.
                        let _ = events.send(GroupEvent::Transformed(Box::new(answer)));
                    });
                }
                Effect::Push(context, push) => self.pushes.push(context, *push),
                Effect::CleanResults(context, client, up_to) => {
                    self.pushes.clean_results(context, client, up_to)
                }
                Effect::Inspect(asked) => {
                    let inspector = self.context.inspector.clone();
                    tokio::spawn(async move { inspector.answer(*asked).await });
                }
                Effect::CleanClients(context, clients) => {
                    self.pushes.clean_clients(context, clients)
                }
            }
        }
        Ok(())
    }
}
