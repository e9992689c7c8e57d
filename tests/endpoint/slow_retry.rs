//! Unknown refusals: three at the pace of the backoff, then one every ten minutes.

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

/// A success with an expired token, so that the session still counts a failure.
fn ineffective() -> Reply {
    reply(200, r#"{"access_token":"A2","token_type":"Bearer","expires_in":0}"#)
}

fn session(refresher: impl Refresher) -> (Session, TestClock) {
    let clock = clock();
    let builder = Session::builder(refresher).refresh_token("R1").clock(clock.clone()).jitter(false);
    (builder.build(), clock)
}

/// Whether the next refusal is followed by a wait of ten minutes.
async fn is_slow((session, clock): &(Session, TestClock)) -> bool {
    let error = session.refresh().await.unwrap_err();
    let wait = error.retry_at().unwrap().duration_since(clock.now().wall()).unwrap().as_secs();
    session.reset_backoff();
    assert!(wait == 600 || wait < 60, "{wait}");
    wait == 600
}

#[tokio::test(start_paused = true)]
async fn c50_the_fourth_refusal_in_a_row_is_followed_by_ten_minutes() {
    let server = Server::in_memory([refused()]);
    let session = session(server.client().refresh_token_grant());
    for slow in [false, false, false, true, true] {
        assert_eq!(is_slow(&session).await, slow);
    }
}

#[tokio::test(start_paused = true)]
async fn c50_a_known_response_resets_the_count() {
    for known in [ineffective(), reply(503, ""), error(400, "invalid_client")] {
        let is_success = known.is_success();
        let server = Server::in_memory([refused(), refused(), known, refused()]);
        let session = session(server.client().refresh_token_grant());
        for _ in 0..2 {
            assert!(!is_slow(&session).await);
        }
        assert_eq!(session.0.refresh().await.is_ok(), is_success);
        session.0.reset_backoff();
        for slow in [false, false, false, true] {
            assert_eq!(is_slow(&session).await, slow);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c50_another_user_resets_the_count() {
    let server = Server::in_memory([refused()]);
    let session = session(server.client().refresh_token_grant());
    for slow in [false, false, false, true] {
        assert_eq!(is_slow(&session).await, slow);
    }
    session.0.sign_in(token("B1 Q1 0"));
    for slow in [false, false, false, true] {
        assert_eq!(is_slow(&session).await, slow);
    }
}

#[tokio::test(start_paused = true)]
async fn c50_each_refresher_counts_separately() {
    async fn check<R: Refresher>(server: Server, first: R, second: R) {
        server.set_script([refused()]);
        let (first, second) = (session(first), session(second));
        for slow in [false, false, false, true] {
            assert_eq!(is_slow(&first).await, slow);
        }
        server.set_script([ineffective()]);
        second.0.refresh().await.unwrap();
        server.set_script([refused()]);
        assert!(is_slow(&first).await);
    }
    let server = Server::in_memory([]);
    let client = server.client();
    check(server, client.refresh_token_grant(), client.refresh_token_grant()).await;
    let server = Server::in_memory([]);
    let endpoint = server.json();
    check(server, endpoint.clone(), endpoint).await;
}

#[tokio::test(start_paused = true)]
async fn d76_a_grant_that_is_built_for_each_call_is_slowed_down() {
    let server = Server::in_memory([refused()]);
    let session = session(refresh_fn(move |cx| {
        let grant = server.client().refresh_token_grant();
        async move { grant.refresh(cx).await }
    }));
    for slow in [false, false, false, true, true] {
        assert_eq!(is_slow(&session).await, slow);
    }
}
