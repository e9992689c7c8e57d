//! The harness of the real servers, and the behaviour of theirs that other tests rely on.

use std::{net::TcpStream, pin::pin, process::Command};

use crate::servers::{Kind, Server};

async fn rotates_and_refuses_spent_refresh_tokens(kind: Kind) {
    let Some(mut server) = Server::start(kind, &[]) else { return };
    let first = server.sign_in().await;
    // A JWT contains its expiry.
    assert_eq!(first.expires_in, (kind != Kind::SimpleJwt).then_some(86_400));
    assert_eq!(server.call(&first.access).await, 200);
    assert_eq!(server.call("none").await, 401);

    let second = server.refresh(&first.refresh).await.unwrap();
    assert_ne!(second.refresh, first.refresh);
    assert_eq!(server.call(&second.access).await, 200);
    assert_eq!(server.refreshes().await, (1, 0));
    assert_ne!(server.is_alive(&second).await, Some(false));

    server.stop();
    server.start_again();
    assert_eq!(server.call(&second.access).await, 200);
    server.expire(&second.access).await;
    assert_eq!(server.call(&second.access).await, 401);
    let third = server.refresh(&second.refresh).await.unwrap();
    assert_eq!(server.call(&third.access).await, 200);

    let (status, body) = server.refresh(&first.refresh).await.unwrap_err();
    assert_eq!(server.refreshes().await, (2, 1));
    match kind {
        Kind::SimpleJwt => assert_eq!((status.as_u16(), &body["code"]), (401, &"token_not_valid".into())),
        _ => assert_eq!((status.as_u16(), &body["error"]), (400, &"invalid_grant".into())),
    }
    // Only the strictest server treats a spent refresh token as theft.
    let alive = server.call(&third.access).await == 200;
    assert_eq!(alive, kind != Kind::Oidc);
    assert_eq!(server.refresh(&third.refresh).await.is_ok(), kind != Kind::Oidc);
}

#[tokio::test(flavor = "multi_thread")]
async fn simplejwt_rotates_and_refuses_spent_refresh_tokens() {
    rotates_and_refuses_spent_refresh_tokens(Kind::SimpleJwt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidc_provider_rotates_and_refuses_spent_refresh_tokens() {
    rotates_and_refuses_spent_refresh_tokens(Kind::Oidc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn django_oauth_toolkit_rotates_and_refuses_spent_refresh_tokens() {
    rotates_and_refuses_spent_refresh_tokens(Kind::Dot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_made_before_it_is_held() {
    for kind in [Kind::SimpleJwt, Kind::Oidc, Kind::Dot] {
        let Some(server) = Server::start(kind, &[]) else { continue };
        let first = server.sign_in().await;
        server.hold_next().await;
        let mut held = pin!(server.refresh(&first.refresh));
        tokio::select! {
            _ = &mut held => panic!("{kind:?}: the response was not held"),
            () = server.granted(1) => {}
        }
        // Only that one is held.
        server.refresh(&first.refresh).await.unwrap_err();
        server.release().await;
        held.await.unwrap();
    }
}

/// So `expire` can't be a revocation.
#[tokio::test(flavor = "multi_thread")]
async fn revoking_an_access_token_revokes_its_refresh_token() {
    for kind in [Kind::Oidc, Kind::Dot] {
        let Some(server) = Server::start(kind, &[]) else { continue };
        let grant = server.sign_in().await;
        assert_eq!(server.revoke(&grant.access).await, 200, "{kind:?}");
        assert_eq!(server.call(&grant.access).await, 401, "{kind:?}");
        let (status, body) = server.refresh(&grant.refresh).await.unwrap_err();
        assert_eq!((status.as_u16(), &body["error"]), (400, &"invalid_grant".into()), "{kind:?}");
    }
}

#[test]
fn a_dropped_server_has_exited() {
    for kind in [Kind::SimpleJwt, Kind::Oidc, Kind::Dot] {
        let Some(server) = Server::start(kind, &[]) else { continue };
        let (id, address) = (server.id(), server.url().trim_start_matches("http://").to_owned());
        TcpStream::connect(&address).unwrap();
        assert!(is_there(id), "{kind:?}");
        drop(server);
        assert!(!is_there(id), "{kind:?}");
        TcpStream::connect(&address).unwrap_err();
    }
}

/// Also true of a child that has exited without being waited for.
fn is_there(id: u32) -> bool {
    Command::new("kill").args(["-0", &id.to_string()]).output().unwrap().status.success()
}
