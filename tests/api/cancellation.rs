//! Dropping a caller cancels only that caller.

use std::pin::pin;

use futures::FutureExt;
use http::{Response, StatusCode};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, RefreshError, Session};

use crate::support::{BoxError, RecordedTokens, clock, endpoint, expired, get, run_pending_tasks, token};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Dropped {
    Starter,
    Waiter,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    BeforeTheFirstPoll,
    BetweenPolls,
    AfterWakeBeforePoll,
}

/// Whichever callers are dropped, at any point, the others and the session get the token.
#[tokio::test(start_paused = true)]
async fn p03_c06_a_dropped_token_call_ends_only_itself() {
    for dropped in [Dropped::Starter, Dropped::Waiter, Dropped::All] {
        for point in [Point::BeforeTheFirstPoll, Point::BetweenPolls, Point::AfterWakeBeforePoll] {
            let (refresher, mut endpoint) = endpoint();
            let saved = RecordedTokens::default();
            let session = expired(refresher).save_with(saved.hook()).build();
            let start = || {
                task::spawn({
                    let session = session.clone();
                    async move { session.token().await }
                })
            };
            let mut callers: Vec<_> = (0..3).map(|_| Some(start())).collect();
            let is_dropped = |index: usize| match dropped {
                Dropped::Starter => index == 0,
                Dropped::Waiter => index == 1,
                Dropped::All => true,
            };
            let drop_callers = |callers: &mut Vec<Option<_>>| {
                for (index, caller) in callers.iter_mut().enumerate() {
                    if is_dropped(index) {
                        *caller = None;
                    }
                }
            };
            if point == Point::BeforeTheFirstPoll {
                drop_callers(&mut callers);
            }
            for caller in callers.iter_mut().flatten() {
                assert_pending!(caller.poll());
            }
            run_pending_tasks().await;
            let call_count = usize::from(point != Point::BeforeTheFirstPoll || dropped != Dropped::All);
            assert_eq!(endpoint.call_count(), call_count, "{dropped:?} {point:?}");
            if point == Point::BetweenPolls {
                for caller in callers.iter_mut().flatten() {
                    assert_pending!(caller.poll());
                }
                drop_callers(&mut callers);
            }
            if call_count == 0 {
                continue;
            }
            endpoint.next_call().await.succeed("A2 R2 600");
            run_pending_tasks().await;
            if point == Point::AfterWakeBeforePoll {
                assert!(callers.iter().flatten().all(|caller| caller.is_woken()));
                drop_callers(&mut callers);
            }
            for caller in callers.iter_mut().flatten() {
                assert!(caller.is_woken(), "asleep: {dropped:?} {point:?}");
                assert_eq!(assert_ready!(caller.poll()).unwrap().secret(), "A2");
            }
            assert_eq!(saved.all(), ["A2 R2"], "{dropped:?} {point:?}");
            assert_eq!(session.token().await.unwrap().secret(), "A2");
            assert_eq!((endpoint.call_count(), session.status().waiters()), (1, 0));
        }
    }
}

/// The same through the layer. A request is never sent after it was dropped.
#[tokio::test(start_paused = true)]
async fn p03_b101_a_dropped_request_ends_only_itself() {
    for dropped in [Dropped::Starter, Dropped::Waiter, Dropped::All] {
        for point in [Point::BeforeTheFirstPoll, Point::BetweenPolls, Point::AfterWakeBeforePoll] {
            let (refresher, mut endpoint) = endpoint();
            let session = expired(refresher).build();
            let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let server = {
                let sent = std::sync::Arc::clone(&sent);
                service_fn(move |_: http::Request<()>| {
                    sent.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    async { Ok::<_, BoxError>(http::Response::new(())) }
                })
            };
            let client = AuthLayer::from_session(session.clone()).layer(server);
            let mut callers: Vec<_> =
                (0..3).map(|_| Some(task::spawn(client.clone().oneshot(get())))).collect();
            let drop_callers = |callers: &mut Vec<Option<_>>| match dropped {
                Dropped::Starter => callers[0] = None,
                Dropped::Waiter => callers[1] = None,
                Dropped::All => callers.iter_mut().for_each(|caller| *caller = None),
            };
            if point == Point::BeforeTheFirstPoll {
                drop_callers(&mut callers);
            }
            for caller in callers.iter_mut().flatten() {
                assert_pending!(caller.poll());
            }
            run_pending_tasks().await;
            if point == Point::BetweenPolls {
                drop_callers(&mut callers);
            }
            if endpoint.call_count() == 0 {
                continue;
            }
            endpoint.next_call().await.succeed("A2 R2 600");
            run_pending_tasks().await;
            if point == Point::AfterWakeBeforePoll {
                drop_callers(&mut callers);
            }
            let left = callers.iter().flatten().count();
            for caller in callers.iter_mut().flatten() {
                assert!(caller.is_woken());
                assert!(assert_ready!(caller.poll()).is_ok());
            }
            assert_eq!(sent.load(std::sync::atomic::Ordering::SeqCst), left, "{dropped:?} {point:?}");
            assert_eq!(session.status().generation(), 2);
        }
    }
}

/// The request that started the refresh has its response before the refresh ends.
#[tokio::test(start_paused = true)]
async fn p03_b98_a_background_refresh_outlives_the_request_that_started_it() {
    let (refresher, mut endpoint) = endpoint();
    let clock = crate::support::clock();
    let session =
        Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock.clone()).build();
    clock.step(std::time::Duration::from_secs(420));
    assert_eq!(session.token().await.unwrap().secret(), "A1");
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.reason(), tower_reauth::refresh::RefreshReason::Stale);
    call.succeed("A2 R2 600");
    run_pending_tasks().await;
    assert_eq!(session.token().await.unwrap().secret(), "A2");
}

/// The flight has its own timeout.
#[tokio::test(start_paused = true)]
async fn p03_b100_c84_an_outer_timeout_ends_only_its_caller() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let limit = std::time::Duration::from_secs(2);
    assert!(tokio::time::timeout(limit, session.token()).await.is_err());
    assert!(session.status().is_refreshing());
    let call = endpoint.next_call().await;
    assert!(!call.is_dropped());
    let error = tokio::time::timeout(std::time::Duration::from_secs(100), session.refresh());
    assert!(error.await.unwrap().unwrap_err().is_timeout());
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    assert!(call.is_dropped(), "the flight has timed out");
    assert!(!session.status().is_refreshing());
    assert!(session.status().last_error().unwrap().is_outcome_unknown());
}

/// The last handle of the session is dropped mid-flight.
#[tokio::test(start_paused = true)]
async fn p03_b102_the_token_is_saved_though_the_session_was_dropped() {
    let (refresher, mut endpoint) = endpoint();
    let saved = RecordedTokens::default();
    let session = expired(refresher).save_with(saved.hook()).build();
    let mut caller = task::spawn(async move { session.token().await });
    assert_pending!(caller.poll());
    let call = endpoint.next_call().await;
    drop(caller);
    call.succeed("A2 R2 600");
    run_pending_tasks().await;
    assert_eq!(saved.all(), ["A2 R2"]);
}

/// Such as one that is pinned, and polled in a `select!`.
#[tokio::test(start_paused = true)]
async fn p03_a_call_that_has_its_response_does_not_wait_any_more_though_its_future_is_kept() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let rejecting = service_fn(|_| async {
        Ok::<_, BoxError>(Response::builder().status(StatusCode::UNAUTHORIZED).body(()).unwrap())
    });
    let mut call = pin!(session.layer().layer(rejecting).call(get()));
    assert!(call.as_mut().now_or_never().is_none());
    assert_eq!(session.status().waiters(), 1);
    endpoint.next_call().await.fail(RefreshError::transient("503"));
    assert_eq!(call.as_mut().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(session.status().waiters(), 0);
}
