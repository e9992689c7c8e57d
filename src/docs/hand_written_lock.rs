//! Compared with a hand-written lock.
//!
//! Most clients check the expiry, lock an async mutex, check again, and refresh. That works until
//!
//! - a caller is cancelled during the refresh, and the rotated token is lost;
//! - the refresh fails, and each waiter retries it, one after another;
//! - a server rejects a token that looked valid, and every late 401 refreshes again;
//! - the refresher uses the same client, and deadlocks.
//!
//! The example `survive` has three clients that try to keep a user signed in through 100 expiries with ten calls each,
//! a third of which are cancelled while they wait. The server is a certified OpenID provider that revokes the grant when
//! a used refresh token is presented. The client without a lock is signed out at once. The one with a lock is signed out
//! as soon as the call that refreshes is cancelled, here at the third expiry:
//!
//! ```text
//! survive: client=naive expiries=100 survived=0 signed_out_at=1
//! survive: client=mutex expiries=100 survived=2 signed_out_at=3
//! survive: client=layer expiries=100 survived=100 signed_out_at=never
//! ```
//!
//! `cargo run --release --example survive -- --server oidc --expiries 100` needs Node.js; `--server simplejwt` and
//! `--server django-oauth-toolkit` need Python 3.
