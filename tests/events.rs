//! What happens to a session can be followed in the log.
//!
//! A binary of its own, as the subscriber and which events are enabled belong to the whole process.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and have tokio's tasks and timers"
)]

mod support;

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::{mpsc, oneshot};
use tower_reauth::{
    RefreshError, Session, Token,
    event::{Event, EventKind},
    refresh_fn,
    store::MemoryStore,
};
use tracing_subscriber::layer::SubscriberExt;

use support::{BoxError, clock, endpoint, run_pending_tasks, spawn_refresh, token};

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What this thread logs, which is all of its test.
struct Log;

impl Log {
    /// Each test starts with this: an event that is first met without a subscriber stays disabled.
    fn start() -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let layer = tracing_subscriber::fmt::layer().with_writer(|| Self).with_ansi(false).without_time();
            tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
        });
        Self
    }

    /// What was logged since the last call.
    fn take(&self) -> String {
        String::from_utf8(LOG.take()).unwrap()
    }

    /// Level and message of each line since the last call that an operator sees at `info`.
    fn take_info(&self) -> Vec<String> {
        let log = self.take();
        let lines = log.lines().map(|line| line.trim_start().replacen(" tower_reauth: ", " ", 1));
        let is_seen = |line: &String| line.starts_with("INFO") || line.starts_with("WARN");
        lines.filter(is_seen).map(|line| line.split(" generation=").next().unwrap().to_owned()).collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn b63_each_log_line_has_its_message_and_generation() {
    let log = Log::start();
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher)
        .token(token("A1 R1 0"))
        .jitter(false)
        .clock(clock())
        .name("github")
        .save_with(|_| async { Err(BoxError::from("disk full")) })
        .build();
    let wait = || {
        let session = session.clone();
        tokio::spawn(async move { session.token().await })
    };
    let waiting = [wait(), wait(), wait()];
    run_pending_tasks().await;
    endpoint.next_call().await.fail(
        RefreshError::transient("down").with_log_message("503").with_retry_after(Duration::from_secs(9)),
    );
    for waiting in waiting {
        waiting.await.unwrap().unwrap_err();
    }
    session.reset_backoff();
    let waiting = wait();
    endpoint.next_call().await.succeed("A2 R2 600");
    waiting.await.unwrap().unwrap();
    session.set_token(token("A3 - 600")).unwrap();
    let refresh = spawn_refresh(&session);
    endpoint.next_call().await.fail(RefreshError::grant_ended("invalid_grant"));
    refresh.await.unwrap().unwrap_err();
    run_pending_tasks().await;
    session.sign_in(token("B1 Q1 600"));
    session.mark_rejected(&session.try_token().unwrap());
    let _ = session.sign_out();
    session.idle().await;

    let log = log.take();
    let mut lines = log.lines();
    for (generation, words) in [
        (1, "token refresh started refresh.reason=Expired"),
        (1, "waiting for token refresh"),
        (1, "waiting for token refresh"),
        (1, "token refresh failed"),
        (1, "token refresh started"),
        (2, "failed to save session, will retry"),
        (2, "token refreshed"),
        (3, "token set"),
        (3, "failed to save session, will retry"),
        (3, "token refresh started refresh.reason=Requested"),
        (3, "grant has ended, user must sign in again"),
        (4, "signed in"),
        (4, "access token rejected"),
        (4, "signed out"),
        (4, "failed to save session, will retry"),
        (4, "failed to save session, will retry"),
    ] {
        let line = lines.next().unwrap_or_else(|| panic!("no line for {words:?} in\n{log}"));
        let (message, reason) = words.split_once(" refresh.").unwrap_or((words, ""));
        assert!(line.contains(message) && line.contains(reason), "{words:?}: {line}");
        assert!(line.contains(&format!("generation={generation}")), "{generation}: {line}");
        assert!(line.contains("session=\"github\""), "{line}");
    }
    assert_eq!(lines.next(), None);
    let failed = log.lines().find(|line| line.contains("failed")).unwrap();
    for part in ["waiters=3", "refresh.elapsed=", "refresh.next_in=9s", "refresh.cause=\"503\"", "WARN"] {
        assert!(failed.contains(part), "{failed}");
    }
}

/// On the system's clocks, whose coarse variants can't measure so short a time.
#[tokio::test]
async fn d68_a_refresh_is_timed_by_a_precise_clock() {
    Log::start();
    let (sender, mut times) = mpsc::unbounded_channel();
    let (from_refresher, from_listener) = (sender.clone(), sender);
    let calls = AtomicUsize::new(0);
    let refresher = refresh_fn(move |_| {
        let (times, call) = (from_refresher.clone(), calls.fetch_add(1, Ordering::Relaxed));
        async move {
            let started = Instant::now();
            tokio::task::yield_now().await;
            times.send(started.elapsed()).unwrap();
            match call % 2 {
                0 => Err(RefreshError::transient("down")),
                _ => Ok(token(&format!("A{call} R1 600"))),
            }
        }
    });
    let listener = move |event: &Event| match event.kind {
        EventKind::Refreshed { elapsed, .. } | EventKind::RefreshFailed { elapsed, .. } => {
            from_listener.send(elapsed).unwrap();
        }
        _ => {}
    };
    let session = Session::builder(refresher).on_event(listener).build();
    for _ in 0..10 {
        let started = Instant::now();
        let _ = session.refresh().await;
        let total = started.elapsed();
        session.reset_backoff();
        let (exchange, reported) = (times.recv().await.unwrap(), times.recv().await.unwrap());
        assert!(exchange <= reported && reported <= total, "{exchange:?}, {reported:?}, {total:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn d69_at_info_the_first_token_and_each_recovery_are_seen() {
    let log = Log::start();
    let (refresher, mut endpoint) = endpoint();
    let saves_fail = Arc::new(AtomicBool::new(false));
    let fail = Arc::clone(&saves_fail);
    let save = move |_| {
        let failed = fail.load(Ordering::Relaxed);
        async move { if failed { Err(BoxError::from("disk full")) } else { Ok(()) } }
    };
    let session = Session::builder(refresher).jitter(false).clock(clock()).save_with(save).build();
    let mut refresh = async |result: Result<&str, RefreshError>| {
        session.reset_backoff();
        let refresh = spawn_refresh(&session);
        let call = endpoint.next_call().await;
        match result {
            Ok(token) => call.succeed(token),
            Err(error) => call.fail(error),
        }
        let _ = refresh.await.unwrap();
        log.take_info()
    };

    assert_eq!(refresh(Ok("A1 R1 600")).await, ["INFO token refreshed"]);
    assert_eq!(refresh(Ok("A2 R2 600")).await, [""; 0]);
    assert_eq!(refresh(Err(RefreshError::transient("down"))).await, ["WARN token refresh failed"]);
    assert_eq!(refresh(Ok("A3 R3 600")).await, ["INFO token refreshed"]);
    assert_eq!(refresh(Ok("A3 R3 600")).await, ["WARN token refresh returned an unusable token"]);
    assert_eq!(refresh(Ok("A4 R4 0")).await, ["WARN token refresh returned an unusable token"]);
    assert_eq!(refresh(Ok("A5 R5 600")).await, ["INFO token refreshed"]);
    assert_eq!(refresh(Ok("A6 R6 600")).await, [""; 0]);

    saves_fail.store(true, Ordering::Relaxed);
    assert_eq!(refresh(Ok("A7 R7 600")).await, ["WARN failed to save session, will retry"]);
    saves_fail.store(false, Ordering::Relaxed);
    assert_eq!(refresh(Ok("A8 R8 600")).await, ["INFO session saved"]);
    assert_eq!(refresh(Ok("A9 R9 600")).await, [""; 0]);

    let ended = "INFO grant has ended, user must sign in again";
    assert_eq!(refresh(Err(RefreshError::grant_ended("revoked"))).await, [ended]);
    session.set_token(token("B1 Q1 600")).unwrap();
    assert_eq!(log.take_info(), ["INFO token set"]);
    assert_eq!(refresh(Ok("B2 Q2 600")).await, ["INFO token refreshed"]);
    // After a failure and a sign-in, the first refresh isn't a recovery.
    assert_eq!(refresh(Err(RefreshError::transient("down"))).await, ["WARN token refresh failed"]);
    session.sign_in(token("C1 S1 600"));
    assert_eq!(log.take_info(), ["INFO signed in"]);
    assert_eq!(refresh(Ok("C2 S2 600")).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn d69_a_session_without_a_name_logs_no_empty_name() {
    let log = Log::start();
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).build();
    session.sign_in(token("A1 R1 600"));
    let log = log.take();
    assert!(log.contains("signed in generation=1"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn at_warn_an_operator_sees_when_the_refresh_token_expires() {
    let log = Log::start();
    let (refresher, mut endpoint) = endpoint();
    let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(1_001_000);
    let stored = Token::builder("A1").refresh_token("R1").refresh_token_expires_at(expiry).build().unwrap();
    let session = Session::builder(refresher).token(stored).clock(clock()).build();
    tokio::time::advance(Duration::from_secs(910)).await;
    let refresh = spawn_refresh(&session);
    endpoint.next_call().await.succeed("A2 R2 600");
    refresh.await.unwrap().unwrap();
    let log = log.take();
    let warning = log.lines().find(|line| line.contains("WARN")).unwrap();
    for part in ["refresh token expires soon: ", "generation=1", "refresh_token.expires_in=90s"] {
        assert!(warning.contains(part), "{warning}");
    }
}

/// The second save fails, and its retry is still running when a newer token is set.
#[tokio::test(start_paused = true)]
async fn d69_a_save_is_reported_with_the_generation_that_was_saved() {
    Log::start();
    let events = Arc::<Mutex<Vec<String>>>::default();
    let listener = Arc::clone(&events);
    let (refresher, mut endpoint) = endpoint();
    let (sender, mut saves) = mpsc::unbounded_channel::<oneshot::Sender<bool>>();
    let save = move |_| {
        let (result, saved) = oneshot::channel();
        sender.send(result).unwrap();
        async move { if saved.await.unwrap() { Ok(()) } else { Err(BoxError::from("disk full")) } }
    };
    let session = Session::builder(refresher)
        .token(token("A1 R1 600"))
        .clock(clock())
        .save_with(save)
        .on_event(move |event| {
            let kind = match event.kind {
                EventKind::Refreshed { .. } => "refreshed",
                EventKind::TokenSet => "set",
                EventKind::Saved { .. } => "saved",
                EventKind::SaveFailed { .. } => "not saved",
                _ => return,
            };
            listener.lock().unwrap().push(format!("{kind} {}", event.generation));
        })
        .build();
    for (token, saved) in [("A2 R2 600", true), ("A3 R3 600", false)] {
        let refresh = spawn_refresh(&session);
        endpoint.next_call().await.succeed(token);
        saves.recv().await.unwrap().send(saved).unwrap();
        refresh.await.unwrap().unwrap();
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    session.token().await.unwrap();
    let repeated = saves.recv().await.unwrap();
    session.set_token(token("A4 R4 600")).unwrap();
    repeated.send(true).unwrap();
    run_pending_tasks().await;
    let expected = ["saved 2", "refreshed 2", "not saved 3", "refreshed 3", "set 4", "saved 3"];
    assert_eq!(*events.lock().unwrap(), expected);
}

/// Another process has ended the failures.
#[tokio::test(start_paused = true)]
async fn d69_at_info_a_recovery_through_the_store_is_seen() {
    let log = Log::start();
    let store = MemoryStore::new();
    let (refresher, mut endpoint) = endpoint();
    let builder = Session::builder(refresher).jitter(false).clock(clock());
    let shared = builder.clone().build_shared(store.clone());
    let other = builder.build_shared(store);
    shared.sign_in(token("A1 R1 0")).await.unwrap();
    let refresh = spawn_refresh(shared.session());
    endpoint.next_call().await.fail(RefreshError::transient("503"));
    refresh.await.unwrap().unwrap_err();
    let refresh = spawn_refresh(other.session());
    endpoint.next_call().await.succeed("A2 R2 600");
    refresh.await.unwrap().unwrap();
    log.take();
    shared.session().reset_backoff();
    assert_eq!(shared.session().token().await.unwrap().secret(), "A2");
    assert_eq!(log.take_info(), ["INFO took the token that another process obtained"]);
}
