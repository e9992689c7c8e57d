//! Layer order.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, Request, Response, StatusCode,
    header::{AUTHORIZATION, LOCATION, PROXY_AUTHORIZATION},
};
use http_body_util::Full;
use tokio::{sync::watch, task::JoinHandle};
use tower::{
    Layer, ServiceBuilder, ServiceExt,
    retry::{Policy, RetryLayer},
    service_fn,
    util::BoxCloneSyncService,
};
use tower_http::follow_redirect::{
    FollowRedirectLayer, RequestUri,
    policy::{FilterCredentials, Limited, PolicyExt},
};
use tower_reauth::{
    AuthLayer, Error, RefreshError, Session, SkipAuth, Token,
    refresh::AnyRefresher,
    rejection::{RejectionRule, ResponseHead, StatusUnauthorized, Verdict, rejection_fn},
};

use crate::support::{BoxError, endpoint, expired, run_pending_tasks, token};

/// A header that redirects don't strip.
const TOKEN: HeaderName = HeaderName::from_static("x-token");

type Body = Full<Bytes>;
type Seen = Arc<Mutex<Vec<(String, bool)>>>;
type Server = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Host a redirects to host b. Records each host that was called, and whether it got a token.
fn hosts(status_of_b: StatusCode) -> (Server, Seen) {
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    let server = service_fn(move |request: Request<Body>| {
        let host = request.uri().host().unwrap().to_owned();
        let has_token = [AUTHORIZATION, TOKEN].iter().any(|name| request.headers().contains_key(name));
        record.lock().unwrap().push((host.clone(), has_token));
        async move {
            let mut response = Response::new(Body::default());
            if host == "a.example" {
                *response.status_mut() = StatusCode::FOUND;
                response.headers_mut().insert(LOCATION, "https://b.example/".parse().unwrap());
            } else {
                *response.status_mut() = status_of_b;
            }
            Ok::<_, Infallible>(response)
        }
    });
    (Server::new(server), seen)
}

fn request() -> Request<Body> {
    Request::get("https://a.example/").body(Body::default()).unwrap()
}

fn auth() -> AuthLayer<AnyRefresher> {
    auth_in(AUTHORIZATION)
}

/// Sends the token in this header.
fn auth_in(header: HeaderName) -> AuthLayer<AnyRefresher> {
    let (refresher, _endpoint) = endpoint();
    let builder = Session::builder(refresher).token(token("A1 R1 600"));
    AuthLayer::from_session(builder.header(header, Token::header_value).build())
}

fn seen(seen: &Seen) -> Vec<(String, bool)> {
    seen.lock().unwrap().clone()
}

fn hosts_called(a: bool, b: bool) -> Vec<(String, bool)> {
    vec![("a.example".to_owned(), a), ("b.example".to_owned(), b)]
}

#[tokio::test]
async fn c89_inside_a_redirect_layer_restricted_origins_keep_the_token_from_other_hosts() {
    let (server, log) = hosts(StatusCode::OK);
    let allowed = auth().restrict_to_origin("https://a.example".parse().unwrap());
    let client = ServiceBuilder::new().layer(FollowRedirectLayer::new()).layer(allowed).service(server);
    client.oneshot(request()).await.unwrap();
    assert_eq!(seen(&log), hosts_called(true, false));
    // Without restricted origins the token goes to the other host.
    let (server, log) = hosts(StatusCode::OK);
    let client = ServiceBuilder::new().layer(FollowRedirectLayer::new()).layer(auth()).service(server);
    client.oneshot(request()).await.unwrap();
    assert_eq!(seen(&log), hosts_called(true, true));
}

#[tokio::test]
async fn c89_outside_a_redirect_layer_the_redirect_strips_the_token() {
    let (server, log) = hosts(StatusCode::OK);
    let client = ServiceBuilder::new().layer(auth()).layer(FollowRedirectLayer::new()).service(server);
    client.oneshot(request()).await.unwrap();
    assert_eq!(seen(&log), hosts_called(true, false));
}

/// Outside a redirect layer, the last response may come from another host.
#[tokio::test(start_paused = true)]
async fn p15_c89_a_rule_can_accept_another_hosts_401() {
    fn ours(head: &ResponseHead<'_>) -> Verdict {
        match head.extensions().get::<RequestUri>() {
            Some(RequestUri(uri)) if uri.host() != Some("a.example") => Verdict::Accept,
            _ => StatusUnauthorized.judge(head),
        }
    }
    let (server, _) = hosts(StatusCode::UNAUTHORIZED);
    let (refresher, endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).build();
    let layer = AuthLayer::from_session(session.clone()).rejection_rule(rejection_fn(ours));
    let client = ServiceBuilder::new().layer(layer).layer(FollowRedirectLayer::new()).service(server);
    assert_eq!(client.oneshot(request()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 0);
    assert!(session.status().is_fresh());
}

#[tokio::test]
async fn d63_inside_a_redirect_layer_skip_auth_is_lost_across_origins_unless_its_policy_keeps_it() {
    async fn skipped<P>(redirects: FollowRedirectLayer<P>) -> Vec<(String, bool)>
    where
        P: tower_http::follow_redirect::policy::Policy<Body, BoxError> + Clone,
    {
        let (server, log) = hosts(StatusCode::OK);
        let auth = auth().restrict_to_origin("https://b.example".parse().unwrap());
        let client = ServiceBuilder::new().layer(redirects).layer(auth).service(server);
        let mut request = request();
        request.extensions_mut().insert(SkipAuth);
        client.oneshot(request).await.unwrap();
        seen(&log)
    }

    assert_eq!(skipped(FollowRedirectLayer::new()).await, hosts_called(false, true));
    let keeps_skip_auth = FilterCredentials::new().allow_extension::<SkipAuth>();
    let policy = Limited::default().and::<_, Body, BoxError>(keeps_skip_auth);
    assert_eq!(skipped(FollowRedirectLayer::with_policy(policy)).await, hosts_called(false, false));
}

/// Host a is the foreign server, host b the API.
#[tokio::test]
async fn d64_a_foreign_servers_redirect_gets_a_token_only_inside_the_redirect_layer() {
    let auth = || auth().restrict_to_origin("https://b.example".parse().unwrap());
    let (server, log) = hosts(StatusCode::OK);
    let client = ServiceBuilder::new().layer(FollowRedirectLayer::new()).layer(auth()).service(server);
    client.oneshot(request()).await.unwrap();
    assert_eq!(seen(&log), hosts_called(false, true));

    let (server, log) = hosts(StatusCode::OK);
    let client = ServiceBuilder::new().layer(auth()).layer(FollowRedirectLayer::new()).service(server);
    client.oneshot(request()).await.unwrap();
    assert_eq!(seen(&log), hosts_called(false, false));
}

/// Host a is the API.
#[tokio::test]
async fn d64_a_token_in_another_header_follows_redirects_unless_it_is_inside_and_restricted() {
    let auth = || auth_in(TOKEN).restrict_to_origin("https://a.example".parse().unwrap());
    let (server, log) = hosts(StatusCode::OK);
    let client = ServiceBuilder::new().layer(auth()).layer(FollowRedirectLayer::new()).service(server);
    client.oneshot(request()).await.unwrap();
    assert_eq!(seen(&log), hosts_called(true, true));

    let (server, log) = hosts(StatusCode::OK);
    let client = ServiceBuilder::new().layer(FollowRedirectLayer::new()).layer(auth()).service(server);
    client.oneshot(request()).await.unwrap();
    assert_eq!(seen(&log), hosts_called(true, false));
}

/// The proxy's token is in the request itself only for `http`; for `https` it is in the connector's `CONNECT`.
#[tokio::test]
async fn d80_a_forward_proxys_token_is_checked_against_the_requests_uri() {
    let layer = || auth_in(PROXY_AUTHORIZATION);
    let request = || Request::get("http://b.example/").body(Body::default()).unwrap();
    let (server, log) = hosts(StatusCode::OK);
    let error = layer().layer(server.clone()).oneshot(request()).await.unwrap_err();
    assert!(Error::find(&*error).unwrap().is_cleartext());
    assert_eq!(seen(&log), []);
    layer().dangerous_allow_cleartext(true).layer(server).oneshot(request()).await.unwrap();
    assert_eq!(seen(&log).len(), 1);
}

/// 20 callers wait for a token. Then the server gets 2 requests at a time, and responds once `open`.
fn spawn_callers<S>(client: &S) -> Vec<JoinHandle<Result<StatusCode, BoxError>>>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    let call = |_| {
        let client = client.clone();
        let request = Request::get("https://b.example/").body(Body::default()).unwrap();
        tokio::spawn(async move { Ok(client.oneshot(request).await?.status()) })
    };
    (0..20).map(call).collect()
}

async fn succeeded(callers: Vec<JoinHandle<Result<StatusCode, BoxError>>>) -> usize {
    let mut succeeded = 0;
    for caller in callers {
        succeeded += usize::from(caller.await.unwrap().is_ok());
    }
    succeeded
}

#[tokio::test(start_paused = true)]
async fn d66_load_shed_outside_lets_all_waiters_succeed_while_inside_it_sheds_them() {
    for (outside, max_waiters, expected) in [(true, 20, 20), (true, 5, 5), (false, 20, 2)] {
        let (open, gate) = watch::channel(false);
        let server = service_fn(move |_: Request<Body>| {
            let mut gate = gate.clone();
            async move {
                gate.wait_for(|open| *open).await?;
                Ok::<_, BoxError>(Response::new(Body::default()))
            }
        });
        let (refresher, mut endpoint) = endpoint();
        let auth = AuthLayer::from_session(expired(refresher).max_waiters(max_waiters).build());
        let limited = ServiceBuilder::new().concurrency_limit(2).service(server);
        let callers = if outside {
            spawn_callers(&ServiceBuilder::new().load_shed().layer(auth).service(limited))
        } else {
            spawn_callers(&ServiceBuilder::new().layer(auth).load_shed().service(limited))
        };
        let call = endpoint.next_call().await;
        run_pending_tasks().await;
        call.succeed("A2 R2 600");
        run_pending_tasks().await;
        open.send(true).unwrap();
        assert_eq!(succeeded(callers).await, expected, "outside: {outside}");
    }
}

/// As tonic's `Endpoint::timeout`, which is a layer inside the channel.
#[tokio::test(start_paused = true)]
async fn d41_an_inner_timeout_bounds_an_attempt_but_not_the_wait() {
    let (refresher, mut endpoint) = endpoint();
    let (server, _) = hosts(StatusCode::OK);
    let layer = AuthLayer::from_session(expired(refresher).build());
    let client = ServiceBuilder::new().layer(layer).timeout(Duration::from_millis(300)).service(server);
    let request = Request::get("https://b.example/").body(Body::default()).unwrap();
    let response = tokio::spawn(client.oneshot(request));
    let call = endpoint.next_call().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    call.succeed("A2 R2 600");
    assert_eq!(response.await.unwrap().unwrap().status(), StatusCode::OK);
}

/// Retries while the error is retryable, up to `left` times.
#[derive(Clone)]
struct WhileRetryable {
    left: usize,
    tries: Arc<Mutex<usize>>,
}

impl<R> Policy<Request<Body>, R, BoxError> for WhileRetryable {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Request<Body>, result: &mut Result<R, BoxError>) -> Option<Self::Future> {
        *self.tries.lock().unwrap() += 1;
        let error = Error::find(&**result.as_ref().err()?)?;
        self.left = self.left.checked_sub(1)?;
        error.is_retryable().then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Some(request.clone())
    }
}

/// The error tells it whether a retry helps.
#[tokio::test(start_paused = true)]
async fn b09_an_outer_retry_layer_knows_when_to_stop() {
    for (uri, expected) in [("http://b.example/", 1), ("https://b.example/", 4)] {
        let tries = Arc::default();
        let policy = WhileRetryable { left: 3, tries: Arc::clone(&tries) };
        let (server, _) = hosts(StatusCode::OK);
        let refresher = tower_reauth::refresh_fn(|_| async { Err(RefreshError::transient("down")) });
        let auth = AuthLayer::from_session(expired(refresher).build());
        let client = ServiceBuilder::new().layer(RetryLayer::new(policy)).layer(auth).service(server);
        let request = Request::get(uri).body(Body::default()).unwrap();
        client.oneshot(request).await.unwrap_err();
        assert_eq!(*tries.lock().unwrap(), expected, "{uri}");
    }
}

/// The second refresh succeeds.
#[tokio::test(start_paused = true)]
async fn b09_each_try_gets_the_token_again() {
    let failed_once = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let refresher = tower_reauth::refresh_fn(move |_| {
        let failed = failed_once.swap(true, std::sync::atomic::Ordering::SeqCst);
        async move { if failed { Ok(token("A2 R2 600")) } else { Err(RefreshError::outcome_unknown("reset")) } }
    });
    // The flight repeats the refresh, so the first try succeeds already.
    let (server, log) = hosts(StatusCode::OK);
    let policy = WhileRetryable { left: 3, tries: Arc::default() };
    let auth = AuthLayer::from_session(expired(refresher).build());
    let client = ServiceBuilder::new().layer(RetryLayer::new(policy)).layer(auth).service(server);
    let request = Request::get("https://b.example/").body(Body::default()).unwrap();
    assert_eq!(client.oneshot(request).await.unwrap().status(), StatusCode::OK);
    assert_eq!(seen(&log), [("b.example".to_owned(), true)]);
}

/// It also bounds the wait of a rejected request.
#[tokio::test(start_paused = true)]
async fn b100_an_outer_timeout_bounds_the_wait_and_the_retry() {
    let (server, _) = hosts(StatusCode::UNAUTHORIZED);
    let (refresher, mut endpoint) = endpoint();
    let session =
        Session::builder(refresher).token(token("A1 R1 600")).clock(crate::support::clock()).build();
    let client = ServiceBuilder::new()
        .timeout(Duration::from_secs(1))
        .layer(AuthLayer::from_session(session.clone()))
        .service(server);
    let request = Request::get("https://b.example/").body(Body::default()).unwrap();
    let error = client.oneshot(request).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    // The refresh goes on.
    endpoint.next_call().await.succeed("A2 R2 600");
    run_pending_tasks().await;
    assert_eq!(session.status().generation(), 2);
}

#[tokio::test]
async fn a_service_that_is_not_clone_works_behind_a_buffer() {
    struct Once;

    impl tower::Service<Request<Body>> for Once {
        type Response = Response<Body>;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Response<Body>, BoxError>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            std::future::ready(Ok(Response::new(Body::default())))
        }
    }

    let client = auth().layer(ServiceBuilder::new().buffer(8).service(Once));
    client.oneshot(request()).await.unwrap();
}
