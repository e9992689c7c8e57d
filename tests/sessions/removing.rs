//! Removing a key.

use futures::FutureExt;

use crate::{
    support::{run_pending_tasks, spawn_token, token},
    world::{SECOND, World},
};

#[tokio::test(start_paused = true)]
async fn p20_a_removed_session_starts_no_refresh() {
    let world = World::with_users(1..=1);
    let sessions = world.saved().build();
    let session = sessions.get(&1).await.unwrap();
    sessions.remove(&1);
    assert!(sessions.is_empty());
    assert!(session.status().is_shut_down());
    assert!(session.refresh().await.unwrap_err().is_shut_down());
    assert!(!sessions.get(&1).await.unwrap().status().is_shut_down());
    assert_eq!(world.database.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn p20_the_next_get_waits_for_the_flight_and_the_save_of_the_removed_session() {
    let mut world = World::with_users(1..=1);
    let sessions = world.saved().build();
    let session = sessions.get(&1).await.unwrap();
    let call = world.start_refresh(&session).await;
    sessions.remove(&1);
    let next = tokio::spawn({
        let sessions = sessions.clone();
        async move { sessions.get(&1).await }
    });
    run_pending_tasks().await;
    assert_eq!(world.database.loads(), 1, "not before the flight has ended");
    call.succeed("A1b R1b 600");
    let next = next.await.unwrap().unwrap();
    assert_eq!(next.try_token().unwrap().secret(), "A1b");
    assert_eq!(world.database.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn p20_what_a_removed_session_has_not_saved_is_saved_before_the_next_load() {
    let mut world = World::with_users(1..=1);
    let sessions = world.saved().build();
    let session = sessions.get(&1).await.unwrap();
    world.database.fail_to_save(true);
    world.refresh(&session, "A1b R1b 600").await;
    drop(session);
    sessions.remove(&1);
    run_pending_tasks().await;
    let error = sessions.get(&1).await.unwrap_err();
    assert!(error.is_unsaved() && error.is_retryable(), "{error}");
    assert_eq!(world.database.loads(), 1, "the stored token has been used");

    world.database.fail_to_save(false);
    world.clock.step(2 * SECOND);
    let session = sessions.get(&1).await.unwrap();
    assert_eq!(session.try_token().unwrap().secret(), "A1b");
}

#[tokio::test(start_paused = true)]
async fn p20_a_removed_session_is_forgotten_once_it_has_ended() {
    let mut world = World::with_users(1..=1);
    let sessions = world.saved().build();
    let session = sessions.get(&1).await.unwrap();
    let mut watch = session.watch();
    let call = world.start_refresh(&session).await;
    drop(session);
    sessions.remove(&1);
    call.succeed("A1b R1b 600");
    run_pending_tasks().await;
    while watch.changed().now_or_never().is_some_and(|changed| changed.is_ok()) {}
    assert!(watch.changed().await.is_err(), "nobody keeps it");
}

#[tokio::test(start_paused = true)]
async fn p20_a_key_that_is_removed_while_it_is_loaded_is_loaded_again() {
    let world = World::with_users(1..=1);
    let (sessions, gate) = world.gated();
    let mut get = Box::pin(sessions.get(&1));
    assert!(get.as_mut().now_or_never().is_none());
    run_pending_tasks().await;
    // What this load has read is out of date.
    world.database.save(1, Some(token("A9 R9 600"))).unwrap();
    sessions.remove(&1);
    gate.add_permits(2);
    let session = get.await.unwrap();
    assert_eq!(session.try_token().unwrap().secret(), "A9");
    assert_eq!(world.database.loads(), 2);
    assert!(!session.status().is_shut_down());
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p20_a_load_that_fails_after_its_key_was_removed_is_repeated() {
    let world = World::with_users([]);
    let (sessions, gate) = world.gated();
    let mut get = Box::pin(sessions.get(&1));
    assert!(get.as_mut().now_or_never().is_none());
    run_pending_tasks().await;
    // This load has found no such user.
    world.database.save(1, Some(token("A1 R1 600"))).unwrap();
    sessions.remove(&1);
    gate.add_permits(2);
    assert_eq!(get.await.unwrap().try_token().unwrap().secret(), "A1");
}

#[tokio::test(start_paused = true)]
async fn p20_removing_forgets_a_failed_load() {
    let world = World::with_users([]);
    let sessions = world.saved().build();
    sessions.get(&1).await.unwrap_err();
    world.database.save(1, Some(token("A1 R1 600"))).unwrap();
    sessions.remove(&1);
    sessions.get(&1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p20_callers_of_a_removed_session_join_its_flight() {
    let mut world = World::with_users(1..=1);
    world.database.save(1, Some(token("A1 R1 0"))).unwrap();
    let sessions = world.saved().build();
    let session = sessions.get(&1).await.unwrap();
    let waiter = spawn_token(&session);
    let call = world.endpoint.next_call().await;
    sessions.remove(&1);
    let joined = spawn_token(&session);
    run_pending_tasks().await;
    call.succeed("A1b R1b 600");
    assert_eq!(waiter.await.unwrap().unwrap().secret(), "A1b");
    assert_eq!(joined.await.unwrap().unwrap().secret(), "A1b");
}
