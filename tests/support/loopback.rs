//! Loopback servers whose responses a test decides. They accept HTTP/1 and HTTP/2.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) type Reply = Response<Full<Bytes>>;

/// A request as the server read it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Empty if the test's code reads it.
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
    /// The number of its connection, in the order in which they were accepted.
    pub(crate) connection: usize,
}

/// Records the requests that it receives.
pub(crate) struct Server {
    acceptor: Acceptor,
    received: Arc<Mutex<Vec<Received>>>,
}

/// Accepts connections until it is dropped.
pub(crate) struct Acceptor {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

/// Request extension: the number of its connection.
#[derive(Clone, Copy)]
struct ConnectionNumber(usize);

pub(crate) fn status(status: u16) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

/// The reply, unless the request has another token than A2.
pub(crate) fn if_a2(request: &Received, reply: Reply) -> Reply {
    if request.token() == "A2" { reply } else { status(401) }
}

// === impl Server ===

impl Server {
    /// Reads each request whole, then asks `respond` for the response.
    pub(crate) async fn start<F>(respond: impl Fn(Received) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let received = Arc::<Mutex<Vec<_>>>::default();
        let (respond, record) = (Arc::new(respond), Arc::clone(&received));
        let acceptor = Acceptor::serve(move |request| {
            let (respond, record) = (Arc::clone(&respond), Arc::clone(&record));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?;
                let mut request = Received::new(&head);
                request.trailers = body.trailers().cloned();
                request.body = body.to_bytes();
                record.lock().unwrap().push(request.clone());
                Ok(respond(request).await)
            }
        });
        Self { acceptor: acceptor.await, received }
    }

    /// `respond` reads the body of each request.
    pub(crate) async fn start_unread<F>(
        respond: impl Fn(Received, Incoming) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Reply, hyper::Error>> + Send + 'static,
    {
        let received = Arc::<Mutex<Vec<_>>>::default();
        let record = Arc::clone(&received);
        let acceptor = Acceptor::serve(move |request| {
            let (head, body) = request.into_parts();
            let request = Received::new(&head);
            record.lock().unwrap().push(request.clone());
            respond(request, body)
        });
        Self { acceptor: acceptor.await, received }
    }

    /// Accepts only the token A2, and sends the body back.
    pub(crate) async fn accepting_a2() -> Self {
        Self::start(|request| async move { if_a2(&request, Response::new(Full::new(request.body.clone()))) })
            .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.acceptor.url)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The tokens of the requests so far; `-` stands for none.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.received().iter().map(|request| request.token().to_owned()).collect()
    }
}

// === impl Received ===

impl Received {
    fn new(head: &Parts) -> Self {
        Self {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            headers: head.headers.clone(),
            body: Bytes::new(),
            trailers: None,
            connection: head.extensions.get::<ConnectionNumber>().unwrap().0,
        }
    }

    pub(crate) fn token(&self) -> &str {
        match self.headers.get(header::AUTHORIZATION) {
            Some(value) => value.to_str().unwrap().strip_prefix("Bearer ").unwrap(),
            None => "-",
        }
    }
}

// === impl Acceptor ===

impl Acceptor {
    pub(crate) async fn serve<F>(respond: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Reply, hyper::Error>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let respond = Arc::new(respond);
        let task = tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let respond = Arc::clone(&respond);
                let service = service_fn(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(ConnectionNumber(number));
                    respond(request)
                });
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, task }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}
