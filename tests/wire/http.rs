//! Real hyper clients against a hyper server that rotates its refresh tokens and counts what it receives.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_reauth::{AuthLayer, RefreshContext, RefreshError, Refresher, Session, Token, rt::TestClock};

use crate::fake_backend::{LIFETIME, Server};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Http = Client<HttpConnector, Full<Bytes>>;

/// Exchanges refresh tokens at the server, through its own client.
struct Exchange {
    http: Http,
    endpoint: String,
}

impl Refresher for Exchange {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let presented = cx.refresh_token().unwrap_or_default().to_owned();
        let request =
            Request::post(&self.endpoint).body(Full::from(presented)).map_err(RefreshError::misconfigured)?;
        let response = self.http.request(request).await.map_err(RefreshError::outcome_unknown)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(RefreshError::grant_ended("the refresh token was spent"));
        }
        let body = response.into_body().collect().await.map_err(RefreshError::outcome_unknown)?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        let words: Vec<_> = text.split(' ').collect();
        let lifetime = words[2].parse().map_err(RefreshError::misconfigured)?;
        Ok(Token::builder(words[0])
            .refresh_token(words[1])
            .expires_in(Duration::from_secs(lifetime))
            .build()?)
    }
}

fn http(version: Version) -> Http {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.http2_only(version == Version::HTTP_2).build_http()
}

fn exchange(server: &Server, version: Version) -> Exchange {
    Exchange { http: http(version), endpoint: format!("{}/token", server.url()) }
}

async fn call<S>(client: S, uri: &str) -> StatusCode
where
    S: Service<Request<Full<Bytes>>, Response = Response<Incoming>, Error = BoxError>,
{
    let request = Request::get(uri).body(Full::default()).unwrap();
    let response = client.oneshot(request).await.unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status
}

/// 10,000 concurrent calls with an expired token.
async fn many_calls_through_one_expiry(version: Version) {
    const CALLERS: usize = 10_000;
    let server = Server::start().await;
    let session = Session::builder(exchange(&server, version)).token(server.first_token_expired()).build();
    // Few connections are enough: HTTP/2 shares one, and the inner limit bounds HTTP/1.
    let inner = ServiceBuilder::new().concurrency_limit(128).service(http(version));
    let client = AuthLayer::from_session(session.clone()).layer(inner);
    let barrier = Arc::new(Barrier::new(CALLERS));
    server.delay_refreshes(true);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, barrier, uri) =
            (client.clone(), Arc::clone(&barrier), format!("{}/items", server.url()));
        callers.spawn(async move {
            barrier.wait().await;
            call(client, &uri).await
        });
    }
    while session.status().waiters() < CALLERS {
        tokio::task::yield_now().await;
    }
    server.delay_refreshes(false);
    assert!(callers.join_all().await.into_iter().all(|status| status == StatusCode::OK));
    let counts = server.counts();
    assert_eq!((counts.refreshes, counts.refused_refreshes), (1, 0));
    assert_eq!((counts.ok, counts.unauthorized), (CALLERS, 0));
    assert_eq!(session.status().generation(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_ten_thousand_calls_over_http_2_cause_one_refresh() {
    many_calls_through_one_expiry(Version::HTTP_2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_ten_thousand_calls_over_http_1_cause_one_refresh() {
    many_calls_through_one_expiry(Version::HTTP_11).await;
}

/// Steady traffic over three expiries in a row, which the clock shows. With early refresh, the clock stops
/// within the window before the expiry.
async fn traffic_over_three_expiries(version: Version, early: bool) {
    const CALLERS: u32 = 64;
    let server = Server::start().await;
    let clock = TestClock::new(SystemTime::now());
    let session = Session::builder(exchange(&server, version))
        .token(server.first_token_expired())
        .clock(clock.clone())
        .refresh_early(early)
        .build();
    let inner = ServiceBuilder::new().concurrency_limit(64).service(http(version));
    let client = AuthLayer::from_session(session.clone()).layer(inner);
    let responses = Arc::new(Semaphore::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, session, responses) = (client.clone(), session.clone(), Arc::clone(&responses));
        let uri = format!("{}/items", server.url());
        callers.spawn(async move {
            let mut calls = 0;
            while session.status().generation() < 5 {
                assert_eq!(call(client.clone(), &uri).await, StatusCode::OK);
                responses.add_permits(1);
                calls += 1;
            }
            calls
        });
    }
    let step = if early { LIFETIME.mul_f64(0.9) } else { LIFETIME };
    for generation in 2..5 {
        // The next expiry is under traffic, too.
        responses.acquire_many(CALLERS).await.unwrap().forget();
        let mut watch = session.watch();
        while watch.status().generation() < generation {
            watch.changed().await.unwrap();
        }
        clock.step(step);
    }
    let calls: usize = callers.join_all().await.into_iter().sum();
    session.idle().await;
    let counts = server.counts();
    assert_eq!((counts.refreshes, session.status().generation()), (4, 5));
    assert_eq!((counts.refused_refreshes, counts.unauthorized, counts.ok), (0, 0, calls));
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_d27_steady_http_2_traffic_with_early_refresh_presents_each_refresh_token_once() {
    traffic_over_three_expiries(Version::HTTP_2, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_d27_steady_http_1_traffic_without_early_refresh_presents_each_refresh_token_once() {
    traffic_over_three_expiries(Version::HTTP_11, false).await;
}
