//! What it costs if a provider's response stays the same for an hour, or for a few seconds.

use std::time::Duration;

use tower_reauth::{Session, rt::TestClock};

use crate::{
    support::clock,
    token_endpoint::{Reply, Server, error, reply},
};

const HOUR: usize = 3600;

fn session(server: &Server) -> (Session, TestClock) {
    let clock = clock();
    let grant = server.client().refresh_token_grant();
    (Session::builder(grant).refresh_token("R1").clock(clock.clone()).jitter(false).build(), clock)
}

/// How many requests the endpoint gets in the first hour of one call a second, and in the second.
async fn requests_in_two_hours(server: &Server) -> (usize, usize) {
    let (session, clock) = session(server);
    let mut counts = [0; 2];
    for count in &mut counts {
        let before = server.count();
        for _ in 0..HOUR {
            session.token().await.unwrap_err();
            clock.step(Duration::from_secs(1));
        }
        *count = server.count() - before;
    }
    (counts[0], counts[1])
}

/// Ten calls a second; the endpoint recovers after 8 s. Returns when there is a token.
async fn recovery(failure: Reply) -> Duration {
    let server = Server::in_memory([failure]);
    let (session, _) = session(&server);
    let begin = tokio::time::Instant::now();
    let mut is_back = false;
    loop {
        if !is_back && begin.elapsed() >= Duration::from_secs(8) {
            server
                .set_script([reply(200, r#"{"access_token":"A2","token_type":"Bearer","expires_in":3600}"#)]);
            is_back = true;
        }
        match session.token().await {
            Ok(_) => return begin.elapsed(),
            Err(error) => assert!(!error.is_grant_ended(), "{error:?}"),
        }
        tokio::time::advance(Duration::from_millis(100)).await;
    }
}

async fn assert_slow(response: Reply) -> Server {
    let server = Server::in_memory([response]);
    let (first, second) = requests_in_two_hours(&server).await;
    assert!(first <= 20 && (1..=6).contains(&second), "{first} and {second} requests");
    server
}

async fn assert_recovers(failure: Reply) {
    let recovery = recovery(failure).await;
    assert!(recovery <= Duration::from_secs(20), "{recovery:?}");
}

#[tokio::test(start_paused = true)]
async fn z101_a_success_without_a_token_is_asked_for_at_a_growing_delay() {
    assert_slow(reply(200, r#"{"errcode":40030,"errmsg":"invalid refresh_token"}"#)).await;
}

#[tokio::test(start_paused = true)]
async fn z102_a_page_is_asked_for_at_a_growing_delay() {
    assert_slow(reply(200, "<html>Invalid Token</html>").header("content-type", "text/html")).await;
}

#[tokio::test(start_paused = true)]
async fn z103_a_token_of_another_type_is_asked_for_at_a_growing_delay_with_its_successor() {
    let server =
        assert_slow(reply(200, r#"{"access_token":"A2","token_type":"bot","refresh_token":"R2"}"#)).await;
    let presented: Vec<_> =
        server.requests().iter().map(|request| request.param("refresh_token").unwrap()).collect();
    assert_eq!(presented[0], "R1");
    assert!(presented[1..].iter().all(|token| token == "R2"), "{presented:?}");
}

#[tokio::test(start_paused = true)]
async fn z104_an_unknown_outcome_is_repeated_once_and_then_paced_like_an_outage() {
    let server = Server::in_memory([reply(500, "")]);
    let (first, second) = requests_in_two_hours(&server).await;
    // Each refresh has one repeat.
    assert!((60..=80).contains(&first) && (50..=60).contains(&second), "{first} and {second} requests");
}

#[tokio::test(start_paused = true)]
async fn z105_an_outage_of_8_s_is_over_within_20_s() {
    assert_recovers(reply(503, "")).await;
}

#[tokio::test(start_paused = true)]
async fn z106_a_server_error_with_400_for_8_s_is_over_within_20_s() {
    assert_recovers(error(400, "server_error")).await;
}

#[tokio::test(start_paused = true)]
async fn z107_an_unknown_error_for_8_s_is_over_within_20_s() {
    assert_recovers(error(400, "unknown_error")).await;
}

#[tokio::test(start_paused = true)]
async fn z108_a_firewalls_page_for_8_s_is_over_within_20_s() {
    assert_recovers(reply(403, "<html>blocked</html>").header("content-type", "text/html")).await;
}
