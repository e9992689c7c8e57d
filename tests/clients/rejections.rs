//! Tokens that a server rejects.

use std::sync::{Arc, atomic::Ordering};

use http::{HeaderMap, StatusCode, Version, header};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tower_reauth::{Error, RefreshError, future::AuthReport, refresh_fn};

use crate::{
    client::{Client, LONG, Settings, VERSIONS, bytes, get, post},
    loopback::{Reply, Server, if_a2, status},
    session::{session, session_with},
};

async fn p04_a_rejected_request_is_retried_once_with_a_newer_token<C: Client>() {
    for version in VERSIONS {
        let server = Server::accepting_a2().await;
        let (session, refreshes) = session();
        let mut request = post(server.url("/"), "body");
        request.headers_mut().insert("x-own", "1".parse().unwrap());
        let response = C::new(session.layer(), version).send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{version:?}");
        let report = response.extensions().get::<AuthReport>().unwrap();
        assert_eq!((report.attempts(), report.waited()), (2, true), "{version:?}");
        assert_eq!(bytes(response).await, "body", "{version:?}");
        let [first, second] = &server.received()[..] else { panic!("{version:?}") };
        assert_eq!((first.token(), second.token()), ("A1", "A2"), "{version:?}");
        let without_token = |mut headers: HeaderMap| {
            headers.remove(header::AUTHORIZATION);
            headers
        };
        assert_eq!(
            without_token(first.headers.clone()),
            without_token(second.headers.clone()),
            "{version:?}"
        );
        assert_eq!((&first.method, &first.body), (&second.method, &second.body), "{version:?}");
        assert_eq!(refreshes.load(Ordering::SeqCst), 1, "{version:?}");
    }
}

/// The late ones are in flight when the first is rejected, and get their 401s after the refresh.
async fn p04_late_rejections_are_retried_without_a_refresh<C: Client>() {
    const LATE: usize = 8;
    for version in VERSIONS {
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let release = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&release);
        let server = Server::start(move |request| {
            let (arrived, gate) = (arrived.clone(), Arc::clone(&gate));
            async move {
                if request.path == "/late" && request.token() == "A1" {
                    arrived.send(()).unwrap();
                    gate.acquire().await.unwrap().forget();
                }
                if_a2(&request, Reply::default())
            }
        })
        .await;
        let (session, refreshes) = session();
        let client = C::new(session.layer(), version);
        let mut late = Vec::new();
        for _ in 0..LATE {
            let (client, request) = (client.clone(), get(server.url("/late")));
            late.push(tokio::spawn(async move { client.send(request).await.unwrap().status() }));
            arrivals.recv().await.unwrap();
        }
        let first = client.send(get(server.url("/"))).await.unwrap();
        assert_eq!((first.status(), refreshes.load(Ordering::SeqCst)), (StatusCode::OK, 1), "{version:?}");
        release.add_permits(LATE);
        for late in late {
            assert_eq!(late.await.unwrap(), StatusCode::OK, "{version:?}");
        }
        assert_eq!(refreshes.load(Ordering::SeqCst), 1, "{version:?}");
    }
}

async fn p05_a_server_that_rejects_everything_gets_each_request_twice<C: Client>() {
    for version in VERSIONS {
        let server = Server::start(|_| async { status(401) }).await;
        let (session, refreshes) = session();
        let response = C::new(session.layer(), version).send(get(server.url("/"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{version:?}");
        assert_eq!(response.extensions().get::<AuthReport>().unwrap().attempts(), 2, "{version:?}");
        assert_eq!(server.tokens(), ["A1", "A2"], "{version:?}");
        assert_eq!(refreshes.load(Ordering::SeqCst), 1, "{version:?}");
    }
}

async fn p07_without_a_newer_token_the_caller_gets_the_rejection_and_the_reason<C: Client>() {
    for version in VERSIONS {
        let server = Server::start(|_| async {
            let mut reply = Reply::new("who are you?".into());
            *reply.status_mut() = StatusCode::UNAUTHORIZED;
            reply
        })
        .await;
        let session = session_with(refresh_fn(|_| async { Err(RefreshError::transient("down")) }));
        let response = C::new(session.layer(), version).send(get(server.url("/"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{version:?}");
        let report = response.extensions().get::<AuthReport>().unwrap();
        assert!(report.error().is_some_and(Error::is_transient), "{version:?}");
        assert_eq!(bytes(response).await, "who are you?", "{version:?}");
    }
}

/// Over HTTP/1, hyper reads what has arrived of a response that is dropped, and reuses the connection if that
/// is all.
async fn p16_a_rejection_costs_at_most_one_connection<C: Client>() {
    for rejection in [64, 8 << 20] {
        let server = Server::start(move |request| async move {
            let mut reply = if_a2(&request, Reply::default());
            if reply.status() == StatusCode::UNAUTHORIZED {
                *reply.body_mut() = vec![b'x'; rejection].into();
            }
            reply
        })
        .await;
        // If the client has permits: with one, a retry that waited for its own connection would hang.
        let settings = Settings { concurrency: 1, ..Version::HTTP_11.into() };
        let client = C::new(session().0.layer(), settings);
        let response = timeout(LONG, client.send(get(server.url("/")))).await.expect("no hang").unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let [_, retry] = &server.received()[..] else { panic!("a rejection of {rejection} bytes") };
        assert!(retry.connection <= 1, "a rejection of {rejection} bytes took more than two connections");
    }
}

on_each_client!(
    #[tokio::test(flavor = "multi_thread")]
    p04_a_rejected_request_is_retried_once_with_a_newer_token,
    p04_late_rejections_are_retried_without_a_refresh,
    p05_a_server_that_rejects_everything_gets_each_request_twice,
    p07_without_a_newer_token_the_caller_gets_the_rejection_and_the_reason,
    p16_a_rejection_costs_at_most_one_connection,
);
