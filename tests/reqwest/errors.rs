//! What callers get if a request can't be authorized or sent.

use tokio::net::TcpListener;
use tower::Layer;
use tower_reauth::{
    Error, RefreshError, Session, Token, refresh_fn,
    reqwest::{SendError, reqwest_service},
};

use crate::{
    sender::Kind,
    server::{Server, failing, http1, session},
    support::sources,
};

/// The reqwest error in a chain of sources. reqwest-middleware's error holds it, but isn't its source.
fn reqwest_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a reqwest::Error> {
    sources(error).find_map(|error| match error.downcast_ref() {
        Some(reqwest_middleware::Error::Reqwest(error)) => Some(error),
        _ => error.downcast_ref(),
    })
}

#[tokio::test]
async fn b79_the_error_is_found_however_the_request_was_sent() {
    for kind in Kind::ALL {
        let server = Server::accepting_a2().await;
        let client = http1();
        let sender = kind.sender(failing(|| RefreshError::grant_ended("gone")).layer(), &client);
        let error = sender.send(client.get(server.url("/"))).await.unwrap_err();
        assert!(Error::find(&*error).is_some_and(Error::is_grant_ended), "{kind:?}: {error:?}");
        assert!(reqwest_error(&*error).is_none(), "{kind:?}");
        assert!(server.received().is_empty(), "{kind:?}");
    }
}

#[tokio::test]
async fn p15_no_token_is_sent_over_cleartext_to_another_machine() {
    for kind in Kind::ALL {
        let client = http1();
        let sender = kind.sender(session().0.layer(), &client);
        let error = sender.send(client.get("http://api.example.com/")).await.unwrap_err();
        assert!(Error::find(&*error).is_some_and(Error::is_cleartext), "{kind:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_failure_of_reqwest_is_its_own_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    for kind in Kind::ALL {
        let client = http1();
        let sender = kind.sender(session().0.layer(), &client);
        let error = sender.send(client.get(&closed)).await.unwrap_err();
        assert!(reqwest_error(&*error).is_some_and(reqwest::Error::is_connect), "{kind:?}: {error:?}");
        assert!(Error::find(&*error).is_none(), "{kind:?}");
    }
}

#[tokio::test]
async fn an_invalid_builder_fails_as_it_does_without_the_layer() {
    let client = http1();
    let auth = session().0.layer().reqwest(client.clone());
    let error = auth.send(client.get("http://[invalid")).await.unwrap_err();
    assert!(error.reqwest_error().is_some_and(reqwest::Error::is_builder), "{error:?}");
}

#[tokio::test]
async fn a_send_error_says_which_part_failed() {
    let client = http1();
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

#[tokio::test]
async fn p14_no_debug_output_shows_the_token() {
    let token = Token::builder("SENTINEL").refresh_token("SENTINEL").build().unwrap();
    let session =
        Session::builder(refresh_fn(|_| async { Err(RefreshError::transient("down")) })).token(token).build();
    let auth = session.layer().reqwest(http1());
    let unreachable = "https://api.example.invalid/";
    let error = auth.send(auth.client().get(unreachable)).await.unwrap_err();
    let layer = session.layer().for_reqwest();
    let service = layer.layer(reqwest_service(http1()));
    let shown = format!("{auth:?} {error:?} {layer:?} {service:?}");
    assert!(!shown.contains("SENTINEL"), "{shown}");
    assert!(shown.contains("AuthClient"), "{shown}");
}
