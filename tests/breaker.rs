//! What hostile endpoints, transports and combinations of settings must not bring about.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and have tokio's tasks and timers"
)]

use std::{
    convert::Infallible,
    future::pending,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use tower::{ServiceBuilder, service_fn};
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, RefresherExt, Session, Token,
    endpoint::{EndpointError, RequestBody, Verdicts},
    json::JsonEndpoint,
    oauth2::Client,
    refresh_fn,
};

#[path = "support/mod.rs"]
mod support;

use support::{clock, settle, token};

const URL: &str = "https://id.example.com/token";

type Answer = Response<Full<Bytes>>;

fn answer(status: u16, body: &str) -> Answer {
    Response::builder().status(status).body(Full::from(body.to_owned())).unwrap()
}

fn r1() -> RefreshContext {
    RefreshContext::default().with_refresh_token("R1-opaque-and-secret")
}

/// A client of an endpoint that gives the same answer each time.
fn client(status: u16, body: &'static str) -> Client {
    let transport = service_fn(move |request: Request<RequestBody>| async move {
        let _ = request.into_body().into_bytes();
        Ok::<_, Infallible>(answer(status, body))
    });
    Client::try_with_transport(URL, "web", transport).unwrap()
}

fn json(status: u16, body: &'static str) -> JsonEndpoint {
    let transport = service_fn(move |request: Request<RequestBody>| async move {
        let _ = request.into_body().into_bytes();
        Ok::<_, Infallible>(answer(status, body))
    });
    JsonEndpoint::try_with_transport(URL, transport).unwrap()
}

// === known whether it was sent ===

/// What a transport that works in tasks of its own sent, in the end.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Vec<Bytes>>>);

impl Wire {
    /// Sends after a while, also when nobody waits for the answer any more.
    fn late(
        self,
        after: Duration,
    ) -> impl tower::Service<
        Request<RequestBody>,
        Response = Answer,
        Error = io::Error,
        Future = impl Future<Output = Result<Answer, io::Error>> + Send,
    > + Clone
    + Send
    + 'static {
        let wire = self;
        service_fn(move |request: Request<RequestBody>| {
            let wire = wire.clone();
            let task = tokio::spawn(async move {
                tokio::time::sleep(after).await;
                let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
                wire.0.lock().unwrap().push(body);
                pending().await
            });
            async move { task.await.map_err(io::Error::other)? }
        })
    }

    fn sent(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn p18_what_was_told_as_not_sent_isnt_sent_afterwards() {
    let wire = Wire::default();
    let client = Client::try_with_transport(URL, "web", wire.clone().late(Duration::from_secs(11))).unwrap();
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn p18_what_a_timeout_in_the_transport_gave_up_isnt_sent_afterwards() {
    let wire = Wire::default();
    let transport = ServiceBuilder::new()
        .timeout(Duration::from_secs(2))
        .service(wire.clone().late(Duration::from_secs(3)));
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn p02_a_request_that_was_tried_again_isnt_sent_twice() {
    let wire = Wire::default();
    let calls = Arc::<AtomicUsize>::default();
    let transport = {
        let (wire, calls) = (wire.clone(), Arc::clone(&calls));
        service_fn(move |request: Request<RequestBody>| {
            let (wire, first) = (wire.clone(), calls.fetch_add(1, Ordering::SeqCst) == 0);
            async move {
                if first {
                    // Its connection died, it says, and tries another one behind our back.
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
                        wire.0.lock().unwrap().push(body);
                        Ok::<_, io::Error>(())
                    });
                    return Err(io::Error::from(io::ErrorKind::BrokenPipe));
                }
                wire.0.lock().unwrap().push(request.into_body().into_bytes());
                Ok(answer(200, r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R2"}"#))
            }
        })
    };
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    client.refresh_token_grant().refresh(r1()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.sent(), 1);
}

// === the successor ===

/// The refresh tokens that an endpoint was given, by a session that is asked until it gives up.
async fn presented(bodies: &'static [&'static str]) -> Vec<String> {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let transport = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: Request<RequestBody>| {
            let seen = Arc::clone(&seen);
            async move {
                let body = request.into_body().into_bytes();
                let pairs: Vec<_> = form_urlencoded::parse(&body).into_owned().collect();
                let token = pairs.into_iter().find(|(name, _)| name == "refresh_token").unwrap().1;
                let mut seen = seen.lock().unwrap();
                seen.push(token);
                Ok::<_, Infallible>(answer(200, bodies[(seen.len() - 1).min(bodies.len() - 1)]))
            }
        })
    };
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    let session = support::expired(client.refresh_token_grant()).build();
    for _ in bodies {
        let _ = session.token().await;
        session.retry_now();
    }
    std::mem::take(&mut seen.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn p02_the_successor_of_an_answer_of_no_use_replaces_the_refresh_token() {
    let of_another_type = &[
        r#"{"access_token":"A2","token_type":"mac","refresh_token":"R2"}"#,
        r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R3"}"#,
    ];
    let unsendable = &[
        "{\"access_token\":\"A\\u00012\",\"token_type\":\"Bearer\",\"refresh_token\":\"R2\"}",
        r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R3"}"#,
    ];
    let without = &[
        r#"{"token_type":"Bearer","refresh_token":"R2"}"#,
        r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R3"}"#,
    ];
    assert_eq!(presented(of_another_type).await, ["R1", "R2"]);
    assert_eq!(presented(unsendable).await, ["R1", "R2"]);
    assert_eq!(presented(without).await, ["R1", "R2"]);
}

// === pace ===

#[tokio::test(start_paused = true)]
async fn p07_leisure_ends_with_the_token_that_stayed_in_use() {
    let asked = Arc::<AtomicUsize>::default();
    let transport = {
        let asked = Arc::clone(&asked);
        service_fn(move |request: Request<RequestBody>| {
            let _ = request.into_body().into_bytes();
            let n = asked.fetch_add(1, Ordering::SeqCst);
            async move {
                Ok::<_, Infallible>(match n {
                    // A firewall's word, for a while.
                    0..4 => answer(403, "<html>"),
                    _ => answer(200, r#"{"access_token":"A2","token_type":"Bearer","expires_in":600}"#),
                })
            }
        })
    };
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    let session = Session::builder(client.refresh_token_grant())
        .token(token("A1 R1 600"))
        .jitter(false)
        .clock(clock())
        .build();
    // Stale in its last quarter; four tries fail.
    tokio::time::advance(Duration::from_secs(430)).await;
    for _ in 0..4 {
        session.token().await.unwrap();
        settle().await;
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    // Expired: one try is permitted, whatever was before.
    tokio::time::advance(Duration::from_secs(110)).await;
    let token = session.token().await.unwrap();
    assert_eq!(token.expose(), "A2");
}

#[tokio::test(start_paused = true)]
async fn p07_a_clone_of_a_grant_counts_for_itself() {
    let grant = client(403, "<html>").refresh_token_grant();
    let (one, other) = (grant.clone(), grant);
    let wait = |error: RefreshError| format!("{error:?}").contains("600s");
    for failures in 0..3 {
        assert!(!wait(one.refresh(r1().with_failures(failures)).await.unwrap_err()));
    }
    // The other session failed thrice for other reasons.
    assert!(!wait(other.refresh(r1().with_failures(3)).await.unwrap_err()));
    assert!(wait(one.refresh(r1().with_failures(3)).await.unwrap_err()));
}

#[tokio::test]
async fn p07_a_failure_made_of_another_keeps_its_retry_after() {
    let busy = || {
        refresh_fn(|_| async {
            Err::<Token, _>(RefreshError::transient("busy").retry_after(Duration::from_secs(90)))
        })
    };
    let wrapped = busy().map_err(RefreshError::configuration).refresh(r1()).await.unwrap_err();
    assert!(
        format!("{wrapped:?}").starts_with("RefreshError { kind: Configuration, retry_after: Some(90s),")
    );
    let set = busy().map_err(|error| RefreshError::transient(error).retry_after(None));
    assert!(format!("{:?}", set.refresh(r1()).await.unwrap_err()).contains("Transient, retry_after: None"));
}

// === verdicts ===

#[tokio::test]
async fn p08_a_code_of_several_words_can_be_told() {
    for (code, body) in [
        ("session expired", r#"{"error":"Session expired"}"#),
        ("session expired", r#"{"code":" session expired "}"#),
        (
            "Sitzung abgelaufen: bitte neu anmelden, denn Ihre Sitzung ist lange abgelaufen",
            r#"{"error":"Sitzung abgelaufen: bitte neu anmelden, denn Ihre Sitzung ist lange abgelaufen"}"#,
        ),
        ("séance terminée", r#"{"error":"séance terminée"}"#),
    ] {
        let endpoint = json(401, body).verdicts(Verdicts::new().ended(code));
        let error = endpoint.refresh(r1()).await.unwrap_err();
        assert!(error.is_ended(), "{code}: {error:?}");
    }
}

#[tokio::test]
async fn p08_a_code_beside_the_status_in_words_is_found() {
    let body = r#"{"statusCode":401,"error":"Unauthorized","code":"session_expired"}"#;
    let endpoint = json(401, body).verdicts(Verdicts::new().ended("session_expired"));
    let error = endpoint.refresh(r1()).await.unwrap_err();
    assert!(error.is_ended(), "{error:?}");
    assert_eq!(EndpointError::find(&error).unwrap().code(), Some("session_expired"));
    let unknown = json(401, body).refresh(r1()).await.unwrap_err();
    assert_eq!(EndpointError::find(&unknown).unwrap().code(), Some("Unauthorized"));
}

#[tokio::test]
async fn p08_a_refresh_token_that_is_sent_after_all_can_end() {
    let endpoint = json(401, r#"{"code":"token_not_valid"}"#).without_refresh_token().for_simplejwt();
    assert!(endpoint.refresh(r1()).await.unwrap_err().is_ended());
}

// === destinations ===

#[tokio::test]
async fn p15_a_redirect_that_names_a_user_is_not_followed() {
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    let transport = service_fn(move |request: Request<RequestBody>| {
        let _ = request.into_body().into_bytes();
        counted.fetch_add(1, Ordering::SeqCst);
        async {
            let to = "https://web:s3cret@id.example.com/token";
            Response::builder().status(307).header("location", to).body(Full::<Bytes>::default())
        }
    });
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(!format!("{error:?}").contains("s3cret"));
}

// === secrets ===

#[tokio::test]
async fn p14_a_token_that_is_echoed_as_a_code_is_not_shown() {
    let secret = "R1-opaque-and-secret";
    for body in [
        r#"{"error":"R1-opaque-and-secret"}"#,
        r#"{"error":"refresh token R1-opaque-and-secret is unknown"}"#,
        r#"{"error":"this is a long way to say that there is no refresh token R1-opaque-and-secret"}"#,
    ] {
        for error in [
            json(400, body).refresh(r1()).await.unwrap_err(),
            client(400, body).refresh_token_grant().refresh(r1()).await.unwrap_err(),
        ] {
            let found = EndpointError::find(&error).unwrap();
            let told = format!("{found} {error:?} {:?}", found.code());
            assert!(!told.contains(&secret[..4]), "{told}");
        }
        let token = Token::builder("A1-opaque").refresh_token(secret).build().unwrap();
        let revocation = client(400, body).revocation(URL).unwrap();
        let told = format!("{:?}", revocation.revoke(&token).await.unwrap_err());
        assert!(!told.contains(&secret[..4]), "{told}");
    }
}

// === hostile bodies ===

/// Frames of nothing, without an end, each there at once.
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
async fn c97_a_body_of_nothing_without_an_end_is_too_long() {
    let transport = service_fn(|request: Request<RequestBody>| async move {
        let _ = request.into_body().into_bytes();
        Ok::<_, Infallible>(Response::new(Nothing))
    });
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let client = client.time_limit(Duration::from_secs(1));
        let _ = done.send(runtime.block_on(client.refresh_token_grant().refresh(r1())));
    });
    let result = ended.recv_timeout(Duration::from_secs(10)).expect("it ends within its time limit");
    assert!(result.is_err());
}

// === combinators ===

#[tokio::test(start_paused = true)]
async fn p08_a_confirmation_longer_than_the_flight_ends_the_grant_all_the_same() {
    let grant = client(400, r#"{"error":"invalid_grant"}"#).refresh_token_grant();
    let session = support::expired(grant.confirm_ended(Duration::from_secs(120))).build();
    for _ in 0..4 {
        let _ = session.token().await;
        tokio::time::sleep(Duration::from_secs(300)).await;
    }
    assert!(session.status().is_ended(), "{:?}", session.status());
}

// === the successor, saved and given back ===

#[tokio::test(start_paused = true)]
async fn p02_a_successor_without_an_access_token_is_saved() {
    let given = support::Given::default();
    let saved = given.clone();
    let client = client(200, r#"{"access_token":"A2","token_type":"mac","refresh_token":"R2"}"#);
    let session = support::expired(client.refresh_token_grant())
        .on_token(move |token| {
            saved.push(&token);
            async { Ok::<_, Infallible>(()) }
        })
        .build();
    assert!(session.token().await.is_err());
    session.settled().await;
    assert_eq!(given.all(), ["A1 R2"]);
    assert_eq!(session.sign_out().unwrap().refresh_token(), Some("R2"));
}

#[tokio::test(start_paused = true)]
async fn p18_what_brought_a_successor_is_not_repeated() {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let presented = Arc::clone(&asked);
    let session = support::expired(refresh_fn(move |cx: RefreshContext| {
        presented.lock().unwrap().push(format!("{} {:?}", cx.refresh_token().unwrap(), cx.reason()));
        async { Err::<Token, _>(RefreshError::unknown_outcome("half").brought_refresh_token("R2")) }
    }))
    .build();
    assert!(session.token().await.unwrap_err().is_transient());
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(session.token().await.is_err());
    assert_eq!(*asked.lock().unwrap(), ["R1 Expired", "R2 Expired"]);
}

#[tokio::test(start_paused = true)]
async fn p10_a_successor_without_an_access_token_gives_way_to_what_was_set() {
    let (refresher, mut endpoint) = support::endpoint();
    let session = support::expired(refresher).build();
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.token().await.map(|token| token.expose().to_owned()) }
    });
    let call = endpoint.call().await;
    session.set_token(token("A5 R5 600")).unwrap();
    call.fail(RefreshError::configuration("no token").brought_refresh_token("R2"));
    assert_eq!(waiting.await.unwrap().unwrap(), "A5");
    // R1 has a successor: it is not presented again, whoever sets it.
    session.set_token(token("A6 R1 600")).unwrap();
    assert_eq!(session.sign_out().unwrap().refresh_token(), Some("R5"));
}

#[tokio::test(start_paused = true)]
async fn p10_a_sign_out_gives_back_the_newest_refresh_token() {
    let (refresher, mut endpoint) = support::endpoint();
    let session = support::expired(refresher).build();
    let _waiting = tokio::spawn({
        let session = session.clone();
        async move { session.token().await }
    });
    let call = endpoint.call().await;
    session.set_token(token("A5 - 600")).unwrap();
    call.give("A2 R2 600");
    session.settled().await;
    let token = session.sign_out().unwrap();
    assert_eq!((token.access_token(), token.refresh_token()), ("A5", Some("R2")));
}

#[tokio::test(start_paused = true)]
async fn p09_a_successor_that_comes_late_is_taken_and_saves_the_session() {
    let (refresher, mut endpoint) = support::endpoint();
    let clock = clock();
    let session = support::expired(refresher).clock(clock.clone()).build();
    let ask = || {
        let session = session.clone();
        tokio::spawn(async move { session.token().await.map(|token| token.expose().to_owned()) })
    };
    let _first = ask();
    let late = endpoint.call().await;
    // The machine slept: the flight is given up, though its answer is under way.
    clock.step(Duration::from_secs(120));
    let second = ask();
    let repeat = endpoint.call().await;
    late.fail(RefreshError::configuration("no access token").brought_refresh_token("R2"));
    settle().await;
    // What was presented is spent, and the server says so.
    repeat.fail(RefreshError::ended("invalid_grant"));
    let next = endpoint.call().await;
    assert!(!session.status().is_ended());
    assert_eq!(next.cx.refresh_token(), Some("R2"));
    next.give("A3 R3 600");
    assert_eq!(second.await.unwrap().unwrap(), "A3");
}

#[tokio::test(start_paused = true)]
async fn p10_a_successor_that_comes_after_a_sign_out_revives_nothing() {
    let (refresher, mut endpoint) = support::endpoint();
    let session = support::expired(refresher).build();
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.token().await }
    });
    let call = endpoint.call().await;
    assert_eq!(session.sign_out().unwrap().refresh_token(), Some("R1"));
    call.fail(RefreshError::configuration("no access token").brought_refresh_token("R2"));
    assert!(waiting.await.unwrap().unwrap_err().is_signed_out());
    session.settled().await;
    session.sign_in(token("B1 S1 0"));
    let _waiting = tokio::spawn({
        let session = session.clone();
        async move { session.token().await }
    });
    assert_eq!(endpoint.call().await.cx.refresh_token(), Some("S1"));
}

// === real connections ===

/// A server that notes the refresh tokens that reached it, and answers none.
async fn silent(http2: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let noted = Arc::clone(&noted);
                    async move {
                        let body = request.into_body().collect().await?.to_bytes();
                        let pairs = form_urlencoded::parse(&body).into_owned();
                        noted.lock().unwrap().extend(
                            pairs.filter(|(name, _)| name == "refresh_token").map(|(_, token)| token),
                        );
                        Ok::<_, hyper::Error>(answer(200, "{}"))
                    }
                });
                let stream = TokioIo::new(stream);
                let _ = match http2 {
                    true => {
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(stream, service)
                            .await
                    }
                    false => {
                        hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await
                    }
                };
            });
        }
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p18_what_reached_the_server_was_never_told_as_not_sent() {
    for http2 in [false, true] {
        let (url, seen) = silent(http2).await;
        let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .http2_only(http2)
            .build_http::<RequestBody>();
        let client = Client::try_with_transport(&url, "web", http).unwrap();
        let mut unsent = Vec::new();
        for round in 0..100 {
            // Limits about as long as it takes a request to leave.
            let grant =
                client.clone().time_limit(Duration::from_micros(20 * (round % 40))).refresh_token_grant();
            let token = format!("R{round}");
            let result = grant.refresh(RefreshContext::default().with_refresh_token(&*token)).await;
            match result {
                Err(error) if error.is_transient() && !format!("{error:?}").contains("NoAccessToken") => {
                    unsent.push(token)
                }
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let seen = seen.lock().unwrap();
        let told_wrongly: Vec<_> = unsent.iter().filter(|token| seen.contains(token)).collect();
        assert!(told_wrongly.is_empty(), "{told_wrongly:?}");
    }
}

/// A server that ends each connection after its first answer, without a word on it before.
async fn fickle(http2: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                let ended = Arc::<tokio::sync::Notify>::default();
                let end = Arc::clone(&ended);
                let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (noted, end) = (Arc::clone(&noted), Arc::clone(&end));
                    async move {
                        let body = request.into_body().collect().await?.to_bytes();
                        let pairs = form_urlencoded::parse(&body).into_owned();
                        noted.lock().unwrap().extend(
                            pairs.filter(|(name, _)| name == "refresh_token").map(|(_, token)| token),
                        );
                        end.notify_one();
                        let body = r#"{"access_token":"A2","token_type":"Bearer"}"#;
                        Ok::<_, hyper::Error>(answer(200, body))
                    }
                });
                let stream = TokioIo::new(stream);
                if http2 {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
                    tokio::select! {
                        _ = &mut connection => return,
                        () = ended.notified() => connection.as_mut().graceful_shutdown(),
                    }
                    let _ = connection.await;
                } else {
                    let builder = hyper::server::conn::http1::Builder::new();
                    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
                    tokio::select! {
                        _ = &mut connection => return,
                        () = ended.notified() => tokio::task::yield_now().await,
                    }
                    let _ = tokio::time::timeout(Duration::from_micros(1), &mut connection).await;
                }
            });
        }
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p02_connections_that_die_present_no_refresh_token_twice() {
    for http2 in [false, true] {
        let (url, seen) = fickle(http2).await;
        let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .http2_only(http2)
            .build_http::<RequestBody>();
        let grant = Client::try_with_transport(&url, "web", http).unwrap().refresh_token_grant();
        let mut told = Vec::new();
        for round in 0..100 {
            let token = format!("R{round}");
            let result = grant.refresh(RefreshContext::default().with_refresh_token(&*token)).await;
            told.push((token, result.map(drop)));
        }
        let seen = seen.lock().unwrap();
        for (token, result) in told {
            let times = seen.iter().filter(|seen| **seen == token).count();
            assert!(times <= 1, "{token} {times} {result:?}");
            assert!(times == 0 || !result.is_err_and(|error| error.is_transient()), "{token}");
        }
    }
}

// === types ===

#[test]
fn what_users_keep_can_be_shared() {
    fn shared<T: Send + Sync + Clone + std::fmt::Debug + 'static>() {}
    fn sent<T: Send + Sync + std::fmt::Debug + 'static>() {}
    shared::<Client>();
    shared::<JsonEndpoint>();
    shared::<tower_reauth::oauth2::RefreshTokenGrant>();
    shared::<tower_reauth::oauth2::ClientCredentialsGrant>();
    shared::<tower_reauth::oauth2::Revocation>();
    shared::<tower_reauth::json::Revocation>();
    shared::<Verdicts>();
    shared::<RefreshError>();
    sent::<EndpointError>();
    sent::<RequestBody>();
    shared::<tower_reauth::ConfirmEnded<tower_reauth::oauth2::RefreshTokenGrant>>();
    static CLIENT: std::sync::OnceLock<Client> = std::sync::OnceLock::new();
    assert!(CLIENT.get().is_none());
}
