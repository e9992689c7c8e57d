//! Rejections that are held while their requests wait, over one HTTP/2 connection.

use http::StatusCode;
use tokio::{sync::watch, task::JoinSet};
use tower_reauth::{RefreshError, Token, refresh_fn};

use crate::{
    sender::Kind,
    server::{LONG, Reply, Server, builder, http2, session_with},
};

const CALLERS: usize = 8;
/// One of them exceeds the connection's window.
const REJECTION: usize = 100_000;

/// All callers are rejected and wait before the token endpoint responds.
#[tokio::test]
async fn d11_a_refresh_over_its_own_connection_passes_held_rejections() {
    for kind in Kind::ALL {
        let (open, gate) = watch::channel(false);
        let server = Server::start(move |request| {
            let mut gate = gate.clone();
            async move {
                if request.path == "/token" {
                    gate.wait_for(|open| *open).await.unwrap();
                    return Reply::new("A2".into());
                }
                let mut reply = Reply::default();
                if request.token() != "A2" {
                    *reply.status_mut() = StatusCode::UNAUTHORIZED;
                    *reply.body_mut() = vec![b'x'; REJECTION].into();
                }
                reply
            }
        })
        .await;
        let (for_refreshes, endpoint) = (http2(), server.url("/token"));
        let session = session_with(refresh_fn(move |_| {
            let request = for_refreshes.get(&endpoint);
            async move {
                let response = request.send().await.map_err(RefreshError::transient)?;
                Ok(Token::try_new(response.text().await.map_err(RefreshError::transient)?)?)
            }
        }));
        let client =
            builder().http2_prior_knowledge().http2_initial_connection_window_size(65_535).build().unwrap();
        let sender = kind.sender(session.layer().wait_timeout(LONG), &client);
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (sender, request) = (sender.clone(), client.get(server.url("/")));
            callers.spawn(async move { sender.send(request).await.unwrap().status() });
        }
        while session.status().waiters() < CALLERS {
            tokio::task::yield_now().await;
        }
        open.send(true).unwrap();
        assert_eq!(callers.join_all().await, [StatusCode::OK; CALLERS], "{kind:?}");
    }
}
