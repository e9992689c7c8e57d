//! How often a failing endpoint is called: one growing delay, whose maximum depends on the failure.

use std::time::Duration;

use tower_reauth::{
    Refresher, Session, refresh_fn,
    rt::{Clock, TestClock},
};

use crate::{
    support::{clock, token},
    token_endpoint::{Reply, Server, error, reply},
};

fn refused() -> Reply {
    error(400, "never_heard_of")
}

fn session(refresher: impl Refresher) -> (Session, TestClock) {
    let clock = clock();
    let builder = Session::builder(refresher).refresh_token("R1").clock(clock.clone()).jitter(false);
    (builder.build(), clock)
}

/// The delay after each of `count` failed refreshes, in milliseconds. Each refresh begins as soon as the
/// delay before it ends.
async fn waits((session, clock): &(Session, TestClock), count: usize) -> Vec<u128> {
    let mut waits = Vec::new();
    for _ in 0..count {
        let error = session.refresh().await.unwrap_err();
        let wait = error.retry_at().unwrap().duration_since(clock.now().wall()).unwrap();
        waits.push(wait.as_millis());
        clock.step(wait);
    }
    waits
}

/// The number of requests to the endpoint in an hour of one call a second.
async fn requests_in_an_hour(response: Reply) -> usize {
    let server = Server::in_memory([response]);
    let (session, clock) = session(server.client().refresh_token_grant());
    for _ in 0..3600 {
        let error = session.token().await.unwrap_err();
        assert!(!error.is_grant_ended());
        clock.step(Duration::from_secs(1));
    }
    server.count()
}

#[tokio::test(start_paused = true)]
async fn d24_c50_a_failure_that_a_retry_is_unlikely_to_fix_is_retried_18_times_in_an_hour() {
    let responses = [
        error(400, "server_has_a_bad_day"),
        error(401, "token_inactive"),
        reply(403, "<html>a firewall's page</html>"),
        reply(404, "gone"),
        error(200, "never_heard_of"),
        reply(200, "<html>please log in</html>"),
        reply(200, r#"{"token_type":"Bearer"}"#),
        reply(200, r#"{"access_token":"A2","token_type":"mac"}"#),
        reply(302, "").header("location", "https://elsewhere.example/"),
        reply(422, "{}"),
        error(401, "invalid_client"),
    ];
    for (at, response) in responses.into_iter().enumerate() {
        assert_eq!(requests_in_an_hour(response).await, 18, "the response at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn d24_an_outage_is_retried_at_least_every_two_minutes() {
    // Each of 39 refreshes has two retries of its own.
    assert_eq!(requests_in_an_hour(reply(503, "")).await, 3 * 39);
}

#[tokio::test(start_paused = true)]
async fn d24_after_eight_seconds_of_refusals_calls_succeed_within_eight_more() {
    let server = Server::in_memory([refused()]);
    let (session, clock) = session(server.client().refresh_token_grant());
    for _ in 0..8 {
        session.token().await.unwrap_err();
        clock.step(Duration::from_secs(1));
    }
    server.set_script([reply(200, r#"{"access_token":"A2","token_type":"Bearer","expires_in":600}"#)]);
    let mut seconds = 0;
    while session.token().await.is_err() {
        seconds += 1;
        clock.step(Duration::from_secs(1));
    }
    assert!(seconds <= 8, "{seconds} s");
}

#[tokio::test(start_paused = true)]
async fn d24_c50_failures_of_every_kind_share_one_growing_delay() {
    let server = Server::in_memory([
        refused(),
        // With its two retries.
        reply(503, ""),
        reply(503, ""),
        reply(503, ""),
        error(401, "invalid_client"),
        refused(),
    ]);
    let session = session(server.client().refresh_token_grant());
    assert_eq!(waits(&session, 5).await, [1000, 1600, 2560, 4096, 6553]);
}

#[tokio::test(start_paused = true)]
async fn c50_another_user_resets_the_delay() {
    let server = Server::in_memory([refused()]);
    let session = session(server.client().refresh_token_grant());
    assert_eq!(waits(&session, 3).await, [1000, 1600, 2560]);
    session.0.sign_in(token("B1 Q1 0"));
    assert_eq!(waits(&session, 3).await, [1000, 1600, 2560]);
}

#[tokio::test(start_paused = true)]
async fn c50_each_session_counts_separately() {
    let server = Server::in_memory([refused()]);
    let grant = server.client().refresh_token_grant();
    let (first, second) = (session(grant.clone()), session(grant));
    assert_eq!(waits(&first, 3).await, [1000, 1600, 2560]);
    assert_eq!(waits(&second, 1).await, [1000]);
    let endpoint = Server::in_memory([refused()]).json();
    let (first, second) = (session(endpoint.clone()), session(endpoint));
    assert_eq!(waits(&first, 3).await, [1000, 1600, 2560]);
    assert_eq!(waits(&second, 1).await, [1000]);
}

#[tokio::test(start_paused = true)]
async fn d76_a_grant_that_is_built_for_each_call_is_slowed_down() {
    let server = Server::in_memory([refused()]);
    let session = session(refresh_fn(move |cx| {
        let grant = server.client().refresh_token_grant();
        async move { grant.refresh(cx).await }
    }));
    let waits = waits(&session, 16).await;
    assert_eq!((waits[0], waits[15]), (1000, 600_000));
}
