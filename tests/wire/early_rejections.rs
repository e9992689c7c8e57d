//! Uploads that are still running when their 401 arrives.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tower::{BoxError, Layer, ServiceExt};
use tower_reauth::{
    RefreshError, SkipAuth, refresh_fn,
    replay::{Buffered, UploadAborted},
};

use crate::uploads::{Chunks, LONG, a2, session};

type Body = UnsyncBoxBody<Bytes, BoxError>;
type Http = Client<HttpConnector, Body>;

/// How an upload ended at one side: with its bytes, or with an error.
type End = Result<Vec<u8>, BoxError>;

/// Rejects A1 before it has read the upload, and then reads it to its end.
struct Server {
    url: String,
    /// How each rejected upload ended.
    ends: mpsc::UnboundedReceiver<End>,
}

/// The number of the connection that a request came on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Connection(usize);

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (report, ends) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let accepted = AtomicUsize::new(0);
            while let Ok((stream, _)) = listener.accept().await {
                let connection = accepted.fetch_add(1, Ordering::SeqCst);
                let report = report.clone();
                let service = service_fn(move |request| respond(request, connection, report.clone()));
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, ends }
    }

    async fn next_end(&mut self) -> End {
        timeout(LONG, self.ends.recv()).await.expect("the upload ends").unwrap()
    }
}

async fn respond(
    request: Request<Incoming>,
    connection: usize,
    report: mpsc::UnboundedSender<End>,
) -> Result<Response<Full<Bytes>>, BoxError> {
    let mut response = Response::new(Full::default());
    response.headers_mut().insert("x-connection", connection.into());
    if request.headers().get("authorization").is_some_and(|token| token == "Bearer A1") {
        let mut body = request.into_body();
        // The upload has begun.
        let first = body.frame().await.unwrap()?.into_data().unwrap();
        tokio::spawn(async move {
            let rest = body.collect().await;
            let whole = rest.map(|rest| [&first[..], &rest.to_bytes()].concat());
            let _ = report.send(whole.map_err(Into::into));
        });
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    } else {
        *response.body_mut() = Full::from(request.into_body().collect().await?.to_bytes());
    }
    Ok(response)
}

fn connection<B>(response: &Response<B>) -> Connection {
    Connection(response.headers()["x-connection"].to_str().unwrap().parse().unwrap())
}

fn http(version: Version) -> Http {
    Client::builder(TokioExecutor::new()).http2_only(version == Version::HTTP_2).build_http()
}

/// A body that reports how it ends for the client.
struct Reported {
    body: Body,
    ends: mpsc::UnboundedSender<Result<(), bool>>,
}

impl HttpBody for Reported {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let end = match &frame {
            Some(Ok(_)) => return Poll::Ready(frame),
            Some(Err(error)) => Err(error.is::<UploadAborted>()),
            None => Ok(()),
        };
        let _ = self.ends.send(end);
        Poll::Ready(frame)
    }
}

struct Upload {
    /// `None`: it is complete.
    more: Option<mpsc::UnboundedSender<Bytes>>,
    response: tokio::task::JoinHandle<Result<Response<Incoming>, BoxError>>,
    /// How the body of each attempt ends for the client; an error may be [`UploadAborted`].
    ends: mpsc::UnboundedReceiver<Result<(), bool>>,
}

const ABORTED: Result<(), bool> = Err(true);

impl Upload {
    fn send_the_rest(&mut self) {
        self.more.take().unwrap().send(Bytes::from_static(b" second half")).unwrap();
    }

    async fn response(&mut self) -> Response<Incoming> {
        timeout(LONG, &mut self.response).await.expect("no hang").unwrap().unwrap()
    }

    async fn next_end(&mut self) -> Result<(), bool> {
        timeout(LONG, self.ends.recv()).await.expect("the body ends").unwrap()
    }
}

/// Starts an upload with the rejected token, through `http`.
fn upload(server: &Server, http: &Http, refresher: impl tower_reauth::Refresher) -> Upload {
    let (report, ends) = mpsc::unbounded_channel();
    let inner = http.clone().map_request(move |request: Request<Body>| {
        let ends = report.clone();
        request.map(|body| Body::new(Reported { body, ends }))
    });
    let replay = Buffered::default().map_body::<Chunks, _>(Body::new);
    let client = session(refresher).layer().with_replay(replay).layer(inner);
    let (more, chunks) = mpsc::unbounded_channel();
    more.send(Bytes::from_static(b"first half,")).unwrap();
    // The request has the default version, as most requests do, whatever it is sent over.
    let request = Request::post(&server.url).body(Chunks { chunks, trailers: None }).unwrap();
    Upload { more: Some(more), response: tokio::spawn(client.oneshot(request)), ends }
}

async fn get(server: &Server, http: &Http) -> Connection {
    let body = Body::new(Empty::new().map_err(|never: Infallible| match never {}));
    let request = Request::get(&server.url).extension(SkipAuth).body(body).unwrap();
    connection(&timeout(LONG, http.request(request)).await.expect("no hang").unwrap())
}

/// The server never takes half an upload for a whole one, and the connection isn't used again.
#[tokio::test(flavor = "multi_thread")]
async fn d28_over_http_1_a_stopped_upload_fails_and_its_connection_is_not_used_again() {
    let mut server = Server::start().await;
    let http = http(Version::HTTP_11);
    let mut upload = upload(&server, &http, refresh_fn(|_| async { Err(RefreshError::transient("down")) }));
    let response = upload.response().await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let rejected = connection(&response);
    assert_eq!(upload.next_end().await, ABORTED);
    server.next_end().await.expect_err("the server must not take it for whole");
    drop(response);
    assert_ne!(get(&server, &http).await, rejected);
}

#[tokio::test(flavor = "multi_thread")]
async fn d28_over_http_1_a_stopped_upload_is_retried_on_another_connection() {
    let mut server = Server::start().await;
    let http = http(Version::HTTP_11);
    let mut upload = upload(&server, &http, refresh_fn(|_| async { a2() }));
    assert_eq!(upload.next_end().await, ABORTED);
    server.next_end().await.expect_err("the server must not take it for whole");
    upload.send_the_rest();
    let response = upload.response().await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(connection(&response), Connection(1));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "first half, second half");
    assert_eq!(upload.next_end().await, Ok(()));
}

/// Each request has a stream of its own there.
#[tokio::test(flavor = "multi_thread")]
async fn d28_over_http_2_a_stopped_upload_ends_cleanly_and_its_connection_stays() {
    let mut server = Server::start().await;
    let http = http(Version::HTTP_2);
    let mut upload = upload(&server, &http, refresh_fn(|_| async { a2() }));
    assert_eq!(upload.next_end().await, Ok(()));
    assert_eq!(server.next_end().await.unwrap(), b"first half,");
    upload.send_the_rest();
    let response = upload.response().await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(connection(&response), Connection(0));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "first half, second half");
    assert_eq!(get(&server, &http).await, Connection(0));
}
