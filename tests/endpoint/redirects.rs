//! Redirects of token requests.

use std::sync::atomic::{AtomicU32, Ordering};

use tower_reauth::{RefreshError, Refresher, endpoint::EndpointError};

use crate::token_endpoint::{Reply, Server, TOKEN, r1, reply};

fn to(status: u16, location: &str) -> Reply {
    reply(status, "").header("location", location)
}

fn target(error: &RefreshError) -> Option<String> {
    EndpointError::find(error).unwrap().redirect_target().map(ToString::to_string)
}

#[tokio::test]
async fn c59_no_redirect_changes_the_request() {
    for status in [300, 301, 302, 303, 305] {
        let server = Server::on_loopback([to(status, "/elsewhere"), reply(200, TOKEN)]).await;
        let error = server.client().refresh_token_grant().refresh(r1()).await.unwrap_err();
        assert!(error.is_transient(), "{status}");
        assert_eq!(EndpointError::find(&error).unwrap().status().unwrap(), status);
        assert_eq!(target(&error).unwrap(), server.url(""));
        assert_eq!(server.count(), 1, "{status}");
    }
}

#[tokio::test]
async fn c59_b131_a_redirect_within_the_origin_is_followed_with_a_fresh_request() {
    for status in [307, 308] {
        for absolute in [false, true] {
            let made = AtomicU32::new(0);
            let server = Server::on_loopback([reply(200, TOKEN)]).await;
            let location = if absolute { server.url("/elsewhere?x=1") } else { "/elsewhere?x=1".into() };
            server.set_script([to(status, &location), reply(200, TOKEN)]);
            let client = server.client().client_assertion(move || {
                Ok::<_, std::io::Error>(format!("jwt{}", made.fetch_add(1, Ordering::SeqCst)))
            });
            let token = client.refresh_token_grant().refresh(r1()).await.unwrap();
            assert_eq!(token.access_token(), "A2");
            let requests = server.requests();
            assert_eq!(requests.len(), 2);
            for (request, (path, assertion)) in
                requests.iter().zip([("/token", "jwt0"), ("/elsewhere?x=1", "jwt1")])
            {
                assert_eq!((request.method.as_str(), request.uri.to_string().as_str()), ("POST", path));
                assert_eq!(request.param("refresh_token").unwrap(), "R1");
                assert_eq!(request.param("client_assertion").unwrap(), assertion);
            }
        }
    }
}

#[tokio::test]
async fn c59_a_redirect_to_another_origin_is_an_error_that_names_it() {
    let other = Server::on_loopback([reply(200, TOKEN)]).await;
    for status in [302, 303, 307, 308] {
        let server = Server::on_loopback([to(status, &other.url("/token?SENTINEL"))]).await;
        let error = server.client().refresh_token_grant().refresh(r1()).await.unwrap_err();
        assert!(error.is_transient(), "{status}");
        assert_eq!(target(&error).unwrap(), other.url(""));
        let shown = EndpointError::find(&error).unwrap().to_string();
        assert!(shown.contains(&other.url("")) && !shown.contains("SENTINEL"), "{shown}");
        assert_eq!((server.count(), other.count()), (1, 0), "{status}");
    }
    // Another host name or another scheme is another origin.
    let server = Server::on_loopback([reply(200, TOKEN)]).await;
    for url in [server.url("").replace("127.0.0.1", "localhost"), server.url("").replace("http", "https")] {
        server.set_script([to(307, &url)]);
        let error = server.client().refresh_token_grant().refresh(r1()).await.unwrap_err();
        assert_eq!(target(&error), Some(url));
    }
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn c59_an_invalid_redirect_target_is_not_followed() {
    for location in
        ["", "//evil.example.com/token", "token/", "?x", "http://", "/a b", "mailto:me", "\\\\evil"]
    {
        let server = Server::on_loopback([to(307, location), reply(200, TOKEN)]).await;
        let error = server.client().refresh_token_grant().refresh(r1()).await.unwrap_err();
        assert!(error.is_transient(), "{location}");
        assert!(EndpointError::find(&error).unwrap().to_string().contains("redirects (307)"));
        assert_eq!(server.count(), 1, "{location}");
    }
}

#[tokio::test]
async fn c59_a_redirect_loop_ends() {
    let server = Server::on_loopback([to(308, "/token")]).await;
    let error = server.client().refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(server.count(), 4);
}

#[tokio::test]
async fn c59_c19_a_response_lost_after_a_redirect_is_an_unknown_outcome() {
    let server = Server::on_loopback([to(307, "/elsewhere"), reply(200, "").closed()]).await;
    let error = server.client().refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_outcome_unknown());
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn c59_json_endpoints_and_revocations_follow_the_same_rules() {
    let other = Server::on_loopback([reply(200, TOKEN)]).await;
    let server = Server::on_loopback([to(307, &other.url("/"))]).await;
    let error = server.json().refresh(r1()).await.unwrap_err();
    assert_eq!(target(&error).unwrap(), other.url(""));
    let revocation = server.client().revocation(server.url("/revoke")).unwrap();
    let error = revocation.revoke(&crate::support::token("A1 R1 600")).await.unwrap_err();
    assert_eq!(error.redirect_target().unwrap().to_string(), other.url(""));
    assert_eq!(other.count(), 0);
}
