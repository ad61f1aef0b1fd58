//! The Landfall client without I/O: events in, effects out
