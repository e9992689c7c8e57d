//! Processes that share a session, for tests and the example `fleet`.
