//! The memory of tokens and secrets that the crate holds is wiped before it is freed.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    RefreshContext, RefreshError, Session, Token, endpoint::RequestBody, json::JsonEndpoint, oauth2,
};

use crate::inspecting::found_in_freed;

/// Makes a secret without leaving a copy behind.
fn secret(name: &str) -> String {
    let mut secret = String::with_capacity(100);
    secret.push_str("NEEDLE-");
    secret.push_str(name);
    secret
}

fn token() -> Token {
    let builder =
        Token::builder(secret("access")).refresh_token(secret("refresh")).extra("id_token", secret("id"));
    // An expiry makes another copy of the refresh token, and a change of the token one of each.
    let token = builder.refresh_token_expires_in(Duration::from_secs(3600)).build().unwrap();
    token.into_builder().scheme("DPoP").build().unwrap()
}

async fn refuse(_: RefreshContext) -> Result<Token, RefreshError> {
    Err(RefreshError::transient("unavailable"))
}

fn requests() {
    let session = Session::builder(tower_reauth::refresh_fn(refuse)).token(token()).build();
    let service = service_fn(|request: Request<Empty<Bytes>>| async move {
        assert!(request.headers().contains_key("authorization"));
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let service = tower_reauth::AuthLayer::from_session(session.clone()).layer(service);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for _ in 0..2 {
        let request = Request::get("https://api.example.com/").body(Empty::new()).unwrap();
        runtime.block_on(service.clone().oneshot(request)).unwrap();
    }
    drop(session.sign_out());
}

fn clients() {
    const URL: &str = "https://id.example.com/token";
    let transport = service_fn(|_: Request<RequestBody>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let client = || oauth2::Client::try_with_transport(URL, "web", transport).unwrap();
    drop(client().client_secret_basic(secret("client")).refresh_token_grant());
    drop(client().client_secret_post(secret("client")).extra_param("key", secret("param")));
    drop(JsonEndpoint::try_with_transport(URL, transport).unwrap().extra_field("key", secret("field")));
}

#[test]
fn p14_d61_tokens_and_secrets_that_are_held_are_wiped() {
    assert_eq!(found_in_freed(|| drop(secret("plain"))), 1, "a leak is found");
    for (name, run) in [("token", (|| drop(token())) as fn()), ("requests", requests), ("clients", clients)] {
        assert_eq!(found_in_freed(run), 0, "{name}");
    }
}
