//! What ends when something is dropped.
//!
//! | dropped | ends | goes on |
//! |---|---|---|
//! | a request's future, a [`token()`](crate::Session::token), also the one that began the refresh | that caller | the refresh, the other callers |
//! | all of them | the callers | the refresh, its save |
//! | the last [`Session`](crate::Session) and layer | nothing | the refresh that runs, its save |
//! | the runtime on which the refresh runs | the refresh: its callers get [`is_outcome_unknown`](crate::Error::is_outcome_unknown) at once | the session; the next demand starts a refresh on its own runtime, as the repeat |
//! | the runtime, while a token is being saved | the save | the token is given to all and counts as unsaved |
//! | a [`shutdown`](crate::Session::shutdown) | that wait | the refresh; the session stays shut down |
//!
//! A refresh is a task of its own, with a limit (60 s unless set). A refresher that is still running then is dropped,
//! and the outcome is unknown: the refresh token may be spent. Servers that rotate accept it once more for some
//! seconds, so the next demand presents it once more, at once.
//!
//! Every waiter has a timer of its own, its patience. It needs nobody else to end: not the refresh, not the runtime on
//! which that runs.
//!
//! # Wakers
//!
//! The waiters of a refresh are woken from within a lock of [`futures`](https://docs.rs/futures)' `Shared`. A `Waker`
//! must not poll or drop a session's future itself; those of runtimes don't.
