//! Backends that aren't OAuth.

use std::time::Duration;

use tower_reauth::{
    Refresher, Session,
    endpoint::{EndpointError, ErrorClassifier, FailureKind, Lifetime},
};

use crate::{
    classifier::{Classified, classify},
    token_endpoint::{Server, error, r1, reply},
};

#[tokio::test(start_paused = true)]
async fn the_simplejwt_preset_works() {
    // A JWT that expires at second 1,000,300; the test's clock starts at 1,000,000.
    let jwt = "e30.eyJleHAiOjEwMDAzMDB9.sig";
    let response = format!(r#"{{"access":"{jwt}","refresh":"R2"}}"#);
    let server = Server::in_memory([reply(200, response)]);
    let expected = Classified::Token {
        header: format!("Bearer {jwt}"),
        lifetime: Some(Duration::from_secs(300)),
        refresh_token: Some("R2".into()),
        warnings: 0,
    };
    assert_eq!(classify(Session::builder(server.json().for_simplejwt())).await, expected);
    assert_eq!(server.requests()[0].body, r#"{"refresh":"R1"}"#);

    for code in ["token_not_valid", "no_active_account"] {
        let refused = format!(r#"{{"detail":"Token is invalid or expired","code":"{code}"}}"#);
        let server = Server::in_memory([reply(401, refused)]);
        let expected = Classified::GrantEnded(Some(code.to_owned()));
        assert_eq!(classify(Session::builder(server.json().for_simplejwt())).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn c52_the_error_code_is_read_from_its_configured_path() {
    let refused = r#"{"error":"e","code":"c","detail":{"reason":"r"}}"#;
    let code = async |endpoint: tower_reauth::json::JsonEndpoint| {
        let error = endpoint.refresh(r1()).await.unwrap_err();
        EndpointError::find(&error).unwrap().code().map(str::to_owned)
    };
    let server = Server::in_memory([reply(401, refused)]);
    assert_eq!(code(server.json()).await.as_deref(), Some("e"));
    assert_eq!(code(server.json().error_code_path("/detail/reason")).await.as_deref(), Some("r"));
    assert_eq!(code(server.json().error_code_path("detail")).await.as_deref(), Some("e"));
    let server = Server::in_memory([reply(401, r#"{"code":"c"}"#)]);
    assert_eq!(code(server.json()).await.as_deref(), Some("c"));
}

#[tokio::test(start_paused = true)]
async fn fields_are_read_from_their_configured_paths() {
    let response = r#"{"data":{"jwt":"A2","next":{"value":"R2"},"ttl_ms":"60000"},"jwt":"wrong","ok":true}"#;
    let server = Server::in_memory([reply(201, response)]);
    let endpoint = server
        .json()
        .access_token_path("/data/jwt")
        .new_refresh_token_path("/data/next/value")
        .lifetime(Lifetime::milliseconds("/data/ttl_ms"));
    let expected = Classified::Token {
        header: "Bearer A2".into(),
        lifetime: Some(Duration::from_secs(60)),
        refresh_token: Some("R2".into()),
        warnings: 0,
    };
    assert_eq!(classify(Session::builder(endpoint.clone())).await, expected);
    let error = endpoint.access_token_path("/data/jwt/deeper").refresh(r1()).await.unwrap_err();
    assert!(error.is_transient());
}

#[tokio::test(start_paused = true)]
async fn errors_of_a_backend_can_be_classified() {
    let server = Server::in_memory([error(403, "session_expired"), reply(419, "")]);
    let classifier = ErrorClassifier::new().code("session_expired", FailureKind::GrantEnded);
    let status = http::StatusCode::from_u16(419).unwrap();
    let endpoint = server
        .json()
        .error_classifier(classifier)
        .error_classifier(ErrorClassifier::new().status(status.as_u16(), FailureKind::GrantEnded));
    assert!(endpoint.refresh(r1()).await.unwrap_err().is_grant_ended());
    assert!(endpoint.refresh(r1()).await.unwrap_err().is_grant_ended());
    // Without a classifier no 4xx ends a grant.
    assert!(server.json().refresh(r1()).await.unwrap_err().is_transient());
}
