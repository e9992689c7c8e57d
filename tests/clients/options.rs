//! Requests that need no token, have their own, or must not have the session's.

use std::{sync::atomic::Ordering, time::Duration};

use http::{StatusCode, Version, header};
use tower_reauth::{MinLifetime, SkipAuth};

use crate::{
    client::{Client, get, with_option},
    loopback::Server,
    session::session,
};

async fn b03_a_request_with_an_authorization_of_its_own_is_left_alone<C: Client>() {
    let server = Server::accepting_a2().await;
    let client = C::new(session().0.layer(), Version::HTTP_11);
    let mut request = get(server.url("/"));
    request.headers_mut().insert(header::AUTHORIZATION, "Bearer own".parse().unwrap());
    assert_eq!(client.send(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(server.tokens(), ["own"]);
}

async fn p15_a_request_to_an_origin_that_is_not_allowed_has_no_token<C: Client>() {
    let server = Server::accepting_a2().await;
    let layer = session().0.layer().restrict_to_origin("https://api.example.com".parse().unwrap());
    C::new(layer, Version::HTTP_11).send(get(server.url("/"))).await.unwrap();
    assert_eq!(server.tokens(), ["-"]);
}

async fn options_are_extensions_of_a_request<C: Client>() {
    let server = Server::accepting_a2().await;
    let (session, refreshes) = session();
    let client = C::new(session.layer(), Version::HTTP_11);
    client.send(with_option(get(server.url("/")), SkipAuth)).await.unwrap();
    let hour = MinLifetime::new(Duration::from_secs(3600));
    client.send(with_option(get(server.url("/")), hour)).await.unwrap();
    assert_eq!(server.tokens(), ["-", "A2"]);
    assert_eq!(refreshes.load(Ordering::SeqCst), 1);
}

on_each_client!(
    #[tokio::test(flavor = "multi_thread")]
    b03_a_request_with_an_authorization_of_its_own_is_left_alone,
    p15_a_request_to_an_origin_that_is_not_allowed_has_no_token,
    options_are_extensions_of_a_request,
);
