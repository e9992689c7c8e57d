//! Token requests that a reqwest client sends.

use http::StatusCode;
use tokio::net::TcpListener;
use tower_reauth::{
    Session, Token,
    json::{JsonEndpoint, TokenPlace},
    oauth2,
    reqwest::token_transport,
};

use crate::loopback::{Reply, Server, if_a2};

use super::{builder, client, redirects::redirect};

async fn start(token_response: impl Fn() -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        let is_token = request.path == "/token";
        let reply = if is_token { token_response() } else { if_a2(&request, Reply::default()) };
        async move { reply }
    })
    .await
}

fn session(server: &Server) -> Session {
    let transport = token_transport(builder()).unwrap();
    let url = server.url("/token");
    let provider = oauth2::Client::try_with_transport(&*url, "my-app", transport).unwrap();
    let token = Token::builder("A1").refresh_token("R1").build().unwrap();
    Session::builder(provider.refresh_token_grant()).token(token).build()
}

#[tokio::test]
async fn an_oauth2_client_sends_its_requests_through_reqwest() {
    let server =
        start(|| Reply::new(r#"{"access_token":"A2","token_type":"Bearer","expires_in":600}"#.into())).await;
    let client = client();
    let response =
        session(&server).layer().reqwest(client.clone()).send(client.get(server.url("/"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let received = server.received();
    let paths: Vec<_> = received.iter().map(|request| &*request.path).collect();
    assert_eq!(paths, ["/", "/token", "/"]);
    assert_eq!(received[1].body, "grant_type=refresh_token&refresh_token=R1&client_id=my-app");
}

/// Neither by reqwest, which would make a GET of the first, nor by the endpoint.
#[tokio::test]
async fn p15_a_token_request_is_not_redirected_to_another_origin() {
    for to in [302, 307] {
        let elsewhere = Server::start(|_| async { Reply::default() }).await;
        let location = elsewhere.url("/token");
        let server = start(move || redirect(to, &location)).await;
        session(&server).refresh().await.unwrap_err();
        assert_eq!((server.received().len(), elsewhere.received().len()), (1, 0), "{to}");
    }
}

/// The body of a token request records whether it was sent.
#[tokio::test]
async fn c19_a_token_request_that_reached_no_server_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    drop(listener);
    let transport = || token_transport(builder()).unwrap();
    let oauth2 =
        oauth2::Client::try_with_transport(&*url, "my-app", transport()).unwrap().refresh_token_grant();
    let json = JsonEndpoint::try_with_transport(&*url, transport()).unwrap();
    let by_get = json.clone().get().send_refresh_token(TokenPlace::bearer());
    let token = || Token::builder("A1").refresh_token("R1").build().unwrap();
    for session in [
        Session::builder(oauth2).token(token()).build(),
        Session::builder(json).token(token()).build(),
        Session::builder(by_get).token(token()).build(),
    ] {
        let error = session.refresh().await.unwrap_err();
        assert!(error.is_transient() && !error.is_outcome_unknown(), "{error:?}");
    }
}
