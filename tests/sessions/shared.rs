//! Maps of sessions that other processes share.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
};

use tower_reauth::{
    RefreshError,
    sessions::{Sessions, SessionsBuilder},
    store::{MemoryStore, SharedSession},
};

use crate::{
    support::{run_pending_tasks, spawn_token},
    world::{SECOND, World},
};

type Stores = Arc<Mutex<HashMap<u32, MemoryStore>>>;

/// A record for each user.
fn shared(world: &World, stores: &Stores) -> SessionsBuilder<u32, SharedSession> {
    let (builder, stores, database) = (world.session_builder(), Arc::clone(stores), world.database.clone());
    Sessions::builder(move |user| {
        let store = stores.lock().unwrap().entry(user).or_default().clone();
        let token = database.load(user);
        let builder = builder.clone();
        async move {
            let session = builder.token(token?).build_shared(store);
            session.load().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(session)
        }
    })
    .clock(world.clock.clone())
}

#[tokio::test(start_paused = true)]
async fn p20_p19_an_evicted_shared_session_is_loaded_with_the_token_in_its_store() {
    let mut world = World::with_users(1..=2);
    let sessions = shared(&world, &Stores::default()).capacity(1).build();
    let session = sessions.get(&1).await.unwrap();
    // From the database into the store.
    session.session().token().await.unwrap();
    world.refresh(session.session(), "A1b R1b 600").await;
    drop(session);
    run_pending_tasks().await;
    sessions.get(&2).await.unwrap();
    assert_eq!(sessions.len(), 1);
    let session = sessions.get(&1).await.unwrap();
    assert_eq!(session.session().token().await.unwrap().secret(), "A1b");
    assert_eq!(world.endpoint.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn p20_p19_two_maps_refresh_a_user_once() {
    let mut world = World::with_users(1..=1);
    let stores = Stores::default();
    let maps = [shared(&world, &stores).build(), shared(&world, &stores).build()];
    for map in &maps {
        map.get(&1).await.unwrap().session().token().await.unwrap();
    }
    world.clock.step(600 * SECOND);
    let mut waiters = Vec::new();
    for map in &maps {
        waiters.push(spawn_token(map.get(&1).await.unwrap().session()));
    }
    world.endpoint.next_call().await.succeed("A1b R1b 600");
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap().secret(), "A1b");
    }
    assert_eq!(world.endpoint.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn p20_p10_a_user_of_a_shared_session_signs_out_everywhere() {
    let world = World::with_users(1..=1);
    let stores = Stores::default();
    let maps = [shared(&world, &stores).build(), shared(&world, &stores).build()];
    let other = maps[1].get(&1).await.unwrap();
    let _ = maps[0].get(&1).await.unwrap().sign_out().await.unwrap();
    other.load().await.unwrap();
    assert!(other.session().status().is_signed_out());
}

#[tokio::test(start_paused = true)]
async fn p20_a_followed_session_is_evicted_and_its_task_ends() {
    let mut world = World::with_users(1..=2);
    let sessions = shared(&world, &Stores::default()).capacity(1).build();
    let session = sessions.get(&1).await.unwrap();
    let follower = tokio::spawn(session.follow());
    world.start_refresh(session.session()).await.fail(RefreshError::transient("503"));
    session.session().idle().await;
    drop(session);
    run_pending_tasks().await;
    sessions.get(&2).await.unwrap();
    follower.await.unwrap();
    assert_eq!(sessions.len(), 1);
}
