//! Loading: once for all callers, its failures shared and paced.

use std::{
    error::Error as _,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::join_all};
use tokio::sync::Semaphore;
use tower_reauth::{Session, sessions::Sessions};

use crate::{
    support::{OnRuntime, endpoint, run_pending_tasks, token},
    world::{Map, SECOND, World},
};

fn any_session() -> Session {
    Session::builder(endpoint().0).token(token("A1 R1 600")).build()
}

#[tokio::test(start_paused = true)]
async fn p20_callers_of_one_key_share_one_load() {
    let world = World::with_users(1..=1);
    let sessions = world.saved().build();
    let found = join_all((0..1000).map(|_| sessions.get(&1))).await;
    assert_eq!(world.database.loads(), 1);
    // All of them have the same session.
    let _ = found[0].as_ref().unwrap().sign_out();
    assert!(found.iter().all(|session| session.as_ref().unwrap().status().is_signed_out()));
}

#[tokio::test(start_paused = true)]
async fn p20_a_failed_load_is_shared_and_not_repeated_for_a_second() {
    let world = World::with_users([]);
    let sessions = world.saved().build();
    let found = join_all((0..1000).map(|_| sessions.get(&7))).await;
    for error in found.into_iter().map(Result::unwrap_err) {
        assert!(error.is_load_failed() && error.is_retryable(), "{error}");
        assert_eq!(error.source().unwrap().to_string(), "no such user");
        assert!(error.retry_at().is_some());
    }
    world.clock.step(SECOND / 2);
    assert!(sessions.get(&7).await.unwrap_err().is_load_failed());
    assert_eq!(world.database.loads(), 1);

    world.database.save(7, Some(token("A7 R7 600"))).unwrap();
    world.clock.step(SECOND);
    sessions.get(&7).await.unwrap();
    assert_eq!(world.database.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn p20_unknown_keys_evict_no_session() {
    let world = World::with_users(1..=2);
    let sessions = world.saved().capacity(2).build();
    sessions.get(&1).await.unwrap();
    sessions.get(&2).await.unwrap();
    for made_up in 1000..2000 {
        assert!(sessions.get(&made_up).await.unwrap_err().is_load_failed());
    }
    assert!(sessions.get_loaded(&1).is_some() && sessions.get_loaded(&2).is_some());
}

#[tokio::test(start_paused = true)]
async fn p20_a_load_goes_on_when_its_first_caller_is_dropped() {
    let gate = Arc::new(Semaphore::new(0));
    let calls = Arc::new(AtomicUsize::new(0));
    let sessions: Map = {
        let (gate, calls) = (Arc::clone(&gate), Arc::clone(&calls));
        Sessions::builder(move |_| {
            calls.fetch_add(1, Ordering::SeqCst);
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok::<_, io::Error>(any_session())
            }
        })
        .build()
    };
    assert!(sessions.get(&1).now_or_never().is_none());
    run_pending_tasks().await;
    gate.add_permits(1);
    sessions.get(&1).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn p20_a_load_that_panics_or_hangs_fails() {
    let sessions: Map = Sessions::builder(|user: u32| async move {
        assert!(user > 1, "user 1 panics");
        std::future::pending::<()>().await;
        Ok::<_, io::Error>(any_session())
    })
    .load_timeout(Duration::from_secs(5))
    .build();
    let error = sessions.get(&1).await.unwrap_err();
    assert!(error.is_load_failed(), "{error}");
    assert_eq!(error.source().unwrap().to_string(), "the function that loads a session panicked");
    let error = sessions.get(&2).await.unwrap_err();
    assert!(error.is_load_failed(), "{error}");
    assert_eq!(error.source().unwrap().to_string(), "the load timed out");
}

#[test]
fn p20_without_a_runtime_there_is_a_typed_error() {
    let sessions: Map = Sessions::builder(|_| async { Ok::<_, io::Error>(any_session()) }).build();
    let error = sessions.get(&1).now_or_never().unwrap().unwrap_err();
    assert!(error.is_missing_runtime(), "{error}");
    // Nothing is left of it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(sessions.get(&1)).unwrap();
}

#[test]
fn p20_a_load_whose_runtime_shuts_down_can_be_repeated_at_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let sessions: Map = Sessions::builder(move |_| {
        let is_first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if is_first {
                std::future::pending::<()>().await;
            }
            Ok::<_, io::Error>(any_session())
        }
    })
    .build();
    let new_runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (new_runtime(), new_runtime());
    first.block_on(async {
        assert!(sessions.get(&1).now_or_never().is_none());
        run_pending_tasks().await;
    });
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let waiting = sessions.clone();
    let waiter = second.spawn(async move { waiting.get(&1).await });
    second.block_on(run_pending_tasks());
    drop(first);
    let error = second.block_on(waiter).unwrap().unwrap_err();
    assert!(error.is_retryable() && error.is_load_failed(), "{error}");
    second.block_on(sessions.get(&1)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn p20_a_session_can_be_in_a_map_only_once() {
    let session = any_session();
    let sessions: Map = Sessions::builder(move |_| {
        let session = session.clone();
        async move { Ok::<_, io::Error>(session) }
    })
    .build();
    sessions.get(&1).await.unwrap();
    let error = sessions.get(&2).await.unwrap_err();
    assert!(error.is_load_failed(), "{error}");
    assert!(error.source().unwrap().to_string().contains("already in a map"), "{error:?}");
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p20_a_session_that_is_refused_under_another_key_goes_on() {
    let mut world = World::with_users([]);
    let session = world.session_builder().token(token("A1 R1 600")).build();
    let same = session.clone();
    let sessions: Map = Sessions::builder(move |_| {
        let session = same.clone();
        async move { Ok::<_, io::Error>(session) }
    })
    .clock(world.clock.clone())
    .build();
    sessions.get(&1).await.unwrap();
    let call = world.start_refresh(&session).await;
    sessions.get(&2).await.unwrap_err();
    world.clock.step(2 * SECOND);
    let again = sessions.clone();
    let again = tokio::spawn(async move { again.get(&2).await });
    run_pending_tasks().await;
    call.succeed("A2 R2 600");
    assert!(again.await.unwrap().unwrap_err().is_load_failed());
    assert!(!sessions.get(&1).await.unwrap().status().is_shut_down());
}

#[test]
fn p20_a_map_whose_loads_are_never_polled_returns_a_typed_error() {
    let new_runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (still, driven) = (new_runtime(), new_runtime());
    let clock = driven.block_on(async { crate::support::clock() });
    let sessions: Map = Sessions::builder(|_| async { Ok::<_, io::Error>(any_session()) })
        .clock(clock)
        .spawner(OnRuntime(still.handle().clone()))
        .load_timeout(Duration::from_secs(5))
        .build();
    let error = driven.block_on(sessions.get(&1)).unwrap_err();
    assert!(error.is_load_failed(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p20_a_loader_that_waits_for_its_own_key_times_out() {
    let own = Arc::new(std::sync::OnceLock::<Map>::new());
    let inner = Arc::clone(&own);
    let sessions: Map = Sessions::builder(move |user| {
        let sessions = inner.get().unwrap().clone();
        async move { sessions.get(&user).await }
    })
    .load_timeout(Duration::from_secs(5))
    .build();
    own.set(sessions.clone()).unwrap();
    assert!(sessions.get(&1).await.unwrap_err().is_load_failed());
}

#[test]
fn p20_loads_run_on_the_given_spawner() {
    let survivor =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let sessions: Map = Sessions::builder(|_| async { Ok::<_, io::Error>(any_session()) })
        .spawner(OnRuntime(survivor.handle().clone()))
        .build();
    // The caller's thread has no runtime at all.
    futures::executor::block_on(sessions.get(&1)).unwrap();
}

#[test]
fn p20_a_load_on_a_runtime_that_is_not_running_is_given_up_after_its_timeout() {
    let new_runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (still, driven) = (new_runtime(), new_runtime());
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let clock = driven.block_on(async { crate::support::clock() });
    let sessions: Map = Sessions::builder(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, io::Error>(any_session()) }
    })
    .clock(clock)
    .load_timeout(Duration::from_secs(5))
    .build();
    // The task of the load is spawned there, and never runs.
    still.block_on(async { assert!(sessions.get(&1).now_or_never().is_none()) });
    driven.block_on(sessions.get(&1)).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // It runs after all, and loads nothing any more.
    still.block_on(run_pending_tasks());
    assert_eq!((calls.load(Ordering::SeqCst), sessions.len()), (1, 1));
    assert!(!driven.block_on(sessions.get(&1)).unwrap().status().is_shut_down());
}

#[tokio::test(start_paused = true)]
async fn p20_failures_of_other_keys_do_not_shorten_the_pause() {
    let world = World::with_users([]);
    let sessions = world.saved().build();
    for made_up in 0..5000 {
        sessions.get(&made_up).await.unwrap_err();
    }
    // These failed last.
    let loads = world.database.loads();
    for made_up in 4900..5000 {
        sessions.get(&made_up).await.unwrap_err();
    }
    assert_eq!(world.database.loads(), loads);
}
