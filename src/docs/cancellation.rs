//! Cancellation.
//!
//! Dropping a caller cancels only that caller:
//!
//! | dropped | cancelled | continues |
//! |---|---|---|
//! | a request's future or a [`token()`](crate::Session::token), even the one that started the refresh | that caller | the refresh, the other callers |
//! | all callers | all of them | the refresh, its save |
//! | the last [`Session`](crate::Session) and layer | nothing | the refresh in progress, its save |
//! | the runtime of the refresh | the refresh; callers get [`is_outcome_unknown`](crate::Error::is_outcome_unknown) immediately | the session; the next caller repeats the refresh on its own runtime |
//! | the runtime, while a token is being saved | the save | all callers get the token, which is reported as unsaved |
//! | a [`shutdown()`](crate::Session::shutdown) | that wait | the refresh; the session stays shut down |
//!
//! # Timeouts
//!
//! A refresh runs in a task of its own, for at most
//! [`refresh_timeout`](crate::SessionBuilder::refresh_timeout) (60 s by default). If it hasn't finished by
//! then, the refresher is dropped and the outcome is unknown: the refresh token may be used up. Servers that
//! rotate refresh tokens tolerate a repeat for some seconds, so the next caller presents the same token again,
//! immediately.
//!
//! Every waiter has its own timer and depends on nothing else to finish: neither on the refresh nor on the
//! runtime that the refresh runs on.
//!
//! # Wakers
//!
//! Waiters are woken while `Shared` of [`futures`](https://docs.rs/futures) holds its lock. Never poll or
//! drop a session's future from inside a `Waker`. The wakers of async runtimes don't.
//!
//! If a waker panics, the session completes its work all the same, but callers that wait for the same refresh may
//! stay asleep until their wait timeouts expire.
