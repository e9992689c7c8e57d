//! Each kind of call, across an expiry and a revocation.

use futures::future::try_join_all;
use tokio::{task::JoinSet, time::timeout};

use crate::setup::{KINDS, Kind, LONG, Setup};

/// All four kinds at once.
async fn all_kinds(setup: &mut Setup) {
    let calls = try_join_all(KINDS.map(|kind| kind.call(setup.client.clone())));
    let response = async {
        let call = setup.endpoint.next_call().await;
        while setup.session.status().waiters() < KINDS.len() {
            tokio::task::yield_now().await;
        }
        setup.server.state.accept("A2");
        call.succeed("A2 R2 600");
    };
    let (outcome, ()) = timeout(LONG, async { tokio::join!(calls, response) }).await.unwrap();
    outcome.unwrap();
    assert_eq!(setup.endpoint.call_count(), 1);
}

#[tokio::test]
async fn p01_each_kind_of_call_waits_for_one_refresh_when_the_token_expired() {
    let mut setup = Setup::new("A1 R1 0").await;
    all_kinds(&mut setup).await;
    assert_eq!(setup.state().tokens(), ["A2"; 4]);
}

#[tokio::test]
async fn p16_each_kind_of_call_is_retried_when_the_token_was_revoked() {
    let mut setup = Setup::new("A1 R1 600").await;
    setup.state().accept("A1");
    for kind in KINDS {
        kind.call(setup.client.clone()).await.unwrap();
    }
    setup.state().revoke("A1");
    all_kinds(&mut setup).await;
    let tokens = setup.state().tokens();
    assert_eq!(tokens[4..8], ["A1"; 4]);
    assert_eq!(tokens[8..], ["A2"; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_fifty_calls_rejected_at_once_cause_one_refresh() {
    let mut setup = Setup::new("A1 R1 600").await;
    // All are sent before the first rejection, as a call that starts after it would wait.
    setup.state().respond_to_rejected_together(50);
    let mut calls = JoinSet::new();
    for at in 0..50 {
        calls.spawn(KINDS[at % 4].call(setup.client.clone()));
    }
    let call = timeout(LONG, setup.endpoint.next_call()).await.unwrap();
    setup.waiting(50).await;
    setup.state().accept("A2");
    call.succeed("A2 R2 600");
    for outcome in timeout(LONG, calls.join_all()).await.unwrap() {
        outcome.unwrap();
    }
    assert_eq!((setup.endpoint.call_count(), setup.state().calls().len()), (1, 100));
    assert_eq!(setup.session.status().generation(), 2);
}

#[tokio::test]
async fn p04_a_call_rejected_with_an_older_token_is_retried_with_the_current_one() {
    let mut setup = Setup::new("A1 R1 600").await;
    setup.state().check_after(1);
    // The server checks A1 when the session already has A2.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let names = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut client = setup.client.clone();
    let slow = tokio::spawn(async move { client.greet_all(names).await });
    while setup.state().calls().is_empty() {
        tokio::task::yield_now().await;
    }
    let (renewed, ()) = tokio::join!(
        {
            let session = setup.session.clone();
            async move { session.refresh().await }
        },
        setup.refresh_with("A2 R2 600")
    );
    renewed.unwrap();
    sender.send(crate::setup::name("Ada")).await.unwrap();
    drop(sender);
    let response = timeout(LONG, slow).await.unwrap().unwrap().unwrap();
    assert_eq!(response.into_inner().text, "hello Ada");
    assert_eq!(setup.state().tokens(), ["A1", "A2"]);
    assert_eq!(setup.endpoint.call_count(), 1);
}

#[tokio::test]
async fn p15_a_call_whose_uri_has_no_host_is_sent_over_its_channel() {
    let setup = Setup::new("A1 R1 600").await;
    setup.state().accept("A1");
    Kind::Unary.call(setup.client.clone()).await.unwrap();
    assert_eq!(setup.state().tokens(), ["A1"]);
}
