//! The client credentials grant, which can't end.

use std::time::Duration;

use tower_reauth::{
    Refresher, Session,
    endpoint::{ErrorClassifier, FailureKind},
};

use crate::{
    support::{clock, token},
    token_endpoint::{Server, TOKEN, error, r1, reply},
};

#[tokio::test(start_paused = true)]
async fn client_credentials_send_no_refresh_token() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let client = server.client().client_secret_basic("s").scopes(["a", "b"]).audience("api");
    let session =
        Session::builder(client.client_credentials_grant()).token(token("A1 R1 0")).clock(clock()).build();
    for _ in 0..2 {
        session.refresh().await.unwrap();
    }
    for request in server.requests() {
        assert_eq!(request.body, "grant_type=client_credentials&scope=a+b&audience=api");
        assert!(request.header("authorization").starts_with("Basic "));
    }
}

#[tokio::test(start_paused = true)]
async fn p08_no_error_ends_a_client_credentials_grant() {
    for name in ["invalid_grant", "bad_refresh_token", "login_required", "disabled"] {
        for status in [200, 400, 401, 410] {
            let classifier = ErrorClassifier::new()
                .code("disabled", FailureKind::GrantEnded)
                .status(410, FailureKind::GrantEnded);
            let server = Server::in_memory([error(status, name), reply(200, TOKEN)]);
            let refresher = server.client().error_classifier(classifier).client_credentials_grant();
            let session = Session::builder(refresher).clock(clock()).jitter(false).build();
            let error = session.token().await.unwrap_err();
            assert!(error.is_misconfigured(), "{status} {name}: {error:?}");
            assert!(!session.status().is_grant_ended());
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(session.token().await.unwrap().secret(), "A2");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p08_no_error_ends_a_session_without_a_refresh_token() {
    let server = Server::in_memory([error(400, "invalid_grant")]);
    let endpoint = server
        .json()
        .without_refresh_token()
        .error_classifier(ErrorClassifier::new().code("invalid_grant", FailureKind::GrantEnded));
    assert!(endpoint.refresh(r1()).await.unwrap_err().is_misconfigured());
    assert_eq!(server.requests()[0].body, "{}");
}

#[tokio::test(start_paused = true)]
async fn p08_a_refresh_token_grant_of_the_same_client_can_end() {
    let server = Server::in_memory([error(400, "invalid_grant")]);
    let client = server.client();
    assert!(client.client_credentials_grant().refresh(r1()).await.unwrap_err().is_misconfigured());
    assert!(client.refresh_token_grant().refresh(r1()).await.unwrap_err().is_grant_ended());
}
