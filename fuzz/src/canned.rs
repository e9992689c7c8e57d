//! A response that is written like one of HTTP: a status, header lines, an empty line and the body.

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use tower::service_fn;
use tower_reauth::endpoint::{Endpoint, RequestBody};

pub(crate) const URL: &str = "https://id.example.com/token";

/// A token endpoint that always returns the same response.
pub(crate) struct Canned {
    pub(crate) endpoint: Endpoint,
    /// The URLs of the requests.
    pub(crate) requests: Arc<Mutex<Vec<Uri>>>,
}

// === impl Canned ===

impl Canned {
    pub(crate) fn new(response: Response<Bytes>) -> Self {
        let requests = Arc::<Mutex<Vec<Uri>>>::default();
        let log = Arc::clone(&requests);
        let transport = service_fn(move |request: Request<RequestBody>| {
            log.lock().expect("nothing panics with it").push(request.uri().clone());
            let _ = request.into_body().into_bytes();
            ready(Ok::<_, Infallible>(response.clone().map(Full::new)))
        });
        let endpoint = Endpoint::try_with_transport(URL, transport).expect("the URL is valid");
        Self { endpoint, requests }
    }
}

/// Reads a response. `None`: it has no valid status. Invalid header lines are left out.
pub(crate) fn parse(input: &[u8]) -> Option<Response<Bytes>> {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((input, &[][..]), |end| (&input[..end], &input[end + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let status: u16 = std::str::from_utf8(lines.next()?).ok()?.parse().ok()?;
    let mut response = Response::builder().status(status).body(Bytes::copy_from_slice(body)).ok()?;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    Some(response)
}
