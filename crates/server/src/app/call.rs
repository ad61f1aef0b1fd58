//! One call of a mutator, as the upstream runs it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::Value as Json;

use super::error::AppError;
use super::transaction::Transaction;
use super::{App, Caller};
use crate::upstream::{Mutation, MutationTransaction, Refusal};

/// A mutation by name with its arguments.
pub(crate) struct MutatorCall {
    pub(crate) app: Arc<App>,
    pub(crate) name: String,
    pub(crate) args: Json,
    pub(crate) caller: Caller,
}

impl Mutation for MutatorCall {
    fn run(&self, transaction: &mut dyn MutationTransaction) -> Result<(), Refusal> {
        let Some(mutator) = self.app.mutator_named(&self.name) else {
            let message = format!("there is no mutator {:?}", self.name);
            return Err(AppError::new(message).into_refusal());
        };
        let mut tx = Transaction::new(transaction, &self.app.catalog, &self.caller);
        guarded(|| mutator(&mut tx, self.args.clone())).map_err(AppError::into_refusal)
    }
}

/// Runs the app's code. If it panics the call fails, and the server goes on.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, AppError>) -> Result<T, AppError> {
    // What it was in the middle of is a transaction that is rolled back, or nothing.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        // The panic's own text is on standard error; it may hold anything, so pages do not get it.
        Err(AppError::new("the app's code failed"))
    })
}
