//! A query that runs over a source: once, or kept current with its view.

use std::ops::ControlFlow;

use landfall_zql::ast::Ast;

use crate::error::{BuildError, SourceError};
use crate::pipeline::Pipeline;
use crate::pipeline::walk::Walk;
use crate::source::{Source, SourceChange};
use crate::steps::{Progress, Steps};
use crate::view::{Entry, View, ViewDelta};

/// A pipeline with a view of its output.
#[derive(Debug)]
pub struct LiveQuery {
    pipeline: Pipeline,
    view: View,
    /// Below the root row that is not all there yet.
    walk: Walk,
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
            walk: Walk::default(),
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

    /// Reads on until the steps are spent. No change may be pushed, and the source may not change, until it is done.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn hydrate(&mut self, source: &dyn Source, steps: &Steps) -> Result<Progress, SourceError> {
        if self.is_hydrated {
            return Ok(Progress::Done);
        }
        let (view, walk) = (&mut self.view, &mut self.walk);
        let progress = self.pipeline.hydrate(source, steps, &mut |reader, node| {
            Ok(match view.hydrate(reader, &node.row, walk)? {
                Progress::Done => ControlFlow::Continue(()),
                Progress::More => ControlFlow::Break(Progress::More),
            })
        })?;
        self.is_hydrated = progress == Progress::Done;
        Ok(progress)
    }

    /// Begins to push one change; [`LiveQuery::advance`] carries it out.
    pub fn begin(&mut self, change: &SourceChange) {
        debug_assert!(
            self.is_hydrated,
            "changes are pushed through hydrated queries"
        );
        self.pipeline.begin(change);
    }

    /// Goes on with the change that was begun until the steps are spent; the source still shows the state before it.
    /// What the view shows is complete when it is done.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn advance(&mut self, source: &dyn Source, steps: &Steps) -> Result<Progress, SourceError> {
        self.pipeline.advance(source, steps, &mut self.view)
    }

    /// Pushes one change; the source still shows the state before it.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn push(&mut self, source: &dyn Source, change: &SourceChange) -> Result<(), SourceError> {
        self.begin(change);
        self.advance(source, &Steps::unlimited()).map(drop)
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
        view.hydrate(reader, &node.row, &mut Walk::whole())?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(view.into_entries())
}
