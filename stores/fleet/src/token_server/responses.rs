//! Responses in JSON.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

pub(super) type Sent = Response<Full<Bytes>>;

pub(super) fn response(status: StatusCode, body: &Value) -> Sent {
    other(status, body.to_string())
}

pub(super) fn other(status: StatusCode, body: impl Into<Bytes>) -> Sent {
    let mut response = Response::new(Full::from(body.into()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
