//! `Session::keep_fresh` and `Session::tokens`.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, advance, sleep};
use tower_reauth::{
    RefreshError, Session,
    rt::{Clock, NoRuntime, NoTimer, Sleep, Spawner, Task, TestClock, Timestamp},
};

use crate::support::{clock, endpoint, expired, run_pending_tasks, spawn_refresh, token};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// More than a timer is late.
#[track_caller]
fn assert_seconds(since: Instant, seconds: u64) {
    let elapsed = since.elapsed().as_secs_f64();
    assert!((elapsed - seconds as f64).abs() < 1.0, "{elapsed}");
}

#[tokio::test(start_paused = true)]
async fn d84_an_idle_session_is_refreshed_whenever_that_is_due() {
    let (refresher, mut endpoint) = endpoint();
    let builder = Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock());
    let session = builder.build();
    let kept = tokio::spawn(session.keep_fresh());
    for expected in ["A2 R2 600", "A3 R3 600", "A4 R4 600"] {
        let start = Instant::now();
        endpoint.next_call().await.succeed(expected);
        assert_seconds(start, 420);
        run_pending_tasks().await;
        assert_eq!(session.try_token().unwrap().secret(), &expected[..2]);
    }
    drop(session);
    kept.await.unwrap();
    assert_eq!(endpoint.call_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn d84_without_a_token_the_first_one_is_obtained() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).clock(clock()).build();
    tokio::spawn(session.keep_fresh());
    endpoint.next_call().await.succeed("A1 R1 600");
    run_pending_tasks().await;
    assert_eq!(session.try_token().unwrap().secret(), "A1");
}

#[tokio::test(start_paused = true)]
async fn p07_keeping_fresh_waits_for_the_backoff() {
    let (refresher, mut endpoint) = endpoint();
    let builder = Session::builder(refresher).token(token("A1 R1 0")).jitter(false).clock(clock());
    let backoff = Duration::from_secs(30);
    let session = builder.backoff(backoff, backoff).build();
    tokio::spawn(session.keep_fresh());
    endpoint.next_call().await.fail(RefreshError::transient("503"));
    let start = Instant::now();
    endpoint.next_call().await.succeed("A2 R2 600");
    assert_seconds(start, 30);
}

#[tokio::test(start_paused = true)]
async fn p08_keeping_fresh_does_not_ask_for_a_grant_that_has_ended() {
    let (refresher, mut endpoint) = endpoint();
    let builder = Session::builder(refresher).token(token("A1 R1 0")).jitter(false).clock(clock());
    let session = builder.build();
    tokio::spawn(session.keep_fresh());
    endpoint.next_call().await.fail(RefreshError::grant_ended("invalid_grant"));
    sleep(DAY).await;
    assert_eq!(endpoint.call_count(), 1);
    drop(session.sign_out());
    sleep(DAY).await;
    assert_eq!(endpoint.call_count(), 1);

    session.sign_in(token("U1 UR1 600"));
    let start = Instant::now();
    endpoint.next_call().await.succeed("U2 UR2 600");
    assert_seconds(start, 420);
}

#[tokio::test(start_paused = true)]
async fn p13_keeping_fresh_notices_a_suspension() {
    let (refresher, mut endpoint) = endpoint();
    let clock = clock();
    let builder = Session::builder(refresher).token(token("A1 R1 36000")).jitter(false).clock(clock.clone());
    let session = builder.build();
    tokio::spawn(session.keep_fresh());
    run_pending_tasks().await;
    // Timers stand still, and the wall clock goes on.
    clock.step(DAY);
    let start = Instant::now();
    endpoint.next_call().await.succeed("A2 R2 600");
    assert!(start.elapsed() <= Duration::from_secs(61), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn p17_keeping_fresh_ends_with_a_shutdown() {
    let (refresher, endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let kept = tokio::spawn(session.keep_fresh());
    run_pending_tasks().await;
    session.shutdown(Duration::from_secs(1)).await.unwrap();
    kept.await.unwrap();
    assert_eq!(endpoint.call_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn d84_a_stream_has_the_current_token_and_each_new_one() {
    let (refresher, mut endpoint) = endpoint();
    let builder = Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock());
    let session = builder.build();
    let mut tokens = pin!(session.tokens());
    assert_eq!(tokens.next().await.unwrap().secret(), "A1");
    assert!(tokens.next().now_or_never().is_none());
    tokio::spawn(session.keep_fresh());
    for expected in ["A2 R2 600", "A3 R3 600"] {
        endpoint.next_call().await.succeed(expected);
        assert_eq!(tokens.next().await.unwrap().secret(), &expected[..2]);
    }
    // Who isn't in time gets the last one.
    session.set_token(token("A4 R4 600")).unwrap();
    session.set_token(token("A5 R5 600")).unwrap();
    assert_eq!(tokens.next().await.unwrap().secret(), "A5");
    assert!(tokens.next().now_or_never().is_none());
    drop(session);
    assert!(matches!(tokens.next().now_or_never(), Some(None)));
}

#[tokio::test(start_paused = true)]
async fn p10_a_stream_ends_before_the_token_of_another_user() {
    for signs_in in [true, false] {
        let (refresher, _endpoint) = endpoint();
        let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
        let mut tokens = pin!(session.tokens());
        assert_eq!(tokens.next().await.unwrap().secret(), "A1");
        match signs_in {
            true => session.sign_in(token("U1 UR1 600")),
            false => drop(session.sign_out()),
        }
        assert!(matches!(tokens.next().now_or_never(), Some(None)));
        session.sign_in(token("U2 UR2 600"));
        assert!(matches!(tokens.next().now_or_never(), Some(None)));
    }
}

/// Keeps each task, and polls none.
#[derive(Clone, Default)]
struct Keeping(Arc<Mutex<Vec<Task>>>);

impl Spawner for Keeping {
    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        self.0.lock().unwrap().push(task);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn p05_keeping_fresh_pauses_after_a_refresh_that_never_ran() {
    let (refresher, _endpoint) = endpoint();
    let tasks = Keeping::default();
    let session = expired(refresher).spawner(tasks.clone()).build();
    tokio::spawn(session.keep_fresh());
    for _ in 0..5 {
        run_pending_tasks().await;
        let started = std::mem::take(&mut *tasks.0.lock().unwrap());
        assert_eq!(started.len(), 1);
        drop(started);
        run_pending_tasks().await;
        assert!(tasks.0.lock().unwrap().is_empty(), "a refresh started without a pause");
        advance(Duration::from_secs(1)).await;
    }
}

/// A clock that counts its timers.
#[derive(Clone)]
struct CountingClock {
    inner: TestClock,
    timers: Arc<AtomicUsize>,
}

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        self.timers.fetch_add(1, Ordering::SeqCst);
        self.inner.sleep(duration)
    }
}

#[tokio::test(start_paused = true)]
async fn d84_keeping_fresh_wakes_once_a_minute_while_nothing_is_due() {
    for state in ["fresh", "signed out", "ended"] {
        let clock = CountingClock { inner: clock(), timers: Arc::default() };
        let (refresher, mut endpoint) = endpoint();
        // A fresh token isn't due, and nothing can replace that of a grant that has ended.
        let first = token(if state == "ended" { "A1 R1 0" } else { "A1 R1 36000" });
        let session = Session::builder(refresher).token(first).jitter(false).clock(clock.clone()).build();
        match state {
            "signed out" => drop(session.sign_out()),
            "ended" => {
                let refresh = spawn_refresh(&session);
                endpoint.next_call().await.fail(RefreshError::grant_ended("invalid_grant"));
                refresh.await.unwrap().unwrap_err();
            }
            _ => {}
        }
        tokio::spawn(session.keep_fresh());
        run_pending_tasks().await;
        let before = clock.timers.load(Ordering::SeqCst);
        sleep(Duration::from_secs(3600)).await;
        let timers = clock.timers.load(Ordering::SeqCst) - before;
        assert!((59..=61).contains(&timers), "{state}: {timers}");
    }
}
