//! What is particular to `reqwest_service` in a stack of tower's layers.

use std::future::pending;

use http::{Request, StatusCode};
use tokio::sync::mpsc;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_reauth::reqwest::reqwest_service;

use crate::{
    loopback::{Reply, Server},
    session::session,
    timeouts::{HOUR, advance, slow_session},
};

use super::client;

/// `ready` doesn't say what is sent: the layer has to accept a single type of body.
#[tokio::test]
async fn the_type_of_a_request_needs_no_annotation() {
    let server = Server::accepting_a2().await;
    let client = client();
    let mut service = ServiceBuilder::new()
        .concurrency_limit(1)
        .layer(session().0.layer().for_reqwest())
        .concurrency_limit(1)
        .service(reqwest_service(client.clone()));
    let request = client.get(server.url("/")).build().unwrap().try_into().unwrap();
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_requests_timeout_bounds_each_attempt_but_not_the_wait() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let server = Server::start(move |_| {
        arrived.send(()).unwrap();
        pending::<Reply>()
    })
    .await;
    let (session, mut endpoint) = slow_session();
    let client = client();
    let service =
        ServiceBuilder::new().layer(session.layer().for_reqwest()).service(reqwest_service(client.clone()));
    let request = client.get(server.url("/")).timeout(HOUR).build().unwrap();
    let call = tokio::spawn(service.oneshot(Request::try_from(request).unwrap()));
    let refresh = endpoint.next_call().await;
    advance(2 * HOUR).await;
    refresh.succeed("A2 R2 600");
    arrivals.recv().await.unwrap();
    advance(HOUR).await;
    let error = call.await.unwrap().unwrap_err();
    assert!(error.downcast_ref().is_some_and(reqwest::Error::is_timeout), "{error:?}");
}
