//! A session with a real server's tokens, and a client with the layer.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt, limit::ConcurrencyLimit};
use tower_reauth::{
    Auth, AuthLayer, RefreshContext, RefreshError, Refresher, Session, SessionBuilder, Token,
    endpoint::EndpointError, json::JsonEndpoint, oauth2, refresh::AnyRefresher, rt::TestClock,
};

use crate::servers::{Grant, Kind, Server};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Inner = ConcurrencyLimit<Client<HttpConnector, Empty<Bytes>>>;

/// The session and the client of one user.
pub(crate) struct Setup {
    pub(crate) session: Session,
    /// The session's clock.
    pub(crate) clock: TestClock,
    pub(crate) presented: Presented,
    client: Auth<Inner>,
    resource: String,
}

/// The refresh tokens that were presented, in order.
#[derive(Clone, Default)]
pub(crate) struct Presented(Arc<Mutex<Vec<String>>>);

/// Records what it presents.
pub(crate) struct Recorded<R> {
    pub(crate) inner: R,
    pub(crate) presented: Presented,
}

/// The crate's client for a server, with its revocation URL.
#[derive(Clone)]
pub(crate) enum Provider {
    OAuth2(oauth2::Client, String),
    Json(JsonEndpoint, String),
}

// === impl Setup ===

impl Setup {
    pub(crate) async fn new(server: &Server) -> Self {
        Self::with(server, Provider::of(server), |session| session).await
    }

    pub(crate) async fn with(
        server: &Server,
        provider: Provider,
        configure: impl FnOnce(SessionBuilder) -> SessionBuilder,
    ) -> Self {
        let grant = server.sign_in().await;
        Self::of(server, provider.refresher(), &grant, configure)
    }

    /// The session holds the tokens of a sign-in, which doesn't report when they expire.
    pub(crate) fn of(
        server: &Server,
        refresher: impl Refresher,
        grant: &Grant,
        configure: impl FnOnce(SessionBuilder) -> SessionBuilder,
    ) -> Self {
        let presented = Presented::default();
        let refresher = Recorded { inner: refresher, presented: presented.clone() };
        let token = Token::builder(&*grant.access).refresh_token(&*grant.refresh).build().unwrap();
        let clock = TestClock::new(SystemTime::now());
        let session = Session::builder(refresher)
            .token(token)
            .clock(clock.clone())
            .refresh_early(false)
            .wait_timeout(4 * TIMEOUT)
            .refresh_timeout(4 * TIMEOUT);
        let session = configure(session).build();
        let client = ServiceBuilder::new()
            .layer(AuthLayer::from_session(session.clone()).restrict_to_origin(server.url().parse().unwrap()))
            .concurrency_limit(AT_ONCE)
            .service(Client::builder(TokioExecutor::new()).build_http());
        Self { session, clock, presented, client, resource: server.resource_url() }
    }

    /// One call of the user.
    pub(crate) fn call(&self) -> impl Future<Output = Result<StatusCode, BoxError>> + Send + 'static {
        let request = Request::get(&self.resource).body(Empty::new()).unwrap();
        let client = self.client.clone();
        async move {
            let response = client.oneshot(request).await?;
            let status = response.status();
            response.into_body().collect().await?;
            Ok(status)
        }
    }

    /// So many concurrent calls, all of which must succeed.
    pub(crate) async fn all_succeed(&self, callers: usize) {
        let calls: JoinSet<_> = (0..callers).map(|_| self.call()).collect();
        for result in calls.join_all().await {
            assert_eq!(result.unwrap(), 200);
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.session.try_token().map_or(0, |token| token.generation())
    }
}

/// The timeout of a refresh, longer than a response takes on any machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(300);

/// The concurrent requests of a user. So many new connections fit into the queue of Django's server.
const AT_ONCE: usize = 10;

// === impl Presented ===

impl Presented {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }

    /// Whether none was presented twice.
    pub(crate) fn are_distinct(&self) -> bool {
        let all = self.all();
        all.iter().collect::<HashSet<_>>().len() == all.len()
    }
}

// === impl Recorded ===

impl<R: Refresher> Refresher for Recorded<R> {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        self.presented.0.lock().unwrap().extend(cx.refresh_token().map(str::to_owned));
        self.inner.refresh(cx).await
    }
}

// === impl Provider ===

impl Provider {
    pub(crate) fn of(server: &Server) -> Self {
        let transport: Client<HttpConnector, _> = Client::builder(TokioExecutor::new()).build_http();
        let revocation = server.revocation_url();
        match server.kind {
            Kind::SimpleJwt => {
                let endpoint = JsonEndpoint::try_with_transport(server.token_url(), transport).unwrap();
                Self::Json(endpoint.for_simplejwt().timeout(TIMEOUT), revocation)
            }
            Kind::Oidc | Kind::Dot => {
                let client =
                    oauth2::Client::try_with_transport(server.token_url(), "web", transport).unwrap();
                Self::OAuth2(client.client_secret_basic("web-secret").timeout(TIMEOUT), revocation)
            }
        }
    }

    pub(crate) fn refresher(&self) -> AnyRefresher {
        match self {
            Self::OAuth2(client, _) => AnyRefresher::new(client.refresh_token_grant()),
            Self::Json(endpoint, _) => AnyRefresher::new(endpoint.clone()),
        }
    }

    pub(crate) async fn revoke(&self, token: &Token) -> Result<(), EndpointError> {
        match self {
            Self::OAuth2(client, url) => client.revocation(url).unwrap().revoke(token).await,
            Self::Json(endpoint, url) => endpoint.revocation(url).unwrap().revoke(token).await,
        }
    }
}
