//! Responses that arrive after the refresher's timeout.

use std::time::Duration;

use tokio::task::JoinSet;
use tower_reauth::{Error, RefreshError, RefresherExt};

use crate::{
    servers::{Kind, Server},
    setup::{Provider, Setup},
};

const TIMEOUT: Duration = Duration::from_millis(700);
const LATE: u32 = 60_000;

/// Callers of `refresh()` whose first response is too late, while that of the repeat arrives at once.
async fn late(server: &Server, grant_ends: impl Fn(&Error) -> bool) -> (Setup, usize) {
    let setup = Setup::with(server, Provider::of(server).timeout(TIMEOUT), |session| session).await;
    server.delay_next(LATE).await;
    let calls: JoinSet<_> = (0..50).map(|_| setup.session.clone()).map(refreshed).collect();
    let mut ok = 0;
    for result in calls.join_all().await {
        match result {
            Ok(()) => ok += 1,
            Err(error) => assert!(grant_ends(&error), "{error:?}"),
        }
    }
    (setup, ok)
}

async fn refreshed(session: tower_reauth::Session) -> Result<(), Error> {
    session.refresh().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn c18_a_server_with_a_grace_period_returns_the_same_pair_again() {
    let options = ["--access-lifetime", "600", "--grace", "30", "--reuse-protection"];
    let Some(server) = Server::start(Kind::Dot, &options) else { return };
    let (setup, ok) = late(&server, |_| false).await;
    assert_eq!((ok, setup.presented.count()), (50, 2));
    let presented = setup.presented.all();
    assert_eq!(presented[0], presented[1], "the repeat is of the same refresh token");
    assert_eq!(server.refreshes().await, (2, 0));
    setup.all_succeed(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_strict_server_ends_the_grant_once() {
    let Some(server) = Server::start(Kind::Oidc, &["--access-lifetime", "600"]) else { return };
    let (setup, ok) = late(&server, Error::is_grant_ended).await;
    assert_eq!((ok, setup.presented.count()), (0, 2));
    assert_eq!(server.refreshes().await, (1, 1));
    assert!(setup.session.status().is_grant_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn c19_a_refresher_that_never_repeats_presents_the_refresh_token_once() {
    let Some(server) = Server::start(Kind::Oidc, &["--access-lifetime", "600"]) else { return };
    let never = Provider::of(&server)
        .timeout(TIMEOUT)
        .refresher()
        .map_err(|error| if error.is_outcome_unknown() { RefreshError::grant_ended(error) } else { error });
    let grant = server.sign_in().await;
    let setup = Setup::of(&server, never, &grant, |session| session);
    server.delay_next(LATE).await;
    let error = setup.session.refresh().await.unwrap_err();
    assert!(error.is_grant_ended());
    assert_eq!(setup.presented.count(), 1);
    assert_eq!(server.refreshes().await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_all_callers_wait_for_a_slow_response() {
    for kind in [Kind::SimpleJwt, Kind::Oidc, Kind::Dot] {
        let options = ["--access-lifetime", "600", "--token-delay", "300"];
        let Some(server) = Server::start(kind, &options) else { return };
        let setup = Setup::new(&server).await;
        let calls: JoinSet<_> = (0..50).map(|_| setup.session.clone()).map(refreshed).collect();
        calls.join_all().await.into_iter().for_each(|result| result.unwrap());
        assert_eq!(setup.presented.count(), 1);
        assert_eq!(server.refreshes().await, (1, 0));
    }
}
