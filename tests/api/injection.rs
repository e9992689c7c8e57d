//! Attaching the token.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, Error, Session, SessionBuilder, SkipAuth, Token, refresh::AnyRefresher};

use crate::support::{BoxError, endpoint, expired, get, token};

type Sent = Arc<Mutex<Vec<HeaderMap>>>;
type Server = tower::util::BoxCloneSyncService<http::Request<()>, http::Response<()>, BoxError>;

fn server() -> (Server, Sent) {
    let sent = Sent::default();
    let record = Arc::clone(&sent);
    let server = service_fn(move |request: http::Request<()>| {
        record.lock().unwrap().push(request.headers().clone());
        async { Ok::<_, BoxError>(http::Response::new(())) }
    });
    (Server::new(server), sent)
}

fn builder(token: Token) -> SessionBuilder {
    let (refresher, _endpoint) = endpoint();
    Session::builder(refresher).token(token)
}

fn layer(token: Token) -> AuthLayer<AnyRefresher> {
    AuthLayer::from_session(builder(token).build())
}

#[tokio::test]
async fn b01_b02_each_request_carries_exactly_the_token() {
    let (server, sent) = server();
    let (refresher, endpoint) = endpoint();
    let layer = AuthLayer::from_session(Session::builder(refresher).token(token("A1 R1 600")).build());
    let client = layer.layer(server);
    for _ in 0..3 {
        client.clone().oneshot(get()).await.unwrap();
    }
    for headers in sent.lock().unwrap().iter() {
        let values: Vec<_> = headers.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(values, ["Bearer A1"]);
        assert!(values[0].is_sensitive());
    }
    assert_eq!(endpoint.call_count(), 0);
}

#[tokio::test]
async fn b03_c91_a_request_keeps_its_own_header_unless_overridden() {
    for (overriding, expected) in [(false, "Basic own"), (true, "Bearer A1")] {
        let (server, sent) = server();
        let client = layer(token("A1 R1 600")).override_existing(overriding).layer(server);
        let mut request = get();
        request.headers_mut().append(AUTHORIZATION, HeaderValue::from_static("Basic own"));
        client.oneshot(request).await.unwrap();
        let sent = sent.lock().unwrap();
        let values: Vec<_> = sent[0].get_all(AUTHORIZATION).iter().collect();
        assert_eq!(values, [expected]);
    }
}

/// Several values keep their order.
#[tokio::test]
async fn p16_b03_several_values_of_the_request_are_kept_or_replaced_together() {
    for (overriding, expected) in
        [(false, vec!["Basic one", "Basic two", "Basic three"]), (true, vec!["Bearer A1"])]
    {
        let (server, sent) = server();
        let client = layer(token("A1 R1 600")).override_existing(overriding).layer(server);
        let mut request = get();
        for value in ["Basic one", "Basic two", "Basic three"] {
            request.headers_mut().append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        request.headers_mut().append("x-after", HeaderValue::from_static("1"));
        client.oneshot(request).await.unwrap();
        let sent = sent.lock().unwrap();
        let values: Vec<_> = sent[0].get_all(AUTHORIZATION).iter().collect();
        assert_eq!(values, expected);
        assert_eq!(sent[0].len(), expected.len() + 1);
    }
}

/// Neither needs a token.
#[tokio::test(start_paused = true)]
async fn c91_b13_requests_with_their_own_header_or_skip_auth_do_not_wait() {
    let (server, sent) = server();
    let (refresher, endpoint) = endpoint();
    let client = AuthLayer::from_session(expired(refresher).build()).layer(server);
    let mut own = get();
    own.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Basic own"));
    client.clone().oneshot(own).await.unwrap();
    let mut marked = get();
    marked.extensions_mut().insert(SkipAuth);
    client.oneshot(marked).await.unwrap();
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0][AUTHORIZATION], "Basic own");
    assert!(!sent[1].contains_key(AUTHORIZATION));
    assert_eq!(endpoint.call_count(), 0);
}

#[tokio::test]
async fn b04_header_name_and_scheme_can_be_set() {
    let (server, sent) = server();
    let token = Token::builder("A1").scheme("dpop").build().unwrap();
    let session = builder(token).header(HeaderName::from_static("x-api-authorization"), Token::header_value);
    let client = session.build().layer().layer(server);
    let mut request = get();
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Basic own"));
    client.oneshot(request).await.unwrap();
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0]["x-api-authorization"], "DPoP A1");
    assert_eq!(sent[0][AUTHORIZATION], "Basic own");
}

#[tokio::test(start_paused = true)]
async fn b10_b11_a_signed_out_request_fails_or_is_sent_without_a_token() {
    let (refresher, endpoint) = endpoint();
    let session = Session::builder(refresher).signed_out().build();
    let (strict, sent) = server();
    let client = AuthLayer::from_session(session.clone()).layer(strict);
    let error = client.oneshot(get()).await.unwrap_err();
    assert!(Error::find(&*error).unwrap().is_signed_out());
    assert!(sent.lock().unwrap().is_empty());
    let (lenient, sent) = server();
    let client = AuthLayer::from_session(session).allow_unauthenticated(true).layer(lenient);
    client.oneshot(get()).await.unwrap();
    assert!(!sent.lock().unwrap()[0].contains_key(AUTHORIZATION));
    assert_eq!(endpoint.call_count(), 0);
}

/// 20 KB.
#[tokio::test]
async fn c97_a_very_large_token_is_sent_unchanged() {
    let large = "x".repeat(20_000);
    let (server, sent) = server();
    layer(Token::try_new(large.clone()).unwrap()).layer(server).oneshot(get()).await.unwrap();
    assert_eq!(sent.lock().unwrap()[0][AUTHORIZATION].len(), "Bearer ".len() + large.len());
}

/// A full header map doesn't panic.
#[tokio::test]
async fn a_request_with_too_many_headers_is_a_typed_error() {
    let (server, sent) = server();
    let mut request = get();
    for index in 0..24_576 {
        let name = HeaderName::try_from(format!("x-{index}")).unwrap();
        if request.headers_mut().try_insert(name, HeaderValue::from_static("1")).is_err() {
            break;
        }
    }
    let error = layer(token("A1 R1 600")).layer(server).oneshot(request).await.unwrap_err();
    assert!(!Error::find(&*error).unwrap().is_retryable());
    assert_eq!(error.to_string(), "too many headers in the request");
    assert!(sent.lock().unwrap().is_empty());
}

/// The type of the service doesn't name the refresher, which may be a closure.
#[tokio::test]
async fn a_service_can_be_a_field_of_a_struct() {
    struct App {
        http: tower_reauth::Auth<Server>,
    }

    let (server, _sent) = server();
    let refresher = tower_reauth::refresh_fn(|_| async { Ok(token("A1 R1 600")) });
    let app = App { http: AuthLayer::new(refresher).layer(server) };
    app.http.clone().oneshot(get()).await.unwrap();
    assert_eq!(app.http.session().unwrap().status().generation(), 1);
}

/// It fails because there is no token.
#[tokio::test]
async fn b127_a_request_that_is_not_sent_drops_its_body_once() {
    struct Body(Arc<std::sync::atomic::AtomicUsize>);

    impl Drop for Body {
        fn drop(&mut self) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).signed_out().build();
    let server = service_fn(|_: http::Request<Body>| async { Ok::<_, BoxError>(http::Response::new(())) });
    let dropped = Arc::default();
    let request = http::Request::get("https://api.example.com/").body(Body(Arc::clone(&dropped))).unwrap();
    let client = AuthLayer::from_session(session).with_replay(tower_reauth::replay::NoReplay).layer(server);
    client.oneshot(request).await.unwrap_err();
    assert_eq!(dropped.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn d35_an_accepted_request_that_only_waited_has_no_report() {
    let (server, sent) = server();
    let (refresher, mut endpoint) = endpoint();
    let client = expired(refresher).build().layer().layer(server);
    let call = tokio::spawn(client.oneshot(get()));
    endpoint.next_call().await.succeed("A2 R2 600");
    let response = call.await.unwrap().unwrap();
    assert_eq!(sent.lock().unwrap()[0][AUTHORIZATION], "Bearer A2");
    assert!(response.extensions().get::<tower_reauth::future::AuthReport>().is_none());
}
