//! Slow responses, and those that arrive after the refresher's timeout.

use tokio::task::JoinSet;
use tower_reauth::{Error, RefreshError, RefresherExt};

use crate::{
    servers::{Kind, Server},
    setup::{Provider, Setup, TIMEOUT},
    stopped_time::StoppedTime,
};

const CALLERS: usize = 50;

/// Callers of `refresh()` that all wait for a response which the server has made, but holds.
async fn wait_for_held_response(server: &Server, setup: &Setup) -> JoinSet<Result<(), Error>> {
    server.hold_next().await;
    let calls = (0..CALLERS).map(|_| refreshed(setup.session.clone())).collect();
    server.granted(1).await;
    assert_eq!(setup.session.status().waiters(), CALLERS);
    calls
}

async fn refreshed(session: tower_reauth::Session) -> Result<(), Error> {
    session.refresh().await.map(drop)
}

#[tokio::test]
async fn c18_a_server_with_a_grace_period_returns_the_same_pair_again() {
    let Some(server) = Server::start(Kind::Dot, &["--grace", "3600", "--reuse-protection"]) else { return };
    let time = StoppedTime::new();
    let setup = Setup::new(&server).await;
    let calls = wait_for_held_response(&server, &setup).await;
    time.advance(TIMEOUT).await;
    calls.join_all().await.into_iter().for_each(|result| result.unwrap());
    let presented = setup.presented.all();
    assert_eq!(presented.len(), 2);
    assert_eq!(presented[0], presented[1], "the repeat is of the same refresh token");
    assert_eq!(server.refreshes().await, (2, 0));
    setup.all_succeed(10).await;
}

#[tokio::test]
async fn p18_a_strict_server_ends_the_grant_once() {
    let Some(server) = Server::start(Kind::Oidc, &[]) else { return };
    let time = StoppedTime::new();
    let setup = Setup::new(&server).await;
    let calls = wait_for_held_response(&server, &setup).await;
    time.advance(TIMEOUT).await;
    for result in calls.join_all().await {
        let error = result.unwrap_err();
        assert!(error.is_grant_ended(), "{error:?}");
    }
    assert_eq!(setup.presented.count(), 2);
    assert_eq!(server.refreshes().await, (1, 1));
    assert!(setup.session.status().is_grant_ended());
}

#[tokio::test]
async fn c19_a_refresher_that_never_repeats_presents_the_refresh_token_once() {
    let Some(server) = Server::start(Kind::Oidc, &[]) else { return };
    let time = StoppedTime::new();
    let never = Provider::of(&server)
        .refresher()
        .map_err(|error| if error.is_outcome_unknown() { RefreshError::grant_ended(error) } else { error });
    let grant = server.sign_in().await;
    let setup = Setup::of(&server, never, &grant, |session| session);
    let calls = wait_for_held_response(&server, &setup).await;
    time.advance(TIMEOUT).await;
    assert!(calls.join_all().await.into_iter().all(|result| result.unwrap_err().is_grant_ended()));
    assert_eq!(setup.presented.count(), 1);
    assert_eq!(server.refreshes().await, (1, 0));
}

#[tokio::test]
async fn p01_all_callers_wait_for_a_slow_response() {
    for kind in [Kind::SimpleJwt, Kind::Oidc, Kind::Dot] {
        let Some(server) = Server::start(kind, &[]) else { return };
        let setup = Setup::new(&server).await;
        let calls = wait_for_held_response(&server, &setup).await;
        server.release().await;
        calls.join_all().await.into_iter().for_each(|result| result.unwrap());
        assert_eq!(setup.presented.count(), 1);
        assert_eq!(server.refreshes().await, (1, 0));
    }
}
