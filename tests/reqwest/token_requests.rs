//! Token requests that a reqwest client sends.

use http::StatusCode;
use reqwest::redirect::Policy;
use tower_reauth::{Session, Token, oauth2, reqwest::reqwest_service};

use crate::server::{Reply, Server, builder, http1, if_a2, redirect};

async fn start(token_response: fn() -> Reply) -> Server {
    Server::start(move |request| async move {
        if request.path == "/token" { token_response() } else { if_a2(&request, Reply::default()) }
    })
    .await
}

fn session(server: &Server) -> Session {
    let client = builder().redirect(Policy::none()).build().unwrap();
    let url = server.url("/token");
    let provider = oauth2::Client::try_with_transport(&*url, "my-app", reqwest_service(client)).unwrap();
    let token = Token::builder("A1").refresh_token("R1").build().unwrap();
    Session::builder(provider.refresh_token_grant()).token(token).build()
}

#[tokio::test]
async fn an_oauth2_client_sends_its_requests_through_reqwest() {
    let server =
        start(|| Reply::new(r#"{"access_token":"A2","token_type":"Bearer","expires_in":600}"#.into())).await;
    let client = http1();
    let response =
        session(&server).layer().reqwest(client.clone()).send(client.get(server.url("/"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let received = server.received();
    let paths: Vec<_> = received.iter().map(|request| &*request.path).collect();
    assert_eq!(paths, ["/", "/token", "/"]);
    assert_eq!(received[1].body, "grant_type=refresh_token&refresh_token=R1&client_id=my-app");
}

/// Neither by reqwest nor by the endpoint.
#[tokio::test]
async fn p15_a_token_request_is_not_repeated_for_another_origin() {
    let server = start(|| redirect(307, "https://elsewhere.example.com/token")).await;
    let error = session(&server).refresh().await.unwrap_err();
    assert!(error.is_misconfigured() || error.is_transient(), "{error:?}");
    assert_eq!(server.received().len(), 1);
}
