//! The Landfall sync server
