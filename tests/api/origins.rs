//! A token goes only where it belongs.

use std::sync::{Arc, Mutex};

use http::{HeaderValue, header::AUTHORIZATION};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, Error, Origin, Session};

use crate::support::{BoxError, endpoint, expired, get_from, token};

type Sent = Arc<Mutex<Vec<Option<HeaderValue>>>>;

fn layered<R>(
    layer: AuthLayer<R>,
) -> (impl tower::Service<http::Request<()>, Response = http::Response<()>, Error = BoxError> + Clone, Sent) {
    let sent = Sent::default();
    let record = Arc::clone(&sent);
    let server = service_fn(move |request: http::Request<()>| {
        record.lock().unwrap().push(request.headers().get(AUTHORIZATION).cloned());
        async { Ok::<_, BoxError>(http::Response::new(())) }
    });
    (layer.layer(server), sent)
}

fn layer() -> AuthLayer<tower_reauth::refresh::AnyRefresher> {
    let (refresher, _endpoint) = endpoint();
    AuthLayer::from_session(Session::builder(refresher).token(token("A1 R1 600")).build())
}

#[tokio::test]
async fn p15_b07_cleartext_to_another_host_is_an_error_before_anything_is_sent() {
    let (client, sent) = layered(layer());
    let error = client.oneshot(get_from("http://api.example.com/")).await.unwrap_err();
    let error = Error::find(&*error).unwrap();
    assert!(error.is_cleartext());
    assert!(error.to_string().contains("dangerous_allow_cleartext"));
    // An outer retry layer sees that a retry won't help.
    assert!(!error.is_retryable());
    assert!(sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn p15_b08_cleartext_is_sent_if_allowed_and_to_loopback() {
    let (client, sent) = layered(layer().dangerous_allow_cleartext(true));
    client.oneshot(get_from("http://api.example.com/")).await.unwrap();
    let (client, sent_here) = layered(layer());
    client.oneshot(get_from("http://127.0.0.1:8080/")).await.unwrap();
    for sent in [sent, sent_here] {
        assert_eq!(sent.lock().unwrap()[0].as_ref().unwrap(), "Bearer A1");
    }
}

#[tokio::test]
async fn p15_outside_the_allowed_origins_a_request_passes_untouched() {
    let (client, sent) = layered(layer().restrict_to_origin("https://api.example.com".parse().unwrap()));
    client.clone().oneshot(get_from("https://api.example.com/a")).await.unwrap();
    client.clone().oneshot(get_from("https://evil.example/a")).await.unwrap();
    client.oneshot(get_from("http://evil.example/a")).await.unwrap();
    let sent: Vec<_> = sent.lock().unwrap().iter().map(Option::is_some).collect();
    assert_eq!(sent, [true, false, false]);
}

#[tokio::test]
async fn p15_without_a_host_the_error_names_the_setting() {
    let (client, sent) = layered(layer());
    let error = client.oneshot(get_from("/path")).await.unwrap_err();
    assert!(Error::find(&*error).unwrap().is_missing_host());
    assert!(error.to_string().contains("default_origin"));
    assert!(sent.lock().unwrap().is_empty());
    let (client, sent) = layered(layer().default_origin("https://api.example.com".parse().unwrap()));
    client.oneshot(get_from("/path")).await.unwrap();
    assert!(sent.lock().unwrap()[0].is_some());
}

/// It starts no refresh either.
#[tokio::test(start_paused = true)]
async fn p15_a_request_to_another_origin_does_not_wait_for_a_token() {
    let (refresher, endpoint) = endpoint();
    let layer = AuthLayer::from_session(expired(refresher).build());
    let (client, sent) = layered(layer.restrict_to_origin("https://api.example.com".parse().unwrap()));
    client.oneshot(get_from("https://other.example/")).await.unwrap();
    assert_eq!((sent.lock().unwrap().len(), endpoint.call_count()), (1, 0));
}

/// As in a CONNECT request.
#[tokio::test(start_paused = true)]
async fn p15_the_host_of_a_uri_without_a_scheme_is_checked() {
    let origin: Origin = "https://api.example.com".parse().unwrap();
    let (client, sent) = layered(layer().restrict_to_origin(origin.clone()).default_origin(origin));
    let request = http::Request::connect("evil.example:443").body(()).unwrap();
    assert_eq!(request.uri().authority().unwrap().as_str(), "evil.example:443");
    client.oneshot(request).await.unwrap();
    assert_eq!(*sent.lock().unwrap(), [None]);
}
