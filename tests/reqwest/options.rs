//! Requests with options of their own, and other ways to write them.

use http::{Request, StatusCode, header::HeaderMap};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_reauth::{SkipAuth, reqwest::reqwest_service};

use crate::{
    sender::Kind,
    server::{Server, builder, http1, session},
};

#[tokio::test]
async fn a_request_is_sent_through_the_client_that_created_it() {
    let server = Server::accepting_a2().await;
    let headers = HeaderMap::from_iter([("x-client".parse().unwrap(), "own".parse().unwrap())]);
    let own = builder().default_headers(headers).build().unwrap();
    let auth = session().0.layer().reqwest(http1());
    let response = auth.send(own.get(server.url("/"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(server.received().iter().all(|request| request.headers["x-client"] == "own"));
}

#[tokio::test]
async fn a_request_is_executed_by_the_clients_own() {
    let server = Server::accepting_a2().await;
    let auth = session().0.layer().reqwest(http1());
    let request = auth.client().post(server.url("/")).body("body").build().unwrap();
    assert_eq!(auth.execute(request).await.unwrap().text().await.unwrap(), "body");
    assert_eq!(auth.session().status().generation(), 2);
}

#[tokio::test]
async fn a_request_with_an_authorization_of_its_own_is_left_alone() {
    for kind in Kind::ALL {
        let server = Server::accepting_a2().await;
        let client = http1();
        let request = client.get(server.url("/")).bearer_auth("own");
        let response = kind.sender(session().0.layer(), &client).send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{kind:?}");
        assert_eq!(server.tokens(), ["own"], "{kind:?}");
    }
}

#[tokio::test]
async fn p15_a_request_to_an_origin_that_is_not_allowed_has_no_token() {
    for kind in Kind::ALL {
        let server = Server::accepting_a2().await;
        let layer = session().0.layer().restrict_to_origin("https://api.example.com".parse().unwrap());
        let client = http1();
        kind.sender(layer, &client).send(client.get(server.url("/"))).await.unwrap();
        assert_eq!(server.tokens(), ["-"], "{kind:?}");
    }
}

/// Options are extensions, which reqwest keeps if a request is made from one of the http crate.
#[tokio::test]
async fn options_come_with_a_request_of_the_http_crate() {
    let server = Server::accepting_a2().await;
    let auth = session().0.layer().reqwest(http1());
    let request = Request::get(server.url("/")).extension(SkipAuth).body("").unwrap();
    auth.execute(request.try_into().unwrap()).await.unwrap();
    assert_eq!(server.tokens(), ["-"]);
}

/// `ready` doesn't say what is sent: the layer has to accept a single type of body.
#[tokio::test]
async fn the_type_of_a_request_needs_no_annotation() {
    let server = Server::accepting_a2().await;
    let client = http1();
    let mut service = ServiceBuilder::new()
        .concurrency_limit(1)
        .layer(session().0.layer().for_reqwest())
        .concurrency_limit(1)
        .service(reqwest_service(client.clone()));
    let request = client.get(server.url("/")).build().unwrap().try_into().unwrap();
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
