//! The durable state of a Landfall client, without I/O
