//! A user who signs out while a refresh runs.

use std::sync::{Arc, Mutex};

use tower_reauth::{Error, Token};

use crate::{
    servers::{Kind, Server},
    setup::{Provider, Setup},
    stopped_time::StoppedTime,
};

async fn the_late_pair_is_revoked(kind: Kind) {
    let Some(server) = Server::start(kind, &[]) else { return };
    let _stopped = StoppedTime::new();
    let provider = Provider::of(&server);
    let revoked: Arc<Mutex<Vec<Token>>> = Arc::default();
    let (hook, seen) = (provider.clone(), Arc::clone(&revoked));
    let setup = Setup::with(&server, provider, |session| {
        session.revoke_with(move |token| {
            let (hook, seen) = (hook.clone(), Arc::clone(&seen));
            async move {
                seen.lock().unwrap().push(token.clone());
                hook.revoke(&token).await
            }
        })
    })
    .await;
    server.hold_next().await;
    let session = setup.session.clone();
    let waiter = tokio::spawn(async move { session.refresh().await });
    // The refresh token was rotated, and the response is under way.
    server.granted(1).await;
    let signed_out = setup.session.sign_out();
    assert_eq!(signed_out.refresh_token(), setup.presented.all().first().map(String::as_str));
    server.release().await;
    assert!(waiter.await.unwrap().unwrap_err().is_signed_out());
    setup.session.idle().await;

    let late = revoked.lock().unwrap().pop().expect("the late pair went to the hook");
    assert_ne!(late.refresh_token(), signed_out.refresh_token());
    server.refresh(late.refresh_token().unwrap()).await.expect_err("the server revoked it");
    let error = setup.call().await.unwrap_err();
    assert!(Error::find(&*error).unwrap().is_signed_out());
    assert_eq!(setup.presented.count(), 1);
}

#[tokio::test]
async fn c98_a_pair_that_simplejwt_issues_after_the_sign_out_is_revoked() {
    the_late_pair_is_revoked(Kind::SimpleJwt).await;
}

#[tokio::test]
async fn c98_a_pair_that_oidc_provider_issues_after_the_sign_out_is_revoked() {
    the_late_pair_is_revoked(Kind::Oidc).await;
}

#[tokio::test]
async fn c98_a_pair_that_django_oauth_toolkit_issues_after_the_sign_out_is_revoked() {
    the_late_pair_is_revoked(Kind::Dot).await;
}
