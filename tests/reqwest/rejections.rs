//! Tokens that a server rejects.

use std::sync::{Arc, atomic::Ordering};

use http::StatusCode;
use tokio::sync::{Semaphore, mpsc};
use tower_reauth::{Error, RefreshError, future::AuthReport, refresh_fn};

use crate::{
    sender::Kind,
    server::{Reply, Server, http1, http2, if_a2, session, session_with, status},
};

#[tokio::test]
async fn p04_a_rejected_request_is_retried_once_with_a_newer_token() {
    for (kind, client) in Kind::ALL.into_iter().flat_map(|kind| [(kind, http1()), (kind, http2())]) {
        let server = Server::accepting_a2().await;
        let (session, refreshes) = session();
        let request = client.post(server.url("/")).json(&["a", "b"]).header("x-own", "1");
        let response = kind.sender(session.layer(), &client).send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{kind:?}");
        let report = response.extensions().get::<AuthReport>().unwrap();
        assert_eq!((report.attempts(), report.waited()), (2, true), "{kind:?}");
        let [first, second] = &server.received()[..] else { panic!("{kind:?}") };
        assert_eq!((first.token(), second.token()), ("A1", "A2"), "{kind:?}");
        let without_token = |mut headers: http::HeaderMap| {
            headers.remove("authorization");
            headers
        };
        assert_eq!(without_token(first.headers.clone()), without_token(second.headers.clone()), "{kind:?}");
        assert_eq!((&first.method, &first.body), (&second.method, &second.body), "{kind:?}");
        assert_eq!(refreshes.load(Ordering::SeqCst), 1, "{kind:?}");
    }
}

/// The late ones are in flight when the first is rejected, and get their 401s after the refresh.
#[tokio::test]
async fn p04_late_rejections_are_retried_without_a_refresh() {
    const LATE: usize = 8;
    for (kind, client) in Kind::ALL.into_iter().flat_map(|kind| [(kind, http1()), (kind, http2())]) {
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
        let sender = kind.sender(session.layer(), &client);
        let mut late = Vec::new();
        for _ in 0..LATE {
            let (sender, request) = (sender.clone(), client.get(server.url("/late")));
            late.push(tokio::spawn(async move { sender.send(request).await.unwrap().status() }));
            arrivals.recv().await.unwrap();
        }
        let first = sender.send(client.get(server.url("/"))).await.unwrap();
        assert_eq!((first.status(), refreshes.load(Ordering::SeqCst)), (StatusCode::OK, 1), "{kind:?}");
        release.add_permits(LATE);
        for late in late {
            assert_eq!(late.await.unwrap(), StatusCode::OK, "{kind:?}");
        }
        assert_eq!(refreshes.load(Ordering::SeqCst), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn p05_a_server_that_rejects_everything_gets_each_request_twice() {
    for kind in Kind::ALL {
        let server = Server::start(|_| async { status(401) }).await;
        let (session, refreshes) = session();
        let client = http1();
        let sender = kind.sender(session.layer(), &client);
        let response = sender.send(client.get(server.url("/"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{kind:?}");
        assert_eq!(response.url().as_str(), server.url("/"), "{kind:?}");
        assert_eq!(response.extensions().get::<AuthReport>().unwrap().attempts(), 2, "{kind:?}");
        assert_eq!(server.tokens(), ["A1", "A2"], "{kind:?}");
        assert_eq!(refreshes.load(Ordering::SeqCst), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn p07_without_a_newer_token_the_caller_gets_the_rejection_and_the_reason() {
    for kind in Kind::ALL {
        let server = Server::start(|_| async {
            let mut reply = Reply::new("who are you?".into());
            *reply.status_mut() = StatusCode::UNAUTHORIZED;
            reply
        })
        .await;
        let session = session_with(refresh_fn(|_| async { Err(RefreshError::transient("down")) }));
        let client = http1();
        let sender = kind.sender(session.layer(), &client);
        let response = sender.send(client.get(server.url("/"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{kind:?}");
        let report = response.extensions().get::<AuthReport>().unwrap();
        assert!(report.error().is_some_and(Error::is_transient), "{kind:?}");
        assert_eq!(response.text().await.unwrap(), "who are you?", "{kind:?}");
    }
}
