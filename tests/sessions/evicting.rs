//! Which sessions are evicted, and when there is no room.

use std::{collections::VecDeque, time::Duration};

use tower_reauth::rt::SystemClock;

use crate::{
    support::{run_pending_tasks, spawn_token, token},
    world::{SECOND, World},
};

#[tokio::test(start_paused = true)]
async fn p20_a_session_that_was_not_used_recently_makes_room() {
    let world = World::with_users(1..=3);
    let sessions = world.saved().capacity(2).build();
    sessions.get(&1).await.unwrap();
    sessions.get(&2).await.unwrap();
    // Each was used since the hand last passed, so it makes a round first.
    sessions.get(&3).await.unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(world.database.loads(), 3);
    assert!(sessions.get_loaded(&3).is_some(), "the one that was just loaded stays");
}

#[tokio::test(start_paused = true)]
async fn p20_a_session_that_is_used_again_and_again_is_not_evicted() {
    let world = World::with_users(0..=1000);
    let sessions = world.saved().capacity(20).build();
    for user in 1..=1000 {
        sessions.get(&0).await.unwrap();
        sessions.get(&user).await.unwrap();
        assert!(sessions.len() <= 20);
    }
    // When the map is first full, all of them are recent, and any may be evicted.
    assert!(world.database.loads() <= 1002, "{}", world.database.loads());
}

#[tokio::test(start_paused = true)]
async fn p20_d19_a_refresh_in_flight_keeps_its_session() {
    let mut world = World::with_users(1..=2);
    let sessions = world.saved().capacity(1).build();
    let session = sessions.get(&1).await.unwrap();
    let call = world.start_refresh(&session).await;
    drop(session);
    sessions.get(&2).await.unwrap();
    let waiter = spawn_token(&sessions.get(&1).await.unwrap());
    call.succeed("A1b R1b 600");
    run_pending_tasks().await;
    waiter.await.unwrap().unwrap();
    assert_eq!(world.database.loads(), 2, "user 1 was loaded once");
    assert_eq!(world.endpoint.call_count(), 1);
    assert_eq!(sessions.get(&1).await.unwrap().token().await.unwrap().secret(), "A1b");
}

#[tokio::test(start_paused = true)]
async fn p20_d19_an_unsaved_session_is_not_evicted() {
    let mut world = World::with_users(1..=2);
    let sessions = world.saved().capacity(1).build();
    let session = sessions.get(&1).await.unwrap();
    world.database.fail_to_save(true);
    world.refresh(&session, "A1b R1b 600").await;
    drop(session);

    let error = sessions.get(&2).await.unwrap_err();
    assert!(error.is_full() && error.is_retryable(), "{error}");
    assert_eq!(sessions.len(), 1);

    world.database.fail_to_save(false);
    // A call after the delay of the failed save hands the token over again.
    world.clock.step(2 * SECOND);
    sessions.get(&1).await.unwrap().token().await.unwrap();
    run_pending_tasks().await;
    assert_eq!(world.database.access_token(1), "A1b");
    sessions.get(&2).await.unwrap();
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p20_without_a_hook_a_refreshed_session_is_not_evicted() {
    let mut world = World::with_users(1..=2);
    let sessions = world.unsaved().capacity(1).build();
    world.refresh(&sessions.get(&1).await.unwrap(), "A1b R1b 600").await;
    assert!(sessions.get(&2).await.unwrap_err().is_full());
    assert_eq!(sessions.get(&1).await.unwrap().try_token().unwrap().secret(), "A1b");
}

#[tokio::test(start_paused = true)]
async fn p20_without_a_hook_an_unchanged_session_is_evicted() {
    let world = World::with_users(1..=2);
    let sessions = world.unsaved().capacity(1).build();
    sessions.get(&1).await.unwrap().token().await.unwrap();
    sessions.get(&2).await.unwrap();
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p20_without_a_hook_a_refreshed_session_without_a_refresh_token_is_evicted() {
    let mut world = World::with_users(1..=2);
    world.database.save(1, Some(token("A1 - 600"))).unwrap();
    let sessions = world.unsaved().capacity(1).build();
    world.refresh(&sessions.get(&1).await.unwrap(), "A1b - 600").await;
    sessions.get(&2).await.unwrap();
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p20_without_a_hook_a_sign_out_is_not_undone_by_an_eviction() {
    let world = World::with_users(1..=2);
    let sessions = world.unsaved().capacity(1).build();
    let _ = sessions.get(&1).await.unwrap().sign_out();
    assert!(sessions.get(&2).await.unwrap_err().is_full());
    assert!(sessions.get(&1).await.unwrap().status().is_signed_out());
}

#[tokio::test(start_paused = true)]
async fn p20_p18_a_session_whose_refresh_got_no_response_is_not_evicted() {
    use tower_reauth::{RefreshError, refresh::RefreshReason};

    let mut world = World::with_users(1..=2);
    let sessions = world.saved().capacity(1).build();
    let session = sessions.get(&1).await.unwrap();
    // The flight's own repeat gets no response either: the next refresh would be another repeat.
    world.start_refresh(&session).await.panic("lost");
    session.idle().await;
    run_pending_tasks().await;
    drop(session);
    assert!(sessions.get(&2).await.unwrap_err().is_full());

    let session = sessions.get(&1).await.unwrap();
    let call = world.start_refresh(&session).await;
    assert_eq!(call.cx.reason(), RefreshReason::Repeated);
    call.fail(RefreshError::transient("503"));
    session.idle().await;
    run_pending_tasks().await;
    drop(session);
    world.clock.step(2 * SECOND);
    sessions.get(&2).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p20_sessions_in_use_stay_and_do_not_count() {
    let world = World::with_users(1..=100);
    let sessions = world.saved().capacity(2).build();
    let mut handles = Vec::new();
    for user in 1..=50 {
        handles.push(sessions.get(&user).await.unwrap());
    }
    assert_eq!(sessions.len(), 50);
    for user in 51..=100 {
        sessions.get(&user).await.unwrap();
    }
    for (user, handle) in (1..=50).zip(&handles) {
        let status = sessions.get(&user).await.unwrap().status();
        assert!(!status.is_shut_down());
        assert_eq!(handle.try_token().unwrap().secret(), format!("A{user}"));
    }
    assert_eq!(world.database.loads(), 100, "no session was loaded twice");

    // Once they are let go, they count again.
    drop(handles);
    for _ in 0..20 {
        for user in 51..=100 {
            sessions.get(&user).await.unwrap();
        }
    }
    assert!(sessions.len() <= 2, "{}", sessions.len());
}

#[tokio::test(start_paused = true)]
async fn p20_sessions_beyond_the_capacity_are_evicted_on_request() {
    let world = World::with_users(1..=50);
    let sessions = world.saved().capacity(2).build();
    let mut handles = Vec::new();
    for user in 1..=50 {
        handles.push(sessions.get(&user).await.unwrap());
    }
    assert_eq!((sessions.evict_idle(), sessions.len()), (0, 50));
    drop(handles);
    assert_eq!((sessions.evict_idle(), sessions.len()), (48, 2));
}

#[tokio::test(start_paused = true)]
async fn p20_idle_sessions_are_evicted() {
    let world = World::with_users(1..=100);
    let sessions = world.saved().capacity(1000).idle(Duration::from_secs(60)).build();
    for user in 1..=100 {
        sessions.get(&user).await.unwrap();
    }
    world.clock.step(61 * SECOND);
    sessions.get(&1).await.unwrap();
    let held = sessions.get(&2).await.unwrap();
    world.clock.step(10 * SECOND);
    assert_eq!(sessions.evict_idle(), 98);
    world.clock.step(61 * SECOND);
    assert_eq!(sessions.evict_idle(), 1, "a session in use stays");
    drop(held);
    assert_eq!(sessions.evict_idle(), 1);
    assert!(sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn p20_loading_evicts_idle_sessions_without_a_timer() {
    let world = World::with_users(1..=2000);
    let sessions = world.saved().capacity(10_000).idle(Duration::from_secs(60)).build();
    for user in 1..=1000 {
        sessions.get(&user).await.unwrap();
    }
    world.clock.step(61 * SECOND);
    for user in 1001..=2000 {
        sessions.get(&user).await.unwrap();
    }
    assert!(sessions.len() < 1200, "{}", sessions.len());
}

#[test]
fn p20_loads_on_many_threads_all_find_room() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let paused =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let world = paused.block_on(async { World::with_users(0..200) });
    let sessions = world.saved().capacity(1).clock(SystemClock).build();
    let tasks: Vec<_> = (0..8)
        .map(|first| {
            let sessions = sessions.clone();
            runtime.spawn(async move {
                for load in 0..2_000 {
                    sessions.get(&((first * 25 + load) % 200)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn p20_a_session_that_is_kept_fresh_ends_with_its_eviction() {
    let world = World::with_users(1..=2);
    let sessions = world.saved().capacity(1).build();
    let session = sessions.get(&1).await.unwrap();
    let mut watch = session.watch();
    let kept = tokio::spawn(session.keep_fresh());
    drop(session);
    run_pending_tasks().await;
    sessions.get(&2).await.unwrap();
    kept.await.unwrap();
    assert!(watch.changed().await.is_err(), "the session is gone");
    assert_eq!(world.endpoint.call_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p20_sessions_of_requests_in_progress_do_not_accumulate() {
    const IN_PROGRESS: usize = 20;
    let world = World::with_users(1..=3000);
    let sessions = world.saved().capacity(10).build();
    let mut requests = VecDeque::new();
    for user in 1..=3000 {
        requests.push_back(sessions.get(&user).await.unwrap());
        if requests.len() > IN_PROGRESS {
            requests.pop_front();
        }
    }
    assert!(sessions.len() < 10 + 3 * IN_PROGRESS, "{}", sessions.len());
}

#[tokio::test(start_paused = true)]
async fn p20_concurrent_loads_all_find_room() {
    let world = World::with_users(1..=3);
    let sessions = world.saved().capacity(1).build();
    sessions.get(&1).await.unwrap();
    let get = |user| {
        let sessions = sessions.clone();
        async move { drop(sessions.get(&user).await.unwrap()) }
    };
    tokio::join!(get(2), get(3));
}
