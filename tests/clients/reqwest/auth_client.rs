//! What is particular to `AuthClient`, and its error.

use std::{future::pending, time::Duration};

use http::{StatusCode, header::HeaderMap};
use reqwest::RequestBuilder;
use tokio::time::timeout;
use tower::Layer;
use tower_reauth::{
    Error, RefreshError, Session, refresh_fn,
    reqwest::{AuthClient, SendError, reqwest_service},
};

use crate::{
    client::LONG,
    loopback::{Reply, Server},
    session::{failing, session},
    support::{sources, token},
};

use super::{builder, client};

#[tokio::test]
async fn a_request_is_sent_through_the_client_that_created_it() {
    let server = Server::accepting_a2().await;
    let headers = HeaderMap::from_iter([("x-client".parse().unwrap(), "own".parse().unwrap())]);
    let own = builder().default_headers(headers).build().unwrap();
    let auth = session().0.layer().reqwest(client());
    let response = auth.send(own.get(server.url("/"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(server.received().iter().all(|request| request.headers["x-client"] == "own"));
}

#[tokio::test]
async fn a_request_is_executed_by_the_clients_own() {
    let server = Server::accepting_a2().await;
    let auth = session().0.layer().reqwest(client());
    let request = auth.client().post(server.url("/")).body("body").build().unwrap();
    assert_eq!(auth.execute(request).await.unwrap().text().await.unwrap(), "body");
    assert_eq!(auth.session().unwrap().status().generation(), 2);
}

#[tokio::test]
async fn an_invalid_builder_fails_as_it_does_without_the_layer() {
    let client = client();
    let auth = session().0.layer().reqwest(client.clone());
    let error = auth.send(client.get("http://[invalid")).await.unwrap_err();
    assert!(error.reqwest_error().is_some_and(reqwest::Error::is_builder), "{error:?}");
}

#[tokio::test]
async fn a_send_error_says_which_part_failed() {
    let client = client();
    let server = Server::accepting_a2().await;
    let auth = failing(|| RefreshError::grant_ended("gone")).layer().reqwest(client.clone());
    let error: SendError = auth.send(client.get(server.url("/"))).await.unwrap_err();
    assert!(error.auth_error().is_some_and(Error::is_grant_ended) && error.reqwest_error().is_none());
    let shown: Vec<_> = sources(&error).map(ToString::to_string).collect();
    assert_eq!(
        shown[..2],
        ["failed to authorize the request", "the grant is no longer valid: sign in again"]
    );
}

async fn error(auth: &AuthClient, request: RequestBuilder) -> SendError {
    timeout(LONG, auth.send(request)).await.expect("no hang").unwrap_err()
}

#[tokio::test]
async fn a_send_error_knows_all_timeouts() {
    const SHORT: Duration = Duration::from_millis(20);
    let server = Server::start(|_| pending::<Reply>()).await;
    let reqwest = client();
    let with_timeout = reqwest.get(server.url("/")).timeout(SHORT);

    let waiting = Session::builder(refresh_fn(|_| pending())).build();
    let auth = waiting.layer().wait_timeout(SHORT).reqwest(client());
    let timed_out = error(&auth, reqwest.get(server.url("/"))).await;
    assert!(timed_out.is_timeout() && timed_out.auth_error().is_some_and(Error::is_timeout), "{timed_out:?}");

    let timed_out = error(&waiting.layer().reqwest(client()), with_timeout.try_clone().unwrap()).await;
    assert!(timed_out.is_timeout() && timed_out.auth_error().is_some(), "{timed_out:?}");

    let auth = session().0.layer().reqwest(client());
    let timed_out = error(&auth, with_timeout).await;
    assert!(timed_out.is_timeout() && timed_out.reqwest_error().is_some(), "{timed_out:?}");

    let reqwest = builder().timeout(SHORT).build().unwrap();
    let timed_out = error(&auth, reqwest.get(server.url("/"))).await;
    assert!(timed_out.is_timeout() && timed_out.reqwest_error().is_some(), "{timed_out:?}");
}

#[tokio::test]
async fn p14_no_debug_output_shows_the_token() {
    let refresher = refresh_fn(|_| async { Err(RefreshError::transient("down")) });
    let session = Session::builder(refresher).token(token("SENTINEL SENTINEL -")).build();
    let auth = session.layer().reqwest(client());
    let unreachable = "https://api.example.invalid/";
    let error = auth.send(auth.client().get(unreachable)).await.unwrap_err();
    let layer = session.layer().for_reqwest();
    let service = layer.layer(reqwest_service(client()));
    let shown = format!("{auth:?} {error:?} {layer:?} {service:?}");
    assert!(!shown.contains("SENTINEL"), "{shown}");
    assert!(shown.contains("AuthClient"), "{shown}");
}
