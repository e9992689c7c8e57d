//! No refresh token, no request.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_reauth::{
    RefreshContext, RefreshError, Refresher, RefresherExt, Session, Token, endpoint::EndpointError,
    refresh_fn,
};

use crate::{
    support::{clock, token},
    token_endpoint::{Server, TOKEN, reply},
};

async fn ends_unasked(make: impl FnOnce(&Server) -> Session) {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let session = make(&server);
    for _ in 0..3 {
        let error = session.token().await.unwrap_err();
        assert!(error.is_grant_ended(), "{error:?}");
        assert!(EndpointError::find(&error).unwrap().is_missing_refresh_token());
        tokio::time::advance(Duration::from_secs(600)).await;
    }
    assert_eq!(server.count(), 0);
    // After a sign-in the request is made.
    session.sign_in(token("B1 Q1 0"));
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn b146_without_a_refresh_token_the_grant_has_ended_and_no_request_is_made() {
    let session = |refresher| Session::builder(refresher).clock(clock()).build();
    ends_unasked(|server| session(server.client().refresh_token_grant())).await;
    let session = |refresher| Session::builder(refresher).token(token("A1 - 0")).clock(clock()).build();
    ends_unasked(|server| session(server.client().client_secret_post("s").refresh_token_grant())).await;
    let session = |refresher| Session::builder(refresher).clock(clock()).build();
    ends_unasked(|server| session(server.json())).await;
    let session = |refresher| Session::builder(refresher).clock(clock()).build();
    ends_unasked(|server| {
        session(server.client().refresh_token_grant().confirm_grant_ended(Duration::from_secs(1)))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn b146_a_grant_that_needs_no_refresh_token_makes_a_request() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    server.client().client_credentials_grant().refresh(RefreshContext::default()).await.unwrap();
    server.json().without_refresh_token().refresh(RefreshContext::default()).await.unwrap();
    assert_eq!(server.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn p02_b145_a_response_without_a_refresh_token_keeps_r1() {
    for member in ["", r#","refresh_token":null"#, r#","refresh_token":"""#, r#","refresh_token":" ""#] {
        let response = format!(r#"{{"access_token":"A2","token_type":"Bearer"{member}}}"#);
        let server = Server::in_memory([reply(200, response)]);
        let session = Session::builder(server.client().refresh_token_grant())
            .token(token("A1 R1 0"))
            .clock(clock())
            .build();
        for _ in 0..3 {
            let _ = session.refresh().await;
            tokio::time::advance(Duration::from_secs(600)).await;
        }
        assert_eq!(server.count(), 3);
        assert!(
            server.requests().iter().all(|request| request.param("refresh_token").unwrap() == "R1"),
            "{member}"
        );
    }
}

/// Also from a refresher of the user's own, and beside an error.
#[tokio::test(start_paused = true)]
async fn d16_a_blank_refresh_token_never_replaces_r1() {
    for blank in ["", " \n"] {
        let presented = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&presented);
        let refresher = refresh_fn(move |cx: RefreshContext| {
            let mut presented = record.lock().unwrap();
            presented.push(cx.refresh_token().map(str::to_owned));
            let outcome = match presented.len() {
                1 => Err(RefreshError::transient("no access token").with_refresh_token(blank)),
                calls => Ok(Token::builder(format!("A{calls}")).refresh_token(blank).build().unwrap()),
            };
            async { outcome }
        });
        let session = Session::builder(refresher).token(token("A1 R1 0")).clock(clock()).build();
        for _ in 0..3 {
            let _ = session.refresh().await;
            tokio::time::advance(Duration::from_secs(600)).await;
        }
        assert_eq!(*presented.lock().unwrap(), vec![Some("R1".to_owned()); 3]);
    }
    // An unknown outcome stays one.
    assert!(RefreshError::outcome_unknown("reset").with_refresh_token("").is_outcome_unknown());
    assert!(RefreshError::outcome_unknown("reset").with_refresh_token("R2").is_transient());
}

#[tokio::test(start_paused = true)]
async fn b146_a_blank_refresh_token_counts_as_none_and_a_trailing_newline_is_removed() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    for refresh_token in ["", "\n"] {
        let cx = || RefreshContext::builder().refresh_token(refresh_token).build();
        assert!(server.client().refresh_token_grant().refresh(cx()).await.unwrap_err().is_grant_ended());
        assert!(server.json().refresh(cx()).await.unwrap_err().is_grant_ended());
    }
    assert_eq!(server.count(), 0);
    let cx = RefreshContext::builder().refresh_token("R1\n").build();
    server.client().refresh_token_grant().refresh(cx).await.unwrap();
    assert_eq!(server.requests()[0].param("refresh_token").as_deref(), Some("R1"));
}
