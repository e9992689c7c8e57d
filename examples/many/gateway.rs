//! The gateway: finds out who is calling, and forwards the call to the upstream.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use tower::{Service, ServiceExt};

use crate::{BoxError, database::UserId, loopback, upstream::Upstream};

/// Starts it. `cookies`: who is signed in at the gateway. `client` attaches the token of the [`UserId`] in a request's
/// extensions.
pub(crate) async fn start<S>(
    upstream: &Upstream,
    cookies: HashMap<String, UserId>,
    client: S,
) -> Result<SocketAddr, BoxError>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Incoming>, Error = BoxError>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let (origin, cookies) = (upstream.origin(), Arc::new(cookies));
    loopback::serve(move |request| {
        let (origin, cookies, client) = (origin.clone(), Arc::clone(&cookies), client.clone());
        async move {
            let cookie = request.headers().get(header::COOKIE).and_then(|cookie| cookie.to_str().ok());
            let Some(user) = cookie.and_then(|cookie| cookies.get(cookie)) else {
                return response(StatusCode::UNAUTHORIZED, "no such user");
            };
            match forward(&origin, user, request.uri().path(), client).await {
                Ok(response) => response,
                Err(error) => response(StatusCode::BAD_GATEWAY, error.to_string()),
            }
        }
    })
    .await
}

async fn forward<S>(
    origin: &str,
    user: &UserId,
    path: &str,
    client: S,
) -> Result<Response<Full<Bytes>>, BoxError>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Incoming>, Error = BoxError>,
{
    let uri = format!("{origin}/users/{}{path}", user.0);
    let request = Request::get(uri).extension(user.clone()).body(Empty::new())?;
    let (head, body) = client.oneshot(request).await?.into_parts();
    Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
}

fn response(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
