//! How a request's body is replayed.

mod body;
mod buffered;
mod map_body;
mod not_replayed;
mod state;

use std::fmt;

use http::{Request, Version};

pub use body::{BufferedBody, UploadAborted};
pub use buffered::{Buffered, Retained};
pub use map_body::MapBody;
pub use not_replayed::NotReplayed;

/// Replays bodies of type `B`.
///
/// When a server rejects the token of a request, the layer obtains a newer one and retries the request. The
/// head is copied; a [`Replay`] decides whether and how the *body* can be replayed:
///
/// | | for | what it retains |
/// |---|---|---|
/// | [`CloneBody`], the default | bodies that are `Clone`: `Full<Bytes>`, `Empty`, `String` and others | a clone |
/// | [`replay_fn`] | bodies with their own clone method, such as `try_clone` | a clone |
/// | [`Buffered`] | streamed bodies, if the inner service accepts any body | what was sent, up to a limit |
/// | [`MapBody`] | streamed bodies, if the inner service has a fixed body type | what was sent, up to a limit |
/// | [`NoReplay`] | bodies that can't be replayed | nothing |
///
/// If a request can't be replayed, the caller gets the original response, with an
/// [`AuthReport`](crate::future::AuthReport) that says why. The token is still marked as rejected, so the next
/// request gets a new one.
///
/// This trait is sealed.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Version};
/// use http_body_util::combinators::UnsyncBoxBody;
/// use tower::{Layer, service_fn};
/// use tower_reauth::{AuthLayer, RefreshContext, Token, refresh_fn};
/// use tower_reauth::replay::{Buffered, BufferedBody, NoReplay};
///
/// type Upload = UnsyncBoxBody<Bytes, std::io::Error>;
///
/// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
/// # let client = service_fn(|_: Request<BufferedBody<Upload>>| async {
/// #     Ok::<_, std::io::Error>(http::Response::new(())) });
/// // Up to 64 KiB of a streamed upload are retained.
/// let layer = AuthLayer::new(refresher).with_replay(Buffered::default());
/// let client = layer.clone().layer(client);
///
/// // Nothing is retained.
/// let layer = layer.with_replay(NoReplay);
/// # let _ = (client, layer);
/// ```
///
/// For a client with a fixed body type, box the buffered body again:
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::combinators::BoxBody;
/// use tower_reauth::{RefreshContext, Session, Token, refresh_fn};
/// use tower_reauth::replay::{Buffered, MapBody};
///
/// type Body = BoxBody<Bytes, tower::BoxError>;
///
/// struct Client<S> {
///     inner: tower_reauth::Auth<S, MapBody<Body, Body>>,
/// }
///
/// impl<S: Clone> Client<S> {
///     fn new(session: Session, inner: S) -> Self {
///         let layer = session.layer().with_replay(Buffered::default().map_body(Body::new));
///         Self { inner: tower::Layer::layer(&layer, inner) }
///     }
/// }
/// # let session = Session::builder(refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) })).build();
/// # let _ = Client::new(session, ()).inner;
/// ```
///
/// # Streaming uploads
///
/// A server may reject a request before it has read the body. [`Buffered`] stops such an upload before the
/// request waits for a token, so that it doesn't occupy a shared connection's flow-control window. The retry
/// continues with what is left of the original; only one of the two polls it at a time. With the other
/// kinds of replay, the inner service owns the body, and handles it as for any early response.
///
/// # Compiler errors
///
/// If the body of a request can't be replayed, rustc says of `client.ready()` or `client.oneshot(request)`
/// that the method "exists .., but its trait bounds were not satisfied". Written as
/// `ServiceExt::ready(&mut client)` or `ServiceExt::oneshot(client, request)`, the error names the body type
/// and the remedies. The same error can mean that the inner service expects another body type than
/// [`Replay::Body`]: with [`Buffered`] that is [`BufferedBody`].
///
/// For a method of a generated gRPC client, the unsatisfied bound is `tonic::body::Body: Clone`: the layer
/// isn't one for gRPC. Create the client's service with `AuthLayer::grpc`, or add `for_grpc()`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't replay request bodies of type `{B}`",
    label = "no way to replay `{B}`",
    note = "if the body isn't `Clone`: `AuthLayer::with_replay(Buffered::default())` retains what is sent, up to a limit",
    note = "for a client with a fixed body type: `with_replay(Buffered::default().map_body(..))`",
    note = "for a reqwest client: `AuthLayer::for_reqwest()`, with feature `reqwest`",
    note = "for a tonic channel: `AuthLayer::for_grpc()`, with feature `grpc`",
    note = "to disable replay: `with_replay(NoReplay)`"
)]
pub trait Replay<B>: Send + Sync + 'static + sealed::Sealed {
    /// The body type that the inner service receives.
    type Body;
    /// What is retained for the replay.
    type Retained;

    /// Splits a body into the one to send and what is retained. `None`: it can't be replayed.
    #[doc(hidden)]
    fn split(&self, body: B) -> (Self::Body, Option<Self::Retained>);

    /// Splits a request's body, without taking the request apart if it stays as it is.
    #[doc(hidden)]
    #[inline]
    fn split_request(
        &self,
        request: Request<B>,
        retained: &mut Option<Self::Retained>,
    ) -> Request<Self::Body> {
        request.map(|body| {
            let (body, kept) = self.split(body);
            *retained = kept;
            body
        })
    }

    /// Stops an attempt that was rejected by a response of this HTTP version.
    ///
    /// # Errors
    ///
    /// Its body can't be replayed.
    #[doc(hidden)]
    fn stop(&self, retained: Self::Retained, version: Version) -> Result<Self::Retained, NotReplayed>;

    /// Creates the body of the retry.
    #[doc(hidden)]
    fn replay(&self, retained: Self::Retained) -> Self::Body;
}

/// Replays a clone of the body; the default.
///
#[doc = "See [`Replay`] for the others."]
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneBody;

/// Disables replay.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReplay;

/// Replays a body that a function clones; see [`replay_fn`].
#[derive(Clone, Copy)]
pub struct ReplayFn<F> {
    try_clone: F,
}

/// Creates a [`Replay`] for bodies with their own clone method. `None`: the body can't be replayed.
///
/// # Examples
///
/// ```
/// use tower_reauth::{AuthLayer, RefreshContext, Token, refresh_fn};
/// use tower_reauth::replay::replay_fn;
///
/// enum Body {
///     Buffered(String),
///     File(std::fs::File),
/// }
///
/// impl Body {
///     fn try_clone(&self) -> Option<Self> {
///         match self {
///             Self::Buffered(text) => Some(Self::Buffered(text.clone())),
///             Self::File(_) => None,
///         }
///     }
/// }
///
/// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
/// let layer = AuthLayer::new(refresher).with_replay(replay_fn(Body::try_clone));
/// # let _ = layer;
/// ```
pub fn replay_fn<B, F>(try_clone: F) -> ReplayFn<F>
where
    F: Fn(&B) -> Option<B> + Send + Sync + 'static,
{
    ReplayFn { try_clone }
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

// === impl CloneBody ===

impl sealed::Sealed for CloneBody {}

// Not recommended, so that rustc reports the missing `Replay` instead of a missing `Clone`.
#[diagnostic::do_not_recommend]
impl<B: Clone> Replay<B> for CloneBody {
    type Body = B;
    type Retained = B;

    fn split(&self, body: B) -> (B, Option<B>) {
        let retained = body.clone();
        (body, Some(retained))
    }

    #[inline(always)]
    fn split_request(&self, request: Request<B>, retained: &mut Option<B>) -> Request<B> {
        *retained = Some(request.body().clone());
        request
    }

    fn stop(&self, retained: B, _: Version) -> Result<B, NotReplayed> {
        Ok(retained)
    }

    fn replay(&self, retained: B) -> B {
        retained
    }
}

// === impl NoReplay ===

impl sealed::Sealed for NoReplay {}

impl<B> Replay<B> for NoReplay {
    type Body = B;
    type Retained = std::convert::Infallible;

    fn split(&self, body: B) -> (B, Option<Self::Retained>) {
        (body, None)
    }

    #[inline(always)]
    fn split_request(&self, request: Request<B>, _: &mut Option<Self::Retained>) -> Request<B> {
        request
    }

    fn stop(&self, retained: Self::Retained, _: Version) -> Result<Self::Retained, NotReplayed> {
        match retained {}
    }

    fn replay(&self, retained: Self::Retained) -> B {
        match retained {}
    }
}

// === impl ReplayFn ===

impl<F> sealed::Sealed for ReplayFn<F> {}

#[diagnostic::do_not_recommend]
impl<B, F> Replay<B> for ReplayFn<F>
where
    F: Fn(&B) -> Option<B> + Send + Sync + 'static,
{
    type Body = B;
    type Retained = B;

    fn split(&self, body: B) -> (B, Option<B>) {
        let retained = (self.try_clone)(&body);
        (body, retained)
    }

    fn stop(&self, retained: B, _: Version) -> Result<B, NotReplayed> {
        Ok(retained)
    }

    fn replay(&self, retained: B) -> B {
        retained
    }
}

impl<F> fmt::Debug for ReplayFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayFn").finish_non_exhaustive()
    }
}
