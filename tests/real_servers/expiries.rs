//! 200 expiries under traffic.

use tokio::task::JoinSet;

use crate::{
    servers::{Kind, Server},
    setup::{Provider, Setup},
};

const USERS: usize = 8;
const EXPIRIES: usize = 25;
const CALLERS: usize = 50;

/// Concurrent users, as each expiry takes two seconds.
async fn each_expiry_is_one_refresh(kind: Kind) {
    let Some(server) = Server::start(kind, &["--access-lifetime", "2"]) else { return };
    let mut setups = Vec::new();
    for _ in 0..USERS {
        let (first, provider) = (server.sign_in().await, Provider::of(&server));
        // A sign-in doesn't report the expiry, so each session starts with its refresh token only.
        let setup = Setup::of(&server, provider.refresher(), &first, |session| {
            session.refresh_token(&*first.refresh)
        });
        setups.push(setup);
    }
    let before = server.refreshes().await;
    let users: JoinSet<Setup> = setups.into_iter().map(survive_expiries).collect();
    let setups = users.join_all().await;

    let mut presented = 0;
    for setup in &setups {
        assert!(setup.presented.are_distinct(), "a refresh token was presented twice");
        let token = setup.session.token().await.unwrap();
        // One refresh per generation, the first included.
        assert_eq!(setup.presented.count() as u64, token.generation());
        assert!(setup.presented.count() >= EXPIRIES);
        presented += setup.presented.count() as u64;
    }
    let after = server.refreshes().await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (presented, 0), "the server refused one");
    for setup in setups {
        let token = setup.session.sign_out();
        let last =
            server.refresh(token.refresh_token().unwrap()).await.expect("the last refresh token is valid");
        assert_ne!(server.is_alive(&last).await, Some(false), "the grant was revoked");
    }
}

async fn survive_expiries(setup: Setup) -> Setup {
    for _ in 0..EXPIRIES {
        setup.wait_for_expiry().await;
        setup.all_succeed(CALLERS).await;
    }
    setup
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_p02_each_of_200_expiries_on_simplejwt_is_one_refresh() {
    each_expiry_is_one_refresh(Kind::SimpleJwt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_p02_each_of_200_expiries_on_oidc_provider_is_one_refresh() {
    each_expiry_is_one_refresh(Kind::Oidc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p01_p02_each_of_200_expiries_on_django_oauth_toolkit_is_one_refresh() {
    each_expiry_is_one_refresh(Kind::Dot).await;
}
