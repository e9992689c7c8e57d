//! What counts as a refused token.

use std::fmt;

use http::{Extensions, HeaderMap, Response, StatusCode};

use crate::challenge::Challenges;

/// What a rule sees of a response: all but its body.
#[derive(Clone, Copy)]
pub struct ResponseHead<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

/// What a rule makes of a response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// The answer is the caller's.
    Accept,
    /// The token was refused; a refresher is told the challenges.
    Reject(Challenges),
}

/// Decides whether a response refuses the token that its request carried.
///
/// A server refuses a token in its own way: a status, a header, a redirect to a login page. A [`RejectionRule`] looks
/// at the head of a response to a request that carried the token, and gives a [`Verdict`]. If it is "refused", the
/// layer gets a newer token and sends the request again, once.
///
/// The default is [`StatusUnauthorized`]: status 401, whatever its `WWW-Authenticate` says, unless that says in words that
/// another token of the same kind wouldn't help.
///
/// # Examples
///
/// A server that says 419, or 403 with a certain header:
///
/// ```
/// use http::StatusCode;
/// use tower_reauth::{AuthLayer, RefreshContext, Token, refresh_fn};
/// use tower_reauth::rejection::{RejectionRule, ResponseHead, StatusUnauthorized, Verdict};
///
/// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
/// let layer = AuthLayer::new(refresher).rejection_rule(|head: &ResponseHead<'_>| match head.status() {
///     status if status.as_u16() == 419 => Verdict::reject(),
///     StatusCode::FORBIDDEN if head.headers().contains_key("x-token-expired") => Verdict::reject(),
///     _ => StatusUnauthorized.judge(head),
/// });
/// # let _ = layer;
/// ```
///
/// # What a head doesn't show
///
/// A rule sees no body. Where the refusal stands in one (a 200 with a JSON error), a small layer *beneath* reads it,
/// within a limit, and leaves a mark of its own type in the response's extensions, which the rule finds:
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full, Limited};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_reauth::{AuthLayer, RefreshContext, Session, Token, refresh_fn};
/// use tower_reauth::rejection::{RejectionRule, ResponseHead, StatusUnauthorized, Verdict};
///
/// /// The body said that the token is invalid.
/// #[derive(Clone)]
/// struct TokenRefused;
///
/// async fn look_into(response: Response<Full<Bytes>>) -> Result<Response<Full<Bytes>>, tower::BoxError> {
///     let (mut head, body) = response.into_parts();
///     let body = Limited::new(body, 64 * 1024).collect().await?.to_bytes();
///     if body.starts_with(br#"{"error":{"code":498"#) {
///         head.extensions.insert(TokenRefused);
///     }
///     Ok(Response::from_parts(head, Full::new(body)))
/// }
///
/// # tokio_test::block_on(async {
/// let server = service_fn(|request: Request<()>| async move {
///     let body = match request.headers()["authorization"].as_bytes() {
///         b"Bearer A2" => r#"{"items":[]}"#,
///         _ => r#"{"error":{"code":498,"message":"Invalid token."}}"#,
///     };
///     Ok::<_, tower::BoxError>(Response::new(Full::from(body)))
/// });
/// let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
/// let session = Session::builder(refresher).token(Token::try_new("A1")?).build();
/// let layer = AuthLayer::from_session(session).rejection_rule(|head: &ResponseHead<'_>| {
///     if head.extensions().get::<TokenRefused>().is_some() { Verdict::reject() } else { StatusUnauthorized.judge(head) }
/// });
/// let client = layer.layer(server.and_then(look_into));
///
/// let response = client.oneshot(Request::get("https://api.example.com/").body(())?).await?;
/// assert_eq!(response.into_body().collect().await?.to_bytes(), r#"{"items":[]}"#);
/// # Ok::<(), tower::BoxError>(())
/// # }).unwrap();
/// ```
///
/// A closure `Fn(&ResponseHead<'_>) -> Verdict` is one, too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no rule of rejections",
    note = "a closure is one if it names its argument's type: `|head: &ResponseHead<'_>| .. -> Verdict`"
)]
pub trait RejectionRule: Send + Sync + 'static {
    /// Judges the response to a request that carried the layer's token.
    fn judge(&self, head: &ResponseHead<'_>) -> Verdict;
}

/// Status 401 refuses the token; the default.
///
/// The *status* decides, with any challenge, none, or one that can't be read (RFC 9110 §15.5.2). A challenge can only
/// say more: `insufficient_scope` is step-up (RFC 6750 §3.1) and `use_dpop_nonce` is about a proof (RFC 9449 §9); a
/// refresh helps neither. 403, 407 and others are no rejections.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusUnauthorized;

// === impl ResponseHead ===

impl<'a> ResponseHead<'a> {
    /// The head of a response; for a test of a rule.
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

    /// What layers beneath left for it.
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
    /// Refused, without a challenge.
    pub fn reject() -> Self {
        Self::Reject(Challenges::default())
    }
}

// === impl RejectionRule ===

impl<F> RejectionRule for F
where
    F: Fn(&ResponseHead<'_>) -> Verdict + Send + Sync + 'static,
{
    fn judge(&self, head: &ResponseHead<'_>) -> Verdict {
        self(head)
    }
}

// === impl StatusUnauthorized ===

impl RejectionRule for StatusUnauthorized {
    fn judge(&self, head: &ResponseHead<'_>) -> Verdict {
        if head.status != StatusCode::UNAUTHORIZED {
            return Verdict::Accept;
        }
        let challenges = Challenges::from_headers(head.headers);
        if challenges.is_step_up() || challenges.is_use_dpop_nonce() {
            return Verdict::Accept;
        }
        Verdict::Reject(challenges)
    }
}
