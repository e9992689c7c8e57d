//! A token endpoint that follows a script and records its requests.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
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
use tower_reauth::{endpoint::RequestBody, json::JsonEndpoint, oauth2};

use crate::support::BoxError;

#[path = "token_endpoint/script.rs"]
mod script;

use script::Delivery;
pub(crate) use script::{RecordedRequest, Reply, TOKEN, error, r1, reply};

pub(crate) struct Server {
    shared: Arc<Shared>,
    loopback: Option<(SocketAddr, JoinHandle<()>)>,
}

struct Shared {
    script: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<RecordedRequest>>,
    count: watch::Sender<usize>,
    delayed: watch::Sender<bool>,
}

// === impl Server ===

impl Server {
    /// On a loopback port.
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

    /// Without a network, for tests with paused time.
    pub(crate) fn in_memory(script: impl IntoIterator<Item = Reply>) -> Self {
        Self { shared: Shared::new(script), loopback: None }
    }

    /// Replaces the script.
    pub(crate) fn set_script(&self, script: impl IntoIterator<Item = Reply>) {
        *self.shared.script.lock().unwrap() = script.into_iter().collect();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        match &self.loopback {
            Some((address, _)) => format!("http://{address}{path}"),
            None => format!("https://id.example.com{path}"),
        }
    }

    /// A public client with its own connections.
    pub(crate) fn client(&self) -> oauth2::Client {
        let url = self.url("/token");
        match self.loopback {
            Some(_) => {
                let http = Client::builder(TokioExecutor::new()).build_http::<RequestBody>();
                oauth2::Client::try_with_transport(url, "app", http)
            }
            None => oauth2::Client::try_with_transport(url, "app", self.transport()),
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
            None => JsonEndpoint::try_with_transport(url, self.transport()),
        }
        .unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// Waits until so many requests have arrived.
    pub(crate) async fn wait_for_requests(&self, times: usize) {
        self.shared.count.subscribe().wait_for(|count| *count >= times).await.unwrap();
    }

    /// Sends the delayed responses, and delays none from now on.
    pub(crate) fn release(&self) {
        self.shared.delayed.send_replace(false);
    }

    /// A transport with a connection per request.
    pub(crate) fn transport(
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
            requests: Mutex::default(),
            count: watch::Sender::new(0),
            delayed: watch::Sender::new(true),
        })
    }

    fn next(&self) -> Reply {
        let mut script = self.script.lock().unwrap();
        match script.len() {
            1 => script[0].clone(),
            _ => script.pop_front().expect("the script has a reply"),
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
            let service = service_fn(move |request| Arc::clone(&self).respond(request));
            // With paused time, the date of the real clock would be wrong.
            let mut builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.auto_date_header(false).serve_connection(TokioIo::new(stream), service).await;
        });
    }

    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, io::Error>>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        self.requests.lock().unwrap().push(RecordedRequest {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body,
        });
        let reply = self.next();
        self.count.send_modify(|count| *count += 1);
        match reply.delivery {
            Delivery::Closed => return Err("closed".into()),
            Delivery::Delayed => drop(self.delayed.subscribe().wait_for(|delayed| !delayed).await),
            Delivery::Refused | Delivery::Panics => panic!("no connection was to come"),
            Delivery::Whole | Delivery::Chunked => {}
        }
        Ok(reply.into_response())
    }
}
