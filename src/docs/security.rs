//! Security model.
//!
//! # Network attackers
//!
//! A token is sent over `https`, or to loopback (127.0.0.0/8, `::1` and `localhost`; not names below
//! `localhost`, which some resolvers look up in DNS). A request to any other destination fails with a typed
//! error, unless [`dangerous_allow_cleartext`](crate::AuthLayer::dangerous_allow_cleartext) is set.
//!
//! The exception is a gRPC layer, which trusts its channel: the URI of a call usually has no host, and the
//! call is sent with the token wherever the channel is connected to, over cleartext as well. With
//! [`restrict_to_origin`](crate::AuthLayer::restrict_to_origin) or
//! [`default_origin`](crate::AuthLayer::default_origin) the channel isn't trusted: the default origin stands
//! in for the missing host, and the call fails if there is none. The layer can't see whether the channel is
//! connected to that origin.
//!
//! # Other servers
//!
//! With [`restrict_to_origin`](crate::AuthLayer::restrict_to_origin), a request to any other origin passes
//! through untouched. The origin is that of the request's URI, and is checked before *each* attempt.
//!
//! If redirects are followed *inside* this layer, only the first hop is checked. tower-http's
//! `FollowRedirect` strips `Authorization` when a redirect leaves the origin, but not a header set by
//! [`header`](crate::SessionBuilder::header). A client that also calls foreign servers should follow redirects
//! inside this layer. If redirects are followed *outside*, each hop to an allowed origin gets the token.
//! Without restricted origins, a redirect by the API takes the token to any server. Even with them, a foreign
//! server can redirect a request to the API, and the layer adds the token. See [layer
//! order](super::layer_order#redirects).
//!
//! The challenges of a 401 are passed to the refresher ([`challenges`](crate::RefreshContext::challenges)).
//! They come from any server that responded with a 401: a refresher that follows them must check where it
//! sends tokens.
//!
//! # Gateways
//!
//! A gateway forwards requests with their senders' headers. Set
//! [`override_existing`](crate::AuthLayer::override_existing); otherwise a request with an `Authorization`
//! header of its own goes upstream unchanged. Remove the sender's `Host` header, too. It isn't checked, and a
//! server or CDN that hosts several sites routes by it, so the token could reach a site other than the URI's.
//!
//! A gateway with many users takes the user from what its own code put into the request's extensions after it had
//! authenticated the caller. **A header that the caller sent must never decide whose token is attached.**
//!
//! # Token endpoints
//!
//! The refreshers of `oauth2` and `json` send requests over `https` or to loopback, and don't follow
//! cross-origin redirects. They read a response up to a size limit, which uses at most twice that memory, or
//! four times if most of the response is one token.
//!
//! Only an error code, or an unusable token type, gets from a response's body into errors and logs, without
//! control characters and cut to 64 characters.
//!
//! A JWT's expiry is read without verification: the token comes from the endpoint, and the server that it is
//! sent to verifies it.
//!
//! # Logs and memory
//!
//! No `Debug`, `Display`, log line or error of this crate shows a token or part of it, and a panic's payload
//! isn't copied. Two errors are passed on as they are, as sources of ours, and aren't logged:
//!
//! - A refresher's own error: keeping secrets out of it is the refresher's job.
//! - The transport's own error about a token request. A server can put text into it, such as the debug data
//!   of an HTTP/2 `GOAWAY` frame, and that text may contain the token that it received.
//!
//! The header value is marked sensitive, so HTTP/2 doesn't add it to its compression tables.
//!
//! Tokens that the crate holds are wiped when they are last dropped. The rest isn't guaranteed:
//!
//! - Transient buffers, of a token request and its response, are wiped on a best-effort basis. The buffers of
//!   the HTTP client and of TLS hold the same bytes.
//! - A request's headers that are kept for a replay are in a buffer that isn't wiped, unless their values are
//!   marked sensitive ([`HeaderValue::set_sensitive`](http::HeaderValue::set_sensitive)).
//! - Copies made by inner services are outside the crate's control.
//!
//! # Token reuse
//!
//! A refresh token whose successor has arrived is never presented again, as a server treats that as theft
//! (RFC 9700 §4.14.2).
