//! Requests and responses of reqwest as those of the http crate, and back.

use std::time::Duration;

use http::response;
use reqwest::{Body, Request, Response, ResponseBuilderExt, Url};
use tokio::time::Instant;

use crate::request::options::FromOtherOrigin;

use super::redirects::is_same_origin;

/// Response extension: the URL of the response, after redirects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalUrl {
    url: Url,
}

/// Request extension: the end of the whole call, by the request's own timeout. It bounds the waits for a token,
/// and what is left of it each attempt.
#[derive(Clone, Copy)]
pub(super) struct CallDeadline(Instant);

/// A request for the layer.
pub(super) fn to_http(request: Request) -> Result<http::Request<Body>, reqwest::Error> {
    let timeout = request.timeout().copied();
    let mut request = http::Request::try_from(request)?;
    if let Some(deadline) = timeout.and_then(|timeout| Instant::now().checked_add(timeout)) {
        request.extensions_mut().insert(CallDeadline(deadline));
    }
    Ok(request)
}

/// The request of an attempt.
pub(super) fn from_http<B: Into<Body>>(request: http::Request<B>) -> Result<Request, reqwest::Error> {
    let deadline = request.extensions().get::<CallDeadline>().copied();
    let mut request = Request::try_from(request)?;
    if let Some(deadline) = deadline {
        *request.timeout_mut() = Some(deadline.time_left());
    }
    Ok(request)
}

/// The response to a request that was sent to `sent_to`. Converted back, it keeps its URL.
pub(super) fn response_to_http(response: Response, sent_to: &Url) -> http::Response<Body> {
    let url = response.url().clone();
    let mut response = http::Response::<Body>::from(response);
    let extensions = response.extensions_mut();
    if !is_same_origin(sent_to, &url) {
        extensions.insert(FromOtherOrigin);
    }
    // reqwest's own extension for the URL is private.
    let carrier = response::Builder::new().url(url.clone()).body(()).expect("no invalid parts");
    extensions.extend(carrier.into_parts().0.extensions);
    extensions.insert(FinalUrl { url });
    response
}

// === impl FinalUrl ===

impl FinalUrl {
    /// The URL.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

// === impl CallDeadline ===

impl CallDeadline {
    pub(super) fn time_left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::Method;
    use tokio::time;

    use super::*;

    fn request(timeout: Option<Duration>) -> Request {
        let mut request = Request::new(Method::GET, "https://api.example.com/".parse().unwrap());
        *request.timeout_mut() = timeout;
        request
    }

    #[tokio::test(start_paused = true)]
    async fn each_attempt_gets_what_is_left_of_the_timeout() {
        let first = to_http(request(Some(Duration::from_secs(10)))).unwrap();
        time::advance(Duration::from_secs(4)).await;
        assert_eq!(from_http(first).unwrap().timeout(), Some(&Duration::from_secs(6)));

        let late = to_http(request(Some(Duration::from_secs(10)))).unwrap();
        time::advance(Duration::from_secs(11)).await;
        assert_eq!(from_http(late).unwrap().timeout(), Some(&Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_a_timeout_has_no_deadline() {
        for timeout in [None, Some(Duration::MAX)] {
            let converted = to_http(request(timeout)).unwrap();
            assert!(converted.extensions().get::<CallDeadline>().is_none());
            assert_eq!(from_http(converted).unwrap().timeout().copied(), timeout);
        }
    }
}
