//! The backend of the problem, as a real hyper server on loopback: HTTP/1 and HTTP/2.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
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
    grants::{Grants, Verdict},
    hold::{Hold, Round},
    step::Step,
    timeline::{Timeline, Who},
};

/// A running server. Its tasks end with the runtime.
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
    round: Option<Arc<Round>>,
    /// An access token, and after how many more calls it is revoked.
    doomed: Option<(String, usize)>,
}

#[derive(Deserialize)]
struct Presented {
    refresh: String,
}

type Answer = Response<Full<Bytes>>;

// === impl Server ===

impl Server {
    pub(crate) async fn start(revoke_family: bool) -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Counts { refresh_calls: BTreeMap::new(), ok: Some(0) };
        let state = State { grants: Grants::new(revoke_family), counts, round: None, doomed: None };
        let backend = Arc::new(Backend { state: Mutex::new(state) });
        tokio::spawn(accept(listener, Arc::clone(&backend)));
        Ok(Self { address, backend })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on refreshes are told in `timeline`, and their answers held.
    pub(crate) fn begin(&self, timeline: Timeline, hold: Hold) {
        self.backend.lock().round = Some(Arc::new(Round::new(timeline, hold)));
    }

    /// What comes from now on is no part's affair.
    pub(crate) fn end_round(&self) {
        self.backend.lock().round = None;
    }

    /// Once `calls` more calls were answered, `access` is refused.
    pub(crate) fn revoke_after(&self, access: &str, calls: usize) {
        self.backend.lock().doomed = Some((access.to_owned(), calls));
    }
}

async fn accept(listener: TcpListener, backend: Arc<Backend>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Without it the kernel may hold a small answer for its own reasons.
        let _ = stream.set_nodelay(true);
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            let service = service_fn(move |request| Arc::clone(&backend).answer(request));
            // A connection that breaks is its client's affair.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

// === impl Backend ===

impl Backend {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, BoxError> {
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

    async fn refresh(&self, body: &[u8]) -> Answer {
        let Ok(Presented { refresh }) = serde_json::from_slice(body) else {
            return json(StatusCode::BAD_REQUEST, &json!({ "refresh": ["This field is required."] }));
        };
        let (verdict, round) = {
            let mut state = self.lock();
            let verdict = state.grants.exchange(&refresh);
            let status = if matches!(verdict, Verdict::Exchanged(_)) { 200 } else { 401 };
            *state.counts.refresh_calls.entry(status).or_default() += 1;
            (verdict, state.round.clone())
        };
        if let Some(round) = &round {
            let timeline = &round.timeline;
            let presented = timeline.names().refresh(&refresh);
            timeline.tell(
                Who::Server,
                match &verdict {
                    Verdict::Exchanged(pair) => {
                        Step::Spends { presented, bought: timeline.names().pair(pair) }
                    }
                    Verdict::Refused => Step::FindsSpent { presented },
                    Verdict::FamilyRevoked => Step::RevokesFamily { presented },
                },
            );
            round.refresh_came();
            match &verdict {
                Verdict::Exchanged(_) => round.winners_turn().await,
                Verdict::Refused | Verdict::FamilyRevoked => round.losers_turn().await,
            }
        }
        match verdict {
            Verdict::Exchanged(pair) => json(StatusCode::OK, &pair),
            Verdict::Refused | Verdict::FamilyRevoked => unauthorized("Token is blacklisted"),
        }
    }

    fn call(&self, headers: &HeaderMap) -> Answer {
        let access =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let mut state = self.lock();
        if let Some(round) = &state.round {
            round.call_came();
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
    /// One more call was answered.
    fn count_down(&mut self) {
        let Some((access, left)) = &mut self.doomed else { return };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.grants.revoke(access);
            if let Some(round) = &self.round {
                let access = round.timeline.names().access(access);
                round.timeline.tell(Who::Server, Step::Revokes { access });
            }
            self.doomed = None;
        }
    }
}

fn unauthorized(detail: &str) -> Answer {
    let mut answer = json(StatusCode::UNAUTHORIZED, &json!({ "detail": detail, "code": "token_not_valid" }));
    let challenge = header::HeaderValue::from_static(r#"Bearer realm="api""#);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    answer
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).expect("its own answers can be written as JSON");
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}
