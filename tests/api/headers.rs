//! Headers of the user's own that carry the token.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_reauth::{Session, SessionBuilder, Token};

use crate::support::{BoxError, clock, endpoint, expired, get, token};

type Sent = Arc<Mutex<Vec<HeaderMap>>>;

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const ACCOUNT: HeaderName = HeaderName::from_static("x-account-id");

/// Rejects the token A1.
fn server() -> (BoxCloneSyncService<Request<()>, Response<()>, BoxError>, Sent) {
    let sent = Sent::default();
    let record = Arc::clone(&sent);
    let server = service_fn(move |request: Request<()>| {
        let headers = request.into_parts().0.headers;
        let mut response = Response::new(());
        if headers.get(TOKEN).is_some_and(|token| token == "A1") {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        record.lock().unwrap().push(headers);
        async { Ok::<_, BoxError>(response) }
    });
    (BoxCloneSyncService::new(server), sent)
}

/// Sends the bare token, and the account if the token has one.
fn with_headers(builder: SessionBuilder) -> SessionBuilder {
    let account = |token: &Token| HeaderValue::from_str(token.extra("account")?).ok();
    builder.header(TOKEN, Token::raw_header_value).header(ACCOUNT, account)
}

#[tokio::test]
async fn d85_a_bare_token_is_sent_without_a_scheme() {
    let (refresher, _endpoint) = endpoint();
    let builder = Session::builder(refresher).token(token("A2 R2 600")).clock(clock());
    let session = builder.header(AUTHORIZATION, Token::raw_header_value).build();
    let (server, sent) = server();
    session.layer().layer(server).oneshot(get()).await.unwrap();
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0].get_all(AUTHORIZATION).iter().collect::<Vec<_>>(), ["A2"]);
    assert!(sent[0][AUTHORIZATION].is_sensitive());
}

/// Also by the retry of a rejected request: its token has no account.
#[tokio::test(start_paused = true)]
async fn d86_each_token_is_sent_with_its_own_headers() {
    let (refresher, mut endpoint) = endpoint();
    let first = Token::builder("A1").refresh_token("R1").extra("account", "one").build().unwrap();
    let session = with_headers(Session::builder(refresher).token(first).clock(clock())).build();
    let (server, sent) = server();
    let client = session.layer().layer(server);
    let call = tokio::spawn(client.clone().oneshot(get()));
    endpoint.next_call().await.succeed("A2 R2 600");
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
    session.set_token(Token::builder("A3").extra("account", "three").build().unwrap()).unwrap();
    client.clone().oneshot(get()).await.unwrap();
    session.sign_in(Token::builder("A4").extra("account", "four").build().unwrap());
    client.oneshot(get()).await.unwrap();
    let sent = sent.lock().unwrap();
    let text = |headers: &HeaderMap, name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let sent: Vec<_> = sent.iter().map(|headers| (text(headers, TOKEN), text(headers, ACCOUNT))).collect();
    let expected = |token: &str, account: Option<&str>| (Some(token.to_owned()), account.map(str::to_owned));
    assert_eq!(
        sent,
        [
            expected("A1", Some("one")),
            expected("A2", None),
            expected("A3", Some("three")),
            expected("A4", Some("four")),
        ]
    );
}

#[tokio::test]
async fn d86_headers_are_made_once_for_each_token() {
    let made = Arc::new(AtomicUsize::new(0));
    let (refresher, _endpoint) = endpoint();
    let builder = Session::builder(refresher).token(token("A2 R2 600")).clock(clock());
    let count = Arc::clone(&made);
    let session = builder
        .header(TOKEN, move |token| {
            count.fetch_add(1, Ordering::SeqCst);
            token.raw_header_value()
        })
        .build();
    let (server, _) = server();
    for _ in 0..10 {
        session.layer().layer(server.clone()).oneshot(get()).await.unwrap();
    }
    assert_eq!(made.load(Ordering::SeqCst), 1);
    let token = session.token().await.unwrap();
    let headers: Vec<_> = token.headers().collect();
    assert_eq!(headers, [(&TOKEN, &HeaderValue::from_static("A2"))]);
}

/// Its refresh has brought a token, which isn't lost.
#[tokio::test(start_paused = true)]
async fn p09_a_header_that_panics_is_left_out() {
    let (refresher, mut endpoint) = endpoint();
    let builder = with_headers(expired(refresher));
    let session = builder.header(HeaderName::from_static("x-panics"), |token| -> HeaderValue {
        panic!("{}", token.access_token().len())
    });
    let session = session.build();
    let (server, sent) = server();
    let call = tokio::spawn(session.layer().layer(server).oneshot(get()));
    endpoint.next_call().await.succeed("A2 R2 600");
    call.await.unwrap().unwrap();
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0].len(), 1);
    assert_eq!(sent[0][TOKEN], "A2");
}

/// Neither waits for a token.
#[tokio::test(start_paused = true)]
async fn b03_a_request_keeps_its_own_header_of_any_of_the_names() {
    let (refresher, endpoint) = endpoint();
    let session = with_headers(expired(refresher)).build();
    let (server, sent) = server();
    let client = session.layer().layer(server);
    for name in [TOKEN, ACCOUNT] {
        let mut request = get();
        request.headers_mut().insert(name, HeaderValue::from_static("own"));
        client.clone().oneshot(request).await.unwrap();
    }
    assert!(sent.lock().unwrap().iter().all(|headers| headers.len() == 1));
    assert_eq!(endpoint.call_count(), 0);
}

/// The request's own headers stay, and so does its response: the token wasn't sent.
#[tokio::test(start_paused = true)]
async fn d86_a_request_keeps_a_header_that_it_has_unless_that_is_overridden() {
    for overrides in [false, true] {
        let (refresher, _endpoint) = endpoint();
        let builder = Session::builder(refresher).token(token("A2 R2 600")).clock(clock());
        let session = builder.header(TOKEN, Token::raw_header_value).build();
        let (server, sent) = server();
        let mut request = get();
        request.headers_mut().insert(TOKEN, HeaderValue::from_static("own"));
        session.layer().override_existing(overrides).layer(server).oneshot(request).await.unwrap();
        let expected = if overrides { "A2" } else { "own" };
        assert_eq!(sent.lock().unwrap()[0].get_all(TOKEN).iter().collect::<Vec<_>>(), [expected]);
    }
}
