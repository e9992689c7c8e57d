//! A process whose token is old: others have replaced it meanwhile.

use http::StatusCode;
use tower_reauth_fleet::{Command, Credential, FailureKind, Moment, Reply};

use crate::{
    setup::{Server, Setup, with_callers},
    stores::{Store, on_each_store},
};

on_each_store! {
    c22_a_process_that_has_slept_takes_the_token_of_the_others;
    c24_invalid_grant_for_an_old_token_ends_nothing;
    c24_404_for_an_old_token_is_no_error;
    p19_a_process_that_knew_a_deleted_record_follows_the_next_sign_in;
}

async fn c22_a_process_that_has_slept_takes_the_token_of_the_others(store: Store) {
    let Some(mut setup) = Setup::start(store, Server::Strict, with_callers(3), 2).await else { return };
    let fleet = &mut setup.fleet;
    assert_eq!(fleet.call().await.ok, 6);
    let mut sleeper = fleet.processes.pop().unwrap();
    for _ in 0..5 {
        fleet.server.issuer.expire_access_tokens();
        assert_eq!(fleet.call().await.ok, 3);
    }
    let before = fleet.server.counts();
    assert_eq!(before.presentations, 5);

    let outcome = sleeper.call().await;
    assert_eq!((outcome.ok, outcome.generation), (3, 6), "{outcome:?}");
    assert_eq!(fleet.server.counts(), before);
    assert_eq!(fleet.server.presentations_by(sleeper.id()), (0, 0));

    // It presents the newest one in its turn.
    fleet.server.issuer.expire_access_tokens();
    assert_eq!(sleeper.call().await.ok, 3);
    assert_eq!(fleet.call().await.ok, 3);
    let counts = fleet.server.counts();
    assert_eq!((counts.presentations, counts.refusals), (6, 0));
    assert_eq!(fleet.server.presentations(&setup.first.refresh), 1);
}

/// A process's refresh token was replaced while the server had it.
async fn refused_after_another_was_set(store: Store, reply: Reply) {
    let Some(mut setup) = Setup::start(store, Server::Strict, with_callers(3), 2).await else { return };
    let fleet = &mut setup.fleet;
    assert_eq!(fleet.call().await.ok, 6);
    fleet.server.issuer.expire_access_tokens();
    let held = fleet.server.hold_next(Moment::Received);
    fleet.processes[1].send(&Command::Call).await;
    let held = held.await;
    assert_eq!(held.process(), fleet.processes[1].id());
    let second = Credential::from(fleet.server.issuer.exchange(&setup.first.refresh).unwrap());
    fleet.processes[0].run(Command::SetToken(second.clone())).await.unwrap();
    held.release(reply);

    let outcome = fleet.processes[1].called().await;
    assert_eq!((outcome.ok, outcome.generation), (3, 2), "{outcome:?}");
    assert_eq!(setup.record().await["token"]["refresh"], second.refresh);
    assert!(setup.record().await["ended"].is_null());
    let fleet = &mut setup.fleet;
    assert_eq!(fleet.server.counts().presentations, 1);
    assert!(fleet.server.issuer.is_unused(&second.refresh));
    assert_eq!(fleet.call().await.ok, 6);
}

async fn c24_invalid_grant_for_an_old_token_ends_nothing(store: Store) {
    refused_after_another_was_set(
        store,
        Reply::Other(StatusCode::BAD_REQUEST, r#"{"error":"invalid_grant"}"#),
    )
    .await;
}

async fn c24_404_for_an_old_token_is_no_error(store: Store) {
    refused_after_another_was_set(store, Reply::Other(StatusCode::NOT_FOUND, "")).await;
}

async fn p19_a_process_that_knew_a_deleted_record_follows_the_next_sign_in(store: Store) {
    let Some(mut setup) = Setup::start(store, Server::Strict, with_callers(3), 3).await else { return };
    assert_eq!(setup.fleet.call().await.ok, 9);
    setup.delete_record().await;
    let fleet = &mut setup.fleet;
    fleet.server.issuer.expire_access_tokens();

    // One looks while there is no record, and is signed out. Another one doesn't look.
    let outcome = fleet.processes[1].call().await;
    assert_eq!((outcome.ok, outcome.failed), (0, 3), "{outcome:?}");
    assert!(outcome.failures.iter().all(|failure| failure.kind == FailureKind::SignedOut), "{outcome:?}");
    assert!(setup.bytes().await.is_none());

    let fleet = &mut setup.fleet;
    let second = Credential::from(fleet.server.issuer.sign_in());
    fleet.processes[0].run(Command::SignIn(second.clone())).await.unwrap();
    let record = setup.bytes().await;
    let fleet = &mut setup.fleet;
    for process in &mut fleet.processes[1..] {
        process.run(Command::Load).await.unwrap();
        let outcome = process.call().await;
        assert_eq!((outcome.ok, outcome.generation), (3, second.generation()), "{outcome:?}");
    }
    assert_eq!(fleet.server.counts().presentations, 0);
    assert_eq!(setup.bytes().await, record);
}
