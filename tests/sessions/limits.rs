//! A limit on concurrent refreshes.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;
use tower_reauth::{RefreshLimit, Session, refresh::RefreshReason};

use crate::{
    support::{clock, endpoint, run_pending_tasks, spawn_token, token},
    world::{SECOND, World},
};

/// Users whose tokens have expired.
fn expired(users: impl IntoIterator<Item = u32> + Clone) -> World {
    let world = World::with_users(users.clone());
    for user in users {
        world.database.save(user, Some(token(&format!("A{user} R{user} 0")))).unwrap();
    }
    world
}

#[tokio::test(start_paused = true)]
async fn p20_refreshes_get_their_permits_in_order() {
    let mut world = expired(1..=10);
    let sessions = world.saved().max_refreshes(2).build();
    let mut waiters = Vec::new();
    for user in 1..=10 {
        waiters.push(spawn_token(&sessions.get(&user).await.unwrap()));
        run_pending_tasks().await;
    }
    let mut running = vec![world.endpoint.next_call().await, world.endpoint.next_call().await];
    for next in 3..=10 {
        run_pending_tasks().await;
        assert_eq!(world.endpoint.call_count(), next - 1, "two at a time");
        let call = running.remove(0);
        let user = call.cx.refresh_token().unwrap()[1..].to_owned();
        assert_eq!(user, (next - 2).to_string(), "in order");
        call.succeed(&format!("A{user}b R{user}b 600"));
        running.push(world.endpoint.next_call().await);
    }
    for call in running {
        let user = call.cx.refresh_token().unwrap()[1..].to_owned();
        call.succeed(&format!("A{user}b R{user}b 600"));
    }
    for (user, waiter) in (1..=10).zip(waiters) {
        assert_eq!(waiter.await.unwrap().unwrap().secret(), format!("A{user}b"));
    }
}

#[tokio::test(start_paused = true)]
async fn p20_fresh_tokens_need_no_permit() {
    let mut world = World::with_users(1..=2);
    let sessions = world.saved().max_refreshes(1).build();
    let call = world.start_refresh(&sessions.get(&1).await.unwrap()).await;
    assert_eq!(sessions.get(&2).await.unwrap().token().await.unwrap().secret(), "A2");
    call.succeed("A1b R1b 600");
}

#[tokio::test(start_paused = true)]
async fn p20_the_refresh_timeout_starts_with_the_permit() {
    let mut world = expired(1..=2).configure(|builder| {
        let timeout = Duration::from_secs(10);
        builder.refresh_timeout(timeout).wait_timeout(Duration::from_secs(100))
    });
    let sessions = world.saved().max_refreshes(1).build();
    let first = spawn_token(&sessions.get(&1).await.unwrap());
    let first_call = world.endpoint.next_call().await;
    let second = spawn_token(&sessions.get(&2).await.unwrap());
    run_pending_tasks().await;
    tokio::time::advance(Duration::from_secs(9)).await;
    first_call.succeed("A1b R1b 600");
    let second_call = world.endpoint.next_call().await;
    // Past the timeout, had it started with the demand.
    tokio::time::advance(Duration::from_secs(9)).await;
    run_pending_tasks().await;
    assert!(!second.is_finished());
    second_call.succeed("A2b R2b 600");
    assert_eq!(second.await.unwrap().unwrap().secret(), "A2b");
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p20_callers_of_a_queued_refresh_time_out_on_their_own() {
    let mut world = expired(1..=2).configure(|builder| builder.wait_timeout(Duration::from_secs(5)));
    let sessions = world.saved().max_refreshes(1).build();
    let call = world.start_refresh(&sessions.get(&1).await.unwrap()).await;
    let session = sessions.get(&2).await.unwrap();
    let start = Instant::now();
    assert!(session.token().await.unwrap_err().is_timeout());
    assert_eq!(start.elapsed().as_secs(), 5);
    // The refresh is still queued, and runs when it gets its permit.
    call.succeed("A1b R1b 600");
    world.endpoint.next_call().await.succeed("A2b R2b 600");
    session.idle().await;
    assert_eq!(session.token().await.unwrap().secret(), "A2b");
}

#[tokio::test(start_paused = true)]
async fn p20_p18_a_refresh_that_was_queued_for_long_has_presented_nothing() {
    let mut world = expired(1..=2).configure(|builder| builder.refresh_timeout(Duration::from_secs(10)));
    let sessions = world.saved().max_refreshes(1).build();
    let call = world.start_refresh(&sessions.get(&1).await.unwrap()).await;
    let session = sessions.get(&2).await.unwrap();
    let first = spawn_token(&session);
    run_pending_tasks().await;
    world.clock.step(Duration::from_secs(11));
    // This caller finds a refresh that is past its timeout, and starts another.
    let second = spawn_token(&session);
    run_pending_tasks().await;
    assert!(!first.is_finished() && !second.is_finished());
    call.succeed("A1b R1b 600");
    let call = world.endpoint.next_call().await;
    assert_ne!(call.cx.reason(), RefreshReason::Repeated);
    call.succeed("A2b R2b 600");
    for waiter in [first, second] {
        assert_eq!(waiter.await.unwrap().unwrap().secret(), "A2b");
    }
    run_pending_tasks().await;
    assert_eq!(world.endpoint.call_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn p20_p10_a_sign_out_ends_a_queued_refresh() {
    let mut world = expired(1..=2);
    let sessions = world.saved().max_refreshes(1).build();
    let call = world.start_refresh(&sessions.get(&1).await.unwrap()).await;
    let session = sessions.get(&2).await.unwrap();
    let waiter = spawn_token(&session);
    run_pending_tasks().await;
    let _ = session.sign_out();
    assert!(waiter.await.unwrap().unwrap_err().is_signed_out());
    run_pending_tasks().await;
    assert!(!session.status().is_refreshing(), "it has left the queue");
    call.succeed("A1b R1b 600");
    run_pending_tasks().await;
    assert_eq!(world.endpoint.call_count(), 1);
}

#[test]
fn p20_a_runtime_that_shuts_down_releases_its_permits() {
    let (refresher, mut endpoint) = endpoint();
    let limit = RefreshLimit::new(1);
    let builder = Session::builder(refresher).token(token("A1 R1 0")).refresh_limit(limit);
    let sessions = [builder.clone().build(), builder.clone().build(), builder.build()];
    let new_runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (new_runtime(), new_runtime());
    // One has the permit on the first runtime, another is queued there.
    let running = first.block_on(async {
        drop(spawn_token(&sessions[0]));
        let call = endpoint.next_call().await;
        drop(spawn_token(&sessions[1]));
        run_pending_tasks().await;
        call
    });
    let third = sessions[2].clone();
    let waiter = second.spawn(async move { third.token().await });
    second.block_on(run_pending_tasks());
    assert_eq!(endpoint.call_count(), 1);
    drop(first);
    drop(running);
    second.block_on(async {
        endpoint.next_call().await.succeed("A2 R2 600");
        assert_eq!(waiter.await.unwrap().unwrap().secret(), "A2");
    });
    assert_eq!(endpoint.call_count(), 2, "the queued one never presented anything");
}

#[test]
fn p20_a_queued_refresh_on_a_runtime_that_is_not_running_does_not_hold_up_a_shutdown() {
    let (refresher, mut endpoint) = endpoint();
    let builder = Session::builder(refresher).token(token("A1 R1 0")).refresh_limit(RefreshLimit::new(1));
    let (first, second) = (builder.clone().build(), builder.build());
    let new_runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (driven, still) = (new_runtime(), new_runtime());
    let _call = driven.block_on(async {
        drop(spawn_token(&first));
        endpoint.next_call().await
    });
    still.block_on(async {
        drop(spawn_token(&second));
        run_pending_tasks().await;
    });
    assert!(second.status().is_refreshing());
    driven.block_on(second.shutdown(Duration::from_secs(60))).unwrap();
    assert!(!second.status().is_refreshing());
}

#[tokio::test(start_paused = true)]
async fn p20_p17_a_failed_save_is_repeated_while_a_refresh_is_queued() {
    let mut world =
        World::with_users(1..=2).configure(|builder| builder.refresh_timeout(Duration::from_secs(10)));
    let sessions = world.saved().max_refreshes(1).build();
    let first = sessions.get(&1).await.unwrap();
    world.database.fail_to_save(true);
    world.refresh(&first, "A1b R1b 600").await;
    let _call = world.start_refresh(&sessions.get(&2).await.unwrap()).await;
    world.database.fail_to_save(false);
    // Stale: the call starts a refresh, which is queued.
    world.clock.step(500 * SECOND);
    first.token().await.unwrap();
    run_pending_tasks().await;
    assert!(first.status().is_refreshing());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(first.status().is_refreshing());
    assert_eq!(world.database.access_token(1), "A1b");
}

#[tokio::test(start_paused = true)]
async fn p20_sessions_without_a_map_can_share_a_limit_which_is_at_least_1() {
    let (refresher, mut endpoint) = endpoint();
    let builder = Session::builder(refresher).token(token("A1 R1 0")).clock(clock());
    let builder = builder.refresh_limit(RefreshLimit::new(0));
    let (one, two) = (builder.clone().build(), builder.build());
    let waiters = [spawn_token(&one), spawn_token(&two)];
    let call = endpoint.next_call().await;
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 1, "a limit is at least 1");
    call.succeed("A2 R2 600");
    endpoint.next_call().await.succeed("A3 R3 600");
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn p20_p18_the_repeat_of_a_refresh_needs_no_second_permit() {
    use tower_reauth::RefreshError;

    let mut world = expired(1..=2);
    let sessions = world.saved().max_refreshes(1).build();
    let first = spawn_token(&sessions.get(&1).await.unwrap());
    let call = world.endpoint.next_call().await;
    let second = spawn_token(&sessions.get(&2).await.unwrap());
    run_pending_tasks().await;
    call.fail(RefreshError::outcome_unknown("reset"));
    let repeat = world.endpoint.next_call().await;
    assert_eq!(repeat.cx.reason(), RefreshReason::Repeated);
    repeat.succeed("A1b R1b 600");
    world.endpoint.next_call().await.succeed("A2b R2b 600");
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p20_p17_a_refresh_that_gets_its_permit_after_a_shutdown_does_not_start() {
    let mut world = expired(1..=2);
    let sessions = world.saved().max_refreshes(1).build();
    let call = world.start_refresh(&sessions.get(&1).await.unwrap()).await;
    let session = sessions.get(&2).await.unwrap();
    let waiter = spawn_token(&session);
    run_pending_tasks().await;
    // The first one ends, and releases its permit, before the second one's task notices the shutdown.
    call.succeed("A1b R1b 600");
    session.shutdown(SECOND).now_or_never().unwrap().unwrap();
    assert!(waiter.await.unwrap().unwrap_err().is_shut_down());
    assert_eq!(world.endpoint.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn p20_a_queued_refresh_keeps_its_place_for_longer_than_the_refresh_timeout() {
    let mut world = expired(1..=3).configure(|builder| {
        let timeout = Duration::from_secs(10);
        builder.refresh_timeout(timeout).wait_timeout(Duration::from_secs(1000))
    });
    let sessions = world.saved().max_refreshes(1).build();
    let first = world.start_refresh(&sessions.get(&1).await.unwrap()).await;
    let second = sessions.get(&2).await.unwrap();
    let mut waiters = vec![spawn_token(&second)];
    run_pending_tasks().await;
    waiters.push(spawn_token(&sessions.get(&3).await.unwrap()));
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        waiters.push(spawn_token(&second));
    }
    first.succeed("A1b R1b 600");
    let call = world.endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("R2"));
    tokio::time::sleep(Duration::from_secs(9)).await;
    // The third one has waited for longer than its timeout by now.
    waiters.push(spawn_token(&sessions.get(&3).await.unwrap()));
    call.succeed("A2b R2b 600");
    world.endpoint.next_call().await.succeed("A3b R3b 600");
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    assert_eq!(world.endpoint.call_count(), 3);
}
