//! Rejected tokens, and the backoff after them.
//!
//! An expiry time is only a hint. On a 401 the layer refreshes once for all rejected requests, and retries
//! each of them once. If no newer token can be obtained, the caller gets the server's original response, with
//! the reason in its extensions: [`AuthReport`](crate::future::AuthReport).
//!
//! [`AuthLayer::rejection_rule`](crate::AuthLayer::rejection_rule) changes what counts as a rejection:
//! another status, a header, a marker set by an inner layer.
//! [`RejectionRule`](crate::rejection::RejectionRule) has examples.
//!
//! # Bodies
//!
//! A request is retried if its body can be replayed.
//! [`AuthLayer::with_replay`](crate::AuthLayer::with_replay) chooses how: a clone (the default), a buffer, or
//! not at all; [`Replay`](crate::replay::Replay) compares them. If it can't be replayed, the caller gets the
//! 401, with the reason in its [`AuthReport`](crate::future::AuthReport::not_replayed), and the next request waits for
//! a refresh.
//!
//! If the compiler reports that `ready`, `oneshot` or `call` "exists but its trait bounds were not satisfied"
//! for a layered client, the body isn't `Clone`, or the inner client expects another body type:
//!
//! - `.with_replay(NoReplay)` disables replay.
//! - `.with_replay(Buffered::default())` needs a client that accepts
//!   [`BufferedBody<B>`](crate::replay::BufferedBody).
//! - `.with_replay(Buffered::default().map_body(..))` works with any fixed body type. The error of its bodies
//!   is tower's `BoxError`, which `map_err` converts.
//!
//! # The backoff
//!
//! To avoid hammering a server that rejects everything, a token rejected during its trial period (10 % of its
//! lifetime, at most 30 s) counts as an ineffective refresh: the backoff, 1 s at first, must pass before the
//! next one, and until then rejected callers get the server's response. The backoff grows with each failure,
//! up to 2 minutes, or up to 10 minutes if a retry is unlikely to help (a wrong client secret, a response
//! that can't be interpreted). It is reset once a token has survived its trial period.
//! [`SessionBuilder::backoff`](crate::SessionBuilder::backoff) configures it,
//! [`Session::reset_backoff`](crate::Session::reset_backoff) ends it.
//!
//! During a backoff, callers without a usable token fail at once, and the error says when the next refresh is
//! allowed. With [`wait_through_backoff`](crate::SessionBuilder::wait_through_backoff) they wait for that
//! refresh instead, if the backoff ends within their wait timeout. A caller that waited for a refresh gets
//! its failure in any case. To try a whole request again, put `tower::retry` outside the layer, with a policy
//! that asks [`Error::find`](crate::Error::find) for [`is_retryable`](crate::Error::is_retryable) and
//! [`retry_at`](crate::Error::retry_at).
//!
//! # Trying it out
//!
//! If you revoke one token after another by hand, a call soon gets the server's 401, as each token is
//! rejected during its trial period. Shorten the backoff for such experiments:
//!
//! ```
//! use std::time::Duration;
//! use tower_reauth::{Refresher, Session};
//!
//! fn for_experiments(refresher: impl Refresher) -> Session {
//!     Session::builder(refresher).backoff(Duration::from_millis(50), Duration::from_millis(50)).build()
//! }
//! ```
