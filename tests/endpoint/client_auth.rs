//! Client authentication on the wire.

use std::sync::atomic::{AtomicU32, Ordering};

use http::{HeaderName, HeaderValue};
use tower_reauth::{Refresher, endpoint::EndpointError, oauth2};

use crate::token_endpoint::{RecordedRequest, Server, TOKEN, r1, reply};

async fn token_request(set: impl FnOnce(oauth2::Client) -> oauth2::Client) -> RecordedRequest {
    let server = Server::on_loopback([reply(200, TOKEN)]).await;
    set(server.client()).refresh_token_grant().refresh(r1()).await.unwrap();
    let request = server.requests().remove(0);
    assert_eq!((request.method.as_str(), request.uri.to_string().as_str()), ("POST", "/token"));
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(request.header("accept"), "application/json");
    assert_eq!(request.header("content-length"), request.body.len().to_string());
    request
}

const GRANT: &str = "grant_type=refresh_token&refresh_token=R1";

#[tokio::test]
async fn a_public_client_sends_its_id() {
    let request = token_request(|client| client).await;
    assert_eq!(request.body, format!("{GRANT}&client_id=app"));
    assert!(!request.headers.contains_key("authorization"));
}

#[tokio::test]
async fn client_secret_basic_is_only_in_the_header() {
    let request = token_request(|client| client.client_secret_basic("s e:c+r%")).await;
    assert_eq!(request.body, GRANT);
    // RFC 6749 §2.3.1: `app:s+e%3Ac%2Br%25`.
    assert_eq!(request.header("authorization"), "Basic YXBwOnMrZSUzQWMlMkJyJTI1");
}

#[tokio::test]
async fn client_secret_post_is_only_in_the_body() {
    let request = token_request(|client| client.client_secret_post("s&=ü")).await;
    assert_eq!(request.body, format!("{GRANT}&client_id=app&client_secret=s%26%3D%C3%BC"));
    assert!(!request.headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_assertion_is_made_for_each_request() {
    let server = Server::on_loopback([reply(200, TOKEN)]).await;
    let made = AtomicU32::new(0);
    let client = server.client().client_assertion(move || {
        Ok::<_, std::io::Error>(format!("jwt{}", made.fetch_add(1, Ordering::SeqCst)))
    });
    let refresher = client.refresh_token_grant();
    for n in 0..2 {
        refresher.refresh(r1()).await.unwrap();
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let body = format!("{GRANT}&client_id=app&client_assertion_type={kind}&client_assertion=jwt{n}");
        assert_eq!(server.requests()[n].body, body);
        assert!(!server.requests()[n].headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn an_assertion_that_cannot_be_made_is_a_misconfiguration_and_nothing_is_sent() {
    let server = Server::on_loopback([reply(200, TOKEN)]).await;
    let client = server.client().client_assertion(|| Err::<String, _>("no key"));
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_misconfigured());
    let source = std::error::Error::source(EndpointError::find(&error).unwrap()).unwrap();
    assert_eq!(source.to_string(), "no key");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn the_last_authentication_method_wins() {
    let request = token_request(|client| client.client_secret_basic("one").client_secret_post("two")).await;
    assert_eq!(request.body, format!("{GRANT}&client_id=app&client_secret=two"));
    assert!(!request.headers.contains_key("authorization"));
}

#[tokio::test]
async fn json_is_posted_with_its_fields_and_headers() {
    let server = Server::on_loopback([reply(200, TOKEN)]).await;
    let endpoint = server
        .json()
        .refresh_token_field("token")
        .extra_field("device", "d\"7\n")
        .header(HeaderName::from_static("x-api-key"), HeaderValue::from_static("k"))
        .header(HeaderName::from_static("accept"), HeaderValue::from_static("application/vnd.api+json"));
    endpoint.refresh(r1()).await.unwrap();
    endpoint.without_refresh_token().refresh(r1()).await.unwrap();
    let request = server.requests();
    assert_eq!((request[0].method.as_str(), request[0].uri.to_string().as_str()), ("POST", "/session"));
    assert_eq!(request[0].body, r#"{"token":"R1","device":"d\"7\n"}"#);
    assert_eq!(request[0].header("content-type"), "application/json");
    assert_eq!(
        (request[0].header("x-api-key"), request[0].header("accept")),
        ("k", "application/vnd.api+json")
    );
    assert_eq!(request[1].body, r#"{"device":"d\"7\n"}"#);
}
