//! Endpoints without a server that always return the same response.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::service_fn;
use tower_reauth::{RefreshContext, endpoint::RequestBody, json::JsonEndpoint, oauth2::Client};

pub(crate) const URL: &str = "https://id.example.com/token";

pub(crate) type CannedResponse = Response<Full<Bytes>>;

pub(crate) fn respond(status: u16, body: &str) -> CannedResponse {
    Response::builder().status(status).body(Full::from(body.to_owned())).unwrap()
}

pub(crate) fn r1() -> RefreshContext {
    RefreshContext::builder().refresh_token("R1-opaque-and-secret").build()
}

/// A client whose endpoint always returns the same response.
pub(crate) fn client(status: u16, body: &'static str) -> Client {
    let transport = service_fn(move |request: Request<RequestBody>| async move {
        let _ = request.into_body().into_bytes();
        Ok::<_, Infallible>(respond(status, body))
    });
    Client::try_with_transport(URL, "web", transport).unwrap()
}

pub(crate) fn json(status: u16, body: &'static str) -> JsonEndpoint {
    let transport = service_fn(move |request: Request<RequestBody>| async move {
        let _ = request.into_body().into_bytes();
        Ok::<_, Infallible>(respond(status, body))
    });
    JsonEndpoint::try_with_transport(URL, transport).unwrap()
}
