//! Landfall's incremental view maintenance engine
