//! What the crate promises, as one numbered list.
//!
//! The tests of a promise bear its number: `tests/PROMISES.md` lists them.
//!
//! # p01
//!
//! **However many callers need a token at once, the refresher is called once.** It doesn't matter whether
//! they are tasks, threads, clones, layers or clients, as long as they share a [`Session`](crate::Session).
//! All of them get the session's state at the end of that refresh: the new token, the error, or "signed out".
//! If the refresh failed and the old token was rejected but hasn't expired, they get the old token.
//!
//! # p02
//!
//! **A refresh token is presented by one exchange at a time, and never again once its successor has
//! arrived.** A response without a refresh token keeps the old one, and so does an empty or blank one. A new
//! refresh token always replaces the old one, even if the access token beside it is unusable. A refresh that
//! is no longer wanted when it would call the refresher, such as after a sign-out, presents nothing.
//!
//! # p03
//!
//! **Dropping callers cancels no refresh.** Any of them can be dropped at any point, or all of them. The
//! refresh runs to its end or its timeout, and its token is kept and saved. No other caller stays asleep.
//!
//! # p04
//!
//! **A late rejection is harmless.** A 401 for an older token starts no refresh: the request is retried with
//! the current token. If the refresh that followed an earlier rejection of the same token failed, late
//! requests share that failure. The token of another session marks nothing.
//!
//! # p05
//!
//! **No server and no token endpoint can cause a loop or a storm of requests.** A rejected request is retried
//! once. A refresh is ineffective if it fails, or if its token has expired on arrival, is already stale, has
//! a lifetime of at most half a second, is the same as before, or is rejected within its trial (10 % of its
//! lifetime, at most 30 s). The same token with a later expiry is a renewal, which is effective, unless the
//! token was rejected. After an ineffective refresh the next one waits for the backoff, however many requests
//! arrive. The backoff grows from 1 s to 120 s, or to ten minutes after failures that a retry is unlikely to
//! fix.
//!
//! # p06
//!
//! **A stale token never makes a caller wait.** It is used, and refreshed in the background. If that refresh
//! fails, in whatever way, the token stays in use until it expires. Only a caller that asks for a
//! [`MinLifetime`](crate::MinLifetime) waits for a token that lasts longer.
//!
//! # p07
//!
//! **A transient failure is shared by all callers that waited for it.** They don't try one after another.
//! Until the backoff ends, callers without a usable token fail at once with the same error. The end of a
//! backoff only permits a refresh; the next call starts it, so an idle session never refreshes. `Retry-After`
//! is honoured up to an hour, and up to 10 % is added at random, so that clients don't retry in step. The
//! backoff of a failed early refresh ends with the token that stayed in use, unless `Retry-After` is longer.
//! With [`wait_through_backoff`](crate::SessionBuilder::wait_through_backoff), callers wait for a backoff
//! that ends within their wait timeouts.
//!
//! # p08
//!
//! **A grant that has ended ends the session once.** The token endpoint is not called again. A token that is
//! still valid is served until it expires; then callers fail at once with
//! [`is_grant_ended`](crate::Error::is_grant_ended), until a token is set. A wrong configuration, such as a
//! wrong client secret, is another error and signs nobody out.
//!
//! # p09
//!
//! **A panic in the user's code, or a runtime that ends, is an error to the callers that waited, and nothing
//! more.** This holds for a panic in a refresher, a hook, a listener or a clock, for a runtime that shuts
//! down or isn't driven, and for a call outside a runtime. Each caller has its own timer. A refresh past its
//! timeout is abandoned by the next call that needs a token; if its response arrives later, it is used as
//! long as the refresh token that it exchanged is still the session's.
//!
//! # p10
//!
//! **A token that is set, a sign-in and a sign-out win over a running refresh.** Its result doesn't overwrite
//! them. After [`set_token`](crate::Session::set_token), a refresh token that the refresh returns is still
//! kept if the one that it replaces is the session's. After [`sign_in`](crate::Session::sign_in) or
//! [`sign_out`](crate::Session::sign_out) the result goes to the revoke hook; requests from before fail with
//! [`is_signed_out`](crate::Error::is_signed_out), and are never sent with another user's token. The new user's
//! requests don't wait for the old user's refresh.
//!
//! # p11
//!
//! **tower's contract is kept: each readiness of the inner service is used once, and none is held while a
//! request waits for a token.** So a refresher that uses the same stack of services can't deadlock on a
//! concurrency limit or a buffer.
//!
//! # p12
//!
//! **A refresh that needs its own session is an error, not a hang.** In a refresher, a hook or a listener, a
//! call that would wait for that session's refresh fails at once with
//! [`is_reentrant`](crate::Error::is_reentrant). If a refresher fails because of that, it is misconfigured,
//! and its error says so. Requests marked [`SkipAuth`](crate::SkipAuth), reads that don't wait, and other
//! sessions work as usual.
//!
//! # p13
//!
//! **A machine that slept, or whose clock was set, knows whether its token has expired.** The time that has
//! passed is the larger of what the wall clock and the monotonic clock say.
//!
//! # p14
//!
//! **No token appears in anything that the crate prints.** That is each `Debug`, `Display`, error, log line
//! and panic message, even if a server echoes a token. There are two exceptions, which are passed on as they
//! are: a refresher's own error, and the transport's error about a token request. The tokens that the crate
//! holds are overwritten in memory when they are dropped.
//!
//! # p15
//!
//! **A token goes only to https or loopback, and only to the allowed origins.** Loopback is 127.0.0.0/8,
//! `::1` and `localhost` itself. Any other cleartext URI is an error before anything is sent. Outside the
//! origins of [`restrict_to_origin`](crate::AuthLayer::restrict_to_origin) a request passes untouched. Both
//! are checked before each attempt. A gRPC layer without origins trusts its channel, even over cleartext. A
//! refresh token goes only to its endpoint's origin, whatever redirects say.
//!
//! # p16
//!
//! **A retry is the same request with another token.** Its method, URI, version, headers, extensions and body
//! are those of the first attempt; only a `grpc-timeout` shrinks. A request that can't be replayed is never
//! sent with half a body: its caller gets the server's response, with a report that says why it wasn't
//! retried, and the next call gets a new token.
//!
//! # p17
//!
//! **What is saved last is what the session holds, and a process can wait for it.** Refreshed and set tokens,
//! sign-ins and sign-outs are saved one at a time. A refreshed token is saved before it is used, and a change
//! during a save is saved right after it. A save that fails, panics or times out takes nothing away: callers
//! get the token, the status says that it is unsaved, and a later call or
//! [`shutdown`](crate::Session::shutdown) saves it again. `shutdown` waits for a running refresh and its
//! save.
//!
//! # p18
//!
//! **A lost response is neither a failure nor a success.** A refresh that was sent but got no response may
//! have spent the refresh token, so it is repeated once, immediately, with the same refresh token: in the
//! same flight if the refresher says so in time, otherwise by the next call. If that response is lost as
//! well, it counts as a transient failure. A refresher that must not repeat can end the grant instead.
//!
//! # p19
//!
//! **Many processes: a rotating refresh token is presented by one of them at a time.** That holds for
//! processes that share a session through a store (feature `store`), as long as none is suspended or delayed
//! beyond its claim and the store loses no write; the page `many_processes` lists the exceptions. While a store
//! is unavailable or unreadable, nothing is presented and a valid token stays in use.
//!
//! # p20
//!
//! **Many users: one live session per key, bounded memory, never another user's token.** That holds for a map of
//! sessions (feature `sessions`). There is one session per key, even after a removal, while anybody has a handle to
//! it and while its refresh or save is running. A session is evicted only if it is at rest and can be loaded again;
//! if none can be, loading another one is an error. A key is loaded once for all its callers; a failure is shared
//! and paced, and made-up keys don't make the map grow. A request without a session or a key is an error. A limit
//! on refreshes delays no request whose token is fresh.
