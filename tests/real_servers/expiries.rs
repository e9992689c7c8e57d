//! 200 expiries under traffic.

use std::time::Duration;

use tower_reauth::rt::Clock;

use crate::{
    servers::{Kind, Server},
    setup::Setup,
};

const EXPIRIES: u64 = 200;
const CALLERS: usize = 20;
/// A token that is rejected within its trial, which is shorter, counts as ineffective.
const TRIAL: Duration = Duration::from_secs(31);

/// The server expires each token. The session's clock also shows every other expiry; the rest are noticed by
/// the rejections alone.
async fn each_expiry_is_one_refresh(kind: Kind) {
    let Some(server) = Server::start(kind, &[]) else { return };
    let setup = Setup::new(&server).await;
    let before = server.refreshes().await;
    setup.session.refresh().await.unwrap();
    for expiry in 1..=EXPIRIES {
        let token = setup.session.token().await.unwrap();
        assert_eq!(token.generation(), expiry + 1);
        let expires_at = token.expires_at().expect("the server reports it");
        let left = expires_at.duration_since(setup.clock.now().wall()).unwrap();
        // A JWT states its expiry by the server's clock, which the test can't move.
        let on_the_clock = kind != Kind::SimpleJwt && expiry % 2 == 0;
        setup.clock.step(if on_the_clock { left } else { TRIAL });
        server.expire(token.secret()).await;
        assert_eq!(setup.session.status().is_fresh(), !on_the_clock);
        setup.all_succeed(CALLERS).await;
    }
    assert!(setup.presented.are_distinct(), "a refresh token was presented twice");
    let refreshes = EXPIRIES + 1;
    assert_eq!(setup.presented.count() as u64, refreshes);
    let after = server.refreshes().await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (refreshes, 0), "the server refused one");
    let token = setup.session.sign_out();
    let last = server.refresh(token.refresh_token().unwrap()).await.expect("the last refresh token is valid");
    assert_ne!(server.is_alive(&last).await, Some(false), "the grant was revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_p02_d27_each_of_200_expiries_on_simplejwt_is_one_refresh() {
    each_expiry_is_one_refresh(Kind::SimpleJwt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_p02_d27_each_of_200_expiries_on_oidc_provider_is_one_refresh() {
    each_expiry_is_one_refresh(Kind::Oidc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_p02_d27_each_of_200_expiries_on_django_oauth_toolkit_is_one_refresh() {
    each_expiry_is_one_refresh(Kind::Dot).await;
}
