//! Revocation.

use tower_reauth::{
    Session,
    endpoint::{ErrorClassifier, FailureKind},
};

use crate::{
    support::{clock, spawn_token, token},
    token_endpoint::{Server, TOKEN, error, reply},
};

#[tokio::test]
async fn both_tokens_are_revoked_with_their_hints() {
    let server = Server::on_loopback([reply(200, "")]).await;
    let client = server.client().client_secret_post("s").scopes(["a"]).resource("https://x.example.com");
    let revocation = client.revocation(server.url("/revoke")).unwrap();
    revocation.revoke(&token("A1 R1 600")).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for (request, params) in requests.iter().zip([
        "token=R1&token_type_hint=refresh_token&client_id=app&client_secret=s",
        "token=A1&token_type_hint=access_token&client_id=app&client_secret=s",
    ]) {
        assert_eq!((request.method.as_str(), request.uri.to_string().as_str()), ("POST", "/revoke"));
        assert_eq!(request.body, params);
        assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    }
    revocation.revoke(&token("A1 - 600")).await.unwrap();
    assert_eq!(server.count(), 3);
    assert_eq!(server.requests()[2].param("token_type_hint").unwrap(), "access_token");
}

#[tokio::test]
async fn a_server_that_cannot_revoke_access_tokens_is_not_an_error() {
    let server = Server::on_loopback([reply(200, ""), error(400, "unsupported_token_type")]).await;
    let revocation = server.client().revocation(server.url("/revoke")).unwrap();
    revocation.revoke(&token("A1 R1 600")).await.unwrap();
    // It is an error if refresh tokens can't be revoked.
    let error = revocation.revoke(&token("A1 R1 600")).await.unwrap_err();
    assert_eq!(error.code(), Some("unsupported_token_type"));
}

#[tokio::test]
async fn the_access_token_is_revoked_though_the_refresh_token_could_not_be() {
    let server = Server::on_loopback([error(503, "busy"), reply(200, "")]).await;
    let revocation = server.client().revocation(server.url("/revoke")).unwrap();
    let error = revocation.revoke(&token("A1 R1 600")).await.unwrap_err();
    assert_eq!(error.code(), Some("busy"));
    assert_eq!(server.requests()[1].param("token").as_deref(), Some("A1"));
}

#[tokio::test]
async fn a_failed_revocation_is_a_typed_error() {
    for (response, status, code) in [
        (error(401, "invalid_client"), 401, Some("invalid_client")),
        (reply(503, "<html>"), 503, None),
        (reply(400, r#"{"error":{"code":"oops"}}"#), 400, Some("oops")),
    ] {
        let server = Server::on_loopback([response]).await;
        let revocation = server.client().revocation(server.url("/revoke")).unwrap();
        let error = revocation.revoke(&token("A1 R1 600")).await.unwrap_err();
        assert_eq!((error.status().unwrap().as_u16(), error.code()), (status, code));
    }
    let server = Server::on_loopback([reply(200, "").closed()]).await;
    let revocation = server.client().revocation(server.url("/revoke")).unwrap();
    assert!(revocation.revoke(&token("A1 R1 600")).await.is_err());
    assert!(server.client().revocation("http://id.example.com/revoke").unwrap_err().is_cleartext());
}

#[tokio::test]
async fn a_json_revocation_posts_the_refresh_token_with_the_extra_fields() {
    let server = Server::on_loopback([reply(204, ""), error(400, "oops")]).await;
    let endpoint = server.json().refresh_token_field("refresh").extra_field("device", "d7");
    let revocation = endpoint.revocation(server.url("/blacklist/")).unwrap();
    revocation.revoke(&token("A1 - 600")).await.unwrap();
    assert_eq!(server.count(), 0);
    revocation.revoke(&token("A1 R1 600")).await.unwrap();
    let request = server.requests().remove(0);
    assert_eq!(
        (request.uri.to_string().as_str(), &request.body[..]),
        ("/blacklist/", &br#"{"refresh":"R1","device":"d7"}"#[..])
    );
    let error = revocation.revoke(&token("A1 R1 600")).await.unwrap_err();
    assert_eq!(error.code(), Some("oops"));
}

#[tokio::test(start_paused = true)]
async fn c98_a_pair_that_arrives_after_the_sign_out_is_revoked() {
    let tokens = Server::in_memory([reply(200, TOKEN).delayed()]);
    let revoked = Server::in_memory([reply(200, "")]);
    let revocation = revoked.client().revocation("https://id.example.com/revoke").unwrap();
    let session = Session::builder(tokens.client().refresh_token_grant())
        .token(token("A1 R1 0"))
        .clock(clock())
        .revoke_with(revocation.clone().into_hook())
        .build();
    let waiting = spawn_token(&session);
    tokens.wait_for_requests(1).await;
    let had = session.sign_out();
    assert_eq!((had.access_token(), had.refresh_token()), (Some("A1"), Some("R1")));
    tokens.release();
    assert!(waiting.await.unwrap().unwrap_err().is_signed_out());
    session.idle().await;
    assert!(session.token().await.unwrap_err().is_signed_out());
    let late: Vec<_> = revoked.requests().iter().map(|request| request.param("token").unwrap()).collect();
    assert_eq!(late, ["R2", "A2"]);

    revocation.revoke(had).await.unwrap();
    let all: Vec<_> = revoked.requests().iter().map(|request| request.param("token").unwrap()).collect();
    assert_eq!(all, ["R2", "A2", "R1", "A1"]);
}

#[tokio::test(start_paused = true)]
async fn c98_a_json_endpoint_revokes_a_late_pair_too() {
    let server = Server::in_memory([reply(200, TOKEN).delayed(), reply(205, "")]);
    let revocation = server.json().revocation("https://api.example.com/blacklist/").unwrap();
    let session = Session::builder(server.json())
        .refresh_token("R1")
        .clock(clock())
        .revoke_with(revocation.into_hook())
        .build();
    let waiting = spawn_token(&session);
    server.wait_for_requests(1).await;
    assert_eq!(session.sign_out().refresh_token(), Some("R1"));
    server.release();
    assert!(waiting.await.unwrap().unwrap_err().is_signed_out());
    session.idle().await;
    assert_eq!(server.requests()[1].body, r#"{"refresh_token":"R2"}"#);
}

#[tokio::test(start_paused = true)]
async fn c98_a_session_that_never_refreshed_returns_its_refresh_token() {
    let server = Server::in_memory([reply(200, "")]);
    let revocation = server.client().revocation("https://id.example.com/revoke").unwrap();
    let grant = server.client().refresh_token_grant();
    let session = Session::builder(grant).refresh_token("R1").clock(clock()).build();
    revocation.revoke(session.sign_out()).await.unwrap();
    assert_eq!((server.count(), server.requests()[0].param("token").as_deref()), (1, Some("R1")));
    // Already signed out, so there is nothing to revoke.
    let nothing = session.sign_out();
    assert!(nothing.is_empty());
    revocation.revoke(nothing).await.unwrap();
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn revoking_a_token_that_is_already_invalid_is_not_an_error() {
    let gone = ErrorClassifier::new().status(410, FailureKind::GrantEnded);
    let server = Server::on_loopback([reply(410, "")]).await;
    let revocation = server.json().error_classifier(gone).revocation(server.url("/logout")).unwrap();
    revocation.revoke(token("A1 R1 600")).await.unwrap();
    let server = Server::on_loopback([error(400, "invalid_grant")]).await;
    let revocation = server.client().revocation(server.url("/revoke")).unwrap();
    revocation.revoke(token("A1 R1 600")).await.unwrap();
}
