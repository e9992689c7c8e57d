//! Redirects, which reqwest follows inside the layer.

use std::sync::atomic::Ordering;

use http::{StatusCode, header};
use tower_reauth::{
    rejection::{RejectionRule, StatusUnauthorized, Verdict, rejection_fn},
    reqwest::{FinalUrl, redirect_policy},
};

use crate::{
    client::{VERSIONS, stream},
    loopback::{Reply, Server, if_a2, status},
    session::session,
};

use super::{ReqwestClient, builder, client, client_for};

pub(super) fn redirect(to: u16, location: &str) -> Reply {
    let mut reply = status(to);
    reply.headers_mut().insert(header::LOCATION, location.parse().unwrap());
    reply
}

/// Redirects each request to `location`.
async fn redirecting(to: u16, location: String) -> Server {
    Server::start(move |_| {
        let reply = redirect(to, &location);
        async move { reply }
    })
    .await
}

/// `/old` redirects to `/new`, which accepts A2.
async fn moved(to: u16) -> Server {
    Server::start(move |request| async move {
        match &*request.path {
            "/old" => redirect(to, "/new"),
            _ => if_a2(&request, Reply::new(request.body.clone().into())),
        }
    })
    .await
}

async fn p04_a_rejection_after_a_redirect_within_the_origin_is_retried<C: ReqwestClient>() {
    for version in VERSIONS {
        let server = moved(302).await;
        let (session, refreshes) = session();
        let client = client_for(version);
        let auth = C::of(session.layer(), &client);
        let response = auth.send_builder(client.get(server.url("/old"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{version:?}");
        assert_eq!(response.url().as_str(), server.url("/new"), "{version:?}");
        assert_eq!(response.extensions().get::<FinalUrl>().unwrap().url(), response.url(), "{version:?}");
        assert_eq!(server.tokens(), ["A1", "A1", "A2", "A2"], "{version:?}");
        assert_eq!(refreshes.load(Ordering::SeqCst), 1, "{version:?}");
    }
}

async fn p04_a_rejection_by_another_origin_after_a_redirect_is_not_one_of_our_token<C: ReqwestClient>() {
    for to in [302, 307] {
        let elsewhere = Server::start(|_| async { status(401) }).await;
        let server = redirecting(to, elsewhere.url("/new")).await;
        let (session, refreshes) = session();
        let client = client();
        let auth = C::of(session.layer(), &client);
        let response = auth.send_builder(client.post(server.url("/old")).body("body")).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{to}");
        assert_eq!(response.url().as_str(), elsewhere.url("/new"), "{to}");
        assert_eq!((server.tokens(), elsewhere.tokens()), (vec!["A1".into()], vec!["-".into()]), "{to}");
        assert_eq!(refreshes.load(Ordering::SeqCst), 0, "{to}");
        // The token wasn't marked, either.
        assert_eq!(session.try_token().unwrap().secret(), "A1", "{to}");
    }
}

/// An API that redirects to its login page if a token has expired.
async fn a_rule_sees_the_final_url<C: ReqwestClient>() {
    let login = Server::start(|_| async { Reply::new("please log in".into()) }).await;
    let location = login.url("/login");
    let server = Server::start(move |request| {
        let login = redirect(302, &location);
        async move { if request.token() == "A2" { Reply::new("items".into()) } else { login } }
    })
    .await;
    let layer =
        session().0.layer().rejection_rule(rejection_fn(|head| match head.extensions().get::<FinalUrl>() {
            Some(url) if url.url().path() == "/login" => Verdict::reject(),
            _ => StatusUnauthorized.judge(head),
        }));
    let client = client();
    let auth = C::of(layer, &client);
    let response = auth.send_builder(client.get(server.url("/items"))).await.unwrap();
    assert_eq!(response.url().as_str(), server.url("/items"));
    assert_eq!(response.text().await.unwrap(), "items");
}

async fn p16_a_redirect_that_repeats_the_body_is_followed_in_each_attempt<C: ReqwestClient>() {
    for to in [307, 308] {
        let server = moved(to).await;
        let client = client();
        let auth = C::of(session().0.layer(), &client);
        let request = client.post(server.url("/old")).json(&["a", "b"]);
        let response = auth.send_builder(request).await.unwrap();
        assert_eq!(response.url().as_str(), server.url("/new"), "{to}");
        assert_eq!(response.text().await.unwrap(), r#"["a","b"]"#, "{to}");
        assert_eq!(server.tokens(), ["A1", "A1", "A2", "A2"], "{to}");
        assert!(server.received().iter().all(|request| request.body == r#"["a","b"]"#), "{to}");
    }
}

/// reqwest's own policy compares the last redirect with the one before only, and sends the token to `/2`.
async fn p15_with_the_redirect_policy_no_redirect_brings_the_token_to_another_origin<C: ReqwestClient>() {
    let elsewhere = Server::start(|request| async move {
        if request.path == "/1" { redirect(302, "/2") } else { Reply::new("elsewhere".into()) }
    })
    .await;
    let location = elsewhere.url("/1");
    let server = Server::start(move |request| {
        let reply = redirect(302, if request.path == "/0" { &location } else { "/0" });
        async move { reply }
    })
    .await;
    let client = builder().redirect(redirect_policy()).build().unwrap();
    let auth = C::of(session().0.layer(), &client);
    let response = auth.send_builder(client.get(server.url("/"))).await.unwrap();
    assert_eq!((server.tokens(), elsewhere.tokens()), (vec!["A1".into(); 2], vec!["-".into()]));
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(response.url().as_str(), elsewhere.url("/1"));
}

/// As without the layer.
async fn a_redirect_that_would_repeat_a_stream_is_returned<C: ReqwestClient>() {
    let server = moved(307).await;
    let client = client();
    let auth = C::of(session().0.layer(), &client);
    let (body, _) = stream(["stream".into()]);
    let request = client.post(server.url("/old")).body(reqwest::Body::wrap(body));
    let response = auth.send_builder(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
}

on_each_reqwest_client!(
    #[tokio::test(flavor = "multi_thread")]
    p04_a_rejection_after_a_redirect_within_the_origin_is_retried,
    p04_a_rejection_by_another_origin_after_a_redirect_is_not_one_of_our_token,
    a_rule_sees_the_final_url,
    p16_a_redirect_that_repeats_the_body_is_followed_in_each_attempt,
    p15_with_the_redirect_policy_no_redirect_brings_the_token_to_another_origin,
    a_redirect_that_would_repeat_a_stream_is_returned,
);
