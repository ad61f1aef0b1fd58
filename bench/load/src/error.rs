//! Why a run ends without figures.

/// Why a run ends without figures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    #[error(
        "usage: landfall-load '{{\"case\":…,\"server\":\"ws://…\",\"postgres\":\"postgres://…\",\"pid\":1}}'"
    )]
    Usage,
    #[error("the request: {0}")]
    Request(#[from] serde_json::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("connection: {0}")]
    Socket(Box<tokio_tungstenite::tungstenite::Error>),
    #[error("address: {0}")]
    Address(#[from] tokio_tungstenite::tungstenite::http::Error),
    #[error("Postgres: {0}")]
    Postgres(String),
    #[error("the server closed a connection")]
    Closed,
    #[error("the server refused: {0}")]
    Refused(String),
    #[error("not understood: {0}")]
    Message(String),
    #[error("{0}")]
    Wrong(String),
    #[error("nothing within {0} s: {1}")]
    Late(u64, &'static str),
}

impl From<tokio_postgres::Error> for LoadError {
    fn from(error: tokio_postgres::Error) -> LoadError {
        let detail = error.as_db_error().map(|it| it.message().to_owned());
        LoadError::Postgres(detail.unwrap_or_else(|| error.to_string()))
    }
}

impl From<tokio_tungstenite::tungstenite::Error> for LoadError {
    fn from(error: tokio_tungstenite::tungstenite::Error) -> LoadError {
        LoadError::Socket(Box::new(error))
    }
}
