//! Which errors end a grant.

use std::time::Duration;

use tokio::time::advance;
use tower_reauth::RefresherExt;

use crate::{
    classifier::session,
    support::token,
    token_endpoint::{Server, TOKEN, error, reply},
};

#[tokio::test(start_paused = true)]
async fn c53_a_misconfigured_client_signs_nobody_out() {
    for (status, name) in [
        (401, "invalid_client"),
        (400, "unauthorized_client"),
        (400, "unsupported_grant_type"),
        (400, "invalid_scope"),
        (400, "invalid_target"),
    ] {
        let server = Server::in_memory([error(status, name), reply(200, TOKEN)]);
        let (builder, ends) = session(server.client().client_secret_post("old").refresh_token_grant());
        let session = builder.build();
        let refused = session.token().await.unwrap_err();
        assert!(refused.is_misconfigured() && !refused.is_grant_ended() && !refused.is_retryable(), "{name}");
        assert!(!session.status().is_grant_ended());
        // The secret was fixed.
        session.reset_backoff();
        assert_eq!(session.token().await.unwrap().secret(), "A2");
        assert_eq!(server.requests()[1].param("refresh_token").unwrap(), "R1");
        assert_eq!(*ends.lock().unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn c54_an_ended_grant_ends_the_session_once_and_the_same_token_can_be_set_again() {
    let server = Server::in_memory([error(400, "invalid_grant"), reply(200, TOKEN)]);
    let (builder, ends) = session(server.client().refresh_token_grant());
    let session = builder.build();
    for _ in 0..3 {
        assert!(session.token().await.unwrap_err().is_grant_ended());
        advance(Duration::from_secs(3600)).await;
    }
    assert_eq!((*ends.lock().unwrap(), server.count()), (1, 1));
    session.set_token(token("A1 R1 0")).unwrap();
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert_eq!(server.requests()[1].param("refresh_token").unwrap(), "R1");
}

#[tokio::test(start_paused = true)]
async fn c54_a_temporary_invalid_grant_ends_nothing_if_confirmed() {
    let server = Server::in_memory([error(400, "invalid_grant"), reply(200, TOKEN)]);
    let refresher = server.client().refresh_token_grant().confirm_grant_ended(Duration::from_secs(2));
    let (builder, ends) = session(refresher);
    let session = builder.build();
    let begin = tokio::time::Instant::now();
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert_eq!(begin.elapsed(), Duration::from_secs(2));
    assert_eq!((*ends.lock().unwrap(), server.count()), (0, 2));

    let server = Server::in_memory([error(400, "invalid_grant")]);
    let refresher = server.client().refresh_token_grant().confirm_grant_ended(Duration::from_secs(2));
    let (builder, ends) = crate::classifier::session(refresher);
    assert!(builder.build().token().await.unwrap_err().is_grant_ended());
    assert_eq!((*ends.lock().unwrap(), server.count()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn d12_a_grant_is_not_confirmed_once_the_user_has_signed_out() {
    let server = Server::in_memory([error(400, "invalid_grant").delayed()]);
    let refresher = server.client().refresh_token_grant().confirm_grant_ended(Duration::from_secs(2));
    let session = crate::support::expired(refresher).build();
    let waiting = crate::support::spawn_token(&session);
    crate::support::run_pending_tasks().await;
    server.release();
    crate::support::run_pending_tasks().await;
    assert_eq!(server.count(), 1);
    let _ = session.sign_out();
    assert!(waiting.await.unwrap().unwrap_err().is_signed_out());
    session.idle().await;
    assert_eq!(server.count(), 1);
}
