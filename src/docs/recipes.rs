//! Recipes: sign-in, storage, long jobs, short programs, servers.
//!
//! # Signing in and out
//!
//! Your program performs the login itself: with an authorization code, a device code, a password. Build a
//! [`Token`](crate::Token) from the response, then call [`Session::sign_in`](crate::Session::sign_in): callers that
//! wait for the previous user's token fail. If the same user signed in again, call
//! [`Session::set_token`](crate::Session::set_token) instead: they get the new token.
//!
//! To ask the user to sign in again, wait with [`Session::watch`](crate::Session::watch) until
//! [`Status::needs_sign_in`](crate::Status::needs_sign_in) is true; its docs have the loop. After a grant
//! has ended its last token is still used until it expires, so check the status at start-up, too.
//!
//! [`Session::sign_out`](crate::Session::sign_out) returns the tokens. The type `Revocation` of the module
//! `endpoint` revokes them, and the token of a refresh that was in flight; its docs have the code.
//!
//! # Storing the token
//!
//! [`SessionBuilder::save_with`](crate::SessionBuilder::save_with) sets a hook that is called whenever what
//! the session holds changes. [`Session::idle`](crate::Session::idle) waits for the saves. Write a new file
//! that only its owner can read (mode 0600), `sync_all` it, then rename it over the old one, so that a crash
//! leaves one of the two intact; do so in `tokio::task::spawn_blocking`. At the next start, pass the stored
//! token, if any, to [`token_or_signed_out`](crate::SessionBuilder::token_or_signed_out).
//!
//! Store the fields below, and, if your server uses them, `refresh_at`, `refresh_token_expires_at`, the extras and a
//! `scheme` other than `Bearer`:
//!
//! ```
//! use std::time::SystemTime;
//! use tower_reauth::{Token, token::InvalidToken};
//!
//! struct Stored {
//!     access: String,
//!     refresh: Option<String>,
//!     expires_at: Option<SystemTime>,
//!     received_at: Option<SystemTime>,
//! }
//!
//! fn to_store(token: &Token) -> Stored {
//!     Stored {
//!         access: token.access_token().to_owned(),
//!         refresh: token.refresh_token().map(str::to_owned),
//!         expires_at: token.expires_at(),
//!         received_at: token.received_at(),
//!     }
//! }
//!
//! fn restore(stored: Stored) -> Result<Token, InvalidToken> {
//!     Token::builder(stored.access)
//!         .refresh_token(stored.refresh)
//!         .expires_at(stored.expires_at)
//!         .received_at(stored.received_at)
//!         .build()
//! }
//! ```
//!
//! If several processes use the token, a hook isn't enough: they need a store, see the page `stores`.
//!
//! # Long uploads, jobs and streams
//!
//! Some requests need a token that stays valid for a while: a long upload, a job that passes its token on, a
//! stream that the server closes when the token expires. Mark the request with
//! [`MinLifetime`](crate::MinLifetime), or call [`Session::token_with`](crate::Session::token_with): a token
//! with less time left is refreshed first. The valid token is used all the same if the refresh fails or is in
//! a backoff, if the token has just been refreshed, or if the last refresh returned one with a shorter
//! lifetime: check [`AccessToken::expires_at`](crate::AccessToken::expires_at) if it matters. (That is the
//! reported expiry less a margin of up to 30 s.)
//!
//! # Short-lived programs
//!
//! If a program exits during a refresh, the old refresh token may be used up and the new one lost. Disable
//! early refreshes ([`refresh_early(false)`](crate::SessionBuilder::refresh_early)), or wait for the refresh
//! and its save before exiting. Send clean-up requests first, then shut down: afterwards a request that needs
//! a refresh fails.
//!
//! ```
//! async fn before_exit(session: &tower_reauth::Session) {
//!     if let Err(error) = session.shutdown(std::time::Duration::from_secs(3)).await {
//!         eprintln!("the new token may be lost: {error}");
//!     }
//! }
//! ```
//!
//! # Servers and gateways
//!
//! By default any number of callers may wait for a refresh. A server should set
//! [`max_waiters`](crate::SessionBuilder::max_waiters): further callers then fail immediately. See
//! [performance](super::performance#waiting) for what a waiter costs.
//!
//! A gateway forwards requests with their senders' headers. It must set
//! [`override_existing`](crate::AuthLayer::override_existing) and remove the sender's `Host` header: see
//! [security](super::security#gateways). `examples/bridges/gateway.rs` is a complete one.
