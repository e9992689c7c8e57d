//! [`TokenServer`].

use std::{
    collections::{HashMap, HashSet},
    error::Error,
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
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
use tower_reauth::{
    Token,
    testing::{Issuer, IssuerBuilder},
};

mod gate;
mod responses;

use gate::Gate;
use responses::{Sent, other, response};

/// A token endpoint and an API, on a free port of loopback. It stops when this is dropped.
///
/// - `POST /token` is an OAuth 2.0 token endpoint that rotates refresh tokens.
/// - `POST /revoke` revokes the family of a token.
/// - `GET /api` needs a valid access token, and returns its generation.
///
/// Processes name themselves in the header `x-process`.
#[derive(Debug)]
pub struct TokenServer {
    /// Its tokens. What a test does with them isn't counted as a presentation.
    pub issuer: Issuer,
    address: SocketAddr,
    backend: Arc<Backend>,
    accepting: JoinHandle<()>,
}

/// What a server has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the other names say it")]
pub struct Counts {
    pub presentations: usize,
    /// The largest number of refresh tokens of one family that were being presented at the same time.
    pub at_once: usize,
    pub refreshes: usize,
    /// Presentations of a refresh token that had been used.
    pub reuses: usize,
    pub refusals: usize,
    /// How many families were revoked by a request for that.
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

#[derive(Debug)]
struct State {
    issuer: Issuer,
    counts: Counts,
    rotated_at: Option<Instant>,
    /// By refresh token.
    presented: HashMap<String, usize>,
    /// Refresh tokens whose reuse was tolerated.
    repeated: HashSet<String>,
    /// By family.
    presenting: HashMap<u64, usize>,
    by_process: HashMap<u32, ByProcess>,
    hold: Option<(Moment, oneshot::Sender<Held>)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ByProcess {
    presentations: usize,
    reuses: usize,
}

/// A refresh token that is being presented.
#[derive(Debug)]
struct Presenting {
    backend: Arc<Backend>,
    family: Option<u64>,
}

type BoxError = Box<dyn Error + Send + Sync>;

/// More than any number of callers.
const MAX_STREAMS: u32 = 1 << 20;

// === impl TokenServer ===

impl TokenServer {
    /// Starts one. Its access tokens expire when the test says so, never by themselves. A refresh
    /// token whose reuse `issuer` has tolerated once revokes the family if it is presented again.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn start(issuer: IssuerBuilder) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let issuer = issuer.lifetime(None).build();
        let state = State {
            issuer: issuer.clone(),
            counts: Counts::default(),
            rotated_at: None,
            presented: HashMap::new(),
            repeated: HashSet::new(),
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
        Ok(Self { issuer, address, backend, accepting })
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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
        Counts {
            refreshes: self.issuer.refreshes(),
            reuses: self.issuer.reuses(),
            refusals: self.issuer.refusals(),
            ..self.backend.lock().counts
        }
    }

    /// When the response to the last exchange was made. `None`: there was none.
    pub fn rotated_at(&self) -> Option<Instant> {
        self.backend.lock().rotated_at
    }

    /// How often a refresh token was presented.
    pub fn presentations(&self, refresh: &str) -> usize {
        self.backend.lock().presented.get(refresh).copied().unwrap_or(0)
    }

    /// How often a process has presented a refresh token, and how many of these had been used.
    pub fn presentations_by(&self, process: u32) -> (usize, usize) {
        let by = self.backend.lock().by_process.get(&process).copied().unwrap_or_default();
        (by.presentations, by.reuses)
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
        let token = self.lock().exchange(process, &refresh);
        self.presentations.pass().await;
        let Some(token) = token else {
            return Ok(response(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_grant" })));
        };
        // The guard is dropped after the response is made: no client can go on before that.
        let (reply, _presenting) = self.hold(Moment::Exchanged, process, presenting).await?;
        if let Reply::Other(status, body) = reply {
            return Ok(other(status, body));
        }
        self.lock().rotated_at = Some(Instant::now());
        let body = json!({
            "access_token": token.access_token(),
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": token.refresh_token(),
        });
        Ok(response(StatusCode::OK, &body))
    }

    fn revoke(&self, body: &[u8]) -> Sent {
        let mut form = form_urlencoded::parse(body);
        let Some((_, token)) = form.find(|(name, _)| name == "token") else {
            return response(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_request" }));
        };
        let mut state = self.lock();
        let revoked = state.issuer.revoke_family(&token);
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
        let family = state.issuer.family_of(refresh);
        if let Some(family) = family {
            let presenting = state.presenting.entry(family).or_default();
            *presenting += 1;
            let presenting = *presenting;
            state.counts.at_once = state.counts.at_once.max(presenting);
        }
        Presenting { backend: Arc::clone(self), family }
    }

    async fn call(&self, headers: &HeaderMap) -> Sent {
        let access = header(headers, "authorization").and_then(|value| value.strip_prefix("Bearer "));
        let accepted = access.filter(|access| self.lock().issuer.accepts(access));
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
    fn exchange(&mut self, process: u32, refresh: &str) -> Option<Token> {
        if self.repeated.contains(refresh) {
            // A client repeats an exchange once, after a lost response.
            self.issuer.revoke_family(refresh);
        }
        let reuses = self.issuer.reuses();
        let token = self.issuer.exchange(refresh);
        if self.issuer.reuses() > reuses {
            self.by_process.entry(process).or_default().reuses += 1;
            if token.is_some() {
                self.repeated.insert(refresh.to_owned());
            }
        }
        token
    }
}

// === impl Presenting ===

impl Drop for Presenting {
    fn drop(&mut self) {
        let Some(family) = self.family else { return };
        if let Some(presenting) = self.backend.lock().presenting.get_mut(&family) {
            *presenting -= 1;
        }
    }
}

/// The generation in `A7-of-1-by-1`: how many access tokens the issuer had issued with this one.
pub(crate) fn generation(access: &str) -> Option<u64> {
    access.strip_prefix('A')?.split('-').next()?.parse().ok()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_repeat_is_tolerated() {
        let issuer = Issuer::builder().tolerate_reuse_for(Duration::from_secs(3600));
        let server = TokenServer::start(issuer).await.unwrap();
        let token = server.issuer.sign_in();
        let exchange = || server.backend.lock().exchange(1, token.refresh_token().unwrap());
        let (first, repeated) = (exchange().unwrap(), exchange().unwrap());
        assert_eq!(repeated.refresh_token(), first.refresh_token());
        assert!(server.issuer.family_is_alive());
        assert!(exchange().is_none());
        assert!(!server.issuer.family_is_alive());
        let counts = Counts { refreshes: 1, reuses: 2, refusals: 1, ..Counts::default() };
        assert_eq!((server.counts(), server.presentations_by(1).1), (counts, 2));
    }
}
