//! A query that runs over a source: once, or kept current with its view.

use std::ops::ControlFlow;

use landfall_zql::ast::Ast;

use crate::error::{BuildError, SourceError};
use crate::pipeline::Pipeline;
use crate::source::{Source, SourceChange};
use crate::view::{Entry, View, ViewDelta};

/// A pipeline with a view of its output.
#[derive(Debug)]
pub struct LiveQuery {
    pipeline: Pipeline,
    view: View,
    is_hydrated: bool,
}

impl LiveQuery {
    /// Builds the query; it shows nothing until it is hydrated.
    ///
    /// # Errors
    /// As [`Pipeline::build`].
    pub fn build(ast: &Ast, schema: &landfall_zql::Schema) -> Result<LiveQuery, BuildError> {
        Ok(LiveQuery::new(Pipeline::build(ast, schema)?))
    }

    /// A pipeline that was built, or planned, with a view that shows nothing until it is hydrated.
    pub fn new(pipeline: Pipeline) -> LiveQuery {
        let view = View::new(&pipeline);
        LiveQuery {
            pipeline,
            view,
            is_hydrated: false,
        }
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The result as it is now.
    pub fn entries(&self) -> &[Entry] {
        self.view.entries()
    }

    /// Whether hydration is complete.
    pub fn is_hydrated(&self) -> bool {
        self.is_hydrated
    }

    /// Reads at most `budget` further root rows; gives whether hydration is complete. No change may be pushed, and
    /// the source may not change, until it is.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn hydrate(&mut self, source: &dyn Source, budget: usize) -> Result<bool, SourceError> {
        if self.is_hydrated {
            return Ok(true);
        }
        let after = self.view.entries().last().map(|entry| entry.row.clone());
        let mut left = budget;
        let view = &mut self.view;
        self.pipeline
            .fetch(source, after.as_ref(), &mut |reader, node| {
                if left == 0 {
                    return Ok(ControlFlow::Break(()));
                }
                left -= 1;
                view.hydrate(reader, node)?;
                Ok(ControlFlow::Continue(()))
            })?;
        self.is_hydrated = left > 0;
        Ok(self.is_hydrated)
    }

    /// Pushes one change; the source still shows the state before it.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn push(&mut self, source: &dyn Source, change: &SourceChange) -> Result<(), SourceError> {
        debug_assert!(
            self.is_hydrated,
            "changes are pushed through hydrated queries"
        );
        self.pipeline.push(source, change, &mut self.view)
    }

    /// What has changed in the view since the last call.
    pub fn take_deltas(&mut self) -> Vec<ViewDelta> {
        self.view.take_deltas()
    }
}

/// The result of a query over a source as it is now.
///
/// # Errors
/// Rows could not be read.
pub fn evaluate(pipeline: &Pipeline, source: &dyn Source) -> Result<Vec<Entry>, SourceError> {
    let mut view = View::new(pipeline);
    pipeline.fetch(source, None, &mut |reader, node| {
        view.hydrate(reader, node)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(view.into_entries())
}
