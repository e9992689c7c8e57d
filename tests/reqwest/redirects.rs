//! Redirects, which reqwest follows inside the layer.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use tower_reauth::{
    rejection::{RejectionRule, StatusUnauthorized, Verdict, rejection_fn},
    reqwest::{FinalUrl, redirect_policy},
};

use crate::{
    sender::Kind,
    server::{Reply, Server, builder, http1, if_a2, redirect, session, status},
};

fn body(body: impl Into<Bytes>) -> Reply {
    Reply::new(Full::new(body.into()))
}

/// `/old` redirects to `/new`, which accepts A2.
async fn moved(to: u16) -> Server {
    Server::start(move |request| async move {
        match &*request.path {
            "/old" => redirect(to, "/new"),
            _ => if_a2(&request, body(request.body.clone())),
        }
    })
    .await
}

#[tokio::test]
async fn p04_a_rejection_after_a_redirect_within_the_origin_is_retried() {
    for kind in Kind::ALL {
        let server = moved(302).await;
        let (session, refreshes) = session();
        let client = http1();
        let response =
            kind.sender(session.layer(), &client).send(client.get(server.url("/old"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{kind:?}");
        assert_eq!(response.url().as_str(), server.url("/new"), "{kind:?}");
        assert_eq!(response.extensions().get::<FinalUrl>().unwrap().url(), response.url(), "{kind:?}");
        assert_eq!(server.tokens(), ["A1", "A1", "A2", "A2"], "{kind:?}");
        assert_eq!(refreshes.load(Ordering::SeqCst), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn p04_a_rejection_by_another_origin_after_a_redirect_is_not_one_of_our_token() {
    for kind in Kind::ALL {
        let elsewhere = Server::start(|_| async { status(401) }).await;
        let location = elsewhere.url("/new");
        let server = Server::start(move |_| {
            let location = location.clone();
            async move { redirect(302, &location) }
        })
        .await;
        let (session, refreshes) = session();
        let client = http1();
        let response =
            kind.sender(session.layer(), &client).send(client.get(server.url("/old"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{kind:?}");
        assert_eq!(response.url().as_str(), elsewhere.url("/new"), "{kind:?}");
        assert_eq!((server.tokens(), elsewhere.tokens()), (vec!["A1".into()], vec!["-".into()]), "{kind:?}");
        assert_eq!(refreshes.load(Ordering::SeqCst), 0, "{kind:?}");
        // The token wasn't marked, either.
        assert_eq!(session.try_token().unwrap().secret(), "A1", "{kind:?}");
    }
}

/// An API that redirects to its login page if a token has expired.
#[tokio::test]
async fn a_rule_sees_the_final_url() {
    for kind in Kind::ALL {
        let login = Server::start(|_| async { body("please log in") }).await;
        let location = login.url("/login");
        let server = Server::start(move |request| {
            let location = location.clone();
            async move { if request.token() == "A2" { body("items") } else { redirect(302, &location) } }
        })
        .await;
        let (session, _) = session();
        let layer =
            session.layer().rejection_rule(rejection_fn(|head| match head.extensions().get::<FinalUrl>() {
                Some(url) if url.url().path() == "/login" => Verdict::reject(),
                _ => StatusUnauthorized.judge(head),
            }));
        let client = http1();
        let response = kind.sender(layer, &client).send(client.get(server.url("/items"))).await.unwrap();
        assert_eq!(response.url().as_str(), server.url("/items"), "{kind:?}");
        assert_eq!(response.text().await.unwrap(), "items", "{kind:?}");
    }
}

#[tokio::test]
async fn p16_a_redirect_that_repeats_the_body_is_followed_in_each_attempt() {
    for (kind, to) in Kind::ALL.into_iter().flat_map(|kind| [(kind, 307), (kind, 308)]) {
        let server = moved(to).await;
        let (session, _) = session();
        let client = http1();
        let request = client.post(server.url("/old")).json(&["a", "b"]);
        let response = kind.sender(session.layer(), &client).send(request).await.unwrap();
        assert_eq!(response.url().as_str(), server.url("/new"), "{kind:?} {to}");
        assert_eq!(response.text().await.unwrap(), r#"["a","b"]"#, "{kind:?} {to}");
        let received = server.received();
        assert_eq!(server.tokens(), ["A1", "A1", "A2", "A2"], "{kind:?} {to}");
        assert!(received.iter().all(|request| request.body == r#"["a","b"]"#), "{kind:?} {to}");
    }
}

/// reqwest's own policy compares the last redirect with the one before only, and sends the token to `/2`.
#[tokio::test]
async fn p15_with_the_redirect_policy_no_redirect_brings_the_token_to_another_origin() {
    for kind in Kind::ALL {
        let elsewhere = Server::start(|request| async move {
            if request.path == "/1" { redirect(302, "/2") } else { body("elsewhere") }
        })
        .await;
        let location = elsewhere.url("/1");
        let server = Server::start(move |request| {
            let location = location.clone();
            async move { if request.path == "/0" { redirect(302, &location) } else { redirect(302, "/0") } }
        })
        .await;
        let (session, _) = session();
        let client = builder().redirect(redirect_policy()).build().unwrap();
        let sender = kind.sender(session.layer(), &client);
        let response = sender.send(client.get(server.url("/"))).await.unwrap();
        assert_eq!(
            (server.tokens(), elsewhere.tokens()),
            (vec!["A1".into(); 2], vec!["-".into()]),
            "{kind:?}"
        );
        assert_eq!(response.status(), StatusCode::FOUND, "{kind:?}");
        assert_eq!(response.url().as_str(), elsewhere.url("/1"), "{kind:?}");
    }
}

/// As without the layer.
#[tokio::test]
async fn a_redirect_that_would_repeat_a_stream_is_returned() {
    for kind in Kind::ALL {
        let server = moved(307).await;
        let (session, _) = session();
        let client = http1();
        let request =
            client.post(server.url("/old")).body(reqwest::Body::wrap(Full::new(Bytes::from("stream"))));
        let response = kind.sender(session.layer(), &client).send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT, "{kind:?}");
    }
}
