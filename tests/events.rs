//! What happens to a session can be followed in the log.
//!
//! A binary of its own, as `tracing` caches for the whole process which events are enabled.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and have tokio's tasks and timers"
)]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::mpsc;
use tower_reauth::{
    RefreshError, Session,
    event::{Event, EventKind},
    refresh_fn,
};
use tracing_subscriber::layer::SubscriberExt;

use support::{clock, endpoint, run_pending_tasks, spawn_refresh, token};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn b63_each_log_line_has_its_message_and_generation() {
    let log = Log::default();
    let writer = log.clone();
    let layer =
        tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false).without_time();
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher)
        .token(token("A1 R1 0"))
        .jitter(false)
        .clock(clock())
        .name("github")
        .save_with(|_| async { Err(support::BoxError::from("disk full")) })
        .build();
    let wait = || {
        let session = session.clone();
        tokio::spawn(async move { session.token().await })
    };
    let waiting = [wait(), wait(), wait()];
    run_pending_tasks().await;
    endpoint.next_call().await.fail(
        RefreshError::transient("down")
            .with_log_message("503")
            .with_retry_after(std::time::Duration::from_secs(9)),
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
    session.sign_in(token("B1 Q1 600"));
    session.mark_rejected(&session.try_token().unwrap());
    let _ = session.sign_out();

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let mut lines = log.lines();
    for (generation, words) in [
        (1, "token refresh started refresh.reason=Expired"),
        (1, "waiting for token refresh"),
        (1, "waiting for token refresh"),
        (1, "token refresh failed"),
        (1, "token refresh started"),
        (1, "failed to save token, will retry"),
        (2, "token refreshed"),
        (3, "token set"),
        (3, "token refresh started refresh.reason=Requested"),
        (3, "grant no longer valid, user must sign in again"),
        (4, "signed in"),
        (4, "access token rejected"),
        (4, "signed out"),
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
