//! [`Resource`].

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use tower_service::Service;

use super::{
    body::ResponseBody,
    issuer::{Issuer, let_others_run},
    server::LoopbackServer,
};
use crate::error::BoxError;

/// An API that accepts the access tokens of an [`Issuer`]. Clones share its counters.
///
/// It is a tower service, and can also run as a [loopback server](Self::serve). It responds to
///
/// - a valid token: with status 200 and no body, or as [`respond_with`](Self::respond_with) says;
/// - any other token, or none: with status 401 and the challenge `Bearer error="invalid_token"`;
/// - a token without the [required scope](Self::require_scope): with status 403 and the challenge
///   `Bearer error="insufficient_scope"` (RFC 6750 §3.1).
///
/// A rejected gRPC request gets an HTTP 200 response without a message instead, with `grpc-status` 16
/// (`UNAUTHENTICATED`) for the token or 7 (`PERMISSION_DENIED`) for the scope.
///
/// Like the [`Issuer`], it lets other tasks run before it responds.
///
/// # Examples
///
/// ```
/// use tower::ServiceExt;
/// use tower_layer::Layer;
/// use tower_reauth::{Session, testing::{Issuer, Resource}};
///
/// # tokio_test::block_on(async {
/// let issuer = Issuer::new();
/// let resource = Resource::new(&issuer);
/// let session = Session::builder(issuer.clone()).token(issuer.sign_in()).build();
/// let client = session.layer().layer(resource.clone());
///
/// issuer.expire_access_tokens();
/// let request = http::Request::get("https://api.example.com/items").body(String::new())?;
/// assert_eq!(client.oneshot(request).await?.status(), 200);
/// assert_eq!((resource.rejected(), resource.accepted()), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Resource {
    issuer: Issuer,
    scope: Option<String>,
    respond: Respond,
    counts: Arc<Counts>,
}

type Respond = Arc<dyn Fn(&Parts) -> Response<Bytes> + Send + Sync>;

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    rejected: AtomicUsize,
}

enum Rejection<'a> {
    InvalidToken,
    InsufficientScope(&'a str),
}

// === impl Resource ===

impl Resource {
    /// Creates an API that accepts the access tokens of `issuer`.
    pub fn new(issuer: &Issuer) -> Self {
        Self {
            issuer: issuer.clone(),
            scope: None,
            respond: Arc::new(|_| Response::default()),
            counts: Arc::default(),
        }
    }

    /// Requires a scope. See [`Issuer::sign_in_with_scopes`]. Default: none.
    ///
    /// # Panics
    ///
    /// The service panics when it rejects a request for its scope, if the scope isn't a valid header value.
    pub fn require_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Sets the response to a request that is accepted. Default: status 200, and no body.
    pub fn respond_with(
        mut self,
        respond: impl Fn(&Parts) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.respond = Arc::new(respond);
        self
    }

    /// How many requests were accepted.
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// How many requests were rejected, for their token or its scope.
    pub fn rejected(&self) -> usize {
        self.counts.rejected.load(Ordering::SeqCst)
    }

    /// Starts a loopback server for the API, over HTTP/1.
    ///
    /// # Errors
    ///
    /// If no port is free.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, and in one without I/O.
    pub async fn serve(&self) -> io::Result<LoopbackServer> {
        LoopbackServer::start(self.clone()).await
    }

    fn respond(&self, head: &Parts) -> Response<ResponseBody> {
        match self.check(&head.headers) {
            Ok(()) => {
                self.counts.accepted.fetch_add(1, Ordering::SeqCst);
                (self.respond)(head).map(ResponseBody::from)
            }
            Err(rejection) => {
                self.counts.rejected.fetch_add(1, Ordering::SeqCst);
                rejection.response(&head.headers)
            }
        }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Rejection<'_>> {
        let credentials = text(headers, header::AUTHORIZATION).and_then(|value| value.split_once(' '));
        let Some((scheme, token)) = credentials else { return Err(Rejection::InvalidToken) };
        if !scheme.eq_ignore_ascii_case("bearer") || !self.issuer.accepts(token) {
            return Err(Rejection::InvalidToken);
        }
        match &self.scope {
            Some(scope) if !self.issuer.has_scope(token, scope) => Err(Rejection::InsufficientScope(scope)),
            _ => Ok(()),
        }
    }
}

impl<B> Service<Request<B>> for Resource {
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, _) = request.into_parts();
        let response = self.respond(&head);
        Box::pin(async move {
            let_others_run().await;
            Ok(response)
        })
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("scope", &self.scope)
            .field("accepted", &self.accepted())
            .field("rejected", &self.rejected())
            .finish_non_exhaustive()
    }
}

// === impl Rejection ===

impl Rejection<'_> {
    fn response(&self, request: &HeaderMap) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::default());
        if text(request, header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/grpc")) {
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from_static(self.grpc_status()));
            return response;
        }
        let (status, challenge) = match self {
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, r#"Bearer error="invalid_token""#.to_owned()),
            Self::InsufficientScope(scope) => {
                (StatusCode::FORBIDDEN, format!(r#"Bearer error="insufficient_scope", scope="{scope}""#))
            }
        };
        *response.status_mut() = status;
        let challenge = HeaderValue::try_from(challenge).expect("a scope has only visible characters");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    }

    fn grpc_status(&self) -> &'static str {
        match self {
            Self::InvalidToken => "16",
            Self::InsufficientScope(_) => "7",
        }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
