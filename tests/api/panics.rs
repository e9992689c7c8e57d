//! Panics in the user's code, and the user's destructors.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll},
    time::Duration,
};

use tower_reauth::{
    RefreshError, Session, Token,
    event::EventKind,
    refresh_fn,
    rt::{Clock, NoRuntime, NoTimer, Sleep, Spawner, Task, TestClock, Timestamp, TokioSpawner},
};

use crate::support::{
    Endpoint, clock, endpoint, expired, run_pending_tasks, spawn_refresh, spawn_token, token,
};

/// An error whose destructor runs the given function.
struct OnDrop(Box<dyn Fn() + Send + Sync>);

impl OnDrop {
    /// Its destructor uses the session, which deadlocks if the session's lock is held.
    fn using(session: &Session) -> Self {
        let session = session.clone();
        Self(Box::new(move || drop(session.status())))
    }

    fn panicking() -> Self {
        Self(Box::new(panic_on_drop))
    }
}

impl fmt::Debug for OnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnDrop")
    }
}

impl fmt::Display for OnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error with a destructor")
    }
}

impl std::error::Error for OnDrop {}

impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A panic during a panic would abort the process.
fn panic_on_drop() {
    if !std::thread::panicking() {
        panic!("in a destructor");
    }
}

/// Runs a future on a thread of its own. Panics if it deadlocks.
fn without_deadlock<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(make());
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(300)).expect("no deadlock");
}

/// A refresh fails after `before_failure` was called; nobody else has the error any more.
fn fails_after(before_failure: fn(&Session)) {
    without_deadlock(move || async move {
        let (refresher, mut endpoint) = endpoint();
        let session = expired(refresher).build();
        let _waiting = spawn_token(&session);
        let call = endpoint.next_call().await;
        before_failure(&session);
        call.fail(RefreshError::transient(OnDrop::using(&session)));
        run_pending_tasks().await;
        session.status();
    });
}

#[test]
fn p09_the_error_of_a_failed_flight_is_dropped_without_the_lock() {
    fails_after(|_| {});
}

#[test]
fn p09_an_error_that_arrives_after_a_sign_out_is_dropped_without_the_lock() {
    fails_after(|session| drop(session.sign_out()));
}

#[test]
fn p09_an_error_that_arrives_after_set_token_is_dropped_without_the_lock() {
    fails_after(|session| session.set_token(token("A9 R9 600")).unwrap());
}

#[test]
fn p09_the_error_of_an_abandoned_flight_is_dropped_without_the_lock() {
    without_deadlock(|| async {
        let clock = clock();
        let (refresher, mut endpoint) = endpoint();
        let session = expired(refresher).clock(clock.clone()).build();
        let _first = spawn_token(&session);
        let abandoned = endpoint.next_call().await;
        clock.step(Duration::from_secs(100));
        let _second = spawn_token(&session);
        let _current = endpoint.next_call().await;
        abandoned.fail(RefreshError::transient(OnDrop::using(&session)));
        run_pending_tasks().await;
        session.status();
    });
}

#[test]
fn p09_the_error_shared_by_a_batch_is_dropped_without_the_lock() {
    without_deadlock(|| async {
        let clock = clock();
        let (refresher, mut endpoint) = endpoint();
        let session =
            Session::builder(refresher).token(token("A1 R1 6000")).jitter(false).clock(clock.clone()).build();
        let rejected = session.token().await.unwrap();
        session.mark_rejected(&rejected);
        let refresh = spawn_refresh(&session);
        endpoint.next_call().await.fail(RefreshError::transient(OnDrop::using(&session)));
        let _ = refresh.await.unwrap();
        // The same token first, then another one.
        for response in ["A1 R2 6000", "A2 R3 6000"] {
            clock.step(Duration::from_secs(10));
            let refresh = spawn_refresh(&session);
            endpoint.next_call().await.succeed(response);
            let _ = refresh.await.unwrap();
        }
        session.status();
    });
}

#[test]
fn p09_the_destructor_of_each_kind_of_error_may_use_the_session() {
    async fn fail(session: &Session, endpoint: &mut Endpoint, error: fn(OnDrop) -> RefreshError) {
        let refresh = spawn_refresh(session);
        endpoint.next_call().await.fail(error(OnDrop::using(session)));
        drop(refresh.await.unwrap().unwrap_err());
        session.reset_backoff();
    }

    without_deadlock(|| async {
        let (refresher, mut endpoint) = endpoint();
        let session = Session::builder(refresher).token(token("A1 R1 600")).build();
        fail(&session, &mut endpoint, RefreshError::transient).await;
        session.mark_rejected(&session.try_token().unwrap());
        fail(&session, &mut endpoint, RefreshError::transient).await;
        fail(&session, &mut endpoint, RefreshError::misconfigured).await;
        session.set_token(token("A2 R2 600")).unwrap();
        fail(&session, &mut endpoint, RefreshError::grant_ended).await;
        session.set_token(token("A3 R3 600")).unwrap();
        let refresh = spawn_refresh(&session);
        let call = endpoint.next_call().await;
        session.sign_in(token("B1 Q1 600"));
        call.fail(RefreshError::transient(OnDrop::using(&session)));
        drop(refresh.await.unwrap());
        fail(&session, &mut endpoint, RefreshError::transient).await;
        let _ = session.sign_out();
    });
}

#[tokio::test(start_paused = true)]
async fn p09_a_panic_in_the_event_hook_leaves_no_waiter_asleep() {
    /// The payload of a panic. Its own drop panics, too.
    struct Payload;

    impl Drop for Payload {
        fn drop(&mut self) {
            panic_on_drop();
        }
    }

    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher)
        .on_event(|event| {
            if matches!(event.kind, EventKind::Refreshed { .. }) {
                std::panic::panic_any(Payload);
            }
        })
        .build();
    let start = tokio::time::Instant::now();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 600");
    let token = waiting.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{token:?} after {:?}", start.elapsed());
}

/// A clock that panics when the test says so.
#[derive(Clone)]
struct PanickingClock {
    inner: TestClock,
    panics: Arc<AtomicBool>,
}

impl Clock for PanickingClock {
    fn now(&self) -> Timestamp {
        assert!(!self.panics.load(Ordering::SeqCst), "in the clock");
        self.inner.now()
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        self.inner.sleep(duration)
    }
}

#[tokio::test(start_paused = true)]
async fn p09_a_clock_that_panics_as_a_flight_ends_leaves_no_waiter_asleep() {
    let clock = PanickingClock { inner: clock(), panics: Arc::default() };
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let start = tokio::time::Instant::now();
    let waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    clock.panics.store(true, Ordering::SeqCst);
    call.succeed("A2 R2 600");
    run_pending_tasks().await;
    clock.panics.store(false, Ordering::SeqCst);
    let result = waiting.await.unwrap();
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(1), "{result:?} after {elapsed:?}; {:?}", session.status());
}

#[tokio::test(start_paused = true)]
async fn p09_a_waiter_survives_an_error_whose_destructor_panics() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let _waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    session.set_token(token("A9 R9 0")).unwrap();
    call.fail(RefreshError::grant_ended(OnDrop::panicking()));
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 2, "the waiter demands a token again; {:?}", session.status());
}

#[tokio::test(start_paused = true)]
async fn p09_a_refresh_whose_destructor_panics_at_the_timeout_is_an_unknown_outcome() {
    /// Never ends, and panics when it is dropped.
    struct Refresh;

    impl Future for Refresh {
        type Output = Result<Token, RefreshError>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Pending
        }
    }

    impl Drop for Refresh {
        fn drop(&mut self) {
            panic_on_drop();
        }
    }

    let session = expired(refresh_fn(|_| Refresh)).wait_timeout(Duration::from_secs(100)).build();
    let start = tokio::time::Instant::now();
    let error = session.token().await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(61), "{:?}", start.elapsed());
    assert!(!session.status().is_refreshing());
}

#[tokio::test(start_paused = true)]
async fn p06_a_stale_token_is_served_though_the_spawner_panics() {
    struct PanicsOnce(AtomicUsize);

    impl Spawner for PanicsOnce {
        fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
            assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "in the spawner");
            TokioSpawner.spawn(task)
        }
    }

    let clock = clock();
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher)
        .token(token("A1 R1 600"))
        .jitter(false)
        .clock(clock.clone())
        .spawner(PanicsOnce(AtomicUsize::new(0)))
        .build();
    clock.step(Duration::from_secs(500));
    let result = spawn_token(&session).await;
    assert!(result.is_ok(), "{result:?}");
}

/// A hook that fails after the sign-out: nobody else has its error.
#[test]
fn p09_the_error_of_a_save_that_is_no_longer_wanted_is_dropped_without_the_lock() {
    without_deadlock(|| async {
        let (refresher, mut endpoint) = endpoint();
        let slot: Arc<std::sync::OnceLock<Session>> = Arc::default();
        let hooked = Arc::clone(&slot);
        let session = expired(refresher)
            .save_with(move |_| {
                let session = hooked.get().unwrap().clone();
                async move {
                    let error = OnDrop::using(&session);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Err::<(), _>(error)
                }
            })
            .build();
        slot.set(session.clone()).unwrap();
        let _waiting = spawn_token(&session);
        endpoint.next_call().await.succeed("A2 R2 600");
        run_pending_tasks().await;
        drop(session.sign_out());
        tokio::time::sleep(Duration::from_secs(2)).await;
        run_pending_tasks().await;
        session.status();
    });
}

#[tokio::test(start_paused = true)]
async fn p09_a_clock_that_panics_as_a_revocation_ends_leaves_the_session_idle() {
    let clock = PanickingClock { inner: clock(), panics: Arc::default() };
    let panics = Arc::clone(&clock.panics);
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher)
        .clock(clock.clone())
        .revoke_with(move |_| {
            panics.store(true, Ordering::SeqCst);
            async { Ok::<_, crate::support::BoxError>(()) }
        })
        .build();
    let _waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    let _ = session.sign_out();
    call.succeed("A2 R2 600");
    run_pending_tasks().await;
    assert!(clock.panics.swap(false, Ordering::SeqCst), "the token is revoked");
    let idle = tokio::time::timeout(Duration::from_secs(1000), session.idle()).await;
    assert!(idle.is_ok(), "{:?}", session.status());
}

/// A clock that panics while it is switched on.
#[derive(Clone)]
struct Panicking(TestClock, Arc<AtomicBool>);

impl Clock for Panicking {
    fn now(&self) -> Timestamp {
        assert!(!self.1.load(Ordering::SeqCst), "in the clock");
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        self.0.sleep(duration)
    }
}

#[tokio::test(start_paused = true)]
async fn d04_a_flight_ends_even_if_the_clock_panics() {
    let (refresher, mut endpoint) = endpoint();
    let panics = Arc::<AtomicBool>::default();
    let clock = Panicking(clock(), Arc::clone(&panics));
    let session = expired(refresher).clock(clock).build();
    let waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    panics.store(true, Ordering::SeqCst);
    call.succeed("A2 R2 600");
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A2");
    panics.store(false, Ordering::SeqCst);
    assert!(!session.status().is_refreshing());
}

/// The first event of a flight comes between its start and its task.
#[tokio::test(start_paused = true)]
async fn d04_a_flight_survives_a_listener_that_panics_at_its_start() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).on_event(|_| panic!("in the listener")).build();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 600");
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A2");
}

/// What a flight's end causes, besides waking its waiters.
#[tokio::test(start_paused = true)]
async fn d07_effects_are_carried_out_even_if_a_waker_panics() {
    struct Panics;

    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("in a waker");
        }
    }

    let (refresher, mut endpoint) = endpoint();
    let saved = crate::support::RecordedTokens::default();
    let session = expired(refresher).save_with(saved.hook()).build();
    let mut waiting = Box::pin(session.token());
    let waker = Arc::new(Panics).into();
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let call = endpoint.next_call().await;
    session.set_token(token("A9 - 0")).unwrap();
    run_pending_tasks().await;
    // The flight lands, which wakes the waiter; the set token is saved with the successor only after that.
    call.succeed("A2 R2 600");
    session.idle().await;
    assert_eq!(saved.all(), ["A9 R1", "A9 R2"]);
    assert!(!session.status().is_unsaved() && !session.status().is_refreshing());
}

/// The event of the failed save has the last copy of its error.
#[tokio::test(start_paused = true)]
async fn p09_a_save_whose_error_has_a_destructor_that_panics_takes_no_token_away() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).save_with(|_| async { Err::<(), _>(OnDrop::panicking()) }).build();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 600");
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A2");
    assert!(session.status().is_unsaved());
}
