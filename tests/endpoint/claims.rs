//! Claims that a server requires in a token.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, Session, oauth2};

use crate::{
    support::{BoxError, clock, get, token},
    token_endpoint::{RecordedRequest, Server, TOKEN, reply},
};

const CLAIMS: &str = r#"{"access_token":{"nbf":{"essential":true}}}"#;

/// The token request that follows a rejection because of missing claims.
async fn token_request(set: impl FnOnce(oauth2::Client) -> oauth2::Client) -> RecordedRequest {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let refresher = set(server.client()).refresh_token_grant();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let api = service_fn(|request: Request<()>| async move {
        let mut response = Response::new(());
        if request.headers()["authorization"] == "Bearer A1" {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            let encoded = STANDARD.encode(CLAIMS);
            let challenge = format!(r#"Bearer error="insufficient_claims", claims="{encoded}""#);
            response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
        }
        Ok::<_, BoxError>(response)
    });
    let response = AuthLayer::from_session(session.clone()).layer(api).oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 200);
    // They are requested once.
    session.refresh().await.unwrap();
    assert_eq!(server.requests()[1].param("claims"), None);
    server.requests().remove(0)
}

#[tokio::test(start_paused = true)]
async fn b120_b122_missing_claims_are_requested_once_if_enabled() {
    assert_eq!(token_request(|client| client).await.param("claims"), None);
    assert_eq!(token_request(oauth2::Client::request_missing_claims).await.param("claims").unwrap(), CLAIMS);
}
