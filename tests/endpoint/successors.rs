//! Refresh tokens in unusable responses.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use tower::service_fn;
use tower_reauth::{RefreshContext, RefreshError, Token, endpoint::RequestBody, oauth2::Client, refresh_fn};

use crate::{
    canned::{URL, client, respond},
    support::{self, clock, run_pending_tasks, spawn_token, token},
};

/// The refresh tokens that a session presents for these responses.
async fn presented(bodies: &'static [&'static str]) -> Vec<String> {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let transport = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: Request<RequestBody>| {
            let seen = Arc::clone(&seen);
            async move {
                let body = request.into_body().into_bytes();
                let pairs: Vec<_> = form_urlencoded::parse(&body).into_owned().collect();
                let token = pairs.into_iter().find(|(name, _)| name == "refresh_token").unwrap().1;
                let mut seen = seen.lock().unwrap();
                seen.push(token);
                Ok::<_, Infallible>(respond(200, bodies[(seen.len() - 1).min(bodies.len() - 1)]))
            }
        })
    };
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    let session = support::expired(client.refresh_token_grant()).build();
    for _ in bodies {
        let _ = session.token().await;
        session.reset_backoff();
    }
    std::mem::take(&mut seen.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn p02_the_successor_in_an_unusable_response_replaces_the_refresh_token() {
    let of_another_type = &[
        r#"{"access_token":"A2","token_type":"mac","refresh_token":"R2"}"#,
        r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R3"}"#,
    ];
    let unsendable = &[
        "{\"access_token\":\"A\\u00012\",\"token_type\":\"Bearer\",\"refresh_token\":\"R2\"}",
        r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R3"}"#,
    ];
    let without = &[
        r#"{"token_type":"Bearer","refresh_token":"R2"}"#,
        r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R3"}"#,
    ];
    assert_eq!(presented(of_another_type).await, ["R1", "R2"]);
    assert_eq!(presented(unsendable).await, ["R1", "R2"]);
    assert_eq!(presented(without).await, ["R1", "R2"]);
}

#[tokio::test(start_paused = true)]
async fn d44_p02_the_successor_beside_an_error_replaces_the_refresh_token() {
    let partial = &[
        r#"{"error":"partial_failure","access_token":"A2","refresh_token":"R2"}"#,
        r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R3"}"#,
    ];
    assert_eq!(presented(partial).await, ["R1", "R2"]);
    // Not if it only repeats what was presented.
    let repeated = &[
        r#"{"error":"partial_failure","refresh_token":"R1"}"#,
        r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R3"}"#,
    ];
    assert_eq!(presented(repeated).await, ["R1", "R1"]);
}

/// Whatever it repeats, a request that was refused replaced nothing.
#[tokio::test(start_paused = true)]
async fn d44_p02_a_refusal_has_no_successor() {
    let client = client(400, r#"{"error":"invalid_request","refresh_token":"R9"}"#);
    let session = support::expired(client.refresh_token_grant()).build();
    session.token().await.unwrap_err();
    assert_eq!(session.sign_out().refresh_token(), Some("R1"));
}

#[tokio::test(start_paused = true)]
async fn d47_p02_a_word_for_no_refresh_token_is_none() {
    for body in [
        r#"{"access_token":"A2","token_type":"Bearer","expires_in":0,"refresh_token":"N/A"}"#,
        r#"{"access_token":"A3","token_type":"Bearer","expires_in":0,"refresh_token":"null"}"#,
        r#"{"access_token":"A4","token_type":"Bearer","expires_in":0,"refresh_token":"undefined"}"#,
        r#"{"access_token":"A5","token_type":"Bearer","expires_in":0,"refresh_token":" None "}"#,
        r#"{"access_token":"A6","token_type":"Bearer","expires_in":0,"refresh_token":""}"#,
        r#"{"error":"x","refresh_token":"null"}"#,
    ] {
        let client = client(200, body);
        let session = support::expired(client.refresh_token_grant()).build();
        let _ = session.token().await;
        assert_eq!(session.sign_out().refresh_token(), Some("R1"), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn p02_a_successor_without_an_access_token_is_saved() {
    let given = support::RecordedTokens::default();
    let client = client(200, r#"{"access_token":"A2","token_type":"mac","refresh_token":"R2"}"#);
    let session = support::expired(client.refresh_token_grant()).save_with(given.hook()).build();
    assert!(session.token().await.is_err());
    session.idle().await;
    assert_eq!(given.all(), ["A1 R2"]);
    assert_eq!(session.sign_out().refresh_token(), Some("R2"));
}

#[tokio::test(start_paused = true)]
async fn p18_a_response_with_a_successor_is_not_repeated() {
    let calls = Arc::<Mutex<Vec<String>>>::default();
    let presented = Arc::clone(&calls);
    let session = support::expired(refresh_fn(move |cx: RefreshContext| {
        presented.lock().unwrap().push(format!("{} {:?}", cx.refresh_token().unwrap(), cx.reason()));
        async { Err::<Token, _>(RefreshError::outcome_unknown("half").with_refresh_token("R2")) }
    }))
    .build();
    assert!(session.token().await.unwrap_err().is_transient());
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(session.token().await.is_err());
    assert_eq!(*calls.lock().unwrap(), ["R1 Expired", "R2 Expired"]);
}

#[tokio::test(start_paused = true)]
async fn p10_a_set_token_takes_precedence_over_a_successor_without_an_access_token() {
    let (refresher, mut endpoint) = support::endpoint();
    let session = support::expired(refresher).build();
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.token().await.map(|token| token.secret().to_owned()) }
    });
    let call = endpoint.next_call().await;
    session.set_token(token("A5 R5 600")).unwrap();
    call.fail(RefreshError::misconfigured("no token").with_refresh_token("R2"));
    assert_eq!(waiting.await.unwrap().unwrap(), "A5");
    // R1 has a successor, so it is not presented again even if it is set.
    session.set_token(token("A6 R1 600")).unwrap();
    assert_eq!(session.sign_out().refresh_token(), Some("R5"));
}

#[tokio::test(start_paused = true)]
async fn p10_a_sign_out_returns_the_newest_refresh_token() {
    let (refresher, mut endpoint) = support::endpoint();
    let session = support::expired(refresher).build();
    let _waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    session.set_token(token("A5 - 600")).unwrap();
    call.succeed("A2 R2 600");
    session.idle().await;
    let token = session.sign_out();
    assert_eq!((token.access_token(), token.refresh_token()), (Some("A5"), Some("R2")));
}

#[tokio::test(start_paused = true)]
async fn p09_a_late_successor_is_used_and_keeps_the_session_alive() {
    let (refresher, mut endpoint) = support::endpoint();
    let clock = clock();
    let session = support::expired(refresher).clock(clock.clone()).build();
    let demand = || {
        let session = session.clone();
        tokio::spawn(async move { session.token().await.map(|token| token.secret().to_owned()) })
    };
    let _first = demand();
    let late = endpoint.next_call().await;
    // The machine slept, so the flight is abandoned although its response is under way.
    clock.step(Duration::from_secs(120));
    let second = demand();
    let repeat = endpoint.next_call().await;
    late.fail(RefreshError::misconfigured("no access token").with_refresh_token("R2"));
    run_pending_tasks().await;
    // R1 is spent, as the server reports.
    repeat.fail(RefreshError::grant_ended("invalid_grant"));
    let next = endpoint.next_call().await;
    assert!(!session.status().is_grant_ended());
    assert_eq!(next.cx.refresh_token(), Some("R2"));
    next.succeed("A3 R3 600");
    assert_eq!(second.await.unwrap().unwrap(), "A3");
}

#[tokio::test(start_paused = true)]
async fn p10_a_successor_that_arrives_after_a_sign_out_is_not_used() {
    let (refresher, mut endpoint) = support::endpoint();
    let session = support::expired(refresher).build();
    let waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    assert_eq!(session.sign_out().refresh_token(), Some("R1"));
    call.fail(RefreshError::misconfigured("no access token").with_refresh_token("R2"));
    assert!(waiting.await.unwrap().unwrap_err().is_signed_out());
    session.idle().await;
    session.sign_in(token("B1 S1 0"));
    let _waiting = spawn_token(&session);
    assert_eq!(endpoint.next_call().await.cx.refresh_token(), Some("S1"));
}
