//! tower's contract: each readiness is used once, and none is held while a request waits.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, load_shed::error::Overloaded, service_fn};
use tower_reauth::{AuthLayer, Error, RefreshError, Session, SkipAuth, refresh_fn};

use crate::{
    gated::{Gated, waiting_with_a2},
    hooked_clock::HookedClock,
    support::{BoxError, clock, endpoint, expired, get, run_pending_tasks, token},
};

/// Panics if it is called without readiness, and counts the readiness that is held.
#[derive(Debug)]
struct StrictService {
    ready: bool,
    held: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl StrictService {
    fn new() -> Self {
        Self { ready: false, held: Arc::default(), calls: Arc::default() }
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.ready) {
            self.held.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Clone for StrictService {
    fn clone(&self) -> Self {
        Self { ready: false, held: Arc::clone(&self.held), calls: Arc::clone(&self.calls) }
    }
}

impl Drop for StrictService {
    fn drop(&mut self) {
        self.release();
    }
}

impl Service<http::Request<()>> for StrictService {
    type Response = http::Response<()>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !std::mem::replace(&mut self.ready, true) {
            self.held.fetch_add(1, Ordering::SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<()>) -> Self::Future {
        assert!(self.ready, "called without readiness");
        self.release();
        self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(http::Response::new(())) })
    }
}

#[tokio::test(start_paused = true)]
async fn p11_call_only_on_a_ready_service_and_each_readiness_used_once() {
    let strict = StrictService::new();
    let (held, calls) = (Arc::clone(&strict.held), Arc::clone(&strict.calls));
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let mut client = AuthLayer::from_session(session.clone()).layer(strict);

    // A request that waits releases its readiness.
    let waiting = client.ready().await.unwrap().call(get());
    assert_eq!(held.load(Ordering::SeqCst), 0);
    let mut waiting = task::spawn(waiting);
    assert_pending!(waiting.poll());
    // Meanwhile the service can be made ready again.
    let mut marked = get();
    marked.extensions_mut().insert(SkipAuth);
    client.ready().await.unwrap().call(marked).await.unwrap();

    endpoint.next_call().await.succeed("A2 R2 600");
    run_pending_tasks().await;
    assert_ready_ok!(waiting.poll());
    client.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!((held.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)), (0, 3));

    // A request that fails releases it, too.
    let _ = session.sign_out();
    client.ready().await.unwrap().call(get()).await.unwrap_err();
    assert_eq!((held.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn p11_a_clone_of_a_ready_service_is_not_ready() {
    let strict = StrictService::new();
    let held = Arc::clone(&strict.held);
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 -")).build();
    let mut client = AuthLayer::from_session(session).layer(strict);
    let ready = client.ready().await.unwrap();
    let mut clone = ready.clone();
    assert_eq!(held.load(Ordering::SeqCst), 1);
    clone.ready().await.unwrap().call(get()).await.unwrap();
    client.call(get()).await.unwrap();
    assert_eq!(held.load(Ordering::SeqCst), 0);
}

/// The refresher's own request goes through the stack that it refreshes for.
async fn runs_through_one_permit<S>(limited: S)
where
    S: Service<http::Request<()>, Response = http::Response<()>, Error = BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let own = limited.clone();
    let refresher = refresh_fn(move |_| {
        let own = own.clone();
        async move {
            own.oneshot(get()).await.map_err(RefreshError::transient)?;
            Ok(token("A2 R2 600"))
        }
    });
    let client = AuthLayer::from_session(expired(refresher).build()).layer(limited);
    let callers: Vec<_> = (0..20).map(|_| tokio::spawn(client.clone().oneshot(get()))).collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
}

async fn slow(_: http::Request<()>) -> Result<http::Response<()>, BoxError> {
    tokio::task::yield_now().await;
    Ok(http::Response::new(()))
}

#[tokio::test(start_paused = true)]
async fn p11_a_refresher_shares_a_concurrency_limit_of_one() {
    let limited = ServiceBuilder::new().concurrency_limit(1).service(service_fn(slow));
    tokio::time::timeout(Duration::from_secs(5), runs_through_one_permit(limited)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p11_a_refresher_shares_a_buffer_of_one() {
    let limited = ServiceBuilder::new().buffer(1).concurrency_limit(1).service(service_fn(slow));
    tokio::time::timeout(Duration::from_secs(5), runs_through_one_permit(limited)).await.unwrap();
}

/// While a request waits for a token, the permit is free for others.
#[tokio::test(start_paused = true)]
async fn p11_no_permit_is_held_while_waiting() {
    let limited = ServiceBuilder::new().load_shed().concurrency_limit(1).service(service_fn(slow));
    let (refresher, mut endpoint) = endpoint();
    let client = AuthLayer::from_session(expired(refresher).build()).layer(limited.clone());
    let mut waiting = task::spawn(client.clone().oneshot(get()));
    assert_pending!(waiting.poll());
    limited.clone().oneshot(get()).await.expect("the permit is free");
    endpoint.next_call().await.succeed("A2 R2 600");
    run_pending_tasks().await;
    // When the waiting request gets its token, the permit is taken, so it is shed.
    let mut other = task::spawn(limited.oneshot(get()));
    assert_pending!(other.poll());
    let error = match waiting.poll() {
        Poll::Ready(Err(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(error.is::<Overloaded>());
}

/// Also after a wait for the token.
#[tokio::test(start_paused = true)]
async fn p11_a_readiness_error_reaches_the_caller() {
    #[derive(Clone)]
    struct Broken {
        after: Arc<AtomicUsize>,
    }

    impl Service<http::Request<()>> for Broken {
        type Response = http::Response<()>;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Self::Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            match self.after.fetch_sub(1, Ordering::SeqCst) {
                1 => Poll::Ready(Err("the connection is gone".into())),
                _ => Poll::Ready(Ok(())),
            }
        }

        fn call(&mut self, _: http::Request<()>) -> Self::Future {
            unreachable!("it is never ready when it matters")
        }
    }

    let (refresher, mut endpoint) = endpoint();
    let broken = Broken { after: Arc::new(AtomicUsize::new(2)) };
    let client = AuthLayer::from_session(expired(refresher).build()).layer(broken);
    let waiting = tokio::spawn(client.oneshot(get()));
    endpoint.next_call().await.succeed("A2 R2 600");
    assert_eq!(waiting.await.unwrap().unwrap_err().to_string(), "the connection is gone");
}

/// The request waits for the next token, without readiness.
#[tokio::test(start_paused = true)]
async fn p11_b76_a_token_that_expired_while_its_request_waited_for_readiness_is_not_sent() {
    let gated = Gated::new();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let client = AuthLayer::from_session(session.clone()).layer(gated.clone());
    let mut request = task::spawn(client.oneshot(get()));
    assert_pending!(request.poll());
    gated.close();
    endpoint.next_call().await.succeed("A2 R2 5");
    run_pending_tasks().await;
    assert_pending!(request.poll());
    tokio::time::advance(Duration::from_secs(5)).await;
    gated.open();
    assert_pending!(request.poll());
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("R2"));
    call.succeed("A3 R3 600");
    run_pending_tasks().await;
    assert_ready_ok!(request.poll());
    assert_eq!(gated.received(), ["Bearer A3"]);
}

/// The token that it waited for was replaced.
#[tokio::test(start_paused = true)]
async fn p11_a_newer_token_that_was_set_while_its_request_waited_for_readiness_is_used() {
    let gated = Gated::new();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let client = AuthLayer::from_session(session.clone()).layer(gated.clone());
    let mut request = task::spawn(client.oneshot(get()));
    assert_pending!(request.poll());
    gated.close();
    endpoint.next_call().await.succeed("A2 R2 600");
    run_pending_tasks().await;
    assert_pending!(request.poll());
    session.set_token(token("A9 R9 600")).unwrap();
    gated.open();
    assert_ready_ok!(request.poll());
    assert_eq!(gated.received(), ["Bearer A9"]);
    assert_eq!(endpoint.call_count(), 1);
}

/// Otherwise a service that is ready more slowly than tokens expire would never be called.
#[tokio::test(start_paused = true)]
async fn p11_b76_the_fourth_token_that_expires_before_readiness_is_sent() {
    let gated = Gated::new();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let client = AuthLayer::from_session(session.clone()).layer(gated.clone());
    let mut request = task::spawn(client.oneshot(get()));
    assert_pending!(request.poll());
    for issued in ["A2 R2 5", "A3 R3 5", "A4 R4 5", "A5 R5 5"] {
        assert!(gated.received().is_empty());
        gated.close();
        endpoint.next_call().await.succeed(issued);
        run_pending_tasks().await;
        assert_pending!(request.poll());
        tokio::time::advance(Duration::from_secs(5)).await;
        gated.open();
        let _ = request.poll();
    }
    assert_eq!(gated.received(), ["Bearer A5"]);
}

/// It has waited once already.
#[tokio::test(start_paused = true)]
async fn p11_a_request_does_not_wait_again_if_its_token_was_rejected_before_readiness() {
    let gated = Gated::new();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    session.mark_rejected(&session.try_token().unwrap());
    gated.open();
    run_pending_tasks().await;
    assert_eq!(gated.received(), ["Bearer A2"]);
    request.await.unwrap().unwrap();
}

/// The token is set after the request found none and before it demands one.
#[tokio::test(start_paused = true)]
async fn p11_a_token_that_comes_while_an_expired_one_is_replaced_is_used() {
    let gated = Gated::new();
    let clock = HookedClock::new(clock());
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    clock.inner.step(Duration::from_secs(700));
    gated.open();
    let own = session.clone();
    // The first read looks for a current token, the second whether the request's own has expired.
    clock.on_nth_read(2, move || own.set_token(token("A9 R9 600")).unwrap());
    request.await.unwrap().unwrap();
    assert_eq!((gated.received(), endpoint.call_count()), (vec!["Bearer A9".to_owned()], 1));
}

/// A new user's token, though it comes in the same moment.
#[tokio::test(start_paused = true)]
async fn p10_a_token_of_another_sign_in_is_not_used_for_an_expired_one() {
    let gated = Gated::new();
    let clock = HookedClock::new(clock());
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    clock.inner.step(Duration::from_secs(700));
    gated.open();
    let own = session.clone();
    clock.on_nth_read(2, move || own.sign_in(token("B1 S1 600")));
    let error = request.await.unwrap().unwrap_err();
    assert!(Error::find(&*error).is_some_and(Error::is_signed_out), "{error}");
    assert!(gated.received().is_empty());
}

/// The response that rejected A1 is gone, so the server decides again; a request that wasn't sent fails.
#[tokio::test(start_paused = true)]
async fn p11_an_expired_token_that_cannot_be_replaced_is_sent_only_by_a_retry() {
    for is_retry in [true, false] {
        let gated = Gated::new();
        let (refresher, mut endpoint) = endpoint();
        let first = token(if is_retry { "A1 R1 600" } else { "A1 R1 0" });
        let session = Session::builder(refresher).token(first).jitter(false).clock(clock()).build();
        let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
        tokio::time::advance(Duration::from_secs(700)).await;
        session.shutdown(Duration::from_secs(1)).await.unwrap();
        gated.open();
        run_pending_tasks().await;
        let sent = if is_retry { vec!["Bearer A1", "Bearer A2"] } else { vec![] };
        assert_eq!(gated.received(), sent);
        assert_eq!(request.await.unwrap().is_ok(), is_retry);
    }
}
