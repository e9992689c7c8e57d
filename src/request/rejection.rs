//! Deciding whether a response rejects the token.

use std::fmt;

use http::{Extensions, HeaderMap, Response, StatusCode};

use crate::challenge::Challenges;

use super::options::FromOtherOrigin;

/// A response without its body.
#[derive(Clone, Copy)]
pub struct ResponseHead<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

/// A [`RejectionRule`]'s decision.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// The response is passed to the caller.
    Accept,
    /// The token was rejected; the refresher sees these challenges.
    Reject(Challenges),
}

/// Decides whether a response rejects the token that its request carried.
///
/// Servers reject a token in different ways: with a status, a header, or a redirect to a login page. A
/// [`RejectionRule`] looks at the head of a response to a request that carried the token, and returns a
/// [`Verdict`]. If that is [`Reject`](Verdict::Reject), the layer obtains a newer token and retries the
/// request once.
///
/// The default is [`StatusUnauthorized`]: status 401, whatever its `WWW-Authenticate` says, unless that
/// states explicitly that a new token wouldn't help. [`rejection_fn`] creates a rule from a closure.
///
/// # Examples
///
/// A server that sends status 419, or 403 with a certain header:
///
/// ```
/// use http::StatusCode;
/// use tower_reauth::{AuthLayer, RefreshContext, Token, refresh_fn};
/// use tower_reauth::rejection::{RejectionRule, StatusUnauthorized, Verdict, rejection_fn};
///
/// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
/// let rule = rejection_fn(|head| match head.status() {
///     status if status.as_u16() == 419 => Verdict::reject(),
///     StatusCode::FORBIDDEN if head.headers().contains_key("x-token-expired") => Verdict::reject(),
///     _ => StatusUnauthorized.judge(head),
/// });
/// let layer = AuthLayer::new(refresher).rejection_rule(rule);
/// # let _ = layer;
/// ```
///
/// # Rejections in the body
///
/// A rule doesn't see the body. If the rejection is there (a 200 with a JSON error), let a small *inner*
/// layer read its start, up to a limit, and put a marker into the response's extensions. A longer response is
/// passed on whole:
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, BodyStream, Full, StreamBody, combinators::UnsyncBoxBody};
/// use tokio_stream::StreamExt;
/// use tower::{BoxError, Layer, ServiceExt, service_fn};
/// use tower_reauth::{RefreshContext, Session, Token, refresh_fn};
/// use tower_reauth::rejection::{RejectionRule, StatusUnauthorized, Verdict, rejection_fn};
///
/// /// The body said that the token is invalid.
/// #[derive(Clone)]
/// struct TokenInvalid;
///
/// type Body = UnsyncBoxBody<Bytes, BoxError>;
///
/// async fn inspect(response: Response<Body>) -> Result<Response<Body>, BoxError> {
///     let (mut head, mut body) = response.into_parts();
///     let (mut start, mut frames) = (Vec::new(), Vec::new());
///     while start.len() < 64 * 1024 {
///         let Some(frame) = body.frame().await.transpose()? else { break };
///         if let Some(data) = frame.data_ref() {
///             start.extend_from_slice(data);
///         }
///         frames.push(Ok(frame));
///     }
///     if start.starts_with(br#"{"error":{"code":498"#) {
///         head.extensions.insert(TokenInvalid);
///     }
///     let frames = tokio_stream::iter(frames).chain(BodyStream::new(body));
///     Ok(Response::from_parts(head, Body::new(StreamBody::new(frames))))
/// }
///
/// # tokio_test::block_on(async {
/// let server = service_fn(|request: Request<()>| async move {
///     let body = match request.headers()["authorization"].as_bytes() {
///         b"Bearer A2" => r#"{"items":[]}"#,
///         _ => r#"{"error":{"code":498,"message":"Invalid token."}}"#,
///     };
///     let body = Full::from(body).map_err(|never| match never {});
///     Ok::<_, BoxError>(Response::new(Body::new(body)))
/// });
/// let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
/// let session = Session::builder(refresher).token(Token::try_new("A1")?).build();
/// let layer = session.layer().rejection_rule(rejection_fn(|head| {
///     if head.extensions().get::<TokenInvalid>().is_some() { Verdict::reject() } else { StatusUnauthorized.judge(head) }
/// }));
/// let client = layer.layer(server.and_then(inspect));
///
/// let response = client.oneshot(Request::get("https://api.example.com/").body(())?).await?;
/// assert_eq!(response.into_body().collect().await?.to_bytes(), r#"{"items":[]}"#);
/// # Ok::<(), BoxError>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `RejectionRule`",
    label = "not a `RejectionRule`",
    note = "wrap a closure in `rejection_fn(|head| ..)`"
)]
pub trait RejectionRule: Send + Sync + 'static {
    /// Judges the response to a request that carried the layer's token.
    fn judge(&self, head: &ResponseHead<'_>) -> Verdict;
}

/// The default: status 401 rejects the token.
///
/// The *status* decides, whether there is a challenge, none, or an unreadable one (RFC 9110 §15.5.2). There
/// are two exceptions, for which a refresh doesn't help: step-up (`insufficient_scope`, RFC 6750 §3.1, and
/// `insufficient_user_authentication`, RFC 9470 §3), and `use_dpop_nonce`, which is about a proof (RFC 9449
/// §9). 403, 407 and others don't count, nor does a 401 that `reqwest_service` got from another origin after a
/// redirect.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusUnauthorized;

/// A rule from a closure; see [`rejection_fn`].
#[derive(Clone, Copy)]
pub struct RejectionFn<F> {
    judge: F,
}

/// Creates a [`RejectionRule`] from a closure.
///
/// # Examples
///
/// ```
/// use http::{Response, StatusCode};
/// use tower_reauth::rejection::{RejectionRule, ResponseHead, Verdict, rejection_fn};
///
/// let rule = rejection_fn(|head| match head.status() {
///     StatusCode::FORBIDDEN => Verdict::reject(),
///     _ => Verdict::Accept,
/// });
///
/// let mut response = Response::new(());
/// assert_eq!(rule.judge(&ResponseHead::new(&response)), Verdict::Accept);
/// *response.status_mut() = StatusCode::FORBIDDEN;
/// assert_eq!(rule.judge(&ResponseHead::new(&response)), Verdict::reject());
/// ```
pub fn rejection_fn<F>(judge: F) -> RejectionFn<F>
where
    F: Fn(&ResponseHead<'_>) -> Verdict + Send + Sync + 'static,
{
    RejectionFn { judge }
}

// === impl ResponseHead ===

impl<'a> ResponseHead<'a> {
    /// Creates it from a response, to test a rule.
    pub fn new<B>(response: &'a Response<B>) -> Self {
        Self { status: response.status(), headers: response.headers(), extensions: response.extensions() }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The extensions, including those of inner layers.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead").field("status", &self.status).finish_non_exhaustive()
    }
}

// === impl Verdict ===

impl Verdict {
    /// A rejection without challenges.
    pub fn reject() -> Self {
        Self::Reject(Challenges::default())
    }

    /// The verdict of [`StatusUnauthorized`] on a response with this status and these headers, for clients whose
    /// responses aren't [`http::Response`]s.
    pub fn of_status(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::of_challenges(headers),
            _ => Self::Accept,
        }
    }

    /// The verdict on a response whose status rejects the token, unless its challenges state otherwise.
    pub(crate) fn of_challenges(headers: &HeaderMap) -> Self {
        let challenges = Challenges::from_headers(headers);
        if challenges.is_step_up() || challenges.is_use_dpop_nonce() {
            return Self::Accept;
        }
        Self::Reject(challenges)
    }
}

// === impl StatusUnauthorized ===

impl RejectionRule for StatusUnauthorized {
    fn judge(&self, head: &ResponseHead<'_>) -> Verdict {
        // reqwest stripped the token at the redirect, so this 401 isn't about it.
        match head.extensions.get::<FromOtherOrigin>() {
            None => Verdict::of_status(head.status, head.headers),
            Some(_) => Verdict::Accept,
        }
    }
}

// === impl RejectionFn ===

impl<F> RejectionRule for RejectionFn<F>
where
    F: Fn(&ResponseHead<'_>) -> Verdict + Send + Sync + 'static,
{
    fn judge(&self, head: &ResponseHead<'_>) -> Verdict {
        (self.judge)(head)
    }
}

impl<F> fmt::Debug for RejectionFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectionFn").finish_non_exhaustive()
    }
}
