//! What the docs advise.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, HOST},
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{Error, Session, refresh_fn};

use crate::support::{BoxError, clock, endpoint, expired, get, token};

/// In a gateway, a request comes with its sender's headers.
#[tokio::test]
async fn d37_d71_a_gateway_overrides_authorization_and_removes_host() {
    let received = Arc::<Mutex<Vec<HeaderMap>>>::default();
    let record = Arc::clone(&received);
    let upstream = service_fn(move |request: Request<()>| {
        record.lock().unwrap().push(request.headers().clone());
        async { Ok::<_, BoxError>(Response::new(())) }
    });
    let (refresher, _endpoint) = endpoint();
    let layer = Session::builder(refresher).token(token("A1 R1 600")).build().layer();
    let request = || {
        let mut request = get();
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer forged"));
        request.headers_mut().insert(HOST, HeaderValue::from_static("admin.example.com"));
        request
    };

    layer.clone().layer(upstream.clone()).oneshot(request()).await.unwrap();
    let layer = layer.override_existing(true);
    layer.clone().layer(upstream.clone()).oneshot(request()).await.unwrap();
    let remove_host = |mut request: Request<()>| {
        request.headers_mut().remove(HOST);
        request
    };
    let client = ServiceBuilder::new().map_request(remove_host).layer(layer).service(upstream);
    client.oneshot(request()).await.unwrap();

    let received = received.lock().unwrap();
    let headers = |name| received.iter().map(|headers| headers.get(&name).cloned()).collect::<Vec<_>>();
    let value = |value| Some(HeaderValue::from_static(value));
    assert_eq!(headers(AUTHORIZATION), [value("Bearer forged"), value("Bearer A1"), value("Bearer A1")]);
    assert_eq!(headers(HOST), [value("admin.example.com"), value("admin.example.com"), None]);
}

/// Revoke, call, and again, once a second.
#[tokio::test(start_paused = true)]
async fn d70_with_a_short_backoff_each_token_can_be_revoked_by_hand() {
    let accepted = async |backoff: Option<Duration>| {
        let valid = Arc::new(AtomicUsize::new(1));
        let (issuing, checking) = (Arc::clone(&valid), Arc::clone(&valid));
        let refresher = refresh_fn(move |_| {
            let number = issuing.load(Ordering::SeqCst);
            async move { Ok(token(&format!("A{number} R{number} 600"))) }
        });
        let server = service_fn(move |request: Request<()>| {
            let is_valid =
                request.headers()[AUTHORIZATION] == format!("Bearer A{}", checking.load(Ordering::SeqCst));
            let mut response = Response::new(());
            *response.status_mut() = if is_valid { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            async { Ok::<_, BoxError>(response) }
        });
        let mut session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).jitter(false);
        if let Some(backoff) = backoff {
            session = session.backoff(backoff, backoff);
        }
        let client = session.build().layer().layer(server);
        let mut accepted = 0;
        for _ in 0..10 {
            valid.fetch_add(1, Ordering::SeqCst);
            let response = client.clone().oneshot(get()).await.unwrap();
            accepted += usize::from(response.status() == StatusCode::OK);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        accepted
    };
    assert!(accepted(None).await < 10);
    assert_eq!(accepted(Some(Duration::from_millis(50))).await, 10);
}

#[tokio::test(start_paused = true)]
async fn d82_clean_up_requests_come_before_the_shutdown() {
    let server = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(())));
    let session = expired(refresh_fn(async |_| Ok(token("A2 R2 1")))).build();
    let client = session.layer().layer(server);
    client.clone().oneshot(get()).await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    session.shutdown(Duration::from_secs(1)).await.unwrap();
    let error = client.oneshot(get()).await.unwrap_err();
    assert!(Error::find(&*error).unwrap().is_shut_down());
}
