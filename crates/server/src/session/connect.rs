//! `initConnection`: what a client has, checked against what is known of its group.

use std::collections::BTreeSet;
use std::sync::Arc;

use landfall_protocol::{
    ClientSchema, Cookie, Downstream, ErrorBody, ErrorKind, InitConnection, UpQueryOp,
};

use super::connection::{Connection, ConnectionContext, ConnectionId, Progress};
use super::desires::DesiredPatches;
use super::group::Group;
use super::outbound::Frame;
use super::poke::{Extras, frames};
use super::prepare::Prepare;
use crate::cvr::{CvrVersion, GroupWrite};

impl Group {
    pub(super) fn init(&mut self, id: ConnectionId, init: InitConnection) {
        if let Err(body) = self.try_init(id, init) {
            self.fail(id, body);
        }
    }

    fn try_init(&mut self, id: ConnectionId, init: InitConnection) -> Result<(), ErrorBody> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Ok(());
        };
        if connection.progress != Progress::Waiting {
            return Err(ErrorBody::new(
                ErrorKind::Internal,
                "initConnection came twice on one connection",
            ));
        }
        remember_addresses(connection, &init);
        let context = connection.context.clone();
        let base = parse_cookie(connection.base_cookie.as_deref())?;
        if self.record.version == CvrVersion::EMPTY && base.is_some_and(|b| b > CvrVersion::EMPTY) {
            return self.unknown_group(id, &context, base);
        }
        if base.is_some_and(|b| b > self.version) {
            let message = "the client is ahead of this server";
            return Err(ErrorBody::new(
                ErrorKind::InvalidConnectionRequestBaseCookie,
                message,
            ));
        }
        self.check_client_schema(&context, &init)?;
        self.configure(&context, init);

        let nothing_got =
            self.record.spans.is_empty() && !self.attached && self.in_flight.is_none();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.cookie = base;
            connection.progress = Progress::Behind;
        }
        if base.is_none() && nothing_got && self.version.state == 0 {
            // Nothing to read first: the client hears at once that it is known.
            self.poke_configuration(id);
        }
        self.sync_needed = true;
        self.prepare_queries(&context, Prepare::Connected);
        Ok(())
    }

    fn poke_configuration(&mut self, id: ConnectionId) {
        if self.version == CvrVersion::EMPTY {
            return;
        }
        let extras = self.configuration_since(None);
        let version = self.version;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.progress = Progress::Current;
        }
        self.poke(id, version, &extras, None);
    }

    /// The client has a cookie of a group that this server does not know (any more).
    fn unknown_group(
        &mut self,
        id: ConnectionId,
        context: &Arc<ConnectionContext>,
        base: Option<CvrVersion>,
    ) -> Result<(), ErrorBody> {
        let Some(base) = base.filter(|b| context.landfall && b.state <= self.rules.pool_version())
        else {
            return Err(ErrorBody::new(
                ErrorKind::ClientNotFound,
                "Client not found",
            ));
        };
        // Everything the client has is void; it reconnects and names its queries. Nothing of its own is lost.
        let version = base
            .next_config()
            .max(CvrVersion::at(self.rules.pool_version()));
        self.write(GroupWrite::Client(context.client_id.clone()));
        self.write(GroupWrite::Version(version));
        self.version = version;
        let extras = Extras {
            clear: true,
            ..Extras::default()
        };
        let poke = frames(Some(base), version, &extras, None, context.protocol);
        let rehome = ErrorBody::rehome("reconnect and name the queries");
        if let Some(outbound) = self.connections.get(&id).map(|c| c.outbound.clone()) {
            let error = Frame::Text(Downstream::Error(rehome).encode().into());
            let frames = poke
                .into_iter()
                .chain([error, Frame::Close(None)])
                .collect();
            self.send(&outbound, frames);
        }
        self.disconnected(id);
        Ok(())
    }

    /// The database's tables changed: clients that were made for others cannot go on, except to push.
    pub(super) fn check_stored_schema(&mut self) {
        let stored = self.record.client_schema.as_deref();
        let Some(schema) = stored.and_then(|text| serde_json::from_str::<ClientSchema>(text).ok())
        else {
            return;
        };
        self.unfit = self.rules.check_schema(&schema).err();
        let Some(message) = self.unfit.clone() else {
            return;
        };
        let body = ErrorBody::new(ErrorKind::SchemaVersionNotSupported, message);
        let only_pushes =
            |c: &Connection| c.context.landfall && self.wanted_by(&c.context.client_id).is_empty();
        let failed: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, c)| !only_pushes(c))
            .map(|(id, _)| *id)
            .collect();
        for id in failed {
            self.fail(id, body.clone());
        }
        // What clients that are gone wanted is given up.
        self.sync_needed = true;
    }

    /// Whether the client wants queries once this patch is applied.
    fn wants_after(&self, client: &str, patch: &[UpQueryOp]) -> bool {
        let mut wanted: BTreeSet<String> = self.wanted_by(client).into_iter().collect();
        for op in patch {
            match op {
                UpQueryOp::Put(put) => {
                    wanted.insert(put.hash.clone());
                }
                UpQueryOp::Del { hash } => {
                    wanted.remove(hash);
                }
                UpQueryOp::Clear => wanted.clear(),
            }
        }
        !wanted.is_empty()
    }

    fn check_client_schema(
        &mut self,
        context: &ConnectionContext,
        init: &InitConnection,
    ) -> Result<(), ErrorBody> {
        let invalid =
            |message: &str| Err(ErrorBody::new(ErrorKind::InvalidConnectionRequest, message));
        let stored: Option<ClientSchema> = match &self.record.client_schema {
            Some(text) => match serde_json::from_str(text) {
                Ok(schema) => Some(schema),
                Err(_) => {
                    let message = "the stored client schema cannot be read";
                    return Err(ErrorBody::new(
                        ErrorKind::SchemaVersionNotSupported,
                        message,
                    ));
                }
            },
            None => None,
        };
        let schema = match (&stored, &init.client_schema) {
            (None, None) if context.landfall => return Ok(()),
            (None, None) => {
                return invalid("the first connection of a client group needs a client schema");
            }
            (Some(stored), Some(sent)) if !same_schema(stored, sent) => {
                return invalid("the client schema differs from the one of the client group");
            }
            (Some(schema), _) | (None, Some(schema)) => schema,
        };
        self.unfit = self.rules.check_schema(schema).err();
        if let Some(message) = self.unfit.clone() {
            // A connection that wants no query may always push what it has, whatever others of the group wanted.
            let wants = self.wants_after(&context.client_id, &init.desired_queries_patch);
            if wants || !context.landfall {
                return Err(ErrorBody::new(
                    ErrorKind::SchemaVersionNotSupported,
                    message,
                ));
            }
        }
        if stored.is_none() {
            let text = serde_json::to_string(schema)
                .map_err(|e| ErrorBody::new(ErrorKind::Internal, e.to_string()))?;
            self.write(GroupWrite::ClientSchema(text.as_str().into()));
        }
        Ok(())
    }

    fn configure(&mut self, context: &Arc<ConnectionContext>, init: InitConnection) {
        let version = self.version.next_config();
        let mut patches = DesiredPatches::new();
        if !self.record.clients.contains(&context.client_id) {
            self.write(GroupWrite::Client(context.client_id.clone()));
            patches.entry(context.client_id.clone()).or_default();
        }
        let mut dead = init.deleted.and_then(|d| d.client_ids).unwrap_or_default();
        dead.retain(|c| *c != context.client_id);
        let named = self.drop_clients(&dead, version, &mut patches);
        if let Some(active) = init.active_clients {
            // A tab may have opened after the list was made: whoever is connected is alive.
            let connected = |c: &String| {
                self.connections
                    .values()
                    .any(|k| k.context.client_id == **c)
            };
            let gone: Vec<String> = self
                .record
                .clients
                .iter()
                .filter(|c| !active.contains(c) && !connected(c))
                .cloned()
                .collect();
            self.drop_clients(&gone, version, &mut patches);
        }
        self.apply_desired(
            &context.client_id,
            init.desired_queries_patch,
            version,
            &mut patches,
        );
        self.configured(version, patches);
        self.tell_deleted(context.clone(), named);
    }
}

fn remember_addresses(connection: &mut Connection, init: &InitConnection) {
    let mut context = (*connection.context).clone();
    let text = |(name, value): (&String, &String)| (name.clone(), value.clone());
    let push_headers = init
        .user_push_headers
        .iter()
        .flat_map(|headers| headers.iter());
    let query_headers = init
        .user_query_headers
        .iter()
        .flat_map(|headers| headers.iter());
    context.traceparent = init.traceparent.clone();
    context.push_url = init.user_push_url.clone();
    context.push_headers = push_headers.map(text).collect();
    context.query_url = init.user_query_url.clone();
    context.query_headers = query_headers.map(text).collect();
    connection.context = Arc::new(context);
}

fn parse_cookie(text: Option<&str>) -> Result<Option<CvrVersion>, ErrorBody> {
    let Some(text) = text else { return Ok(None) };
    let invalid = || ErrorBody::new(ErrorKind::Internal, "malformed cookie");
    let cookie = Cookie::parse(text).map_err(|_| invalid())?;
    // This server never makes a version with a minor part.
    let state = cookie.state().ok_or_else(invalid)?;
    Ok(Some(CvrVersion {
        state: state.0,
        config: cookie.config(),
    }))
}

/// Equal tables, columns and keys; the order of key columns does not matter.
fn same_schema(a: &ClientSchema, b: &ClientSchema) -> bool {
    let sorted = |schema: &ClientSchema| {
        let mut schema = schema.clone();
        for table in schema.tables.values_mut() {
            table.primary_key.iter_mut().for_each(|key| key.sort());
        }
        schema
    };
    sorted(a) == sorted(b)
}
