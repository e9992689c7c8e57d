//! Token sources: OAuth 2.0, JSON endpoints, and your own.
//!
//! A session gets its tokens from a [`Refresher`](crate::Refresher):
//!
//! | source | refresher |
//! |---|---|
//! | an OAuth 2.0 provider | `oauth2::Client` (feature `oauth2`) |
//! | a JSON backend that isn't OAuth | `json::JsonEndpoint` (feature `json`) |
//! | anything else | your own [`Refresher`](crate::Refresher), or a closure: [`refresh_fn`](crate::refresh_fn) |
//!
//! The two for endpoints cope with what real servers send (numbers as strings, errors with status 200,
//! form-encoded bodies, a proxy's HTML page), distinguish an ended grant from an outage, and know whether a
//! failed request had been sent. `try_new` uses the built-in HTTPS client (feature `https-ring`,
//! `https-aws-lc` or `https`); `try_with_transport` takes any tower service. [Settings for about forty
//! providers](super::providers) are in a table of their own.
//!
//! # OAuth 2.0
//!
//! An `oauth2::Client` is a client registration at a token endpoint, and creates refreshers for the grants: refresh token,
//! client credentials, token exchange, JWT bearer, and custom ones. The module `oauth2` lists them; each has an example.
//!
//! `cargo run --features https-ring,oauth2 --example oauth2` gets tokens from your provider.
//!
//! Assertions, subject tokens and secrets that change are obtained for each call from a closure:
//!
//! ```
//! # #[cfg(feature = "oauth2")]
//! # mod example {
//! use std::fs::read_to_string;
//! use tower_reauth::{RefreshContext, RefreshError, oauth2::Client};
//!
//! /// A rotated client secret, read from a file.
//! fn with_secret_file(client: Client) -> Client {
//!     client.client_secret_basic_with(|_: RefreshContext| async {
//!         read_to_string("/run/secrets/client").map_err(RefreshError::misconfigured)
//!     })
//! }
//! # }
//! ```
//!
//! # JSON
//!
//! `JsonEndpoint::for_simplejwt` is for Django REST framework's simplejwt. For other backends, set the fields of the
//! request and the response; the module `json` has an example. By default an unknown 4xx is retried with a growing
//! backoff: an `ErrorClassifier` says which ones mean that the grant has ended.
//!
//! With `.get().send_refresh_token(TokenPlace::bearer())` the request is a GET with the refresh token as the
//! bearer.
//!
//! # Your own
//!
//! [`Refresher`](crate::Refresher) has an example of an implementation. Its errors decide what the session does next, so
//! it must distinguish the kinds of failure; [`RefreshError`](crate::RefreshError) lists them.
//!
//! Send its requests through a client without the layer, or mark them with [`SkipAuth`](crate::SkipAuth): otherwise the
//! refresh would wait for itself.
//!
//! # Adapting a refresher
//!
//! [`RefresherExt`](crate::RefresherExt) wraps any of them:
//!
//! | method | use |
//! |---|---|
//! | [`or_else`](crate::RefresherExt::or_else) | log in again when the grant has ended: one prompt, however many callers wait |
//! | [`map_token`](crate::RefresherExt::map_token) | use another field of the response as the access token, such as the ID token |
//! | [`keep_extras`](crate::RefresherExt::keep_extras) | [`Session::extra`](crate::Session::extra) still works after a response without that field |
//! | [`retry`](crate::RefresherExt::retry) | a single failure isn't reported to callers; the refreshers for endpoints do this themselves |
//! | [`timeout`](crate::RefresherExt::timeout), [`map_err`](crate::RefresherExt::map_err) | a time limit; another classification of errors |
