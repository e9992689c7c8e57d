//! The backend: a hyper server on loopback, for HTTP/1 and HTTP/2.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    BoxError,
    api::Counts,
    grants::{Exchange, Grants},
    response_order::{RespondAfter, Traffic},
    step::Step,
    timeline::{Timeline, Who},
};

/// A running server. It stops with the runtime.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    backend: Arc<Backend>,
}

struct Backend {
    state: Mutex<State>,
}

struct State {
    grants: Grants,
    counts: Counts,
    /// The current run, if refreshes are to be logged and their responses delayed.
    traffic: Option<Arc<Traffic>>,
    /// An access token to revoke, and the number of calls until then.
    to_revoke: Option<(String, usize)>,
}

#[derive(Deserialize)]
struct RefreshRequest {
    refresh: String,
}

type Response = http::Response<Full<Bytes>>;

// === impl Server ===

impl Server {
    pub(crate) async fn start(revoke_grant_on_reuse: bool) -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = State {
            grants: Grants::new(revoke_grant_on_reuse),
            counts: Counts { refresh_calls: BTreeMap::new(), ok: Some(0) },
            traffic: None,
            to_revoke: None,
        };
        let backend = Arc::new(Backend { state: Mutex::new(state) });
        tokio::spawn(accept(listener, Arc::clone(&backend)));
        Ok(Self { address, backend })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, refreshes are logged in `timeline` and their responses delayed.
    pub(crate) fn begin_run(&self, timeline: Timeline, respond_after: RespondAfter) {
        self.backend.lock().traffic = Some(Arc::new(Traffic::new(timeline, respond_after)));
    }

    /// From now on, refreshes belong to no run.
    pub(crate) fn end_run(&self) {
        self.backend.lock().traffic = None;
    }

    /// Revokes `access` after `calls` more successful calls.
    pub(crate) fn revoke_after(&self, access: &str, calls: usize) {
        self.backend.lock().to_revoke = Some((access.to_owned(), calls));
    }
}

async fn accept(listener: TcpListener, backend: Arc<Backend>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Otherwise the kernel may delay small responses.
        let _ = stream.set_nodelay(true);
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            let service = service_fn(move |request| Arc::clone(&backend).respond(request));
            // The client notices a broken connection.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

// === impl Backend ===

impl Backend {
    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Result<Response, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(match (&head.method, head.uri.path()) {
            (&Method::POST, "/auth/token/") => json(StatusCode::OK, &self.lock().grants.sign_in()),
            (&Method::POST, "/auth/token/refresh/") => self.refresh(&body).await,
            (&Method::POST, "/messages/") | (&Method::GET, "/dashboard/stats/" | "/tickets/") => {
                self.call(&head.headers)
            }
            (&Method::GET, "/_counts") => json(StatusCode::OK, &self.lock().counts),
            _ => json(StatusCode::NOT_FOUND, &json!({ "detail": "Not found." })),
        })
    }

    async fn refresh(&self, body: &[u8]) -> Response {
        let Ok(RefreshRequest { refresh }) = serde_json::from_slice(body) else {
            return json(StatusCode::BAD_REQUEST, &json!({ "refresh": ["This field is required."] }));
        };
        let (exchange, traffic) = {
            let mut state = self.lock();
            let exchange = state.grants.exchange(&refresh);
            let status = if matches!(exchange, Exchange::Granted(_)) { 200 } else { 401 };
            *state.counts.refresh_calls.entry(status).or_default() += 1;
            (exchange, state.traffic.clone())
        };
        if let Some(traffic) = &traffic {
            let names = traffic.timeline.names();
            let presented = names.refresh(&refresh);
            let step = match &exchange {
                Exchange::Granted(pair) => Step::Grants { presented, issued: names.pair(pair) },
                Exchange::Refused => Step::Refuses { presented },
                Exchange::GrantRevoked => Step::RevokesGrant { presented },
            };
            traffic.timeline.log(Who::Server, step);
            traffic.refresh_received();
            match &exchange {
                Exchange::Granted(_) => traffic.before_grant().await,
                Exchange::Refused | Exchange::GrantRevoked => traffic.before_refusal().await,
            }
        }
        match exchange {
            Exchange::Granted(pair) => json(StatusCode::OK, &pair),
            Exchange::Refused | Exchange::GrantRevoked => unauthorized("Token is blacklisted"),
        }
    }

    fn call(&self, headers: &HeaderMap) -> Response {
        let access =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let mut state = self.lock();
        if let Some(traffic) = &state.traffic {
            traffic.call_received();
        }
        if !access.is_some_and(|access| state.grants.accepts(access)) {
            return unauthorized("Given token not valid for any token type");
        }
        *state.counts.ok.get_or_insert_default() += 1;
        state.count_down();
        json(StatusCode::OK, &json!({ "user": "alice" }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Counts a successful call, and revokes the token if it is time.
    fn count_down(&mut self) {
        let Some((access, left)) = &mut self.to_revoke else { return };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.grants.revoke(access);
            if let Some(traffic) = &self.traffic {
                let access = traffic.timeline.names().access(access);
                traffic.timeline.log(Who::Server, Step::RevokesAccessToken { access });
            }
            self.to_revoke = None;
        }
    }
}

fn unauthorized(detail: &str) -> Response {
    let mut response =
        json(StatusCode::UNAUTHORIZED, &json!({ "detail": detail, "code": "token_not_valid" }));
    let challenge = header::HeaderValue::from_static(r#"Bearer realm="api""#);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("the server's own types are serializable as JSON");
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
