//! A token endpoint that follows a script, and writes down what it was asked.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderName, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
};
use tower_reauth::{RefreshContext, endpoint::RequestBody, json::JsonEndpoint, oauth2};

use crate::support::BoxError;

/// What is answered. The script's last answer is for all that come after it.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    delivery: Delivery,
}

#[derive(Clone, Copy)]
enum Delivery {
    Whole,
    /// In pieces, of which no length is told.
    Chunked,
    /// The connection is closed without an answer.
    Closed,
    /// No connection comes about (in memory alone).
    Refused,
    /// The client itself panics (in memory alone).
    Panics,
    /// Not before the test says so.
    Held,
}

/// What was asked.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) struct Server {
    shared: Arc<Shared>,
    loopback: Option<(SocketAddr, JoinHandle<()>)>,
}

struct Shared {
    script: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
    count: watch::Sender<usize>,
    held: watch::Sender<bool>,
}

pub(crate) const TOKEN: &str =
    r#"{"access_token":"A2","token_type":"Bearer","expires_in":3600,"refresh_token":"R2"}"#;

pub(crate) fn reply(status: u16, body: impl AsRef<[u8]>) -> Reply {
    let body = Bytes::copy_from_slice(body.as_ref());
    let reply = Reply { status, headers: HeaderMap::new(), body, delivery: Delivery::Whole };
    reply.header("content-type", "application/json")
}

pub(crate) fn error(status: u16, code: &str) -> Reply {
    reply(status, format!(r#"{{"error":"{code}"}}"#))
}

/// What a refresher is told that has R1 to present.
pub(crate) fn r1() -> RefreshContext {
    RefreshContext::default().with_refresh_token("R1")
}

// === impl Reply ===

impl Reply {
    /// Sets a header; an empty value takes it away.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        match value {
            "" => drop(self.headers.remove(name)),
            value => drop(self.headers.insert(HeaderName::from_static(name), value.parse().unwrap())),
        }
        self
    }

    pub(crate) fn chunked(self) -> Self {
        Self { delivery: Delivery::Chunked, ..self }
    }

    pub(crate) fn closed(self) -> Self {
        Self { delivery: Delivery::Closed, ..self }
    }

    pub(crate) fn refused() -> Self {
        Self { delivery: Delivery::Refused, ..reply(200, "") }
    }

    pub(crate) fn panics() -> Self {
        Self { delivery: Delivery::Panics, ..reply(200, "") }
    }

    pub(crate) fn held(self) -> Self {
        Self { delivery: Delivery::Held, ..self }
    }

    fn into_response(self) -> Response<BoxBody<Bytes, io::Error>> {
        let body = match self.delivery {
            Delivery::Chunked => {
                let pieces: Vec<_> = self
                    .body
                    .chunks(16 * 1024)
                    .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
                    .collect();
                StreamBody::new(stream::iter(pieces)).boxed()
            }
            _ => Full::new(self.body).map_err(|never| match never {}).boxed(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status.try_into().unwrap();
        *response.headers_mut() = self.headers;
        response
    }
}

// === impl Asked ===

impl Asked {
    /// The body's parameters in their order.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    pub(crate) fn param(&self, name: &str) -> Option<String> {
        self.form().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

// === impl Server ===

impl Server {
    /// On a port of this machine.
    pub(crate) async fn on_loopback(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared::new(script);
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepting.clone().serve(stream);
            }
        });
        Self { shared, loopback: Some((address, task)) }
    }

    /// Without a network, so that time can be paused.
    pub(crate) fn in_memory(script: impl IntoIterator<Item = Reply>) -> Self {
        Self { shared: Shared::new(script), loopback: None }
    }

    /// What is answered from now on.
    pub(crate) fn set_script(&self, script: impl IntoIterator<Item = Reply>) {
        *self.shared.script.lock().unwrap() = script.into_iter().collect();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        match &self.loopback {
            Some((address, _)) => format!("http://{address}{path}"),
            None => format!("https://id.example.com{path}"),
        }
    }

    /// A public client of its own connections.
    pub(crate) fn client(&self) -> oauth2::Client {
        let url = self.url("/token");
        match self.loopback {
            Some(_) => {
                let http = Client::builder(TokioExecutor::new()).build_http::<RequestBody>();
                oauth2::Client::try_with_transport(url, "app", http)
            }
            None => oauth2::Client::try_with_transport(url, "app", self.wire()),
        }
        .unwrap()
    }

    pub(crate) fn json(&self) -> JsonEndpoint {
        let url = self.url("/session");
        match self.loopback {
            Some(_) => {
                let http = Client::builder(TokioExecutor::new()).build_http::<RequestBody>();
                JsonEndpoint::try_with_transport(url, http)
            }
            None => JsonEndpoint::try_with_transport(url, self.wire()),
        }
        .unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn has_been_asked(&self, times: usize) {
        self.shared.count.subscribe().wait_for(|count| *count >= times).await.unwrap();
    }

    /// Lets go of what is held, now and later.
    pub(crate) fn let_go(&self) {
        self.shared.held.send_replace(false);
    }

    /// Each request over a connection of its own.
    fn wire(
        &self,
    ) -> impl tower::Service<
        Request<RequestBody>,
        Response = Response<Incoming>,
        Error = BoxError,
        Future: Send,
    > + Clone
    + Send
    + 'static {
        let shared = Arc::clone(&self.shared);
        tower::service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move {
                shared.connect()?;
                let (ours, theirs): (DuplexStream, _) = tokio::io::duplex(64 * 1024);
                shared.serve(theirs);
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(ours)).await?;
                tokio::spawn(connection);
                Ok(sender.send_request(request).await?)
            }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.loopback {
            task.abort();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn new(script: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            asked: Mutex::default(),
            count: watch::Sender::new(0),
            held: watch::Sender::new(true),
        })
    }

    fn next(&self) -> Reply {
        let mut script = self.script.lock().unwrap();
        match script.len() {
            1 => script[0].clone(),
            _ => script.pop_front().expect("a script has an answer"),
        }
    }

    fn connect(&self) -> io::Result<()> {
        let next = self.script.lock().unwrap()[0].delivery;
        match next {
            Delivery::Refused => {
                self.next();
                Err(io::ErrorKind::ConnectionRefused.into())
            }
            Delivery::Panics => {
                self.next();
                panic!("as the script says")
            }
            _ => Ok(()),
        }
    }

    fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        tokio::spawn(async move {
            let service = service_fn(move |request| Arc::clone(&self).answer(request));
            // A date of the real clock means nothing where time is paused.
            let mut builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.auto_date_header(false).serve_connection(TokioIo::new(stream), service).await;
        });
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, io::Error>>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        self.asked.lock().unwrap().push(Asked {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body,
        });
        let reply = self.next();
        self.count.send_modify(|count| *count += 1);
        match reply.delivery {
            Delivery::Closed => return Err("closed".into()),
            Delivery::Held => drop(self.held.subscribe().wait_for(|held| !held).await),
            Delivery::Refused | Delivery::Panics => panic!("no connection was to come"),
            Delivery::Whole | Delivery::Chunked => {}
        }
        Ok(reply.into_response())
    }
}
