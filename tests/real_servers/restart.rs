//! A server that restarts under traffic.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};
use tower_reauth::{Error, Token};

use crate::{
    servers::{Kind, Server},
    setup::Setup,
};

const CALLERS: u32 = 20;

/// The access token expires while the server is down.
async fn an_outage_signs_nobody_out(kind: Kind) {
    let Some(mut server) = Server::start(kind, &[]) else { return };
    let setup = Arc::new(Setup::new(&server).await);
    let responses = Arc::new(Semaphore::new(0));
    let mut traffic = JoinSet::new();
    for _ in 0..CALLERS {
        let (setup, responses) = (Arc::clone(&setup), Arc::clone(&responses));
        traffic.spawn(async move {
            while let Ok(status) = setup.call().await {
                assert_eq!(status, 200);
                responses.add_permits(1);
            }
        });
    }
    let _ = responses.acquire_many(CALLERS).await.unwrap();
    server.stop();
    traffic.join_all().await;

    let access = setup.session.try_token().unwrap();
    let expired = Token::builder(access.secret()).expires_in(Duration::ZERO).build().unwrap();
    setup.session.set_token(expired).unwrap();
    let calls: JoinSet<_> = (0..CALLERS).map(|_| setup.call()).collect();
    for result in calls.join_all().await {
        let error = result.unwrap_err();
        let ours = Error::find(&*error).expect("the refresh failed, not just the connection of the call");
        assert!(ours.is_retryable(), "{ours:?}");
    }

    server.start_again();
    setup.session.reset_backoff();
    setup.all_succeed(CALLERS as usize).await;
    assert!(!setup.session.status().is_grant_ended());
    assert_eq!(server.refreshes().await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_restart_of_simplejwt_signs_nobody_out() {
    an_outage_signs_nobody_out(Kind::SimpleJwt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_restart_of_oidc_provider_signs_nobody_out() {
    an_outage_signs_nobody_out(Kind::Oidc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p07_a_restart_of_django_oauth_toolkit_signs_nobody_out() {
    an_outage_signs_nobody_out(Kind::Dot).await;
}
