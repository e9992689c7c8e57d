//! Rejections and retries.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header::AUTHORIZATION};
use tokio::{sync::oneshot, time::Instant};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_reauth::{
    AuthLayer, RefreshContext, RefreshError, Session, WaitTimeout,
    challenge::Challenges,
    future::AuthReport,
    refresh::RefreshReason,
    refresh_fn,
    rejection::{ResponseHead, Verdict, rejection_fn},
    replay::NoReplay,
};

use crate::support::{BoxError, clock, endpoint, run_pending_tasks, spawn_refresh, token};

type Client = BoxCloneSyncService<Request<Bytes>, Response<Bytes>, BoxError>;

/// Each request waits here for its response.
#[derive(Clone, Default)]
struct Server {
    sent: Arc<Mutex<Vec<Sent>>>,
}

struct Sent {
    number: usize,
    token: String,
    response: oneshot::Sender<Response<Bytes>>,
}

#[derive(Clone, Copy)]
struct Number(usize);

impl Server {
    fn service(&self) -> Client {
        let sent = Arc::clone(&self.sent);
        BoxCloneSyncService::new(service_fn(move |request: Request<Bytes>| {
            let number = request.extensions().get::<Number>().map_or(0, |number| number.0);
            let token = request.headers()[AUTHORIZATION].to_str().unwrap().replace("Bearer ", "");
            let (response, receiver) = oneshot::channel();
            sent.lock().unwrap().push(Sent { number, token, response });
            async move { receiver.await.map_err(BoxError::from) }
        }))
    }

    fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }
}

fn status(status: u16) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"the server's own words"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn post(number: usize) -> Request<Bytes> {
    let mut request = Request::post("https://api.example.com/").body(Bytes::from_static(b"body")).unwrap();
    request.extensions_mut().insert(Number(number));
    request
}

/// 1,000 requests with generation 1 are rejected one by one, in random order, during two refreshes.
#[tokio::test(start_paused = true)]
async fn p04_a_thousand_late_rejections_cause_one_refresh_of_their_generation() {
    const REQUESTS: usize = 1000;
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock()).build();
    let server = Server::default();
    let client = AuthLayer::from_session(session.clone()).layer(server.service());
    let calls: Vec<_> =
        (0..REQUESTS).map(|number| tokio::spawn(client.clone().oneshot(post(number)))).collect();
    run_pending_tasks().await;
    for _ in 0..REQUESTS / 16 {
        tokio::task::yield_now().await;
    }
    let mut first = server.take();
    assert_eq!(first.len(), REQUESTS);
    assert!(first.iter().all(|sent| sent.token == "A1"));
    fastrand::Rng::with_seed(4).shuffle(&mut first);
    let mut attempts = BTreeMap::<usize, usize>::new();
    for (index, sent) in first.into_iter().enumerate() {
        sent.response.send(status(401)).unwrap();
        run_pending_tasks().await;
        match index {
            0 => assert_eq!(endpoint.call_count(), 1),
            300 => {
                let call = endpoint.next_call().await;
                assert_eq!(
                    (call.cx.refresh_token(), call.cx.reason()),
                    (Some("R1"), RefreshReason::Rejected)
                );
                call.succeed("A2 R2 60");
                run_pending_tasks().await;
            }
            // The new token becomes stale and is refreshed in the background.
            600 => tokio::time::advance(Duration::from_secs(40)).await,
            601 => {
                let own = session.clone();
                tokio::spawn(async move { own.token().await });
                endpoint.next_call().await.succeed("A3 R3 600");
                run_pending_tasks().await;
            }
            _ => {}
        }
        for retry in server.take() {
            assert_ne!(retry.token, "A1");
            *attempts.entry(retry.number).or_default() += 1;
            retry.response.send(status(200)).unwrap();
        }
    }
    run_pending_tasks().await;
    for call in calls {
        let response = call.await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.extensions().get::<AuthReport>().unwrap().attempts(), 2);
    }
    assert!(attempts.len() == REQUESTS && attempts.values().all(|attempts| *attempts == 1));
    assert_eq!((endpoint.call_count(), session.status().generation()), (2, 3));
}

/// With its headers and its body.
#[tokio::test(start_paused = true)]
async fn p05_b105_a_second_rejection_is_returned_to_the_caller() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let server = Server::default();
    let client = AuthLayer::from_session(session.clone()).layer(server.service());
    let call = tokio::spawn(client.oneshot(post(0)));
    run_pending_tasks().await;
    server.take().remove(0).response.send(status(401)).unwrap();
    endpoint.next_call().await.succeed("A2 R2 600");
    run_pending_tasks().await;
    let mut second = status(401);
    second.headers_mut().insert("www-authenticate", "Bearer realm=\"second\"".parse().unwrap());
    server.take().remove(0).response.send(second).unwrap();
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"second\"");
    assert_eq!(response.body(), "the server's own words");
    let report = response.extensions().get::<AuthReport>().unwrap();
    assert_eq!((report.attempts(), report.waited(), report.error().is_none()), (2, true, true));
    assert!(server.take().is_empty());
    assert!(session.status().is_rejected());
}

/// 10,000 calls in ten minutes to a server that rejects everything. Returns the number of refreshes, and the
/// most attempts of one request.
async fn storm(respond: fn(u64) -> Result<&'static str, RefreshError>) -> (usize, usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let refresher = refresh_fn(move |_: RefreshContext| {
        let number = counter.fetch_add(1, Ordering::SeqCst) as u64;
        let response = respond(number).map(|spec| token(&spec.replace('*', &(number + 2).to_string())));
        async move { response }
    });
    let session = Session::builder(refresher).token(token("A1 R1 6000")).jitter(false).clock(clock()).build();
    let most = Arc::new(Mutex::new(BTreeMap::<usize, usize>::new()));
    let attempts = Arc::clone(&most);
    let server = service_fn(move |request: Request<Bytes>| {
        let number = request.extensions().get::<Number>().unwrap().0;
        *attempts.lock().unwrap().entry(number).or_default() += 1;
        async { Ok::<_, BoxError>(status(401)) }
    });
    let client = AuthLayer::from_session(session).layer(server);
    for number in 0..10_000 {
        let response = client.clone().oneshot(post(number)).await.unwrap();
        assert_eq!((response.status(), response.body().len()), (StatusCode::UNAUTHORIZED, 22));
        tokio::time::advance(Duration::from_millis(60)).await;
    }
    let most = most.lock().unwrap().values().copied().max().unwrap();
    (calls.load(Ordering::SeqCst), most)
}

/// With delays of 1 s, 1.6 s .. 120 s, fifteen refreshes fit into ten minutes.
#[tokio::test(start_paused = true)]
async fn p05_b136_a_server_that_rejects_everything_causes_no_storm() {
    let (calls, most) = storm(|_| Err(RefreshError::transient("down"))).await;
    assert!((13..=15).contains(&calls) && most == 1, "{calls} {most}");
    let (calls, most) = storm(|_| Ok("A* R* 6000")).await;
    assert!((13..=16).contains(&calls) && most == 2, "{calls} {most}");
    let (calls, most) = storm(|_| Ok("A1 - 6000")).await;
    assert!((13..=15).contains(&calls) && most == 1, "{calls} {most}");
    let (calls, most) = storm(|_| Ok("A* R* 0.4")).await;
    assert!((13..=16).contains(&calls) && most == 2, "{calls} {most}");
}

/// Only the token differs, and the inner layers run again.
#[tokio::test(start_paused = true)]
async fn p16_b128_b130_a_retry_is_the_same_request_through_the_inner_layers() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let server = service_fn(move |request: Request<Bytes>| {
        let (head, body) = request.into_parts();
        let number = head.extensions.get::<Number>().map(|number| number.0);
        let mut seen = record.lock().unwrap();
        let rejected = seen.is_empty();
        seen.push((head.method, head.uri, head.version, head.headers, number, body));
        async move { Ok::<_, BoxError>(status(if rejected { 401 } else { 200 })) }
    });
    let signed = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&signed);
    let server = ServiceBuilder::new()
        .map_request(move |request| {
            counter.fetch_add(1, Ordering::SeqCst);
            request
        })
        .service(server);
    let refresher = refresh_fn(|_| async { Ok(token("A2 R2 600")) });
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let client = AuthLayer::from_session(session).layer(server);
    let mut request = Request::new(Bytes::from_static(b"\x00\xffbytes"));
    *request.method_mut() = Method::from_bytes(b"PURGE").unwrap();
    *request.uri_mut() = "https://api.example.com/a?b=c".parse().unwrap();
    *request.version_mut() = Version::HTTP_2;
    let headers: &mut HeaderMap = request.headers_mut();
    headers.append("x-one", "1".parse().unwrap());
    headers.append("x-one", "2".parse().unwrap());
    request.extensions_mut().insert(Number(7));
    assert_eq!(client.oneshot(request).await.unwrap().status(), StatusCode::OK);
    let mut seen = seen.lock().unwrap();
    let tokens: Vec<_> = seen
        .iter_mut()
        .map(|(.., headers, _, _)| {
            assert_eq!(headers.get_all(AUTHORIZATION).iter().count(), 1);
            headers.remove(AUTHORIZATION).unwrap()
        })
        .collect();
    assert_eq!(tokens, ["Bearer A1", "Bearer A2"]);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(signed.load(Ordering::SeqCst), 2);
}

/// The caller gets the 401, and the next call gets a new token.
#[tokio::test(start_paused = true)]
async fn b126_a_request_that_cannot_be_retried_still_marks_the_token() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let server = Server::default();
    let client = AuthLayer::from_session(session.clone()).with_replay(NoReplay).layer(server.service());
    let call = tokio::spawn(client.clone().oneshot(post(0)));
    run_pending_tasks().await;
    let mut rejected = status(401);
    let challenge = r#"Bearer realm="https://auth.example/token",scope="pull""#;
    rejected.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
    server.take().remove(0).response.send(rejected).unwrap();
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.extensions().get::<AuthReport>().unwrap().not_replayed().is_some());
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 0, "the next demand refreshes");
    let next = tokio::spawn(client.oneshot(post(1)));
    let call = endpoint.next_call().await;
    // The challenge reaches the refresher.
    let bearer = call.cx.challenges().find("bearer").and_then(|bearer| bearer.param("scope"));
    assert_eq!((call.cx.reason(), bearer), (RefreshReason::Rejected, Some("pull")));
    call.succeed("A2 R2 600");
    run_pending_tasks().await;
    let sent = server.take().remove(0);
    assert_eq!(sent.token, "A2");
    sent.response.send(status(200)).unwrap();
    next.await.unwrap().unwrap();
}

/// A refresh doesn't help against a step-up challenge, though its status is 401.
#[tokio::test(start_paused = true)]
async fn c66_d46_step_up_starts_no_refresh_and_its_parameters_are_readable() {
    for (challenge, name, value) in [
        (r#"Bearer error="insufficient_scope", scope="files:write""#, "scope", "files:write"),
        (r#"Bearer error="insufficient_user_authentication", acr_values="mfa""#, "acr_values", "mfa"),
    ] {
        let (refresher, endpoint) = endpoint();
        let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
        let server = service_fn(|_: Request<Bytes>| async {
            let mut response = status(401);
            response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
            Ok::<_, BoxError>(response)
        });
        let response = AuthLayer::from_session(session.clone()).layer(server).oneshot(post(0)).await.unwrap();
        assert!(response.extensions().get::<AuthReport>().is_none());
        let challenges = Challenges::from_headers(response.headers());
        assert!(challenges.is_step_up());
        assert_eq!(challenges.find("Bearer").unwrap().param(name), Some(value));
        assert!(session.status().is_fresh() && endpoint.call_count() == 0);
    }
}

/// As in the docs of `RejectionRule`.
mod bodies {
    use http_body_util::{BodyExt, BodyStream, Full, StreamBody, combinators::UnsyncBoxBody};
    use tokio_stream::StreamExt;
    use tower_reauth::rejection::{RejectionRule, StatusUnauthorized, Verdict, rejection_fn};

    use super::*;

    type Body = UnsyncBoxBody<Bytes, BoxError>;

    /// The body said that the token is invalid.
    #[derive(Clone)]
    struct TokenInvalid;

    async fn inspect(response: Response<Body>) -> Result<Response<Body>, BoxError> {
        let (mut head, mut body) = response.into_parts();
        let (mut start, mut frames) = (Vec::new(), Vec::new());
        while start.len() < 64 * 1024 {
            let Some(frame) = body.frame().await.transpose()? else { break };
            if let Some(data) = frame.data_ref() {
                start.extend_from_slice(data);
            }
            frames.push(Ok(frame));
        }
        if start.starts_with(br#"{"error":{"code":498"#) {
            head.extensions.insert(TokenInvalid);
        }
        let frames = tokio_stream::iter(frames).chain(BodyStream::new(body));
        Ok(Response::from_parts(head, Body::new(StreamBody::new(frames))))
    }

    #[tokio::test(start_paused = true)]
    async fn d32_a_layer_that_reads_bodies_passes_on_a_longer_response_whole() {
        const LONG: usize = 200 * 1024;
        let (refresher, mut endpoint) = endpoint();
        let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
        let rule = rejection_fn(|head| match head.extensions().get::<TokenInvalid>() {
            Some(_) => Verdict::reject(),
            None => StatusUnauthorized.judge(head),
        });
        let server = service_fn(|request: Request<()>| async move {
            let body = match request.headers()[AUTHORIZATION].as_bytes() {
                b"Bearer A2" => Full::from(vec![b'x'; LONG]),
                _ => Full::from(r#"{"error":{"code":498,"message":"Invalid token."}}"#),
            };
            Ok::<_, BoxError>(Response::new(Body::new(body.map_err(|never| match never {}))))
        });
        let client = session.layer().rejection_rule(rule).layer(server.and_then(inspect));
        let request = Request::get("https://api.example.com/").body(()).unwrap();
        let answer = async { endpoint.next_call().await.succeed("A2 R2 600") };
        let (response, ()) = tokio::join!(client.oneshot(request), answer);
        let body = response.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), LONG);
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    FirstAttempt,
    Waiting,
    Readying,
    Retry,
}

/// At each of its await points.
#[tokio::test(start_paused = true)]
async fn p03_b101_a_dropped_rejected_request_ends_only_itself() {
    for point in [Point::FirstAttempt, Point::Waiting, Point::Readying, Point::Retry] {
        let (refresher, mut endpoint) = endpoint();
        let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
        let server = Server::default();
        let gate = Gate { open: Arc::new(AtomicBool::new(true)), inner: server.service() };
        let open = Arc::clone(&gate.open);
        let client = AuthLayer::from_session(session.clone()).layer(gate);
        let mut dropped = Some(task::spawn(client.clone().oneshot(post(0))));
        let mut other = task::spawn(client.oneshot(post(1)));
        let mut drop_at = |now: Point| {
            if now == point {
                dropped = None;
            } else if let Some(request) = &mut dropped {
                assert_pending!(request.poll());
            }
        };
        drop_at(Point::FirstAttempt);
        if point != Point::FirstAttempt {
            drop_at(Point::FirstAttempt);
        }
        assert_pending!(other.poll());
        let sent = server.take();
        for sent in sent {
            // The receiver of a dropped request is gone.
            let _ = sent.response.send(status(401));
        }
        if point != Point::Waiting {
            drop_at(Point::FirstAttempt);
        }
        drop_at(Point::Waiting);
        assert_pending!(other.poll());
        open.store(false, Ordering::SeqCst);
        endpoint.next_call().await.succeed("A2 R2 600");
        run_pending_tasks().await;
        drop_at(Point::Readying);
        open.store(true, Ordering::SeqCst);
        assert_pending!(other.poll());
        if point == Point::Retry {
            drop_at(Point::FirstAttempt);
        }
        drop_at(Point::Retry);
        let retries = server.take();
        let numbers: Vec<_> = retries.iter().map(|sent| sent.number).collect();
        assert!(numbers.contains(&1), "{point:?}");
        assert_eq!(numbers.contains(&0), point == Point::Retry, "{point:?} {numbers:?}");
        for sent in retries {
            let _ = sent.response.send(status(200));
        }
        run_pending_tasks().await;
        assert_eq!(assert_ready_ok!(other.poll()).status(), StatusCode::OK);
        assert_eq!((endpoint.call_count(), session.status().waiters()), (1, 0));
    }
}

/// Ready while it is open. The test itself polls again after it opens the gate.
#[derive(Clone)]
struct Gate {
    open: Arc<AtomicBool>,
    inner: Client,
}

impl Service<Request<Bytes>> for Gate {
    type Response = Response<Bytes>;
    type Error = BoxError;
    type Future = <Client as Service<Request<Bytes>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.open.load(Ordering::SeqCst) { self.inner.poll_ready(cx) } else { Poll::Pending }
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.inner.call(request)
    }
}

/// A retry acquires readiness again, so a single permit is enough.
#[tokio::test(start_paused = true)]
async fn p11_rejected_requests_and_their_refresher_share_one_permit() {
    let good = Arc::new(Mutex::new("A1".to_owned()));
    let accepted = Arc::clone(&good);
    let server = service_fn(move |request: Request<Bytes>| {
        let token =
            request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().replace("Bearer ", ""));
        let ok = token.is_none_or(|token| token == *accepted.lock().unwrap());
        async move {
            tokio::task::yield_now().await;
            Ok::<_, BoxError>(status(if ok { 200 } else { 401 }))
        }
    });
    let limited = ServiceBuilder::new().concurrency_limit(1).service(server);
    let (own, rotates) = (limited.clone(), Arc::clone(&good));
    let refresher = refresh_fn(move |_| {
        let (own, rotates) = (own.clone(), Arc::clone(&rotates));
        async move {
            own.oneshot(post(99)).await.map_err(RefreshError::transient)?;
            *rotates.lock().unwrap() = "A2".to_owned();
            Ok(token("A2 R2 600"))
        }
    });
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let client = AuthLayer::from_session(session.clone()).layer(limited);
    *good.lock().unwrap() = "revoked".to_owned();
    let calls: Vec<_> = (0..20).map(|number| tokio::spawn(client.clone().oneshot(post(number)))).collect();
    for call in calls {
        let response = tokio::time::timeout(Duration::from_secs(5), call).await.unwrap().unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(session.status().generation(), 2);
}

/// The token was set, and is being refreshed in the background.
#[tokio::test(start_paused = true)]
async fn p04_a_rejection_of_a_stale_token_joins_the_running_refresh() {
    let (refresher, mut endpoint) = endpoint();
    let clock = clock();
    let session =
        Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock.clone()).build();
    session.set_token(token("A2 R2 600")).unwrap();
    let server = Server::default();
    let client = AuthLayer::from_session(session.clone()).layer(server.service());
    clock.step(Duration::from_secs(450));
    let call = tokio::spawn(client.oneshot(post(0)));
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 1, "the stale token is refreshed in the background");
    server.take().remove(0).response.send(status(401)).unwrap();
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 1, "the rejected request joins the refresh");
    endpoint.next_call().await.succeed("A3 R3 600");
    run_pending_tasks().await;
    let sent = server.take().remove(0);
    assert_eq!(sent.token, "A3");
    sent.response.send(status(200)).unwrap();
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
}

/// The body of the rejected response may occupy the connection that the retry needs.
#[tokio::test(start_paused = true)]
async fn p16_the_rejection_is_dropped_before_the_retry_waits_for_readiness() {
    #[derive(Debug)]
    struct Body(Arc<AtomicUsize>);

    impl Drop for Body {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[derive(Clone)]
    struct Rejects {
        open: Arc<AtomicBool>,
        dropped: Arc<AtomicUsize>,
    }

    impl Service<Request<()>> for Rejects {
        type Response = Response<Body>;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Response<Body>, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            if self.open.load(Ordering::SeqCst) { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            // From now on, none becomes ready.
            self.open.store(false, Ordering::SeqCst);
            let mut response = Response::new(Body(Arc::clone(&self.dropped)));
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            std::future::ready(Ok(response))
        }
    }

    // After a wait for the refresh, and at once if there is a newer token.
    for has_newer_token in [false, true] {
        let (refresher, mut endpoint) = endpoint();
        let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
        let server = Rejects { open: Arc::new(AtomicBool::new(true)), dropped: Arc::default() };
        let mut client = AuthLayer::from_session(session.clone()).layer(server.clone());
        let call = client.ready().await.unwrap().call(crate::support::get());
        let mut call = task::spawn(call);
        if has_newer_token {
            session.set_token(token("A2 R2 600")).unwrap();
            assert_pending!(call.poll());
        } else {
            assert_pending!(call.poll());
            assert_eq!(server.dropped.load(Ordering::SeqCst), 0, "the response is kept");
            endpoint.next_call().await.succeed("A2 R2 600");
            run_pending_tasks().await;
            assert_pending!(call.poll());
        }
        assert_eq!(
            server.dropped.load(Ordering::SeqCst),
            1,
            "it is dropped before the retry waits for readiness"
        );
    }
}

/// Their generations are equal.
#[tokio::test(start_paused = true)]
async fn d08_p04_a_token_of_another_session_marks_nothing() {
    let (refresher, endpoint) = crate::support::endpoint();
    let session = tower_reauth::Session::builder(refresher).token(crate::support::token("A1 R1 600")).build();
    let (refresher, _other_endpoint) = crate::support::endpoint();
    let other = tower_reauth::Session::builder(refresher).token(crate::support::token("B1 Q1 600")).build();
    let foreign = other.token().await.unwrap();
    session.mark_rejected(&foreign);
    assert!(session.status().is_fresh());
    assert!(session.token_after_rejection(&foreign).await.unwrap_err().is_signed_out());
    assert!(session.status().is_fresh());
    assert_eq!(endpoint.call_count(), 0);
}

/// Nothing newer can come, so the server may decide again.
#[test]
fn a_rejected_token_is_returned_at_once_if_no_refresh_can_start() {
    let rejected = || {
        let session = Session::builder(endpoint().0).token(token("A1 R1 600")).build();
        session.mark_rejected(&session.try_token().unwrap());
        session
    };
    assert_eq!(rejected().try_token().unwrap().secret(), "A1", "there is no runtime");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = rejected();
        assert!(session.try_token().is_none(), "a call would wait for a newer one");
        session.shutdown(Duration::ZERO).await.unwrap();
        assert_eq!(session.try_token().unwrap().secret(), "A1", "the session was shut down");
    });
}

/// Of the response, as its inner services left it.
#[tokio::test(start_paused = true)]
async fn p04_a_rule_sees_the_whole_head_of_a_response() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let rule = rejection_fn(|head: &ResponseHead<'_>| {
        let is_rejected = head.status() == StatusCode::FORBIDDEN
            && head.headers().get("x-reason").is_some_and(|reason| reason == "token")
            && head.extensions().get::<Number>().is_some_and(|number| number.0 == 7);
        if is_rejected { Verdict::reject() } else { Verdict::Accept }
    });
    let server = service_fn(|request: Request<Bytes>| async move {
        let mut response = status(403);
        if request.headers()[AUTHORIZATION] != "Bearer A2" {
            response.headers_mut().insert("x-reason", "token".parse().unwrap());
            response.extensions_mut().insert(Number(7));
        }
        Ok::<_, BoxError>(response)
    });
    let call = tokio::spawn(session.layer().rejection_rule(rule).layer(server).oneshot(post(0)));
    endpoint.next_call().await.succeed("A2 R2 600");
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.extensions().get::<AuthReport>().unwrap().attempts(), 2);
}

/// A newer token was there already.
#[tokio::test(start_paused = true)]
async fn p04_a_retry_that_did_not_wait_is_reported_so() {
    let (refresher, endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let server = Server::default();
    let call =
        tokio::spawn(AuthLayer::from_session(session.clone()).layer(server.service()).oneshot(post(0)));
    run_pending_tasks().await;
    session.set_token(token("A2 R2 600")).unwrap();
    server.take().remove(0).response.send(status(401)).unwrap();
    run_pending_tasks().await;
    server.take().remove(0).response.send(status(200)).unwrap();
    let response = call.await.unwrap().unwrap();
    let report = response.extensions().get::<AuthReport>().unwrap();
    assert_eq!((report.attempts(), report.waited(), endpoint.call_count()), (2, false, 0));
}

/// As it bounds the wait before the first attempt.
#[tokio::test(start_paused = true)]
async fn p05_the_wait_timeout_of_a_request_bounds_the_wait_for_its_retry() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let server = Server::default();
    let mut request = post(0);
    request.extensions_mut().insert(WaitTimeout::new(Duration::from_secs(2)));
    let call = tokio::spawn(AuthLayer::from_session(session).layer(server.service()).oneshot(request));
    run_pending_tasks().await;
    server.take().remove(0).response.send(status(401)).unwrap();
    let _refresh = endpoint.next_call().await;
    let start = Instant::now();
    let response = call.await.unwrap().unwrap();
    assert!(
        start.elapsed().abs_diff(Duration::from_secs(2)) < Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );
    let report = response.extensions().get::<AuthReport>().unwrap();
    assert!(report.error().unwrap().is_timeout() && report.waited());
}

/// The rejected request needs no refresh.
#[tokio::test(start_paused = true)]
async fn p04_a_rejection_of_an_older_token_abandons_no_flight() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session =
        Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock.clone()).build();
    let server = Server::default();
    let call =
        tokio::spawn(AuthLayer::from_session(session.clone()).layer(server.service()).oneshot(post(0)));
    run_pending_tasks().await;
    session.set_token(token("A2 R2 600")).unwrap();
    let refreshing = spawn_refresh(&session);
    let refresh = endpoint.next_call().await;
    // The flight is past its timeout, and its timer hasn't fired.
    clock.step(Duration::from_secs(100));
    server.take().remove(0).response.send(status(401)).unwrap();
    run_pending_tasks().await;
    server.take().remove(0).response.send(status(200)).unwrap();
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
    assert!(session.status().is_refreshing() && refresh.cx.is_wanted());
    refresh.succeed("A3 R3 600");
    refreshing.await.unwrap().unwrap();
}
