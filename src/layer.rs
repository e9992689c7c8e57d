//! [`AuthLayer`] and its settings.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use http::Uri;
use tower_layer::Layer;

use crate::{
    error::Error,
    origin::Origin,
    refresh::{AnyRefresher, Refresher},
    request::{
        config::Config,
        rejection::RejectionRule,
        replay::CloneBody,
        source::{ChooseSession, FromExtensions, Source},
    },
    service::Auth,
    session::Session,
};

/// Attaches a valid access token to every request.
///
/// `R` is the refresher that provides the tokens. All services that the layer creates, and all their clones,
/// share one [`Session`], unless each request has [its own](Self::per_request).
///
/// # Examples
///
/// In one line, for a client that calls only this API:
///
/// ```
/// use tower::{ServiceBuilder, service_fn};
/// use tower_reauth::{AuthLayer, RefreshContext, Token, refresh_fn};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = service_fn(|_: http::Request<()>| async { Ok::<_, std::convert::Infallible>(http::Response::new(())) });
/// let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
/// let layer = AuthLayer::new(refresher).restrict_to_origin("https://api.example.com".parse()?);
/// let client = ServiceBuilder::new().layer(layer).service(client);
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
///
/// Settings of the credential belong to its session. In a struct the layer is just `AuthLayer`:
///
/// ```
/// use std::time::Duration;
/// use tower_reauth::{AuthLayer, RefreshContext, Session, Token, refresh_fn};
///
/// struct Clients {
///     interactive: AuthLayer,
///     batch: AuthLayer,
/// }
///
/// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
/// let session = Session::builder(refresher).wait_timeout(Duration::from_secs(5)).build();
/// let clients = Clients {
///     interactive: session.layer().wait_timeout(Duration::from_millis(200)),
///     batch: session.layer(),
/// };
/// # let _ = (clients.interactive, clients.batch);
/// ```
#[must_use]
pub struct AuthLayer<R = AnyRefresher, P = CloneBody> {
    source: Source,
    config: Arc<Config>,
    replay: Arc<P>,
    refresher: PhantomData<fn() -> R>,
}

// === impl Session ===

impl Session {
    /// Creates a layer that uses this session, like [`AuthLayer::from_session`].
    pub fn layer(&self) -> AuthLayer {
        AuthLayer::from_session(self.clone())
    }
}

// === impl AuthLayer ===

impl<R: Refresher> AuthLayer<R> {
    /// Creates a layer with a session of its own, which starts without a token: the first request fetches
    /// one.
    pub fn new(refresher: R) -> Self {
        Self::with_source(Source::One(Session::builder(refresher).build()))
    }
}

impl AuthLayer {
    /// Creates a layer that shares a session.
    pub fn from_session(session: Session) -> Self {
        Self::with_source(Source::One(session))
    }

    /// Creates a layer whose requests carry their own [`Session`], in their
    /// [extensions](http::Request::extensions).
    ///
    /// A request without one fails with [`is_missing_session`](Error::is_missing_session). To find the session by
    /// a key, such as a user's ID, see the module `sessions` (feature `sessions`).
    ///
    /// # Examples
    ///
    /// ```
    /// use tower::{Layer, Service, service_fn};
    /// use tower_reauth::{AuthLayer, Error, RefreshContext, Session, Token, refresh_fn};
    ///
    /// # tokio_test::block_on(async {
    /// # let client = service_fn(|_: http::Request<()>| async { Ok::<_, std::convert::Infallible>(http::Response::new(())) });
    /// let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
    /// let session = Session::builder(refresher).build();
    /// let mut client = AuthLayer::per_request().layer(client);
    ///
    /// let mut request = http::Request::get("https://api.example.com/").body(())?;
    /// request.extensions_mut().insert(session);
    /// client.call(request).await?;
    ///
    /// let request = http::Request::get("https://api.example.com/").body(())?;
    /// let error = client.call(request).await.unwrap_err();
    /// assert!(Error::find(&*error).is_some_and(Error::is_missing_session));
    /// # Ok::<(), tower::BoxError>(())
    /// # }).unwrap();
    /// ```
    pub fn per_request() -> Self {
        Self::choosing(FromExtensions)
    }

    pub(crate) fn choosing(choose: impl ChooseSession) -> Self {
        Self::with_source(Source::Many(Arc::new(choose)))
    }
}

impl<R> AuthLayer<R> {
    fn with_source(source: Source) -> Self {
        Self { source, config: Arc::default(), replay: Arc::new(CloneBody), refresher: PhantomData }
    }
}

impl<R, P> AuthLayer<R, P> {
    /// The session that the layer's services share. `None` if each request has its own.
    pub fn session(&self) -> Option<&Session> {
        self.source.one()
    }

    /// Sets whether a header that the request already has is replaced (`true`). If not (`false`, the
    /// default), the request passes through untouched, and its response isn't checked for a rejection.
    ///
    /// A gateway must set this to `true`: otherwise its callers choose what is sent upstream.
    pub fn override_existing(self, override_existing: bool) -> Self {
        self.configure(|config| config.override_existing = override_existing)
    }

    /// Sets how long a request waits for a token. Default: the session's wait timeout.
    ///
    /// If a session has to be loaded first, the timeout set here bounds that wait, too, separately.
    ///
    /// A request can set its own: [`WaitTimeout`](crate::WaitTimeout). A timeout of the inner service, such as
    /// tonic's `Endpoint::timeout`, doesn't bound this wait.
    pub fn wait_timeout(self, timeout: Duration) -> Self {
        self.configure(|config| config.wait_timeout = Some(timeout))
    }

    /// Sets whether a request is sent unauthenticated when there is no credential (signed out, or the grant
    /// has ended and the token expired), if `true`, instead of failing with a typed error (`false`, the
    /// default).
    ///
    /// A request that waited for a token isn't sent without one.
    pub fn allow_unauthenticated(self, allow: bool) -> Self {
        self.configure(|config| config.allow_unauthenticated = allow)
    }

    /// Restricts the token to this origin; can be called several times. Requests to other origins pass
    /// through untouched.
    ///
    /// **By default the token is sent to any `https` host.**
    ///
    /// The origin is that of the request's URI. A `Host` header isn't checked.
    pub fn restrict_to_origin(self, origin: Origin) -> Self {
        self.configure(|config| config.destinations.allowed.push(origin))
    }

    /// Sets the origin of requests whose URI has no host, such as those on a single connection or a gRPC
    /// channel. By default they fail, unless the layer is one for gRPC and isn't
    /// [restricted](Self::restrict_to_origin).
    pub fn default_origin(self, origin: Origin) -> Self {
        self.configure(|config| config.destinations.default = Some(origin))
    }

    /// Sets whether the token may be sent over cleartext `http` to a non-loopback host, where anyone on the
    /// network can read it (`true`). Otherwise such a request fails with a typed error (`false`, the
    /// default).
    pub fn dangerous_allow_cleartext(self, allow: bool) -> Self {
        self.configure(|config| config.destinations.allow_cleartext = allow)
    }

    /// Whether the layer attaches its token to a request with this URI. For code that attaches a token by hand, such as
    /// to the handshake of a WebSocket.
    ///
    /// `wss` counts like `https`, and `ws` like `http`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::{AuthLayer, RefreshContext, Token, refresh_fn};
    ///
    /// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
    /// let layer = AuthLayer::new(refresher).restrict_to_origin("https://api.example.com".parse()?);
    /// assert!(layer.allows(&"wss://api.example.com/events".parse()?)?);
    /// assert!(!layer.allows(&"wss://elsewhere.example/events".parse()?)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those that such a request fails with: [`is_cleartext`](crate::Error::is_cleartext) and
    /// [`is_missing_host`](crate::Error::is_missing_host).
    pub fn allows(&self, uri: &Uri) -> Result<bool, Error> {
        self.config.trusts(uri)
    }

    /// Sets what counts as a rejected token. Default:
    /// [`StatusUnauthorized`](crate::rejection::StatusUnauthorized), status 401.
    pub fn rejection_rule(self, rule: impl RejectionRule) -> Self {
        self.configure(|config| config.rule = Some(Arc::new(rule)))
    }

    /// Sets how the body of a rejected request is replayed. Default: [`CloneBody`], for bodies that are
    /// `Clone`; see [`Replay`](crate::replay::Replay) for the others.
    pub fn with_replay<Q>(self, replay: Q) -> AuthLayer<R, Q> {
        AuthLayer {
            source: self.source,
            config: self.config,
            replay: Arc::new(replay),
            refresher: PhantomData,
        }
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn map_replay<Q>(&self, map: impl FnOnce(P) -> Q) -> AuthLayer<R, Q>
    where
        P: Copy,
    {
        self.clone().with_replay(map(*self.replay))
    }

    pub(crate) fn configure(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(Arc::make_mut(&mut self.config));
        self
    }
}

impl<R, P, S: Clone> Layer<S> for AuthLayer<R, P> {
    type Service = Auth<S, P>;

    fn layer(&self, inner: S) -> Auth<S, P> {
        Auth::new(inner, self.source.clone(), Arc::clone(&self.config), Arc::clone(&self.replay))
    }
}

// By hand: a derive would ask for `R: Clone`.
impl<R, P> Clone for AuthLayer<R, P> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            config: Arc::clone(&self.config),
            replay: Arc::clone(&self.replay),
            refresher: PhantomData,
        }
    }
}

impl<R, P> fmt::Debug for AuthLayer<R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer").field("session", &self.session()).field("config", &self.config).finish()
    }
}
