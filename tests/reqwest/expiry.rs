//! Expired tokens under load, against a server that rotates its refresh tokens.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use reqwest::{Client, StatusCode};
use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
};
use tower_reauth::{RefreshContext, RefreshError, Refresher, Session, Token, rt::TestClock};

use crate::{
    fake_backend::{LIFETIME, Server},
    sender::{Kind, Sender},
    server::{http1, http2},
};

/// Exchanges refresh tokens at the server, through its own client.
struct Exchange {
    client: Client,
    endpoint: String,
}

impl Refresher for Exchange {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let presented = cx.refresh_token().unwrap_or_default().to_owned();
        let request = self.client.post(&self.endpoint).body(presented);
        let response = request.send().await.map_err(RefreshError::outcome_unknown)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(RefreshError::grant_ended("the refresh token was spent"));
        }
        let text = response.text().await.map_err(RefreshError::outcome_unknown)?;
        let words: Vec<_> = text.split(' ').collect();
        let lifetime = words[2].parse().map_err(RefreshError::misconfigured)?;
        Ok(Token::builder(words[0])
            .refresh_token(words[1])
            .expires_in(Duration::from_secs(lifetime))
            .build()?)
    }
}

fn exchange(server: &Server, client: fn() -> Client) -> Exchange {
    Exchange { client: client(), endpoint: format!("{}/token", server.url()) }
}

async fn get(sender: &Sender, client: &Client, url: &str) -> StatusCode {
    let response = sender.send(client.get(url)).await.unwrap();
    let status = response.status();
    response.bytes().await.unwrap();
    status
}

async fn many_calls_through_one_expiry(kind: Kind, client: fn() -> Client, callers: usize) {
    let server = Server::start().await;
    let session = Session::builder(exchange(&server, client)).token(server.first_token_expired()).build();
    let client = client();
    let sender = kind.sender(session.layer(), &client);
    let barrier = Arc::new(Barrier::new(callers));
    server.delay_refreshes(true);
    let mut calls = JoinSet::new();
    for _ in 0..callers {
        let (sender, client, barrier) = (sender.clone(), client.clone(), Arc::clone(&barrier));
        let url = format!("{}/items", server.url());
        calls.spawn(async move {
            barrier.wait().await;
            get(&sender, &client, &url).await
        });
    }
    while session.status().waiters() < callers {
        tokio::task::yield_now().await;
    }
    server.delay_refreshes(false);
    assert!(calls.join_all().await.into_iter().all(|status| status == StatusCode::OK), "{kind:?}");
    let counts = server.counts();
    assert_eq!((counts.refreshes, counts.refused_refreshes), (1, 0), "{kind:?}");
    assert_eq!((counts.ok, counts.unauthorized), (callers, 0), "{kind:?}");
    assert_eq!(session.status().generation(), 2, "{kind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_ten_thousand_calls_over_http_2_cause_one_refresh() {
    for kind in Kind::ALL {
        many_calls_through_one_expiry(kind, http2, 10_000).await;
    }
}

/// Each call may open a connection, so there are fewer.
#[tokio::test(flavor = "multi_thread")]
async fn p01_many_calls_over_http_1_cause_one_refresh() {
    for kind in Kind::ALL {
        many_calls_through_one_expiry(kind, http1, 100).await;
    }
}

/// Steady traffic over three expiries in a row, which the clock shows.
async fn traffic_over_three_expiries(kind: Kind, client: fn() -> Client) {
    const CALLERS: u32 = 32;
    let server = Server::start().await;
    let clock = TestClock::new(SystemTime::now());
    let session = Session::builder(exchange(&server, client))
        .token(server.first_token_expired())
        .clock(clock.clone())
        .build();
    let client = client();
    let sender = kind.sender(session.layer(), &client);
    let responses = Arc::new(Semaphore::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (sender, client, session) = (sender.clone(), client.clone(), session.clone());
        let (responses, url) = (Arc::clone(&responses), format!("{}/items", server.url()));
        callers.spawn(async move {
            let mut calls = 0;
            while session.status().generation() < 5 {
                assert_eq!(get(&sender, &client, &url).await, StatusCode::OK);
                responses.add_permits(1);
                calls += 1;
            }
            calls
        });
    }
    for generation in 2..5 {
        // The next expiry is under traffic, too.
        responses.acquire_many(CALLERS).await.unwrap().forget();
        let mut watch = session.watch();
        while watch.status().generation() < generation {
            watch.changed().await.unwrap();
        }
        clock.step(LIFETIME);
    }
    let calls: usize = callers.join_all().await.into_iter().sum();
    session.idle().await;
    let counts = server.counts();
    assert_eq!((counts.refreshes, session.status().generation()), (4, 5), "{kind:?}");
    assert_eq!((counts.refused_refreshes, counts.unauthorized, counts.ok), (0, 0, calls), "{kind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_steady_traffic_presents_each_refresh_token_once() {
    for kind in Kind::ALL {
        traffic_over_three_expiries(kind, http1).await;
        traffic_over_three_expiries(kind, http2).await;
    }
}

#[tokio::test]
async fn p03_a_dropped_call_leaves_its_refresh_running() {
    for kind in Kind::ALL {
        let server = Server::start().await;
        let session = Session::builder(exchange(&server, http1)).token(server.first_token_expired()).build();
        let client = http1();
        let (sender, request) = (kind.sender(session.layer(), &client), client.get(server.url()));
        server.delay_refreshes(true);
        let call = tokio::spawn(async move { sender.send(request).await.map(drop) });
        while session.status().waiters() == 0 {
            tokio::task::yield_now().await;
        }
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled(), "{kind:?}");
        server.delay_refreshes(false);
        session.idle().await;
        assert_eq!((session.status().generation(), server.counts().ok), (2, 0), "{kind:?}");
    }
}
