//! What an app has to say against a call.

use landfall_zql::builder::QueryError;
use serde_json::{Value as Json, json};

use crate::upstream::{Refusal, TransactionError};

/// A query or a mutation is refused. The page gets message and details, so neither should hold what it may not know.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct AppError {
    message: String,
    details: Option<Json>,
}

impl AppError {
    /// A refusal with a message for people.
    pub fn new(message: impl Into<String>) -> Self {
        AppError {
            message: message.into(),
            details: None,
        }
    }

    /// Adds what programs can read.
    #[must_use]
    pub fn with_details(mut self, details: Json) -> Self {
        self.details = Some(details);
        self
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The details.
    pub fn details(&self) -> Option<&Json> {
        self.details.as_ref()
    }

    pub(crate) fn into_refusal(self) -> Refusal {
        let mut result = json!({"error": "app", "message": self.message});
        if let Some(details) = self.details {
            result["details"] = details;
        }
        Refusal {
            reason: self.message,
            result: result.to_string(),
        }
    }
}

impl From<TransactionError> for AppError {
    fn from(error: TransactionError) -> Self {
        AppError::new(error.to_string())
    }
}

impl From<QueryError> for AppError {
    fn from(error: QueryError) -> Self {
        AppError::new(error.to_string())
    }
}
