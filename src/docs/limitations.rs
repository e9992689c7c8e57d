//! Limitations.
//!
//! What the crate doesn't do, and what to do instead.
//!
//! # Processes that share a refresh token
//!
//! Without a store, a session coordinates callers within one process only. If several processes use the same
//! rotating refresh token, share it through a store (feature `store`), or give each process a sign-in of its own.
//!
//! # One user per session
//!
//! A session holds one credential. For many users, let each request carry its session
//! ([`AuthLayer::per_request`](crate::AuthLayer::per_request)), or find it by a key in a map of sessions (feature
//! `sessions`). If you keep a map of your own: don't drop a session during a refresh and load the same user again
//! from storage, as the stored refresh token may be in use. Wait for [`Session::idle`](crate::Session::idle) first.
//!
//! # Servers that share a session
//!
//! A server that rejects every token causes refreshes, and calls to the session's other servers wait for
//! them, each for at most the [`rejection_wait`](crate::SessionBuilder::rejection_wait). Use separate
//! sessions for servers that you don't trust equally.
//!
//! # A held 401 holds its connection
//!
//! A request that waits after a 401 keeps that response, with its body unread, as it is returned if no newer
//! token can be obtained. Over HTTP/1 it holds a connection for that time; over HTTP/2 it holds a part of the
//! connection's flow-control window. Many large 401s at once exhaust the pool or the window, and block a
//! refresh over the same connections until their requests' wait timeouts expire. Therefore:
//!
//! - Send refreshes through a client with its own connections, or add an inner layer that reads the bodies of
//!   401s, up to a small limit. The example of [`RejectionRule`](crate::rejection::RejectionRule) has such a
//!   layer.
//! - Set a short [`wait_timeout`](crate::SessionBuilder::wait_timeout) if responses to rejected requests are
//!   large.
//!
//! # Uploads that a server rejects before it has read them
//!
//! Over HTTP/1, a server that sends a 401 early and closes the connection without reading the rest of the body can make
//! the client fail with a write error, such as a broken pipe, instead of returning the 401. The layer sees that
//! error, so the token isn't marked and the request isn't retried. A server avoids it by
//! reading the body before it closes the connection.
//!
//! A request whose body can't be replayed isn't retried either: see [rejections](super::rejections#bodies).
//!
//! # Rejections in a response's body
//!
//! A [`RejectionRule`](crate::rejection::RejectionRule) sees the head of a response, not its body. If a
//! server reports an invalid token in the body, as GraphQL servers do with status 200, add an inner layer
//! that reads the body and leaves a marker in the response's extensions. `RejectionRule` has an example.
//!
//! # gRPC: rejections in trailers
//!
//! A status 16 in the trailers comes too late for a retry, as the caller has the response's head by then. The
//! token is marked, so that the next call gets a new one. If no message came before, the call can be retried at a
//! cost: see `grpc::GrpcLayer::retry_before_first_message`. A call that has sent more than 64 KiB before its
//! rejection, such as an OTLP batch, isn't retried unless `with_buffer_limit` raises that limit.
//!
//! # Redirects
//!
//! A layer that follows redirects belongs inside this one. Without a rule, this layer then can't distinguish another
//! host's 401 from the API's. See [layer order](super::layer_order#redirects).
//!
//! reqwest follows redirects by itself; `reqwest_service` (feature `reqwest`) knows where a response came from.
//! With its default policy, reqwest can send the token to another origin: set `redirect_policy` of the module
//! `reqwest`.
//!
//! # Runtime
//!
//! Timers and tasks need tokio. Other runtimes need their own [`Clock`](crate::rt::Clock) and
//! [`Spawner`](crate::rt::Spawner).
//!
//! A refresher, a hook or a listener must not block its thread: the waiters on that thread would be delayed
//! beyond their timeouts.
//!
//! # Proxies
//!
//! The built-in HTTPS client (feature `https`) uses the HTTP proxy that the environment names
//! (`HTTPS_PROXY`, `NO_PROXY`), for `https` URLs only. It supports neither SOCKS proxies nor the proxy settings
//! of the operating system. For these, use a client of your own with `try_with_transport`.
//!
//! A token for a forward proxy (`Proxy-Authorization`, status 407) is checked against the request's URI, not
//! against the proxy's. For `http` requests through a proxy, this needs
//! [`dangerous_allow_cleartext`](crate::AuthLayer::dangerous_allow_cleartext); set it only for a client that
//! sends everything to the proxy. For `https` requests the connector has to send the proxy's token: this
//! layer doesn't see its `CONNECT`.
//!
//! # `panic = "abort"`
//!
//! A panic in a refresher or a hook is an error for its waiters only if it unwinds. With `panic = "abort"` it
//! ends the process.
