//! Rejected uploads over real connections.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tower::{Layer, ServiceExt};
use tower_reauth::{
    AuthLayer, RefreshError, Session, SkipAuth, Token,
    refresh::AnyRefresher,
    refresh_fn,
    replay::{Buffered, BufferedBody},
};

type Read = (Vec<u8>, Option<HeaderMap>);

/// Accepts only A2. A rejected request gets its response before its body is read.
struct Server {
    url: String,
    connections: Arc<AtomicUsize>,
    /// The body and trailers of each request that was read.
    read: Arc<Mutex<Vec<Read>>>,
    sent: Arc<AtomicUsize>,
}

impl Server {
    /// The response to a rejected request has so many bytes.
    async fn start(rejection: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            connections: Arc::default(),
            read: Arc::default(),
            sent: Arc::default(),
        };
        let (connections, read) = (Arc::clone(&server.connections), Arc::clone(&server.read));
        let sent = Arc::clone(&server.sent);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (read, sent) = (Arc::clone(&read), Arc::clone(&sent));
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (read, sent) = (Arc::clone(&read), Arc::clone(&sent));
                        async move {
                            sent.fetch_add(1, Ordering::SeqCst);
                            let token = request.headers().get("authorization").cloned();
                            if token.as_ref().is_some_and(|token| token == "Bearer A1") {
                                let mut response = Response::new(Full::<Bytes>::from(vec![b'x'; rejection]));
                                *response.status_mut() = StatusCode::UNAUTHORIZED;
                                return Ok::<_, Infallible>(response);
                            }
                            let collected = request.into_body().collect().await;
                            if let (Ok(collected), true) = (collected, token.is_some()) {
                                let trailers = collected.trailers().cloned();
                                read.lock().unwrap().push((collected.to_bytes().to_vec(), trailers));
                            }
                            Ok(Response::new(Full::from("ok")))
                        }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        server
    }
}

/// A body whose chunks the test sends.
pub(crate) struct Chunks {
    pub(crate) chunks: mpsc::UnboundedReceiver<Bytes>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.chunks.poll_recv(cx) {
            Poll::Ready(Some(chunk)) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Poll::Ready(None) => {
                Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

fn chunks(count: usize, size: usize) -> (Chunks, Vec<u8>) {
    let (sender, chunks) = mpsc::unbounded_channel();
    let mut whole = Vec::new();
    for index in 0..count {
        let chunk = vec![index as u8; size];
        whole.extend_from_slice(&chunk);
        sender.send(chunk.into()).unwrap();
    }
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    (Chunks { chunks, trailers: Some(trailers) }, whole)
}

fn http2<B>() -> Client<HttpConnector, B>
where
    B: Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

pub(crate) fn session(refresher: impl tower_reauth::Refresher) -> Session {
    let token =
        Token::builder("A1").refresh_token("R1").expires_in(Duration::from_secs(600)).build().unwrap();
    Session::builder(refresher).token(token).build()
}

pub(crate) fn a2() -> Result<Token, RefreshError> {
    Ok(Token::builder("A2").refresh_token("R2").expires_in(Duration::from_secs(600)).build()?)
}

fn layer(session: &Session) -> AuthLayer<AnyRefresher> {
    AuthLayer::from_session(session.clone())
}

pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Two concurrent uploads above the flow-control window, and the refresher's request on the same connection.
///
/// The rejected uploads are stopped, so they don't occupy the window that the refresh needs.
#[tokio::test(flavor = "multi_thread")]
async fn p16_two_rejected_uploads_and_their_refresher_share_a_connection() {
    type Sent = http_body_util::combinators::UnsyncBoxBody<Bytes, tower_reauth_error::Any>;
    let server = Server::start(8).await;
    let http = http2::<Sent>();
    let (own, url) = (http.clone(), server.url.clone());
    let refresher = refresh_fn(move |_| {
        let (own, url) = (own.clone(), url.clone());
        async move {
            let body = Sent::new(Full::from(vec![0; 200_000]).map_err(|never| match never {}));
            let request = Request::post(url).extension(SkipAuth).body(body).unwrap();
            own.request(request).await.map_err(RefreshError::transient)?;
            a2()
        }
    });
    let session = session(refresher);
    let replay = Buffered::new(8 << 20).map_body::<Chunks, _>(Sent::new);
    let client = layer(&session).with_replay(replay).layer(http);
    let mut uploads = Vec::new();
    for _ in 0..2 {
        let (body, whole) = chunks(40, 16_384);
        let request = Request::post(&server.url).body(body).unwrap();
        uploads.push((tokio::spawn(client.clone().oneshot(request)), whole));
    }
    let mut expected = Vec::new();
    for (upload, whole) in uploads {
        let response = timeout(LONG, upload).await.expect("no hang").unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        expected.push(whole);
    }
    let read = server.read.lock().unwrap();
    for (body, trailers) in read.iter() {
        assert!(expected.contains(body), "byte for byte");
        assert_eq!(trailers.as_ref().unwrap()["x-sum"], "1");
    }
    assert_eq!((read.len(), session.status().generation()), (2, 2));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

mod tower_reauth_error {
    pub(crate) type Any = Box<dyn std::error::Error + Send + Sync>;
}

/// Its second chunk is sent after the server received the first.
#[tokio::test(flavor = "multi_thread")]
async fn p16_the_first_attempt_is_not_delayed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (saw, mut seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |request: Request<Incoming>| {
            let saw = saw.clone();
            async move {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    saw.send(frame.unwrap().into_data().unwrap_or_default()).unwrap();
                }
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        });
        let _ =
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    });
    let session = session(refresh_fn(|_| async { a2() }));
    let client = layer(&session).with_replay(Buffered::default()).layer(http2());
    let (sender, chunks) = mpsc::unbounded_channel();
    let request = Request::post(url).body(Chunks { chunks, trailers: None }).unwrap();
    let call = tokio::spawn(client.oneshot(request));
    for chunk in ["first", "second"] {
        sender.send(Bytes::from_static(chunk.as_bytes())).unwrap();
        assert_eq!(timeout(LONG, seen.recv()).await.expect("it came at once").unwrap(), chunk);
    }
    drop(sender);
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
}

/// It gets the server's response and is never sent truncated. The next upload has the new token.
#[tokio::test(flavor = "multi_thread")]
async fn c101_an_upload_above_the_limit_is_not_retried() {
    // It reads the whole body before it rejects the request.
    let read = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&read);
    let server = tower::service_fn(move |request: Request<BufferedBody<Chunks>>| {
        let record = Arc::clone(&record);
        async move {
            let rejected = request.headers()["authorization"] == "Bearer A1";
            let body = request.into_body().collect().await?.to_bytes();
            record.lock().unwrap().push(body.len());
            let mut response = Response::new(());
            *response.status_mut() = if rejected { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
            Ok::<_, tower::BoxError>(response)
        }
    });
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let session = session(refresh_fn(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { a2() }
    }));
    let client = layer(&session).with_replay(Buffered::new(1 << 20)).layer(server);
    const WHOLE: usize = 50 << 20;
    for (index, expected) in [StatusCode::UNAUTHORIZED, StatusCode::OK].into_iter().enumerate() {
        let (body, _) = chunks(50, 1 << 20);
        let request = Request::post("https://api.example.com/").body(body).unwrap();
        assert_eq!(client.clone().oneshot(request).await.unwrap().status(), expected);
        assert_eq!(*read.lock().unwrap(), vec![WHOLE; index + 1]);
    }
    assert_eq!((calls.load(Ordering::SeqCst), session.status().generation()), (1, 2));
}

/// Over HTTP/1, hyper reads what has arrived of a response that is dropped, and reuses the connection if that
/// is all.
#[tokio::test(flavor = "multi_thread")]
async fn p16_a_rejection_costs_at_most_one_connection() {
    for rejection in [64, 8 << 20] {
        let server = Server::start(rejection).await;
        let session = session(refresh_fn(|_| async { a2() }));
        let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        // With one permit, a retry that waited for its own connection would hang.
        let limited = tower::ServiceBuilder::new().concurrency_limit(1).service(http);
        let client = layer(&session).layer(limited);
        let request = Request::get(&server.url).body(Full::default()).unwrap();
        let response = timeout(LONG, client.oneshot(request)).await.expect("no hang").unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let connections = server.connections.load(Ordering::SeqCst);
        assert!(connections <= 2, "a rejection of {rejection} bytes took {connections} connections");
        assert_eq!(server.sent.load(Ordering::SeqCst), 2);
    }
}
