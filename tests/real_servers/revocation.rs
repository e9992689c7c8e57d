//! A server that expires a token, or revokes a whole grant, under traffic.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{sync::Semaphore, task::JoinSet};
use tower_reauth::{Error, Token, event::EventKind};

use crate::{
    servers::{Kind, Server},
    setup::{Provider, Setup},
};

/// The access token expires during steady traffic, which only a rejection shows.
async fn an_expired_access_token_costs_one_refresh(kind: Kind) {
    let Some(server) = Server::start(kind, &[]) else { return };
    let setup = Arc::new(Setup::new(&server).await);
    let first = setup.session.token().await.unwrap();
    let (responses, has_expired) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let (setup, responses) = (Arc::clone(&setup), Arc::clone(&responses));
        let has_expired = Arc::clone(&has_expired);
        callers.spawn(async move {
            while !has_expired.load(Ordering::SeqCst) {
                assert_eq!(setup.call().await.unwrap(), 200);
                responses.add_permits(1);
            }
            assert_eq!(setup.call().await.unwrap(), 200);
        });
    }
    let _ = responses.acquire_many(100).await.unwrap();
    server.expire(first.secret()).await;
    has_expired.store(true, Ordering::SeqCst);
    callers.join_all().await;
    assert_eq!((server.refreshes().await, setup.presented.count()), ((1, 0), 1));
    assert_eq!(setup.generation(), first.generation() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_an_access_token_that_simplejwt_expires_costs_one_refresh() {
    an_expired_access_token_costs_one_refresh(Kind::SimpleJwt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_an_access_token_that_oidc_provider_expires_costs_one_refresh() {
    an_expired_access_token_costs_one_refresh(Kind::Oidc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p04_an_access_token_that_django_oauth_toolkit_expires_costs_one_refresh() {
    an_expired_access_token_costs_one_refresh(Kind::Dot).await;
}

/// The user signs out elsewhere: one request to the endpoint, and an error for each caller.
async fn an_ended_grant_ends_the_session_once(kind: Kind) {
    let Some(server) = Server::start(kind, &[]) else { return };
    let provider = Provider::of(&server);
    let ends = Arc::new(AtomicUsize::new(0));
    let grant = server.sign_in().await;
    let counted = Arc::clone(&ends);
    let setup = Setup::of(&server, provider.refresher(), &grant, |session| {
        session.on_event(move |event| {
            if matches!(event.kind, EventKind::GrantEnded { .. }) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let token = Token::builder(&*grant.access).refresh_token(&*grant.refresh).build().unwrap();
    provider.revoke(&token).await.unwrap();
    if kind == Kind::SimpleJwt {
        // It revokes refresh tokens only.
        server.expire(&grant.access).await;
    }
    for _ in 0..2 {
        let calls: JoinSet<_> = (0..50).map(|_| setup.call()).collect();
        for result in calls.join_all().await {
            // Rejected calls get the server's response, later ones our error.
            assert!(
                result.map_or_else(
                    |error| Error::find(&*error).unwrap().is_grant_ended(),
                    |status| status == 401
                )
            );
        }
    }
    assert!(setup.session.status().is_grant_ended());
    assert_eq!((ends.load(Ordering::Relaxed), setup.presented.count()), (1, 1));
    assert_eq!(server.refreshes().await, (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn p08_a_grant_that_simplejwt_revokes_ends_the_session_once() {
    an_ended_grant_ends_the_session_once(Kind::SimpleJwt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p08_a_grant_that_oidc_provider_revokes_ends_the_session_once() {
    an_ended_grant_ends_the_session_once(Kind::Oidc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p08_a_grant_that_django_oauth_toolkit_revokes_ends_the_session_once() {
    an_ended_grant_ends_the_session_once(Kind::Dot).await;
}
