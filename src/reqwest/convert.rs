//! Requests and responses of reqwest as those of the http crate, and back.

use std::{mem, sync::Arc, time::Duration};

use http::{Extensions, Method, Uri, response};
use reqwest::{Body, Request, Response, ResponseBuilderExt, Url};
use tokio::time::Instant;

use crate::request::options::FromOtherOrigin;

use super::redirects::is_same_origin;

/// Response extension: the URL that a response came from, after redirects. Absent if there was no redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalUrl {
    url: Url,
}

/// Request extension: the end of the whole call, by the request's own timeout. It bounds the waits for a token,
/// and what is left of it each attempt.
#[derive(Clone, Copy)]
pub(super) struct CallDeadline(Instant);

/// What the http crate's request leaves out. Parsing the URL again would cost more than the layer itself.
pub(super) struct Outgoing<V> {
    /// How to send it.
    pub(super) via: V,
    /// Shared with what is retained for a retry, and with the check for redirects.
    pub(super) url: Arc<Url>,
    pub(super) body: Body,
}

// === impl Outgoing ===

impl<V> Outgoing<V> {
    /// A request for the layer.
    pub(super) fn request(via: V, request: Request) -> Result<http::Request<Self>, reqwest::Error> {
        let url = Arc::new(request.url().clone());
        let timeout = request.timeout().copied();
        let mut request = http::Request::try_from(request)?;
        if let Some(deadline) = timeout.and_then(|timeout| Instant::now().checked_add(timeout)) {
            request.extensions_mut().insert(CallDeadline(deadline));
        }
        Ok(request.map(|body| Self { via, url, body }))
    }

    /// The request of an attempt, and its URL.
    pub(super) fn into_attempt(request: http::Request<Self>) -> (V, Request, Arc<Url>) {
        let (head, Self { via, url, body }) = request.into_parts();
        let deadline = head.extensions.get::<CallDeadline>().copied();
        let mut request = match head.extensions.is_empty() {
            true => Request::new(head.method, (*url).clone()),
            false => with_extensions(head.extensions, head.method, (*url).clone()),
        };
        *request.headers_mut() = head.headers;
        *request.version_mut() = head.version;
        *request.body_mut() = Some(body);
        if let Some(deadline) = deadline {
            *request.timeout_mut() = Some(deadline.time_left());
        }
        (via, request, url)
    }
}

/// reqwest keeps a request's settings in its extensions, which only a conversion can set.
fn with_extensions(extensions: Extensions, method: Method, url: Url) -> Request {
    let mut request = http::Request::new(Body::default());
    *request.uri_mut() = Uri::from_static("http://localhost/");
    *request.extensions_mut() = extensions;
    let mut request = Request::try_from(request).expect("a valid URL");
    *request.method_mut() = method;
    *request.url_mut() = url;
    request
}

/// Moves the head of a response into the one that the layer sees; [`reattach_head`] moves it back.
pub(super) fn detach_head(mut response: Response, sent_to: &Url) -> http::Response<Response> {
    let mut detached = http::Response::new(());
    *detached.status_mut() = response.status();
    *detached.version_mut() = response.version();
    *detached.headers_mut() = mem::take(response.headers_mut());
    *detached.extensions_mut() = mem::take(response.extensions_mut());
    note_redirect(detached.extensions_mut(), response.url(), sent_to);
    detached.map(|()| response)
}

/// The response with its head.
pub(super) fn reattach_head(detached: http::Response<Response>) -> Response {
    let (head, mut response) = detached.into_parts();
    *response.headers_mut() = head.headers;
    *response.extensions_mut() = head.extensions;
    response
}

/// The response to a request that was sent to `sent_to`. Converted back, it keeps its URL.
pub(super) fn to_http(response: Response, sent_to: &Url) -> http::Response<Body> {
    let url = response.url().clone();
    let mut response = http::Response::<Body>::from(response);
    // reqwest's own extension for the URL is private.
    let carrier = response::Builder::new().url(url.clone()).body(()).expect("no invalid parts");
    response.extensions_mut().extend(carrier.into_parts().0.extensions);
    note_redirect(response.extensions_mut(), &url, sent_to);
    response
}

fn note_redirect(extensions: &mut Extensions, url: &Url, sent_to: &Url) {
    if url == sent_to {
        return;
    }
    if !is_same_origin(url, sent_to) {
        extensions.insert(FromOtherOrigin);
    }
    extensions.insert(FinalUrl { url: url.clone() });
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

    use tokio::time;

    use super::*;

    fn request(timeout: Option<Duration>) -> http::Request<Outgoing<()>> {
        let mut request = Request::new(Method::GET, "https://api.example.com/".parse().unwrap());
        *request.timeout_mut() = timeout;
        Outgoing::request((), request).unwrap()
    }

    fn timeout_of_attempt(request: http::Request<Outgoing<()>>) -> Option<Duration> {
        Outgoing::into_attempt(request).1.timeout().copied()
    }

    #[tokio::test(start_paused = true)]
    async fn each_attempt_gets_what_is_left_of_the_timeout() {
        let first = request(Some(Duration::from_secs(10)));
        time::advance(Duration::from_secs(4)).await;
        assert_eq!(timeout_of_attempt(first), Some(Duration::from_secs(6)));

        let late = request(Some(Duration::from_secs(10)));
        time::advance(Duration::from_secs(11)).await;
        assert_eq!(timeout_of_attempt(late), Some(Duration::ZERO));
    }

    #[test]
    fn p16_an_attempt_has_all_parts_of_the_request() {
        let whole = http::Request::put("https://api.example.com/items?page=2")
            .version(http::Version::HTTP_2)
            .header("x-own", "1")
            .extension(7_u32)
            .body("body")
            .unwrap();
        let whole = Outgoing::request("via", whole.try_into().unwrap()).unwrap();
        let (via, attempt, _) = Outgoing::into_attempt(whole);
        assert_eq!((via, attempt.url().as_str()), ("via", "https://api.example.com/items?page=2"));
        let attempt = http::Request::try_from(attempt).unwrap();
        assert_eq!((attempt.method(), attempt.version()), (&Method::PUT, http::Version::HTTP_2));
        assert_eq!((attempt.headers().len(), &attempt.headers()["x-own"]), (1, &"1".parse().unwrap()));
        assert_eq!(
            (attempt.extensions().get(), attempt.body().as_bytes()),
            (Some(&7_u32), Some(&b"body"[..]))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_beyond_all_time_is_left_to_reqwest() {
        for timeout in [None, Some(Duration::MAX)] {
            assert_eq!(timeout_of_attempt(request(timeout)), timeout);
        }
    }
}
