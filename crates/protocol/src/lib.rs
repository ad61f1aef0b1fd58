//! Landfall's wire protocol: messages, cookies, errors.
//!
//! One file per message; `PROTOCOL.md` beside this crate says what each is for.
//! Both ends use it: the server decodes [`Upstream`] and encodes [`Downstream`], the client the other way round.
//!
//! Nothing here does I/O, keeps state of a session or decides what to answer.
//! Queries are [`landfall_zql::ast::Ast`]; rows stay JSON text, to be read straight into packed rows by who knows
//! the schema.

mod change_desired_queries;
mod client_schema;
pub mod close;
mod connect;
mod connected;
mod cookie;
mod delete_clients;
mod downstream;
pub mod endpoint;
mod error;
mod error_body;
mod init_connection;
mod inspect;
mod json;
pub mod lexi;
mod message_pieces;
mod mutation;
mod number;
mod percent;
pub mod permissions;
mod poke;
mod poke_builder;
mod poke_chunk;
mod pull;
mod push;
mod queries_patch;
mod reaction;
mod row_key;
mod sec_protocol;
mod tagged;
mod transform_error;
mod update_auth;
mod upstream;
mod version;

pub use change_desired_queries::ChangeDesiredQueries;
pub use client_schema::{ClientColumn, ClientColumnType, ClientSchema, ClientTable};
pub use connect::{ConnectParams, ConnectRequest, check_cache_url, parse_connect};
pub use connected::{Connected, MutationMode, QueryMode, ServerMode};
pub use cookie::{Cookie, StateVersion};
pub use delete_clients::{DeleteClients, DeletedClients};
pub use downstream::{Downstream, decode_downstream};
pub use error::{CacheUrlError, CookieError, HandshakeError, ProtocolError};
pub use error_body::{
    BackoffError, BasicError, EndpointFailure, ErrorBody, ErrorKind, Origin, PushFailed, Reason,
    TransformFailed,
};
pub use init_connection::InitConnection;
pub use inspect::{AnalyzeOptions, AnalyzeQuery, Inspect, InspectOp, InspectReply};
pub use json::{Json, MAX_DEPTH};
pub use message_pieces::PieceReader;
pub use mutation::{
    CRUD_NAME, CrudKind, CrudMutation, CrudOp, CustomMutation, Mutation, MutationId, MutationOp,
    MutationOutcome, MutationRef, MutationResult,
};
pub use number::{JsNumber, MAX_SAFE_INTEGER};
pub use poke::{PokeEnd, PokePart, PokeStart, RowOp, SchemaVersions};
pub use poke_builder::{PART_BYTES, PART_CHANGES, PokeBuilder, part_message};
pub use poke_chunk::{CHUNK_BYTES, ChunkAssembler, chunk_frames};
pub use pull::{Pull, PullResponse};
pub use push::{
    AckMutationResponses, LegacyPushError, LegacyPushErrorKind, PUSH_VERSION, Push, PushResponse,
    PushedMutation,
};
pub use queries_patch::{DownQueryOp, PutQuery, QueryText, UpQueryOp};
pub use reaction::{
    Action, AuthRefusal, Backoff, ConnectionReaction, Reaction, close_reaction, reaction,
};
pub use row_key::row_key;
pub use sec_protocol::{EncodedProtocol, MAX_HEADER_LENGTH, ReceivedProtocol, SecProtocol};
pub use transform_error::{ErroredQuery, ErroredQueryKind};
pub use update_auth::UpdateAuth;
pub use upstream::{Upstream, decode_upstream};
pub use version::{
    LANDFALL_VERSION, MAX_VERSION, MIN_VERSION, POKE_CHUNKS_SINCE, PROTOCOL_VERSION, check_version,
};
