//! A server that restarts under traffic.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};
use tower_reauth::Error;

use crate::{
    servers::{Kind, Server},
    setup::{Provider, Setup},
};

async fn an_outage_signs_nobody_out(kind: Kind) {
    let Some(mut server) = Server::start(kind, &["--access-lifetime", "2"]) else { return };
    let grant = server.sign_in().await;
    let refresher = Provider::of(&server).refresher();
    let setup = Arc::new(Setup::of(&server, refresher, &grant, |session| {
        session
            .refresh_token(&*grant.refresh)
            // Keeps the outage short.
            .backoff(Duration::from_millis(50), Duration::from_millis(200))
    }));
    setup.all_succeed(20).await;
    let failed = Arc::new(Semaphore::new(0));
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let (setup, failed) = (Arc::clone(&setup), Arc::clone(&failed));
        calls.spawn(async move {
            // Each goes on until it has failed during the outage and succeeded after it.
            let mut has_failed = false;
            loop {
                match setup.call().await {
                    Ok(status) if has_failed => return status,
                    Ok(_) => {}
                    Err(error) => {
                        let ours = Error::find(&*error);
                        assert!(ours.is_none_or(Error::is_retryable), "{ours:?}");
                        // The refresh failed, not just the connection of the call.
                        if ours.is_some() && !has_failed {
                            has_failed = true;
                            failed.add_permits(1);
                        }
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    server.stop();
    let _ = failed.acquire_many(20).await.unwrap();
    server.start_again();
    for status in calls.join_all().await {
        assert_eq!(status, 200);
    }
    assert!(!setup.session.status().is_grant_ended());
    assert_eq!(server.refreshes().await.1, 0, "a refresh was refused");
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
