//! One refresh for any number of callers.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Barrier, task::JoinSet};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, RefreshError, Session, event::EventKind, rt::SystemClock};

use crate::support::{BoxError, endpoint, expired, get, run_pending_tasks, spawn_token, token};

async fn echo(request: http::Request<()>) -> Result<http::Response<String>, BoxError> {
    let header = request.headers()["authorization"].to_str()?.to_owned();
    Ok(http::Response::new(header))
}

/// From several threads, through clones, layers and clients, and with `token()`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p01_c01_b50_callers_of_every_kind_cause_one_refresh() {
    const EACH: usize = 500;
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(SystemClock).build();
    let layers = [
        AuthLayer::from_session(session.clone()),
        AuthLayer::from_session(session.clone()).wait_timeout(Duration::from_secs(20)),
    ];
    let barrier = Arc::new(Barrier::new(4 * EACH));
    let mut callers = JoinSet::new();
    for index in 0..4 * EACH {
        let (session, barrier) = (session.clone(), Arc::clone(&barrier));
        let client = layers[index % 2].layer(service_fn(echo));
        callers.spawn(async move {
            barrier.wait().await;
            match index % 4 {
                0 | 1 => client.oneshot(get()).await.unwrap().into_body(),
                2 => session.token().await.unwrap().header_value().to_str().unwrap().to_owned(),
                _ => session.refresh().await.unwrap().header_value().to_str().unwrap().to_owned(),
            }
        });
    }
    let call = endpoint.next_call().await;
    while session.status().waiters() < 4 * EACH {
        tokio::task::yield_now().await;
    }
    assert_eq!(call.cx.refresh_token(), Some("R1"));
    call.succeed("A2 R2 600");
    let tokens: BTreeSet<_> = callers.join_all().await.into_iter().collect();
    assert_eq!(tokens, BTreeSet::from(["Bearer A2".to_owned()]));
    assert_eq!((endpoint.call_count(), session.status().generation()), (1, 2));
    assert_eq!(session.status().waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn b60_c10_all_waiters_share_one_failure_and_its_source() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let session = session.clone();
        callers.spawn(async move { session.token().await.unwrap_err() });
    }
    endpoint.next_call().await.fail(RefreshError::transient(std::io::Error::other("no route")));
    for error in callers.join_all().await {
        assert!(error.is_transient() && error.is_retryable());
        assert_eq!(error.retry_at(), session.status().retry_at());
        let refresh = RefreshError::find(&error).expect("the refresher's word");
        let source = std::error::Error::source(refresh).unwrap();
        assert_eq!(source.downcast_ref::<std::io::Error>().unwrap().to_string(), "no route");
    }
    assert!(session.token().await.unwrap_err().is_transient());
    assert_eq!(endpoint.call_count(), 1);
}

/// `Retry-After` is honoured up to an hour.
#[tokio::test(start_paused = true)]
async fn p07_c61_a_retry_after_of_days_is_clamped_to_an_hour() {
    let (refresher, mut endpoint) = endpoint();
    let clock = crate::support::clock();
    let session = expired(refresher).clock(clock.clone()).build();
    let waiting = spawn_token(&session);
    let days = Duration::from_secs(3 * 86_400);
    endpoint.next_call().await.fail(RefreshError::transient("busy").with_retry_after(days));
    let error = waiting.await.unwrap().unwrap_err();
    let wait = error.retry_at().unwrap().duration_since(tower_reauth::rt::Clock::now(&clock).wall()).unwrap();
    assert_eq!(wait, Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn b51_two_sessions_are_independent() {
    let (one, mut endpoint_one) = endpoint();
    let (other, endpoint_other) = endpoint();
    let one = expired(one).build();
    let other = Session::builder(other).token(token("B1 Q1 600")).build();
    let waiting = spawn_token(&one);
    run_pending_tasks().await;
    assert_eq!(other.token().await.unwrap().secret(), "B1");
    endpoint_one.next_call().await.succeed("A2 R2 600");
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A2");
    assert_eq!((endpoint_other.call_count(), other.status().generation()), (0, 1));
}

/// The refresher responds within its first poll.
#[tokio::test(start_paused = true)]
async fn b55_a_refresh_that_ends_at_once_does_not_deadlock() {
    let refresher = tower_reauth::refresh_fn(|_| std::future::ready(Ok(token("A2 R2 600"))));
    let session = expired(refresher).build();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.token().await.unwrap().generation() })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 2);
    }
}

/// Under load from several threads, no caller fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b54_lifetimes_of_a_millisecond_do_not_deadlock() {
    let refresher = tower_reauth::refresh_fn(|_| std::future::ready(Ok(token("A2 R2 0.001"))));
    let session = Session::builder(refresher).build();
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let session = session.clone();
        callers.spawn(async move { session.token().await });
    }
    assert!(callers.join_all().await.into_iter().all(|token| token.is_ok()));
}

/// The early refreshes of many sessions with the same lifetime are spread over the window.
#[tokio::test(start_paused = true)]
async fn c63_b73_early_refreshes_are_spread() {
    let spread = |jitter: bool| {
        let mut due = Vec::new();
        for seed in 0..1000 {
            let (refresher, _endpoint) = endpoint();
            let clock = crate::support::clock();
            let session = Session::builder(refresher)
                .token(token("A1 R1 3600"))
                .refresh_window(Duration::from_secs(300))
                .random_seed(seed)
                .jitter(jitter)
                .clock(clock.clone())
                .build();
            // Bisect the second at which it becomes stale.
            let (mut fresh, mut stale, mut at) = (3000_u64, 3600_u64, 0_u64);
            while stale - fresh > 1 {
                let middle = (fresh + stale) / 2;
                if middle > at {
                    clock.step(Duration::from_secs(middle - at));
                } else {
                    clock.step_back(Duration::from_secs(at - middle));
                }
                at = middle;
                if session.status().is_fresh() { fresh = middle } else { stale = middle }
            }
            due.push(stale);
        }
        due
    };
    let due = spread(true);
    let (first, last) = (*due.iter().min().unwrap(), *due.iter().max().unwrap());
    assert!((3270..=3420).contains(&first) && (3270..=3421).contains(&last), "{first} {last}");
    let most_in_a_percent = (3270..3420)
        .map(|second| due.iter().filter(|due| (second..second + 3).contains(*due)).count())
        .max()
        .unwrap();
    assert!(most_in_a_percent <= 50, "{most_in_a_percent} of 1000 within 3 s");
    assert!(spread(false).iter().all(|due| *due == 3270));
}

#[tokio::test(start_paused = true)]
async fn callers_that_join_a_refresh_are_events_and_those_that_wait_for_a_backoff_are_not() {
    let (refresher, mut endpoint) = endpoint();
    let joined = Arc::<Mutex<Vec<usize>>>::default();
    let recorded = Arc::clone(&joined);
    let session = expired(refresher)
        .wait_through_backoff(true)
        .on_event(move |event| {
            if let EventKind::RefreshJoined { waiters, .. } = event.kind {
                recorded.lock().unwrap().push(waiters);
            }
        })
        .build();
    let first = spawn_token(&session);
    let call = endpoint.next_call().await;
    let _others = [spawn_token(&session), spawn_token(&session)];
    run_pending_tasks().await;
    assert_eq!(*joined.lock().unwrap(), [2, 3]);
    call.fail(RefreshError::transient("503"));
    first.await.unwrap().unwrap_err();
    let _waiting = spawn_token(&session);
    run_pending_tasks().await;
    assert_eq!(session.status().waiters(), 1, "it waits through the backoff");
    assert_eq!(joined.lock().unwrap().len(), 2);
}
