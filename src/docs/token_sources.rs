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
//! For a signed-in user, or for the application itself:
//!
//! ```
//! # #[cfg(all(feature = "https", feature = "oauth2"))]
//! # mod example {
//! use tower_reauth::{endpoint::{InvalidEndpoint, ErrorClassifier, FailureKind}, oauth2};
//!
//! fn for_a_user() -> Result<oauth2::RefreshTokenGrant, InvalidEndpoint> {
//!     let client = oauth2::Client::try_new("https://id.example.com/token", "my-app")? // a public client
//!         .scopes(["mail.read", "offline_access"])
//!         // If the provider uses its own error code for an ended grant:
//!         .error_classifier(ErrorClassifier::new().code("token_inactive", FailureKind::GrantEnded));
//!     Ok(client.refresh_token_grant())
//! }
//!
//! fn for_the_application() -> Result<oauth2::ClientCredentialsGrant, InvalidEndpoint> {
//!     let client = oauth2::Client::try_new("https://id.example.com/token", "my-service")?
//!         .client_secret_basic("my-secret") // or client_secret_post, or client_assertion
//!         .audience("https://orders.example.com");
//!     Ok(client.client_credentials_grant())
//! }
//! # }
//! ```
//!
//! `cargo run --features https-ring,oauth2 --example oauth2` runs it against your provider.
//!
//! Other grants, and secrets that change, are obtained for each call from a closure:
//!
//! ```
//! # #[cfg(feature = "oauth2")]
//! # mod example {
//! use std::fs::read_to_string;
//! use tower_reauth::{RefreshContext, RefreshError, Refresher, oauth2::{Client, GrantParams}};
//!
//! /// RFC 8693: a workload exchanges the token that its platform writes to a file.
//! fn token_exchange(client: &Client) -> impl Refresher {
//!     let subject_token =
//!         |_: RefreshContext| async { read_to_string("/var/run/secrets/token").map_err(RefreshError::transient) };
//!     client.token_exchange_grant(subject_token).subject_token_type("urn:ietf:params:oauth:token-type:jwt")
//! }
//!
//! /// RFC 7523: a service account signs an assertion.
//! fn jwt_bearer(client: &Client) -> impl Refresher {
//!     client.jwt_bearer_grant(|_: RefreshContext| async { Ok("a signed assertion".to_owned()) })
//! }
//!
//! /// Parameters of your own.
//! fn password(client: &Client) -> impl Refresher {
//!     client.custom_grant(|_: RefreshContext| async {
//!         Ok(GrantParams::new("password").param("username", "ada").param("password", "secret"))
//!     })
//! }
//!
//! /// A client secret in a file that is rotated.
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
//! `JsonEndpoint::for_simplejwt` is for Django REST framework's simplejwt. Another backend:
//!
//! ```
//! # #[cfg(all(feature = "https", feature = "json"))]
//! # mod example {
//! use tower_reauth::{
//!     endpoint::{InvalidEndpoint, Lifetime, ErrorClassifier, FailureKind},
//!     json::JsonEndpoint,
//! };
//!
//! /// `{"auth": {"token": "R1"}}` gets `{"data": {"jwt": "A2", "token": "R2"}}`, or 401 once the refresh token is no
//! /// longer valid.
//! fn custom() -> Result<JsonEndpoint, InvalidEndpoint> {
//!     Ok(JsonEndpoint::try_new("https://api.example.com/session/renew")?
//!         .refresh_token_field("/auth/token")
//!         .access_token_path("/data/jwt")
//!         .new_refresh_token_path("/data/token")
//!         .lifetime(Lifetime::jwt_exp())
//!         // By default an unknown 4xx is retried, ever more slowly.
//!         .error_classifier(
//!             ErrorClassifier::new().status(401, FailureKind::GrantEnded).status(403, FailureKind::Misconfigured),
//!         ))
//! }
//! # }
//! ```
//!
//! With `.get().send_refresh_token(TokenPlace::bearer())` the request is a GET with the refresh token as the
//! bearer.
//!
//! # Your own
//!
//! [`Refresher`](crate::Refresher) has an example of an implementation. Its errors say what happens next, so
//! it must distinguish the kinds of failure; [`RefreshError`](crate::RefreshError) has them all:
//!
//! ```
//! use tower_reauth::RefreshError;
//!
//! enum Failure {
//!     Refused,
//!     Unavailable,
//!     NoResponse,
//! }
//!
//! fn classify(failure: Failure) -> RefreshError {
//!     match failure {
//!         Failure::Refused => RefreshError::grant_ended("sign in again"),
//!         Failure::Unavailable => RefreshError::transient("the server is unavailable"),
//!         // Sent, but no response: the refresh token may already be used up.
//!         Failure::NoResponse => RefreshError::outcome_unknown("no response"),
//!     }
//! }
//! # assert!(classify(Failure::Refused).is_grant_ended() && classify(Failure::NoResponse).is_outcome_unknown());
//! # let _ = classify(Failure::Unavailable);
//! ```
//!
//! Don't send its request through the layered client, where the refresh would wait for itself, or mark the
//! request with [`SkipAuth`](crate::SkipAuth).
//!
//! # Adapting a refresher
//!
//! [`RefresherExt`](crate::RefresherExt) wraps any of them:
//!
//! | method | use |
//! |---|---|
//! | [`or_else`](crate::RefresherExt::or_else) | log in again when the grant has ended: one prompt, however many callers wait |
//! | [`map_token`](crate::RefresherExt::map_token) | another member of the response is the bearer, such as the ID token |
//! | [`keep_extras`](crate::RefresherExt::keep_extras) | [`Session::extra`](crate::Session::extra) still works after a response without that field |
//! | [`retry`](crate::RefresherExt::retry) | one failure fails no caller; the refreshers for endpoints do this themselves |
//! | [`timeout`](crate::RefresherExt::timeout), [`map_err`](crate::RefresherExt::map_err) | a time limit; another classification of errors |
