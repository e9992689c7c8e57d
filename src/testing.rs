//! Utilities for testing your code: a token endpoint and an API, conformance checks for refreshers and
//! stores, and a cancellation check. Needs the feature `test-util`.
//!
//! | to test | use |
//! |---|---|
//! | what your code does when a token expires, or a response is lost | [`Issuer`], [`Resource`] |
//! | a refresher of your own | [`check_refresher`], [`RefreshContext::builder`](crate::RefreshContext::builder) |
//! | a store of your own | `store::check_store` (feature `store`) |
//! | what a cancelled call leaves behind | [`drop_at_each_poll`] |
//! | what happens over time | [`rt::TestClock`](crate::rt::TestClock), with tokio's paused time |
//!
//! # Examples
//!
//! Code that survives the expiry of its token:
//!
//! ```
//! use tower_reauth::{AuthLayer, Session, testing::{Issuer, Resource}};
//! # use tower::{ServiceBuilder, ServiceExt};
//! # async fn my_code(auth: AuthLayer, api: Resource) -> Result<(), tower::BoxError> {
//! #     let request = http::Request::get("https://api.example.com/items").body(String::new())?;
//! #     let response = ServiceBuilder::new().layer(auth).service(api).oneshot(request).await?;
//! #     assert_eq!(response.status(), 200);
//! #     Ok(())
//! # }
//!
//! # /*
//! #[tokio::test]
//! # */
//! async fn my_code_survives_an_expiry() {
//!     let issuer = Issuer::new(); // a token endpoint
//!     let api = Resource::new(&issuer); // accepts its tokens
//!     let session = Session::builder(issuer.clone()).token(issuer.sign_in()).build();
//!
//!     my_code(session.layer(), api.clone()).await.unwrap();
//!     issuer.expire_access_tokens();
//!     my_code(session.layer(), api.clone()).await.unwrap();
//!
//!     assert_eq!((issuer.refreshes(), api.accepted()), (1, 2));
//! }
//! # tokio_test::block_on(my_code_survives_an_expiry());
//! ```
//!
//! # Concurrent calls
//!
//! Calls overlap in a test as they do over a network, because the issuer and the API let other tasks run before they
//! respond. Here, all 50 calls are rejected before the first refresh begins:
//!
//! ```
//! use futures::future::try_join_all;
//! use tower::ServiceExt;
//! use tower_layer::Layer;
//! use tower_reauth::{Session, testing::{Issuer, Resource}};
//!
//! # tokio_test::block_on(async {
//! let issuer = Issuer::new();
//! let api = Resource::new(&issuer);
//! let session = Session::builder(issuer.clone()).token(issuer.sign_in()).build();
//! let client = session.layer().layer(api.clone());
//!
//! issuer.expire_access_tokens();
//! let request = || http::Request::get("https://api.example.com/items").body(String::new()).unwrap();
//! try_join_all((0..50).map(|_| client.clone().oneshot(request()))).await?;
//! assert_eq!((api.rejected(), issuer.refreshes(), api.accepted()), (50, 1, 50));
//! # Ok::<(), tower::BoxError>(())
//! # }).unwrap();
//! ```
//!
//! # Time
//!
//! Give the issuer and the session the same [`TestClock`](crate::rt::TestClock), and they agree on when a token
//! expires. It follows tokio's paused time (tokio's feature `test-util`). Without it, `advance` expires nothing:
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use tower_reauth::{Session, rt::TestClock, testing::Issuer};
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! async fn an_expired_token_is_refreshed() {
//!     let clock = TestClock::new(SystemTime::now());
//!     let issuer = Issuer::builder().clock(clock.clone()).lifetime(Duration::from_secs(600)).build();
//!     let session = Session::builder(issuer.clone()).token(issuer.sign_in()).clock(clock).build();
//!
//!     tokio::time::advance(Duration::from_secs(600)).await;
//!     session.token().await.unwrap();
//!     assert_eq!(issuer.refreshes(), 1);
//! }
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
//! # runtime.unwrap().block_on(an_expired_token_is_refreshed());
//! ```

mod body;
mod check;
mod grants;
mod issuer;
mod issuer_builder;
mod polls;
mod resource;
mod server;
mod token_request;

pub use body::ResponseBody;
pub use check::{FailedStep, check_refresher};
pub use grants::Reuse;
pub use issuer::{Issuer, Scripted};
pub use issuer_builder::IssuerBuilder;
pub use polls::drop_at_each_poll;
pub use resource::Resource;
pub use server::LoopbackServer;
