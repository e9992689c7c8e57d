//! How a request's body is sent again.

mod buffered;

pub use buffered::{Buffered, BufferedBody, MapBody, UploadAborted};

/// Knows how a body of type `B` is sent again.
///
/// When a server refuses the token of a request, the layer gets a newer one and sends the request again. The head is
/// copied; whether the *body* can be had a second time is what a [`Replay`] knows:
///
/// | | for | what it keeps |
/// |---|---|---|
/// | [`CloneBody`], the default | bodies that can be cloned: `Full<Bytes>`, `Empty`, `String` .. | a clone |
/// | [`Buffered`] | streamed bodies, to an inner service that takes any body | what went out, up to a limit |
/// | [`MapBody`] | the same, to an inner service with one fixed body type | the same |
/// | [`NoReplay`] | bodies that can't be had again | nothing |
///
/// A request that can't be sent again gets the server's own answer. Its token is marked all the same, so that the next
/// request has a new one.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http::Request;
/// use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
/// use tower::{Layer, service_fn};
/// use tower_reauth::{AuthLayer, RefreshContext, Token, refresh_fn};
/// use tower_reauth::replay::{Buffered, NoReplay};
///
/// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
/// # let client = service_fn(|_: Request<tower_reauth::replay::BufferedBody<UnsyncBoxBody<Bytes, std::io::Error>>>| async {
/// #     Ok::<_, std::io::Error>(http::Response::new(())) });
/// // A streamed upload: up to 64 KiB of it are kept.
/// let layer = AuthLayer::new(refresher).with_replay(Buffered::default());
/// let client = layer.clone().layer(client);
///
/// // Nothing is kept.
/// let layer = layer.with_replay(NoReplay);
/// # let _ = (client, layer);
/// ```
///
/// For a client with one fixed body type the buffered body is boxed again:
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, combinators::BoxBody};
/// use tower_reauth::{AuthLayer, RefreshContext, Token, refresh_fn};
/// use tower_reauth::replay::{Buffered, BufferedBody};
///
/// type Body = BoxBody<Bytes, tower::BoxError>;
///
/// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
/// let replay = Buffered::default().map_body(|body: BufferedBody<Body>| Body::new(body));
/// let layer = AuthLayer::new(refresher).with_replay(replay);
/// # let _ = layer;
/// ```
///
/// # Uploads that go on while the refusal comes
///
/// A server may refuse a request before it has read its body. [`Buffered`] ends such an upload before the request
/// waits for a token, so that it holds no flow-control window of a shared connection: cleanly where the body declared
/// no length, else by an error. What was not read of the original is read by the second sending; the original is
/// polled by one of them at a time. With [`CloneBody`] the body belongs to the inner service, which goes on with it
/// as it does with any answer that comes early.
#[diagnostic::on_unimplemented(
    message = "a request with the body `{B}` can't be sent again by `{Self}`",
    label = "the layer doesn't know how to send `{B}` a second time",
    note = "a body that can't be cloned: `AuthLayer::with_replay(Buffered::default())` keeps what goes out, up to a limit",
    note = "for a client with one fixed body type: `with_replay(Buffered::default().map_body(..))`",
    note = "not to send again at all: `with_replay(NoReplay)`"
)]
pub trait Replay<B>: Send + Sync + 'static {
    /// What the inner service gets.
    type Body;
    /// What is kept to make it once more.
    type Kept;

    /// Takes a body apart into the one that is sent and what is kept of it. `None`: it can't be sent again.
    fn keep(&self, body: B) -> (Self::Body, Option<Self::Kept>);

    /// The sending was refused: ends what is still going on of it. `None`: it can't be sent again.
    fn end(&self, kept: Self::Kept) -> Option<Self::Kept>;

    /// Makes the body of the second sending.
    fn again(&self, kept: Self::Kept) -> Self::Body;
}

/// Sends a clone of the body again; the default.
///
#[doc = "See [`Replay`] for the others."]
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneBody;

/// Sends nothing again.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReplay;

// === impl CloneBody ===

impl<B: Clone> Replay<B> for CloneBody {
    type Body = B;
    type Kept = B;

    #[inline]
    fn keep(&self, body: B) -> (B, Option<B>) {
        let kept = body.clone();
        (body, Some(kept))
    }

    fn end(&self, kept: B) -> Option<B> {
        Some(kept)
    }

    fn again(&self, kept: B) -> B {
        kept
    }
}

// === impl NoReplay ===

impl<B> Replay<B> for NoReplay {
    type Body = B;
    type Kept = std::convert::Infallible;

    #[inline]
    fn keep(&self, body: B) -> (B, Option<Self::Kept>) {
        (body, None)
    }

    fn end(&self, kept: Self::Kept) -> Option<Self::Kept> {
        match kept {}
    }

    fn again(&self, kept: Self::Kept) -> B {
        match kept {}
    }
}
