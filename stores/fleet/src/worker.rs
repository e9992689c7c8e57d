//! A process of a fleet: a session, and callers that use it.

use std::{
    env,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    task::JoinSet,
};
use tower::{ServiceExt, util::BoxCloneSyncService};
use tower_reauth::{
    Session, Token,
    endpoint::RequestBody,
    event::EventKind,
    future::AuthReport,
    oauth2,
    store::{FileStore, SharedSession, SharedStore, TokenStore},
};

use tokio_postgres::NoTls;
use tower_reauth_postgres::PostgresStore;
use tower_reauth_redis::RedisStore;

use crate::{
    Command, Credential, Failure, FailureKind, Outcome, Provider, Report, Settings, StoreKind,
    points::{Operations, PointRefresher, PointStore, Points},
    token_server::PROCESS,
    users,
};

struct Worker {
    api_url: String,
    callers: usize,
    session: Session,
    /// `None`: without a store.
    shared: Option<SharedSession>,
    api: Api,
    points: Points,
    operations: Arc<Operations>,
    adopted: Arc<AtomicUsize>,
    repeated: Arc<AtomicUsize>,
    claims_lost: Arc<AtomicUsize>,
}

/// How a store is shared.
struct Share<'a> {
    points: &'a Points,
    operations: &'a Arc<Operations>,
    exchange_timeout: Option<Duration>,
    slack: Option<Duration>,
}

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Api = BoxCloneSyncService<Request<Full<Bytes>>, Response<Incoming>, BoxError>;
pub(crate) type Transport =
    BoxCloneSyncService<Request<RequestBody>, Response<Incoming>, hyper_util::client::legacy::Error>;

/// The variable with a process's [`Settings`].
pub(crate) const SETTINGS: &str = "TOWER_REAUTH_FLEET_PROCESS";
/// What begins a report: a test binary prints other lines as well.
pub(crate) const REPORT: &str = "REPORT ";
/// Longer than a refresh takes on any machine.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(240);
/// The shortest that there is.
pub(crate) const BACKOFF: Duration = Duration::from_millis(1);

/// Does what the starting program says, until that ends, if this process was started by a [`Program`](crate::Program).
/// Otherwise returns.
pub fn run_if_process() {
    let Ok(settings) = env::var(SETTINGS) else { return };
    let settings: Settings = serde_json::from_str(&settings).expect("the starting program wrote them");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there are threads");
    runtime.block_on(work(settings));
    // Not by returning: a thread still reads the input.
    std::process::exit(0);
}

/// Writes a report to the starting program.
pub(crate) fn report(report: &Report) {
    let report = serde_json::to_string(report).expect("reports are serializable");
    let mut stdout = std::io::stdout().lock();
    // The starting program may be gone; then the input ends as well.
    let _ = write!(stdout, "\n{REPORT}{report}\n").and_then(|()| stdout.flush());
}

async fn work(settings: Settings) {
    if settings.users > 0 {
        return users::work(settings).await;
    }
    let worker = match Worker::new(settings).await {
        Ok(worker) => Arc::new(worker),
        Err(error) => return report(&Report::Done(Err(Failure::of(&*error)))),
    };
    report(&Report::Ready);
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = commands.next_line().await {
        let command = serde_json::from_str(&line).expect("the starting program wrote it");
        match command {
            Command::StopAt(point) => worker.points.set(point),
            Command::Exit => return,
            // A call waits for others, so commands run side by side.
            command => drop(tokio::spawn(Arc::clone(&worker).run(command))),
        }
    }
}

// === impl Worker ===

impl Worker {
    async fn new(settings: Settings) -> Result<Self, BoxError> {
        let Settings { server, provider, store, record, callers, token, stop_at, .. } = settings;
        let Settings { exchange_timeout, slack, only_polls, .. } = settings;
        let operations = Arc::<Operations>::default();
        let points = Points::default();
        points.set(stop_at);
        let transport = transport();
        let (client, api_url, http2) = match provider {
            None => {
                let token_url = format!("{server}/token");
                let client = oauth2::Client::try_with_transport(token_url, "fleet", transport)?;
                (client, format!("{server}/api"), true)
            }
            Some(Provider { token_url, api_url, client_id, client_secret }) => {
                let client = oauth2::Client::try_with_transport(token_url, client_id, transport)?;
                (client.client_secret_basic(client_secret), api_url, false)
            }
        };
        let record = record.as_deref().unwrap_or("fleet");
        let [adopted, repeated, claims_lost] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
        let revocation = client.revocation(format!("{server}/revoke"))?;
        let refresher = PointRefresher {
            inner: client.refresh_token_grant(),
            points: points.clone(),
            repeated: Arc::clone(&repeated),
        };
        let builder = Session::builder(refresher).name("fleet").wait_timeout(WAIT_TIMEOUT);
        let builder = builder.revoke_with(revocation.into_hook());
        // The server expires tokens within their trial, so each expiry begins a backoff.
        let builder = builder.backoff(BACKOFF, BACKOFF).wait_through_backoff(true);
        let mut builder = builder.on_event({
            let (adopted, claims_lost) = (Arc::clone(&adopted), Arc::clone(&claims_lost));
            move |event| {
                let count = match event.kind {
                    EventKind::TokenAdopted { .. } => &adopted,
                    EventKind::ClaimLost => &claims_lost,
                    _ => return,
                };
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        if let Some(token) = token {
            builder = builder.token(token.into_token()?);
        }
        let share = Share { points: &points, operations: &operations, exchange_timeout, slack };
        let (session, shared) = match store {
            StoreKind::None => (builder.build(), None),
            StoreKind::File(Some(path)) => {
                let shared = builder.build_shared(share.over(FileStore::new(path)));
                (shared.session().clone(), Some(shared))
            }
            StoreKind::Redis(Some(url)) => {
                let client = redis::Client::open(url)?;
                let connection = client.get_connection_manager().await?;
                let mut store = RedisStore::new(connection, record);
                if !only_polls {
                    store = store.listen(client);
                }
                let shared = builder.build_shared(share.over(store));
                (shared.session().clone(), Some(shared))
            }
            StoreKind::Postgres(Some(url)) => {
                let connect = move || {
                    let url = url.clone();
                    async move { tokio_postgres::connect(&url, NoTls).await }
                };
                let mut store = PostgresStore::connect(connect.clone(), record);
                if !only_polls {
                    store = store.listen(connect);
                }
                let shared = builder.build_shared(share.over(store));
                (shared.session().clone(), Some(shared))
            }
            store => return Err(format!("{store}: the path or the URL is missing").into()),
        };
        let api = session.layer().restrict_to_origin(server.parse()?);
        let api = tower::ServiceBuilder::new().layer(api).service(http_client(http2));
        let api = BoxCloneSyncService::new(api);
        Ok(Self {
            api_url,
            callers,
            session,
            shared,
            api,
            points,
            operations,
            adopted,
            repeated,
            claims_lost,
        })
    }

    async fn run(self: Arc<Self>, command: Command) {
        report(&match command {
            Command::Call => Report::Called(self.call_all().await),
            command => Report::Done(self.change(command).await),
        });
    }

    async fn change(&self, command: Command) -> Result<(), Failure> {
        let done = match (command, &self.shared) {
            (Command::Load, Some(shared)) => shared.load().await,
            (Command::SignIn(credential), Some(shared)) => shared.sign_in(credential.token()?).await,
            (Command::SignOut, Some(shared)) => shared.sign_out().await.map(drop),
            (Command::SetToken(credential), Some(shared)) => shared.set_token(credential.token()?).await,
            (Command::Shutdown, _) => self.session.shutdown(Duration::from_secs(60)).await,
            (command, _) => panic!("not without a store: {command:?}"),
        };
        done.map_err(|error| Failure::of(&error))
    }

    async fn call_all(self: &Arc<Self>) -> Outcome {
        let mut calls = JoinSet::new();
        for _ in 0..self.callers {
            let worker = Arc::clone(self);
            calls.spawn(async move { worker.call().await });
        }
        let mut outcome = Outcome::default();
        while let Some(result) = calls.join_next().await {
            outcome.add(result.expect("a call doesn't panic").map_err(|error| Failure::of(&*error)));
        }
        outcome.adopted = self.adopted.load(Ordering::Relaxed);
        outcome.repeated = self.repeated.load(Ordering::Relaxed);
        outcome.claims_lost = self.claims_lost.load(Ordering::Relaxed);
        outcome.loads = self.operations.loads.load(Ordering::Relaxed);
        outcome.swaps = self.operations.swaps.load(Ordering::Relaxed);
        outcome
    }

    async fn call(&self) -> Result<u64, BoxError> {
        call_api(&self.api, Request::get(&*self.api_url).body(Full::default())?).await
    }
}

/// Calls the API. Returns the generation of the token that it accepted, or 0 if the API has none.
pub(crate) async fn call_api(api: &Api, request: Request<Full<Bytes>>) -> Result<u64, BoxError> {
    let (head, body) = api.clone().oneshot(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    if !head.status.is_success() {
        // Why there was no newer token.
        if let Some(error) = head.extensions.get::<AuthReport>().and_then(AuthReport::error) {
            return Err(error.clone().into());
        }
        return Err(format!("the API responded with {}", head.status).into());
    }
    let body: serde_json::Value = serde_json::from_slice(&body)?;
    Ok(body["generation"].as_u64().unwrap_or(0))
}

// === impl Share ===

impl Share<'_> {
    fn over<S: TokenStore>(self, inner: S) -> SharedStore<PointStore<S>> {
        let (points, operations) = (self.points.clone(), Arc::clone(self.operations));
        with_times(PointStore { inner, points, operations }, self.exchange_timeout, self.slack)
    }
}

/// Shares a store, with a process's own times if it has any.
pub(crate) fn with_times<S: TokenStore>(
    store: S,
    exchange_timeout: Option<Duration>,
    slack: Option<Duration>,
) -> SharedStore<S> {
    let mut store = SharedStore::new(store);
    if let Some(timeout) = exchange_timeout {
        store = store.exchange_timeout(timeout);
    }
    if let Some(slack) = slack {
        store = store.test_times(slack, Duration::from_secs(5));
    }
    store
}

/// A client of the token endpoint, which names this process.
pub(crate) fn transport() -> Transport {
    let process = HeaderValue::from(std::process::id());
    BoxCloneSyncService::new(http_client(false).map_request(move |mut request: Request<RequestBody>| {
        request.headers_mut().insert(PROCESS, process.clone());
        request
    }))
}

/// Over HTTP/2, all callers of a process use one connection.
pub(crate) fn http_client<B>(http2: bool) -> Client<HttpConnector, B>
where
    B: hyper::body::Body<Data: Send> + Send + 'static,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).http2_only(http2).build(connector)
}

// === impl Credential ===

impl Credential {
    fn into_token(self) -> Result<Token, BoxError> {
        let token = Token::builder(self.access).refresh_token(self.refresh);
        Ok(token.expires_in(Duration::from_secs(3600)).build()?)
    }

    fn token(self) -> Result<Token, Failure> {
        self.into_token().map_err(|error| Failure {
            message: error.to_string(),
            kind: FailureKind::Other,
            holder: None,
        })
    }
}
