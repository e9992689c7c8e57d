//! What the three clients have in common.

use std::sync::Arc;

use http::StatusCode;

use crate::servers::{Grant, Server};

/// A user's client.
pub(crate) trait Client: Send + Sync + Sized + 'static {
    const NAME: &'static str;

    fn new(server: Arc<Server>, grant: Grant) -> Self;

    /// One call, with a new token if that is needed. Whether it succeeded.
    fn call(&self) -> impl Future<Output = bool> + Send;

    /// The access token that the client holds, if it is signed in.
    fn access(&self) -> impl Future<Output = Option<String>> + Send;
}

/// Whether the resource takes an access token.
pub(crate) async fn takes(server: &Server, access: &str) -> bool {
    server.call(access).await == StatusCode::OK
}
