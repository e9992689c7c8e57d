//! `Session::send`, for clients that aren't tower services.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use tokio::sync::{Barrier, oneshot};
use tower_reauth::{
    AccessToken, Error, RefreshError, Session, TokenOptions, challenge::Challenges, refresh::RefreshReason,
    rejection::Verdict,
};

use crate::support::{clock, endpoint, run_pending_tasks, token};

/// A server that rejects all tokens but these, and the tokens that it was sent.
#[derive(Clone)]
struct Server {
    accepts: &'static [&'static str],
    sent: Arc<Mutex<Vec<String>>>,
    rejections: Arc<Barrier>,
}

// === impl Server ===

impl Server {
    fn accepting(accepts: &'static [&'static str]) -> Self {
        Self { accepts, sent: Arc::default(), rejections: Arc::new(Barrier::new(1)) }
    }

    async fn call(self, token: AccessToken) -> StatusCode {
        self.sent.lock().unwrap().push(token.secret().to_owned());
        if self.accepts.contains(&token.secret()) {
            return StatusCode::OK;
        }
        self.rejections.wait().await;
        StatusCode::UNAUTHORIZED
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }
}

fn judge(status: &StatusCode) -> Verdict {
    Verdict::of_status(*status, &HeaderMap::new())
}

async fn send(session: Session, server: Server) -> Result<StatusCode, Error> {
    session.send(|token| server.clone().call(token), judge).await
}

#[tokio::test(start_paused = true)]
async fn p01_calls_by_hand_share_one_refresh() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    // All of them are rejected together.
    let server = Server { rejections: Arc::new(Barrier::new(100)), ..Server::accepting(&["A2"]) };
    let calls: Vec<_> = (0..100).map(|_| tokio::spawn(send(session.clone(), server.clone()))).collect();
    endpoint.next_call().await.succeed("A2 R2 600");
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), StatusCode::OK);
    }
    assert_eq!((endpoint.call_count(), server.sent().len()), (1, 200));
}

#[tokio::test(start_paused = true)]
async fn p05_a_call_by_hand_is_made_twice_at_most() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let server = Server::accepting(&[]);
    let call = tokio::spawn(send(session.clone(), server.clone()));
    endpoint.next_call().await.succeed("A2 R2 600");
    assert_eq!(call.await.unwrap().unwrap(), StatusCode::UNAUTHORIZED);
    assert_eq!(server.sent(), ["A1", "A2"]);
    // The session knows that the second one was rejected, too.
    assert!(session.status().is_rejected());
    assert_eq!(endpoint.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn p04_a_late_rejection_by_hand_starts_no_refresh() {
    let (refresher, endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let (respond, response) = oneshot::channel();
    let response = Mutex::new(Some(response));
    let call = tokio::spawn({
        let session = session.clone();
        async move {
            let call = |token: AccessToken| {
                let response = response.lock().unwrap().take();
                async move {
                    match response {
                        Some(response) => response.await.unwrap(),
                        None => {
                            assert_eq!(token.secret(), "A2");
                            StatusCode::OK
                        }
                    }
                }
            };
            session.send(call, judge).await
        }
    });
    run_pending_tasks().await;
    session.set_token(token("A2 R2 600")).unwrap();
    respond.send(StatusCode::UNAUTHORIZED).unwrap();
    assert_eq!(call.await.unwrap().unwrap(), StatusCode::OK);
    assert_eq!(endpoint.call_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p07_without_a_newer_token_a_call_by_hand_returns_the_rejection() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let server = Server::accepting(&["A2"]);
    let call = tokio::spawn(send(session.clone(), server.clone()));
    endpoint.next_call().await.fail(RefreshError::transient("503"));
    assert_eq!(call.await.unwrap().unwrap(), StatusCode::UNAUTHORIZED);
    assert_eq!(server.sent(), ["A1"]);
    assert!(session.status().last_error().is_some_and(Error::is_retryable));
}

#[tokio::test(start_paused = true)]
async fn b120_challenges_of_a_call_by_hand_reach_the_refresher() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token", claims="c""#);
    let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, challenge)]);
    let rejected = session.token().await.unwrap();
    let options = TokenOptions::new().wait_timeout(Duration::from_secs(1));
    let newer = tokio::spawn({
        let session = session.clone();
        let challenges = Challenges::from_headers(&headers);
        async move { session.token_after_rejection_with(&rejected, challenges, options).await }
    });
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.reason(), RefreshReason::Rejected);
    let bearer = call.cx.challenges().find("bearer").and_then(|bearer| bearer.param("claims"));
    assert_eq!(bearer, Some("c"));
    // Its own timeout, not the session's.
    assert!(newer.await.unwrap().unwrap_err().is_timeout());
    call.succeed("A2 R2 600");
}
