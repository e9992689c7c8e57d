//! The harness of the real servers, and what is relied on of them.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test's failure is a panic, it has the system's clock, and says what it skips"
)]
#![allow(dead_code, reason = "other tests use the rest")]

mod servers;

use servers::{Kind, Server};

async fn keeps_its_word(kind: Kind) {
    let Some(mut server) = Server::start(kind, &["--access-lifetime", "60"]) else { return };
    let first = server.sign_in().await;
    assert_eq!(server.call(&first.access).await, 200);
    assert_eq!(server.call("none").await, 401);

    let second = server.refresh(&first.refresh).await.unwrap();
    assert_ne!(second.refresh, first.refresh);
    assert_eq!(server.call(&second.access).await, 200);
    assert_eq!(server.refreshes().await, (1, 0));
    assert_ne!(server.is_alive(&second).await, Some(false));

    if kind != Kind::SimpleJwt {
        server.expire(&second.access).await;
        assert_eq!(server.call(&second.access).await, 401);
    }
    server.stop();
    server.start_again();
    let third = server.refresh(&second.refresh).await.unwrap();
    assert_eq!(server.call(&third.access).await, 200);

    let (status, body) = server.refresh(&first.refresh).await.unwrap_err();
    assert_eq!(server.refreshes().await, (2, 1));
    match kind {
        Kind::SimpleJwt => assert_eq!((status.as_u16(), &body["code"]), (401, &"token_not_valid".into())),
        _ => assert_eq!((status.as_u16(), &body["error"]), (400, &"invalid_grant".into())),
    }
    // Only the strictest takes a spent refresh token for theft.
    let alive = server.call(&third.access).await == 200;
    assert_eq!(alive, kind != Kind::Oidc);
}

#[tokio::test(flavor = "multi_thread")]
async fn simplejwt_keeps_its_word() {
    keeps_its_word(Kind::SimpleJwt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidc_provider_keeps_its_word() {
    keeps_its_word(Kind::Oidc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn django_oauth_toolkit_keeps_its_word() {
    keeps_its_word(Kind::Dot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_held_back_was_made_before() {
    for kind in [Kind::SimpleJwt, Kind::Oidc, Kind::Dot] {
        let Some(server) = Server::start(kind, &[]) else { return };
        let first = server.sign_in().await;
        server.set_delay(60_000).await;
        let call = server.refresh(&first.refresh);
        let spent = async {
            while server.refreshes().await.0 == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = call => panic!("{kind:?}: it was not held back"),
            () = spent => {}
        }
    }
}
