//! A backend with rotating refresh tokens and a fixed lifetime of access tokens.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tower_reauth::Token;

pub(crate) struct Server {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    life: Duration,
    held: watch::Sender<bool>,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    issued: u32,
    /// The one that isn't spent.
    refresh_token: String,
    access_tokens: HashMap<String, Instant>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) refreshes: usize,
    pub(crate) refused_refreshes: usize,
    pub(crate) ok: usize,
    pub(crate) unauthorized: usize,
}

impl Server {
    pub(crate) async fn start(life: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let books = Books { refresh_token: "R0".to_owned(), ..Books::default() };
        let shared = Arc::new(Shared { life, held: watch::Sender::new(false), books: Mutex::new(books) });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&accepting);
                tokio::spawn(async move {
                    let service = service_fn(move |request| handle(Arc::clone(&shared), request));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, shared, task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// An expired access token, with the first refresh token.
    pub(crate) fn first_token_expired(&self) -> Token {
        Token::builder("A0").refresh_token("R0").expires_in(Duration::ZERO).build().unwrap()
    }

    /// Delays the responses of the token endpoint, or sends them.
    pub(crate) fn hold_refreshes(&self, hold: bool) {
        self.shared.held.send_replace(hold);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.shared.books.lock().unwrap().counts
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let refused = || {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        Ok(response)
    };
    if request.uri().path() == "/token" {
        let body = request.into_body().collect().await?.to_bytes();
        let answer = shared.exchange(&String::from_utf8_lossy(&body));
        let mut held = shared.held.subscribe();
        let _ = held.wait_for(|held| !held).await;
        return match answer {
            Some(answer) => Ok(Response::new(Full::from(answer))),
            None => refused(),
        };
    }
    if shared.admits(&request) { Ok(Response::new(Full::from("items"))) } else { refused() }
}

impl Shared {
    fn exchange(&self, presented: &str) -> Option<String> {
        let mut books = self.books.lock().unwrap();
        if books.refresh_token != presented {
            books.counts.refused_refreshes += 1;
            return None;
        }
        books.counts.refreshes += 1;
        books.issued += 1;
        let (access, refresh) = (format!("A{}", books.issued), format!("R{}", books.issued));
        books.refresh_token.clone_from(&refresh);
        books.access_tokens.insert(access.clone(), Instant::now() + self.life);
        Some(format!("{access} {refresh} {}", self.life.as_millis()))
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        let mut books = self.books.lock().unwrap();
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let admitted =
            token.and_then(|token| books.access_tokens.get(token)).is_some_and(|end| Instant::now() < *end);
        if admitted {
            books.counts.ok += 1;
        } else {
            books.counts.unauthorized += 1;
        }
        admitted
    }
}
