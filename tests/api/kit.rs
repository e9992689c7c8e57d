//! The kit for users' tests: its issuer, its API and their servers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, Response, StatusCode, header::HeaderMap};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, Session, Token, refresh_fn,
    testing::{FailedStep, Issuer, Resource, ResponseBody, Reuse, Scripted, check_refresher},
};

use crate::support::{BoxError, clock};

const FORM: &str = "application/x-www-form-urlencoded";

fn cx(token: &Token) -> RefreshContext {
    RefreshContext::builder().token(token.clone()).build()
}

fn refresh(token: &Token) -> &str {
    token.refresh_token().unwrap()
}

fn post(url: &str, content_type: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(url).header("content-type", content_type).body(Full::new(body.into())).unwrap()
}

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

async fn parts(response: Response<ResponseBody>) -> (StatusCode, Value) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// The response to a token request without a network.
async fn exchange(issuer: &Issuer, content_type: &str, body: String) -> (StatusCode, Value) {
    parts(issuer.clone().oneshot(post("https://id.example.com/token", content_type, body)).await.unwrap())
        .await
}

/// A call without a network: its status and its headers.
async fn call(resource: &Resource, token: Option<&Token>, content_type: &str) -> (StatusCode, HeaderMap) {
    let mut request = Request::get("https://api.example.com/").header("content-type", content_type);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {}", token.access_token()));
    }
    let response = resource.clone().oneshot(request.body(()).unwrap()).await.unwrap();
    (response.status(), response.headers().clone())
}

#[tokio::test]
async fn an_issuer_reads_forms_and_json() {
    let issuer = Issuer::builder().reuse(Reuse::Refuse).lifetime(Duration::from_secs(60)).build();
    let first = issuer.sign_in();
    let form = |refresh: &str| format!("grant_type=refresh_token&refresh_token={refresh}&client_id=app");
    let (status, body) = exchange(&issuer, FORM, form(refresh(&first))).await;
    assert_eq!(
        (status, &body["expires_in"], &body["token_type"]),
        (StatusCode::OK, &json!(60), &json!("Bearer"))
    );
    assert!(issuer.accepts(body["access_token"].as_str().unwrap()));

    let second = json!({ "refresh_token": body["refresh_token"] }).to_string();
    let (status, body) = exchange(&issuer, "application/json", second.clone()).await;
    assert_eq!(status, 200);
    let third = json!({ "refresh": body["refresh_token"] }).to_string();
    let (status, body) = exchange(&issuer, "application/json; charset=utf-8", third.clone()).await;
    assert_eq!(status, 200);
    assert!(issuer.accepts(body["access"].as_str().unwrap()));
    assert!(issuer.is_unused(body["refresh"].as_str().unwrap()));
    assert_eq!((issuer.refreshes(), issuer.reuses()), (3, 0));

    let refused = exchange(&issuer, FORM, form(refresh(&first))).await;
    assert_eq!(refused, (StatusCode::BAD_REQUEST, json!({ "error": "invalid_grant" })));
    let (status, body) = exchange(&issuer, "application/json", third).await;
    assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("token_not_valid")));
    assert_eq!((issuer.reuses(), issuer.refusals(), issuer.requests()), (2, 2, 5));
}

#[tokio::test]
async fn an_issuer_knows_two_grants() {
    let issuer = Issuer::new();
    let (status, body) = exchange(&issuer, FORM, "grant_type=client_credentials".to_owned()).await;
    assert_eq!((status, body.get("refresh_token")), (StatusCode::OK, None));
    assert!(issuer.accepts(body["access_token"].as_str().unwrap()));
    for (request, code) in [
        ("grant_type=password&username=a", "unsupported_grant_type"),
        ("grant_type=refresh_token", "invalid_request"),
    ] {
        let response = exchange(&issuer, FORM, request.to_owned()).await;
        assert_eq!(response, (StatusCode::BAD_REQUEST, json!({ "error": code })));
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_expire_by_the_issuers_clock() {
    let clock = clock();
    let issuer = Issuer::builder().lifetime(Duration::from_secs(60)).clock(clock.clone()).build();
    let session = Session::builder(issuer.clone()).token(issuer.sign_in()).clock(clock.clone()).build();
    let first = session.token().await.unwrap();
    // The computer is suspended.
    clock.step(Duration::from_secs(60));
    assert!(!issuer.accepts(first.secret()));
    assert!(issuer.accepts(session.token().await.unwrap().secret()));
    assert_eq!((issuer.refreshes(), issuer.reuses()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_script_sets_the_next_responses() {
    let issuer = Issuer::builder().clock(clock()).build();
    let mut token = issuer.sign_in();
    issuer.script([
        Scripted::Status(StatusCode::SERVICE_UNAVAILABLE),
        Scripted::SameToken,
        Scripted::Expired,
    ]);

    let error = issuer.refresh(cx(&token)).await.unwrap_err();
    assert!(error.is_transient() && !error.is_unexplained());
    assert!(issuer.is_unused(refresh(&token)));

    let same = issuer.refresh(cx(&token)).await.unwrap();
    assert_eq!(same.access_token(), token.access_token());
    assert!(issuer.is_unused(refresh(&same)));

    let expired = issuer.refresh(cx(&same)).await.unwrap();
    assert!(!issuer.accepts(expired.access_token()));
    token = issuer.refresh(cx(&expired)).await.unwrap();
    assert!(issuer.accepts(token.access_token()));

    issuer.script([Scripted::Slow(Duration::from_secs(9)), Scripted::Lost]);
    let start = tokio::time::Instant::now();
    token = issuer.refresh(cx(&token)).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(9));
    assert!(issuer.refresh(cx(&token)).await.unwrap_err().is_outcome_unknown());
    // It was exchanged.
    assert!(!issuer.is_unused(refresh(&token)));
}

#[tokio::test]
async fn a_response_hangs_until_it_is_released() {
    let issuer = Issuer::new();
    let token = issuer.sign_in();
    issuer.script([Scripted::Hang, Scripted::Hang]);
    for _ in 0..2 {
        let (issuer, session) =
            (issuer.clone(), Session::builder(issuer.clone()).token(issuer.sign_in()).build());
        let handled = issuer.requests() + 1;
        let refreshing = tokio::spawn(async move { session.refresh().await });
        issuer.wait_for_requests(handled).await;
        assert!(!refreshing.is_finished());
        issuer.release();
        refreshing.await.unwrap().unwrap();
    }
    issuer.refresh(cx(&token)).await.unwrap();
}

#[tokio::test]
async fn a_lost_response_closes_the_connection() {
    let issuer = Issuer::new();
    let token = issuer.sign_in();
    let server = issuer.serve().await.unwrap();
    issuer.script([Scripted::Lost]);
    let body = format!("refresh_token={}", refresh(&token));
    client().request(post(&server.url(), FORM, body.clone())).await.unwrap_err();
    assert_eq!((issuer.refreshes(), issuer.reuses()), (1, 0));
    // The next one gets its response.
    assert_eq!(client().request(post(&server.url(), FORM, body)).await.unwrap().status(), 400);
    assert!(!issuer.family_is_alive());
}

#[tokio::test]
async fn a_dropped_server_has_stopped() {
    let server = Issuer::new().serve().await.unwrap();
    let url = server.url();
    drop(server);
    // Its task is cancelled at the next turn of the runtime.
    while tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_resource_accepts_what_its_issuer_issued() {
    let issuer = Issuer::new();
    let resource = Resource::new(&issuer);
    let token = issuer.sign_in();
    assert_eq!(call(&resource, Some(&token), "text/plain").await.0, 200);
    for rejected in [None, Some(&Issuer::new().sign_in())] {
        let (status, headers) = call(&resource, rejected, "text/plain").await;
        assert_eq!(
            (status.as_u16(), headers["www-authenticate"].to_str().unwrap()),
            (401, r#"Bearer error="invalid_token""#)
        );
    }
    issuer.revoke_family(refresh(&token));
    assert_eq!(call(&resource, Some(&token), "text/plain").await.0, 401);
    assert_eq!((resource.accepted(), resource.rejected()), (1, 3));
}

#[tokio::test]
async fn a_resource_requires_a_scope() {
    let issuer = Issuer::new();
    let resource = Resource::new(&issuer).require_scope("admin");
    let (status, headers) = call(&resource, Some(&issuer.sign_in_with_scopes(["read"])), "text/plain").await;
    assert_eq!(status, 403);
    assert_eq!(headers["www-authenticate"], r#"Bearer error="insufficient_scope", scope="admin""#);
    let admin = issuer.sign_in_with_scopes(["read", "admin"]);
    assert_eq!(call(&resource, Some(&admin), "text/plain").await.0, 200);
    // A refresh keeps the scopes.
    let admin = issuer.exchange(refresh(&admin)).unwrap();
    assert_eq!(call(&resource, Some(&admin), "text/plain").await.0, 200);
}

#[tokio::test]
async fn a_resource_rejects_grpc_calls_by_status() {
    let issuer = Issuer::new();
    let (status, headers) = call(&Resource::new(&issuer), None, "application/grpc+proto").await;
    assert_eq!((status.as_u16(), headers["grpc-status"].to_str().unwrap()), (200, "16"));
    let admin = Resource::new(&issuer).require_scope("admin");
    let (status, headers) = call(&admin, Some(&issuer.sign_in()), "application/grpc").await;
    assert_eq!((status.as_u16(), headers["grpc-status"].to_str().unwrap()), (200, "7"));
}

#[tokio::test]
async fn the_layer_survives_an_expiry_on_loopback() {
    let issuer = Issuer::new();
    let resource =
        Resource::new(&issuer).respond_with(|head| Response::new(head.uri.path().to_owned().into()));
    let server = resource.serve().await.unwrap();
    let session = Session::builder(issuer.clone()).token(issuer.sign_in()).build();
    let layer = session.layer().restrict_to_origin(server.url().parse().unwrap());
    let client = ServiceBuilder::new().layer(layer).service(client());
    // Only once: a token that is rejected right after its refresh is refreshed after a backoff.
    issuer.expire_access_tokens();
    for _ in 0..2 {
        let request = Request::get(format!("{}/items", server.url())).body(Full::default()).unwrap();
        let response = client.clone().oneshot(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "/items");
    }
    assert_eq!((issuer.refreshes(), resource.accepted(), resource.rejected()), (1, 2, 1));
}

#[tokio::test]
async fn a_body_that_fails_is_an_error_of_the_service() {
    let failing =
        http_body_util::BodyExt::map_err(Empty::<Bytes>::new(), |never| -> BoxError { match never {} });
    assert!(
        Issuer::new().oneshot(Request::new(failing)).await.is_ok(),
        "an empty body is an invalid request"
    );
    let stream =
        http_body_util::StreamBody::new(futures::stream::iter([Err::<hyper::body::Frame<Bytes>, _>("cut")]));
    Issuer::new().oneshot(Request::new(stream)).await.unwrap_err();
}

/// The step at which it fails, and the error.
async fn failed_step<R: Refresher>(make: impl Fn(Issuer) -> R) -> FailedStep {
    check_refresher(|issuer, _| make(issuer.clone())).await.unwrap_err()
}

#[tokio::test]
async fn check_refresher_passes_the_issuer_itself() {
    check_refresher(|issuer, _| issuer.clone()).await.unwrap();
}

/// Each of these has one fault, and fails the step that is about it.
#[tokio::test]
async fn check_refresher_finds_each_fault() {
    let step = failed_step(|issuer| {
        refresh_fn(move |cx: RefreshContext| {
            let issuer = issuer.clone();
            async move { Ok(issuer.refresh(cx).await?.into_builder().refresh_token(None::<String>).build()?) }
        })
    });
    assert_eq!(step.await.step(), "a refresh returns the new tokens");

    let step = failed_step(|issuer| {
        let stored = std::sync::Arc::new(std::sync::OnceLock::<Token>::new());
        refresh_fn(move |cx: RefreshContext| {
            let (issuer, first) =
                (issuer.clone(), stored.get_or_init(|| cx.token().cloned().unwrap()).clone());
            async move { issuer.refresh(self::cx(&first)).await }
        })
    });
    assert_eq!(step.await.step(), "the next refresh presents the new refresh token");

    let step = failed_step(|issuer| {
        let token = std::sync::Arc::new(std::sync::Mutex::new(None));
        refresh_fn(move |cx: RefreshContext| {
            let (issuer, token) = (issuer.clone(), token.clone());
            async move {
                let refreshed = issuer.refresh(cx).await;
                if let Ok(refreshed) = &refreshed {
                    *token.lock().unwrap() = Some(refreshed.clone());
                }
                tokio::task::yield_now().await;
                refreshed.map(|_| token.lock().unwrap().clone().unwrap())
            }
        })
    });
    assert_eq!(step.await.step(), "the refreshes of two users don't mix");

    let as_kind = |issuer: Issuer, change: fn(RefreshError) -> RefreshError| {
        refresh_fn(move |cx: RefreshContext| {
            let issuer = issuer.clone();
            async move { issuer.refresh(cx).await.map_err(change) }
        })
    };
    let step = failed_step(|issuer| {
        as_kind(issuer, |error| if error.is_grant_ended() { RefreshError::transient(error) } else { error })
    });
    assert_eq!(step.await.step(), "a refused refresh token ends the grant");
    let step = failed_step(|issuer| {
        as_kind(
            issuer,
            |error| if error.is_outcome_unknown() { RefreshError::transient(error) } else { error },
        )
    });
    let step = step.await;
    assert_eq!(step.step(), "a lost response is an unknown outcome");
    assert_eq!(
        step.to_string(),
        "check_refresher: a lost response is an unknown outcome: the error has the wrong kind; return \
         `RefreshError::outcome_unknown`"
    );
    let step = failed_step(|issuer| {
        as_kind(issuer, |error| if error.is_transient() { RefreshError::grant_ended(error) } else { error })
    });
    assert_eq!(step.await.step(), "an unavailable endpoint is a transient failure");

    // A lock that a dropped refresh leaves locked.
    let step = failed_step(|issuer| {
        let busy = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        refresh_fn(move |cx: RefreshContext| {
            let (issuer, busy) = (issuer.clone(), busy.clone());
            async move {
                if busy.swap(true, std::sync::atomic::Ordering::SeqCst) && cx.refresh_token().is_some() {
                    // Two users at once are fine.
                    tokio::task::yield_now().await;
                    if busy.load(std::sync::atomic::Ordering::SeqCst) {
                        return Err(RefreshError::transient("busy"));
                    }
                }
                let token = issuer.refresh(cx).await;
                busy.store(false, std::sync::atomic::Ordering::SeqCst);
                token
            }
        })
    });
    assert_eq!(step.await.step(), "a dropped refresh leaves the refresher usable");

    let step = failed_step(|issuer| {
        refresh_fn(move |cx: RefreshContext| {
            assert!(cx.refresh_token().is_some());
            let issuer = issuer.clone();
            async move { issuer.refresh(cx).await }
        })
    });
    assert_eq!(step.await.step(), "a missing refresh token doesn't cause a panic");

    let step = failed_step(|issuer| {
        refresh_fn(move |cx: RefreshContext| {
            let issuer = issuer.clone();
            async move {
                let presented = cx.refresh_token().unwrap_or_default().to_owned();
                issuer.refresh(cx).await.map_err(|_| RefreshError::grant_ended(presented))
            }
        })
    });
    let step = step.await;
    assert_eq!(step.step(), "a refused refresh token ends the grant");
    assert!(step.to_string().contains("its error contains a token"));
}

/// Otherwise it would close connections that their clients use for the next requests.
#[tokio::test]
async fn an_api_responds_once_an_upload_is_complete() {
    let issuer = Issuer::new();
    let resource = Resource::new(&issuer);
    let server = resource.serve().await.unwrap();
    let authorization = format!("Bearer {}", issuer.sign_in().access_token());

    let mut upload = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nauthorization: {authorization}\r\ncontent-length: 9\r\n\r\nan ");
    upload.write_all(head.as_bytes()).await.unwrap();
    // By the end of another call, the server has seen the beginning of the upload.
    let request = Request::get(server.url()).header("authorization", &authorization);
    client().request(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(resource.accepted(), 1);

    upload.write_all(b"upload").await.unwrap();
    let mut status = [0; 12];
    upload.read_exact(&mut status).await.unwrap();
    assert_eq!((&status, resource.accepted()), (b"HTTP/1.1 200", 2));
}

#[tokio::test(start_paused = true)]
async fn check_refresher_ends_if_the_refresher_does_not() {
    let hangs = refresh_fn(|_: RefreshContext| std::future::pending::<Result<Token, RefreshError>>());
    let error = check_refresher(|_, _| hangs).await.unwrap_err();
    assert_eq!(error.step(), "a refresh returns the new tokens");
    assert!(error.to_string().contains("it didn't finish within 60 s"), "{error}");
}

/// A client without a lock: each call that is rejected refreshes.
async fn call_naively(token: &Mutex<Token>, issuer: Issuer, api: Resource) {
    let current = token.lock().unwrap().clone();
    if call(&api, Some(&current), "").await.0 == StatusCode::OK {
        return;
    }
    let presented = refresh(&token.lock().unwrap()).to_owned();
    let body = format!("grant_type=refresh_token&refresh_token={presented}");
    let (status, response) = exchange(&issuer, FORM, body).await;
    if status == StatusCode::OK {
        let text = |name: &str| response[name].as_str().unwrap().to_owned();
        let new = Token::builder(text("access_token")).refresh_token(text("refresh_token")).build();
        *token.lock().unwrap() = new.unwrap();
    }
}

/// Otherwise a test with the kit wouldn't notice the race that the crate prevents.
#[tokio::test]
async fn concurrent_calls_overlap() {
    let issuer = Issuer::new();
    let api = Resource::new(&issuer);
    let token = Arc::new(Mutex::new(issuer.sign_in()));
    issuer.expire_access_tokens();
    join_all((0..50).map(|_| call_naively(&token, issuer.clone(), api.clone()))).await;
    assert_eq!((api.rejected(), issuer.refreshes(), issuer.reuses()), (50, 1, 49));

    let issuer = Issuer::builder().reuse(Reuse::Fork).build();
    let api = Resource::new(&issuer);
    let token = Arc::new(Mutex::new(issuer.sign_in()));
    issuer.expire_access_tokens();
    let calls: JoinSet<_> = (0..50)
        .map(|_| {
            let (token, issuer, api) = (Arc::clone(&token), issuer.clone(), api.clone());
            async move { call_naively(&token, issuer, api).await }
        })
        .collect();
    calls.join_all().await;
    assert_eq!((api.rejected(), issuer.reuses()), (50, 49));
}
