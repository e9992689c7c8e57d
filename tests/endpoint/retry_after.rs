//! `Retry-After`.

use std::time::Duration;

use tokio::time::advance;
use tower_reauth::{Session, endpoint::EndpointError, rt::Clock};

use crate::{
    support::{clock, token},
    token_endpoint::{Reply, Server, TOKEN, error, reply},
};

/// Twenty callers per second for 40 s. Returns the second after which they succeed.
async fn second_of_success(throttled: Reply) -> f64 {
    let server = Server::in_memory([throttled, reply(200, TOKEN)]);
    let refresher = server.client().refresh_token_grant();
    let session = Session::builder(refresher).token(token("A1 R1 0")).clock(clock()).jitter(false).build();
    let mut success = None;
    for tick in 0..800 {
        match session.token().await {
            Ok(token) => {
                assert_eq!(token.secret(), "A2");
                success.get_or_insert(f64::from(tick) / 20.0);
            }
            Err(error) => {
                assert!(success.is_none(), "{error}");
                assert!(
                    error.is_transient() && error.is_retryable() && error.retry_at().is_some(),
                    "{error:?}"
                );
                assert_eq!(EndpointError::find(&error).unwrap().status().unwrap(), 429);
            }
        }
        assert!(!session.status().is_grant_ended());
        advance(Duration::from_millis(50)).await;
    }
    assert_eq!(server.count(), 2);
    assert!(server.requests().iter().all(|request| request.param("refresh_token").unwrap() == "R1"));
    success.expect("it succeeds at last")
}

#[tokio::test(start_paused = true)]
async fn c61_a_throttled_client_waits_for_the_stated_time() {
    let throttled = || reply(429, "");
    assert_eq!(second_of_success(throttled().header("retry-after", "30")).await, 30.0);
    assert_eq!(second_of_success(error(429, "slow_down").header("retry-after", "30")).await, 30.0);
    // The test's clock reads 13:46:40.
    let date = throttled().header("retry-after", "Mon, 12 Jan 1970 13:47:10 GMT");
    assert_eq!(second_of_success(date).await, 30.0);
    // The clock of this server is ten hours ahead, as its `Date` shows.
    let date = throttled()
        .header("date", "Mon, 12 Jan 1970 23:46:40 GMT")
        .header("retry-after", "Mon, 12 Jan 1970 23:47:10 GMT");
    assert_eq!(second_of_success(date).await, 30.0);
}

#[tokio::test(start_paused = true)]
async fn c61_an_invalid_retry_after_is_ignored() {
    for garbage in ["soon", "-5", "1.5", "30 seconds", "Mon, 12 Jan 1970 13:46:00 GMT", "0", "\u{0}x"] {
        let Ok(value) = http::HeaderValue::from_str(garbage) else { continue };
        let throttled = reply(429, "").header("retry-after", value.to_str().unwrap());
        // The retry of the same call succeeds.
        assert_eq!(second_of_success(throttled).await, 0.0, "{garbage}");
    }
    assert_eq!(second_of_success(reply(429, "")).await, 0.0);
}

#[tokio::test(start_paused = true)]
async fn c61_more_than_an_hour_is_clamped_to_an_hour() {
    for wait in ["86400", "99999999999999999999999999", "Sat, 12 Jan 2069 13:46:40 GMT"] {
        let clock = clock();
        let server = Server::in_memory([reply(503, "").header("retry-after", wait)]);
        let refresher = server.client().refresh_token_grant();
        let session =
            Session::builder(refresher).refresh_token("R1").clock(clock.clone()).jitter(false).build();
        let error = session.token().await.unwrap_err();
        let wait = error.retry_at().unwrap().duration_since(clock.now().wall()).unwrap();
        assert_eq!(wait, Duration::from_secs(3600));
    }
}

#[tokio::test(start_paused = true)]
async fn c61_an_error_with_a_retry_after_is_transient() {
    for status in [400, 403, 500, 504] {
        let server = Server::in_memory([reply(status, "").header("retry-after", "30"), reply(200, TOKEN)]);
        let refresher = server.client().refresh_token_grant();
        let session = Session::builder(refresher).refresh_token("R1").clock(clock()).build();
        assert!(session.token().await.unwrap_err().is_transient(), "{status}");
        assert_eq!(server.count(), 1, "{status}");
    }
}
