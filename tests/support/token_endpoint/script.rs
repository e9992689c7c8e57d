//! The requests and replies of a token endpoint.

use std::io;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderName, Method, Response, Uri};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use tower_reauth::RefreshContext;

/// A reply. The last one of a script is repeated forever.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    pub(super) delivery: Delivery,
}

#[derive(Clone, Copy)]
pub(super) enum Delivery {
    Whole,
    /// In chunks, without a content length.
    Chunked,
    /// The connection is closed without a response.
    Closed,
    /// The connection is refused (only in memory).
    Refused,
    /// The transport panics (only in memory).
    Panics,
    /// When the test releases it.
    Delayed,
}

/// A request as the endpoint received it.
#[derive(Clone)]
pub(crate) struct RecordedRequest {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) const TOKEN: &str =
    r#"{"access_token":"A2","token_type":"Bearer","expires_in":3600,"refresh_token":"R2"}"#;

pub(crate) fn reply(status: u16, body: impl AsRef<[u8]>) -> Reply {
    let body = Bytes::copy_from_slice(body.as_ref());
    let reply = Reply { status, headers: HeaderMap::new(), body, delivery: Delivery::Whole };
    reply.header("content-type", "application/json")
}

pub(crate) fn error(status: u16, code: &str) -> Reply {
    reply(status, format!(r#"{{"error":"{code}"}}"#))
}

/// The context of a refresh with R1.
pub(crate) fn r1() -> RefreshContext {
    RefreshContext::builder().refresh_token("R1").build()
}

// === impl Reply ===

impl Reply {
    /// Sets a header; an empty value removes it.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        match value {
            "" => drop(self.headers.remove(name)),
            value => drop(self.headers.insert(HeaderName::from_static(name), value.parse().unwrap())),
        }
        self
    }

    pub(crate) fn chunked(self) -> Self {
        Self { delivery: Delivery::Chunked, ..self }
    }

    pub(crate) fn closed(self) -> Self {
        Self { delivery: Delivery::Closed, ..self }
    }

    pub(crate) fn refused() -> Self {
        Self { delivery: Delivery::Refused, ..reply(200, "") }
    }

    pub(crate) fn panics() -> Self {
        Self { delivery: Delivery::Panics, ..reply(200, "") }
    }

    pub(crate) fn delayed(self) -> Self {
        Self { delivery: Delivery::Delayed, ..self }
    }

    pub(super) fn into_response(self) -> Response<BoxBody<Bytes, io::Error>> {
        let body = match self.delivery {
            Delivery::Chunked => {
                let pieces: Vec<_> = self
                    .body
                    .chunks(16 * 1024)
                    .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
                    .collect();
                StreamBody::new(stream::iter(pieces)).boxed()
            }
            _ => Full::new(self.body).map_err(|never| match never {}).boxed(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status.try_into().unwrap();
        *response.headers_mut() = self.headers;
        response
    }
}

// === impl RecordedRequest ===

impl RecordedRequest {
    /// The parameters of the body, in order.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    pub(crate) fn param(&self, name: &str) -> Option<String> {
        self.form().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
