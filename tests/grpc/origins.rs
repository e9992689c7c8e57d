//! An origin restriction and a default origin bind a gRPC channel, too.
//!
//! The URI of a call has no host, unless the client is created with an origin.

use tonic::{Code, Status};
use tower_reauth::{AuthLayer, Error};

use crate::{
    greeter::greeter_client::GreeterClient,
    setup::{Setup, name},
};

const OTHER: &str = "https://api.example.com";

/// Makes one call, by a client that names the server as its origin or not. Returns its outcome and the tokens
/// that were sent.
async fn greet(
    configure: impl FnOnce(AuthLayer, &str) -> AuthLayer,
    names_server: bool,
) -> (Result<(), Status>, Vec<String>) {
    let setup = Setup::new("A1 R1 600").await;
    setup.state().accept("A1");
    let service = configure(setup.session.layer(), &setup.server.url).grpc(setup.channel.clone());
    let mut client = match names_server {
        true => GreeterClient::with_origin(service, setup.server.url.parse().unwrap()),
        false => GreeterClient::new(service),
    };
    let outcome = client.greet(name("Ada")).await.map(|_| ());
    (outcome, setup.state().tokens())
}

fn restricted_to(origin: &str) -> impl Fn(AuthLayer, &str) -> AuthLayer {
    move |layer, _| layer.restrict_to_origin(origin.parse().unwrap())
}

#[tokio::test]
async fn d38_a_restricted_layer_does_not_trust_a_channel_whose_origin_it_does_not_know() {
    let (outcome, sent) = greet(restricted_to(OTHER), false).await;
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(Error::find(&status).unwrap().is_missing_host());
    assert!(status.message().contains("default_origin"));
    assert!(sent.is_empty());
}

#[tokio::test]
async fn d38_a_restricted_layer_sends_no_token_to_another_origin() {
    // The client's origin, and the layer's default.
    let (outcome, by_uri) = greet(restricted_to(OTHER), true).await;
    assert_eq!(outcome.unwrap_err().code(), Code::Unauthenticated, "the server wants a token");
    let (outcome, by_default) =
        greet(|layer, url| restricted_to(OTHER)(layer, url).default_origin(url.parse().unwrap()), false)
            .await;
    assert_eq!(outcome.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!((by_uri, by_default), (vec!["-".to_owned()], vec!["-".to_owned()]));
}

#[tokio::test]
async fn d38_a_default_origin_in_cleartext_is_an_error() {
    let configure = |layer: AuthLayer, _: &str| layer.default_origin("http://other.example".parse().unwrap());
    let (outcome, sent) = greet(configure, false).await;
    assert!(Error::find(&outcome.unwrap_err()).unwrap().is_cleartext());
    assert!(sent.is_empty());
}

#[tokio::test]
async fn d38_a_token_goes_to_the_origin_that_was_named() {
    let (outcome, sent) = greet(|layer, url| restricted_to(url)(layer, url), true).await;
    outcome.unwrap();
    assert_eq!(sent, ["A1"]);
    let (outcome, sent) =
        greet(|layer, url| restricted_to(url)(layer, url).default_origin(url.parse().unwrap()), false).await;
    outcome.unwrap();
    assert_eq!(sent, ["A1"]);
}

/// Cleartext included, as the URI of a call doesn't show it.
#[tokio::test]
async fn d38_with_neither_the_channel_is_trusted() {
    let (outcome, sent) = greet(|layer, _| layer, false).await;
    outcome.unwrap();
    assert_eq!(sent, ["A1"]);
}
