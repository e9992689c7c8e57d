//! What is protected from whom.
//!
//! # From the network
//!
//! A token goes over `https`, or to this machine (127.0.0.0/8, `::1`, `localhost`, `*.localhost`). Other destinations
//! get a typed error, unless [`dangerous_allow_cleartext`](crate::AuthLayer::dangerous_allow_cleartext) is set.
//!
//! # From other servers
//!
//! Where [`restrict_to_origin`](crate::AuthLayer::restrict_to_origin) is set, a request to any other origin passes untouched. It is
//! judged before *each* sending by the request's own URI. Where the *inner* service follows redirects by itself the
//! layer doesn't see them: put the layer beneath that one, with allowed origins, or let a rule look at where the answer
//! came from (see [the order of layers](crate::docs::layer_order)).
//!
//! Challenges of a server reach the refresher ([`challenges`](crate::RefreshContext::challenges)). They come from
//! whoever answered with a 401: a refresher that asks where a challenge says must know whom it trusts.
//!
//! # From a token endpoint
//!
//! The refreshers of `oauth2` and `json` go to `https` or to this machine, and follow no redirect out of the endpoint's
//! origin. An answer is read up to a limit, and costs at most twice that in memory, however it is built, or four times
//! where most of it is one token. Nothing of its body reaches an error or a log but its error code, or a token type that
//! can't be used, without control characters and cut to 64. A JWT is read for its end and not verified: it comes from
//! the endpoint, and is for the server that it is sent to.
//!
//! # From readers of logs and memory
//!
//! No `Debug`, `Display`, log line or error of this crate shows a token or a part of it, and a panic's payload isn't
//! copied. A refresher's own error is passed on as it is: it is the refresher's to keep secrets out of it.
//! The header's value is marked sensitive, so HTTP/2 doesn't put it into its compression tables.
//! Buffers of access and refresh tokens are overwritten when their last user is gone; copies that a client makes
//! beneath the layer are the client's.
//!
//! # From the client itself
//!
//! A refresh token whose successor has arrived is never presented again, as a server takes that for theft (RFC 9700
//! §4.14.2).
