//! [`TokenServer`].

use std::{
    collections::HashMap,
    error::Error,
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::grants::{Grant, Grants, Pair, Policy, generation};

mod gate;
mod responses;

use gate::Gate;
use responses::{Sent, other, response};

/// A token endpoint and an API, on a free port of loopback. It stops when this is dropped.
///
/// - `POST /token` is an OAuth 2.0 token endpoint that rotates refresh tokens.
/// - `POST /revoke` ends the grant of a refresh token.
/// - `GET /api` needs a valid access token, and returns its generation.
///
/// Processes name themselves in the header `x-process`. Tokens expire when [`expire`](Self::expire) is called, never
/// by themselves.
#[derive(Debug)]
pub struct TokenServer {
    address: SocketAddr,
    backend: Arc<Backend>,
    accepting: JoinHandle<()>,
}

/// What a server has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the other names say it")]
pub struct Counts {
    pub presentations: usize,
    /// The largest number of refresh tokens of one grant that were being presented at the same time.
    pub at_once: usize,
    pub rotations: usize,
    /// Presentations of a used refresh token that returned the pair of the first one.
    pub repeats: usize,
    pub refusals: usize,
    /// How many grants were revoked by a request.
    pub revocations: usize,
}

/// When a request to the token endpoint is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is nothing in between")]
pub enum Moment {
    /// It has arrived; nothing has changed.
    Received,
    /// The refresh token has been exchanged; the response isn't sent.
    Exchanged,
}

/// A request to the token endpoint that is held. If this is dropped, its connection is closed without a response.
#[derive(Debug)]
pub struct Held {
    process: u32,
    presenting: Presenting,
    reply: oneshot::Sender<(Reply, Presenting)>,
}

/// How a held request goes on.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_enums, reason = "tests name all of it")]
pub enum Reply {
    /// As if it hadn't been held.
    Normal,
    /// With this status and body.
    Other(StatusCode, &'static str),
}

/// The header in which a process sends its ID.
pub(crate) const PROCESS: &str = "x-process";

#[derive(Debug)]
struct Backend {
    state: Mutex<State>,
    rejections: Gate,
    presentations: Gate,
}

struct State {
    grants: Grants,
    counts: Counts,
    rotated_at: Option<Instant>,
    /// By refresh token.
    presented: HashMap<String, usize>,
    presenting: HashMap<Grant, usize>,
    by_process: HashMap<u32, ByProcess>,
    hold: Option<(Moment, oneshot::Sender<Held>)>,
}

#[derive(Clone, Copy, Default)]
struct ByProcess {
    presentations: usize,
    repeats: usize,
}

/// A refresh token that is being presented.
#[derive(Debug)]
struct Presenting {
    backend: Arc<Backend>,
    grant: Option<Grant>,
}

type BoxError = Box<dyn Error + Send + Sync>;

/// More than any number of callers.
const MAX_STREAMS: u32 = 1 << 20;

// === impl TokenServer ===

impl TokenServer {
    /// Starts one. `tolerance`: for how long one repeat of a used refresh token returns the pair of the first
    /// presentation; after that, the policy applies.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn start(policy: Policy, tolerance: Option<Duration>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = State {
            grants: Grants::new(policy, tolerance),
            counts: Counts::default(),
            rotated_at: None,
            presented: HashMap::new(),
            presenting: HashMap::new(),
            by_process: HashMap::new(),
            hold: None,
        };
        let backend = Arc::new(Backend {
            state: Mutex::new(state),
            rejections: Gate::default(),
            presentations: Gate::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&backend)));
        Ok(Self { address, backend, accepting })
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Signs a user in.
    pub fn sign_in(&self) -> Pair {
        self.backend.lock().grants.sign_in()
    }

    /// Exchanges a refresh token, without a request. It isn't counted as a presentation.
    pub fn exchange(&self, refresh: &str) -> Option<Pair> {
        self.backend.lock().grants.exchange(refresh)
    }

    /// All access tokens expire.
    pub fn expire(&self) {
        self.backend.lock().grants.expire();
    }

    /// The next `count` calls that the API rejects get their responses together, when the last one has arrived.
    pub fn gather_rejections(&self, count: usize) {
        self.backend.rejections.close(count);
    }

    /// The next `count` presentations get their responses when the last one has been handled.
    pub fn gather_presentations(&self, count: usize) {
        self.backend.presentations.close(count);
    }

    /// Holds the next request to the token endpoint, and returns it.
    ///
    /// With [`Moment::Exchanged`], the next one that isn't refused.
    pub fn hold_next(&self, moment: Moment) -> impl Future<Output = Held> + use<> {
        let (sender, receiver) = oneshot::channel();
        self.backend.lock().hold = Some((moment, sender));
        async move { receiver.await.expect("the server is running, and one request is held at a time") }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let state = self.backend.lock();
        let Grants { rotations, repeats, refusals, .. } = state.grants;
        Counts { rotations, repeats, refusals, ..state.counts }
    }

    /// When the response to the last exchange was made. `None`: there was none.
    pub fn rotated_at(&self) -> Option<Instant> {
        self.backend.lock().rotated_at
    }

    /// How often a refresh token was presented.
    pub fn presentations(&self, refresh: &str) -> usize {
        self.backend.lock().presented.get(refresh).copied().unwrap_or(0)
    }

    /// How often a process has presented a refresh token, and how many of these were repeats.
    pub fn presentations_by(&self, process: u32) -> (usize, usize) {
        let by = self.backend.lock().by_process.get(&process).copied().unwrap_or_default();
        (by.presentations, by.repeats)
    }

    /// Whether a refresh token is valid and unused.
    pub fn is_live(&self, refresh: &str) -> bool {
        self.backend.lock().grants.is_live(refresh)
    }

    /// Whether some refresh token is.
    pub fn is_signed_in(&self) -> bool {
        self.backend.lock().grants.is_signed_in()
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, backend: Arc<Backend>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            let service = service_fn(move |request| Arc::clone(&backend).respond(request));
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().max_concurrent_streams(MAX_STREAMS);
            // The client notices a broken connection.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

// === impl Held ===

impl Held {
    /// The process that sent it.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Lets it go on.
    pub fn release(self, reply: Reply) {
        // The process may be dead.
        let _ = self.reply.send((reply, self.presenting));
    }
}

// === impl Backend ===

impl Backend {
    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Result<Sent, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let process = header(&head.headers, PROCESS).and_then(|id| id.parse().ok()).unwrap_or(0);
        match (&head.method, head.uri.path()) {
            (&Method::POST, "/token") => self.exchange(process, &body).await,
            (&Method::POST, "/revoke") => Ok(self.revoke(&body)),
            (&Method::GET, "/api") => Ok(self.call(&head.headers).await),
            _ => Ok(response(StatusCode::NOT_FOUND, &Value::Null)),
        }
    }

    async fn exchange(self: &Arc<Self>, process: u32, body: &[u8]) -> Result<Sent, BoxError> {
        let mut form = form_urlencoded::parse(body);
        let Some((_, refresh)) = form.find(|(name, _)| name == "refresh_token") else {
            return Ok(response(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_request" })));
        };
        let presenting = self.present(process, &refresh);
        let (reply, presenting) = self.hold(Moment::Received, process, presenting).await?;
        if let Reply::Other(status, body) = reply {
            return Ok(other(status, body));
        }
        let pair = self.lock().exchange(process, &refresh);
        self.presentations.pass().await;
        let Some(pair) = pair else {
            return Ok(response(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_grant" })));
        };
        // The guard is dropped after the response is made: no client can go on before that.
        let (reply, _presenting) = self.hold(Moment::Exchanged, process, presenting).await?;
        if let Reply::Other(status, body) = reply {
            return Ok(other(status, body));
        }
        self.lock().rotated_at = Some(Instant::now());
        let body = json!({
            "access_token": pair.access,
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": pair.refresh,
        });
        Ok(response(StatusCode::OK, &body))
    }

    fn revoke(&self, body: &[u8]) -> Sent {
        let mut form = form_urlencoded::parse(body);
        let Some((_, refresh)) = form.find(|(name, _)| name == "token") else {
            return response(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_request" }));
        };
        let mut state = self.lock();
        let revoked = state.grants.revoke(&refresh);
        state.counts.revocations += usize::from(revoked);
        response(StatusCode::OK, &Value::Null)
    }

    /// Holds a request if that was asked for.
    async fn hold(
        &self,
        moment: Moment,
        process: u32,
        presenting: Presenting,
    ) -> Result<(Reply, Presenting), BoxError> {
        let held = self.lock().hold.take_if(|(at, _)| *at == moment);
        let Some((_, holder)) = held else { return Ok((Reply::Normal, presenting)) };
        let (reply, replied) = oneshot::channel();
        let _ = holder.send(Held { process, presenting, reply });
        Ok(replied.await?)
    }

    fn present(self: &Arc<Self>, process: u32, refresh: &str) -> Presenting {
        let mut state = self.lock();
        state.counts.presentations += 1;
        *state.presented.entry(refresh.to_owned()).or_default() += 1;
        state.by_process.entry(process).or_default().presentations += 1;
        let grant = state.grants.grant_of(refresh);
        if let Some(grant) = grant {
            let presenting = state.presenting.entry(grant).or_default();
            *presenting += 1;
            let presenting = *presenting;
            state.counts.at_once = state.counts.at_once.max(presenting);
        }
        Presenting { backend: Arc::clone(self), grant }
    }

    async fn call(&self, headers: &HeaderMap) -> Sent {
        let access = header(headers, "authorization").and_then(|value| value.strip_prefix("Bearer "));
        let accepted = access.filter(|access| self.lock().grants.accepts(access));
        if let Some(access) = accepted {
            return response(StatusCode::OK, &json!({ "generation": generation(access) }));
        }
        self.rejections.pass().await;
        let mut rejection = response(StatusCode::UNAUTHORIZED, &Value::Null);
        let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
        rejection.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        rejection
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn exchange(&mut self, process: u32, refresh: &str) -> Option<Pair> {
        let repeats = self.grants.repeats;
        let pair = self.grants.exchange(refresh);
        self.by_process.entry(process).or_default().repeats += self.grants.repeats - repeats;
        pair
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("counts", &self.counts).finish_non_exhaustive()
    }
}

// === impl Presenting ===

impl Drop for Presenting {
    fn drop(&mut self) {
        let Some(grant) = self.grant else { return };
        if let Some(presenting) = self.backend.lock().presenting.get_mut(&grant) {
            *presenting -= 1;
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
