//! What a mutation of ours does inside its transaction: writes by key, and rows as the transaction sees them.

use landfall_ivm::Source;

use super::CrudOp;

/// A mutation that the server runs itself.
///
/// # Contract
/// - It decides by what the transaction shows, and changes nothing outside of it: it is run again when its transaction
///   lost against another one, and whatever it did before counts for nothing.
/// - It does not wait for anything but the transaction: over an embedded file all writes wait for it.
/// - It does not panic; what it has to say against the mutation is a [`Refusal`].
pub trait Mutation: Send + Sync {
    /// Runs it. After a refusal nothing that it wrote remains.
    ///
    /// # Errors
    /// The mutation is refused.
    fn run(&self, transaction: &mut dyn MutationTransaction) -> Result<(), Refusal>;
}

/// A transaction, for the mutation that runs in it.
pub trait MutationTransaction {
    /// Writes one row. A write that failed fails the mutation, whatever is done about it.
    ///
    /// # Errors
    /// The database does not take it, or does not answer.
    fn write(&mut self, op: &CrudOp) -> Result<(), TransactionError>;

    /// The rows, with what was written so far.
    fn rows(&self) -> &dyn Source;
}

/// A mutation is refused, and its client is told why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for the log.
    pub reason: String,
    /// The mutation's result, JSON text.
    pub result: String,
}

/// The database did not do what a mutation asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransactionError(pub String);
