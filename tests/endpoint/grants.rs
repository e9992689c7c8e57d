//! Grants besides the refresh token and the client credentials.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tower_reauth::{
    RefreshContext, RefreshError, Refresher, Session,
    oauth2::{Client, GrantParams},
    refresh::RefreshReason,
};

use crate::{
    support::{clock, token},
    token_endpoint::{RecordedRequest, Server, TOKEN, error, r1, reply},
};

const NO_REFRESH_TOKEN: &str = r#"{"access_token":"A2","token_type":"Bearer","expires_in":3600}"#;
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

fn form(request: &RecordedRequest) -> Vec<(String, String)> {
    request.form()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Makes `S1`, `S2` and so on.
fn numbered() -> impl Fn(RefreshContext) -> std::future::Ready<Result<String, RefreshError>> + Send + Sync {
    let count = AtomicUsize::new(0);
    move |_| std::future::ready(Ok(format!("S{}\n", count.fetch_add(1, Ordering::SeqCst) + 1)))
}

fn assertion() -> impl Fn(RefreshContext) -> std::future::Ready<Result<String, RefreshError>> + Send + Sync {
    let count = AtomicUsize::new(0);
    move |_| std::future::ready(Ok(format!("h.S{}.s", count.fetch_add(1, Ordering::SeqCst) + 1)))
}

#[tokio::test(start_paused = true)]
async fn d87_token_exchange_sends_the_subject_token_and_later_the_refresh_token() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let refresher = server
        .client()
        .scopes(["read"])
        .audience("api")
        .token_exchange_grant(numbered())
        .subject_token_type(JWT)
        .actor_token("urn:x:actor", |_| async { Ok("T".to_owned()) })
        .requested_token_type("urn:ietf:params:oauth:token-type:access_token");
    let session = Session::builder(refresher).clock(clock()).build();
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    session.refresh().await.unwrap();
    let requests = server.requests();
    let expected = pairs([
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "S1"),
        ("subject_token_type", JWT),
        ("actor_token", "T"),
        ("actor_token_type", "urn:x:actor"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("scope", "read"),
        ("audience", "api"),
        ("client_id", "app"),
    ]);
    assert_eq!(form(&requests[0]), expected);
    let expected = pairs([
        ("grant_type", "refresh_token"),
        ("refresh_token", "R2"),
        ("scope", "read"),
        ("audience", "api"),
        ("client_id", "app"),
    ]);
    assert_eq!(form(&requests[1]), expected);
}

#[tokio::test(start_paused = true)]
async fn d87_without_a_refresh_token_the_grant_is_sent_again_with_new_parameters() {
    let server = Server::in_memory([reply(200, NO_REFRESH_TOKEN)]);
    let refresher = server.client().token_exchange_grant(numbered());
    for _ in 0..3 {
        refresher.refresh(RefreshContext::default()).await.unwrap();
    }
    let sent: Vec<_> = server.requests().iter().map(|request| request.param("subject_token")).collect();
    assert_eq!(sent, ["S1", "S2", "S3"].map(|token| Some(token.to_owned())));
    assert_eq!(
        server.requests()[0].param("subject_token_type").unwrap(),
        "urn:ietf:params:oauth:token-type:access_token",
    );
}

#[tokio::test(start_paused = true)]
async fn d87_after_a_refused_refresh_token_the_grant_is_sent_again() {
    let replies = [error(400, "invalid_grant"), reply(200, TOKEN)];
    let server = Server::in_memory(replies);
    let session = Session::builder(server.client().jwt_bearer_grant(assertion()))
        .token(token("A1 R1 0"))
        .clock(clock())
        .build();
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    let requests = server.requests();
    assert_eq!(requests[0].param("refresh_token").as_deref(), Some("R1"));
    let expected = pairs([
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", "h.S1.s"),
        ("client_id", "app"),
    ]);
    assert_eq!((form(&requests[1]), requests.len()), (expected, 2));
}

#[tokio::test(start_paused = true)]
async fn d87_a_jwt_bearer_needs_no_client_id() {
    let server = Server::in_memory([reply(200, NO_REFRESH_TOKEN)]);
    let transport = server.transport();
    let client = Client::try_with_transport(server.url("/token"), "", transport).unwrap();
    client.jwt_bearer_grant(assertion()).refresh(RefreshContext::default()).await.unwrap();
    assert_eq!(server.requests()[0].param("client_id"), None);
}

#[tokio::test(start_paused = true)]
async fn d87_a_closure_sees_the_context_and_its_failure_is_that_of_the_refresh() {
    let server = Server::in_memory([reply(200, NO_REFRESH_TOKEN)]);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let contexts = Arc::clone(&seen);
    let refresher = server.client().custom_grant(move |cx: RefreshContext| {
        let is_first = cx.token().is_none();
        contexts.lock().unwrap().push((cx.reason(), cx.token().map(|token| token.access_token().to_owned())));
        async move {
            match is_first {
                true => Ok(GrantParams::new("password").param("username", "ada").param("password", "p")),
                false => Err(RefreshError::grant_ended("the user declined")),
            }
        }
    });
    let session = Session::builder(refresher).clock(clock()).build();
    session.token().await.unwrap();
    let error = session.refresh().await.unwrap_err();
    assert!(error.is_grant_ended(), "{error:?}");
    assert_eq!(server.count(), 1);
    let expected =
        pairs([("grant_type", "password"), ("username", "ada"), ("password", "p"), ("client_id", "app")]);
    assert_eq!(form(&server.requests()[0]), expected);
    let expected = [(RefreshReason::Initial, None), (RefreshReason::Requested, Some("A2".to_owned()))];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn d87_a_refused_grant_ends_only_a_custom_one() {
    let server = Server::in_memory([error(400, "invalid_grant")]);
    let client = server.client();
    let cx = RefreshContext::default;
    let custom = client.custom_grant(|_| async { Ok(GrantParams::new("password")) });
    assert!(custom.refresh(cx()).await.unwrap_err().is_grant_ended());
    let exchange = client.token_exchange_grant(numbered());
    assert!(exchange.refresh(cx()).await.unwrap_err().is_misconfigured());
    let jwt = client.jwt_bearer_grant(assertion());
    assert!(jwt.refresh(cx()).await.unwrap_err().is_misconfigured());
    // The refresh token first, then the grant.
    assert!(jwt.refresh(r1()).await.unwrap_err().is_misconfigured());
    assert_eq!(server.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn d87_a_lost_response_is_repeated_once_with_new_parameters() {
    let server = Server::in_memory([reply(200, "").closed(), reply(200, NO_REFRESH_TOKEN)]);
    let session = Session::builder(server.client().jwt_bearer_grant(assertion())).clock(clock()).build();
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    let sent: Vec<_> = server.requests().iter().map(|request| request.param("assertion").unwrap()).collect();
    assert_eq!(sent, ["h.S1.s", "h.S2.s"]);
}

#[tokio::test(start_paused = true)]
async fn d87_nothing_is_sent_once_the_token_is_unwanted() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let grant = server.client().jwt_bearer_grant(assertion());
    let cx = RefreshContext::builder().wanted_while(|| false).build();
    grant.refresh(cx).await.unwrap_err();
    assert_eq!(server.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn d56_a_grants_parameter_replaces_the_clients_and_none_is_sent_twice() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let params = |_| async {
        let params = GrantParams::new("password").param("grant_type", "urn:x:login").param("scope", "wide");
        let params = params.param("client_id", "other").param("tenant", "t1");
        // May be repeated (RFC 8693 §2.1).
        Ok(params.param("audience", "one").param("audience", "two"))
    };
    let client = server.client().scopes(["narrow"]).client_secret_post("secret").extra_param("tenant", "t2");
    client.custom_grant(params).refresh(RefreshContext::default()).await.unwrap();
    let expected = pairs([
        ("grant_type", "urn:x:login"),
        ("scope", "wide"),
        ("client_id", "other"),
        ("audience", "one"),
        ("audience", "two"),
        ("tenant", "t2"),
        ("client_secret", "secret"),
    ]);
    assert_eq!(form(&server.requests()[0]), expected);
}
