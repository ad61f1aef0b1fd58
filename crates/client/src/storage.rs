//! Storage requests as the client gives them out.

/// A storage request; replaced by the store crate's own once it is published.
#[derive(Clone, Debug)]
pub enum StoreRequest {
    /// Read everything.
    Load,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum StoreReply {
    /// Done.
    Done,
}

/// A request failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreFailure(pub String);
