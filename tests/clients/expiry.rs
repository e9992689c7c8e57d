//! Expired tokens under load, against an issuer that rotates its refresh tokens.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{StatusCode, Version};
use serde::Deserialize;
use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
};
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, Session, SkipAuth, Token, rt::TestClock, testing::Scripted,
};

use crate::{
    backend::{Backend, LIFETIME},
    client::{Client, VERSIONS, bytes, get, post, with_option},
    session::until_waiting,
};

/// Exchanges refresh tokens at the token endpoint, through its own client.
struct Exchange<C> {
    client: C,
    endpoint: String,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    refresh_token: String,
    expires_in: u64,
}

impl<C: Client> Refresher for Exchange<C> {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let presented = cx.refresh_token().unwrap_or_default();
        let form = format!("grant_type=refresh_token&refresh_token={presented}");
        let request = with_option(post(&self.endpoint, form), SkipAuth);
        let response = self.client.send(request).await.map_err(RefreshError::outcome_unknown)?;
        if response.status() == StatusCode::BAD_REQUEST {
            return Err(RefreshError::grant_ended("the refresh token was refused"));
        }
        let token: TokenResponse =
            serde_json::from_slice(&bytes(response).await).map_err(RefreshError::misconfigured)?;
        Ok(Token::builder(token.access_token)
            .refresh_token(token.refresh_token)
            .expires_in(Duration::from_secs(token.expires_in))
            .build()?)
    }
}

fn exchange<C: Client>(backend: &Backend, version: Version) -> Exchange<C> {
    Exchange { client: C::without_token(version), endpoint: backend.url("/token") }
}

/// The status of a call whose response was read.
async fn call(client: &impl Client, backend: &Backend) -> StatusCode {
    let response = client.send(get(backend.url("/items"))).await.unwrap();
    let status = response.status();
    bytes(response).await;
    status
}

async fn many_calls_through_one_expiry<C: Client>(version: Version, callers: usize) {
    let backend = Arc::new(Backend::start().await);
    let session = Session::builder(exchange::<C>(&backend, version)).token(backend.expired_token()).build();
    let client = C::new(session.layer(), version);
    let barrier = Arc::new(Barrier::new(callers));
    backend.issuer.script([Scripted::Hang]);
    let mut calls = JoinSet::new();
    for _ in 0..callers {
        let (client, backend, barrier) = (client.clone(), Arc::clone(&backend), Arc::clone(&barrier));
        calls.spawn(async move {
            barrier.wait().await;
            call(&client, &backend).await
        });
    }
    until_waiting(&session, callers).await;
    backend.issuer.wait_for_requests(1).await;
    backend.issuer.release();
    assert!(calls.join_all().await.into_iter().all(|status| status == StatusCode::OK));
    assert_eq!((backend.issuer.refreshes(), backend.issuer.refusals()), (1, 0));
    assert_eq!((backend.api.accepted(), backend.api.rejected()), (callers, 0));
    assert_eq!(session.status().generation(), 2);
}

async fn p01_ten_thousand_calls_over_http_2_cause_one_refresh<C: Client>() {
    many_calls_through_one_expiry::<C>(Version::HTTP_2, 10_000).await;
}

async fn p01_many_calls_over_http_1_cause_one_refresh<C: Client>() {
    many_calls_through_one_expiry::<C>(Version::HTTP_11, C::CALLERS_OVER_HTTP_1).await;
}

/// Steady traffic over three expiries in a row, which the clock shows. With early refresh, the clock stops
/// within the window before the expiry.
async fn traffic_over_three_expiries<C: Client>(version: Version, early: bool) {
    const CALLERS: u32 = 32;
    let backend = Arc::new(Backend::start().await);
    let clock = TestClock::new(SystemTime::now());
    let session = Session::builder(exchange::<C>(&backend, version))
        .token(backend.expired_token())
        .clock(clock.clone())
        .refresh_early(early)
        .build();
    let client = C::new(session.layer(), version);
    let responses = Arc::new(Semaphore::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, backend) = (client.clone(), Arc::clone(&backend));
        let (session, responses) = (session.clone(), Arc::clone(&responses));
        callers.spawn(async move {
            let mut calls = 0;
            while session.status().generation() < 5 {
                assert_eq!(call(&client, &backend).await, StatusCode::OK);
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
    let Backend { issuer, api, .. } = &*backend;
    assert_eq!((issuer.refreshes(), session.status().generation()), (4, 5), "{version:?}");
    assert_eq!((issuer.refusals(), api.rejected(), api.accepted()), (0, 0, calls), "{version:?}");
}

async fn p02_d27_steady_traffic_with_early_refresh_presents_each_refresh_token_once<C: Client>() {
    for version in VERSIONS {
        traffic_over_three_expiries::<C>(version, true).await;
    }
}

async fn p02_d27_steady_traffic_without_early_refresh_presents_each_refresh_token_once<C: Client>() {
    for version in VERSIONS {
        traffic_over_three_expiries::<C>(version, false).await;
    }
}

async fn p03_a_dropped_call_leaves_its_refresh_running<C: Client>() {
    for version in VERSIONS {
        let backend = Arc::new(Backend::start().await);
        let session =
            Session::builder(exchange::<C>(&backend, version)).token(backend.expired_token()).build();
        let client = C::new(session.layer(), version);
        backend.issuer.script([Scripted::Hang]);
        let calling = Arc::clone(&backend);
        let dropped = tokio::spawn(async move { call(&client, &calling).await });
        until_waiting(&session, 1).await;
        dropped.abort();
        assert!(dropped.await.unwrap_err().is_cancelled(), "{version:?}");
        backend.issuer.wait_for_requests(1).await;
        backend.issuer.release();
        session.idle().await;
        assert_eq!((session.status().generation(), backend.api.accepted()), (2, 0), "{version:?}");
    }
}

on_each_client!(
    #[tokio::test(flavor = "multi_thread")]
    p01_ten_thousand_calls_over_http_2_cause_one_refresh,
    p01_many_calls_over_http_1_cause_one_refresh,
    p02_d27_steady_traffic_with_early_refresh_presents_each_refresh_token_once,
    p02_d27_steady_traffic_without_early_refresh_presents_each_refresh_token_once,
    p03_a_dropped_call_leaves_its_refresh_running,
);
