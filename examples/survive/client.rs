//! The interface of the three clients.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

use crate::servers::{Grant, Server};

/// A user's client.
pub(crate) trait Client: Send + Sync + Sized + 'static {
    const NAME: &'static str;

    fn new(server: Arc<Server>, grant: Grant) -> Self;

    /// Makes one call, with a new token if necessary. Returns whether it succeeded.
    fn call(&self) -> impl Future<Output = bool> + Send;

    /// The client's access token, if it is signed in.
    fn access(&self) -> impl Future<Output = Option<String>> + Send;

    /// Moves the client's clock, if it has one.
    fn advance_clock(&self, _by: Duration) {}
}

/// Whether the resource accepts an access token.
pub(crate) async fn accepts(server: &Server, access: &str) -> bool {
    server.call(access).await == StatusCode::OK
}
