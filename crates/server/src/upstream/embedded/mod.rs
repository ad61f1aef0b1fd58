//! A SQLite file as the upstream: truth and replica in one.
