//! The layer, and what belongs to its traffic.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use http::HeaderName;
use tower_layer::Layer;

use crate::{
    origin::Origin,
    refresh::{AnyRefresher, Refresher},
    request::config::Traffic,
    request::rejection::RejectionRule,
    request::replay::CloneBody,
    service::Auth,
    session::Session,
};

/// Gives each request of a service a valid token.
///
/// `R` is where its tokens come from. All services that it makes, and all their clones, share one [`Session`].
///
/// # Examples
///
/// The one-line way in, over a client that sends nowhere but to this API:
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
/// What belongs to the credential is set on its session:
///
/// ```
/// use std::time::Duration;
/// use tower_reauth::{AuthLayer, RefreshContext, Session, Token, refresh_fn};
///
/// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
/// let session = Session::builder(refresher).wait_timeout(Duration::from_secs(5)).build();
/// let one = AuthLayer::from_session(session.clone());
/// let other = AuthLayer::from_session(session).wait_timeout(Duration::from_millis(200));
/// # let _ = (one, other);
/// ```
#[must_use]
pub struct AuthLayer<R, P = CloneBody> {
    session: Session,
    traffic: Arc<Traffic>,
    replay: Arc<P>,
    refresher: PhantomData<fn() -> R>,
}

// === impl AuthLayer ===

impl<R: Refresher> AuthLayer<R> {
    /// Makes a layer with a session of its own, which starts without a token: the first request fetches one.
    pub fn new(refresher: R) -> Self {
        Self::over(Session::builder(refresher).build())
    }
}

impl AuthLayer<AnyRefresher> {
    /// Makes a layer that shares a session.
    pub fn from_session(session: Session) -> Self {
        Self::over(session)
    }
}

impl<R> AuthLayer<R> {
    fn over(session: Session) -> Self {
        Self { session, traffic: Arc::default(), replay: Arc::new(CloneBody), refresher: PhantomData }
    }
}

impl<R, P> AuthLayer<R, P> {
    /// The session that the layer's services share.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Sets the header that carries the token. Default: `authorization`.
    pub fn header_name(self, name: HeaderName) -> Self {
        self.with(|traffic| traffic.header = name)
    }

    /// Sets what happens to a request that has that header already: replaced (`true`), or left alone and its answer
    /// not judged (`false`, the default).
    pub fn override_existing(self, overriding: bool) -> Self {
        self.with(|traffic| traffic.overriding = overriding)
    }

    /// Sets how long a request waits for a token. Default: the session's patience.
    ///
    /// A request may have its own: [`WaitTimeout`](crate::WaitTimeout).
    pub fn wait_timeout(self, patience: Duration) -> Self {
        self.with(|traffic| traffic.patience = Some(patience))
    }

    /// Sets how long a request waits for the refresh that follows somebody else's rejection, before it goes out with
    /// the refused token. Default: the session's.
    pub fn rejection_wait(self, wait: Duration) -> Self {
        self.with(|traffic| traffic.after_rejection = Some(wait))
    }

    /// Sets over how many waiters of its session a request fails at once. Default: the session's.
    pub fn max_waiters(self, most: usize) -> Self {
        self.with(|traffic| traffic.max_waiters = Some(most))
    }

    /// Sets what happens to a request where there is no credential (signed out, or the grant has ended and the token
    /// expired): sent without one (`true`), or failed with a typed error (`false`, the default).
    ///
    /// A request that waited for a token isn't sent without one.
    pub fn allow_unauthenticated(self, anonymous: bool) -> Self {
        self.with(|traffic| traffic.bare = anonymous)
    }

    /// Adds an origin that the token may be sent to. Requests to others then pass untouched.
    ///
    /// Without any, each request gets the token, wherever it goes.
    pub fn restrict_to_origin(self, origin: Origin) -> Self {
        self.with(|traffic| traffic.destinations.allowed.push(origin))
    }

    /// Sets where requests go whose URI names no host, as those over a single connection. Default: they fail.
    pub fn default_origin(self, origin: Origin) -> Self {
        self.with(|traffic| traffic.destinations.default = Some(origin))
    }

    /// Sets whether a token may go over cleartext `http` to another host, for all on the way to read. Default: such a
    /// request fails with a typed error.
    pub fn dangerous_allow_cleartext(self, allow: bool) -> Self {
        self.with(|traffic| traffic.destinations.allow_cleartext = allow)
    }

    /// Sets what counts as a refused token. Default: [`StatusUnauthorized`](crate::request::rejection::StatusUnauthorized), status 401.
    pub fn rejection_rule(self, rule: impl RejectionRule) -> Self {
        self.with(|traffic| traffic.rule = Arc::new(rule))
    }

    /// Sets how a request is sent again whose token was refused. Default: [`CloneBody`], for bodies that can be
    /// cloned; see [`Replay`](crate::request::replay::Replay) for the others.
    pub fn with_replay<Q>(self, replay: Q) -> AuthLayer<R, Q> {
        AuthLayer {
            session: self.session,
            traffic: self.traffic,
            replay: Arc::new(replay),
            refresher: PhantomData,
        }
    }

    #[cfg(feature = "grpc")]
    pub(crate) fn over_a_channel(self) -> Self {
        self.with(|traffic| {
            traffic.grpc = true;
            traffic.destinations.trusts_connection = true;
        })
    }

    fn with(mut self, set: impl FnOnce(&mut Traffic)) -> Self {
        set(Arc::make_mut(&mut self.traffic));
        self
    }
}

impl<R, P, S: Clone> Layer<S> for AuthLayer<R, P> {
    type Service = Auth<S, P>;

    fn layer(&self, inner: S) -> Auth<S, P> {
        Auth::new(inner, self.session.clone(), Arc::clone(&self.traffic), Arc::clone(&self.replay))
    }
}

// By hand: a derive would ask for `R: Clone`.
impl<R, P> Clone for AuthLayer<R, P> {
    fn clone(&self) -> Self {
        Self {
            session: self.session.clone(),
            traffic: Arc::clone(&self.traffic),
            replay: Arc::clone(&self.replay),
            refresher: PhantomData,
        }
    }
}

impl<R, P> fmt::Debug for AuthLayer<R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer").field("session", &self.session).field("traffic", &self.traffic).finish()
    }
}
