//! Response sizes and timeouts.

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};
use tower::service_fn;
use tower_reauth::{
    RefreshError, Refresher, RefresherExt, Session, Token,
    endpoint::{EndpointError, RequestBody},
    oauth2,
    rt::{Clock, NoTimer, Sleep, TestClock, Timestamp},
};

use crate::{
    canned,
    support::{BoxError, clock},
    token_endpoint::{Reply, Server, TOKEN, error, r1, reply},
};

/// A response of so many bytes.
fn long(bytes: usize) -> String {
    let (before, after) = (r#"{"access_token":"A2","token_type":"Bearer","pad":""#, r#""}"#);
    format!("{before}{}{after}", "x".repeat(bytes - before.len() - after.len()))
}

fn token_of(bytes: usize) -> String {
    TOKEN.replace("A2", &"x".repeat(bytes))
}

async fn refresh(response: Reply) -> Result<Token, RefreshError> {
    Server::on_loopback([response]).await.client().refresh_token_grant().refresh(r1()).await
}

fn found(error: &RefreshError) -> &EndpointError {
    EndpointError::find(error).unwrap()
}

#[tokio::test]
async fn c97_a_response_above_the_limit_is_a_typed_error_with_the_limit() {
    for response in [reply(200, long(2 << 20)), reply(200, long(2 << 20)).chunked()] {
        let error = refresh(response).await.unwrap_err();
        assert!(error.is_misconfigured());
        assert_eq!(found(&error).response_limit(), Some(256 * 1024));
        assert!(found(&error).to_string().contains("262144"), "{error:?}");
        assert!(!found(&error).is_timeout() && !found(&error).is_missing_refresh_token());
    }
}

#[tokio::test]
async fn c97_the_limit_is_exact_and_can_be_set() {
    for bytes in [1000, 70_000] {
        for chunked in [false, true] {
            let response = |length| match reply(200, long(length)) {
                response if chunked => response.chunked(),
                response => response,
            };
            let server = Server::on_loopback([response(bytes), response(bytes + 1)]).await;
            let refresher = server.client().max_response_size(bytes).refresh_token_grant();
            assert_eq!(refresher.refresh(r1()).await.unwrap().access_token(), "A2");
            assert_eq!(found(&refresher.refresh(r1()).await.unwrap_err()).response_limit(), Some(bytes));
            server.set_script([response(bytes), response(bytes + 1)]);
            let endpoint = server.json().max_response_size(bytes);
            assert_eq!(endpoint.refresh(r1()).await.unwrap().access_token(), "A2");
            assert_eq!(found(&endpoint.refresh(r1()).await.unwrap_err()).response_limit(), Some(bytes));
        }
    }
}

#[tokio::test]
async fn c97_large_tokens_are_accepted() {
    for bytes in [4 * 1024, 20 * 1024, 200 * 1024] {
        for response in [reply(200, token_of(bytes)), reply(200, token_of(bytes)).chunked()] {
            assert_eq!(refresh(response).await.unwrap().access_token().len(), bytes);
        }
    }
}

#[tokio::test]
async fn c97_an_error_response_above_the_limit_is_classified_by_its_status() {
    assert!(refresh(reply(503, long(1 << 20))).await.unwrap_err().is_transient());
    assert!(refresh(reply(500, long(1 << 20)).chunked()).await.unwrap_err().is_outcome_unknown());
    assert!(refresh(reply(422, long(1 << 20))).await.unwrap_err().is_misconfigured());
}

#[tokio::test]
async fn c97_a_response_with_a_content_length_above_the_limit_is_not_read() {
    let client = raw_held("HTTP/1.1 200 OK\r\ncontent-length: 2097152\r\n\r\n{").await;
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert_eq!(found(&error).response_limit(), Some(256 * 1024), "{error:?}");
}

#[tokio::test]
async fn c97_a_false_content_length_allocates_nothing() {
    for length in ["18446744073709551610", "9000000000000000000", "1000000000000000"] {
        let server = raw(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{{\"acc")).await;
        let refresher = server.max_response_size(usize::MAX).refresh_token_grant();
        let error = refresher.refresh(r1()).await.unwrap_err();
        assert!(error.is_outcome_unknown(), "{error:?}");
    }
}

/// A client of a server that writes these bytes and closes the connection.
async fn raw(response: &str) -> oauth2::Client {
    serve_raw(response, false).await
}

/// A client of a server that writes these bytes and keeps the connection open.
async fn raw_held(response: &str) -> oauth2::Client {
    serve_raw(response, true).await
}

async fn serve_raw(response: &str, held: bool) -> oauth2::Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let response = response.to_owned();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"client_id=app") {
            stream.read_buf(&mut received).await.unwrap();
        }
        stream.write_all(response.as_bytes()).await.unwrap();
        if held {
            let _ = stream.read_to_end(&mut received).await;
        }
    });
    let executor = hyper_util::rt::TokioExecutor::new();
    let http = hyper_util::client::legacy::Client::builder(executor).build_http::<RequestBody>();
    oauth2::Client::try_with_transport(url, "app", http).unwrap()
}

#[tokio::test]
async fn c19_a_truncated_response_is_a_lost_response() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"access_token\":\"A2\"",
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"access_token\":\"A2\"}",
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n14\r\n{\"access_token\":\"A2\"\r\n",
        // The body ends with the connection, so only its content shows that it is truncated.
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"access_token\":\"A2\"",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "",
    ] {
        let error = raw(response).await.refresh_token_grant().refresh(r1()).await.unwrap_err();
        assert!(error.is_outcome_unknown(), "{response}: {error:?}");
    }
    let cut = "HTTP/1.1 400 Bad Request\r\ncontent-length: 1000\r\n\r\n{\"error\":\"invalid_";
    let error = raw(cut).await.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_transient(), "the status of an error is enough: {error:?}");
    let whole = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"access_token\":\"A2\"}";
    let token = raw(whole).await.refresh_token_grant().refresh(r1()).await.unwrap();
    assert_eq!(token.access_token(), "A2");
}

#[tokio::test(start_paused = true)]
async fn c84_a_connection_that_hangs_is_transient() {
    let begin = Instant::now();
    let hangs = service_fn(|_: Request<RequestBody>| pending::<Result<Response<String>, BoxError>>());
    let client = oauth2::Client::try_with_transport("https://id.example.com/", "app", hangs).unwrap();
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_transient() && found(&error).is_timeout());
    assert_eq!(found(&error).to_string(), "token request not sent within 10s");
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
}

/// Its timers panic if they are polled after they have completed.
struct StrictClock(TestClock);

impl Clock for StrictClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        let timer = self.0.sleep(duration)?;
        Ok(Box::pin(async move {
            timer.await;
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn c84_a_timer_is_not_polled_again() {
    let hangs = service_fn(|_: Request<RequestBody>| pending::<Result<Response<String>, BoxError>>());
    let client = oauth2::Client::try_with_transport("https://id.example.com/", "app", hangs).unwrap();
    let builder = Session::builder(client.refresh_token_grant()).refresh_token("R1");
    let error = builder.clock(StrictClock(clock())).build().token().await.unwrap_err();
    assert!(EndpointError::find(&error).unwrap().is_timeout(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn c84_a_request_without_a_response_is_an_unknown_outcome_after_the_timeout() {
    let server = Server::in_memory([reply(200, TOKEN).delayed()]);
    let begin = Instant::now();
    let refresher = server.client().timeout(Duration::from_secs(3)).refresh_token_grant();
    let error = refresher.refresh(r1()).await.unwrap_err();
    assert!(error.is_outcome_unknown() && found(&error).is_timeout());
    assert_eq!(found(&error).to_string(), "no response to the token request within 3s");
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
    let error = server.json().timeout(Duration::from_secs(4)).refresh(r1()).await.unwrap_err();
    assert!(error.is_outcome_unknown());
    assert_eq!(begin.elapsed(), Duration::from_secs(7));
}

/// A client whose responses have these frames.
fn framed<S>(frames: impl Fn() -> S + Clone + Send + 'static) -> oauth2::Client
where
    S: Stream<Item = Result<Frame<Bytes>, BoxError>> + Send + 'static,
{
    let transport = service_fn(move |request: Request<RequestBody>| {
        drop(request.into_body().into_bytes());
        std::future::ready(Ok::<_, BoxError>(Response::new(StreamBody::new(frames()))))
    });
    oauth2::Client::try_with_transport("https://id.example.com/", "app", transport).unwrap()
}

#[tokio::test(start_paused = true)]
async fn c84_a_body_that_never_ends_is_a_lost_response() {
    let client = framed(|| {
        let begun = Ok(Frame::data(Bytes::from_static(b"{\"access_token\":\"A2\"}")));
        stream::iter([begun]).chain(stream::pending())
    });
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_outcome_unknown() && found(&error).is_timeout());
}

#[tokio::test(start_paused = true)]
async fn a_body_in_single_bytes_with_trailers_is_read() {
    let client = framed(|| {
        let bytes = TOKEN.as_bytes().chunks(1).map(|byte| Ok(Frame::data(Bytes::from_static(byte))));
        stream::iter(bytes.chain([Ok(Frame::trailers(HeaderMap::new()))]))
    });
    let token = client.refresh_token_grant().refresh(r1()).await.unwrap();
    assert_eq!((token.access_token(), token.refresh_token()), ("A2", Some("R2")));
}

#[tokio::test(start_paused = true)]
async fn c18_c84_a_late_response_is_followed_by_one_repeat_in_the_same_flight() {
    let server = Server::in_memory([reply(200, TOKEN).delayed(), reply(200, TOKEN)]);
    let session =
        Session::builder(server.client().refresh_token_grant()).refresh_token("R1").clock(clock()).build();
    let begin = Instant::now();
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert_eq!((begin.elapsed(), server.count()), (Duration::from_secs(10), 2));
    assert!(server.requests().iter().all(|request| request.param("refresh_token").unwrap() == "R1"));
}

#[tokio::test(start_paused = true)]
async fn c18_a_refresher_can_refuse_to_repeat() {
    let server = Server::in_memory([reply(200, TOKEN).delayed(), reply(200, TOKEN)]);
    let refresher = server.client().refresh_token_grant().map_err(|error| match error.is_outcome_unknown() {
        true => RefreshError::grant_ended(error),
        false => error,
    });
    let session = Session::builder(refresher).refresh_token("R1").clock(clock()).build();
    assert!(session.token().await.unwrap_err().is_grant_ended());
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn c84_a_response_within_the_timeout_is_used() {
    let server = Server::in_memory([error(503, "slow_down").delayed()]);
    let refresher = server.client().refresh_token_grant();
    let waiting = tokio::spawn(async move { refresher.refresh(r1()).await });
    server.wait_for_requests(1).await;
    tokio::time::advance(Duration::from_millis(9_990)).await;
    server.release();
    assert!(waiting.await.unwrap().unwrap_err().is_transient());
}

/// Endless empty frames, all of them ready.
struct Nothing;

impl http_body::Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
    }
}

#[tokio::test]
async fn c97_a_body_of_endless_empty_frames_times_out() {
    let transport = service_fn(|request: Request<RequestBody>| async move {
        let _ = request.into_body().into_bytes();
        Ok::<_, Infallible>(Response::new(Nothing))
    });
    let client = oauth2::Client::try_with_transport(canned::URL, "web", transport).unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let client = client.timeout(Duration::from_secs(1));
        let _ = done.send(runtime.block_on(client.refresh_token_grant().refresh(r1())));
    });
    let result = ended.recv_timeout(Duration::from_secs(300)).expect("it ends within its timeout");
    assert!(result.is_err());
}
