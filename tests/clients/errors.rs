//! What callers get if a request can't be authorized or sent.

use http::Version;
use tokio::net::TcpListener;
use tower_reauth::{Error, RefreshError};

use crate::{
    client::{Client, get},
    loopback::Server,
    session::{failing, session},
};

async fn b79_the_error_is_found_however_the_request_was_sent<C: Client>() {
    let server = Server::accepting_a2().await;
    let session = failing(|| RefreshError::grant_ended("gone"));
    let client = C::new(session.layer(), Version::HTTP_11);
    let error = client.send(get(server.url("/"))).await.unwrap_err();
    assert!(Error::find(&*error).is_some_and(Error::is_grant_ended), "{error:?}");
    assert!(server.received().is_empty());
}

async fn p15_no_token_is_sent_over_cleartext_to_another_machine<C: Client>() {
    let client = C::new(session().0.layer(), Version::HTTP_11);
    let error = client.send(get("http://api.example.com/")).await.unwrap_err();
    assert!(Error::find(&*error).is_some_and(Error::is_cleartext), "{error:?}");
}

async fn a_failure_of_the_client_is_its_own_error<C: Client>() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let client = C::new(session().0.layer(), Version::HTTP_11);
    let error = client.send(get(closed)).await.unwrap_err();
    assert!(C::is_connect(&error), "{error:?}");
    assert!(Error::find(&*error).is_none(), "{error:?}");
}

on_each_client!(
    #[tokio::test(flavor = "multi_thread")]
    b79_the_error_is_found_however_the_request_was_sent,
    p15_no_token_is_sent_over_cleartext_to_another_machine,
    a_failure_of_the_client_is_its_own_error,
);
