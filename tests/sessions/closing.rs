//! Closing a map.

use crate::{
    support::{run_pending_tasks, spawn_token, token},
    world::{SECOND, World},
};

#[tokio::test(start_paused = true)]
async fn p20_closing_waits_for_refreshes_and_saves() {
    let mut world = World::with_users(1..=3);
    let sessions = world.saved().build();
    let first = sessions.get(&1).await.unwrap();
    let second = sessions.get(&2).await.unwrap();
    let third = sessions.get(&3).await.unwrap();
    let calls = [world.start_refresh(&first).await, world.start_refresh(&second).await];
    let closing = tokio::spawn({
        let sessions = sessions.clone();
        async move { sessions.close(30 * SECOND).await }
    });
    run_pending_tasks().await;
    assert!(!closing.is_finished());
    assert!(sessions.get(&3).await.unwrap_err().is_shut_down());
    assert!(third.refresh().await.unwrap_err().is_shut_down());
    for (call, spec) in calls.into_iter().zip(["A1b R1b 600", "A2b R2b 600"]) {
        call.succeed(spec);
    }
    closing.await.unwrap().unwrap();
    assert_eq!([1, 2, 3].map(|user| world.database.access_token(user)), ["A1b", "A2b", "A3"]);
    assert!(sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn p20_closing_again_saves_what_is_left() {
    let mut world = World::with_users(1..=2);
    let sessions = world.saved().build();
    let session = sessions.get(&1).await.unwrap();
    world.database.fail_to_save(true);
    world.refresh(&session, "A1b R1b 600").await;
    drop(session);
    assert!(sessions.close(SECOND).await.unwrap_err().is_unsaved());
    world.database.fail_to_save(false);
    sessions.close(SECOND).await.unwrap();
    assert_eq!(world.database.access_token(1), "A1b");
}

#[tokio::test(start_paused = true)]
async fn p20_closing_times_out() {
    let mut world = World::with_users(1..=1);
    let sessions = world.saved().build();
    let call = world.start_refresh(&sessions.get(&1).await.unwrap()).await;
    assert!(sessions.close(SECOND).await.unwrap_err().is_shutdown_timeout());
    call.succeed("A1b R1b 600");
    sessions.close(SECOND).await.unwrap();
    assert_eq!(world.database.access_token(1), "A1b");
}

#[tokio::test(start_paused = true)]
async fn p20_closing_starts_no_refresh_that_waits_for_a_permit() {
    let mut world = World::with_users(1..=2);
    for user in 1..=2 {
        world.database.save(user, Some(token(&format!("A{user} R{user} 0")))).unwrap();
    }
    let sessions = world.saved().max_refreshes(1).build();
    let first = spawn_token(&sessions.get(&1).await.unwrap());
    let call = world.endpoint.next_call().await;
    let second = spawn_token(&sessions.get(&2).await.unwrap());
    run_pending_tasks().await;
    let closing = tokio::spawn(async move { sessions.close(30 * SECOND).await });
    assert!(second.await.unwrap().unwrap_err().is_shut_down());
    call.succeed("A1b R1b 600");
    first.await.unwrap().unwrap();
    closing.await.unwrap().unwrap();
    assert_eq!(world.endpoint.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn p20_a_session_that_is_loaded_while_the_map_closes_is_not_handed_out() {
    let world = World::with_users(1..=1);
    let (sessions, gate) = world.gated();
    let get = tokio::spawn({
        let sessions = sessions.clone();
        async move { sessions.get(&1).await }
    });
    run_pending_tasks().await;
    sessions.close(SECOND).await.unwrap();
    gate.add_permits(1);
    assert!(get.await.unwrap().unwrap_err().is_shut_down());
    assert!(sessions.is_empty());
}
