//! Timeouts of requests, of clients, and of waits for a token.

use std::{future::pending, time::Duration};

use reqwest::RequestBuilder;
use tokio::time;
use tower_reauth::{
    Error, Session, Token, refresh_fn,
    reqwest::{AuthClient, SendError},
};

use crate::{
    sender::Kind,
    server::{LONG, Reply, Server, builder, http1, session},
};

const SHORT: Duration = Duration::from_millis(20);

/// What a tower service gets is a request of the http crate, whose timeout is an extension that only reqwest can
/// read: it bounds each attempt.
const KINDS: [Kind; 2] = [Kind::Client, Kind::Middleware];

/// The error of the session's own wait timeout would be another one.
#[tokio::test]
async fn a_requests_timeout_bounds_the_wait_for_a_token() {
    for kind in KINDS {
        let server = Server::accepting_a2().await;
        let session = Session::builder(refresh_fn(|_| pending())).build();
        let client = http1();
        let request = client.get(server.url("/")).timeout(SHORT);
        let error = kind.sender(session.layer(), &client).send(request).await.unwrap_err();
        assert!(Error::find(&*error).is_some_and(Error::is_deadline_exceeded), "{kind:?}: {error:?}");
        assert!(server.received().is_empty(), "{kind:?}");
    }
}

/// The call is over then, whatever the server responded.
#[tokio::test]
async fn a_requests_timeout_bounds_the_wait_after_a_rejection() {
    const HOUR: Duration = Duration::from_secs(3600);
    for kind in KINDS {
        let server = Server::accepting_a2().await;
        let token = Token::try_new("A1").unwrap();
        let session = Session::builder(refresh_fn(|_| pending()))
            .token(token)
            .wait_timeout(2 * HOUR)
            .refresh_timeout(2 * HOUR)
            .build();
        let client = http1();
        let (sender, request) =
            (kind.sender(session.layer(), &client), client.get(server.url("/")).timeout(HOUR));
        let call = tokio::spawn(async move { sender.send(request).await.map(drop).unwrap_err() });
        while session.status().waiters() == 0 {
            tokio::task::yield_now().await;
        }
        time::pause();
        time::advance(HOUR).await;
        let error = call.await.unwrap();
        time::resume();
        assert!(Error::find(&*error).is_some_and(Error::is_deadline_exceeded), "{kind:?}: {error:?}");
        assert_eq!(server.tokens(), ["A1"], "{kind:?}");
    }
}

async fn error(auth: &AuthClient, request: RequestBuilder) -> SendError {
    time::timeout(LONG, auth.send(request)).await.expect("no hang").unwrap_err()
}

#[tokio::test]
async fn a_send_error_knows_all_timeouts() {
    let server = Server::start(|_| pending::<Reply>()).await;
    let client = http1();
    let with_timeout = client.get(server.url("/")).timeout(SHORT);

    let waiting = Session::builder(refresh_fn(|_| pending())).build();
    let timed_out =
        error(&waiting.layer().wait_timeout(SHORT).reqwest(http1()), client.get(server.url("/"))).await;
    assert!(timed_out.is_timeout() && timed_out.auth_error().is_some_and(Error::is_timeout), "{timed_out:?}");

    let timed_out = error(&waiting.layer().reqwest(http1()), with_timeout.try_clone().unwrap()).await;
    assert!(timed_out.is_timeout() && timed_out.auth_error().is_some(), "{timed_out:?}");

    let auth = session().0.layer().reqwest(http1());
    let timed_out = error(&auth, with_timeout).await;
    assert!(timed_out.is_timeout() && timed_out.reqwest_error().is_some(), "{timed_out:?}");

    let client = builder().timeout(SHORT).build().unwrap();
    let timed_out = error(&auth, client.get(server.url("/"))).await;
    assert!(timed_out.is_timeout() && timed_out.reqwest_error().is_some(), "{timed_out:?}");
}
