//! 200 expiries under traffic.

use tokio::task::JoinSet;

use crate::{
    servers::{Kind, Server},
    setup::{Provider, Stage},
};

const USERS: usize = 8;
const EXPIRIES: usize = 25;
const CALLERS: usize = 50;

/// Concurrent users, as each expiry takes two seconds.
async fn each_expiry_is_one_refresh(kind: Kind) {
    let Some(server) = Server::start(kind, &["--access-lifetime", "2"]) else { return };
    let mut stages = Vec::new();
    for _ in 0..USERS {
        let (first, provider) = (server.sign_in().await, Provider::of(&server));
        // A sign-in doesn't report the expiry, so each session starts with its refresh token only.
        let stage = Stage::of(&server, provider.refresher(), &first, |session| {
            session.refresh_token(&*first.refresh)
        });
        stages.push(stage);
    }
    let before = server.refreshes().await;
    let users: JoinSet<Stage> = stages.into_iter().map(lives_through).collect();
    let stages = users.join_all().await;

    let mut presented = 0;
    for stage in &stages {
        assert!(stage.presented.are_distinct(), "a refresh token was presented twice");
        let token = stage.session.token().await.unwrap();
        // One refresh per generation, the first included.
        assert_eq!(stage.presented.count() as u64, token.generation());
        assert!(stage.presented.count() >= EXPIRIES);
        presented += stage.presented.count() as u64;
    }
    let after = server.refreshes().await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (presented, 0), "the server refused one");
    for stage in stages {
        let token = stage.session.sign_out();
        let last =
            server.refresh(token.refresh_token().unwrap()).await.expect("the last refresh token is valid");
        assert_ne!(server.is_alive(&last).await, Some(false), "the grant was revoked");
    }
}

async fn lives_through(stage: Stage) -> Stage {
    for _ in 0..EXPIRIES {
        stage.expiry().await;
        stage.all_succeed(CALLERS).await;
    }
    stage
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
