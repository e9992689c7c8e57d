//! All ways in which a flight ends, with its waiters on another runtime.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinSet,
};
use tower_reauth::{
    Error, RefreshError, Session, SessionBuilder, Token,
    rt::{NoRuntime, Spawner, SystemClock, Task},
};

use crate::support::{
    BoxError, Endpoint, OnRuntime, RecordedTokens, clock, endpoint, expired, run_pending_tasks,
    spawn_refresh, spawn_token, token,
};

const WAITERS: usize = 100;

fn flights() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn wait_all(session: &Session) -> JoinSet<Result<u64, Error>> {
    let mut waiters = JoinSet::new();
    for _ in 0..WAITERS {
        let session = session.clone();
        waiters.spawn(async move { session.token().await.map(|token| token.generation()) });
    }
    while session.status().waiters() < WAITERS {
        tokio::task::yield_now().await;
    }
    waiters
}

async fn all_fail(waiters: JoinSet<Result<u64, Error>>, is: fn(&Error) -> bool) {
    for result in waiters.join_all().await {
        let error = result.unwrap_err();
        assert!(is(&error), "{error:?}");
    }
}

async fn all_have(waiters: JoinSet<Result<u64, Error>>, generation: u64) {
    assert!(waiters.join_all().await.into_iter().all(|result| result.unwrap() == generation));
}

fn on(runtime: &tokio::runtime::Runtime, builder: SessionBuilder) -> Session {
    builder.spawner(OnRuntime(runtime.handle().clone())).clock(SystemClock).build()
}

/// The next demand starts a new flight.
async fn recovers(session: Session, mut endpoint: Endpoint, generation: u64) {
    let session = Arc::new(session);
    let next = tokio::spawn({
        let session = Arc::clone(&session);
        async move { session.token().await }
    });
    endpoint.next_call().await.succeed("A3 R3 600");
    assert_eq!(next.await.unwrap().unwrap().generation(), generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_all_waiters_get_the_new_token() {
    let flights = flights();
    let (refresher, mut endpoint) = endpoint();
    let session = on(&flights, expired(refresher));
    let waiters = wait_all(&session).await;
    endpoint.next_call().await.succeed("A2 R2 600");
    all_have(waiters, 2).await;
    flights.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_a_panic_of_the_refresher_is_an_unknown_outcome() {
    let flights = flights();
    let (refresher, mut endpoint) = endpoint();
    let session = on(&flights, expired(refresher));
    let waiters = wait_all(&session).await;
    endpoint.next_call().await.panic("a secret in a panic");
    all_fail(waiters, |error| error.is_outcome_unknown() && error.is_retryable()).await;
    assert!(!format!("{session:?}").contains("a secret"));
    recovers(session, endpoint, 2).await;
    flights.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_a_runtime_that_shuts_down_mid_flight_fails_the_waiters() {
    let flights = flights();
    let (refresher, mut endpoint) = endpoint();
    let spawn = Movable::new(flights.handle().clone());
    let session = expired(refresher).clock(SystemClock).spawner(spawn.clone()).build();
    let waiters = wait_all(&session).await;
    let call = endpoint.next_call().await;
    flights.shutdown_background();
    all_fail(waiters, Error::is_outcome_unknown).await;
    assert!(call.is_dropped());
    spawn.move_to(tokio::runtime::Handle::current());
    recovers(session, endpoint, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p09_a_task_that_is_never_polled_fails_the_waiters() {
    let (refresher, endpoint) = endpoint();
    let never = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let spawn = Movable::new(never.handle().clone());
    let session = expired(refresher).clock(SystemClock).spawner(spawn.clone()).build();
    let waiters = wait_all(&session).await;
    never.shutdown_background();
    all_fail(waiters, Error::is_outcome_unknown).await;
    assert_eq!(endpoint.call_count(), 0);
    assert!(session.status().retry_at().is_none());
    spawn.move_to(tokio::runtime::Handle::current());
    recovers(session, endpoint, 2).await;
}

/// As a runtime that has shut down does.
#[tokio::test(flavor = "multi_thread")]
async fn p09_a_task_that_is_dropped_within_spawn_fails_the_waiters() {
    struct Drops;

    impl Spawner for Drops {
        fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
            drop(task);
            Ok(())
        }
    }

    let (refresher, endpoint) = endpoint();
    let session = expired(refresher).clock(SystemClock).spawner(Drops).build();
    assert!(session.token().await.unwrap_err().is_outcome_unknown());
    assert!(session.token().await.unwrap_err().is_outcome_unknown());
    assert_eq!(endpoint.call_count(), 0);
}

#[test]
fn p09_a_call_outside_a_runtime_is_an_error() {
    let (refresher, endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 0")).build();
    let error = futures::executor::block_on(session.token()).unwrap_err();
    assert!(error.is_missing_runtime() && error.is_retryable());
    assert_eq!(endpoint.call_count(), 0);
    assert!(!session.status().is_refreshing());
}

#[test]
fn p09_a_runtime_without_timers_is_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (refresher, endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 0")).build();
    let error = runtime.block_on(session.token()).unwrap_err();
    assert!(error.is_missing_runtime());
    runtime.block_on(run_pending_tasks());
    assert_eq!(endpoint.call_count(), 0);
    assert!(!session.status().is_refreshing(), "the flight has ended, too");
}

/// The flight is on a runtime that nobody drives.
#[tokio::test(start_paused = true)]
async fn p09_waiters_time_out_by_themselves_and_the_next_demand_abandons_the_flight() {
    let undriven = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (refresher, mut endpoint) = endpoint();
    let spawn = Movable::new(undriven.handle().clone());
    let session =
        Session::builder(refresher).token(token("A1 R1 0")).clock(clock()).spawner(spawn.clone()).build();
    let waiters = wait_all(&session).await;
    all_fail(waiters, Error::is_timeout).await;
    assert!(session.status().is_refreshing());
    tokio::time::sleep(Duration::from_secs(30)).await;
    spawn.move_to(tokio::runtime::Handle::current());
    let next = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 600");
    assert_eq!(next.await.unwrap().unwrap().secret(), "A2");
    // The abandoned task is dropped now, and changes nothing.
    undriven.shutdown_background();
    assert_eq!(session.status().generation(), 2);
}

/// How the save hook ends.
#[derive(Clone, Copy, Debug)]
enum SaveEnd {
    Success,
    Panic,
    Fails,
    RuntimeGone,
    Limit,
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_the_token_is_published_however_the_save_hook_ends() {
    for end in [SaveEnd::Success, SaveEnd::Panic, SaveEnd::Fails, SaveEnd::RuntimeGone, SaveEnd::Limit] {
        let mut flights = Some(flights());
        let (refresher, mut endpoint) = endpoint();
        let (entered, mut is_entered) = tokio::sync::mpsc::unbounded_channel();
        let release = Arc::new(tokio::sync::Notify::new());
        let hook = {
            let release = Arc::clone(&release);
            move |_: Option<Token>| {
                let _ = entered.send(());
                let release = Arc::clone(&release);
                async move {
                    release.notified().await;
                    match end {
                        SaveEnd::Panic => panic!("in the hook"),
                        SaveEnd::Fails => Err(BoxError::from("disk full")),
                        _ => Ok(()),
                    }
                }
            }
        };
        let builder = expired(refresher).save_with(hook);
        let builder = match end {
            SaveEnd::Limit => builder.save_timeout(Duration::from_millis(20)),
            _ => builder.save_timeout(Duration::from_secs(300)),
        };
        let session = on(flights.as_ref().unwrap(), builder);
        let waiters = wait_all(&session).await;
        endpoint.next_call().await.succeed("A2 R2 600");
        is_entered.recv().await;
        match end {
            SaveEnd::RuntimeGone => flights.take().unwrap().shutdown_background(),
            SaveEnd::Limit => {}
            _ => {
                assert_eq!(session.status().generation(), 1, "it isn't published before it is saved");
                release.notify_one();
            }
        }
        all_have(waiters, 2).await;
        let unsaved = !matches!(end, SaveEnd::Success);
        assert_eq!(session.status().is_unsaved(), unsaved, "{end:?}");
        assert_eq!((session.status().consecutive_failures(), endpoint.call_count()), (0, 1));
        if let Some(flights) = flights {
            flights.shutdown_background();
        }
    }
}

/// A spawner whose runtime can be replaced.
#[derive(Clone)]
struct Movable(Arc<Mutex<tokio::runtime::Handle>>);

impl Movable {
    fn new(handle: tokio::runtime::Handle) -> Self {
        Self(Arc::new(Mutex::new(handle)))
    }

    fn move_to(&self, handle: tokio::runtime::Handle) {
        *self.0.lock().unwrap() = handle;
    }
}

impl Spawner for Movable {
    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        self.0.lock().unwrap().spawn(task);
        Ok(())
    }
}

/// The error was about R1; the late response has its successor.
#[tokio::test(start_paused = true)]
async fn p08_a_late_response_with_a_new_refresh_token_is_used_although_the_grant_has_ended() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let _waiting = spawn_token(&session);
    let abandoned = endpoint.next_call().await;
    clock.step(Duration::from_secs(100));
    let waiting = spawn_token(&session);
    endpoint.next_call().await.fail(RefreshError::grant_ended("invalid_grant"));
    waiting.await.unwrap().unwrap_err();
    abandoned.succeed("A2 R2 600");
    run_pending_tasks().await;
    assert_eq!(session.token().await.unwrap().secret(), "A2", "the late response is used");
    let status = session.status();
    clock.step(Duration::from_secs(700));
    let _waiting = spawn_token(&session);
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 3, "R2 is presented; {status:?}");
}

#[tokio::test(start_paused = true)]
async fn p02_a_refresh_token_that_was_exchanged_is_not_presented_when_it_is_set_again() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let _refresh = spawn_refresh(&session);
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("R1"));
    session.set_token(token("A9 R9 600")).unwrap();
    // R1 has its successor.
    call.succeed("A2 R2 600");
    run_pending_tasks().await;
    session.set_token(token("A10 R1 600")).unwrap();
    let _refresh = spawn_refresh(&session);
    assert_ne!(endpoint.next_call().await.cx.refresh_token(), Some("R1"));
}

/// Its runtime ends with the thread, after the crate's own thread-locals.
#[test]
fn p03_a_flight_on_a_runtime_in_a_thread_local_ends_with_its_thread() {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
    }
    let (refresher, mut endpoint) = endpoint();
    // The error is checked, not how long it took.
    let session = Session::builder(refresher).wait_timeout(Duration::from_secs(10)).build();
    let refreshing = session.clone();
    let (end, ended) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        RUNTIME.with(|runtime| {
            runtime.block_on(async {
                let waiting = spawn_token(&refreshing);
                ended.await.unwrap();
                drop(waiting);
            });
        });
    });
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let call = endpoint.next_call().await;
        let waiting = spawn_token(&session);
        run_pending_tasks().await;
        assert_eq!(session.status().waiters(), 2);
        end.send(()).unwrap();
        tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
        let error = waiting.await.unwrap().unwrap_err();
        assert!(error.is_outcome_unknown(), "{error:?}");
        drop(call);
    });
}

/// So a refresher that goes on presents nothing more.
#[tokio::test(start_paused = true)]
async fn p02_a_refresh_that_was_abandoned_is_no_longer_wanted() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let _waiting = spawn_token(&session);
    let abandoned = endpoint.next_call().await;
    assert!(abandoned.cx.is_wanted());
    clock.step(Duration::from_secs(100));
    let _waiting = spawn_token(&session);
    let current = endpoint.next_call().await;
    assert!(!abandoned.cx.is_wanted() && current.cx.is_wanted());
}

/// The session had none when the flight was abandoned.
#[tokio::test(start_paused = true)]
async fn p17_a_first_token_that_comes_late_is_saved() {
    let clock = clock();
    let saved = RecordedTokens::default();
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).clock(clock.clone()).save_with(saved.hook()).build();
    let _waiting = spawn_token(&session);
    let abandoned = endpoint.next_call().await;
    clock.step(Duration::from_secs(100));
    let _waiting = spawn_token(&session);
    let _current = endpoint.next_call().await;
    abandoned.succeed("A1 R1 600");
    run_pending_tasks().await;
    assert_eq!((session.token().await.unwrap().secret(), saved.all()), ("A1", vec!["A1 R1".to_owned()]));
}
