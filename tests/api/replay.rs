//! Replays of request bodies.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version, header::AUTHORIZATION};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    Auth, AuthLayer, RefreshContext, RefreshError, Session, Token,
    future::AuthReport,
    refresh_fn,
    replay::{Buffered, BufferedBody, MapBody, NoReplay, NotReplayed, Replay, replay_fn},
};

use crate::support::{BoxError, clock, token};

type Body = BoxBody<Bytes, BoxError>;

struct Client<S> {
    inner: Auth<S, MapBody<Body, Body>>,
}

fn session() -> Session {
    let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
    Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build()
}

fn post<B>(body: B) -> Request<B> {
    Request::post("https://api.example.com/").body(body).unwrap()
}

/// Accepts `A2` alone, and echoes the body.
async fn echo(request: Request<Body>) -> Result<Response<Bytes>, BoxError> {
    let is_accepted = request.headers()[AUTHORIZATION] == "Bearer A2";
    let body = request.into_body().collect().await?.to_bytes();
    let mut response = Response::new(body);
    if !is_accepted {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    Ok(response)
}

#[tokio::test(start_paused = true)]
async fn d36_a_client_of_boxed_bodies_fits_into_a_struct_and_a_spawned_task() {
    let layer = AuthLayer::from_session(session()).with_replay(Buffered::default().map_body(Body::new));
    let mut client = Client { inner: layer.layer(service_fn(echo)) };
    let body = Body::new(Full::from("upload").map_err(|never| match never {}));
    let task = tokio::spawn(async move { client.inner.ready().await?.call(post(body)).await });
    let response = task.await.unwrap().unwrap();
    assert_eq!((response.status(), &**response.body()), (StatusCode::OK, &b"upload"[..]));
}

/// A body that isn't `Clone`.
#[derive(Debug, PartialEq)]
enum Source {
    Text(&'static str),
    Stream,
}

impl Source {
    fn try_clone(&self) -> Option<Self> {
        match self {
            Self::Text(text) => Some(Self::Text(text)),
            Self::Stream => None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_can_clone_itself_is_replayed() {
    let server = service_fn(|request: Request<Source>| async {
        let is_accepted = request.headers()[AUTHORIZATION] == "Bearer A2";
        let status = if is_accepted { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        let mut response = Response::new(request.into_body());
        *response.status_mut() = status;
        Ok::<_, BoxError>(response)
    });
    for (body, clone, status) in [
        (Source::Text("a"), Source::Text("a"), StatusCode::OK),
        (Source::Stream, Source::Stream, StatusCode::UNAUTHORIZED),
    ] {
        let layer = AuthLayer::from_session(session()).with_replay(replay_fn(Source::try_clone));
        let response = layer.layer(server).oneshot(post(body)).await.unwrap();
        assert_eq!((response.status(), response.into_body()), (status, clone));
    }
}

/// The report of a request that is rejected, and the session's token afterwards.
async fn report_of<P, B>(replay: P, body: B) -> (AuthReport, String)
where
    P: Replay<B, Body: http_body::Body<Data: Send, Error: Into<BoxError>> + Send, Retained: Send>,
    B: Send + 'static,
{
    let session = session();
    let server = service_fn(|request: Request<P::Body>| async {
        let is_accepted = request.headers()[AUTHORIZATION] == "Bearer A2";
        let _ = request.into_body().collect().await;
        let mut response = Response::new(());
        *response.status_mut() = if is_accepted { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        Ok::<_, BoxError>(response)
    });
    let mut response = session.layer().with_replay(replay).layer(server).oneshot(post(body)).await.unwrap();
    let report = response.extensions_mut().remove().expect("a report");
    (report, session.token().await.unwrap().secret().to_owned())
}

fn body(text: &'static str) -> Body {
    Body::new(Full::from(text).map_err(|never| match never {}))
}

#[tokio::test(start_paused = true)]
async fn d31_the_report_says_why_a_rejected_request_was_not_retried() {
    let failing = Body::new(http_body_util::StreamBody::new(futures::stream::iter([Err("disk".into())])));
    for (outcome, reason) in [
        (report_of(Buffered::new(10), body("longer than that")).await, NotReplayed::TooLarge),
        (report_of(Buffered::new(10).map_body(Body::new), body("longer")).await, NotReplayed::TooLarge),
        (report_of(Buffered::default(), failing).await, NotReplayed::Failed),
        (report_of(NoReplay, body("a")).await, NotReplayed::SingleUse),
        (report_of(replay_fn(|_: &Body| None), body("a")).await, NotReplayed::SingleUse),
    ] {
        let (report, token) = outcome;
        assert_eq!((report.not_replayed(), report.attempts()), (Some(reason), 1));
        assert!(report.error().is_none());
        assert_eq!(token, "A2", "the next request gets a newer token");
    }
}

/// Neither a request that was retried nor one that got no newer token is reported so.
#[tokio::test(start_paused = true)]
async fn d31_a_request_that_could_be_replayed_is_not_reported_as_one_that_could_not() {
    let (report, _) = report_of(Buffered::default(), body("a")).await;
    assert_eq!((report.not_replayed(), report.attempts()), (None, 2));

    let reject = service_fn(|_: Request<()>| async {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        Ok::<_, BoxError>(response)
    });
    let down = refresh_fn(|_: RefreshContext| async { Err(RefreshError::transient("down")) });
    let without = Session::builder(down).token(token("A1 R1 600")).clock(clock()).build();
    for (session, attempts) in [(session(), 2), (without, 1)] {
        let response = session.layer().layer(reject).oneshot(post(())).await.unwrap();
        let report = response.extensions().get::<AuthReport>().unwrap();
        assert_eq!((report.not_replayed(), report.attempts()), (None, attempts));
        assert_eq!(report.error().is_some(), attempts == 1);
    }
}

/// As many values as a header map can have beyond its names.
#[tokio::test(start_paused = true)]
async fn p16_a_request_with_very_many_header_values_is_retried() {
    let refuse_a1 = service_fn(|request: Request<()>| async move {
        let mut response = Response::new(request.headers().len());
        if request.headers()[AUTHORIZATION] != "Bearer A2" {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        Ok::<_, BoxError>(response)
    });
    let client = AuthLayer::from_session(session()).layer(refuse_a1);
    let mut request = post(());
    for _ in 0..25_000 {
        request.headers_mut().append("x-a", http::HeaderValue::from_static("1"));
    }
    let response = client.oneshot(request).await.unwrap();
    assert_eq!((response.status(), *response.body()), (StatusCode::OK, 25_001));
}

#[test]
fn d31_the_reasons_against_a_retry_are_readable() {
    for (reason, text) in [
        (NotReplayed::TooLarge, "the body exceeded the limit for a retry"),
        (NotReplayed::SingleUse, "the body can be sent only once"),
        (NotReplayed::Failed, "the body failed while it was sent"),
    ] {
        assert_eq!(reason.to_string(), text);
    }
}

/// Reports the same length before and after it was sent.
struct Fixed(Option<&'static str>);

impl http_body::Body for Fixed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.take().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(6)
    }
}

/// A length that is too large would make an HTTP/1 request hang.
#[tokio::test]
async fn p16_a_replay_of_a_body_that_was_sent_has_its_length() {
    let replay = Buffered::default();
    let (first, kept) = replay.split(Fixed(Some("upload")));
    assert_eq!(http_body::Body::size_hint(&first).exact(), Some(6));
    assert_eq!(first.collect().await.unwrap().to_bytes(), "upload");
    let kept = <Buffered as Replay<Fixed>>::stop(&replay, kept.unwrap(), Version::HTTP_11).unwrap();
    let second: BufferedBody<Fixed> = replay.replay(kept);
    assert_eq!(http_body::Body::size_hint(&second).exact(), Some(6));
    assert_eq!(second.collect().await.unwrap().to_bytes(), "upload");
}

/// What the connection of the first attempt gets.
#[tokio::test]
async fn p16_a_stopped_upload_ends_with_an_error_that_says_so() {
    let replay = Buffered::default();
    let (mut first, kept) = replay.split(Fixed(Some("upload")));
    let stopped = <Buffered as Replay<Fixed>>::stop(&replay, kept.unwrap(), Version::HTTP_11);
    let error = first.frame().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "upload aborted: the server rejected the access token");
    assert!(stopped.is_ok());
}
