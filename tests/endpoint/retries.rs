//! The retries within one call of a refresher.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tower_reauth::{RefreshContext, RefreshError, Refresher, Session, Token, refresh::AnyRefresher};

use crate::{
    support::clock,
    token_endpoint::{Reply, Server, TOKEN, error, r1, reply},
};

/// Refreshes once; returns the result, the number of requests and the time it took.
async fn refresh(script: impl IntoIterator<Item = Reply>) -> (Result<Token, RefreshError>, usize, Duration) {
    let server = Server::in_memory(script);
    let (grant, began) = (server.client().refresh_token_grant(), Instant::now());
    let result = grant.refresh(r1()).await;
    (result, server.count(), began.elapsed())
}

fn unavailable() -> Reply {
    reply(503, "")
}

#[tokio::test(start_paused = true)]
async fn d25_one_transient_failure_fails_no_caller() {
    for failure in [unavailable(), reply(429, ""), error(400, "slow_down"), Reply::refused()] {
        for failures in [1, 2] {
            let server =
                Server::in_memory(vec![failure.clone(); failures].into_iter().chain([reply(200, TOKEN)]));
            let session =
                Session::builder(server.client().refresh_token_grant()).refresh_token("R1").clock(clock());
            assert_eq!(session.build().token().await.unwrap().secret(), "A2");
            let endpoint = server.json();
            server.set_script([failure.clone(), reply(200, TOKEN)]);
            assert_eq!(endpoint.refresh(r1()).await.unwrap().access_token(), "A2");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn d25_a_transient_failure_is_retried_twice_after_about_200_and_600_ms() {
    let (result, requests, took) = refresh([unavailable()]).await;
    assert!(result.unwrap_err().is_transient());
    assert_eq!(requests, 3);
    // Timers have a resolution of a millisecond.
    assert!((Duration::from_millis(639)..=Duration::from_millis(963)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn d25_a_session_without_jitter_has_none_between_these_retries() {
    let server = Server::in_memory([unavailable()]);
    for refresher in
        [AnyRefresher::new(server.client().refresh_token_grant()), AnyRefresher::new(server.json())]
    {
        let session = Session::builder(refresher).refresh_token("R1").clock(clock()).jitter(false).build();
        let began = Instant::now();
        session.token().await.unwrap_err();
        assert_eq!(began.elapsed(), Duration::from_millis(800));
    }
}

#[tokio::test(start_paused = true)]
async fn d25_an_unknown_outcome_and_a_refusal_are_not_retried() {
    for failure in [
        reply(200, "").closed(),
        reply(500, ""),
        reply(200, r#"{"access_token":"A2"#),
        error(400, "invalid_grant"),
        error(400, "never_heard_of"),
        error(401, "invalid_client"),
        reply(200, "{}"),
    ] {
        let (result, requests, took) = refresh([failure, reply(200, TOKEN)]).await;
        let error = result.unwrap_err();
        assert_eq!((requests, took), (1, Duration::ZERO), "{error:?}");
    }
    // An unknown outcome ends the retries, too.
    let (result, requests, _) = refresh([unavailable(), reply(500, ""), reply(200, TOKEN)]).await;
    assert!(result.unwrap_err().is_outcome_unknown());
    assert_eq!(requests, 2);
}

#[tokio::test(start_paused = true)]
async fn d25_a_retry_after_of_up_to_a_second_is_awaited_and_a_longer_one_ends_the_retries() {
    let (result, requests, took) =
        refresh([unavailable().header("retry-after", "1"), reply(200, TOKEN)]).await;
    result.unwrap();
    assert_eq!((requests, took.as_millis() / 10), (2, 100));
    let (result, requests, took) =
        refresh([unavailable().header("retry-after", "2"), reply(200, TOKEN)]).await;
    assert_eq!(result.unwrap_err().retry_after(), Some(Duration::from_secs(2)));
    assert_eq!((requests, took), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn d25_a_refresh_token_that_is_no_longer_wanted_is_not_presented_again() {
    let server = Server::in_memory([unavailable(), reply(200, TOKEN)]);
    let wanted = Arc::new(AtomicBool::new(true));
    let is_wanted = Arc::clone(&wanted);
    let cx = RefreshContext::builder()
        .refresh_token("R1")
        .wanted_while(move || is_wanted.load(Ordering::SeqCst))
        .build();
    let grant = server.client().refresh_token_grant();
    let refresh = tokio::spawn(async move { grant.refresh(cx).await });
    server.wait_for_requests(1).await;
    wanted.store(false, Ordering::SeqCst);
    assert!(refresh.await.unwrap().unwrap_err().is_transient());
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn d25_retries_stay_within_the_timeout() {
    let server = Server::in_memory([unavailable()]);
    let (timeout, began) = (Duration::from_millis(100), Instant::now());
    let error = server.client().timeout(timeout).refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!((server.count(), began.elapsed()), (1, timeout));
    // A retry without a response has an unknown outcome when the time is up.
    let server = Server::in_memory([unavailable(), reply(200, TOKEN).delayed()]);
    let (timeout, began) = (Duration::from_secs(10), Instant::now());
    let error = server.client().refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
    assert_eq!((server.count(), began.elapsed()), (2, timeout));
}

#[tokio::test(start_paused = true)]
async fn d25_p02_a_refresh_token_is_not_presented_again_once_its_successor_has_arrived() {
    let body = r#"{"error":"temporarily_unavailable","refresh_token":"R2"}"#;
    let (result, requests, _) = refresh([reply(200, body), reply(200, TOKEN)]).await;
    assert!(result.unwrap_err().is_transient());
    assert_eq!(requests, 1);
}

#[tokio::test(start_paused = true)]
async fn d77_a_temporary_failure_is_known_by_its_code_whatever_the_status() {
    for code in ["server_error", "temporarily_unavailable", "slow_down", "too_many_requests"] {
        for status in [200, 400, 401, 403, 500, 503] {
            let (result, requests, _) = refresh([error(status, code)]).await;
            let error = result.unwrap_err();
            assert!(error.is_transient() && !error.is_unexplained(), "{status} {code}: {error:?}");
            assert_eq!(requests, 3, "{status} {code}");
        }
    }
}
