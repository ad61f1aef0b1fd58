//! Deterministic simulation of clients, network, storage and server.
