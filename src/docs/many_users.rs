//! Many users: a session for each, found by the request.
//!
//! Gateways, bots and workers act for thousands of users, each with a grant of its own. There are three ways to choose
//! the session of a request:
//!
//! | the requests of a client act for | use |
//! |---|---|
//! | one user, or one service | [`AuthLayer::from_session`](crate::AuthLayer::from_session) |
//! | many users, and your code has the session of each | [`AuthLayer::per_request`](crate::AuthLayer::per_request): the request carries its [`Session`](crate::Session) |
//! | many users, whose tokens are in a database | [`AuthLayer::keyed`](crate::AuthLayer::keyed) with [`Sessions`](crate::sessions::Sessions) (feature `sessions`) |
//!
//! With the last two, a request without a session or a key fails with
//! [`is_missing_session`](crate::Error::is_missing_session). It never gets some other session. The session is chosen once,
//! and a retry of the request uses the same one. Requests that need no token carry [`SkipAuth`](crate::SkipAuth).
//!
//! [`sessions`](crate::sessions) has an example, and `examples/many` runs a gateway for a thousand users.
//!
//! # Keys
//!
//! A key stands for one credential: one grant, with its scopes and audience. If two keys share a grant, both sessions
//! present the same refresh token, and a server that rotates refresh tokens signs the user out. If one key stands for two
//! grants, one user gets the other's token.
//!
//! - Use a type with all parts, such as `(TenantId, UserId)`. Don't join strings: `"ab"` with `"c"`, and `"a"` with
//!   `"bc"`, are the same string.
//! - Take the key from what your own code put into the request's extensions after it had authenticated the caller. **A
//!   header that the caller sent must never decide whose token is attached.**
//! - Set [`override_existing(true)`](crate::AuthLayer::override_existing) in a gateway. Otherwise a caller's own
//!   `Authorization` header is sent upstream.
//!
//! # Loading and saving
//!
//! The function that loads a session reads the user's token from where the session's
//! [save hook](crate::SessionBuilder::save_with) writes it. Build all sessions from clones of one
//! [`SessionBuilder`](crate::SessionBuilder): they then share their settings, and the memory of these.
//!
//! A session is loaded once, however many requests need it. If that fails, all of them get the error, and for a second
//! further ones get it, too, so that an unavailable database isn't called by every request. An unknown key is a failed
//! load: made-up keys use a fixed amount of memory and evict no session. For a user who exists but has no credential, such
//! as one who has signed out, return a session that is
//! [signed out](crate::SessionBuilder::token_or_signed_out).
//!
//! If several processes act for the same users, the function returns a
//! [`SharedSession`](crate::store::SharedSession) over a store instead: see [`stores`](super::stores).
//!
//! # Eviction and memory
//!
//! The map keeps as many sessions as its [`capacity`](crate::sessions::SessionsBuilder::capacity), plus those that are in
//! use: by a request, a handle, a refresh or a save. It evicts the least recently used ones, approximately, but only
//! sessions that can be loaded again with nothing lost: a session that couldn't save its token stays.
//! [`Sessions`](crate::sessions::Sessions#eviction) has the exact rules. If only such sessions are left, loading another
//! one fails with [`is_full`](crate::Error::is_full): evicting one of them could sign its user out.
//!
//! There is no timer. [Idle](crate::sessions::SessionsBuilder::idle) sessions, and those beyond the capacity after a
//! burst, are evicted as others are loaded, or by [`evict_idle`](crate::sessions::Sessions::evict_idle), which you can
//! call now and then.
//!
//! # Refreshes
//!
//! After an outage the tokens of all users have expired.
//! [`max_refreshes`](crate::sessions::SessionsBuilder::max_refreshes) limits how many sessions call the token endpoint at
//! the same time; the others wait in order. A request whose token is fresh isn't affected. The callers' wait timeouts
//! run while they wait, so set those timeouts long enough, or let requests fail early and be retried.
//!
//! A refresh runs as a task on the runtime of the request that started it. If your program has several runtimes that come
//! and go, give the sessions and the map a [`Spawner`](crate::rt::Spawner) for one that stays.
//!
//! # Sign-out, removal and shutdown
//!
//! | what happens | call |
//! |---|---|
//! | the user signs out | [`sign_out`](crate::Session::sign_out) on the session; the hook erases the stored token |
//! | the user signs in again | [`sign_in`](crate::Session::sign_in) on the session; the hook saves the new token |
//! | the user is deleted, or what is stored was changed by others | [`remove`](crate::sessions::Sessions::remove), whose docs say how to wait for a save in progress |
//! | the program ends | [`close`](crate::sessions::Sessions::close): waits for all refreshes and saves |
//!
//! # Seeing what happens
//!
//! [`SessionsBuilder::on_event`](crate::sessions::SessionsBuilder::on_event) gets the events of all sessions, with their
//! keys. A session's [`name`](crate::SessionBuilder::name) is in its events, its status and its log lines; don't use a name
//! that mustn't be logged.
