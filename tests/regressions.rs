//! Faults that were found and mended. Each test forces the order in which one showed, and is named after the fault.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    unused,
    reason = "tests fail by panics, and have tokio's tasks and timers"
)]

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    challenge::*, event::*, future::*, origin::*, refresh::*, rejection::*, replay::*, rt::*, token::*, *,
};

#[path = "support/mod.rs"]
mod support;
use support::*;

fn err(e: impl Into<BoxError>) -> RefreshError {
    RefreshError::transient(e)
}

/// Runs `f` in a thread; false: it did not end in time.
fn ends_within(limit: Duration, f: impl FnOnce() + Send + 'static) -> bool {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        f();
        let _ = done.send(());
    });
    wait.recv_timeout(limit).is_ok()
}

fn rt() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[derive(Clone)]
struct Gated {
    open: Arc<AtomicBool>,
    wakers: Arc<Mutex<Vec<Waker>>>,
    sent: Arc<Mutex<Vec<String>>>,
    status: u16,
    first: bool,
}

impl Service<http::Request<()>> for Gated {
    type Response = http::Response<()>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<http::Response<()>, BoxError>>;
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.open.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        self.wakers.lock().unwrap().push(cx.waker().clone());
        Poll::Pending
    }
    fn call(&mut self, r: http::Request<()>) -> Self::Future {
        let header = r.headers()["authorization"].to_str().unwrap().to_owned();
        let mut sent = self.sent.lock().unwrap();
        let status = if header == "Bearer A1" { 401 } else { 200 };
        sent.push(header);
        std::future::ready(Ok(http::Response::builder().status(status).body(()).unwrap()))
    }
}

fn gated() -> Gated {
    Gated {
        open: Arc::new(AtomicBool::new(true)),
        wakers: Arc::default(),
        sent: Arc::default(),
        status: 200,
        first: true,
    }
}

#[tokio::test(start_paused = true)]
async fn p10_a_waiting_request_of_the_old_user_is_sent_with_the_new_users_token() {
    let gate = gated();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let mut client = AuthLayer::from_session(session.clone()).layer(gate.clone());
    let request = client.ready().await.unwrap().call(get());
    let request = tokio::spawn(request);
    let call = endpoint.call().await;
    gate.open.store(false, Ordering::SeqCst);
    call.give("A2 R2 600");
    settle().await; // the request has A2 and waits for readiness
    session.sign_in(token("B1 Q1 600")); // another user
    gate.open.store(true, Ordering::SeqCst);
    gate.wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    let result = request.await.unwrap();
    assert_eq!(*gate.sent.lock().unwrap(), Vec::<String>::new(), "result {result:?}");
}

#[tokio::test(start_paused = true)]
async fn p10_a_replay_of_the_old_user_is_sent_with_the_new_users_token() {
    let gate = gated();
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock()).build();
    let mut client = AuthLayer::from_session(session.clone()).layer(gate.clone());
    let request = tokio::spawn(client.ready().await.unwrap().call(get()));
    let call = endpoint.call().await; // A1 was refused
    gate.open.store(false, Ordering::SeqCst);
    call.give("A2 R2 600");
    settle().await;
    session.sign_in(token("B1 Q1 600"));
    gate.open.store(true, Ordering::SeqCst);
    gate.wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    let result = request.await.unwrap();
    assert_eq!(*gate.sent.lock().unwrap(), ["Bearer A1"], "result {result:?}");
}

#[tokio::test(start_paused = true)]
async fn p10_a_request_is_sent_after_sign_out() {
    let gate = gated();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let mut client = AuthLayer::from_session(session.clone()).layer(gate.clone());
    let request = tokio::spawn(client.ready().await.unwrap().call(get()));
    let call = endpoint.call().await;
    gate.open.store(false, Ordering::SeqCst);
    call.give("A2 R2 600");
    settle().await;
    session.sign_out();
    gate.open.store(true, Ordering::SeqCst);
    gate.wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    let result = request.await.unwrap();
    assert_eq!(*gate.sent.lock().unwrap(), Vec::<String>::new(), "result {result:?}");
}

#[tokio::test(start_paused = true)]
async fn p10_overtaken_then_signed_in() {
    let gate = gated();
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let mut client = AuthLayer::from_session(session.clone()).layer(gate.clone());
    let request = tokio::spawn(client.ready().await.unwrap().call(get()));
    let call = endpoint.call().await;
    gate.open.store(false, Ordering::SeqCst);
    call.give("A2 R2 600");
    settle().await;
    session.sign_in(token("B1 Q1 0")); // expired: the request asks for one of the new user's
    clock.step(Duration::from_secs(700));
    gate.open.store(true, Ordering::SeqCst);
    gate.wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    settle().await;
    if endpoint.asked() == 2 {
        endpoint.call().await.give("B2 Q2 600");
    }
    let result = request.await.unwrap();
    assert_eq!(*gate.sent.lock().unwrap(), Vec::<String>::new(), "result {result:?}");
}

struct Talkative(Session);
impl std::fmt::Debug for Talkative {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Talkative")
    }
}
impl std::fmt::Display for Talkative {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Talkative")
    }
}
impl std::error::Error for Talkative {}
impl Drop for Talkative {
    fn drop(&mut self) {
        let _ = self.0.status();
    }
}

fn talkative(before_failure: impl FnOnce(&Session) + Send + 'static) -> bool {
    ends_within(Duration::from_secs(5), move || {
        rt().block_on(async move {
            let (refresher, mut endpoint) = endpoint();
            let session = expired(refresher).build();
            let waiting = tokio::spawn({
                let session = session.clone();
                async move { session.token().await.map(drop) }
            });
            let call = endpoint.call().await;
            before_failure(&session);
            call.fail(err(Talkative(session.clone())));
            settle().await;
            let _ = session.status();
        });
    })
}

#[test]
fn p09_no_deadlock_where_nothing_is_wrong() {
    assert!(talkative(|_| {}), "hangs");
}
#[test]
fn p09_error_dropped_under_lock_after_sign_out() {
    assert!(
        talkative(|s| drop(s.sign_out())),
        "hangs: the user's error was dropped under the session's lock"
    );
}
#[test]
fn p09_error_dropped_under_lock_after_set_token() {
    assert!(talkative(|s| s.set_token(token("A9 R9 600")).unwrap()), "hangs");
}
#[test]
fn p09_error_dropped_under_lock_late() {
    let ends = ends_within(Duration::from_secs(5), move || {
        rt().block_on(async move {
            let clock = clock();
            let (refresher, mut endpoint) = endpoint();
            let session = expired(refresher).clock(clock.clone()).build();
            let w = tokio::spawn({
                let s = session.clone();
                async move { s.token().await.map(drop) }
            });
            let call = endpoint.call().await;
            clock.step(Duration::from_secs(100));
            let w2 = tokio::spawn({
                let s = session.clone();
                async move { s.token().await.map(drop) }
            });
            let call2 = endpoint.call().await; // the first is abandoned
            call.fail(err(Talkative(session.clone())));
            settle().await;
            let _ = session.status();
        });
    });
    assert!(ends, "hangs");
}
#[test]
fn p09_batch_failure_dropped_under_lock() {
    let ends = ends_within(Duration::from_secs(5), move || {
        rt().block_on(async move {
            let clock = clock();
            let (refresher, mut endpoint) = endpoint();
            let session = Session::builder(refresher)
                .token(token("A1 R1 6000"))
                .jitter(false)
                .clock(clock.clone())
                .build();
            let a1 = session.token().await.unwrap();
            session.mark_rejected(&a1);
            let ask = || {
                let s = session.clone();
                tokio::spawn(async move { s.refresh().await.map(drop) })
            };
            let w = ask();
            endpoint.call().await.fail(err(Talkative(session.clone())));
            let _ = w.await.unwrap();
            clock.step(Duration::from_secs(10));
            let w = ask();
            endpoint.call().await.give("A1 R2 6000"); // the same
            let _ = w.await.unwrap();
            clock.step(Duration::from_secs(10));
            let w = ask();
            endpoint.call().await.give("A2 R3 6000");
            let _ = w.await.unwrap();
            let _ = session.status();
        });
    });
    assert!(ends, "hangs");
}

#[tokio::test(start_paused = true)]
async fn p07_a_rejection_erases_a_retry_after() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await }
    });
    endpoint.call().await.give("A2 R2 600");
    let a2 = w.await.unwrap().unwrap();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.refresh().await }
    });
    endpoint.call().await.fail(err("429").with_retry_after(Duration::from_secs(600)));
    w.await.unwrap().unwrap_err();
    clock.step(Duration::from_secs(3));
    session.mark_rejected(&a2); // within its trial
    clock.step(Duration::from_secs(3));
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await }
    });
    settle().await;
    assert_eq!(endpoint.asked(), 2, "6 s after Retry-After: 600; retry_at {:?}", session.status().retry_at());
}

#[tokio::test(start_paused = true)]
async fn p05_a_rejection_shortens_the_backoff_of_a_failure() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher)
        .clock(clock.clone())
        .backoff(Duration::from_secs(10), Duration::from_secs(120))
        .build();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await }
    });
    endpoint.call().await.give("A2 R2 600");
    let a2 = w.await.unwrap().unwrap();
    clock.step(Duration::from_secs(25));
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.refresh().await }
    });
    endpoint.call().await.fail(err("503"));
    w.await.unwrap().unwrap_err();
    session.mark_rejected(&a2); // within its trial of 30 s
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await }
    });
    settle().await;
    assert_eq!(
        endpoint.asked(),
        2,
        "asked again 0 s after a failure (backoff 10 s); failures {}",
        session.status().consecutive_failures()
    );
}

#[tokio::test(start_paused = true)]
async fn p08_a_late_answer_with_a_live_refresh_token_leaves_the_session_ended() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await }
    });
    let first = endpoint.call().await;
    clock.step(Duration::from_secs(100));
    let w2 = tokio::spawn({
        let s = session.clone();
        async move { s.token().await }
    });
    endpoint.call().await.fail(RefreshError::grant_ended("invalid_grant: R1 was used"));
    w2.await.unwrap().unwrap_err();
    first.give("A2 R2 600");
    settle().await;
    assert_eq!(session.token().await.unwrap().secret(), "A2", "the late answer is taken");
    let ended = session.status().is_grant_ended();
    clock.step(Duration::from_secs(700));
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await }
    });
    settle().await;
    assert_eq!(endpoint.asked(), 3, "R2 is never presented; ended: {ended}");
}

#[test]
fn p09_a_second_save_on_an_undriven_runtime_blocks_all_later_refreshes() {
    let n = Arc::new(AtomicUsize::new(1));
    let refresher = refresh_fn(move |_| {
        let n = n.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok(token(&format!("A{n} R{n} 600"))) }
    });
    let saves = Arc::new(AtomicUsize::new(0));
    let counter = saves.clone();
    let session = Session::builder(refresher)
        .token(token("A1 R1 600"))
        .jitter(false)
        .backoff(Duration::from_millis(1), Duration::from_millis(1))
        .wait_timeout(Duration::from_secs(1))
        .save_timeout(Duration::from_millis(100))
        .refresh_timeout(Duration::from_secs(5))
        .save_with(move |_| {
            let fails = counter.fetch_add(1, Ordering::SeqCst) == 0;
            async move { if fails { Err("disk") } else { Ok(()) } }
        })
        .build();
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (a, b) = (build(), build());
    b.block_on(session.refresh()).unwrap(); // its save failed
    std::thread::sleep(Duration::from_millis(50));
    a.block_on(session.token()).unwrap(); // hands it over again, on a's runtime, and returns at once
    // `a` lives on, and nobody drives it.
    for round in 0..3 {
        let begun = std::time::Instant::now();
        let result = b.block_on(session.refresh());
        assert!(
            result.is_ok(),
            "round {round}: {result:?} after {:?}; saves {}",
            begun.elapsed(),
            saves.load(Ordering::SeqCst)
        );
    }
    drop(a);
}

struct Store {
    written: Mutex<Vec<String>>,
    release: tokio::sync::Semaphore,
    calls: AtomicUsize,
}

#[tokio::test(start_paused = true)]
async fn p02_an_abandoned_flights_hook_overwrites_the_newer_token_and_nobody_saves_again() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let store = Arc::new(Store {
        written: Mutex::default(),
        release: tokio::sync::Semaphore::new(0),
        calls: AtomicUsize::new(0),
    });
    let hook = store.clone();
    let session = expired(refresher)
        .clock(clock.clone())
        .save_with(move |t: Token| {
            let store = hook.clone();
            let first = store.calls.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                if first {
                    store.release.acquire().await.unwrap().forget();
                }
                store.written.lock().unwrap().push(t.refresh_token().unwrap().to_owned());
                Ok::<_, BoxError>(())
            }
        })
        .build();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await }
    });
    endpoint.call().await.give("A2 R2 60000");
    settle().await; // in the hook
    clock.step(Duration::from_secs(100)); // the machine sleeps
    assert_eq!(session.token().await.unwrap().secret(), "A2"); // abandons the flight, publishes A2
    let w2 = tokio::spawn({
        let s = session.clone();
        async move { s.refresh().await }
    });
    settle().await;
    endpoint.call().await.give("A3 R3 60000");
    w2.await.unwrap().unwrap();
    settle().await;
    assert!(!session.status().is_unsaved());
    store.release.add_permits(1); // the machine's disk is back: the first hook writes R2
    settle().await;
    clock.step(Duration::from_secs(10));
    let _ = session.token().await;
    settle().await;
    let written = store.written.lock().unwrap().clone();
    assert_eq!(
        written.last().unwrap(),
        "R3",
        "the store holds a spent refresh token: {written:?}, unsaved: {}",
        session.status().is_unsaved()
    );
}

/// Its second frame comes while `during` runs.
struct Racing {
    at: usize,
    sizes: Vec<(u8, usize)>,
    hook_at: usize,
    during: Option<Box<dyn FnOnce() + Send>>,
}

impl Body for Racing {
    type Data = Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let at = self.at;
        self.at += 1;
        if at == self.hook_at {
            if let Some(during) = self.during.take() {
                during();
            }
        }
        let Some(&(byte, size)) = self.sizes.get(at) else { return Poll::Ready(None) };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![byte; size])))))
    }
}

fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B, cx: &mut Context<'_>) -> Option<String> {
    match Pin::new(body).poll_frame(cx) {
        Poll::Ready(Some(Ok(frame))) => Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()),
        _ => None,
    }
}

#[test]
fn p16_half_a_body_is_sent_again() {
    let replay = Buffered::new(10);
    type K = Arc<Mutex<Option<<Buffered as Replay<Racing>>::Retained>>>;
    let slot: K = Arc::default();
    let ended: K = Arc::default();
    let (from, to) = (slot.clone(), ended.clone());
    let body = Racing {
        at: 0,
        sizes: vec![(b'a', 8), (b'b', 8), (b'c', 8)],
        hook_at: 1,
        // Another thread sees the 401 while the connection's task polls the upload.
        during: Some(Box::new(move || {
            std::thread::spawn(move || {
                let kept = from.lock().unwrap().take().unwrap();
                *to.lock().unwrap() = Replay::<Racing>::stop(&replay, kept);
            })
            .join()
            .unwrap();
        })),
    };
    let (mut first, kept) = replay.split(body);
    *slot.lock().unwrap() = kept;
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(next(&mut first, &mut cx).as_deref(), Some("aaaaaaaa"));
    let _ = next(&mut first, &mut cx);
    let Some(kept) = ended.lock().unwrap().take() else { return };
    let mut second = Replay::<Racing>::replay(&replay, kept);
    let mut sent = Vec::new();
    while let Some(frame) = next(&mut second, &mut cx) {
        sent.push(frame);
    }
    assert_eq!(sent, ["aaaaaaaa", "bbbbbbbb", "cccccccc"]);
}

#[test]
fn p16_frames_are_sent_again_out_of_order() {
    let replay = Buffered::new(1000);
    type K = Arc<Mutex<Option<<Buffered as Replay<Racing>>::Retained>>>;
    type S = Arc<Mutex<(Option<BufferedBody<Racing>>, Vec<String>)>>;
    struct Inline(S);
    impl Wake for Inline {
        fn wake(self: Arc<Self>) {
            // The other thread is quick.
            let state = self.0.clone();
            std::thread::spawn(move || {
                let mut cx = Context::from_waker(Waker::noop());
                let mut state = state.lock().unwrap();
                let (body, got) = &mut *state;
                for _ in 0..2 {
                    got.extend(next(body.as_mut().unwrap(), &mut cx));
                }
            })
            .join()
            .unwrap();
        }
    }
    let slot: K = Arc::default();
    let second: S = Arc::default();
    let (from, to) = (slot.clone(), second.clone());
    let body = Racing {
        at: 0,
        sizes: vec![(b'a', 2), (b'b', 2), (b'c', 2)],
        hook_at: 1,
        during: Some(Box::new(move || {
            std::thread::spawn(move || {
                let kept = from.lock().unwrap().take().unwrap();
                let kept = Replay::<Racing>::stop(&replay, kept).unwrap();
                let mut body = Replay::<Racing>::replay(&replay, kept);
                let waker = Waker::from(Arc::new(Inline(to.clone())));
                let mut got = Vec::new();
                let mut cx = Context::from_waker(&waker);
                got.extend(next(&mut body, &mut cx)); // aa
                assert!(next(&mut body, &mut cx).is_none()); // pending
                *to.lock().unwrap() = (Some(body), got);
            })
            .join()
            .unwrap();
        })),
    };
    let (mut first, kept) = replay.split(body);
    *slot.lock().unwrap() = kept;
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(next(&mut first, &mut cx).as_deref(), Some("aa"));
    let _ = next(&mut first, &mut cx);
    let mut state = second.lock().unwrap();
    let (body, got) = &mut *state;
    while let Some(frame) = next(body.as_mut().unwrap(), &mut cx) {
        got.push(frame);
    }
    assert_eq!(*got, ["aa", "bb", "cc"]);
}

#[tokio::test(start_paused = true)]
async fn p15_an_authority_without_a_scheme_is_not_looked_at() {
    let (refresher, __endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let origin: Origin = "https://api.example.com".parse().unwrap();
    let layer = AuthLayer::from_session(session).restrict_to_origin(origin.clone()).default_origin(origin);
    let echo = service_fn(|r: http::Request<()>| async move {
        Ok::<_, BoxError>(http::Response::new(r.headers().contains_key("authorization")))
    });
    let request = http::Request::connect("evil.example:443").body(()).unwrap();
    assert_eq!(request.uri().authority().unwrap().as_str(), "evil.example:443");
    let has = layer.layer(echo).oneshot(request).await.unwrap().into_body();
    assert!(!has, "CONNECT evil.example:443 carries the token of api.example.com");
}

#[test]
fn p14_an_invalid_origin_shows_a_password() {
    let error = "https://oauth2:s3cr3t-token@git.example.com".parse::<Origin>().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cr3t-token"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p02_one_that_was_exchanged_while_another_was_set_is_presented_again() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let ask = || {
        let s = session.clone();
        tokio::spawn(async move { s.refresh().await.map(drop) })
    };
    let w = ask();
    let call = endpoint.call().await;
    assert_eq!(call.cx.refresh_token(), Some("R1"));
    session.set_token(token("A9 R9 600")).unwrap();
    call.give("A2 R2 600"); // R1 has its successor
    settle().await;
    session.set_token(token("A10 R1 600")).unwrap();
    let w = ask();
    let call = endpoint.call().await;
    assert_ne!(call.cx.refresh_token(), Some("R1"), "presented again after its successor arrived");
}

async fn calls_in_a_minute(answer: fn() -> Token) -> usize {
    let clock = clock();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let refresher = refresh_fn(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(answer()))
    });
    let session = Session::builder(refresher).jitter(false).clock(clock.clone()).build();
    for _ in 0..600 {
        let _ = session.token().await;
        settle().await;
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    asked.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn p05_the_same_token_due_on_arrival_with_a_moved_end() {
    let asked = calls_in_a_minute(|| {
        Token::builder("A1").expires_in(Duration::from_secs(2)).refresh_in(Duration::ZERO).build().unwrap()
    })
    .await;
    // 0, 1, 2.6, 5.2, 9.3, 15.8, 26.3, 43.1 s
    assert!(asked <= 9, "{asked} calls in 60 s");
}

#[tokio::test(start_paused = true)]
async fn p05_new_tokens_due_on_arrival() {
    let asked = calls_in_a_minute(|| {
        static N: AtomicUsize = AtomicUsize::new(0);
        let n = N.fetch_add(1, Ordering::SeqCst);
        Token::builder(format!("A{n}"))
            .expires_in(Duration::from_secs(2))
            .refresh_in(Duration::ZERO)
            .build()
            .unwrap()
    })
    .await;
    assert!(asked <= 9, "{asked} calls in 60 s");
}

#[tokio::test(start_paused = true)]
async fn p05_tokens_of_half_a_second() {
    let asked = calls_in_a_minute(|| {
        static N: AtomicUsize = AtomicUsize::new(0);
        let n = N.fetch_add(1, Ordering::SeqCst);
        token(&format!("A{n} - 0.5"))
    })
    .await;
    assert!(asked <= 9, "{asked} calls in 60 s");
}

async fn storm(mut set: impl FnMut(usize) -> Token, mid_flight: bool, times: usize) -> (usize, usize) {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let mut asked = 0;
    for n in 0..times {
        if !mid_flight {
            session.set_token(set(n)).unwrap();
        }
        let w = tokio::spawn({
            let s = session.clone();
            async move { s.token().await.map(drop) }
        });
        settle().await;
        if endpoint.asked() > asked {
            asked = endpoint.asked();
            let call = endpoint.call().await;
            if mid_flight {
                session.set_token(set(n)).unwrap();
            }
            call.fail(err("503"));
        }
        settle().await;
        w.abort();
    }
    (endpoint.asked(), times)
}

#[tokio::test(start_paused = true)]
async fn p05_setting_expired_tokens_ends_the_backoff() {
    let (asked, _) = storm(|n| token(&format!("S{n} - 0")), false, 20).await;
    assert!(asked <= 2, "{asked} failed refreshes within 0 s");
}

#[tokio::test(start_paused = true)]
async fn p05_setting_tokens_of_a_life_of_their_own() {
    // Not expired: unexpired for 0 s only by refusal.
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let mut asked = 0;
    for n in 0..20 {
        session.set_token(token(&format!("S{n} - 0"))).unwrap();
        session.set_token(token(&format!("T{n} - 600"))).unwrap();
        let t = session.token().await.unwrap();
        session.mark_rejected(&t);
        let w = tokio::spawn({
            let s = session.clone();
            async move { s.token().await.map(drop) }
        });
        settle().await;
        if endpoint.asked() > asked {
            asked = endpoint.asked();
            endpoint.call().await.fail(err("503"));
        }
        settle().await;
        w.abort();
    }
    assert!(asked <= 2, "{asked} failed refreshes within 0 s");
}

#[tokio::test(start_paused = true)]
async fn p17_a_watcher_is_not_told_of_a_shutdown() {
    let (refresher, __endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let mut watch = session.watch();
    assert!(!watch.status().is_shut_down());
    session.shutdown(Duration::from_secs(1)).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await;
    assert!(
        told.is_ok(),
        "is_shut_down changed to {}, and changed() sleeps",
        session.status().is_shut_down()
    );
}

#[tokio::test(start_paused = true)]
async fn p07_a_watcher_is_not_told_of_retry_now() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await.map(drop) }
    });
    endpoint.call().await.fail(err("503"));
    w.await.unwrap().unwrap_err();
    let mut watch = session.watch();
    assert!(watch.status().retry_at().is_some());
    session.reset_backoff();
    let told = tokio::time::timeout(Duration::from_millis(100), watch.changed()).await;
    assert!(told.is_ok(), "retry_at is {:?}, and changed() sleeps", session.status().retry_at());
}

struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("payload");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p09_a_panic_in_the_event_hook_leaves_waiters_asleep() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher)
        .on_event(|event| {
            if matches!(event.kind, EventKind::Refreshed { .. }) {
                std::panic::panic_any(Bomb);
            }
        })
        .build();
    let begun = tokio::time::Instant::now();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await }
    });
    endpoint.call().await.give("A2 R2 600");
    let token = w.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{token:?} after {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn p13_the_expiry_that_callers_see_after_a_step_back() {
    let clock = clock();
    let (refresher, __endpoint) = endpoint();
    let session =
        Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock.clone()).build();
    clock.step_back(Duration::from_secs(3600));
    let slow = session.token().await.unwrap().expires_at();
    let fast = session.token().await.unwrap().expires_at();
    assert_eq!((slow, fast), (session.status().expires_at(), session.status().expires_at()));
}

#[tokio::test(start_paused = true)]
async fn p01_refresh_now_after_sign_in_refreshes_nothing() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await.map(drop) }
    });
    let old = endpoint.call().await;
    session.sign_in(token("B1 Q1 600"));
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.refresh().await }
    });
    settle().await;
    old.give("A2 R2 600");
    settle().await;
    if endpoint.asked() == 2 {
        let call = endpoint.call().await;
        assert_eq!(call.cx.refresh_token(), Some("Q1"));
        call.give("B2 Q2 600");
    }
    assert_eq!(w.await.unwrap().unwrap().secret(), "B2", "refresh gave B's token unrefreshed");
}

#[tokio::test(start_paused = true)]
async fn p01_refresh_now_after_set_token_with_another_refresh_token() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await.map(drop) }
    });
    let old = endpoint.call().await;
    session.set_token(token("B1 Q1 600")).unwrap();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.refresh().await }
    });
    settle().await;
    old.fail(err("503"));
    settle().await;
    let asked = endpoint.asked();
    assert!(
        asked == 2 || w.await.unwrap().is_err(),
        "its flight failed, nobody else was asked, and refresh says Ok"
    );
}

#[tokio::test(start_paused = true)]
async fn p12_settled_in_the_refresher() {
    let own = Arc::<OnceLock<Session>>::default();
    let inside = own.clone();
    let refresher = refresh_fn(move |_| {
        let s = inside.get().unwrap().clone();
        async move {
            s.idle().await;
            Ok(token("A2 R2 600"))
        }
    });
    let session = expired(refresher).build();
    let _ = own.set(session.clone());
    let begun = tokio::time::Instant::now();
    let result = session.token().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{result:?} after {:?}", begun.elapsed());
}

#[derive(Clone)]
struct Panicking {
    inner: TestClock,
    panics: Arc<AtomicBool>,
}
impl Clock for Panicking {
    fn now(&self) -> Timestamp {
        assert!(!self.panics.load(Ordering::SeqCst), "clock");
        self.inner.now()
    }
    fn sleep(&self, d: Duration) -> Result<Sleep, NoTimer> {
        self.inner.sleep(d)
    }
}

#[tokio::test(start_paused = true)]
async fn p09_a_clock_that_panics_once_at_the_landing() {
    let clock = Panicking { inner: clock(), panics: Arc::default() };
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let begun = tokio::time::Instant::now();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await }
    });
    let call = endpoint.call().await;
    clock.panics.store(true, Ordering::SeqCst);
    call.give("A2 R2 600");
    settle().await;
    clock.panics.store(false, Ordering::SeqCst);
    let result = w.await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{result:?} after {:?}; {:?}",
        begun.elapsed(),
        session.status()
    );
}

struct Throwing(AtomicUsize);
impl Spawner for Throwing {
    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            panic!("spawn");
        }
        TokioSpawner.spawn(task)
    }
}

struct DropBomb(Arc<AtomicBool>);
impl std::fmt::Debug for DropBomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DropBomb")
    }
}
impl std::fmt::Display for DropBomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DropBomb")
    }
}
impl std::error::Error for DropBomb {}
impl Drop for DropBomb {
    fn drop(&mut self) {
        if self.0.load(Ordering::SeqCst) && !std::thread::panicking() {
            panic!("drop of an error");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p09_an_error_whose_drop_panics_in_a_dropped_flight() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await.map(drop) }
    });
    let call = endpoint.call().await;
    session.set_token(token("A9 R9 0")).unwrap();
    let begun = tokio::time::Instant::now();
    call.fail(err(DropBomb(Arc::new(AtomicBool::new(true)))));
    settle().await;
    // The waiter asks anew.
    assert_eq!(
        endpoint.asked(),
        2,
        "refreshing {}, waiting {}",
        session.status().is_refreshing(),
        session.status().waiters()
    );
}

struct DropPanics;
impl Future for DropPanics {
    type Output = Result<Token, RefreshError>;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}
impl Drop for DropPanics {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("drop of a refresh");
        }
    }
}
#[tokio::test(start_paused = true)]
async fn p09_a_refresh_whose_drop_panics_at_the_limit() {
    let session = expired(refresh_fn(|_| DropPanics)).wait_timeout(Duration::from_secs(100)).build();
    let begun = tokio::time::Instant::now();
    let error = session.token().await.unwrap_err();
    assert!(
        error.is_outcome_unknown() && begun.elapsed() < Duration::from_secs(61),
        "{error:?} {:?}",
        begun.elapsed()
    );
    assert!(!session.status().is_refreshing());
}

#[tokio::test(start_paused = true)]
async fn p05_control_setting_good_tokens_does_not_end_the_backoff() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let mut asked = 0;
    for n in 0..20 {
        session.set_token(token(&format!("T{n} - 600"))).unwrap();
        let t = session.token().await.unwrap();
        session.mark_rejected(&t);
        let w = tokio::spawn({
            let s = session.clone();
            async move { s.token().await.map(drop) }
        });
        settle().await;
        if endpoint.asked() > asked {
            asked = endpoint.asked();
            endpoint.call().await.fail(err("503"));
        }
        settle().await;
        w.abort();
    }
    assert!(asked <= 2, "{asked} failed refreshes within 0 s");
}

/// No program sets tokens in a loop here: a store's watcher tells of each token that it sees, an expired one.
#[tokio::test(start_paused = true)]
async fn p05_retry_after_is_ended_by_an_expired_token() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let ask = || {
        let s = session.clone();
        tokio::spawn(async move { s.token().await.map(drop) })
    };
    let w = ask();
    endpoint.call().await.fail(err("429").with_retry_after(Duration::from_secs(600)));
    w.await.unwrap().unwrap_err();
    session.set_token(token("A0 - 0")).unwrap();
    let w = ask();
    settle().await;
    assert_eq!(endpoint.asked(), 1, "0 s after Retry-After: 600");
}

#[tokio::test(start_paused = true)]
async fn p07_a_late_useless_answer_erases_a_retry_after() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let ask = || {
        let s = session.clone();
        tokio::spawn(async move { s.token().await.map(drop) })
    };
    let w = ask();
    let first = endpoint.call().await;
    clock.step(Duration::from_secs(100));
    let w = ask();
    endpoint.call().await.fail(err("429").with_retry_after(Duration::from_secs(600)));
    w.await.unwrap().unwrap_err();
    first.give("A1 R2 0"); // the same token, expired
    settle().await;
    clock.step(Duration::from_secs(10));
    let w = ask();
    settle().await;
    assert_eq!(endpoint.asked(), 2, "10 s after Retry-After: 600");
}

#[tokio::test(start_paused = true)]
async fn p06_a_stale_token_and_a_spawner_that_panics() {
    let clock = clock();
    let (refresher, endpoint) = endpoint();
    let session = Session::builder(refresher)
        .token(token("A1 R1 600"))
        .jitter(false)
        .clock(clock.clone())
        .spawner(Throwing(AtomicUsize::new(0)))
        .build();
    clock.step(Duration::from_secs(500));
    let s = session.clone();
    let result = tokio::spawn(async move { s.token().await.map(drop) }).await;
    assert!(result.is_ok(), "{result:?}");
}

/// The original panics while the second sending waits for it.
#[test]
fn p16_the_second_sending_sleeps_after_a_panic() {
    let replay = Buffered::new(1000);
    type K = Arc<Mutex<Option<<Buffered as Replay<Racing>>::Retained>>>;
    struct Counts(AtomicUsize);
    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let slot: K = Arc::default();
    let second: Arc<Mutex<Option<BufferedBody<Racing>>>> = Arc::default();
    let woken = Arc::new(Counts(AtomicUsize::new(0)));
    let (from, to, waker) = (slot.clone(), second.clone(), Waker::from(woken.clone()));
    let body = Racing {
        at: 0,
        sizes: vec![(b'a', 2), (b'b', 2), (b'c', 2)],
        hook_at: 1,
        during: Some(Box::new(move || {
            let kept = from.lock().unwrap().take().unwrap();
            let kept = Replay::<Racing>::stop(&replay, kept).unwrap();
            let mut body = Replay::<Racing>::replay(&replay, kept);
            let mut cx = Context::from_waker(&waker);
            assert_eq!(next(&mut body, &mut cx).as_deref(), Some("aa"));
            assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
            *to.lock().unwrap() = Some(body);
            panic!("the original");
        })),
    };
    let (mut first, kept) = replay.split(body);
    *slot.lock().unwrap() = kept;
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(next(&mut first, &mut cx).as_deref(), Some("aa"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| next(&mut first, &mut cx))).unwrap_err();
    let mut body = second.lock().unwrap().take().unwrap();
    let after = format!("{:?}", Pin::new(&mut body).poll_frame(&mut cx).map(|f| f.map(|r| r.is_ok())));
    assert_eq!((woken.0.load(Ordering::SeqCst), after.as_str()), (1, "Ready(Some(false))"));
}

/// The original fails while another thread sees the 401.
struct Failing {
    at: usize,
    during: Option<Box<dyn FnOnce() + Send>>,
}
impl Body for Failing {
    type Data = Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.at += 1;
        match self.at {
            1 => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"aa"))))),
            2 => {
                (self.during.take().unwrap())();
                Poll::Ready(Some(Err(std::io::Error::other("disk"))))
            }
            _ => Poll::Ready(None),
        }
    }
}

#[test]
fn p16_a_failed_upload_is_sent_again_as_an_empty_body() {
    let replay = Buffered::new(1000);
    type K = Arc<Mutex<Option<<Buffered as Replay<Failing>>::Retained>>>;
    let (slot, ended): (K, K) = Default::default();
    let (from, to) = (slot.clone(), ended.clone());
    let body = Failing {
        at: 0,
        during: Some(Box::new(move || {
            let kept = from.lock().unwrap().take().unwrap();
            *to.lock().unwrap() = Replay::<Failing>::stop(&replay, kept);
        })),
    };
    let (mut first, kept) = replay.split(body);
    *slot.lock().unwrap() = kept;
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(next(&mut first, &mut cx).as_deref(), Some("aa"));
    let _ = next(&mut first, &mut cx);
    let Some(kept) = ended.lock().unwrap().take() else { return };
    let mut second = Replay::<Failing>::replay(&replay, kept);
    let polled = Pin::new(&mut second).poll_frame(&mut cx);
    assert!(!matches!(polled, Poll::Ready(None)), "the second sending is an empty body that ends cleanly");
}

#[tokio::test(start_paused = true)]
async fn p17_sign_in_while_a_save_runs() {
    let (refresher, mut endpoint) = endpoint();
    let store = Arc::new(Store {
        written: Mutex::default(),
        release: tokio::sync::Semaphore::new(0),
        calls: AtomicUsize::new(0),
    });
    let hook = store.clone();
    let session = expired(refresher)
        .save_with(move |t: Token| {
            let store = hook.clone();
            async move {
                store.release.acquire().await.unwrap().forget();
                store.written.lock().unwrap().push(t.refresh_token().unwrap().to_owned());
                Ok::<_, BoxError>(())
            }
        })
        .build();
    let w = tokio::spawn({
        let s = session.clone();
        async move { s.token().await.map(drop) }
    });
    endpoint.call().await.give("A2 R2 60000");
    settle().await; // in the hook
    session.sign_in(token("B1 Q1 60000"));
    store.written.lock().unwrap().push("Q1".into()); // sign_in isn't saved: the caller does
    store.release.add_permits(10);
    settle().await;
    let _ = session.token().await;
    settle().await;
    let written = store.written.lock().unwrap().clone();
    assert_eq!(written.last().unwrap(), "Q1", "{written:?} unsaved {}", session.status().is_unsaved());
}
