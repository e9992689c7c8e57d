//! Settings in combination: retries, classifiers, redirects, combinators.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::service_fn;
use tower_reauth::{
    RefreshError, Refresher, RefresherExt, Session, Token,
    endpoint::{Endpoint, EndpointError, ErrorClassifier, FailureKind, Lifetime, RequestBody},
    json::JsonEndpoint,
    oauth2::Client,
    refresh_fn,
};

use crate::{
    canned::{URL, client, json, r1, respond},
    support::{self, clock, run_pending_tasks, token},
};

#[tokio::test(start_paused = true)]
async fn p07_an_unexplained_failures_backoff_ends_with_the_token_that_stayed_in_use() {
    let requests = Arc::<AtomicUsize>::default();
    let transport = {
        let requests = Arc::clone(&requests);
        service_fn(move |request: Request<RequestBody>| {
            let _ = request.into_body().into_bytes();
            let n = requests.fetch_add(1, Ordering::SeqCst);
            async move {
                Ok::<_, Infallible>(match n {
                    // As from a firewall, temporarily.
                    0..4 => respond(403, "<html>"),
                    _ => respond(200, r#"{"access_token":"A2","token_type":"Bearer","expires_in":600}"#),
                })
            }
        })
    };
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    let session = Session::builder(client.refresh_token_grant())
        .token(token("A1 R1 600"))
        .jitter(false)
        .clock(clock())
        .build();
    // Stale in its last quarter; four tries fail.
    tokio::time::advance(Duration::from_secs(430)).await;
    for _ in 0..4 {
        session.token().await.unwrap();
        run_pending_tasks().await;
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    assert_eq!(requests.load(Ordering::SeqCst), 4);
    // Now it has expired, which permits one try.
    tokio::time::advance(Duration::from_secs(110)).await;
    let token = session.token().await.unwrap();
    assert_eq!(token.secret(), "A2");
}

#[tokio::test]
async fn p07_a_mapped_error_keeps_its_retry_after() {
    let busy = || {
        refresh_fn(|_| async {
            Err::<Token, _>(RefreshError::transient("busy").with_retry_after(Duration::from_secs(90)))
        })
    };
    let wrapped = busy().map_err(RefreshError::misconfigured).refresh(r1()).await.unwrap_err();
    assert!(
        format!("{wrapped:?}").starts_with("RefreshError { kind: Misconfigured, retry_after: Some(90s),")
    );
    let set = busy().map_err(|error| RefreshError::transient(error).with_retry_after(None));
    assert!(format!("{:?}", set.refresh(r1()).await.unwrap_err()).contains("Transient, retry_after: None"));
}

#[tokio::test]
async fn p08_a_code_of_several_words_can_be_classified() {
    for (code, body) in [
        ("session expired", r#"{"error":"Session expired"}"#),
        ("session expired", r#"{"code":" session expired "}"#),
        (
            "Sitzung abgelaufen: bitte neu anmelden, denn Ihre Sitzung ist lange abgelaufen",
            r#"{"error":"Sitzung abgelaufen: bitte neu anmelden, denn Ihre Sitzung ist lange abgelaufen"}"#,
        ),
        ("séance terminée", r#"{"error":"séance terminée"}"#),
    ] {
        let endpoint =
            json(401, body).error_classifier(ErrorClassifier::new().code(code, FailureKind::GrantEnded));
        let error = endpoint.refresh(r1()).await.unwrap_err();
        assert!(error.is_grant_ended(), "{code}: {error:?}");
    }
}

#[tokio::test]
async fn p08_a_code_beside_the_status_text_is_found() {
    let body = r#"{"statusCode":401,"error":"Unauthorized","code":"session_expired"}"#;
    let endpoint = json(401, body)
        .error_classifier(ErrorClassifier::new().code("session_expired", FailureKind::GrantEnded));
    let error = endpoint.refresh(r1()).await.unwrap_err();
    assert!(error.is_grant_ended(), "{error:?}");
    assert_eq!(EndpointError::find(&error).unwrap().code(), Some("session_expired"));
    let unknown = json(401, body).refresh(r1()).await.unwrap_err();
    assert_eq!(EndpointError::find(&unknown).unwrap().code(), Some("Unauthorized"));
}

#[tokio::test]
async fn p08_a_preset_that_sends_the_refresh_token_can_end_the_grant() {
    let endpoint = json(401, r#"{"code":"token_not_valid"}"#).without_refresh_token().for_simplejwt();
    assert!(endpoint.refresh(r1()).await.unwrap_err().is_grant_ended());
}

#[tokio::test]
async fn p15_a_redirect_with_user_info_is_not_followed() {
    let requests = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&requests);
    let transport = service_fn(move |request: Request<RequestBody>| {
        let _ = request.into_body().into_bytes();
        counted.fetch_add(1, Ordering::SeqCst);
        async {
            let to = "https://web:s3cret@id.example.com/token";
            Response::builder().status(307).header("location", to).body(Full::<Bytes>::default())
        }
    });
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[tokio::test(start_paused = true)]
async fn p08_a_confirmation_that_outlasts_the_flight_still_ends_the_grant() {
    let grant = client(400, r#"{"error":"invalid_grant"}"#).refresh_token_grant();
    let session = support::expired(grant.confirm_grant_ended(Duration::from_secs(120))).build();
    for _ in 0..4 {
        let _ = session.token().await;
        tokio::time::sleep(Duration::from_secs(300)).await;
    }
    assert!(session.status().is_grant_ended(), "{:?}", session.status());
}

/// An endpoint with every shared setting, whose response needs most of them.
fn with_settings(body: &'static str, status: u16) -> (Client, JsonEndpoint) {
    let transport = service_fn(move |request: Request<RequestBody>| async move {
        assert_eq!(request.headers()["x-api-key"], "k");
        assert!(request.headers()["content-type"].to_str().unwrap().starts_with("application/"));
        let _ = request.into_body().into_bytes();
        Ok::<_, Infallible>(respond(status, body))
    });
    let endpoint = Endpoint::try_with_transport(URL, transport)
        .unwrap()
        .header(http::HeaderName::from_static("x-api-key"), http::HeaderValue::from_static("k"))
        .access_token_path("/data/0/jwt")
        .new_refresh_token_path("/data/0/next")
        .lifetime(Lifetime::milliseconds("/data/0/ttl"))
        .scheme("Own")
        .error_code_path("/errors/0/code")
        .error_classifier(ErrorClassifier::new().code("ACCOUNT_DISABLED", FailureKind::GrantEnded))
        .timeout(Duration::from_secs(5))
        .max_response_size(1000);
    (Client::new(endpoint.clone(), "web"), JsonEndpoint::new(endpoint))
}

#[tokio::test]
async fn d51_oauth2_and_json_have_the_same_settings() {
    let body = r#"{"data":[{"jwt":"A2","next":"R2","ttl":60000}]}"#;
    let (client, json) = with_settings(body, 200);
    let tokens =
        [client.refresh_token_grant().refresh(r1()).await.unwrap(), json.refresh(r1()).await.unwrap()];
    for token in tokens {
        assert_eq!((token.scheme(), token.access_token(), token.refresh_token()), ("Own", "A2", Some("R2")));
        let lifetime = token.expires_at().unwrap().duration_since(token.received_at().unwrap());
        assert_eq!(lifetime.unwrap(), Duration::from_secs(60));
    }
    let (client, json) = with_settings(r#"{"errors":[{"code":"ACCOUNT_DISABLED"}]}"#, 403);
    for error in
        [client.refresh_token_grant().refresh(r1()).await.unwrap_err(), json.refresh(r1()).await.unwrap_err()]
    {
        assert!(error.is_grant_ended(), "{error:?}");
        assert_eq!(EndpointError::find(&error).unwrap().code(), Some("ACCOUNT_DISABLED"));
    }
    let (client, json) = with_settings(" ".repeat(1001).leak(), 200);
    for error in
        [client.refresh_token_grant().refresh(r1()).await.unwrap_err(), json.refresh(r1()).await.unwrap_err()]
    {
        assert_eq!(EndpointError::find(&error).unwrap().response_limit(), Some(1000));
    }
}

#[tokio::test]
async fn d51_without_a_configured_path_oauth2_finds_a_code_beside_the_standard_one() {
    let client = client(403, r#"{"code":"ACCOUNT_DISABLED"}"#)
        .error_classifier(ErrorClassifier::new().code("account_disabled", FailureKind::GrantEnded));
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_grant_ended(), "{error:?}");
    assert_eq!(EndpointError::find(&error).unwrap().code(), Some("ACCOUNT_DISABLED"));
}

#[test]
fn public_types_are_send_sync_and_clone() {
    fn shared<T: Send + Sync + Clone + std::fmt::Debug + 'static>() {}
    fn sent<T: Send + Sync + std::fmt::Debug + 'static>() {}
    shared::<Client>();
    shared::<JsonEndpoint>();
    shared::<tower_reauth::oauth2::RefreshTokenGrant>();
    shared::<tower_reauth::oauth2::ClientCredentialsGrant>();
    shared::<Endpoint>();
    shared::<tower_reauth::endpoint::Revocation>();
    shared::<ErrorClassifier>();
    shared::<RefreshError>();
    sent::<EndpointError>();
    sent::<RequestBody>();
    shared::<tower_reauth::refresh::ConfirmGrantEnded<tower_reauth::oauth2::RefreshTokenGrant>>();
    static CLIENT: std::sync::OnceLock<Client> = std::sync::OnceLock::new();
    assert!(CLIENT.get().is_none());
}
