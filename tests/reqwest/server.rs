//! A loopback server whose responses a test decides, and a session for it.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;
use tower_reauth::{RefreshError, Session, Token, refresh_fn};

pub(crate) type Reply = Response<Full<Bytes>>;

/// A request as the server read it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Accepts HTTP/1 and HTTP/2.
pub(crate) struct Server {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    /// Reads each request whole, then asks `respond` for the response.
    pub(crate) async fn start<F>(respond: impl Fn(Received) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let received = Arc::<Mutex<Vec<_>>>::default();
        let (respond, record) = (Arc::new(respond), Arc::clone(&received));
        let url = serve(move |request| {
            let (respond, record) = (Arc::clone(&respond), Arc::clone(&record));
            async move {
                let (head, body) = request.into_parts();
                let path = head.uri.path().to_owned();
                let body = body.collect().await?.to_bytes();
                let request = Received { method: head.method, path, headers: head.headers, body };
                record.lock().unwrap().push(request.clone());
                Ok(respond(request).await)
            }
        })
        .await;
        Self { url, received }
    }

    /// Accepts only the token A2, and sends the body back.
    pub(crate) async fn accepting_a2() -> Self {
        Self::start(|request| async move { if_a2(&request, Response::new(Full::new(request.body.clone()))) })
            .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The tokens of the requests so far; `-` stands for none.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.received().iter().map(|request| request.token().to_owned()).collect()
    }
}

impl Received {
    pub(crate) fn token(&self) -> &str {
        match self.headers.get(header::AUTHORIZATION) {
            Some(value) => value.to_str().unwrap().strip_prefix("Bearer ").unwrap(),
            None => "-",
        }
    }
}

/// Serves connections with `respond`; returns the URL.
pub(crate) async fn serve<F>(respond: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> String
where
    F: Future<Output = Result<Reply, hyper::Error>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let respond = Arc::new(respond);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let respond = Arc::clone(&respond);
            tokio::spawn(async move {
                let service = service_fn(move |request| respond(request));
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

pub(crate) fn status(status: u16) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

pub(crate) fn redirect(to: u16, location: &str) -> Reply {
    let mut reply = status(to);
    reply.headers_mut().insert(header::LOCATION, location.parse().unwrap());
    reply
}

/// The reply, unless the request has another token than A2.
pub(crate) fn if_a2(request: &Received, reply: Reply) -> Reply {
    if request.token() == "A2" { reply } else { status(401) }
}

/// A session that has A1 and gets A2, and the number of its refreshes.
pub(crate) fn session() -> (Session, Arc<AtomicUsize>) {
    let refreshes = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&refreshes);
    let session = session_with(refresh_fn(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok(lasting("A2")?) }
    }));
    (session, refreshes)
}

/// A session that has A1.
pub(crate) fn session_with(refresher: impl tower_reauth::Refresher) -> Session {
    Session::builder(refresher).token(lasting("A1").unwrap()).build()
}

/// A session whose token has expired, and whose refreshes fail.
pub(crate) fn failing(error: fn() -> RefreshError) -> Session {
    let expired = Token::builder("A1").refresh_token("R1").expires_in(Duration::ZERO).build().unwrap();
    Session::builder(refresh_fn(move |_| async move { Err(error()) })).token(expired).build()
}

fn lasting(name: &str) -> Result<Token, tower_reauth::token::InvalidToken> {
    Token::builder(name).refresh_token("R").expires_in(Duration::from_secs(600)).build()
}

pub(crate) fn http1() -> reqwest::Client {
    builder().build().unwrap()
}

/// With prior knowledge.
pub(crate) fn http2() -> reqwest::Client {
    builder().http2_prior_knowledge().build().unwrap()
}

/// Without the environment's proxies.
pub(crate) fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy()
}

/// Only ends a test that would hang.
pub(crate) const LONG: Duration = Duration::from_secs(60);
