//! Token exchange (RFC 8693) and the JWT bearer grant (RFC 7523). oidc-provider leaves other grants to its users:
//! the tests' script adds these two, with the checks that the RFCs require.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::future::BoxFuture;
use tower_reauth::{
    Error, RefreshContext, RefreshError, Refresher, Session,
    endpoint::EndpointError,
    oauth2::{Client, JwtBearerGrant, TokenExchangeGrant},
    rt::TestClock,
};

use crate::{
    provider::client,
    servers::{Kind, Server},
};

const EXCHANGES: &str = "urn:ietf:params:oauth:grant-type:token-exchange 200";
const ASSERTIONS: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer 200";
const REFRESHES: &str = "refresh_token 200";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The server issues a refresh token only with `offline_access`.
const OFFLINE: [&str; 3] = ["openid", "api", "offline_access"];
const ONLINE: [&str; 2] = ["openid", "api"];

/// A token that is rejected within its trial, which is shorter, counts as ineffective.
const TRIAL: Duration = Duration::from_secs(31);

fn start() -> Option<Arc<Server>> {
    Server::start(Kind::Oidc, &[]).map(Arc::new)
}

fn web<const N: usize>(server: &Server, scopes: [&str; N]) -> Client {
    client(server, "web").client_secret_basic("web-secret").scopes(scopes)
}

/// Obtains the access token of a new sign-in.
fn sign_in(
    server: &Arc<Server>,
) -> impl Fn(RefreshContext) -> BoxFuture<'static, Result<String, RefreshError>> + Send + Sync + use<> {
    let server = Arc::clone(server);
    move |_| {
        let server = Arc::clone(&server);
        Box::pin(async move { Ok(server.sign_in().await.access) })
    }
}

fn exchange(client: &Client, server: &Arc<Server>) -> TokenExchangeGrant {
    client.token_exchange_grant(sign_in(server))
}

fn jwt_bearer(client: &Client, server: &Arc<Server>, flaws: &'static str) -> JwtBearerGrant {
    let server = Arc::clone(server);
    client.jwt_bearer_grant(move |_| {
        let server = Arc::clone(&server);
        async move { Ok(server.assertion(flaws).await) }
    })
}

/// The resource accepts the first token, its successor after the server expired it, and the successor of that,
/// which expired by the session's clock. Returns the session and the last token.
async fn each_token_is_accepted(server: &Server, refresher: impl Refresher) -> (Session, String) {
    let clock = TestClock::new(SystemTime::now());
    let session = Session::builder(refresher).clock(clock.clone()).refresh_early(false).build();
    let first = session.token().await.unwrap();
    assert_eq!(server.call(first.secret()).await, 200);

    server.expire(first.secret()).await;
    assert_eq!(server.call(first.secret()).await, 401);
    clock.step(TRIAL);
    let second = session.token_after_rejection(&first).await.unwrap();
    assert_eq!(server.call(second.secret()).await, 200);

    clock.step(Duration::from_secs(86_400));
    assert!(!session.status().is_fresh());
    let third = session.token().await.unwrap();
    assert_eq!((third.generation(), server.call(third.secret()).await.as_u16()), (3, 200));
    (session, third.secret().to_owned())
}

async fn assert_counts(server: &Server, expected: &[(&str, u64)]) {
    let counts = server.counts().await;
    for (key, count) in expected {
        assert_eq!(counts[key].as_u64().unwrap_or(0), *count, "{key}: {counts}");
    }
}

/// The failure has this code, and nobody is signed out.
async fn refused(refresher: impl Refresher, code: &str) -> Error {
    let session = Session::builder(refresher).build();
    let error = session.token().await.unwrap_err();
    assert_eq!(EndpointError::find(&error).unwrap().code(), Some(code), "{error:?}");
    assert!(!error.is_grant_ended() && !session.status().needs_sign_in(), "{error:?}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn d87_oidc_provider_exchanges_another_subject_token_at_each_expiry() {
    let Some(server) = start() else { return };
    let client = web(&server, ONLINE).audience(server.url());
    let refresher = exchange(&client, &server)
        .actor_token(ACCESS_TOKEN, sign_in(&server))
        .requested_token_type(ACCESS_TOKEN);
    let (session, _) = each_token_is_accepted(&server, refresher).await;
    assert_eq!(session.extra("issued_token_type").as_deref(), Some(ACCESS_TOKEN));
    assert_counts(&server, &[(EXCHANGES, 3), (REFRESHES, 0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d87_oidc_provider_accepts_another_assertion_at_each_expiry() {
    let Some(server) = start() else { return };
    each_token_is_accepted(&server, jwt_bearer(&web(&server, ONLINE), &server, "")).await;
    assert_counts(&server, &[(ASSERTIONS, 3), (REFRESHES, 0)]).await;
}

/// Both grants return to their own parameters once the refresh token is refused.
async fn a_refresh_token_takes_precedence(server: &Server, refresher: impl Refresher, grants: &str) {
    let (session, last) = each_token_is_accepted(server, refresher).await;
    assert_counts(server, &[(grants, 1), (REFRESHES, 2)]).await;
    // Revokes the whole grant.
    assert_eq!(server.revoke(&last).await, 200);
    session.refresh().await.unwrap();
    let token = session.token().await.unwrap();
    assert_eq!(server.call(token.secret()).await, 200);
    assert_counts(server, &[(grants, 2), (REFRESHES, 2), ("refresh_token 400 invalid_grant", 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d87_oidc_provider_refreshes_an_exchanged_token_until_its_grant_is_revoked() {
    let Some(server) = start() else { return };
    let refresher = exchange(&web(&server, OFFLINE), &server);
    a_refresh_token_takes_precedence(&server, refresher, EXCHANGES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d87_oidc_provider_refreshes_an_assertions_token_until_its_grant_is_revoked() {
    let Some(server) = start() else { return };
    let refresher = jwt_bearer(&web(&server, OFFLINE), &server, "");
    a_refresh_token_takes_precedence(&server, refresher, ASSERTIONS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d87_a_subject_token_that_oidc_provider_refuses_signs_nobody_out() {
    let Some(server) = start() else { return };
    let client = web(&server, ONLINE);
    let unknown = || client.token_exchange_grant(|_| async { Ok("unknown".to_owned()) });
    let not_a_jwt = exchange(&client, &server).subject_token_type("urn:ietf:params:oauth:token-type:jwt");
    let actor = exchange(&client, &server).actor_token(ACCESS_TOKEN, |_| async { Ok("unknown".to_owned()) });
    for refresher in [unknown(), not_a_jwt, actor] {
        // RFC 8693 §2.2.2
        let error = refused(refresher, "invalid_request").await;
        assert!(!error.is_misconfigured(), "{error:?}");
    }
    let wide = exchange(&web(&server, ["admin"]), &server);
    assert!(refused(wide, "invalid_scope").await.is_misconfigured());
    let elsewhere = exchange(&client.audience("https://elsewhere.example.com"), &server);
    assert!(refused(elsewhere, "invalid_target").await.is_misconfigured());
}

#[tokio::test(flavor = "multi_thread")]
async fn d87_an_assertion_that_oidc_provider_refuses_signs_nobody_out() {
    let Some(server) = start() else { return };
    let client = web(&server, ONLINE);
    for flaws in ["&expired=1", "&untrusted=1"] {
        let refresher = jwt_bearer(&client, &server, flaws);
        assert!(refused(refresher, "invalid_grant").await.is_misconfigured());
    }
    // RFC 7523 §3: the server may refuse one that was used before.
    let used = server.assertion("").await;
    let reused = client.jwt_bearer_grant(move |_| {
        let used = used.clone();
        async move { Ok(used) }
    });
    let session = Session::builder(reused).build();
    let token = session.token().await.unwrap();
    let error = session.refresh().await.unwrap_err();
    assert!(error.is_misconfigured(), "{error:?}");
    assert_eq!(server.call(token.secret()).await, 200);
    assert_eq!(session.token().await.unwrap().generation(), 1, "the token is still used");
}
