//! One suite of tests for the contract of [`Refresher`], run on each implementation.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower_reauth::{
    RefreshContext, Refresher, RefresherExt, Session,
    endpoint::RequestBody,
    json::JsonEndpoint,
    oauth2::{self, GrantParams},
    refresh::AnyRefresher,
    refresh_fn,
    testing::check_refresher,
};

use crate::{
    support::clock,
    token_endpoint::{Reply, Server, TOKEN, error, r1, reply},
};

async fn suite<R: Refresher>(make: impl Fn(&Server) -> R) {
    fn is_refresher(_: &(impl Send + Sync + 'static)) {}
    is_refresher(&make(&Server::in_memory([reply(200, TOKEN)])));

    gives_a_token(&make).await;
    can_be_called_concurrently(&make).await;
    can_be_called_again_after_a_failure(&make).await;
    survives_its_futures_drop(&make).await;
    is_asked_once_by_a_session(&make).await;
    panics_as_an_unknown_outcome(&make).await;
}

async fn gives_a_token<R: Refresher>(make: impl Fn(&Server) -> R) {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let token = make(&server).refresh(r1()).await.unwrap();
    assert_eq!((token.access_token(), token.refresh_token()), ("A2", Some("R2")));
    assert_eq!(server.count(), 1);
}

async fn can_be_called_concurrently<R: Refresher>(make: impl Fn(&Server) -> R) {
    let server = Server::in_memory([reply(200, TOKEN).delayed()]);
    let refresher = Arc::new(make(&server));
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let refresher = Arc::clone(&refresher);
            tokio::spawn(async move { refresher.refresh(r1()).await })
        })
        .collect();
    server.wait_for_requests(8).await;
    server.release();
    for result in join_all(calls).await {
        assert_eq!(result.unwrap().unwrap().access_token(), "A2");
    }
}

async fn can_be_called_again_after_a_failure<R: Refresher>(make: impl Fn(&Server) -> R) {
    let failures = [
        vec![Reply::refused(); 3],
        vec![reply(503, ""); 3],
        vec![reply(200, "").closed()],
        vec![error(400, "x")],
        vec![reply(200, "{")],
    ];
    for failure in failures {
        let server = Server::in_memory(failure.into_iter().chain([reply(200, TOKEN)]));
        let refresher = make(&server);
        refresher.refresh(r1()).await.unwrap_err();
        assert_eq!(refresher.refresh(r1()).await.unwrap().access_token(), "A2");
    }
}

async fn survives_its_futures_drop<R: Refresher>(make: impl Fn(&Server) -> R) {
    let server = Server::in_memory([reply(200, TOKEN).delayed(), reply(200, TOKEN)]);
    let refresher = make(&server);
    // Dropped before its first poll, and while it waits for the response.
    drop(refresher.refresh(r1()));
    tokio::select! {
        biased;
        _ = refresher.refresh(r1()) => unreachable!("the response is delayed"),
        () = server.wait_for_requests(1) => {}
    }
    assert_eq!(refresher.refresh(r1()).await.unwrap().access_token(), "A2");
    assert_eq!(server.count(), 2);
}

async fn is_asked_once_by_a_session<R: Refresher>(make: impl Fn(&Server) -> R) {
    let server = Server::in_memory([reply(200, TOKEN).delayed()]);
    let session = Session::builder(make(&server)).refresh_token("R1").clock(clock()).build();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.token().await })
        })
        .collect();
    server.wait_for_requests(1).await;
    while session.status().waiters() < 50 {
        tokio::task::yield_now().await;
    }
    server.release();
    for result in join_all(callers).await {
        assert_eq!(result.unwrap().unwrap().secret(), "A2");
    }
    assert_eq!(server.count(), 1);
}

async fn panics_as_an_unknown_outcome<R: Refresher>(make: impl Fn(&Server) -> R) {
    let server = Server::in_memory([Reply::panics(), reply(200, TOKEN)]);
    let session = Session::builder(make(&server)).refresh_token("R1").clock(clock()).build();
    let error = session.token().await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
    assert_eq!(error.to_string(), "the refresher panicked");
    assert!(!format!("{error:?}").contains("as the script says"));
    // The next demand starts the repeat at once.
    assert_eq!(session.token().await.unwrap().secret(), "A2");
}

#[tokio::test(start_paused = true)]
async fn refresh_fn_is_a_refresher() {
    suite(|server| {
        let grant = Arc::new(server.client().refresh_token_grant());
        refresh_fn(move |cx: RefreshContext| {
            let grant = Arc::clone(&grant);
            async move { grant.refresh(cx).await }
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_oauth2_grants_are_refreshers() {
    suite(|server| server.client().refresh_token_grant()).await;
    suite(|server| server.client().client_secret_basic("s").refresh_token_grant().clone()).await;
    suite(|server| server.client().client_secret_post("s").client_credentials_grant()).await;
    suite(|server| server.client().token_exchange_grant(|_| async { Ok("S1".to_owned()) })).await;
    suite(|server| server.client().jwt_bearer_grant(|_| async { Ok("S1".to_owned()) })).await;
    suite(|server| server.client().custom_grant(|_| async { Ok(GrantParams::new("password")) })).await;
}

#[tokio::test(start_paused = true)]
async fn any_refresher_is_a_refresher() {
    suite(|server| AnyRefresher::new(server.json())).await;
}

#[tokio::test(start_paused = true)]
async fn json_endpoints_are_refreshers() {
    suite(Server::json).await;
    suite(|server| server.json().clone()).await;
    suite(|server| server.json().without_refresh_token()).await;
}

#[tokio::test(start_paused = true)]
async fn the_combinators_are_refreshers() {
    suite(|server| server.client().refresh_token_grant().timeout(Duration::from_secs(5))).await;
    suite(|server| server.client().refresh_token_grant().map_err(|error| error)).await;
    suite(|server| server.client().refresh_token_grant().map_token(Ok)).await;
    suite(|server| server.client().refresh_token_grant().keep_extras(["instance_url"])).await;
    suite(|server| server.client().refresh_token_grant().retry([])).await;
    suite(|server| server.client().refresh_token_grant().or_else(server.json())).await;
    suite(|server| server.client().refresh_token_grant().confirm_grant_ended(Duration::from_secs(1))).await;
    suite(|server| {
        let inner = server.json().map_err(|error| error).confirm_grant_ended(Duration::from_secs(1));
        inner.timeout(Duration::from_secs(9)).map_err(|error| error)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_around_a_refresher_is_an_unknown_outcome() {
    let server = Server::in_memory([reply(200, TOKEN).delayed()]);
    let refresher = server.client().refresh_token_grant().timeout(Duration::from_secs(5));
    let begin = tokio::time::Instant::now();
    assert!(refresher.refresh(r1()).await.unwrap_err().is_outcome_unknown());
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
}

fn transport() -> Client<HttpConnector, RequestBody> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// The suite for users' refreshers, over real connections.
#[tokio::test]
async fn check_refresher_passes_the_oauth2_grant_and_json_endpoints() {
    let oauth2 = |_: &_, url: &str| {
        let client = oauth2::Client::try_with_transport(url, "app", transport()).unwrap();
        client.refresh_token_grant()
    };
    check_refresher(oauth2).await.unwrap();
    check_refresher(|issuer, url| oauth2(issuer, url).timeout(Duration::from_secs(60))).await.unwrap();
    let json = |_: &_, url: &str| JsonEndpoint::try_with_transport(url, transport()).unwrap();
    check_refresher(json).await.unwrap();
}
